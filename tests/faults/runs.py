"""The run whose files are damaged: digits, 12 steps, a checkpoint every 4."""

import pathlib
import shutil
from typing import Any

from crnn_jax.checkpoint import Checkpoints
from crnn_jax.config import override
from crnn_jax.data.dataset import load_dataset
from crnn_jax.flags import resolve_config
from crnn_jax.train.experiment import build
from crnn_jax.train.loop import train
from tests.faults.kills import KEYS


def config() -> Any:
    """Returns the config of the run."""
    config = resolve_config("configs/digits.py:rnn", {})
    keys = {**KEYS, "checkpoint.keep_latest": "3", "log.tracker": "none", "mesh.data": "1"}
    for key, value in keys.items():
        override(config, key, value)
    return config


def finished(folder: pathlib.Path) -> tuple[Any, pathlib.Path, Any, dict[int, Any]]:
    """Returns (config, workdir, abstract state, the states by step) of a finished run."""
    workdir = folder / "finished"
    train(config(), str(workdir))
    dataset = load_dataset(config())
    source = dataset.source
    experiment = build(config(), source.input_shape, source.num_classes, dataset.num_train)
    abstract = experiment.abstract_state()
    checkpoints = Checkpoints(workdir / "checkpoints", keep_latest=3, keep_best=False)
    states = {step: checkpoints.restore_step(step, abstract) for step in checkpoints.steps()}
    return config(), workdir, abstract, states


def stopped(folder: pathlib.Path) -> pathlib.Path:
    """Returns the workdir of that run as a stop at step 8 leaves it."""
    workdir = folder / "stopped"
    shutil.copytree(folder / "finished", workdir)
    shutil.rmtree(workdir / "checkpoints" / "12")
    (workdir / "result.json").unlink()
    return workdir
