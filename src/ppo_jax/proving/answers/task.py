"""The answer task: training on queries with a variable, judged by how answers rank among all constants."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np

from ppo_jax.config.schema import EvaluationConfig
from ppo_jax.proving.answers import listing, shortest_proofs
from ppo_jax.proving.answers.combination import Combined, Source, choose_weights, logs_of, rank_with_and_without
from ppo_jax.proving.answers.environment import AnswerEnv
from ppo_jax.proving.answers.evaluation import AnswerEvaluator, Ranked, Scorer, open_atoms, rank_by, summarize
from ppo_jax.proving.answers.query_text import format_query, parse_query
from ppo_jax.proving.derivations import Policy
from ppo_jax.proving.graph_task import GraphTask
from ppo_jax.proving.knowledge_base import KnowledgeBase
from ppo_jax.proving.leakage import count_leaked
from ppo_jax.proving.open_queries import HEAD, TAIL, KnownAnswers, OpenQueries, known_answers, open_queries
from ppo_jax.proving.priors.prior import Prior
from ppo_jax.proving.results import ANSWERS, COMBINED, TIES, AnswerResults, sum_of
from ppo_jax.proving.rules.scores import Combine, RuleScores
from ppo_jax.proving.rules.weights import with_learned_confidence
from ppo_jax.results import Judged, Played
from ppo_jax.types import PPOJaxError

__all__ = ["AnswerTask"]

PyTree = Any
Asked = tuple[int, int]  # row of the triple in its split, and which side is open
UNTRAINED_SEED = 1_000_003  # first seed of the untrained baseline, far from seeds people use
WEIGHING = 2**29  # bytes of scores on valid by which weights are chosen; of more queries the first are taken
UNTRAINED = 3  # networks where a configuration asks for no number: rankings differ little between them
COMBINE: tuple[Combine, ...] = ("noisy_or", "max")
LEARNED = "learned weights, depth 1"
MANY_RULES = 1000  # beyond, rules say the same over and over: their weights are also learned together
BUDGET = 1_000  # resolvents that the search for a shortest proof may look at, for one query
RESOLVENTS = 500_000  # that all these searches together may; of more queries a sample is searched


class Rules(NamedTuple):
    """Rules put together in one way."""

    name: str
    scorer: RuleScores

    def scores(self, queries: OpenQueries) -> np.ndarray:
        """[Q, n_constants + 1]."""
        return self.scorer.scores(queries)


class AnswerTask(GraphTask):
    """Answering the open queries of a data set; satisfies `ppo_jax.tasks.task.Task`."""

    names_constants = False  # what is learnt of the predicates carries over to every query
    results = AnswerResults()
    action_meaning = "index into action_mask: the successor to move to"

    def __init__(
        self,
        env: AnswerEnv,
        evaluation: EvaluationConfig,
        kb: KnowledgeBase | None = None,
        prior: Prior | None = None,
    ) -> None:
        """`env` gives the data set, `evaluation` the beam width, how flat a policy is made, and how many queries.

        `kb` has the rules that are scored beside the policy, by default its own.

        Raises:
            PPOJaxError: `env` has no data set, so that there is nothing to judge on.
        """
        super().__init__(env)
        assert env.default_params is not None
        self.env, self.env_params = env, env.default_params
        confidences = [rule.confidence for rule in self.dataset.kb.rules if rule.confidence is not None]
        if len(confidences) == len(self.dataset.kb.rules):
            self.confidences = tuple(confidences)
        self._evaluation, self.prior = evaluation, prior
        self._kb = self.dataset.kb if kb is None else kb
        self._ways: dict[str, Rules] = {}  # made when asked for
        # Of test, by baseline, rank and reciprocal rank; filled as they are judged.
        self._baseline_ranks: dict[str, Mapping[Asked, Sequence[float]]] = {}
        self._evaluator = AnswerEvaluator(env, self.env_params, evaluation.beam_width)

    def queries(self, split: str) -> OpenQueries:
        """The open queries of a split, a sample of them where the configuration asks for one."""
        self.check()
        return open_queries(self.dataset, split, self._evaluation.n_queries_of(split))

    def evaluate(
        self, policy: Policy, params: PyTree, split: str, *, seed: int, protocols: Iterable[str] | None = None
    ) -> dict[str, Any]:
        """A summary of the ranking on a split; how flat the policy is made is chosen on valid."""
        sharpness, on_valid = self._choose_sharpness(policy, params)
        if split == "valid":
            return {ANSWERS: on_valid}
        return {ANSWERS: self._judge(policy, params, split, sharpness)[0]}

    def value_errors(self, policy: Policy, params: PyTree, *, gamma: float, seed: int) -> dict[str, float]:
        """None are measured: a value depends on which fact an episode hides."""
        return {}

    def test(self, policy: Policy, params: PyTree, *, seed: int) -> Judged:
        """The result on test, and ``queries.jsonl`` with a line for each query.

        A line has the ranks by those baselines that were judged before.
        """
        sharpness, _ = self._choose_sharpness(policy, params)
        summary, queries, ranked = self._judge(policy, params, "test", sharpness)
        proofs = partial(self._evaluator.probabilities, policy, params, sharpness=sharpness)
        combined = self._combined({"proofs": proofs, **self._sources})
        known = known_answers(self.dataset, "test")
        ranked_combined, without = rank_with_and_without(combined, queries, known, self._evaluator.at_once)
        lines = listing.lines(self.dataset.kb, queries, ranked)
        for i, line in enumerate(lines):
            line["combined_rank"] = float(ranked_combined.rank[i])
            line["combined_reciprocal_rank"] = float(ranked_combined.reciprocal_rank[i])
            line["rank_without"] = {name: float(ranks[i]) for name, ranks in without.items()}
            asked = int(queries.triple[i]), int(queries.side[i])
            by = {name: ranks.get(asked, (None, None)) for name, ranks in self._baseline_ranks.items()}
            line["baseline_ranks"] = {name: rank for name, (rank, _) in by.items()}
            line["baseline_reciprocal_ranks"] = {name: reciprocal for name, (_, reciprocal) in by.items()}
        rows = listing.spread(len(lines))
        chosen = OpenQueries(*(x[rows] for x in queries))
        for row, answers in zip(rows, self._answers(policy, params, chosen, sharpness, combined.weights), strict=True):
            lines[row] |= answers
        together = self._summarize_combined(combined, ranked_combined, queries)
        return Judged({ANSWERS: summary, COMBINED: together}, {"queries.jsonl": lines})

    def data_summary(self) -> dict[str, Any]:
        """Counts of the data."""
        dataset = self.dataset
        return {
            "name": dataset.name,
            "facts": len(dataset.kb.facts),
            "rules": len(self._kb.rules),
            "rules_in_proofs": len(dataset.kb.rules),
            "predicates": len(dataset.kb.predicates),
            "constants": len(dataset.kb.constants),
            "queries": {split: len(rows) for split, rows in dataset.queries.items()},
            "overlaps": dataset.overlaps,
            "leakage": count_leaked(dataset),
            "mined_by": dataset.mined_by,
            "max_atoms": self.env.sizes.max_atoms,
            "max_successors": self.env.sizes.max_successors,
            "max_depth": self.env.max_depth,
            "widest_row_cut": self.env.widest_cut,
            "sha256": dataset.sha256,
        } | ({} if self.prior is None else {"prior": self.prior.describe()})

    def baselines(self, policy: Policy, untrained: Callable[[int], PyTree]) -> dict[str, Any]:
        """What no policy that learns reaches on test.

        Untrained networks, the uniform policy, the shortest proof, rules by their confidence, and where there is one
        the prior alone and combined with the rules.
        """
        n = UNTRAINED if (asked := self._evaluation.untrained_networks) is None else asked
        networks = [untrained(UNTRAINED_SEED + i) for i in range(max(n, 1))]
        # With its logits multiplied by 0 any network is the uniform policy.
        uniform, queries, ranked = self._judge(policy, networks[0], "test", 0.0)
        baselines = {"uniform_policy": {ANSWERS: uniform}}
        self._keep_ranks("uniform_policy", queries, ranked)
        if n:
            judged = [
                self._judge(policy, params, "test", self._choose_sharpness(policy, params)[0]) for params in networks
            ]
            each = [summary for summary, _, _ in judged]
            self._keep_ranks("untrained", queries, *(ranked for _, _, ranked in judged))
            mean = {
                key: float(np.mean([one[key] for one in each])) if isinstance(value, float) else value
                for key, value in each[0].items()
                if key != "mrr_interval"
            }
            baselines[f"untrained (×{n})"] = {ANSWERS: mean | {"mrr_each": [one["mrr"] for one in each]}}
        baselines["shortest_proof"] = {ANSWERS: self._judge_shortest_proofs()}
        baselines["rules"] = {ANSWERS: self._judge_by(self._rules, "rules", f"rules, {self._rules.name}")}
        if self.prior is not None:
            baselines["prior"] = {ANSWERS: self._judge_by(self.prior, "prior", "prior")}
            both = self._combined(self._sources)
            ranked = rank_by(both, queries, known_answers(self.dataset, "test"), self._evaluator.at_once)
            baselines["rules and prior"] = {ANSWERS: self._summarize_combined(both, ranked, queries)}
            self._keep_ranks("rules_and_prior", queries, ranked)
        return baselines

    def _keep_ranks(self, name: str, queries: OpenQueries, *each: Ranked) -> None:
        """Keep where a baseline, of several networks the mean of `each`, ranks test queries, which may be a sample."""
        asked = zip(queries.triple.tolist(), queries.side.tolist(), strict=True)
        ranks = np.mean([(one.rank, one.reciprocal_rank) for one in each], axis=0)
        self._baseline_ranks[name] = dict(zip(asked, ranks.T.tolist(), strict=True))

    def ask(
        self,
        policy: Policy,
        params: PyTree,
        query: str,
        *,
        sharpness: float = 1.0,
        top: int = 10,
        combined: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Ranked answers to an open query such as ``"ancestorOf(ann, X)"``, with the proof of each, as JSON data.

        Args:
            policy: asked at each step.
            params: its parameters.
            query: an atom with one variable, or a ground one: then its last argument is asked for, and of the answers
                that one alone is given.
            sharpness: multiplies the policy's logits.
            top: answers at most.
            combined: the ``combined`` result of a run, whose ``weights`` and ``rules`` then rank the answers; None:
                their probability does, and only what is proved is an answer.

        Returns:
            ``query``; ``answers``, each with ``rank`` among all (None: nothing speaks for it), ``answer``,
            ``probability``, ``known`` (whether a training fact) and ``steps``, and where scores are combined ``score``,
            ``parts`` (what rules say of it, a probability, and the prior, the logarithm of one) and ``contributions``,
            what each source adds to the score; ``unexplored``, the probability that was not followed; and of combined
            scores their ``weights``, and of how many rules ``rules`` and ``proofs`` know, ``rules_known``.

        Raises:
            PPOJaxError: the query cannot be read, or has two variables.
        """
        kb = self.dataset.kb
        atom = parse_query(kb, query)
        wanted, side = None, HEAD if atom[1] == 0 else TAIL
        if atom[1] and atom[2]:
            wanted, atom = atom[2], (atom[0], atom[1], 0)
        found = self._evaluator.answers(policy, params, np.array([atom], np.int32), sharpness, keep_trail=True)
        asked = OpenQueries(*(np.array([x], np.int32) for x in (atom[0], atom[1] + atom[2], side, 0, 0)))
        known = KnownAnswers(kb.facts, len(kb.constants)).mask(asked)[0]
        way = {} if combined is None else {"rules": self._way(combined["rules"]).scores, **self._prior_source}
        sources = {name: source(asked)[0] for name, source in way.items()}
        said = listing.weigh(np.asarray(found.probability)[0], sources, combined and combined["weights"])
        ranks = {int(c): rank for rank, c in enumerate(said.order(len(known)), start=1)}
        answers = []
        for c in list(ranks)[:top] if wanted is None else [wanted]:
            steps = listing.derivation(kb, atom, found, 0, c) or []
            answer = said.answer(kb, c, bool(known[c])) | {"steps": [step.to_dict() for step in steps]}
            answers.append({"rank": ranks.get(c)} | answer)
        unexplored = float(found.unexplored[0])
        answered = {"query": format_query(kb, atom), "answers": answers, "unexplored": unexplored}
        if combined is None:
            return answered
        known_to = {"rules": len(self._kb.rules), "proofs": len(kb.rules)}
        return answered | {"weights": dict(combined["weights"]), "rules_known": known_to}

    def prove(self, policy: Policy, params: PyTree, query: str, *, sharpness: float = 1.0) -> dict[str, Any]:
        """The most probable proof of a ground atom, as JSON data.

        Args:
            policy: asked at each step.
            params: its parameters.
            query: a ground atom.
            sharpness: multiplies the policy's logits.

        Returns:
            ``query``, ``asked_as`` (the open query, of which its last argument is one answer), ``proved``,
            ``stopped_by`` (why there is no proof, else None), ``probability`` of all proofs within the beam, as `ask`
            gives it, and ``steps`` of the most probable one.

        Raises:
            PPOJaxError: the knowledge base cannot read the query.
        """
        if 0 in parse_query(self.dataset.kb, query):
            raise PPOJaxError(f"query: {query!r} has a variable; `ppo-jax ask` gives its answers")
        asked = self.ask(policy, params, query, sharpness=sharpness)
        answer = asked["answers"][0]
        steps = answer["steps"]
        return {
            "query": query,
            "asked_as": asked["query"],
            "proved": bool(steps),
            "stopped_by": None if steps else f"no proof within {self._caps(asked['unexplored'])}",
            "probability": answer["probability"],
            "steps": steps,
        }

    def _caps(self, unexplored: float) -> str:
        """The settings that may have kept a proof from being found, where this much probability was not followed."""
        sizes = self.env.sizes
        caps = {"max_depth": self.env.max_depth, "max_atoms": sizes.max_atoms}
        caps |= {"beam_width": self._evaluation.beam_width} if unexplored > 1e-6 else {}
        caps |= {"max_successors": sizes.max_successors} if self.env.widest_cut else {}
        caps |= {"max_rules": sizes.max_rules} if len(self.dataset.kb.rules) < len(self._kb.rules) else {}
        return ", ".join(f"{name} = {value}" for name, value in caps.items())

    def play(self, policy: Policy, params: PyTree, *, seed: int, n: int, max_steps: int) -> Played:
        """The most probable proofs of `n` of the test queries, drawn by `seed`; of all where they are fewer.

        Raises:
            PPOJaxError: there are no queries.
        """
        self.check()
        atoms, kb = self.dataset.queries["test"], self.dataset.kb
        chosen = np.random.default_rng(seed).permutation(len(atoms))[:n]
        return Played({"proofs": [self.prove(policy, params, kb.format_atom(atoms[i])) for i in chosen]}, gif=None)

    def _choose_sharpness(self, policy: Policy, params: PyTree) -> tuple[float, dict[str, Any]]:
        """The sharpness that is best on valid, and the summary there."""
        choices = [(s, self._judge(policy, params, "valid", s)[0]) for s in self._evaluation.sharpness]
        return max(choices, key=lambda choice: float(choice[1]["mrr"]))

    def _judge(
        self, policy: Policy, params: PyTree, split: str, sharpness: float
    ) -> tuple[dict[str, Any], OpenQueries, Ranked]:
        queries = self.queries(split)
        ranked = self._evaluator.rank(policy, params, queries, known_answers(self.dataset, split), sharpness)
        summary = summarize(ranked, queries, len(self.dataset.queries[split]))
        protocol = f"answers, filtered, beam {self._evaluation.beam_width}, logits × {sharpness:g}, ties: {TIES}"
        return summary | {"sharpness": sharpness, "protocol": protocol}, queries, ranked

    @property
    def _sources(self) -> dict[str, Source]:
        """What is combined with the proofs of a policy."""
        return {"rules": self._rules.scores, **self._prior_source}

    @property
    def _prior_source(self) -> dict[str, Source]:
        return {} if self.prior is None else {"prior": self.prior.scores}

    def _way(self, name: str, *splits: str) -> Rules:
        """Rules put together in the way of that name, `LEARNED`, or how and how deep; for the queries of splits."""
        if self._ways.get(name) is None:
            how, _, depth = name.partition(", depth ")
            kb = with_learned_confidence(self._kb) if name == LEARNED else self._kb
            combine: Combine = "max" if how == "max" else "noisy_or"
            expected = [self.queries(split) for split in splits]
            self._ways[name] = Rules(name, RuleScores(kb, int(depth), combine=combine, expected=expected))
        return self._ways[name]

    def _judge_shortest_proofs(self) -> dict[str, Any]:
        """Breadth-first search on test, on as many of the queries as may be searched."""
        test = self.dataset.queries["test"]
        n = min(self._evaluation.n_queries_of("test") or len(test), RESOLVENTS // (2 * BUDGET))
        queries = open_queries(self.dataset, "test", n)
        known = known_answers(self.dataset, "test")
        ranked, given_up = shortest_proofs.rank(self.env, self.env_params, queries, known, BUDGET)
        self._keep_ranks("shortest_proof", queries, ranked)
        protocol = f"answers, filtered, fewest steps, {BUDGET:,} resolvents a query, ties: {TIES}"
        return summarize(ranked, queries, len(test)) | {
            "unexplored_mass": None,
            "searches": len(queries.known),
            "given_up": given_up,
            "max_resolvents": BUDGET,
            "protocol": protocol,
        }

    def _combined(self, sources: dict[str, Source]) -> Combined:
        """The weighted sum of sources; their weights are chosen on valid."""
        n_constants = self.env.sizes.n_constants
        room = WEIGHING // (4 * len(sources) * (n_constants + 1))
        valid = OpenQueries(*(x[: 2 * max(room // 2, 1)] for x in self.queries("valid")))
        known = known_answers(self.dataset, "valid")
        weights, _ = choose_weights(logs_of(sources, valid, self._evaluator.at_once), valid, known)
        return Combined(sources, weights)

    def _summarize_combined(self, combined: Combined, ranked: Ranked, queries: OpenQueries) -> dict[str, Any]:
        how = sum_of(combined.weights)
        return summarize(ranked, queries, len(self.dataset.queries["test"])) | {
            **dict.fromkeys(("unexplored_mass", "looked_at", "answered")),
            "weights": combined.weights,
            "rules": self._rules.name,
            "protocol": f"answers, filtered, {how}, ties: {TIES}",
        }

    def _answers(
        self, policy: Policy, params: PyTree, queries: OpenQueries, sharpness: float, weights: Mapping[str, float]
    ) -> list[dict[str, Any]]:
        """For each query what its line says of single answers: `listing.answers`."""
        known, kb, listed = known_answers(self.dataset, "test"), self.dataset.kb, []
        for chunk in self._evaluator.chunks(queries):
            opened, out = open_atoms(chunk), known.mask(chunk)
            found = self._evaluator.answers(policy, params, opened, sharpness, keep_trail=True)
            sources = {name: source(chunk) for name, source in self._sources.items()}
            for i, right in enumerate(map(int, chunk.answer)):
                out[i, right] = False
                of_query = {name: x[i] for name, x in sources.items()}
                said = listing.weigh(np.asarray(found.probability)[i], of_query, weights)
                listed.append(listing.answers(kb, opened[i], right, out[i], said, found, i))
        return listed

    def _judge_by(self, scorer: Scorer, name: str, how: str) -> dict[str, Any]:
        """A baseline without a policy, on test."""
        queries = self.queries("test")
        ranked = rank_by(scorer, queries, known_answers(self.dataset, "test"))
        self._keep_ranks(name, queries, ranked)
        summary = summarize(ranked, queries, len(self.dataset.queries["test"]))
        # What a prior scores is not found in the sense of a proof.
        nothing: dict[str, Any] = {"unexplored_mass": None, "looked_at": None}
        if scorer is self.prior:
            nothing["answered"] = None
        return summary | nothing | {"protocol": f"answers, filtered, {how}"}

    @cached_property
    def _rules(self) -> Rules:
        """Rules by their confidence, put together in the way that ranks the answers of valid best."""
        longest = max((len(rule.body) for rule in self._kb.rules), default=1)
        # One rule above another, where the depth limit lets a proof have that; a deeper chain is dear.
        depth = 1 if self.env.max_depth <= 1 + longest or len(self._kb.rules) > MANY_RULES else 2
        names = [f"{combine}, depth {depth}" for combine in COMBINE]
        if len(self._kb.rules) > MANY_RULES:
            names.append(LEARNED)
        ways = [self._way(name, "valid", "test") for name in names]
        valid, known = self.queries("valid"), known_answers(self.dataset, "valid")
        return max(ways, key=lambda way: float(rank_by(way, valid, known).reciprocal_rank.mean()))
