"""Fig. 1 of the paper, for any config: python -m crnn_jax.studies.architecture --config=FILE:MODEL

Draws what the model is made of, read from the module itself: each stage with the size of what it
hands on, the steps that a recurrence reads, parameters and FLOPs. Nothing is computed, and no data
are read where --input and --classes say what they would. Writes RESULTS/architecture_NAME.svg,
.png, .md (a table) and .json.
"""

import itertools
import pathlib
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from flax import linen as nn

from crnn_jax.errors import OneLineParser, UserError, one_line_errors
from crnn_jax.flags import parse_overrides, resolve_config
from crnn_jax.models.convolution import Conv
from crnn_jax.models.heads import Classifier
from crnn_jax.models.normalization import BatchNorm
from crnn_jax.models.pooling import conv_max_pool
from crnn_jax.models.readout import Readout
from crnn_jax.models.recurrent import Recurrent
from crnn_jax.models.trunk import Trunk
from crnn_jax.models.whitening import Whitening
from crnn_jax.provenance import command, git_commit
from crnn_jax.report.architecture import architecture_figure
from crnn_jax.run import Run
from crnn_jax.studies import runs
from crnn_jax.studies.module_calls import Call, module_calls
from crnn_jax.studies.trained import run_name
from crnn_jax.writers import write_json_atomically

Stage = dict[str, Any]
_CONVOLUTIONS = (Conv, Whitening)


def stages(model: nn.Module, input_shape: Sequence[int]) -> list[Stage]:
    """Returns what an example passes through, in order, as the figure and the table show it.

    A stage is {"kind", "title", "notes", "output", "steps", "parameters", "flops"}: `kind` is
    "input", "cut" (into bands), "map", "block", "recurrence", "readout", "head" or "rest"; `output`
    its shape for one example; `steps` how many a recurrence reads one after the other, at most of
    the recurrences of a block, else None. Equal blocks in a row are one stage. Numbers of
    parameters and FLOPs add up to the model's.

    Args:
      model: from `models.build_model`.
      input_shape: shape of an example: (H, W, C), or (F, H, W, C) for a clip.
    """
    *calls, whole = module_calls(model, input_shape)
    is_clip = len(input_shape) == 4
    found = [_stage("input", "input", input_shape)]
    for parts in _repeated(calls):
        inner = parts[0]
        top = inner[-1]  # the part itself ends after what is inside it
        part = top.path[0]
        if _is_block(inner):
            found.append(_block_stage(parts))
        elif isinstance(top.module, nn.LayerNorm):
            found[-1]["notes"].append("then LayerNorm")
            found[-1]["parameters"] += top.num_parameters
        elif any(isinstance(call.module, _CONVOLUTIONS) for call in inner):
            frames, *frame_shape = inner[0].arguments[0].shape
            if isinstance(top.module, Trunk) and frames > 1 and not is_clip:
                found.append(_stage("cut", f"{frames} bands", (frames, *frame_shape)))
            found += _map_stages(inner[:-1], part)
        else:
            stage = _part_stage(top, _reading_order(model, part, is_clip=is_clip))
            if found[-1]["kind"] in ("map", "block") and stage["kind"] == "head":
                is_map = top.arguments[0].ndim == 4
                stage["notes"].insert(0, "of each pixel" if is_map else "of the map's mean")
            found.append(stage)
    rest = {
        name: getattr(whole, attribute) - sum(stage[name] for stage in found)
        for name, attribute in (("parameters", "num_parameters"), ("flops", "flops"))
    }
    if any(rest.values()):  # such as TSN's learned weights, which belong to no part
        output = whole.output.logits_BK.shape[1:]
        found.append({**_stage("rest", "consensus", output), **rest})
    return found


def _repeated(calls: list[Call]) -> list[list[list[Call]]]:
    """Returns the calls of each part, parts that are equal blocks in a row together."""
    parts = [list(group) for _, group in itertools.groupby(calls, key=lambda call: call.path[0])]

    def key(inner: list[Call]) -> Any:
        top = inner[-1]
        if not _is_block(inner):
            return top.path[0]  # no other part has it
        return type(top.module), _frame_shape(top.output), top.num_parameters, top.flops

    return [list(group) for _, group in itertools.groupby(parts, key=key)]


