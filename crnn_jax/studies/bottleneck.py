"""What bounds a training: python -m crnn_jax.studies.bottleneck --config=FILE:MODEL

Measures, on this machine's devices, a training step of the config (or of the run in --workdir) with
its data and with a constant batch, its recurrent layers alone, the host's part, and what the
devices can do: a matrix product, a pass over memory and, with several devices, a sum over them.
Says in words which of these bounds the step, and writes results/bottleneck_NAME.json.
"""

import datetime
import pathlib
from collections.abc import Callable
from typing import Any

from crnn_jax.config import flatten
from crnn_jax.entry import run_training
from crnn_jax.errors import OneLineParser, UserError, one_line_errors
from crnn_jax.flags import parse_overrides, resolve_config, split_name

# What to change where a part bounds the step.
ADVICE = {
    "input": "keep the data on the devices (data.pipeline=resident); where it does not fit, raise "
    "data.num_workers, or store smaller images",
    "host dispatch": "put more steps into one program (steps_per_dispatch), or use a larger batch",
    "compute": "use precision=bfloat16 where it is faster, a smaller model, or more devices",
    "memory": "move fewer bytes: precision=bfloat16, or fewer channels at the large maps",
    "recurrence latency": "a chain of small dependent products: use fewer steps "
    "(model.sequence=rows), another model.implementation, or a larger batch",
    "collectives": "use a larger batch on each device, so that a gradient's sum is rarer, or fewer "
    "devices",
}
_LATE = 0.9  # the host holds the device up when it needs this share of a step to dispatch one
_FILL_SECONDS = 0.3  # that the calls of a short program take together
_NEAR = 0.5  # share of a product's rate, or of the bandwidth: as good as networks get
_SIZES = {"cpu": (2048, 2**28)}  # side of the product, bytes of the pass over memory
_ACCELERATOR_SIZES = (8192, 2**31)


def shares(found: dict[str, Any]) -> dict[str, float]:
    """Returns the part of a step's seconds that each resource alone would take, 0..1 or above.

    They overlap and need not add up to 1. Compute and memory are floors: the step's model FLOPs at
    the measured rate of a matrix product, its bytes at the measured bandwidth. Recurrence latency
    is what the recurrent layers take beyond their own products at that rate.

    Args:
      found: what `measure` returns; seconds are a step's.
    """
    step = found["step_seconds"]
    recurrent = found["recurrent_seconds"] or 0.0
    parts = {
        "input": step * max(0.0, 1 - 1 / found["input_ratio"]),
        "host dispatch": found["launch_seconds"] or found["host_seconds"],
        "compute": found["model_flops"] / found["matmul_flops_per_second"],
        "memory": (found["bytes"] or 0.0) / found["bytes_per_second"],
        "recurrence latency": max(
            0.0, recurrent - found["recurrent_flops"] / found["matmul_flops_per_second"]
        ),
        "collectives": found["all_reduce_seconds"] or 0.0,
    }
    return {name: seconds / step for name, seconds in parts.items()}


def verdict(found: dict[str, Any]) -> dict[str, Any]:
    """Returns {"bound", "share", "words"}: what bounds the step, in words, with its evidence.

    What is left of the step without the waits is the device's own work: compute or memory bounds
    it, whichever floor is higher, and the words say how far above its floor it is.
    """
    parts = shares(found)
    waits = {name: parts[name] for name in ("input", "recurrence latency", "collectives")}
    work = "compute" if parts["compute"] >= parts["memory"] else "memory"
    candidates = {**waits, work: max(0.0, 1.0 - sum(waits.values()))}
    if parts["host dispatch"] >= _LATE:  # below that the device works meanwhile
        candidates = {"host dispatch": parts["host dispatch"]}
    bound = max(candidates, key=lambda name: candidates[name])
    share = candidates[bound]
    words = f"{bound} bounds the step: {share:.0%} of {1e3 * found['step_seconds']:.3g} ms"
    if bound == work:
        limit = "rate of a single product" if work == "compute" else "bandwidth"
        words += f" is work of the device, which at the {limit} measured here would take"
        words += f" {parts[work]:.0%}."
        if parts[work] < _NEAR:
            words += " Most of it is operations that reach neither the rate of a product nor the"
            words += " bandwidth: find them with --profile before anything else."
    else:
        words += " is spent on it."
    return {"bound": bound, "share": share, "words": f"{words} To change it: {ADVICE[bound]}."}


