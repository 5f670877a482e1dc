"""Diagnosis: all rules on one run, weighed against each other, and the changed configuration."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import tomlkit

from ppo_jax.analysis import vocabulary
from ppo_jax.analysis.readers import RunLog
from ppo_jax.analysis.rules import critic, entropy, policy, returns, task
from ppo_jax.analysis.rules.evidence import Evidence, overflow_allowed
from ppo_jax.analysis.rules.rule import Rule
from ppo_jax.config import SECTIONS, from_dict
from ppo_jax.config.suggestions import nearest_divisors
from ppo_jax.runs.files import to_json
from ppo_jax.types import PPOJaxError

__all__ = ["CAUSES", "EXCLUDES", "RULES", "SEVERITIES", "Diagnosis", "Finding", "Unjudged", "diagnose", "fix"]

SEVERITIES = ("info", "warning", "error")

# Within one severity and one depth of explanation, earlier rules are reported first.
RULES = (
    critic.non_finite,
    task.data_leak,
    task.episodes_not_restarted,
    critic.advantages_degenerate,
    policy.rollout_too_small,
    policy.lr_too_high,
    critic.reward_scale,
    critic.horizon_too_short,
    policy.lr_too_low,
    entropy.entropy_bonus_dominates,
    policy.too_many_epochs,
    policy.batch_exceeds_rollout,
    policy.rollout_shorter_than_episode,
    policy.kl_target_unreachable,
    policy.kl_early_stops,
    entropy.entropy_collapse,
    returns.return_collapse,
    entropy.std_grows,
    entropy.entropy_stuck,
    policy.clip_fraction_high,
    critic.value_clip_saturated,
    critic.truncation_dominates,
    critic.critic_worse_than_mean,
    critic.critic_uninformative,
    critic.value_loss_high,
    critic.critic_memorises,
    returns.evaluation_below_training,
    task.overfitting,
    task.beaten_by_baseline,
    task.successors_overflow,
    task.seed_outlier,
    critic.returns_degenerate,
    critic.gradient_always_clipped,
    task.action_space_forced,
    entropy.no_entropy_schedule,
    policy.no_lr_schedule,
    returns.memory_missing,
    returns.memory_needed,
    returns.plateau,
    returns.still_improving,
)

_STEPS = ("lr-too-high", "too-many-epochs", "kl-target-unreachable", "kl-early-stops")
_CRITIC = (
    *("non-finite", "rollout-too-small", "reward-scale", *_STEPS, "batch-exceeds-rollout", "value-clip-saturated"),
    *("lr-too-low", "memory-missing", "memory-needed"),
)
_POLICY = ("non-finite", "advantages-degenerate", "lr-too-high", "lr-too-low", "entropy-bonus-dominates")
# Effect -> what explains it where both are found. Without cycles.
CAUSES: Mapping[str, tuple[str, ...]] = {
    "non-finite": ("lr-too-high",),
    "lr-too-low": ("reward-scale", "batch-exceeds-rollout", "memory-missing"),
    "kl-target-unreachable": ("lr-too-high",),
    "kl-early-stops": ("lr-too-high", "too-many-epochs", "kl-target-unreachable"),
    "clip-fraction-high": ("lr-too-high", "too-many-epochs"),
    "gradient-always-clipped": ("reward-scale", "lr-too-high"),
    "value-clip-saturated": ("reward-scale",),
    "entropy-collapse": ("non-finite", "lr-too-high", "too-many-epochs", "reward-scale"),
    "return-collapse": ("non-finite", "lr-too-high", "too-many-epochs", "entropy-collapse", "std-grows"),
    "std-grows": ("entropy-bonus-dominates", "reward-scale"),
    "entropy-stuck": (
        *(*_POLICY, "rollout-too-small", "reward-scale", "horizon-too-short", "kl-target-unreachable"),
        *("memory-missing", "memory-needed"),
    ),
    "critic-worse-than-mean": (*_CRITIC, "return-collapse"),
    "critic-uninformative": (*_CRITIC, "return-collapse"),
    "value-loss-high": (*_CRITIC, "critic-worse-than-mean"),
    "returns-degenerate": (*_POLICY, "entropy-collapse", "return-collapse", "horizon-too-short"),
    "overfitting": ("data-leak", "too-many-epochs"),
    "plateau": ("entropy-collapse", "horizon-too-short", "kl-target-unreachable", "returns-degenerate"),
    "beaten-by-baseline": (
        *_POLICY,
        "horizon-too-short",
        "entropy-collapse",
        "overfitting",
        "critic-memorises",
        "successors-overflow",
    ),
    "seed-outlier": ("non-finite", "entropy-collapse", "critic-worse-than-mean"),
}
# Finding -> those it rules out: they would contradict it, or mean nothing beside it.
EXCLUDES: Mapping[str, tuple[str, ...]] = {
    "returns-degenerate": (
        *("critic-worse-than-mean", "critic-uninformative", "value-loss-high", "critic-memorises"),
        *("still-improving", "memory-needed"),
    ),
    "advantages-degenerate": (
        *("critic-worse-than-mean", "critic-uninformative", "value-loss-high", "lr-too-low", "memory-needed"),
        "reward-scale",
    ),
    "non-finite": ("lr-too-low",),
    "rollout-too-small": ("lr-too-low", "rollout-shorter-than-episode", "memory-needed"),
    "critic-worse-than-mean": ("critic-uninformative", "critic-memorises"),
    "critic-uninformative": ("critic-memorises",),
    "critic-memorises": ("still-improving",),  # the training return rises by what does not carry over
    "lr-too-high": ("lr-too-low", "memory-needed"),
    "lr-too-low": ("memory-needed",),
    "memory-missing": ("memory-needed",),
    "reward-scale": ("memory-needed",),
    "kl-target-unreachable": ("lr-too-low",),
    "kl-early-stops": ("lr-too-low",),
    "entropy-bonus-dominates": ("lr-too-low",),
    "entropy-collapse": ("entropy-stuck", "entropy-bonus-dominates", "std-grows"),
    "return-collapse": ("plateau", "still-improving", "overfitting", "lr-too-low"),
    "std-grows": ("entropy-stuck",),
    "overfitting": ("still-improving",),
    "plateau": ("still-improving",),
}


@dataclass(frozen=True)
class Finding:
    """A rule that fired on a run."""

    id: str  # of the rule
    severity: str  # "error", "warning" or "info"
    evidence: str  # what was seen: numbers and updates
    cause: str  # what it means
    advice: str  # what to do, in the words of the log's trainer
    confidence: float  # 0 to 1
    because_of: tuple[str, ...]  # ids of the findings that explain this one
    source: str  # of the rule, in the literature
    changes: Mapping[str, Any]  # configuration keys -> new values; None: unset

    def to_dict(self) -> dict[str, Any]:
        """As JSON data, without `changes`."""
        values = dataclasses.asdict(self) | {"because_of": list(self.because_of)}
        del values["changes"]
        return values


@dataclass(frozen=True)
class Unjudged:
    """A rule that could not be judged."""

    id: str  # of the rule
    why: str  # what the log lacks


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with a run: by severity, root causes first."""

    findings: tuple[Finding, ...]  # the more severe first, causes before effects
    unjudged: tuple[Unjudged, ...]  # rules that could say nothing
    own_metrics: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # name -> first, mean at the end
    trainer: str = "ppo_jax"  # whose words the advice has

    @property
    def has_error(self) -> bool:
        """Whether a finding says not to trust the run."""
        return any(finding.severity == "error" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "findings": [finding.to_dict() for finding in self.findings],
            "unjudged": [dataclasses.asdict(one) for one in self.unjudged],
            "own_metrics": to_json(dict(self.own_metrics)),
        }


