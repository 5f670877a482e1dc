"""How the numbers of a run were measured: what belongs into the caption of a table, and beside a file of ranks.

What runs of one table must share stands apart from what is each run's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ppo_jax.analysis.readers import RunLog
from ppo_jax.proving.results import ANSWERS, COMBINED, INTERVAL_LEVEL, INTERVAL_RESAMPLES, PROTOCOLS, TIES, sum_of
from ppo_jax.results import baseline_name, look_up
from ppo_jax.tasks import results

__all__ = ["UNTOLD", "caption", "own", "shared"]

Json = Mapping[str, Any]
# What bounds a search, in force: key -> what there are so many of at most. Of successors these are fewer than the
# setting where no state of the graph can have as many.
SIZES = {"max_depth": "proof steps", "max_atoms": "atoms of a resolvent", "max_successors": "successors"}
CHOSE = {"triples": "n_queries", "of": "of_queries"}  # the triples of valid by which parameters were chosen
COUNTS = {"facts": "facts", "relations": "predicates", "constants": "constants"}  # what the summary calls them
LIKE_TRAIN = {"test_triples_like_train": "test_triples", "test_triples_reversed_in_train": "reversed"}
# What older runs do not tell.
UNTOLD = (*SIZES, *LIKE_TRAIN, "rules_mined_by", "rules_in_proofs", "shortest_proof_resolvents")


def shared(run: RunLog) -> dict[str, Any]:
    """The data and the protocol of a completed run, which runs in one table have in common."""
    settings, summary = run.settings, run.summary
    data = summary.get("data") or {}
    if results.of(summary) is results.EPISODES:
        return {"env_id": summary.get("env_id"), "split": "test", "episodes": settings.get("eval_episodes")}
    facts: dict[str, Any] = {
        "data": data.get("name", summary.get("env_id")),
        "sha256": data.get("sha256"),
        **{name: data.get(key) for name, key in COUNTS.items()},
        "split": "test",
    }
    judged = {name: one for name in (ANSWERS, *PROTOCOLS) if (one := look_up(summary, "test", name))}
    protocol = next(iter(judged), "")
    first: Json = judged.get(protocol, {})
    facts |= {"test_triples": first.get("n_queries"), "of": first.get("of_queries")}
    facts |= {f"valid_{name}": look_up(summary, "valid", protocol, key) for name, key in CHOSE.items()}
    facts |= {name: look_up(data, "leakage", key) for name, key in LIKE_TRAIN.items()}
    if ANSWERS in judged:
        facts |= {"open": first.get("open", "head and tail"), "candidates": first.get("candidates")}
        facts |= {"filtered_by": ["train", "valid", "test"]}
        facts |= {"max_rules": settings.get("max_rules"), "rules": data.get("rules"), "rules_from": _rules_from(run)}
        facts |= {"rules_in_proofs": data.get("rules_in_proofs"), "rules_mined_by": data.get("mined_by")}
        facts["prior"] = _prior(run)
        facts["samples"] = {
            baseline_name(name): n
            for name, one in (summary.get("baselines") or {}).items()
            if (n := look_up(one, ANSWERS, "n_queries")) not in (None, first.get("n_queries"))
        }
    else:
        facts |= {"n_corruptions": settings.get("n_corruptions"), "mask_end": settings.get("mask_end")}
    facts |= {size: data.get(size) for size in SIZES}
    searched = look_up(summary, "baselines", "shortest_proof", protocol, "max_resolvents")
    facts["shortest_proof_resolvents"] = searched
    return facts | {"beam_width": settings.get("beam_width"), "ties": TIES}


def own(run: RunLog) -> dict[str, Any]:
    """What a completed run has for itself: version and seed, how long it trained, what was chosen on valid."""
    summary = run.summary
    facts: dict[str, Any] = {
        "run": run.name,
        "ppo_jax": run.version,
        **{key: summary.get(key) for key in ("seed", "env_steps", "updates", "best_update")},
        "evaluations": len(run.evaluations) or None,
    }
    untrained = [one for name, one in (summary.get("baselines") or {}).items() if name.startswith("untrained")]
    for protocol in (ANSWERS, *PROTOCOLS):
        if each := [networks for one in untrained if (networks := look_up(one, protocol, "mrr_each"))]:
            facts.setdefault("untrained_networks", {})[protocol] = len(each[0])
    for name in (ANSWERS, "marginal"):
        if (sharpness := look_up(summary, "test", name, "sharpness")) is not None:
            facts["sharpness"] = sharpness
    if combined := look_up(summary, "test", COMBINED):
        both = look_up(summary, "baselines", "rules and prior", ANSWERS) or {}
        weights = {"combined": combined.get("weights"), "rules and prior": both.get("weights")}
        facts["rules_combined_by"] = str(combined.get("rules")).replace("_", "-")
        facts["weights"] = {name: one for name, one in weights.items() if one}
    if results.of(summary) is not results.EPISODES and run.settings.get("prior"):
        facts["prior_file"] = run.settings["prior"]
        facts |= {f"prior_{name}": look_up(summary, "data", "prior", name) for name in ("seed", "sha256")}
    return facts


def caption(logs: Sequence[RunLog]) -> str:
    """How the numbers of completed runs, which have `shared` in common, were measured, in sentences."""
    common, runs = shared(logs[0]), [own(log) for log in logs]
    said = [_trained(runs, common)]
    if "data" not in common:
        said.insert(0, f"{common['env_id']}: returns of {common['episodes']} test episodes.")
        return " ".join(said)
    cut = look_up(logs[0].summary, "data", "widest_row_cut")
    said.insert(0, f"{common['data']}{_counts(common)}, {_asked(common, cut)}.")
    several = len(logs[0].settings.get("sharpness") or (1.0, 2.0)) > 1  # older runs do not tell: there were several
    said.append(f"Beam of {common['beam_width']}{_chosen(runs, 'sharpness', ', logits × {}', several)}.")
    if "rules" in common:
        put_together = _chosen(runs, "rules_combined_by", ", put together by {}")
        n = common["rules"]
        most = common["max_rules"]
        some = n > (common["rules_in_proofs"] or most or n)  # older runs do not tell how many proofs take
        taken = f"; proofs take the surest {most} of a predicate" if some else ""
        rules = f"{n:,} rule{'' if n == 1 else 's'}, {common['rules_from']}{_mined(common['rules_mined_by'])}"
        said.append(f"{rules}{put_together}{taken}.")
        said.append(f"Prior: {_named(common['prior'])}{_priors(runs)}." if common["prior"] else "No prior.")
        said += [f"{name[0].upper()}{name[1:]}: on {n:,} of the triples." for name, n in common["samples"].items()]
        for name in ("combined", "rules and prior"):
            sums = dict.fromkeys(sum_of(one["weights"][name]) for one in runs if name in one.get("weights", {}))
            said += [f"{name[0].upper()}{name[1:]}: {' or '.join(sums)}, weights chosen on valid."] if sums else []
    if most := common["shortest_proof_resolvents"]:
        said.append(f"Shortest proof: breadth first, at most {most:,} resolvents a query.")
    if len(runs) > 1:
        said.append(f"Mean ± standard deviation over {len(runs)} seeds (n − 1), not over triples{_interval(logs[0])}.")
    else:
        said.append(
            f"In brackets the {INTERVAL_LEVEL:.0%} interval of a percentile bootstrap over triples, "
            f"{INTERVAL_RESAMPLES:,} resamples."
        )
    return " ".join(said)


def _counts(common: Json) -> str:
    """How large the graph is, in brackets; empty where a run does not tell."""
    counts = [f"{common[name]:,} {name}" for name in COUNTS if common[name] is not None]
    return f" ({', '.join(counts)})" if counts else ""


def _asked(common: Json, cut: int | None) -> str:
    """What was asked; `cut` are the facts of the widest row that max_successors leaves out, None of older runs."""
    n, there_are = common["test_triples"], common["of"]
    how_many = _of(n, there_are)
    like_train = common["test_triples_like_train"]
    of = "" if there_are == n else f" of the {there_are:,}"
    like = "" if like_train is None else f" ({like_train:,}{of} with their like in train)"
    sizes = ", ".join(f"{common[size]} {what}" for size, what in SIZES.items() if common[size])
    no_more = " (no state of the graph can have more)" if common["max_successors"] and cut == 0 else ""
    at_most = f"; at most {sizes}{no_more}" if sizes else ""
    if "open" not in common:
        return f"{how_many} test triples{like}, each ranked among its corruptions, ties: {common['ties']}{at_most}"
    return (
        f"{how_many} test triples{like}, {common['open']} open, ranked among all constants without other answers that "
        f"{', '.join(common['filtered_by'][:-1])} or {common['filtered_by'][-1]} know: {common['candidates']:,.0f} "
        f"candidates on average, ties: {common['ties']}{at_most}"
    )


def _of(n: int, there_are: int | None) -> str:
    return f"all {n:,}" if there_are in (n, None) else f"{n:,} of {there_are:,}"


def _interval(log: RunLog) -> str:
    """How wide the interval over triples is, of the first row of the first run; empty where it does not tell."""
    judged = (look_up(log.summary, "test", name, "mrr_interval") for name in (ANSWERS, *PROTOCOLS))
    low, high = next(filter(None, judged), (None, None))
    if low is None:
        return ""
    width = f"the {INTERVAL_LEVEL:.0%} bootstrap interval of the first row's MRR"
    return f": over these {width} is {low:.2f}–{high:.2f} with seed {log.summary.get('seed')}"


def _trained(runs: Sequence[Json], common: Json) -> str:
    seeds = ", ".join(str(one["seed"]) for one in runs)
    steps = " or ".join(dict.fromkeys(f"{one['env_steps']:,}" for one in runs))
    each = [f"{one['best_update']} of {one['updates']}" for one in runs]
    updates = each[0] if len(set(each)) == 1 else ", ".join(each)
    n = common.get("valid_triples")
    valid = "valid" if n is None else f"valid ({_of(n, common['valid_of'])} triples)"
    chosen = f"the parameters best on {valid}, of update {updates}"
    if all(one["evaluations"] == 1 for one in runs):
        chosen = f"the best parameters are the last, which alone were judged on {valid}"
    versions = " or ".join(dict.fromkeys(one["ppo_jax"] for one in runs if one["ppo_jax"]))
    program = f"PPO of ppo_jax {versions}" if versions else "PPO"
    return f"{program}, {steps} environment steps, seed{'s' if len(runs) > 1 else ''} {seeds}; {chosen}."


def _chosen(runs: Sequence[Json], name: str, form: str, several: bool = True) -> str:
    """What the runs chose on valid, of `several` or as the only one, in `form`; empty where none tells."""
    values = (one[name] for one in runs if one.get(name) is not None)
    shown = dict.fromkeys(f"{value:g}" if isinstance(value, float) else str(value) for value in values)
    return f"{form.format(' or '.join(shown))}{' (chosen on valid)' if several else ''}" if shown else ""


def _rules_from(run: RunLog) -> str:
    """Whether the run mined its rules, into its own folder, or which file they are of."""
    file = Path(str(run.settings.get("rules", "")))
    # A run mines into its own folder, which may have been moved since; a sweep into its own.
    ours = file.parent.name == run.name or any((file.parent / name).is_file() for name in ("config.toml", "sweep.json"))
    return "mined from the training facts" if file.is_absolute() and ours else f"of {file.name}"


def _prior(run: RunLog) -> dict[str, Any] | None:
    """Model and dimension; of older runs the name of its file."""
    if not run.settings.get("prior"):
        return None
    prior = look_up(run.summary, "data", "prior") or {"model": "unknown"}
    return {key: value for key, value in prior.items() if key not in ("seed", "sha256")}  # of its own in each run


def _priors(runs: Sequence[Json]) -> str:
    """The seeds of the priors, where all tell; of several runs whether each has its own."""
    by_run = {str(one.get("prior_sha256") or one.get("prior_file")): one.get("prior_seed") for one in runs}
    seeds = list(by_run.values())  # older runs tell neither checksum nor seed
    said = f", seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}" if None not in seeds else ""
    each = ", one of its own each" if len(seeds) == len(runs) else f", {len(seeds)} of them"
    return said if len(seeds) == 1 else f"{each}{said}"


def _mined(limits: Json | None) -> str:
    """The limits of a mining that most depends on, in brackets; empty where rules are given, or nothing is told."""
    if not limits:
        return ""
    kinds = "" if limits.get("constants", True) else ", none with constants"
    return f" (mined: at most {limits.get('max_length')} atoms{kinds}, confidence from {limits.get('min_confidence')})"


def _named(prior: Json) -> str:
    if "dim" not in prior:
        return "embeddings whose model and dimension the run does not tell"
    names = {"complex": "ComplEx", "rotate": "RotatE"}
    return f"{names.get(prior['model'], prior['model'])} of dimension {prior['dim']}"