def evidence(found: dict[str, Any]) -> list[str]:
    """Returns the lines of the printed table: part, share of the step, how it is known."""
    ms = {key: 1e3 * (found[f"{key}_seconds"] or 0.0) for key in ("step", "constant_batch")}
    dispatched = "launch" if found["launch_seconds"] else "host"
    how = {
        "input": f"{ms['step']:.3f} ms with data, {ms['constant_batch']:.3f} with a constant one; "
        f"median ratio of the rounds {found['input_ratio']:.3f}",
        "host dispatch": f"{1e6 * found[f'{dispatched}_seconds']:.0f} us a step to dispatch it",
        "compute": f"{found['model_flops'] / 1e9:.1f} GFLOP at the measured "
        f"{found['matmul_flops_per_second'] / 1e12:.3g} TFLOP/s of a product",
        "memory": f"{(found['bytes'] or 0.0) / 1e6:.0f} MB by the compiler's count at the measured "
        f"{found['bytes_per_second'] / 1e9:.3g} GB/s",
        "recurrence latency": "no recurrent layer"
        if found["recurrent_seconds"] is None
        else f"recurrent layers alone {1e3 * found['recurrent_seconds']:.3f} ms "
        f"({found['recurrent_seconds'] / found['step_seconds']:.0%} of the step), "
        f"{found['recurrent_flops'] / 1e9:.2f} GFLOP",
        "collectives": "one device"
        if found["all_reduce_seconds"] is None
        else f"a gradient's sum over {found['num_devices']} devices "
        f"{1e3 * found['all_reduce_seconds']:.3f} ms",
    }
    ordered = sorted(shares(found).items(), key=lambda item: -item[1])
    return [f"{name:20} {share:6.1%}  {how[name]}" for name, share in ordered]


def measure(config: Any, repeats: int) -> dict[str, Any]:
    """Returns what `shares` reads, and more: medians over interleaved repeats, seconds of a step.

    Args:
      config: validated.
      repeats: runs of each program; the calls of a short one fill a few tenths of a second.
    """
    from crnn_jax import flops
    from crnn_jax.data.dataset import load_dataset
    from crnn_jax.studies import probes
    from crnn_jax.timing import compare, per_call
    from crnn_jax.train.experiment import build

    dataset = load_dataset(config)
    source, norm = dataset.source, dataset.norm()
    experiment = build(config, source.input_shape, source.num_classes, dataset.num_train)
    pipeline = dataset.pipeline("train", config.batch_size, experiment.mesh)
    data = probes.training_with_data(experiment, pipeline, norm)
    constant = probes.training_on_constant_batch(experiment, pipeline, norm)
    recurrent = probes.recurrent_part(experiment)
    device_programs, amounts = _device_programs(experiment)
    # These two by themselves: what runs before a step changes where its memory lies.
    *steps, ratios = compare(data, constant, repeats, fill=_FILL_SECONDS, most=200)
    programs = {
        **({"recurrent": recurrent[0]} if recurrent is not None else {}),
        **device_programs,
    }
    seconds = per_call(programs, repeats, fill=_FILL_SECONDS, most=200)
    for name, times in zip(("step", "constant_batch"), steps, strict=True):
        seconds[name] = [s / experiment.steps_per_dispatch for s in times]
    medians = {f"{name}_seconds": times[1] for name, times in seconds.items()}
    # A CPU computes in the call itself: there only a call that computes nothing shows the host.
    on_cpu = experiment.mesh.devices.flat[0].platform == "cpu"
    rate = config.batch_size / medians["step_seconds"]
    forward = experiment.describe()["flops_per_image"]
    launch = None if on_cpu else data.launch_seconds(repeats)[1]
    host = data.host_seconds(repeats)[1]
    data.close()
    return {
        "batch_size": config.batch_size,
        "steps_per_dispatch": experiment.steps_per_dispatch,
        "num_devices": experiment.mesh.size,
        "device_kind": experiment.mesh.devices.flat[0].device_kind,
        "images_per_second": rate,
        "mfu": experiment.mfu(rate),
        "input_ratio": ratios[1],
        "input_ratios": ratios,
        "recurrent_seconds": None,
        "all_reduce_seconds": None,
        **medians,
        "recurrent_flops": recurrent[1] if recurrent is not None else 0,
        "launch_seconds": launch,
        "host_seconds": host,
        "matmul_flops_per_second": amounts["matmul"] / seconds["matmul"][0],
        "bytes_per_second": amounts["memory"] / seconds["memory"][0],
        "bytes": data.bytes_per_step,
        "model_flops": flops.TRAIN_OVER_FORWARD * forward * config.batch_size,
        "seconds": seconds,
    }


