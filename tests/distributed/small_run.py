"""One small training that every topology repeats, and the processes that do so."""

import contextlib
import functools
import json
import os
import socket
import subprocess
import sys
from typing import Any

import jax
import numpy as np

STEPS = 20
LEARNING_RATE = 0.05
# Plain SGD: the change of the parameters is the gradient times the rate. Dropout and augmentation
# are on, so that equal losses mean equal random choices.
KEYS: dict[str, Any] = {
    "model.width": 4,
    "model.hidden_units": 32,
    "model.num_conv_layers": 2,
    "model.dropout": 0.2,
    "batch_size": 64,
    "duration": f"{STEPS} steps",
    "optim.name": "sgd",
    "optim.learning_rate": LEARNING_RATE,
    "optim.momentum": 0.0,
    "optim.nesterov": False,
    "optim.schedule": "constant",
    "optim.warmup": "0 steps",
    "optim.weight_decay": 0.0,
    "eval.batch_size": 100,
    "checkpoint.every": "1 steps",
    "checkpoint.keep_latest": 100,
    "log.every": "1 steps",
    "log.tracker": "none",
}


def config_of(**changes):
    from crnn_jax.flags import resolve_config

    keys = {**KEYS, **{key.replace("__", "."): value for key, value in changes.items()}}
    return resolve_config("configs/digits.py:crnn", {k: str(v) for k, v in keys.items()})


@functools.cache
def topology(data=1, fsdp=1, model=1, **changes):
    """Returns (experiment, inputs, compiled step, empty totals, state at step 0) of a mesh."""
    from crnn_jax.data.dataset import load_dataset
    from crnn_jax.mesh import replicated
    from crnn_jax.train.experiment import build
    from crnn_jax.train.programs import compile_step

    config = config_of(mesh__data=data, mesh__fsdp=fsdp, mesh__model=model, **changes)
    dataset = load_dataset(config)
    source = dataset.source
    experiment = build(config, source.input_shape, source.num_classes, dataset.num_train)
    pipeline = dataset.pipeline("train", config.batch_size, experiment.mesh)
    inputs = next(pipeline.train_inputs(0))
    state = experiment.init_state(dataset.norm())
    empty = jax.jit(experiment.task.empty, out_shardings=replicated(experiment.mesh))()
    step = compile_step(experiment, pipeline.assemble, state, empty, inputs)
    return experiment, inputs, step, empty, state


def run(run_of, state, steps):
    """Returns (losses, states) of `steps` steps from a copy of `state`."""
    _, inputs, step, empty, _ = run_of
    losses, states = [], []
    for _ in range(steps):
        state, totals = step(jax.tree.map(lambda x: x.copy(), state), empty, inputs)
        losses.append(totals.loss())
        states.append(state)
    return losses, states


def assert_same_gradient(before, after, expected_after):
    """The parameters moved alike, to 1e-4 of the largest element of the gradient."""
    moves = [
        jax.tree.map(lambda a, b: (np.asarray(a) - np.asarray(b)) / LEARNING_RATE, before, x)
        for x in (after, expected_after)
    ]
    largest = max(np.abs(x).max() for x in jax.tree.leaves(moves[1]))
    assert largest > 1e-3
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * largest), *moves)


def environment(devices):
    # After the tests' own flags: of two the last counts.
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    return {
        **os.environ,
        "XLA_FLAGS": flags,
        "PYTHON": sys.executable,
        "JAX_DEFAULT_MATMUL_PRECISION": "highest",
    }


def arguments(workdir, **changes):
    keys = {**KEYS, **{key.replace("__", "."): value for key, value in changes.items()}}
    overrides = [f"--config.{key}={value}" for key, value in keys.items()]
    return ["--config=configs/digits.py:crnn", f"--workdir={workdir}", *overrides]


@contextlib.contextmanager
def processes(count, workdir, devices=4, each=None, **changes):
    """Starts the processes of one run; yields them, and leaves none behind.

    `each`: of each process, the arguments that it alone has.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [sys.executable, "-m", "crnn_jax.main", *arguments(workdir, **changes)]
    command += [f"--coordinator={address}", f"--num_processes={count}"]
    started = [
        subprocess.Popen(
            [*command, f"--process_id={index}", *(each[index] if each else [])],
            env=environment(devices),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(count)
    ]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def logged(workdir, name="train/loss"):
    """Returns {step: value} of metrics.jsonl."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line[name] for line in lines if name in line}


def saved(workdir, experiment, step=None):
    """Returns (step, state) of a checkpoint, by default of the newest."""
    from crnn_jax.checkpoint import Checkpoints

    checkpoints = Checkpoints(workdir / "checkpoints", keep_latest=1, keep_best=False)
    abstract = experiment.abstract_state()
    if step is None:
        restored = checkpoints.restore(abstract)
        assert restored is not None
        return restored
    return step, checkpoints.restore_step(step, abstract)
