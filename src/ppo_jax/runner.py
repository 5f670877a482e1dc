"""The host loop: train in compiled chunks, evaluate, keep the best parameters, write the run folder."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax import checkpoint, metrics, ppo, run_folder
from ppo_jax.config import Config, load_config
from ppo_jax.envs.proof import ProofEnv
from ppo_jax.evaluation import protocol, ranking
from ppo_jax.evaluation.explain import Step, explain
from ppo_jax.evaluation.proofs import Candidates, uniform_policy
from ppo_jax.experiment import Experiment, PolicyParams, build, policy_params
from ppo_jax.types import PPOJaxError

__all__ = ["baselines", "load", "prove", "run_chunk", "train", "use_compilation_cache"]

BUFFER = 64  # most updates of one call of the compiled program
CHUNK_SECONDS = 0.5  # aim of one call: often enough for a live progress bar, seldom enough to cost nothing
UNTRAINED_SEED = 1_000_003  # first seed of the untrained baseline, far from seeds people use
LIVE = (
    ("episode_return_mean", "return", ".4g"),
    ("explained_variance", "expl.var", ".2f"),
    ("entropy_normalized", "entropy", ".2f"),
    ("valid", "valid", ".3g"),
)
_WARN = partial(warnings.warn, stacklevel=2)


def use_compilation_cache() -> None:
    """Keep compiled programs between processes, in a folder of the user's own (entries can execute code)."""
    if jax.config.jax_compilation_cache_dir is None:  # type: ignore[attr-defined]
        folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "ppo_jax" / "xla"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            return  # a read-only home costs compile time, nothing else
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


@partial(jax.jit, donate_argnums=1)
def run_chunk(trainer: ppo.Trainer, state: ppo.TrainState, n: jax.Array) -> tuple[ppo.TrainState, dict[str, jax.Array]]:
    """Up to `BUFFER` updates, `n` of them traced: every chunk length runs the same program.

    Returns:
        The state after n updates and their metrics, [BUFFER] each, of which the first n are set.
    """
    shapes = jax.eval_shape(ppo.update, trainer, state)[1]
    buffers = {name: jnp.zeros((BUFFER, *s.shape), s.dtype) for name, s in shapes.items()}

    def body(i: jax.Array, carry: Any) -> Any:
        state, buffers = carry
        state, row = ppo.update(trainer, state)
        return state, {name: buffers[name].at[i].set(row[name]) for name in buffers}

    return jax.lax.fori_loop(0, n, body, (state, buffers))


@dataclass
class _Best:
    """Parameters best on valid so far; of equals the latest."""

    score: tuple[float, ...] = (-np.inf,)
    params: PolicyParams | None = None
    update: int = 0
    result: dict[str, Any] = field(default_factory=dict)

    def offer(self, params: PolicyParams, update: int, result: dict[str, Any]) -> bool:
        if (score := _score(result)) < self.score:
            return False
        self.score, self.params, self.update, self.result = score, params, update, result
        return True


def _score(result: dict[str, Any]) -> tuple[float, ...]:
    """Greedy MRR, then marginal AUC-PR; mean return for episodes. None counts as worst."""
    keys = [("greedy", "mrr"), ("marginal", "auc_pr")] if "greedy" in result else [("return_mean",)]
    values = []
    for key in keys:
        value: Any = result
        for part in key:
            value = value[part]
        values.append(-np.inf if value is None or np.isnan(value) else float(value))
    return tuple(values)


def train(
    config: Config,
    folder: str | Path,
    *,
    overwrite: bool = False,
    progress: bool = True,
    warn: Callable[[str], None] = _WARN,
) -> dict[str, Any]:
    """Train, evaluate and write a complete run folder; returns its summary.

    Args:
        config: what to train.
        folder: where the run is written: new or empty, or with `overwrite` an earlier run.
        overwrite: replace the run that `folder` holds.
        progress: show a progress bar.
        warn: receives what is odd about configuration and data, a line each, before training.

    Raises:
        PPOJaxError: the folder holds a run already, cannot be written, or the configuration cannot be built.
        KeyboardInterrupt: after the summary was written with status ``interrupted``.
    """
    folder = Path(folder)
    run_folder.check_folder(folder, overwrite)
    metrics.check_extras(config.run.tensorboard, config.run.wandb)
    if config.task.dataset and Path(config.task.dataset).is_dir():
        # The run says where its data lie, so that it can be read from another working directory.
        config = config.override({"dataset": str(Path(config.task.dataset).absolute())})
    experiment, settings = build(config), config.settings
    experiment.require_queries()
    for text in (*config.warnings, *getattr(experiment.dataset, "warnings", ())):
        warn(text)
    summary: dict[str, Any] = {
        "status": "running",
        "env_id": config.task.env_id or config.task.dataset,
        "seed": config.run.seed,
        "env_steps": 0,
        "updates": 0,
    }
    run_folder.make_folder(folder)
    run_folder.write_summary(folder, summary)
    writers: list[metrics.Writer] = []
    try:
        run_folder.prepare(folder, experiment)
        writers.append(metrics.JSONLines(folder / "metrics.jsonl"))
        if config.run.tensorboard:
            writers.append(metrics.TensorBoard(folder / "tensorboard"))
        if config.run.wandb:
            writers.append(metrics.WandB(folder.name, config.to_dict()))
        with metrics.Progress(settings.n_updates * settings.rollout_size, LIVE, enabled=progress) as bar:
            last, best = _train_loop(experiment, folder, summary, writers, bar)
            bar.say("testing …")
            _final_evaluation(experiment, folder, summary, last, best)
        summary["status"] = "completed"
    except BaseException as error:
        summary["status"] = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        raise
    finally:
        for writer in writers:
            writer.close()
        run_folder.write_summary(folder, summary)
    return summary