def _device_programs(
    experiment: Any,
) -> tuple[dict[str, Callable[[int], None]], dict[str, float]]:
    """Returns (programs that show what the devices can do, the FLOPs or bytes of each)."""
    from crnn_jax.studies import probes

    mesh, precision = experiment.mesh, experiment.config.precision
    side, num_bytes = _SIZES.get(mesh.devices.flat[0].platform, _ACCELERATOR_SIZES)
    multiply, product_flops = probes.product(mesh, precision, side)
    run_over, bytes_moved = probes.passing_over(mesh, num_bytes)
    programs: dict[str, Callable[[int], None]] = {"matmul": multiply, "memory": run_over}
    reduce = probes.all_reduce(mesh, experiment.describe()["parameters"])
    if reduce is not None:
        programs["all_reduce"] = reduce
    return programs, {"matmul": product_flops, "memory": bytes_moved}


def _resolve(flags: Any, overrides: dict[str, str]) -> tuple[str, Any]:
    """Returns (the results file's default name, the config)."""
    if bool(flags.config) == bool(flags.workdir):
        raise UserError("expected one of --config=FILE:MODEL and --workdir=RUN, found both or none")
    if flags.config:
        file, argument = split_name(flags.config)
        name = f"{pathlib.Path(file).stem}_{argument or 'default'}"
        return name, resolve_config(flags.config, overrides)
    from crnn_jax.config import override
    from crnn_jax.validation import validate
    from crnn_jax.workdir import load_config

    config = load_config(flags.workdir)
    for key, text in overrides.items():
        override(config, key, text)
    validate(config)
    return pathlib.Path(flags.workdir).name, config


def main(argv: list[str]) -> None:
    """Measures, prints the table and the verdict, and writes the results file."""
    parser = OneLineParser(prog="python -m crnn_jax.studies.bottleneck", description=__doc__)
    parser.add_argument("--config", default="", metavar="FILE:MODEL")
    parser.add_argument("--workdir", default="", help="folder of a run, instead of --config")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--name", default="", help="name of the results file; default: from the config"
    )
    parser.add_argument("--results", default="results", help="folder of the results file")
    flags, rest = parser.parse_known_args(argv)
    with one_line_errors():
        if flags.repeats < 1:
            raise UserError(f"--repeats expects 1 or more, found {flags.repeats}")
        name, config = _resolve(flags, parse_overrides(rest))
        name = flags.name or name
        from crnn_jax.train.experiment import enable_compile_cache
        from crnn_jax.workdir import describe_run
        from crnn_jax.writers import write_json_atomically

        enable_compile_cache(config)
        found = measure(config, flags.repeats)
        said = verdict(found)
        content = {
            "command": " ".join(["python -m crnn_jax.studies.bottleneck", *argv]),
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "config": flatten(config),
            **describe_run(config),
            "repeats": flags.repeats,
            "measured": found,
            "shares": shares(found),
            "verdict": said,
        }
        folder = pathlib.Path(flags.results)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"bottleneck_{name}.json"
        write_json_atomically(path, content)
        print(f"{name}: {found['images_per_second']:,.0f} images/s on {content['devices']}")
        print("\n".join(evidence(found)))
        print(f"{said['words']}\n{path}")


if __name__ == "__main__":
    run_training(main)
