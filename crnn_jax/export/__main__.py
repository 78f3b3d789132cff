"""Exports a run to one file: python -m crnn_jax.export --workdir=runs/a --format=onnx

The file takes uint8 images of the stored size and returns class probabilities. It is run beside
the model before it is kept: what they differ by is printed, and written into the file. `onnx` runs
without JAX; `stablehlo` runs wherever JAX does; `safetensors` holds the weights.
"""

import contextlib
import dataclasses
import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Iterator

from crnn_jax.errors import OneLineParser, UserError, one_line_errors

FORMATS = ("safetensors", "stablehlo", "onnx")


def main(argv: list[str]) -> None:
    """Writes the file and prints its certificate."""
    parser = OneLineParser(prog="python -m crnn_jax.export", description=__doc__)
    parser.add_argument("--workdir", required=True, help="folder of a run of crnn_jax.main")
    parser.add_argument("--format", required=True, choices=FORMATS)
    parser.add_argument("--out", metavar="FILE", help="default: WORKDIR/model.FORMAT")
    parser.add_argument("--step", type=int, help="step of the checkpoint; default: the latest")
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
    flags = parser.parse_args(argv)
    with one_line_errors():
        if flags.examples < 1:
            raise UserError(f"--examples expects 1 or more, found {flags.examples}")
        if flags.streaming and flags.format != "onnx":
            raise UserError(f"--streaming expects --format=onnx, found {flags.format}")
        workdir = pathlib.Path(flags.workdir).expanduser()
        if not (workdir / "config.json").exists():
            raise UserError(f"expected a run in '{workdir}', found no config.json: check --workdir")
        path = pathlib.Path(flags.out or workdir / f"model.{flags.format}").expanduser()
        with new_file(path, flags.format) as unfinished:
            lines = export(
                workdir,
                flags.format,
                unfinished,
                step=flags.step,
                evaluate=flags.evaluate,
                num_examples=flags.examples,
                streaming=flags.streaming,
            )
        print(f"{path}: {path.stat().st_size:,} bytes", *lines, sep="\n")


def export(
    workdir: pathlib.Path,
    name: str,
    path: pathlib.Path,
    *,
    step: int | None,
    evaluate: bool,
    num_examples: int,
    streaming: bool = False,
) -> list[str]:
    """Returns what is to be said of the file that it writes.

    Args:
      workdir: of a run.
      name: of the format.
      path: of the file, which is written anew.
      step: of the checkpoint; None: the newest good one.
      evaluate: whether the file's score on the test split is found.
      num_examples: that the file and the run are compared on.
      streaming: the graph is that of one step; of "onnx" alone.

    Raises:
      UserError: see `open_run` and the format; or the file differs from the run.
    """
    from crnn_jax.export import certify
    from crnn_jax.export.formats import format_of
    from crnn_jax.export.metadata import describe
    from crnn_jax.predictor import summary
    from crnn_jax.run import open_run
    from crnn_jax.train.evaluator import result_line

    form = format_of(name)
    run = certify.in_float32(open_run(workdir, step))
    content = form.make(run, streaming=True) if streaming else form.make(run)
    metadata = {**describe(run), "streaming": streaming}
    with _writing(path):
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
    with _writing(path):
        form.save(content, path, metadata)
    return lines


@contextlib.contextmanager
def new_file(path: pathlib.Path, suffix: str) -> Iterator[pathlib.Path]:
    """Makes the file that is written in the block under another name, if the block ends well.

    Args:
      path: that the file gets.
      suffix: of its name, as "onnx".

    Raises:
      UserError: a name that ends otherwise, a file that is there, or a folder that cannot be
        written.
    """
    if path.suffix != f".{suffix}":
        raise UserError(f"--out expects a name that ends with .{suffix}, found '{path}'")
    if path.exists():
        raise UserError(f"--out expects a file that is not there yet, found '{path}': remove it")
    with _writing(path):
        folder = pathlib.Path(tempfile.mkdtemp(dir=path.parent, prefix=".export_"))
    try:
        yield folder / path.name
        with _writing(path):
            usual = folder / "usual"  # safetensors makes files that their owner alone can read
            usual.touch()
            os.chmod(folder / path.name, usual.stat().st_mode)
            os.replace(folder / path.name, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _writing(path: pathlib.Path) -> Iterator[None]:
    """Turns an error of the file system into one line."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise UserError(f"'{path}' cannot be written ({reason}): choose another --out") from error


if __name__ == "__main__":
    main(sys.argv[1:])
