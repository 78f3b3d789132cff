"""Images/s of every input pipeline, and what it costs a training step.

    python benchmarks/input.py [--dataset cifar10] [--config FILE:MODEL] [--pipelines resident
        streaming streaming:2] [--batch 256] [--repeats 5] [--write]
        [--config.KEY=VALUE ...]

For each pipeline (streaming:N reads with N worker processes, streaming with threads): the images/s
of the input alone, from the order to the augmented and normalised batch on the device; and the
seconds of a training step with this data over those of one on a constant batch that was prepared
before, round by round, and what that ratio would be if the two did not overlap. --write appends a
JSON line a pipeline to results/benchmarks/input.jsonl. --dataset=imagenet runs
benchmarks/input_imagenet.py instead.
"""

import argparse
import contextlib
import os
import pathlib
import sys
from typing import Any

import jax
from timing import append, compare, per_call

from crnn_jax.config import override
from crnn_jax.data.dataset import load_dataset
from crnn_jax.errors import one_line_errors
from crnn_jax.flags import parse_overrides, resolve_config
from crnn_jax.huge_pages import restart_with_huge_pages
from crnn_jax.studies import probes
from crnn_jax.train.experiment import build, enable_compile_cache

# What is trained where only the data set is named.
DATASETS = {"cifar10": "configs/cifar10.py:crnn_small", "digits": "configs/digits.py:crnn"}


def input_rate(
    experiment: Any, pipeline: Any, state: Any, repeats: int, seconds: float
) -> list[float]:
    """Returns the images/s [min, median, max] of the input alone."""
    prepared = probes.prepare(experiment, pipeline)
    with contextlib.closing(pipeline.train_inputs(0)) as inputs:

        def run(num_batches: int) -> None:
            for _ in range(num_batches):
                batch = prepared(next(inputs), state)
                # One batch at a time, as in a training: no queue of results that nobody needs.
                jax.block_until_ready(batch)

        times = per_call({"input": run}, repeats, fill=seconds, most=500)["input"]
    return [experiment.config.batch_size / time for time in reversed(times)]


def step_ratio(
    experiment: Any, pipeline: Any, norm: Any, repeats: int, seconds: float
) -> dict[str, Any]:
    """Returns {"data", "constant"}, seconds of a step, and their "ratios": [min, median, max].

    "ratio" is the median of the rounds' ratios.
    """
    data = probes.training_with_data(experiment, pipeline, norm)
    constant = probes.training_on_constant_batch(experiment, pipeline, norm)
    *times, ratios = compare(data, constant, repeats, fill=seconds, most=200)
    data.close()
    steps = experiment.steps_per_dispatch
    found = {
        name: [time / steps for time in of]
        for name, of in zip(("data", "constant"), times, strict=True)
    }
    return {**found, "ratios": ratios, "ratio": ratios[1]}


def measure(config: Any, pipeline_name: str, repeats: int, seconds: float) -> dict[str, Any]:
    """Returns the record of one pipeline."""
    kind, _, workers = pipeline_name.partition(":")
    override(config, "data.pipeline", kind)
    override(config, "data.num_workers", workers or "0")
    dataset = load_dataset(config)
    source, norm = dataset.source, dataset.norm()
    experiment = build(config, source.input_shape, source.num_classes, dataset.num_train)
    pipeline = dataset.pipeline("train", config.batch_size, experiment.mesh)
    rate = input_rate(experiment, pipeline, experiment.init_state(norm), repeats, seconds)
    found = step_ratio(experiment, pipeline, norm, repeats, seconds)
    return {
        "steps_per_dispatch": experiment.steps_per_dispatch,
        "images_per_second": rate,
        # What the ratio would come to if nothing overlapped; it does not drift with the machine.
        "alone_ratio": 1 + config.batch_size / rate[1] / found["constant"][1],
        **found,
    }


def main() -> None:
    """Measures every pipeline, prints the table and appends it where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--dataset", default="cifar10", choices=[*DATASETS, "imagenet"])
    parser.add_argument("--config", default="", help="default: a small config of the data set")
    parser.add_argument("--pipelines", nargs="*", default=["resident", "streaming", "streaming:2"])
    parser.add_argument("--batch", type=int, default=0, help="0: the config's")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.8, help="about that long a repeat")
    parser.add_argument("--write", action="store_true", help="append to results/benchmarks")
    flags, rest = parser.parse_known_args()
    if flags.dataset == "imagenet":  # other peers, and stages: a program of its own
        program = pathlib.Path(__file__).with_name("input_imagenet.py")
        write = ["--write"] if flags.write else []
        os.execv(
            sys.executable, [sys.executable, str(program), f"--repeats={flags.repeats}", *write]
        )
    name = flags.config or DATASETS[flags.dataset]
    with one_line_errors():
        for pipeline in flags.pipelines:
            config = resolve_config(name, parse_overrides(rest))
            if flags.batch:
                override(config, "batch_size", str(flags.batch))
            enable_compile_cache(config)
            found = measure(config, pipeline, flags.repeats, flags.seconds)
            low, median, high = found["images_per_second"]
            print(
                f"{pipeline:12} {low:,.0f}/{median:,.0f}/{high:,.0f} images/s alone; a step "
                f"{1e3 * found['data'][1]:.2f} ms with it, {1e3 * found['constant'][1]:.2f} "
                f"without: x{found['ratio']:.3f}, without overlap x{found['alone_ratio']:.3f}",
                flush=True,
            )
            if flags.write:
                setting = {"dataset": flags.dataset, "config": name, "batch": config.batch_size}
                key = f"{name}, {config.batch_size}, {pipeline}"
                unit = {"unit": "[min, median, max]; data, constant: seconds a step"}
                record = {"setting": key, **setting, "pipeline": pipeline, **unit}
                append("input", {**record, "repeats": flags.repeats, **found})


if __name__ == "__main__":
    restart_with_huge_pages()
    main()
