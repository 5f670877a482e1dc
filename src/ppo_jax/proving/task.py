"""The proof task: what is trained on, how a policy is judged, and what the verdict stands beside."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ppo_jax.config import Config
from ppo_jax.config.schema import EvaluationConfig
from ppo_jax.config.task_id import PREFIX, names_data_set
from ppo_jax.files import write_atomically
from ppo_jax.proving import datasets, ranking
from ppo_jax.proving import environment as proof
from ppo_jax.proving.answers import environment as answering
from ppo_jax.proving.answers.task import AnswerTask
from ppo_jax.proving.candidates import Candidates, candidates
from ppo_jax.proving.derivations import Policy
from ppo_jax.proving.environment import ProofEnv
from ppo_jax.proving.evaluation import ProofEvaluator, data_summary, shortest_proof_baseline
from ppo_jax.proving.explanation import explain
from ppo_jax.proving.graph_task import DEFAULT_NETWORK, GraphTask, check_judged
from ppo_jax.proving.priors.prior import load_prior
from ppo_jax.proving.results import PROTOCOLS, ProofResults
from ppo_jax.proving.rules.confidence import surest, with_counted_confidence
from ppo_jax.proving.rules.files import format_mined
from ppo_jax.proving.rules.mining import Limits, Progress, mine, state_of
from ppo_jax.proving.search import Attempts, MarginalProofs
from ppo_jax.results import Judged, Played
from ppo_jax.types import PPOJaxError

__all__ = ["ProofTask", "describe_data", "is_named", "make", "with_mined_rules"]

PyTree = Any
MINING_ROUNDS = 4
MINED_PER_HEAD = 150  # rules of a predicate, of paths and of rules with constants each
UNTRAINED_SEED = 1_000_003  # first seed of the untrained baseline, far from seeds people use
UNTRAINED = 20  # networks where a configuration asks for no number
UNTRAINED_MARGINAL = 3  # of these by the dear marginal protocol, in which they hardly differ
CANDIDATES_SHOWN = 10  # corruptions of a query in ``queries.jsonl``


class ProofTask(GraphTask):
    """Proving the queries of a data set; satisfies `ppo_jax.tasks.task.Task`."""

    results = ProofResults()
    action_meaning = "index into action_mask: the successor to move to, the last one to give up"

    def __init__(self, env: ProofEnv, evaluation: EvaluationConfig) -> None:
        """`env` gives the data set, `evaluation` beam width, masks and how many candidates a ranking has.

        Raises:
            PPOJaxError: `env` has no data set, so that there is nothing to judge on.
        """
        super().__init__(env)
        assert env.default_params is not None
        self.env, self.env_params = env, env.default_params
        self._evaluation = evaluation
        self._evaluator = ProofEvaluator(env, self.env_params, evaluation.beam_width, evaluation.mask_end)

    def candidates(self, split: str) -> Candidates:
        """The queries of a split with their corruptions, as the configuration asks."""
        self.check()
        limits = (self._evaluation.n_corruptions, self._evaluation.n_queries_of(split))
        return candidates(self.dataset, split, self.env.corrupt, *limits)

    def evaluate(
        self, policy: Policy, params: PyTree, split: str, *, seed: int, protocols: Iterable[str] | None = None
    ) -> dict[str, Any]:
        """A summary of the ranking on a split under each of `protocols`, by default all; `seed` makes no difference."""
        protocols = PROTOCOLS if protocols is None else protocols
        return {name: summary for name, (summary, _) in self._judge(policy, params, split, protocols).items()}

    def value_errors(self, policy: Policy, params: PyTree, *, gamma: float, seed: int) -> dict[str, float]:
        """`value_error_valid` and `value_error_train`: a critic that memorises does well on the second alone."""
        return {
            f"value_error_{split}": self._evaluator.value_error(policy, params, queries, gamma, seed)
            for split, queries in self._value_queries.items()
        }

    def test(self, policy: Policy, params: PyTree, *, seed: int) -> Judged:
        """The result on test, and ``queries.jsonl`` with each query's candidates and the proofs found."""
        judged = self._judge(policy, params, "test", PROTOCOLS)
        result = {name: summary for name, (summary, _) in judged.items()}
        lines = self._judged_queries(self.candidates("test"), judged["greedy"][1], judged["marginal"][1])
        return Judged(result, {"queries.jsonl": lines})

    def data_summary(self) -> dict[str, Any]:
        """Counts of the data, and how much of it can be proved at all."""
        return data_summary(self.env, self.env_params)

    def baselines(self, policy: Policy, untrained: Callable[[int], PyTree]) -> dict[str, Any]:
        """What no learning reaches on test: untrained networks, the uniform policy, the shortest proof."""
        queries = self.candidates("test")
        asked = self._evaluation.untrained_networks
        n, n_marginal = (UNTRAINED, UNTRAINED_MARGINAL) if asked is None else (asked, asked)
        networks = [untrained(UNTRAINED_SEED + i) for i in range(n)]
        # With its logits multiplied by 0 any network is the uniform policy.
        flattened = networks[0] if networks else untrained(UNTRAINED_SEED)
        greedy = [self._evaluator.greedy(policy, params, queries)[0] for params in networks]
        marginal = [self._marginal(policy, params, "test")[0] for params in networks[:n_marginal]]
        uniform, _ = self._evaluator.marginal(policy, flattened, queries, sharpness=0.0)
        return {
            "untrained": {"greedy": _mean(greedy), "marginal": _mean(marginal)} if networks else {},
            "uniform": {"marginal": uniform},
            "shortest_proof": {"greedy": shortest_proof_baseline(self.env, self.env_params, queries)},
        }

    def prove(self, policy: Policy, params: PyTree, query: str) -> dict[str, Any]:
        """The greedy attempt at a proof of a ground atom, as JSON data.

        Returns:
            ``query``, ``proved``, ``stopped_by`` (what ended an attempt that is no proof, else None) and ``steps``.

        Raises:
            PPOJaxError: the knowledge base cannot read the query.
        """
        kb = self.dataset.kb
        atom = np.array(kb.parse_atom(query), np.int32)
        queries = Candidates(atom[None, None], np.ones((1, 1), bool), np.zeros(1, np.int32))
        _, attempts = self._evaluator.greedy(policy, params, queries)
        steps = explain(kb, atom, attempts.kinds[0], attempts.constants[0], attempts.log_probs[0])
        stopped_by = None
        if not attempts.proved[0]:
            if len(steps) >= self.env.max_depth and steps[-1].action != "end":
                stopped_by = f"the depth limit, max_depth = {self.env.max_depth}"
            else:
                forced = attempts.choices[0][len(steps) - 1] == 1
                cut = f"max_atoms = {self.env.sizes.max_atoms}"
                cut += f" or max_successors = {self.env.sizes.max_successors}" if self.env.widest_cut else ""
                nothing_left = f"no action but `end` was left; {cut} may have cut others"
                stopped_by = nothing_left if forced else "the agent chose to give up"
        return {
            "query": query,
            "proved": stopped_by is None,
            "stopped_by": stopped_by,
            "steps": [step.to_dict() for step in steps],
        }

    def play(self, policy: Policy, params: PyTree, *, seed: int, n: int, max_steps: int) -> Played:
        """Attempts at `n` of the test queries, drawn by `seed`; at all of them where they are fewer.

        Raises:
            PPOJaxError: there are no queries.
        """
        self.check()
        queries, kb = self.dataset.queries["test"], self.dataset.kb
        chosen = np.random.default_rng(seed).permutation(len(queries))[:n]
        proofs = [self.prove(policy, params, kb.format_atom(queries[i])) for i in chosen]
        return Played({"proofs": proofs}, gif=None)

    def _judge(
        self, policy: Policy, params: PyTree, split: str, protocols: Iterable[str]
    ) -> dict[str, tuple[dict[str, Any], Any]]:
        """Summary for each of `protocols`, and the `Attempts` or `MarginalProofs` behind it."""
        judge: dict[str, Callable[..., Any]] = {"greedy": self._greedy, "marginal": self._marginal}
        of = {"of_queries": len(self.dataset.queries[split])}
        judged = {name: judge[name](policy, params, split) for name in protocols}
        return {name: (summary | of, found) for name, (summary, found) in judged.items()}

    def _greedy(self, policy: Policy, params: PyTree, split: str) -> tuple[dict[str, Any], Attempts]:
        return self._evaluator.greedy(policy, params, self.candidates(split))

    def _marginal(self, policy: Policy, params: PyTree, split: str) -> tuple[dict[str, Any], MarginalProofs]:
        """With logits as flat as ranks valid best: by MRR, then AUC-PR; of equals the nearest to the policy itself."""

        def judge(sharpness: float, split: str) -> tuple[dict[str, Any], MarginalProofs]:
            summary, proofs = self._evaluator.marginal(policy, params, self.candidates(split), sharpness)
            return summary | {"sharpness": sharpness}, proofs

        def rank(sharpness: float) -> tuple[float, float, float]:
            summary = on_valid[sharpness][0]
            return summary["mrr"] or 0.0, summary["auc_pr"] or 0.0, -abs(sharpness - 1.0)

        choices = self._evaluation.sharpness
        if len(choices) == 1:
            return judge(choices[0], split)
        on_valid = {sharpness: judge(sharpness, "valid") for sharpness in choices}
        chosen = max(choices, key=rank)
        return on_valid[chosen] if split == "valid" else judge(chosen, split)

    @cached_property
    def _value_queries(self) -> dict[str, Candidates]:
        return {
            split: candidates(self.dataset, split, self.env.corrupt, n_corruptions=20, n_queries=500)
            for split in ("valid", "train")
        }

    def _judged_queries(self, queries: Candidates, greedy: Attempts, marginal: MarginalProofs) -> list[dict[str, Any]]:
        """Each query with its best candidates, scores, expected reciprocal rank and greedy proofs."""
        kb, shape = self.dataset.kb, queries.valid.shape
        scores, masses = greedy.log_prob.reshape(shape), np.exp(marginal.log_prob.reshape(shape))
        reciprocal = ranking.expected_reciprocal_rank(*ranking.ranks(scores, queries.valid))
        rows = []
        for r in range(shape[0]):
            order = [0, *(1 + np.argsort(-masses[r, 1:] - (scores[r, 1:] > -np.inf), kind="stable"))]
            shown = []
            for c in [c for c in order if queries.valid[r, c]][: CANDIDATES_SHOWN + 1]:
                m = r * shape[1] + c
                steps = explain(kb, queries.atoms[r, c], greedy.kinds[m], greedy.constants[m], greedy.log_probs[m])
                shown.append(
                    {
                        "query": kb.format_atom(queries.atoms[r, c]),
                        "label": c == 0,
                        "greedy_log_prob": float(scores[r, c]),
                        "marginal_probability": float(masses[r, c]),
                        "proved": bool(greedy.proved[m]),
                        "steps": [step.to_dict() for step in steps],
                    }
                )
            rows.append({"query": shown[0]["query"], "reciprocal_rank": reciprocal[r], "candidates": shown})
        return rows


