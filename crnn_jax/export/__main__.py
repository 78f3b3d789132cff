"""Exports a run to one file: python -m crnn_jax.export --workdir=runs/a --format=onnx

--model=NAME takes a model of the package in the place of a run, --file=FILE a safetensors file.

The new file takes uint8 images of the stored size and returns class probabilities. It is run beside
the model before it is kept: what they differ by is printed, and written into the file. `onnx` runs
without JAX; `stablehlo` runs wherever JAX does; `safetensors` holds the weights.
"""

import argparse
import dataclasses
import pathlib
import sys
from typing import TYPE_CHECKING

from crnn_jax.errors import OneLineParser, UserError, one_line_errors
from crnn_jax.flags import add_placement_flags, placement
from crnn_jax.new_file import new_file, writing
from crnn_jax.opened import add_flags, open_named

if TYPE_CHECKING:  # what imports JAX waits for the flags to be right
    from crnn_jax.run import Run

FORMATS = ("safetensors", "stablehlo", "onnx")


def main(argv: list[str]) -> None:
    """Writes the file and prints its certificate."""
    parser = OneLineParser(prog="python -m crnn_jax.export", description=__doc__)
    add_flags(parser)
    parser.add_argument("--format", required=True, choices=FORMATS)
    parser.add_argument(
        "--out", metavar="FILE", help="default: WORKDIR/model.FORMAT, or NAME.FORMAT here"
    )
    parser.add_argument("--evaluate", action="store_true", help="print the file's test score too")
    parser.add_argument(
        "--examples",
        type=int,
        default=256,
        help="number of test examples that the file is compared on",
    )
    parser.add_argument(
        "--streaming",
        action="store_true",
        help="onnx: one step, fed rows or frames as they come, with the state as input and output",
    )
    add_placement_flags(parser)
    flags = parser.parse_args(argv)
    with one_line_errors():
        if flags.examples < 1:
            raise UserError(f"--examples expects 1 or more, found {flags.examples}")
        if flags.streaming and flags.format != "onnx":
            raise UserError(f"--streaming expects --format=onnx, found {flags.format}")
        path = _out(flags)
        with new_file(path, flags.format) as unfinished:
            lines = export(
                _open(flags),
                flags.format,
                unfinished,
                data_source=flags.data_source,
                evaluate=flags.evaluate,
                num_examples=flags.examples,
                streaming=flags.streaming,
            )
        print(f"{path}: {path.stat().st_size:,} bytes", *lines, sep="\n")


def _out(flags: argparse.Namespace) -> pathlib.Path:
    """Returns the path of the file that is to be written."""
    place = pathlib.Path(f"{flags.model or pathlib.Path(flags.file or '').stem}.{flags.format}")
    if flags.workdir is not None:
        workdir = pathlib.Path(flags.workdir).expanduser()
        if not (workdir / "config.json").exists():
            raise UserError(f"expected a run in '{workdir}', found no config.json: check --workdir")
        place = workdir / f"model.{flags.format}"
    return pathlib.Path(flags.out).expanduser() if flags.out else place


def _open(flags: argparse.Namespace) -> "Run":
    """Returns what is exported, with the name of its data as it was in training."""
    from crnn_jax.run import Run

    moved = {key: value for key, value in placement(flags).items() if key != "data.source"}
    found = open_named(flags, moved)
    if not isinstance(found, Run):
        raise UserError(f"--file expects a safetensors file, found {found.described}, a program")
    return found


def export(
    run: "Run",
    name: str,
    path: pathlib.Path,
    *,
    data_source: str | None,
    evaluate: bool,
    num_examples: int,
    streaming: bool = False,
) -> list[str]:
    """Returns what is to be said of the file that it writes.

    Args:
      run: with its weights.
      name: the format's.
      path: the file that is written anew.
      data_source: where the data lies that the file is compared on; None: that of the run.
      evaluate: whether the file's score on the test split is found.
      num_examples: that the file and the run are compared on.
      streaming: the graph is that of one step; for "onnx" alone.

    Raises:
      UserError: see the format; or the file differs from the run.
    """
    from crnn_jax.config import override
    from crnn_jax.export import certify
    from crnn_jax.export.formats import format_of
    from crnn_jax.export.metadata import describe
    from crnn_jax.predictor import summary
    from crnn_jax.train.evaluator import result_line

    form = format_of(name)
    run = certify.in_float32(run)
    content = form.make(run, streaming=True) if streaming else form.make(run)
    metadata = {**describe(run), "streaming": streaming}
    if data_source is not None:  # the file says what the run was trained on
        override(run.config, "data.source", data_source)
    with writing(path):
        form.save(content, path, metadata)
    file = form.load(path)
    certificate = certify.certify(run, file, num_examples)
    certify.check(certificate, path)
    lines = [certificate.line()]
    metadata["certificate"] = dataclasses.asdict(certificate)
    if evaluate:
        found = summary(run.task, file.apply, run.batches("test"))
        metadata["test"] = found
        lines.append(result_line(run.task, "test", found))
    with writing(path):
        form.save(content, path, metadata)
    return lines


if __name__ == "__main__":
    main(sys.argv[1:])