def _is_block(inner: list[Call]) -> bool:
    """Tells whether a part has recurrences inside and is none itself."""
    return any(isinstance(call.module, Recurrent) for call in inner[:-1])


def _block_stage(parts: list[list[Call]]) -> Stage:
    recurrences = [call for call in parts[0] if isinstance(call.module, Recurrent)]
    top, first = parts[0][-1], recurrences[0].module
    assert isinstance(first, Recurrent)
    notes = [f"{first.cell.upper()} {first.hidden_units}" + ", both ways" * first.bidirectional]
    read = {call.path[-1]: call.arguments[0].shape[1:] for call in recurrences}
    notes += [f"{name}: {steps} steps of {features:,}" for name, (steps, features) in read.items()]
    return _stage(
        "block",
        f"{len(parts)} × {type(top.module).__name__.lower()}",
        _frame_shape(top.output),
        notes,
        steps=max(steps for steps, _ in read.values()),
        parameters=sum(inner[-1].num_parameters for inner in parts),
        flops=sum(inner[-1].flops for inner in parts),
    )


def _stage(
    kind: str, title: str, output: Sequence[int], notes: Sequence[str] = (), **facts: Any
) -> Stage:
    empty = {"steps": None, "parameters": 0, "flops": 0}
    return {"kind": kind, "title": title, "notes": list(notes), "output": list(output)} | (
        empty | facts
    )


def _map_stages(calls: list[Call], part: str) -> Iterator[Stage]:
    """Yields a stage for each run of convolutions whose maps have one size and number of channels.

    What lies between two convolutions (a norm) belongs to the one before it.
    """
    units: list[list[Call]] = []
    for call in calls:
        if isinstance(call.module, _CONVOLUTIONS):
            units.append([])
        units[-1].append(call)

    def key(unit: list[Call]) -> Any:
        return type(unit[0].module), _frame_shape(unit[0].output)

    for (_, output), group in itertools.groupby(units, key=key):
        unit = [call for unit in group for call in unit]
        yield _map_stage(unit, output, "" if part == "trunk" else part)


def _map_stage(unit: list[Call], output: Sequence[int], part: str) -> Stage:
    convolutions = [call for call in unit if isinstance(call.module, _CONVOLUTIONS)]
    first = convolutions[0].module
    if isinstance(first, Whitening):
        title, notes = f"whitening {first.size}×{first.size}", ["kernel from the data"]
    else:
        assert isinstance(first, Conv)
        title, notes = f"{len(convolutions)} × conv {'×'.join(map(str, first.kernel_size))}", []
        pools = any(getattr(c.module, "convolve", None) is conv_max_pool for c in convolutions)
        norm = any(isinstance(call.module, BatchNorm) for call in unit)
        notes = ["max pool"] * pools + ["BatchNorm"] * norm
    return _stage(
        "map",
        title,
        output,
        [part] * bool(part) + notes,
        parameters=sum(call.num_parameters for call in unit),
        flops=sum(call.flops for call in convolutions),
    )


def _frame_shape(output: Any) -> tuple[int, ...]:
    return tuple(output.shape[1:])


def _part_stage(call: Call, order: str) -> Stage:
    """Returns the stage of a part that has no convolutions; `order` is of `_reading_order`."""
    module = call.module
    facts: dict[str, Any] = {"parameters": call.num_parameters, "flops": call.flops}
    shapes = [leaf.shape for leaf in call.arguments if hasattr(leaf, "shape")]
    output = call.output[0] if isinstance(call.output, tuple) else call.output
    if isinstance(module, Recurrent):
        lines, steps, features = shapes[0]
        layers, notes = module.num_recurrent_layers, [order] * bool(order)
        notes.append(f"{steps} steps of {features:,}" + (f", {lines} lines" if lines > 1 else ""))
        notes += [f"{layers} layers"] * (layers > 1) + ["both ways"] * module.bidirectional
        title = f"{module.cell.upper()} {module.hidden_units}"
        return _stage("recurrence", title, output.shape[lines == 1 :], notes, steps=steps, **facts)
    if isinstance(module, Readout):
        title = f"readout: {type(module).__name__.lower()}"
        return _stage("readout", title, output.shape[1:], **facts)
    if isinstance(module, nn.Dense) and output.ndim == 4:
        notes = [f"patches of {shapes[0][-1]:,}"]
        return _stage("map", "linear embedding", output.shape[1:], notes, **facts)
    notes = []
    if isinstance(module, Classifier) and module.dropout > 0:
        notes.append(f"dropout {module.dropout:g}")
    title = "fully connected" if isinstance(module, Classifier) else type(module).__name__.lower()
    shape = tuple(size for size in output.shape[1:-1] if size > 1) + output.shape[-1:]
    return _stage("head", title, shape, notes, **facts)