def is_named(config: Config) -> bool:
    """Whether ``[task]`` names a proof task."""
    return names_data_set(config.task.env_id, config.task.dataset)


def make(config: Config) -> ProofTask | AnswerTask:
    """The proof task that ``[task]`` names: proving its ground queries, or answering its open ones.

    Raises:
        PPOJaxError: data that cannot be read.
    """
    task = config.task
    name = task.dataset or (task.env_id or "").removeprefix(PREFIX)
    observe_successors = config.network.network not in (DEFAULT_NETWORK, "auto")
    if config.answers:
        data = datasets.load(name, rules=task.rules, columns=task.columns)
        data = replace(data, kb=with_counted_confidence(data.kb))
        prior = load_prior(task.prior, data) if task.prior else None
        env = answering.make(
            replace(data, kb=surest(data.kb, task.max_rules)),
            max_atoms=task.max_atoms,
            max_successors=task.max_successors or answering.MAX_SUCCESSORS,
            max_depth=task.max_depth or answering.MAX_DEPTH,
            prior=prior,
            wrong_answer=task.wrong_answer,
            shaping=task.shaping,
            gamma=config.ppo.gamma if task.shaping else 1.0,
            prune_visited=task.prune_visited,
            observe_successors=observe_successors,
        )
        return AnswerTask(env, config.evaluation, data.kb, prior)
    proof_env = proof.make(
        datasets.load(name, rules=task.rules, columns=task.columns),
        max_atoms=task.max_atoms or proof.MAX_ATOMS,
        max_successors=task.max_successors,
        corrupt=task.corrupt,
        max_depth=task.max_depth or proof.MAX_DEPTH,
        negative_ratio=task.negative_ratio,
        reward=task.reward,
        end_action=task.end_action,
        collapse_proved=task.collapse_proved,
        prune_visited=task.prune_visited,
        fact_dropout=task.fact_dropout,
        observe_successors=observe_successors,
    )
    return ProofTask(proof_env, config.evaluation)


