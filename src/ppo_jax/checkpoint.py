"""Saving and restoring pytrees with orbax."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ppo_jax.types import PPOJaxError

__all__ = ["restore", "save"]

PyTree = Any


def save(folder: Path, tree: PyTree) -> None:
    """Write `tree` to `folder`, replacing what was there; atomic: a kill leaves the old or the new one."""
    import orbax.checkpoint as ocp

    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder.absolute(), tree, force=True)


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


def _shapes(tree: PyTree) -> dict[str, tuple[int, ...]]:
    import jax

    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {".".join(str(getattr(k, "key", getattr(k, "name", k))) for k in path): tuple(x.shape) for path, x in leaves}