def _train_loop(
    experiment: Experiment,
    folder: Path,
    summary: dict[str, Any],
    writers: list[metrics.Writer],
    bar: metrics.Progress,
) -> tuple[PolicyParams, _Best]:
    config, trainer = experiment.config, experiment.trainer
    settings, interval = config.settings, config.evaluation.eval_interval or config.settings.n_updates
    best, done, train_seconds, n = _Best(), 0, 0.0, 1
    begin = time.perf_counter()
    state = experiment.initial_state(config.run.seed)
    chunk = run_chunk.lower(trainer, state, n).compile()
    summary["compile_seconds"] = time.perf_counter() - begin
    evals, timing = metrics.JSONLines(folder / "eval.jsonl"), metrics.JSONLines(folder / "timing.jsonl")
    while done < settings.n_updates:
        n = min(n, interval - done % interval, settings.n_updates - done)
        begin = time.perf_counter()
        state, rows = chunk(trainer, state, jnp.int32(n))
        rows = jax.device_get(rows)
        seconds = time.perf_counter() - begin
        train_seconds += seconds
        for i in range(n):
            done += 1
            position = {"update": done, "env_steps": done * settings.rollout_size}
            row = {name: float(column[i]) for name, column in rows.items()}
            for writer in writers:
                writer.write(position | row)
        timing.write({"update": done, "updates": n, "seconds": seconds})
        summary |= {
            "env_steps": done * settings.rollout_size,
            "updates": done,
            "train_seconds": train_seconds,
            "steps_per_second": done * settings.rollout_size / train_seconds,
            "final": row,
        }
        shown = dict(row)
        if done % interval == 0 or done == settings.n_updates:
            params = policy_params(trainer, state)
            result = experiment.evaluate(params, "valid")
            evals.write(position | result | experiment.value_errors(params))
            if best.offer(params, done, result):
                checkpoint.save(folder / "checkpoints" / "best", params)
            shown["valid"] = best.score[0]
        bar.update(done * settings.rollout_size, shown)
        n = int(np.clip(CHUNK_SECONDS / (seconds / n), 1, BUFFER))
    checkpoint.save(folder / "checkpoints" / "last", params)
    return params, best


def _final_evaluation(
    experiment: Experiment, folder: Path, summary: dict[str, Any], last: PolicyParams, best: _Best
) -> None:
    """Test, once: the parameters best on valid, and the last ones and the baselines beside them."""
    assert best.params is not None
    if experiment.is_proof:
        summary["data"] = protocol.data_summary(experiment.env, experiment.trainer.env_params)  # type: ignore[arg-type]
    summary["best_update"] = best.update
    summary["valid"] = best.result
    summary["test"] = experiment.evaluate(best.params, "test")
    summary["test_last"] = experiment.evaluate(last, "test")
    if experiment.is_proof:
        summary["baselines"] = baselines(experiment, "test")
        lines = metrics.JSONLines(folder / "queries.jsonl")
        for row in judged_queries(experiment, best.params, "test"):
            lines.write(row)


def baselines(experiment: Experiment, split: str) -> dict[str, Any]:
    """What no learning reaches on a split: untrained networks, the uniform policy, the shortest proof."""
    env, params = experiment.env, experiment.trainer.env_params
    queries = experiment.candidates(split)
    seeds = range(UNTRAINED_SEED, UNTRAINED_SEED + experiment.config.evaluation.untrained_networks)
    runs = [experiment.judge(params, experiment.untrained(seed), queries) for seed in seeds]
    evaluation = experiment.config.evaluation
    uniform = protocol.ProofJudge(env, uniform_policy, evaluation.beam_width, evaluation.mask_end)  # type: ignore[arg-type]
    return {
        "untrained": {name: _mean([run[name] for run in runs]) for name in ("greedy", "marginal")} if runs else {},
        "uniform": {"marginal": uniform.marginal(params, None, queries)[0]},
        "shortest_proof": {"greedy": protocol.shortest_proof_baseline(env, params, queries)},  # type: ignore[arg-type]
    }


