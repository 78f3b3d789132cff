"""Seconds of a training step by the number of steps in one program (steps_per_dispatch).

    python benchmarks/dispatch.py [--config configs/digits.py:crnn] [--steps 1 4 16] [--batch 128]
        [--repeats 5] [--write]
        [--config.KEY=VALUE ...]

Prints milliseconds a step as min/median/max over interleaved repeats, and the median of one step a
program over it. --write appends a JSON line to results/benchmarks/dispatch.jsonl. The default of
a backend (crnn_jax/train/resolve.py) is what wins here.
"""

import argparse
from typing import Any

from timing import append, per_call

from crnn_jax.config import override
from crnn_jax.data.dataset import load_dataset
from crnn_jax.errors import one_line_errors
from crnn_jax.flags import parse_overrides, resolve_config
from crnn_jax.huge_pages import restart_with_huge_pages
from crnn_jax.studies import probes
from crnn_jax.train.experiment import build, enable_compile_cache


def measure(config: Any, numbers: list[int], repeats: int, fill: float) -> dict[str, list[float]]:
    """Returns the seconds of a step [min, median, max] for each number of steps a program."""
    dataset = load_dataset(config)
    source, norm = dataset.source, dataset.norm()
    programs = {}
    for number in numbers:
        config.steps_per_dispatch = number
        experiment = build(config, source.input_shape, source.num_classes, dataset.num_train)
        pipeline = dataset.pipeline("train", config.batch_size, experiment.mesh)
        programs[str(number)] = probes.training_with_data(experiment, pipeline, norm)
    seconds = per_call(programs, repeats, fill=fill, most=400)
    return {name: [time / int(name) for time in times] for name, times in seconds.items()}


def main() -> None:
    """Measures, prints the table and appends it where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--config", default="configs/digits.py:crnn")
    parser.add_argument("--steps", type=int, nargs="*", default=[1, 4, 16])
    parser.add_argument("--batch", type=int, default=0, help="0: the config's")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="about that long a repeat")
    parser.add_argument("--write", action="store_true", help="append to results/benchmarks")
    flags, rest = parser.parse_known_args()
    with one_line_errors():
        config = resolve_config(flags.config, parse_overrides(rest))
        if flags.batch:
            override(config, "batch_size", str(flags.batch))
        enable_compile_cache(config)
        found = measure(config, flags.steps, flags.repeats, flags.seconds)
        first = found[str(flags.steps[0])][1]
        for name, (low, median, high) in found.items():
            ms = f"{1e3 * low:.3f}/{1e3 * median:.3f}/{1e3 * high:.3f} ms a step"
            print(f"{name:>4} steps a program: {ms}, x{first / median:.2f}")
        if flags.write:
            setting = f"{flags.config}, {config.batch_size}"
            unit = {"unit": "seconds a step [min, median, max], by steps a program"}
            append("dispatch", {"setting": setting, **unit, "repeats": flags.repeats, **found})


if __name__ == "__main__":
    restart_with_huge_pages()
    main()
