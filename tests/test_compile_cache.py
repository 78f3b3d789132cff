"""Compiled programs that are damaged, or another's, are compiled again and kept."""

import os
import pathlib

import jax
import jax.numpy as jnp
import pytest
from jax._src import compilation_cache

from crnn_jax import compile_cache


@pytest.fixture
def folder(tmp_path):
    """A cache of its own, into which every program goes, with those of `run` in it."""
    before = jax.config.jax_compilation_cache_dir
    seconds = jax.config.jax_persistent_cache_min_compile_time_secs
    compilation_cache.reset_cache()
    compile_cache.enable(tmp_path / "xla")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    run()
    yield tmp_path / "xla"
    jax.config.update("jax_compilation_cache_dir", before)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", seconds)
    compilation_cache.reset_cache()


def plus(x):
    return x + 10


def times(x):
    return x * 10


def run():
    """Returns what two programs say, which are compiled or read anew."""
    jax.clear_caches()
    x = jnp.arange(3.0)
    return [jax.jit(function)(x).tolist() for function in (plus, times)]


def entry(folder, name):
    (path,) = folder.glob(f"jit_{name}-*-cache")
    return path


def exchange(folder):
    one, two = entry(folder, "plus"), entry(folder, "times")
    data = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(data)


def truncate(folder):
    path = entry(folder, "times")
    path.write_bytes(path.read_bytes()[:-9])


def empty(folder):
    entry(folder, "times").write_bytes(b"")


def flip_bit(folder):
    path = entry(folder, "times")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [exchange, truncate, empty, flip_bit])
def test_damaged_programs_are_compiled_again(folder, capfd, damage):
    kept = {path: path.read_bytes() for path in folder.glob("*-cache")}
    damage(folder)
    assert run() == [[10.0, 11.0, 12.0], [0.0, 10.0, 20.0]]
    err = capfd.readouterr().err
    assert err.count("is damaged or old: compiling it again") == (2 if damage is exchange else 1)
    assert len(err.splitlines()) == err.count("is damaged")
    run()
    assert capfd.readouterr().err == ""  # what was compiled again is kept
    assert set(folder.glob("*")) >= set(kept)
    assert not list(folder.glob(".tmp-*"))


def test_a_program_that_is_read_is_used_now(folder):
    for path in folder.glob("*-cache"):
        os.utime(path, (1, 1))
    run()
    assert entry(folder, "times").stat().st_mtime > 1


def test_a_program_that_is_pruned_while_it_is_read_is_compiled(folder, monkeypatch):
    def pruned(*_):
        raise FileNotFoundError("a-cache")

    monkeypatch.setattr(compile_cache.LRUCache, "get", pruned)
    assert compile_cache.SealedCache(str(folder), max_size=-1).get("a") is None


def test_a_good_program_is_read(folder, monkeypatch):
    found = []
    get = compile_cache.SealedCache.get
    monkeypatch.setattr(
        compile_cache.SealedCache, "get", lambda *args: found.append(get(*args)) or found[-1]
    )
    run()
    assert len(found) >= 2
    assert all(found)


def test_a_full_disk_costs_a_warning_and_leaves_nothing(folder, monkeypatch):
    def full(path, data):
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_bytes", full)
    before = sorted(folder.iterdir())
    with pytest.warns(UserWarning, match="No space left on device"):
        assert jax.jit(lambda x: x - 7)(jnp.arange(3.0)).tolist() == [-7.0, -6.0, -5.0]
    assert sorted(folder.iterdir()) == before


def test_a_folder_that_cannot_be_made_or_written_is_no_mistake(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    before = jax.config.jax_compilation_cache_dir
    compile_cache.enable(tmp_path / "file" / "xla")
    compile_cache.enable(tmp_path / "caf\udce9" / "xla")
    assert jax.config.jax_compilation_cache_dir == before
    cache = compile_cache.SealedCache(str(tmp_path / "xla"), max_size=-1)
    monkeypatch.setattr("os.access", lambda *_: False)
    cache.put("a", b"program")
    assert cache.get("a") is None
