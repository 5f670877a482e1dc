"""Lines of another trainer's log put together to updates, in our names, signs and units."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ppo_jax.analysis.readers.algorithms import check_is_ppo
from ppo_jax.analysis.readers.counts import count_updates, read_epochs, rollout_size
from ppo_jax.analysis.readers.names import EVERY_UPDATE, PER_EPISODE, Names, policies_in, translate_names
from ppo_jax.analysis.readers.order import in_order
from ppo_jax.analysis.readers.run_log import RunLog, legible
from ppo_jax.types import PPOJaxError

__all__ = ["FORMATS", "NORMAL_ENTROPY", "Updates", "largest_entropy"]

FORMATS = (
    "read are: SB3's progress.csv, progress.json and printed tables, W&B exports as CSV, the CSV of Baselines and SB2, "
    "RLlib's progress.csv and result.json, monitor.csv, TensorBoard files, and run folders of ppo_jax"
)
ONE_EPISODE = ("cleanrl", "baselines")  # trainers whose returns are of one episode; others log a mean of the latest
ROLLOUT = frozenset({"iterations_total", "episode_return_mean", "fps"})  # SB3 writes one of them after each rollout
NORMAL_ENTROPY = 0.5 * np.log(2.0 * np.pi * np.e)  # of a standard normal, nat: what a fresh policy has per action


class Updates:
    """Takes the lines of a log one by one and makes the `RunLog` of them.

    Trainers and their callbacks write lines with different columns. A row is an update: it has what is written once an
    update, such as losses, and for Stable-Baselines3 the line of a rollout, before which a callback may have written
    the losses. All other lines join the row that they come before, or that of their own time step.

    Args:
        place: the file or folder, for errors.
    """

    def __init__(self, place: object) -> None:
        self.place = place
        self.trainer = ""
        self._names: dict[str, None] = {}  # all that were seen
        self._notes: dict[str, list[int]] = {}  # text -> lines it holds of: the first, and how many
        self._plain_notes: list[str] = []
        self._columns: dict[str, array[float]] = {}
        self._n_rows = 0
        self._row = _Row()  # that is being put together
        self._before: _Row | None = None  # the last whole one, which lines at the end may still join
        self._steps, self._iterations = array("d"), array("d")  # of the lines that end a rollout

    def names(self, names: Iterable[str]) -> Names:
        """What the names of some lines mean; they are remembered."""
        names = tuple(names)
        found = translate_names(names)
        self._names |= dict.fromkeys(names)
        self.trainer = found.trainer or self.trainer
        return found

    def note(self, text: str, line: int | None = None) -> None:
        """Remember what was dropped, merged or repaired; of many lines with one text the first is named."""
        if line is None:
            self._plain_notes.append(text)
        else:
            self._notes.setdefault(text, [line, 0])[1] += 1

    def add(self, line: dict[str, float]) -> None:
        """Take the next line, in our names; NaN is a number that was not finite, not one that is missing."""
        if not line:
            return
        once = line.keys() & EVERY_UPDATE
        whole = any(line[name] == line[name] for name in once)
        if once and not whole:  # exporters write NaN where there is nothing
            line = {name: value for name, value in line.items() if name not in once}
        step = line.get("env_steps")
        if step is not None and step != step:
            line, step = {name: value for name, value in line.items() if name != "env_steps"}, None
        if step is not None:
            self._count(line, step, whole)
        row = self._row
        again = row.whole and whole and not once.isdisjoint(row.values)
        if again or (row.ended(self.trainer) and (step is None or step != row.values.get("env_steps"))):
            self._keep(self._before)
            self._before, row = row, _Row()
            self._row = row
        row.join(line, self.trainer in ONE_EPISODE)
        if whole:
            row.whole, row.losses_at = True, step
        if not ROLLOUT.isdisjoint(line):
            row.rollout_at = step

    def add_rows(self, names: tuple[str, ...], rows: np.ndarray) -> bool:
        """Take lines [L, names] at once, as `add` would one by one; False, and none is taken, where they need `add`.

        They do not where each is an update of its own: it has losses and a step, and all its numbers are finite.
        """
        if "env_steps" not in names or EVERY_UPDATE.isdisjoint(names) or len(rows) < 3 or not np.isfinite(rows).all():
            return False
        first, middle, last = rows[0], rows[1:-1], rows[-1]
        self.add(dict(zip(names, first.tolist(), strict=True)))
        for row in (self._before, self._row):
            self._keep(row)
        table = {name: array("d", column.tobytes()) for name, column in zip(names, middle.T, strict=True)}
        gap = array("d", [np.nan]) * len(middle)
        for name in dict.fromkeys((*self._columns, *names)):
            column = self._columns.setdefault(name, array("d", [np.nan]) * self._n_rows)
            column.extend(table.get(name, gap))
        self._n_rows += len(middle)
        iterations = table.get("iterations_total", table.get("updates_total"))
        if iterations is not None or self._ends(names, True):
            self._steps.extend(table["env_steps"])
            self._iterations.extend(gap if iterations is None else iterations)
        self._before, self._row = None, _Row()
        self.add(dict(zip(names, last.tolist(), strict=True)))
        return True

    def _count(self, line: dict[str, float], step: float, whole: bool) -> None:
        iteration = line.get("iterations_total", line.get("updates_total"))
        if iteration is not None or self._ends(line, whole):
            self._steps.append(step)
            self._iterations.append(float("nan") if iteration is None else iteration)

    def _ends(self, names: Iterable[str], whole: bool) -> bool:
        """Whether a line ends a rollout."""
        return (self.trainer == "sb3" and not ROLLOUT.isdisjoint(names)) or (self.trainer == "cleanrl" and whole)

    def _keep(self, row: _Row | None) -> None:
        if row is None:
            return
        columns = self._columns
        for name, value in row.values.items():
            column = columns.get(name)
            if column is None:
                column = columns[name] = array("d", [np.nan]) * self._n_rows
            column.append(value)
        self._n_rows += 1
        if len(row.values) < len(columns):
            for name in columns.keys() - row.values.keys():
                columns[name].append(np.nan)

    @np.errstate(all="ignore")  # a run that blew up, or a count that is none
    def run_log(self, name: str, kind: str, settings: Mapping[str, Any], given: Mapping[str, Any]) -> RunLog:
        """The log that the lines make.

        Args:
            name: of the run.
            kind: "tensorboard"; for text "", and the trainer is the kind.
            settings: configuration keys that the log tells.
            given: those told by the user, which have the last word.

        Raises:
            PPOJaxError: the lines are of another algorithm, or none has what PPO writes at an update.
        """
        check_is_ppo(self.place, self._names)
        if not self._row.whole and self._before:
            late = {key: value for key, value in self._row.values.items() if key != "env_steps"}
            self._before.join(late, self.trainer in ONE_EPISODE)
        self._keep(self._before)
        self._keep(self._row if self._row.whole else None)
        if not self._n_rows:
            seen = ", ".join(list(self._names)[:4])
            why = f"its columns are {legible(seen)[:80]}" if seen else "nothing in it is known"
            why = "below its header is nothing" if self.trainer and not self._row.values else why
            raise PPOJaxError(f"{self.place}: no line with train/* columns or the like of PPO: {why}; {FORMATS}")
        columns = {key: np.array(column) for key, column in self._columns.items()}
        self._columns = {}
        columns.setdefault("env_steps", np.full(self._n_rows, np.nan))
        if len(policies := policies_in(self._names)) > 1:
            self.note(f"several policies learn here ({', '.join(policies)}); read is {policies[0]}")
        columns = in_order(columns, self._plain_notes)
        known = {**settings, **given}
        size = rollout_size(np.array(self._steps), np.array(self._iterations))
        if size and not known.keys() >= {"n_envs", "n_steps"}:
            known["rollout_size"] = size
        columns, more = _in_our_units(columns, known, size, self.trainer)
        self._plain_notes += more
        where = str(self.place).rsplit("/", 1)[-1]
        notes = [
            f"{where}:{first}: {text}" + (f" (and in {count - 1} more lines)" if count > 1 else "")
            for text, (first, count) in self._notes.items()
        ]
        return RunLog(
            name=legible(name),
            kind=kind or self.trainer,
            settings=known,
            columns={"update": np.arange(1.0, len(columns["env_steps"]) + 1), **columns},
            notes=legible((*notes, *self._plain_notes)),
            trainer=self.trainer,
        )


def _at_the_end(values: np.ndarray) -> float:
    """The last value, or the median of three where it is over four times that: a freak sets no learning rate."""
    usual = float(np.median(values[-3:]))
    return float(values[-1]) if values[-1] <= 4.0 * usual else usual


def largest_entropy(entropy: np.ndarray) -> float:
    """The largest of finite entropies, or the second where that is under a quarter of it: one freak does not count."""
    second, first = np.sort(np.append(entropy, [0.0, 0.0]))[-2:]
    return float(second if entropy.size > 1 and first > 4.0 * second else first)


class _Row:
    """An update that is being put together."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}
        self.whole = False  # whether it has what is written once an update
        self.losses_at: float | None = None  # the time step of that
        self.rollout_at: float | None = -1.0  # and of the latest line of a rollout, which may be one before it
        self._counts: dict[str, int] = {}

    def ended(self, trainer: str) -> bool:
        """Whether what comes at a later step belongs to the next update."""
        after = self.losses_at is None or self.rollout_at is None or self.rollout_at >= self.losses_at
        return self.whole and (trainer != "sb3" or after)

    def join(self, line: Mapping[str, float], episodes: bool) -> None:
        """Take what another line has: the mean of what is measured apart each time, of the rest the latest."""
        if not self.values:
            self.values = dict(line)
            return
        for name, value in line.items():
            old = self.values.get(name)
            if old is None or old != old:
                self.values[name] = value
            elif value == value:
                if name in PER_EPISODE or (episodes and name.startswith("episode_")):
                    self._counts[name] = self._counts.get(name, 1) + 1
                    value = old + (value - old) / self._counts[name]
                self.values[name] = value