@overflow_allowed
def diagnose(log: RunLog, others: Sequence[RunLog] = ()) -> Diagnosis:
    """Judge a run by every rule.

    Args:
        log: the run.
        others: further seeds of the same experiment, for `seed-outlier`.
    """
    run = Evidence(log, others)
    findings: dict[str, Finding] = {}
    unjudged, known = [], log.settings
    for rule in RULES:
        if not _applies(rule, run):
            continue
        if why := rule.lacks(run):
            unjudged.append(Unjudged(rule.id, why))
            continue
        if hit := rule.check(run):
            findings[rule.id] = Finding(
                id=rule.id,
                severity=hit.severity or rule.severity,
                evidence=hit.evidence,
                cause=hit.cause or rule.cause,
                advice=hit.advice or rule.advice,
                confidence=hit.confidence or rule.confidence,
                because_of=(),
                source=rule.source,
                changes={key: x for key, x in hit.changes.items() if key not in known or known[key] != x},
            )
    for winner, losers in EXCLUDES.items():
        if winner in findings:
            for loser in losers:
                findings.pop(loser, None)
    own = {name: (run.first(name), run.tail(name)) for name in run.own_metrics}
    return Diagnosis(_in_order(findings, log), tuple(unjudged), own, log.trainer)


def _applies(rule: Rule, run: Evidence) -> bool:
    """Whether a rule can say anything of runs of this trainer and kind of task, were the log complete."""
    if rule.tasks and run.task not in rule.tasks:
        return False
    if run.ours:
        # What no run of a kind has is not missing from it: evaluations of other trainers, a std of discrete actions, a
        # normalised entropy of continuous ones.
        continuous = run.has("entropy") and not run.has("entropy_normalized")
        unmeasured = {"eval/episode_return_mean"} | ({"entropy_normalized"} if continuous else set())
        return not unmeasured & set(rule.columns) and (rule.id != "std-grows" or run.has("action_std"))
    if rule.ours_only or (rule.id == "seed-outlier" and not run.others):
        return False
    if run.log.kind == "monitor":  # it has returns and nothing else
        return rule.columns != () and rule.lacks(run) is None
    optional = {"eval/episode_return_mean", "action_std", "early_stopped"}
    lacking = {name for name in rule.columns if not any(run.has(one) for one in name.split("|"))}
    unset = {key for key in rule.settings if key in ("env_id", "clip_range_vf") and key not in run.log.settings}
    return not lacking & optional and not unset