def with_mined_rules(
    config: Config, folder: Path, say: Callable[[str], None], progress: Progress | None, kept_in: Path
) -> Config:
    """The configuration of a run in `folder`, with rules mined where its data set has none.

    They are written to ``rules.txt`` in the folder, and only training facts are looked at. What an interrupted mining
    left in `kept_in` is not done again.
    """
    if not (is_named(config) and config.answers and config.task.dataset and config.task.rules == "rules.txt"):
        return config
    load = partial(datasets.load, config.task.dataset, columns=config.task.columns)
    data = load(require_rules=False)
    if data.kb.rules:
        return config
    if jax.process_count() > 1:
        raise PPOJaxError(
            f"data set {data.name!r} has no rules; before several processes train together, mine some: "
            "`ppo-jax rules mine FOLDER --out FOLDER/rules.txt`"
        )
    check_judged(data)  # what is wrong with the data or the prior should not cost the mining
    if config.task.prior:
        load_prior(config.task.prior, data)
    file, limits, kept = folder / "rules.txt", Limits(max_rules_per_head=MINED_PER_HEAD), []
    for number in range(1, MINING_ROUNDS + 1):
        kept.append(state_of(kept_in / f"rules-{number}.txt", data.kb, limits, say))
        mined = mine(data.kb, limits, progress, kept[-1])
        if not mined.rules:
            kept[-1].remove()
            raise PPOJaxError(f"data set {data.name!r} has no rules, and none could be mined: no rule is right twice")
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(file, format_mined(mined.added_to(data.kb).rules, data.kb, limits))
        with_rules = load(str(file))
        # Without a valid.txt, what is drawn for it depends on the rules: none may rest on such a fact.
        if set(map(tuple, with_rules.queries["valid"])) <= set(map(tuple, data.queries["valid"])):
            for unfinished in kept:
                unfinished.remove()
            here = "; ./rules.txt is read by rules=./rules.txt" if Path("rules.txt").is_file() else ""
            say(f"{data.name}: no rules; mined {len(mined.rules):,} from the training facts, in {file}{here}")
            return config.override({"rules": str(file.absolute())})
        data = with_rules
    raise PPOJaxError(f"data set {data.name!r} has neither valid queries nor rules; put some queries in valid.txt")


def describe_data(
    name_or_folder: str, rules: str = "rules.txt", columns: str | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Counts of a data set, and with rules how much of it can be proved within the default depth.

    `progress` is told how far the search for proofs is.

    Raises:
        PPOJaxError: the data cannot be read.
    """
    dataset = datasets.load(name_or_folder, rules, columns, require_rules=False)
    if not dataset.kb.rules:
        return datasets.describe(dataset)
    env = proof.make(dataset)
    assert env.default_params is not None
    return data_summary(env, env.default_params, progress=progress) | datasets.describe(dataset)


def _mean(summaries: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean over networks of every number, with `mrr` of each; intervals over queries have no mean and go."""
    first = summaries[0]
    mean = {
        key: float(np.mean([s[key] for s in summaries])) if isinstance(value, float) else value
        for key, value in first.items()
        if key != "mrr_interval"
    }
    return mean | {"mrr_each": [s["mrr"] for s in summaries]}