def _reading_order(model: nn.Module, part: str, *, is_clip: bool) -> str:
    """Returns what a step of a recurrence is, as far as the module says so."""
    if is_clip:
        return "a step: a frame"
    for field in ("sequence", "tokens"):
        if hasattr(model, field):
            return f"a step: {_ONE_OF[getattr(model, field)]}"
    return "" if part == "recurrent" else part.rstrip("_0123456789")  # columns_0 of rnn_deep


_ONE_OF = {"rows": "a row", "columns": "a column", "raster": "a cell", "patches": "a patch"}


def parse_shape(text: str) -> tuple[int, ...]:
    """Returns (224, 224, 3) of "224x224x3", or (8, 64, 64, 3) of a clip."""
    if not re.fullmatch(r"([1-9]\d*x){2,3}[1-9]\d*", text):
        raise UserError(
            f"--input expects HEIGHTxWIDTHxCHANNELS such as 32x32x3, or FRAMESx... of a clip, "
            f"found '{text}'"
        )
    return tuple(int(size) for size in text.split("x"))


def described(model: nn.Module, input_shape: Sequence[int]) -> dict[str, Any]:
    """Returns {"stages", "parameters", "flops"}; see `stages`."""
    found = stages(model, input_shape)
    return {
        "stages": found,
        "parameters": sum(stage["parameters"] for stage in found),
        "flops": sum(stage["flops"] for stage in found),
    }


def write_architecture(run: Run) -> None:
    """Writes WORKDIR/architecture.json, .svg and .png of a trained run."""
    content = {
        "study": "architecture",
        "command": command(),
        "date": runs.today(),
        "git_commit": git_commit(),
        "config": run_name(run),
        "model": run.config.model.name,
        "precision": run.config.precision,
        **described(run.experiment.model, run.input_shape),
    }
    path = run.workdir / "architecture.json"
    architecture_figure(content, path.with_suffix(".png"))
    write_json_atomically(path, content)


def main(argv: list[str]) -> None:
    """Draws the figure and writes the table."""
    parser = OneLineParser(prog="python -m crnn_jax.studies.architecture", description=__doc__)
    parser.add_argument("--config", required=True, metavar="FILE:MODEL")
    parser.add_argument(
        "--input", default="", metavar="HxWxC", help="size of the input; default: that of the data"
    )
    parser.add_argument(
        "--classes", type=int, default=0, help="number of classes; default: that of the data"
    )
    parser.add_argument("--name", default="", help="name of the files; default: from the config")
    parser.add_argument("--results", default="results", help="folder of the files")
    flags, rest = parser.parse_known_args(argv)
    with one_line_errors():
        config = resolve_config(flags.config, parse_overrides(rest))
        from crnn_jax.models import build_model
        from crnn_jax.train.resolve import resolve

        shape, classes = parse_shape(flags.input) if flags.input else (), flags.classes
        if flags.classes < 0:
            raise UserError(f"--classes expects 1 or more, found {flags.classes}")
        if not (shape and classes):
            from crnn_jax.data.sources import load_source

            source = load_source(config.data, config.seed)
            shape, classes = shape or source.input_shape, classes or source.num_classes
        config = resolve(config, None, lambda: shape)
        facts = described(build_model(config.model, classes, config.precision), shape)
        content = runs.header(
            "architecture",
            argv,
            git_commit=git_commit(),
            config=flags.config,
            model=config.model.name,
            precision=config.precision,
            **facts,
        )
        name = flags.name or f"architecture_{runs.config_name(flags.config)}"
        runs.write_results(pathlib.Path(flags.results) / f"{name}.json", content)


if __name__ == "__main__":
    main(sys.argv[1:])
