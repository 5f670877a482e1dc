"""Compiled programs are kept where this user alone can write."""

from __future__ import annotations

import os

import jax
import pytest

from ppo_jax.config.user_folders import user_folder
from ppo_jax.runs.compiled_programs import use_compilation_cache, writable_by_others


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home without a cache, and no word to JAX of another."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(jax.config, "update", (updates := {}).__setitem__)
    yield tmp_path, updates
    monkeypatch.undo()
    jax.config.update("jax_compilation_cache_dir", before)


@pytest.mark.parametrize("named", [None, "", "relative/cache", "."])
def test_the_folder_is_that_of_the_standard(home, monkeypatch, named):
    home, updates = home
    if named is not None:
        monkeypatch.setenv("XDG_CACHE_HOME", named)
    use_compilation_cache(pytest.fail)
    folder = home / ".cache" / "ppo_jax" / "xla"
    assert updates["jax_compilation_cache_dir"] == str(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "elsewhere"))
    assert user_folder("cache") == home / "elsewhere" / "ppo_jax"


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o702])
def test_it_is_off_where_others_can_write(home, depth, mode):
    home, updates = home
    folder = home / ".cache" / "ppo_jax" / "xla"
    folder.mkdir(parents=True)
    exposed = (folder, *folder.parents)[depth]
    exposed.chmod(mode)
    said = []
    use_compilation_cache(said.append)
    if mode & 0o1000 and depth:  # sticky: others cannot replace what lies in it
        assert updates and not said
    else:
        assert not updates
        assert said == [
            f"compiled programs are not kept: others can write {exposed}; chmod go-w, or set XDG_CACHE_HOME"
        ]


def test_a_link_is_what_it_leads_to(tmp_path):
    private, shared = tmp_path / "private", tmp_path / "shared"
    private.mkdir()
    (shared / "xla").mkdir(parents=True)
    shared.chmod(0o777)
    (tmp_path / "good").symlink_to(private)
    (private / "bad").symlink_to(shared / "xla")
    assert writable_by_others(tmp_path / "good") is None
    assert writable_by_others(private / "bad") == shared
    with pytest.raises(OSError):
        writable_by_others(tmp_path / "nothing")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_or_link_of_somebody_else(tmp_path):
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 12345, 12345)
    assert writable_by_others(tmp_path / "theirs") == tmp_path / "theirs"
    (tmp_path / "mine").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    os.lchown(tmp_path / "link", 12345, 12345)
    assert writable_by_others(tmp_path / "link") == tmp_path / "link"


def test_a_user_without_a_home_keeps_nothing(home, monkeypatch):
    _, updates = home
    monkeypatch.setattr("pathlib.Path.home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    use_compilation_cache(pytest.fail)
    assert not updates
