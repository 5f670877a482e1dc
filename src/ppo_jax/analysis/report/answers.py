"""The section "Answers" of runs that answer open queries: what each part of the score is worth, and questions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ppo_jax.analysis.readers import RunLog
from ppo_jax.analysis.report import proof_trees
from ppo_jax.analysis.report.blocks import (
    Answer,
    Block,
    Cell,
    Drawings,
    Part,
    Proof,
    Question,
    Questions,
    Table,
    Text,
    Title,
)
from ppo_jax.analysis.report.svg import SERIES, Axes, Drawing, make_figure, shorten
from ppo_jax.analysis.run_sets import RunSet
from ppo_jax.proving.results import ANSWERS, COMBINED, answer_numbers
from ppo_jax.results import look_up
from ppo_jax.tasks import results

__all__ = ["answers"]

Json = Mapping[str, Any]
PREDICATES_SHOWN = 20
MEASURES = {"MRR": "mrr", "Hits@1": "hits@1", "Hits@10": "hits@10"}


def answers(run_sets: Sequence[RunSet]) -> list[Block]:
    """Of the runs that answer: the MRR of each part alone and together, where it helped, predicates, and questions."""
    answering = [run_set for run_set in run_sets if any(map(_parts, run_set.logs))]
    blocks: list[Block] = []
    if answering:
        blocks.append(Drawings((_draw_parts(answering),)))
    for run_set in answering:
        if len(run_sets) > 1:
            blocks.append(Title(run_set.name))
        lines = [line for log in run_set.logs for line in log.queries if "rank" in line]
        blocks += [*_worth(run_set), *_moves(lines), *_predicates(lines)]
        asked = next((log for log in run_set.logs if any(map(_told, log.queries))), None)
        blocks += _questions(asked) if asked else []
    return blocks


def _parts(log: RunLog) -> dict[str, Json]:
    """Summaries on test by the name of their part: baselines, the policy alone, and what is combined."""
    if look_up(log.summary, "test", ANSWERS) is None:
        return {}
    baselines = log.summary.get("baselines")
    rows = results.ANSWERED.baseline_rows(baselines if isinstance(baselines, Mapping) else {})
    together = rows.pop("rules and prior", None)
    rows |= {"policy": log.summary["test"]} | ({"rules and prior": together} if together else {})
    if combined := log.summary["test"].get(COMBINED):
        rows["combined"] = {ANSWERS: combined}
    found = {name: look_up(result, ANSWERS) for name, result in rows.items()}
    return {name: one for name, one in found.items() if one is not None}


def _measured(run_set: RunSet, part: str, key: str) -> list[float]:
    """Of each seed that has it."""
    values = [look_up(_parts(log).get(part), key) for log in run_set.logs]
    return [value for value in values if isinstance(value, int | float)]


def _names(run_sets: Iterable[RunSet]) -> list[str]:
    """The parts of all runs; what is combined comes last."""
    every = list(dict.fromkeys(name for run_set in run_sets for log in run_set.logs for name in _parts(log)))
    last = ("policy", "rules and prior", "combined")
    return [name for name in every if name not in last] + [name for name in last if name in every]


def _draw_parts(run_sets: Sequence[RunSet]) -> Drawing:
    names = _names(run_sets)
    thick = 0.7 / len(run_sets)

    def paint(axes: Axes) -> None:
        for i, run_set in enumerate(run_sets):
            means = [np.mean(_measured(run_set, name, "mrr") or [0.0]) for name in names]
            places = [k + thick * (i + 0.5) - 0.35 for k in range(len(names))]
            axes.barh(places, means, height=0.85 * thick, color=SERIES[i % len(SERIES)])
            for place, mean, name in zip(places, means, names, strict=True):
                if _measured(run_set, name, "mrr"):
                    axes.text(mean + 0.012, place, f"{mean:.3f}", va="center", fontsize=9.5)
        axes.set_yticks(range(len(names)), [shorten(name, 30) for name in names], fontsize=9.5)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(0.0, 1.1)  # room for the number beside a bar of 1
        axes.set_xticks(np.arange(6) / 5)
        axes.grid(False, axis="y")
        axes.grid(True, axis="x")

    legend = [(one.name, SERIES[i % len(SERIES)], "-") for i, one in enumerate(run_sets)] if len(run_sets) > 1 else []
    return make_figure(
        *("answers", "MRR of each part, alone and together", "On test, filtered; means over the seeds.", paint),
        legend=legend,
        height=0.5 + 0.13 * len(names) * (1 + len(run_sets)),
    )


def _worth(run_set: RunSet) -> list[Block]:
    rows = []
    for name in _names([run_set]):
        cells = [Cell(name, strong=name == "combined")]
        for label, key in MEASURES.items():
            values = _measured(run_set, name, key)
            note = _spread(run_set, name, values) if label == "MRR" else ""
            cells.append(Cell(f"{np.mean(values):.3f}" if values else "–", note))
        rows.append(tuple(cells))
    weights = dict.fromkeys(
        " + ".join(f"{weight:g} {source}" for source, weight in chosen.items())
        for log in run_set.logs
        if isinstance(chosen := look_up(log.summary, "test", COMBINED, "weights"), Mapping)
    )
    alone = next(log.summary["test"] for log in run_set.logs if _parts(log))
    told = look_up(alone, ANSWERS, "protocol") is not None
    said = [f"Policy: {results.ANSWERED.notes({'': alone})[0]}."] if told else []
    said += [f"Combined, with weights chosen on valid: {', or '.join(weights)}."] if weights else []
    several = len(run_set.logs) > 1
    said.append("Mean ± standard deviation over the seeds." if several else "Below the MRR its 95% interval.")
    return [Table(("", *MEASURES), tuple(rows)), Text(" ".join(said), True)]


def _spread(run_set: RunSet, part: str, values: Sequence[float]) -> str:
    """How sure an MRR is: the deviation of several seeds, of one the interval over its queries."""
    if len(values) > 1:
        return f"± {np.std(values, ddof=1):.3f}"
    interval = look_up(_parts(run_set.logs[0]).get(part), "mrr_interval")
    return f"{interval[0]:.2f} to {interval[1]:.2f}" if interval and len(run_set.logs) == 1 else ""


def _moves(lines: Sequence[Json]) -> list[Block]:
    """In how many queries the combination, and each part of it, ranks the right answer better or worse."""
    compared = [("combined, against the policy alone", [(line["rank"], _combined(line)) for line in lines])]
    for name in dict.fromkeys(name for line in lines for name in line.get("rank_without", ())):
        ranks = [(line["rank_without"][name], _combined(line)) for line in lines if "rank_without" in line]
        compared.append((f"with {name}, against without", ranks))
    rows = []
    for name, ranks in compared:
        known = [(before, after) for before, after in ranks if after is not None]
        if known:
            better, worse = sum(a < b for b, a in known), sum(a > b for b, a in known)
            rows.append((Cell(name), *(Cell(f"{n:,}") for n in (better, worse, len(known) - better - worse))))
    if not rows:
        return []
    seeds, rest = divmod(len(lines), asked := _asked(lines))
    times = f" × {seeds} seeds" if seeds > 1 else ""
    said = f"Of {len(lines):,} queries of all seeds" if rest else f"Of {asked:,} queries{times}"
    said += ", head and tail each counted."
    said += " Without a part the others keep their weights." if len(compared) > 1 else ""
    return [Table(("the right answer ranks", "better", "worse", "the same"), tuple(rows)), Text(said, True)]


def _asked(lines: Sequence[Json]) -> int:
    """How many queries there are; the seeds of a run set ask the same."""
    return len({(line.get("query"), line.get("answer")) for line in lines})


def _predicates(lines: Sequence[Json]) -> list[Block]:
    """MRR by predicate and side."""
    of: dict[str, dict[str, list[Json]]] = {}
    for line in lines:
        predicate = line.get("predicate", str(line.get("query")).partition("(")[0])
        of.setdefault(predicate, {"tail": [], "head": []}).setdefault(line.get("side", "tail"), []).append(line)
    if not of:
        return []
    order = sorted(of, key=lambda name: -sum(map(len, of[name].values())))
    together = any("combined_reciprocal_rank" in line for line in lines)
    columns = [("reciprocal_rank", "policy"), *([("combined_reciprocal_rank", "combined")] if together else [])]
    rows = []
    for name in order[:PREDICATES_SHOWN]:
        cells = [Cell(name), Cell(f"{sum(map(_asked, of[name].values())):,}")]
        for key, _ in columns:
            for side in ("tail", "head"):
                values = [line[key] for line in of[name][side] if key in line]
                cells.append(Cell(f"{np.mean(values):.3f}" if values else "–"))
        rows.append(tuple(cells))
    head = (
        "MRR by predicate",
        "queries",
        *(f"{title}, {side}" for _, title in columns for side in ("tail", "head")),
    )
    left = len(order) - len(rows)
    which = f"The {len(rows)} predicates with the most queries, {left:,} are left out. " if left else ""
    which += "Head or tail is what is open."
    return [Table(head, tuple(rows)), Text(which, True)]


def _questions(log: RunLog) -> list[Block]:
    told = [line for line in log.queries if _told(line)]
    chosen = _choose(told)
    sources = tuple(chosen[0][1]["answers"]["listed"][0]["contributions"])
    return [
        Title("Questions"),
        Text(
            f"In {log.name} {len(told):,} queries have answers on record. Shown are those ranked best, in the middle "
            "and worst, and those that the combination moved most. Numbers: the probability of the proofs, what rules "
            "and prior say as a probability, and the combined score. A bar shows what each part adds to the score "
            "beyond what it adds to the listed answer to which it adds least, so two bars differ as the scores do."
        ),
        Text(
            "Known answers, by a triple of any split, are not ranked. Of a proof, goals are treated leftmost first "
            "among those with a constant; beside each stands what treated it and the step's probability.",
            True,
        ),
        Questions(sources, tuple(_question(why, line) for why, line in chosen)),
    ]


def _choose(told: Sequence[Json]) -> list[tuple[str, Json]]:
    """Why a query is shown, and its line; of equals the first whose right answer has a proof of several steps."""

    def plain(line: Json) -> bool:
        return not any(one["label"] and len(one["steps"]) > 1 for one in line["candidates"])

    def gain(line: Json) -> float:
        return 1 / _combined(line) - 1 / line["rank"]

    ordered = sorted(told, key=lambda line: (_combined(line), plain(line)))
    n = len(ordered)
    orders = {
        "ranked best": ordered,
        "ranked in the middle": ordered[n // 2 :] + ordered[: n // 2],
        "ranked worst": sorted(told, key=lambda line: (-_combined(line), plain(line))),
        "moved up most": sorted((line for line in told if gain(line) > 0), key=lambda line: -gain(line)),
        "moved down most": sorted((line for line in told if gain(line) < 0), key=gain),
    }
    chosen: list[tuple[str, Json]] = []
    for why, lines in orders.items():
        seen = [id(line) for _, line in chosen]
        chosen += [(why, line) for line in lines if id(line) not in seen][:1]
    return chosen


def _question(why: str, line: Json) -> Question:
    listed = line["answers"]["listed"]
    # What a part adds to every answer says nothing of their order.
    least = {name: min(one["contributions"][name] for one in listed) for name in listed[0]["contributions"]}
    longest = max(sum(one["contributions"].values()) for one in listed) - sum(least.values())
    rows = []
    for one in listed:
        numbers = answer_numbers(one)
        parts = [
            Part(numbers[name], _signed(added), 100 * (added - least[name]) / (longest or 1.0))
            for name, added in one["contributions"].items()
        ]
        mark = "right" if one["right"] else "known" if one["known"] else ""
        score = numbers["score"].replace("-", "−")
        rows.append(Answer(one["answer"], _rank(one["rank"]), mark, score, tuple(parts)))
    without = "".join(f", {_rank(rank)} without {name}" for name, rank in line.get("rank_without", {}).items())
    remark = (
        f"Right is {line['answer']}, rank {_rank(_combined(line))} of {line['ranked']:,}; {_rank(line['rank'])} by the "
        f"policy alone{without}. Listed: {len(listed)} answers, of {line['answers']['of']:,} of which anything is said."
    )
    if not any(one["label"] and one["proved"] for one in line["candidates"]):
        remark += " No proof of the right one was found."
    captions = {True: "Proof of the right answer", False: "Proof of the best wrong answer"}
    proofs = [
        Proof(
            captions[one["label"]],
            one["probability"],
            proof_trees.tree(one["query"], one["steps"]),
            tuple(dict.fromkeys(s["action"] for s in one["steps"] if not s["action"].startswith("fact "))),
        )
        for one in line["candidates"]
        if one["proved"]
    ]
    return Question(why, line["query"], remark, tuple(rows), tuple(proofs))


def _told(line: Json) -> bool:
    return bool(look_up(line, "answers", "listed"))


def _combined(line: Json) -> Any:
    return line.get("combined_rank")


def _rank(rank: float | None) -> str:
    return "–" if rank is None else f"{rank:,g}"


def _signed(x: float) -> str:
    return f"{x:+.2f}".replace("-", "−") if abs(x) >= 0.005 else "0"