def _mean(summaries: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean over networks of every number, with `mrr` of each; intervals over queries have no mean and go."""
    first = summaries[0]
    mean = {
        key: float(np.mean([s[key] for s in summaries])) if isinstance(value, float) else value
        for key, value in first.items()
        if key != "mrr_interval"
    }
    return mean | {"mrr_each": [s["mrr"] for s in summaries]}


def judged_queries(experiment: Experiment, params: PolicyParams, split: str, shown: int = 10) -> list[dict[str, Any]]:
    """Each query of a split with its best `shown` candidates, scores, expected reciprocal rank and greedy proof."""
    dataset = experiment.env.dataset  # type: ignore[attr-defined]
    queries, kb = experiment.candidates(split), dataset.kb
    _, greedy = experiment.judge.greedy(experiment.trainer.env_params, params, queries)
    _, marginal = experiment.judge.marginal(experiment.trainer.env_params, params, queries)
    shape = queries.valid.shape
    scores, masses = greedy.log_prob.reshape(shape), np.exp(marginal.log_prob.reshape(shape))
    reciprocal = ranking.expected_reciprocal_rank(*ranking.ranks(scores, queries.valid))
    rows = []
    for r in range(shape[0]):
        order = [0, *(1 + np.argsort(-masses[r, 1:] - (scores[r, 1:] > -np.inf), kind="stable"))]
        candidates = []
        for c in [c for c in order if queries.valid[r, c]][: shown + 1]:
            m = r * shape[1] + c
            steps = explain(kb, queries.atoms[r, c], greedy.kinds[m], greedy.constants[m], greedy.log_probs[m])
            candidates.append(
                {
                    "query": kb.format_atom(queries.atoms[r, c]),
                    "label": c == 0,
                    "greedy_log_prob": float(scores[r, c]),
                    "marginal_probability": float(masses[r, c]),
                    "proved": bool(greedy.proved[m]),
                    "steps": [step.to_dict() for step in steps],
                }
            )
        rows.append({"query": candidates[0]["query"], "reciprocal_rank": reciprocal[r], "candidates": candidates})
    return rows


def load(
    folder: str | Path, which: str = "best", assignments: Iterable[str] | Mapping[str, Any] = ()
) -> tuple[Experiment, PolicyParams]:
    """The experiment of a run and its parameters, ``"best"`` on valid or ``"last"``.

    Args:
        folder: the run.
        which: name of the checkpoint.
        assignments: settings other than the run's, as for `Config.override`; those of the evaluation make sense.

    Raises:
        PPOJaxError: no run there, or a checkpoint that does not fit the configuration.
    """
    folder = Path(folder)
    if not (folder / "config.toml").is_file():
        raise PPOJaxError(f"{folder}: no run there (no config.toml); `ppo-jax train` makes one")
    experiment = build(load_config(folder / "config.toml", assignments))
    like = jax.eval_shape(lambda: experiment.untrained(0))
    return experiment, checkpoint.restore(folder / "checkpoints" / which, like)


def prove(experiment: Experiment, params: PolicyParams, query: str) -> tuple[list[Step], bool, str]:
    """Let a policy prove `query`, greedily.

    Returns:
        The steps, whether they prove it, and what stopped them otherwise.

    Raises:
        PPOJaxError: no proof task, or a query the knowledge base cannot read.
    """
    env = experiment.env
    if not isinstance(env, ProofEnv) or env.dataset is None:
        raise PPOJaxError(f"{experiment.config.task.env_id}: no proof task, there is nothing to prove")
    kb = env.dataset.kb
    atom = np.array(kb.parse_atom(query), np.int32)
    queries = Candidates(atom[None, None], np.ones((1, 1), bool), np.zeros(1, np.int32))
    _, found = experiment.judge.greedy(experiment.trainer.env_params, params, queries)
    steps = explain(kb, atom, found.kinds[0], found.constants[0], found.log_probs[0])
    if found.proved[0]:
        return steps, True, ""
    if len(steps) >= env.max_depth and steps[-1].action != "end":
        return steps, False, f"the depth limit of {env.max_depth} steps"
    forced = found.choices[0][len(steps) - 1] == 1
    return steps, False, "no action but `end` was left" if forced else "the agent chose to give up"
