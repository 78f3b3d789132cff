import importlib.metadata
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from ml_collections import ConfigDict

from crnn_jax import doctor
from crnn_jax.doctor import Finding
from crnn_jax.validation import validate


@pytest.mark.long
@pytest.mark.smoke
def test_this_installation_is_fit():
    # On one device: eight virtual ones share the cores of the machine.
    env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    command = [sys.executable, "-m", "crnn_jax.doctor"]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    lines = done.stdout.splitlines()
    assert [line[:4] for line in lines[:-1]] == ["ok  "] * len(doctor.CHECKS), done.stdout
    assert lines[-1] == "fit to train"
    assert done.returncode == 0
    assert f"jax {jax.__version__}" in lines[0]
    assert "CPU: " in lines[1]
    assert "GFLOP/s" in lines[2]
    assert "2 steps and a test on 360 digits" in lines[3]


def test_the_training_fits_any_number_of_devices(monkeypatch):
    from crnn_jax.train import loop

    def train(config: ConfigDict, workdir: str) -> dict:
        validate(config)
        assert config.batch_size % jax.device_count() == 0
        assert config.eval.batch_size % jax.device_count() == 0
        return {"test": {"num_examples": 360}}

    monkeypatch.setattr(loop, "train", train)
    assert "2 steps" in doctor.check_training().text


def test_a_broken_check_is_a_line_and_the_others_go_on(monkeypatch, capsys):
    def check_this() -> Finding:
        raise RuntimeError("no device\nand more")

    def check_that() -> Finding:
        return Finding("that is fine")

    monkeypatch.setattr(doctor, "CHECKS", ((check_this, "buy one"), (check_that, "")))
    assert doctor.main([]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "FAIL  this: RuntimeError: no device",
        "      -> buy one",
        "ok    that is fine",
        "1 to mend, see above",
    ]


def test_missing_and_old_packages_are_named(monkeypatch):
    wanted = ["jax>=99.1", "no-such-package>=1.0", "pytest>=99; extra == 'test'", "numpy>=2.0"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: wanted)
    advice = doctor.check_packages().advice
    assert f"jax {jax.__version__} is older than 99.1; no-such-package is missing" in advice
    assert "pytest" not in advice
    assert "numpy" not in advice


def test_versions_are_compared_by_number():
    assert doctor._numbers("0.12.0.1") > doctor._numbers("0.9.10")


def test_a_device_that_computes_nonsense_is_found(monkeypatch):
    matmul = jnp.matmul
    monkeypatch.setattr(jnp, "matmul", lambda a, b: matmul(a, b).at[3, 5].add(1))
    assert "wrong values" in doctor.check_matmul().text
    assert doctor.check_matmul().advice


def test_a_large_cache_is_no_secret(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "crnn_jax" / "xla"
    folder.mkdir(parents=True)
    (folder / "program").write_bytes(bytes(20_000_000))
    assert "compiled programs 0.02 GB" in doctor.check_cache().text
    monkeypatch.setattr(doctor, "_LARGE_CACHE_GB", 0.01)
    assert "crnn_jax.data.cache prune" in doctor.check_cache().advice


def test_data_is_listed(tmp_path, monkeypatch):
    for name in ("cifar10/3.0.2", "coco/2014/1.1.0"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "dataset_info.json").write_text("{}")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    found = doctor.check_data()
    assert found == Finding(f"data: {tmp_path} has cifar10/3.0.2, coco/2014/1.1.0")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "absent"))
    assert "TFDS_DATA_DIR names no folder" in doctor.check_data().advice
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "coco"))
    assert not doctor.check_data().advice


def test_an_unwritable_cache_says_what_to_set(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(doctor, "CHECKS", ((doctor.check_cache, "set XDG_CACHE_HOME"),))
    assert doctor.main([]) == 1
    assert "set XDG_CACHE_HOME" in capsys.readouterr().out