def _in_order(findings: dict[str, Finding], log: RunLog) -> tuple[Finding, ...]:
    """Link findings to their causes, which are as severe as what they explain, sort them, and word their advice."""
    causes = {id: tuple(c for c in CAUSES.get(id, ()) if c in findings) for id in findings}
    rank = {id: SEVERITIES.index(finding.severity) for id, finding in findings.items()}
    depth = dict.fromkeys(findings, 0)
    for _ in findings:  # as many rounds as the longest chain could need
        for id in findings:
            for cause in causes[id]:
                rank[cause] = max(rank[cause], rank[id])
                depth[id] = max(depth[id], depth[cause] + 1)
    place = {rule.id: i for i, rule in enumerate(RULES)}
    taken: set[str] = set()
    ordered = []
    for id in sorted(findings, key=lambda id: (-rank[id], depth[id], place[id])):
        # Two findings may want one setting changed: the more important one decides.
        changes = {key: value for key, value in findings[id].changes.items() if key not in taken}
        taken |= changes.keys()
        advice = vocabulary.advise(findings[id].advice, log.trainer, log.settings, causes[id])
        severity = SEVERITIES[rank[id]]
        ordered.append(
            dataclasses.replace(findings[id], severity=severity, because_of=causes[id], changes=changes, advice=advice)
        )
    return tuple(ordered)


def fix(log: RunLog, diagnosis: Diagnosis) -> str:
    """The configuration of a run with the changes its findings ask for, as TOML with a comment at each.

    A finding without a change of its own stands above the settings with the first sentence of its advice.

    Raises:
        PPOJaxError: the log is not that of a ppo_jax run, or its configuration is unusable.
    """
    if log.kind != "ppo_jax" or not {"n_envs", "n_steps", "batch_size"} <= log.settings.keys():
        raise PPOJaxError(f"{log.name}: --fix needs the config.toml of a ppo_jax run, whole and valid")
    changes = {key: (value, finding.id) for finding in diagnosis.findings for key, value in finding.changes.items()}
    sizes = {key: changes.get(key, (log.settings[key],))[0] for key in ("n_envs", "n_steps", "batch_size")}
    rollout = sizes["n_envs"] * sizes["n_steps"]
    if rollout % sizes["batch_size"] and sizes["batch_size"] < rollout:
        near = nearest_divisors((sizes["n_envs"], sizes["n_steps"]), sizes["batch_size"])
        changes["batch_size"] = (max(near), "it must divide the new rollout")
    settings = dict(log.settings) | {key: value for key, (value, _) in changes.items()}
    owner = {f.name: section for section, cls in SECTIONS.items() for f in dataclasses.fields(cls)}
    config = from_dict(_nested(settings.items(), owner), place=log.name)
    lines = config.to_toml().rstrip().splitlines()
    title = f"# {' '.join(log.name.split())}, " + (
        "changed as its diagnosis asks" if changes else "unchanged: no finding asks for another setting"
    )
    rest = [
        f"# nothing changed for {finding.id}: {vocabulary.first_sentence(finding.advice)}"
        for finding in diagnosis.findings
        if not finding.changes
    ]
    return "\n".join([title, *rest, *_commented(lines, changes, log.settings)]) + "\n"


def _commented(lines: list[str], changes: Mapping[str, tuple[Any, str]], old: Mapping[str, Any]) -> list[str]:
    """Each changed line with what it was and why; settings that were unset stand in the last lines."""
    out, told = [], set()
    for line in lines:
        key = line.split("=")[0].strip()
        if key in changes:
            told.add(key)
            line += f"  # was {_toml(old[key])}: {changes[key][1]}"
        out.append(line)
    return out + [
        f"# {key} is unset, was {_toml(old[key])}: {why}" for key, (_, why) in changes.items() if key not in told
    ]


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + " }"
    return "unset" if value is None else tomlkit.item(value).as_string()


def _nested(settings: Iterable[tuple[str, Any]], owner: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    tables: dict[str, dict[str, Any]] = {}
    for key, value in settings:
        if key in owner and value is not None:
            tables.setdefault(owner[key], {})[key] = value
    return tables
