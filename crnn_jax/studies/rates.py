"""Images/s of several configs measured side by side: rows that are trained on different days, or
beside other work, cannot be compared by the seconds of their own runs."""

import json
import pathlib
from typing import Any

from ml_collections import ConfigDict

from crnn_jax.studies import runs
from crnn_jax.timing import per_call

NAME = "rates.json"  # beside the kept files of a study's runs
REPEATS, FILL_SECONDS = 5, 2.0


def measure(points: runs.Points) -> dict[str, list[float]]:
    """Returns the images/s [min, median, max] of each config's training steps, with their data.

    The configs take turns, so that all see the same machine; with a seed's training they share the
    data, the model and the program, but nothing is evaluated or saved.
    """
    programs, images = {}, {}
    for name, config in points.items():
        programs[name], images[name] = _program(config)
    times = per_call(programs, REPEATS, fill=FILL_SECONDS, most=200)
    return {
        name: [count / seconds for seconds in reversed(times[name])]
        for name, count in images.items()
    }


def _program(config: ConfigDict) -> tuple[Any, int]:
    """Returns (a training, called with a number of programs to run; the images of one)."""
    from crnn_jax.data.dataset import load_dataset
    from crnn_jax.studies.probes import training_with_data
    from crnn_jax.train.experiment import build

    dataset = load_dataset(config)
    source = dataset.source
    experiment = build(config, source.input_shape, source.num_classes, dataset.num_train)
    pipeline = dataset.pipeline("train", config.batch_size, experiment.mesh)
    training = training_with_data(experiment, pipeline, dataset.norm())
    return training, config.batch_size * experiment.steps_per_dispatch


def write(path: pathlib.Path, points: runs.Points) -> None:
    """Measures and writes {"rates": {name: [min, median, max]}, ...} to `path`."""
    from crnn_jax.provenance import describe_devices, git_commit
    from crnn_jax.writers import write_json_atomically

    facts = {"date": runs.today(), "git_commit": git_commit(), "devices": describe_devices()}
    unit = "images/s [min, median, max] over interleaved repeats"
    found = measure(points)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json_atomically(path, {**facts, "unit": unit, "repeats": REPEATS, "rates": found})


def read(path: pathlib.Path) -> dict[str, Any] | None:
    """Returns the content of a file of `write`, None where there is none."""
    return json.loads(path.read_text()) if path.exists() else None
