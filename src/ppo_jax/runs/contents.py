"""What a run folder holds: its files, and the fields of those that the run itself fills.

The fields of results and of ``queries.jsonl`` are told by the task (`ppo_jax.results.Results`), those of
``metrics.jsonl`` by `ppo_jax.runs.metric_table`.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["ENVIRONMENT", "FILES", "FOLDERS", "LINES", "POSITION", "SUMMARY", "TIMING"]

# A line is appended to these while a run trains.
LINES: Mapping[str, str] = {
    "metrics.jsonl": "an object an update: its metrics, and no clock",
    "eval.jsonl": "an object an evaluation on valid: the task's result",
    "timing.jsonl": "wall-clock of each chunk of updates, apart so that the two above can be compared bit for bit",
}
# As patterns within the folder; the summary first, without which no run counts as complete.
FILES: Mapping[str, str] = {
    "summary.json": "what became of the run: status, final metrics, results on test beside the baselines",
    "config.toml": "the resolved configuration; `ppo-jax train runs/NAME/config.toml` repeats the run",
    "environment.json": "versions, device, commit and data that the run was made with, and what Python gave it",
    **LINES,
    "queries.jsonl": "knowledge graphs: an object for each test query, with ranks, scores and proofs",
    "rules.txt": "knowledge graphs without rules: those that were mined for the run",
}
FOLDERS: Mapping[str, str] = {
    "checkpoints/best": "parameters best on valid",
    "checkpoints/last": "parameters at the end",
    "checkpoints/resume/[0-9]*": "the whole state of training, by update, to go on from",
    "tensorboard/events.out.tfevents.*": "the same metrics for TensorBoard, with `tensorboard = true`",
}
POSITION: Mapping[str, str] = {
    "update": "updates done, from 1",
    "env_steps": "environment steps done",
}
TIMING: Mapping[str, str] = {
    "update": "updates done at the end of the chunk",
    "updates": "updates of the chunk",
    "seconds": "wall-clock that they took",
}
SUMMARY: Mapping[str, str] = {
    "status": "`running`, `completed`, `interrupted` or `failed`",
    "error": "why it failed; only then",
    "env_id": "the environment, or the folder of the data",
    "seed": "of the run",
    "env_steps": "environment steps done",
    "updates": "updates done",
    "updates_skipped": "with `on_nan = skip`: updates dropped",
    "tested_update": "of a run that was made longer and has not ended: the update that its results are of",
    "compile_seconds": "time to compile the training program",
    "train_seconds": "time in training, without compiling and evaluating",
    "valid_seconds": "time in judging on valid while training",
    "test_seconds": "time in testing, with the baselines; not of the members of a sweep",
    "steps_per_second": "env_steps / train_seconds",
    "final": "metrics of the last update",
    "best_update": "the update whose parameters are best on valid",
    "valid": "result of these on valid",
    "test": "result of these on test",
    "test_last": "result on test of the parameters at the end",
    "data": "knowledge graphs: counts of facts, rules and queries, and how much can be proved",
    "baselines": "results on test that no learning reaches, by name",
}
ENVIRONMENT: Mapping[str, str] = {
    "versions": "of the libraries that decide the numbers, by name",
    "python": "version of Python",
    "platform": "operating system",
    "device": "platform and kind of the first device",
    "cores": "of the machine",
    "git_commit": "of the source, where there is one",
    "run_id": "names the run, also once it was resumed",
    "dataset_sha256": "of the data of a knowledge graph",
    "prior_sha256": "of the embeddings of its prior",
    "given": "what Python gave beside the configuration, such as `loss`, and what that was; `resume` needs it again",
    "code": "of each part named by an import path, such as `loss`, a digest of its code; others are no seeds",
}
