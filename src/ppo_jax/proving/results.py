"""How the results of a proof task are read and shown; JAX is not needed for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from ppo_jax.results import Metric, Path, Results, Table, baseline_name, look_up, number

__all__ = [
    "ANSWERS",
    "COMBINED",
    "INTERVAL_LEVEL",
    "INTERVAL_RESAMPLES",
    "PROTOCOLS",
    "TIES",
    "AnswerResults",
    "ProofResults",
    "answer_numbers",
    "provable",
    "sum_of",
]

Json = Mapping[str, Any]
PROTOCOLS = ("greedy", "marginal")  # a result holds a summary for each it was judged by (docs/concepts/evaluation.md)
ANSWERS = "answers"  # the protocol of open queries
TIES = "expected over their order"  # a metric is its expectation over a random order of the tied
COMBINED = "combined"  # the same, by the policy's proofs together with rules and a prior
INTERVAL_LEVEL, INTERVAL_RESAMPLES = 0.95, 10_000  # of the bootstrap interval of an MRR
GREEDY_COLUMNS = ("greedy\nMRR", "\nHits@1", "\nHits@3", "proved\ntrue", "proved\nfalse")
GREEDY_KEYS = ("hits@1", "hits@3", "proved_positive", "proved_negative")
MARGINAL_COLUMNS = ("marginal\nMRR", "\nAUC-PR")

_MRR = (
    Metric("mrr", "1", "mean reciprocal rank; of ties the expected one"),
    Metric("mrr_interval", "1", "its 95% bootstrap interval over the queries, [low, high]"),
    *(Metric(f"hits@{k}", "1", f"share of queries whose answer is among the first {k}") for k in (1, 3, 10)),
)
_ASKED = (
    Metric("n_queries", "queries", "queries that were judged"),
    Metric("of_queries", "queries", "queries of the split, of which these may be a sample"),
    Metric("protocol", "", "how it was judged, in words"),
)
_PROVED = (
    *_MRR,
    Metric("proved_positive", "1", "share of true queries that were proved"),
    Metric("proved_negative", "1", "share of their corruptions that were proved"),
    *_ASKED,
)
_SHARPNESS = Metric("sharpness", "1", "what the policy's logits were multiplied by; of several the best on valid")
_UNEXPLORED = Metric("unexplored_mass", "1", "mean probability that the beam did not follow")
_ANSWERS = (
    *_MRR,
    Metric("answered", "1", "share of queries whose answer was derived at all"),
    _UNEXPLORED,
    Metric(
        "looked_at", "resolvents", "resolvents (what is left to prove) whose next steps were tried, mean of a query"
    ),
    Metric("candidates", "constants", "constants among which an answer is ranked, mean of a query"),
    Metric("open", "", "which arguments were asked for: head, tail"),
    *_ASKED,
)
_STEPS = {
    "action": "the fact, the rule or `end`",
    "probability": "that the policy gave it",
    "facts": "facts that the step used, those deleted as known among them",
    "resolvent": "atoms left to prove after it; empty: proved",
    "goal": "number of the goal that it treated; 0 is the query",
    "subgoals": "what its rule asks for, with all that the proof bound put in",
    "known": "numbers of the goals deleted as known facts",
}


class ProofResults(Results):
    """A result holds a summary of the ranking under each protocol."""

    scores: ClassVar[Mapping[str, Path]] = {"greedy MRR": ("greedy", "mrr"), "marginal AUC-PR": ("marginal", "auc_pr")}
    compared: ClassVar[Mapping[str, Path]] = {
        "greedy MRR": ("greedy", "mrr"),
        "marginal MRR": ("marginal", "mrr"),
        "AUC-PR": ("marginal", "auc_pr"),
    }
    form = ".3f"
    metrics: ClassVar[Mapping[str, tuple[Metric, ...]]] = {
        "": (
            Metric("value_error_valid", "return", "root mean square error of the critic on valid queries; eval.jsonl"),
            Metric("value_error_train", "return", "the same on training queries; eval.jsonl"),
        ),
        "greedy": _PROVED,
        "marginal": (
            *_PROVED,
            Metric("auc_pr", "1", "area under the precision-recall curve of all candidates pooled"),
            _UNEXPLORED,
            _SHARPNESS,
        ),
    }
    files: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "queries.jsonl": {
            "query": "the test query",
            "reciprocal_rank": "of the query among its corruptions under the greedy protocol",
            "candidates[].query": "the query itself first, then its best corruptions",
            "candidates[].label": "whether it is the true query",
            "candidates[].greedy_log_prob": "log-probability of the greedy proof; null: not proved",
            "candidates[].marginal_probability": "probability of any proof that the beam found",
            "candidates[].proved": "whether the greedy attempt is a proof",
            **{f"candidates[].steps[].{name}": meaning for name, meaning in _STEPS.items()},
        }
    }

    def baseline_rows(self, baselines: Json) -> dict[str, Json]:
        """Untrained networks where some were judged, the uniform policy and the shortest proof."""
        rows = {}
        if untrained := baselines.get("untrained"):
            rows[f"untrained (×{len(untrained['greedy']['mrr_each'])})"] = untrained
        if baselines:
            rows |= {"uniform policy": baselines["uniform"], "shortest proof": baselines["shortest_proof"]}
        return rows

    def table(self, rows: Mapping[str, Json]) -> Table:
        """Columns of the protocols that some row has; the interval of the MRR stands with the first protocol."""
        shown = [protocol for protocol in PROTOCOLS if any(protocol in result for result in rows.values())]
        columns = {"greedy": GREEDY_COLUMNS, "marginal": MARGINAL_COLUMNS}
        headers = ("", *(column for protocol in shown for column in columns[protocol]))
        cells = []
        for name, result in rows.items():
            row = [name]
            if "greedy" in shown:
                greedy = result.get("greedy", {})
                row += [_mrr(greedy), *(number(greedy.get(key)) for key in GREEDY_KEYS)]
            if "marginal" in shown:
                marginal = result.get("marginal", {})
                row += [number(marginal.get("mrr")) if "greedy" in shown else _mrr(marginal)]
                row += [number(marginal.get("auc_pr"))]
            cells.append(tuple(row))
        return Table(headers, tuple(cells))

    def notes(self, rows: Mapping[str, Json]) -> list[str]:
        """The protocols of the first row."""
        first, lines = next(iter(rows.values())), []
        for summary in (first[protocol] for protocol in PROTOCOLS if protocol in first):
            unexplored = summary.get("unexplored_mass")
            left = "" if unexplored is None else f"; {unexplored:.1%} of the probability unexplored"
            lines.append(f"{summary['protocol']}, {_of(summary, 'queries')}{left}")
        for name, result in rows.items():
            greedy, marginal = (len(look_up(result, protocol, "mrr_each") or ()) for protocol in PROTOCOLS)
            if greedy != marginal:
                lines.append(f"{name}: {marginal} of these networks by the marginal protocol, where they differ little")
        return lines

    def data_note(self, data: Json) -> str | None:
        """How much of the training data can be proved at all."""
        if not data:
            return None
        depth = f"{data['max_depth']} steps" if "max_depth" in data else "the depth limit"  # older runs do not tell
        return f"What the data allows within {depth}: {provable(data)}."


class AnswerResults(Results):
    """A result holds a summary of the ranking of answers to open queries."""

    scores: ClassVar[Mapping[str, Path]] = {"MRR": (ANSWERS, "mrr"), "Hits@1": (ANSWERS, "hits@1")}
    compared: ClassVar[Mapping[str, Path]] = {"MRR": (ANSWERS, "mrr"), "Hits@1": (ANSWERS, "hits@1")}
    form = ".3f"
    metrics: ClassVar[Mapping[str, tuple[Metric, ...]]] = {
        ANSWERS: (*_ANSWERS, _SHARPNESS),
        COMBINED: (
            *_ANSWERS,
            Metric("weights", "1", "weight of each source in the score, chosen on valid"),
            Metric("rules", "", "how the rules were put together"),
        ),
    }
    files: ClassVar[Mapping[str, Mapping[str, str]]] = {
        "queries.jsonl": {
            "query": "the open query; X is what is asked for",
            "predicate": "its predicate",
            "side": "which argument is asked for: head or tail",
            "answer": "the constant that the test triple has there",
            "rank": "its expected rank by the policy's proofs, other known answers left out",
            "better": "constants ranked before it",
            "tied": "other constants with the same score",
            "ranked": "constants among which it is ranked",
            "reciprocal_rank": "expected reciprocal rank",
            "probability": "of the proofs of the answer",
            "unexplored": "probability that the beam did not follow",
            "combined_rank": "rank by proofs, rules and prior together",
            "combined_reciprocal_rank": "expected reciprocal rank of these",
            "rank_without": "the combined rank without each source, by its name",
            "baseline_ranks": "rank by each baseline, by its name, of several networks the mean; null: not asked",
            "baseline_reciprocal_ranks": "the expected reciprocal ranks, of which the mean is the MRR of the baseline",
            "answers.of": "constants of which anything is said; this and what follows stands in 200 lines at most",
            "answers.listed[].answer": "a constant: the best, the right one, and the best wrong one",
            "answers.listed[].probability": "of its proofs",
            "answers.listed[].known": "whether it is another known answer, which has no rank",
            "answers.listed[].score": "combined score",
            "answers.listed[].parts": "what rules say of it, a probability, and the prior, the logarithm of one",
            "answers.listed[].contributions": "what each source adds to the score",
            "answers.listed[].right": "whether it is the answer asked for",
            "answers.listed[].rank": "its combined rank; null for a known answer",
            "candidates[].query": "the query with the right answer, then with the best wrong one, put in",
            "candidates[].label": "whether it is the right answer",
            "candidates[].proved": "whether a proof was found",
            "candidates[].probability": "of its proofs",
            **{f"candidates[].steps[].{name}": meaning for name, meaning in _STEPS.items()},
        }
    }

    def baseline_rows(self, baselines: Json) -> dict[str, Json]:
        """Each baseline, by its name."""
        return {baseline_name(name): result for name, result in baselines.items()}

    def rows(self, summary: Json) -> dict[str, Json]:
        """The policy alone, then combined with rules and prior, then the baselines."""
        rows = super().rows(summary)
        if combined := summary["test"].get(COMBINED):
            first, *others = rows.items()
            rows = dict([first, ("combined", {ANSWERS: combined}), *others])
        return rows

    def verdict(self, test: Json, baselines: Json) -> str:
        """Which baselines the policy alone and its combination do not beat; of one asked less, how many queries."""
        asked = test[ANSWERS].get("n_queries")
        baselines = {_with_sample(name, one.get(ANSWERS, {}), asked): one for name, one in baselines.items()}
        alone = super().verdict(test, baselines)
        if COMBINED not in test:
            return alone
        combined = super().verdict({ANSWERS: test[COMBINED]}, baselines)
        return f"The policy alone: {alone[0].lower()}{alone[1:]} Combined: {combined[0].lower()}{combined[1:]}"

    def table(self, rows: Mapping[str, Json]) -> Table:
        """Ranks, the share of answers found, and how many resolvents a query takes."""
        cells = []
        for name, result in rows.items():
            summary = result.get(ANSWERS, {})
            numbers = [number(summary.get(key)) for key in ("hits@1", "hits@3", "hits@10", "answered")]
            cells.append((name, _mrr(summary), *numbers, number(summary.get("looked_at"), ".0f")))
        return Table(("", "MRR", "Hits@1", "Hits@3", "Hits@10", "found", "resolvents\na query"), tuple(cells))

    def notes(self, rows: Mapping[str, Json]) -> list[str]:
        """The protocol, and of how many queries; what a search without learning looked at."""
        summary = next(iter(rows.values())).get(ANSWERS, {})
        unexplored = summary.get("unexplored_mass")
        left = "" if unexplored is None else f"; {unexplored:.1%} of the probability unexplored"
        sides = summary.get("open", "head and tail")
        weights = [
            f"{name}: {how}" for name, one in rows.items() if (how := sum_of(look_up(one, ANSWERS, "weights") or {}))
        ]
        tried = any(one.get(ANSWERS, {}).get("looked_at") is not None for one in rows.values())
        return [
            f"{summary['protocol']}; {_of(summary, 'triples')}, each with {sides} open, among "
            f"{summary['candidates']:,.0f} candidates on average{left}",
            *([f"found: the right answer is {'; '.join(found)}"] if (found := _found(rows)) else []),
            *(["resolvents: states, the atoms left to prove, whose next steps were tried"] if tried else []),
            *(
                [f"{'; '.join(weights)}; weights were chosen on valid, so on test a part may rank higher than the sum"]
                if weights
                else []
            ),
            *(_searched(name, one[ANSWERS]) for name, one in rows.items() if "given_up" in one.get(ANSWERS, {})),
        ]

    def data_note(self, data: Json) -> str | None:
        """What the data allows."""
        if not data:
            return None
        size = f"{data['predicates']:,} relations, {data['constants']:,} constants"
        return f"{data['facts']:,} facts, {size}, {data['rules']:,} rules, at most {data['max_depth']} steps."


def sum_of(weights: Json) -> str:
    """The weights of a combined score as the sum that it is."""
    return " + ".join(f"{weight:g} {source}" for source, weight in weights.items())


def answer_numbers(answer: Json) -> dict[str, str]:
    """What a table says of an answer: the probability of its proofs, what rules and prior say, and the combined score.

    Args:
        answer: as ``ppo-jax ask --json`` and ``queries.jsonl`` hold one; without combination it has proofs alone.
    """
    numbers = {"proofs": f"{answer['probability']:.4f}"}
    for name, value in answer.get("parts", {}).items():
        # What a prior says is the logarithm of a probability.
        numbers[name] = f"{math.exp(value) if name == 'prior' else value:.4f}"
    return numbers | ({"score": f"{answer['score']:.2f}"} if "score" in answer else {})


def provable(data: Json) -> str:
    """How many training positives and negatives can be proved, how many cannot, and of how many it is not known."""
    said, given_up = [], data["searches_given_up"]
    for kind in ("positives", "negatives"):
        proved, searched = data[f"train_{kind}_provable"], data[f"train_{kind}_searched"]
        counts = f"of {searched:,} training {kind} {proved:,} can be proved"
        if (unknown := data.get(f"train_{kind}_given_up", None if given_up else 0)) is not None:
            counts += f", {searched - proved - unknown:,} cannot"
            counts += f", the search for {unknown:,} was given up" if unknown else ""
        said.append(counts)
    if given_up and "train_positives_given_up" not in data:  # older runs tell the sum alone
        said.append(f"the search for {given_up:,} of both was given up")
    if left_out := data.get("searches_left_out"):  # older runs left none out
        said.append(f"{left_out:,} more were not searched, it would have taken minutes")
    return "; ".join(said)


def _with_sample(name: str, summary: Json, asked: int | None) -> str:
    """The name of a baseline that was asked as many queries as the policy, otherwise also how many."""
    n_queries = summary.get("n_queries")
    return name if n_queries in (asked, None) else f"{name} on {n_queries:,} triples"


def _found(rows: Mapping[str, Json]) -> list[str]:
    """For how many of the open queries proofs, rules and search reach the right answer; the counts of each add up."""
    said = []
    by = {next(iter(rows)): "proved by the policy", "rules": "derived by rules"}
    for name, how in (by | {"shortest proof": "found by breadth-first search"}).items():
        summary = look_up(rows, name, ANSWERS) or {}
        if (share := summary.get("answered")) is None:
            continue
        queries = summary["n_queries"] * (1 + summary.get("open", "head and tail").count(" and "))
        found, given_up = round(share * queries), summary.get("given_up", 0)
        more = f", given up for {given_up:,}" if given_up else ""
        said.append(f"{how} for {found:,} of {queries:,} queries, not for {queries - found - given_up:,}{more}")
    return said


def _searched(name: str, summary: Json) -> str:
    """What a breadth-first search was asked, and how often it was given up."""
    given_up, searches = summary["given_up"], summary["searches"]
    return (
        f"{name}: {summary['protocol']}; {_of(summary, 'triples')}; {given_up:,} of {searches:,} searches given up, "
        "what they did not find counts as not derived"
    )


def _of(summary: Json, what: str) -> str:
    """How many queries or triples were asked, and of how many; older runs do not tell of how many."""
    asked, there_are = summary["n_queries"], summary.get("of_queries")
    if there_are is None or asked == there_are:
        return f"{asked:,} {what}" if there_are is None else f"all {asked:,} {what}"
    return f"{asked:,} of {there_are:,} {what}"


def _mrr(summary: Json) -> str:
    interval = summary.get("mrr_interval")
    return number(summary.get("mrr")) + (f" ({interval[0]:.2f}–{interval[1]:.2f})" if interval else "")
