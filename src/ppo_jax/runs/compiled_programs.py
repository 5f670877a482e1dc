"""Compiled programs kept between processes, in a folder that nobody else can write: they are run as they are."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import jax

from ppo_jax.config.user_folders import user_folder

__all__ = ["use_compilation_cache", "writable_by_others"]


def use_compilation_cache(warn: Callable[[str], None] = lambda text: None) -> None:
    """Keep compiled programs between processes, unless JAX was told where to keep them.

    Args:
        warn: receives a line where the folder is not this user's alone; nothing is kept then.
    """
    folder = user_folder("cache")
    if jax.config.jax_compilation_cache_dir is not None or folder is None:  # type: ignore[attr-defined]
        return
    folder = folder / "xla"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if exposed := writable_by_others(folder):
            warn(f"compiled programs are not kept: others can write {exposed}; chmod go-w, or set XDG_CACHE_HOME")
            return
    except OSError:
        return  # a read-only home costs compile time, nothing else
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def writable_by_others(folder: Path) -> Path | None:
    """The first of `folder` and what lies above it that others could put something else in place of; None: none.

    A link counts as what it leads to, and must itself be this user's or root's. In a folder with the sticky bit, such
    as /tmp, others cannot touch what is not theirs.

    Raises:
        OSError: it is not there, or cannot be looked at.
    """
    if not hasattr(os, "getuid"):
        return None  # Windows keeps a user's folders apart by itself
    real = folder.resolve(strict=True)
    lexical = Path(os.path.abspath(folder))
    for path in dict.fromkeys((*reversed(lexical.parents), lexical, *reversed(real.parents), real)):
        found = path.lstat()
        if found.st_uid not in (os.getuid(), 0):
            return path
        sticky = found.st_mode & stat.S_ISVTX and path != real
        if not stat.S_ISLNK(found.st_mode) and not sticky and _others_write(found):
            return path
    return None


def _others_write(found: os.stat_result) -> bool:
    if found.st_mode & stat.S_IWOTH:
        return True
    return bool(found.st_mode & stat.S_IWGRP) and not _is_group_of_one(found.st_gid)


def _is_group_of_one(group: int) -> bool:
    """Whether a group is that which many systems make for each user alone."""
    import grp
    import pwd

    try:
        user, found = pwd.getpwuid(os.getuid()), grp.getgrgid(group)
    except KeyError:
        return False
    return user.pw_gid == group and user.pw_name == found.gr_name and set(found.gr_mem) <= {user.pw_name}
