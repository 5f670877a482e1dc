"""Saving and restoring with orbax: the parameters of a policy, and training states to resume from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Self

from ppo_jax.types import PPOJaxError

__all__ = ["Checkpoints", "Stored", "restore", "save"]

PyTree = Any


def save(folder: Path, tree: PyTree) -> None:
    """Write `tree` to `folder`, replacing what was there; atomic: a kill leaves the old or the new one."""
    import jax
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer(multiprocessing_options=_alone()) as checkpointer:
        checkpointer.save(folder.absolute(), jax.device_get(tree), force=True)


def restore(folder: Path, like: PyTree) -> PyTree:
    """Read what `save` wrote, into the structure of `like` (arrays or shapes).

    Raises:
        PPOJaxError: nothing there, or a tree of other names or shapes.
    """
    import jax
    import orbax.checkpoint as ocp

    if not folder.is_dir():
        raise PPOJaxError(f"{folder}: no checkpoint there; the run was not finished or was moved")
    with ocp.StandardCheckpointer() as checkpointer:
        stored = checkpointer.metadata(folder.absolute()).item_metadata
        wanted = _shapes(like)
        if (found := _shapes(stored)) != wanted:
            differing = sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))
            name = differing[0]
            raise PPOJaxError(
                f"{folder}: does not fit the configuration beside it: {name} is {found.get(name, 'missing')} there, "
                f"{wanted.get(name, 'unknown')} here ({len(differing)} differ); restore config.toml as it was"
            )
        return checkpointer.restore(
            folder.absolute(), jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), like)
        )


class Stored(NamedTuple):
    """A checkpoint as it was read."""

    update: int
    trees: dict[str, PyTree]  # name -> tree of arrays
    record: dict[str, Any]  # JSON data beside them


class Checkpoints:
    """Checkpoints of a run by update, the newest `keep` of them.

    Written in the background and committed in one move, so a kill at any moment leaves whole ones; each carries a
    digest of its arrays, which reading verifies. Random keys must be given as their data.
    """

    def __init__(self, folder: Path, keep: int = 1) -> None:
        import orbax.checkpoint as ocp

        folder.mkdir(parents=True, exist_ok=True)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            enable_async_checkpointing=True,
            cleanup_tmp_directories=True,
            create=False,
            multiprocessing_options=_alone(),
        )
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)
        self._folder = folder

    def save(self, update: int, trees: dict[str, PyTree], record: dict[str, Any]) -> None:
        """Begin to write a checkpoint; returns once the arrays are copied, so that they may be donated."""
        import jax
        import numpy as np
        import orbax.checkpoint as ocp

        copies = jax.tree.map(np.array, jax.device_get(trees))
        record = record | {"sha256": _digest(copies), "trees": sorted(trees)}
        items = {name: ocp.args.StandardSave(tree) for name, tree in copies.items()}
        if update in self._manager.all_steps():
            self._manager.delete(update)
        self._manager.save(update, args=ocp.args.Composite(record=ocp.args.JsonSave(record), **items), force=True)

    def newest(
        self, like: dict[str, PyTree], check: Callable[[dict[str, Any]], None], until: int | None = None
    ) -> tuple[Stored | None, list[str]]:
        """The newest checkpoint that can be read, and a line on each that could not.

        Args:
            like: trees of arrays or shapes; those that a checkpoint lacks are left out.
            check: raises `PPOJaxError` where the record of a checkpoint does not fit; before its arrays are read.
            until: later updates are passed over.
        """
        problems: list[str] = []
        for update in sorted(self._manager.all_steps(), reverse=True):
            if until is not None and update > until:
                continue
            try:
                return self._read(update, like, check), problems
            except PPOJaxError:
                raise
            except Exception as error:  # orbax and its storage raise many kinds
                reason = str(error).strip().splitlines() or [type(error).__name__]
                problems.append(f"{self._folder}: the checkpoint of update {update} is damaged ({reason[0][:120]})")
        return None, problems

    def _read(self, update: int, like: dict[str, PyTree], check: Callable[[dict[str, Any]], None]) -> Stored:
        import jax
        import orbax.checkpoint as ocp

        step = ocp.args.Composite(record=ocp.args.JsonRestore())
        record = self._manager.restore(update, args=step)["record"]
        check(record)
        shapes = {
            name: jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), like[name]) for name in record["trees"]
        }
        items = {name: ocp.args.StandardRestore(tree) for name, tree in shapes.items()}
        restored = self._manager.restore(update, args=ocp.args.Composite(**items))
        trees = {name: restored[name] for name in shapes}
        if _digest(jax.device_get(trees)) != record["sha256"]:
            raise ValueError("its digest is another")
        return Stored(update, trees, record)

    def close(self) -> None:
        """Wait until everything is on disk."""
        self._manager.wait_until_finished()
        self._manager.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _alone() -> Any:
    """Options by which this process does not wait for others that train with it: it alone writes."""
    import jax
    import orbax.checkpoint as ocp

    here = jax.process_index()
    return ocp.options.MultiprocessingOptions(primary_host=here, active_processes={here})


def _digest(trees: dict[str, PyTree]) -> str:
    import jax
    import numpy as np

    digest = hashlib.sha256()
    for path, x in jax.tree_util.tree_leaves_with_path(dict(sorted(trees.items()))):
        x = np.asarray(x)
        digest.update(f"{jax.tree_util.keystr(path)} {x.dtype} {x.shape}".encode())
        digest.update(np.ascontiguousarray(x).tobytes())
    return digest.hexdigest()


def _shapes(tree: PyTree) -> dict[str, tuple[int, ...]]:
    import jax

    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {".".join(str(getattr(k, "key", getattr(k, "name", k))) for k in path): tuple(x.shape) for path, x in leaves}