def _in_our_units(
    columns: dict[str, np.ndarray], known: dict[str, Any], size: int | None, trainer: str
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Columns in our signs and units, and what of them follows; settings that can be read off them join `known`."""
    notes: list[str] = []
    for flipped in [key for key in columns if key.startswith("-")]:
        columns[flipped[1:]] = -columns.pop(flipped)
    if "half_value_loss" in columns:  # CleanRL's loss and that of Baselines have a factor of 1/2
        columns["value_loss"] = 2.0 * columns.pop("half_value_loss")
    iterations = columns.pop("iterations_total", None)
    columns.pop("updates_total", None)
    if "epochs_begun_total" in columns:
        updates = count_updates(columns["env_steps"], iterations, size)
        columns |= read_epochs(columns.pop("epochs_begun_total"), updates, known)
    entropy = columns.get("entropy")  # SB3 logs train/std beside that of continuous actions; others do not
    if entropy is not None and "action_std" not in columns and not (entropy < 0).any():
        finite = entropy[np.isfinite(entropy)]
        normals = finite[0] / NORMAL_ENTROPY if finite.size else 0.0
        if trainer != "sb3" and round(normals) and abs(normals / round(normals) - 1.0) < 0.004:
            notes.append(f"the first entropy is that of {round(normals)} standard normal: actions taken as continuous")
        else:  # Discrete actions: a fresh policy is close to uniform, so the first entropy stands for the largest.
            columns["entropy_normalized"] = np.minimum(entropy / max(largest_entropy(finite), 1e-12), 1.0)
    for key in ("learning_rate", "clip_range"):
        if key not in known and key in columns and np.isfinite(columns[key]).any():
            finite = columns[key][np.isfinite(columns[key])]
            first, last = _at_the_end(finite[::-1]), _at_the_end(finite)
            known[key] = first if np.isclose(first, last, rtol=1e-3) else {"init": first, "final": last}
    return columns, notes
