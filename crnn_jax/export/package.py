"""Makes a model of the package from a run: python -m crnn_jax.export.package --workdir=runs/a ...

    python -m crnn_jax.main --config=digits:crnn --workdir=runs/digits_crnn
    python -m crnn_jax.export.package --workdir=runs/digits_crnn --config=digits:crnn

writes crnn_jax/pretrained/digits_crnn.safetensors, in a clone. The run must be that of the config,
finished, and of a commit without changes: so its command, which the file names, trains it again.
"""

import pathlib
import sys
from typing import Any

from crnn_jax import pretrained
from crnn_jax.config import PLACEMENT_KEYS, PROGRAM_KEYS, differences, flatten
from crnn_jax.errors import OneLineParser, UserError, one_line_errors
from crnn_jax.export import certify, safetensors
from crnn_jax.export.metadata import describe
from crnn_jax.flags import resolve_config
from crnn_jax.new_file import new_file
from crnn_jax.predictor import summary
from crnn_jax.run import Run, open_run
from crnn_jax.train.evaluator import result_line
from crnn_jax.workdir import read_result

LARGEST = 5_000_000  # bytes: the package is small
_EXAMPLES = 256
_LEFT_OUT = ("seconds", "images_per_second", "mfu")  # the machine's, not the model's


def package(workdir: str, config_name: str, path: pathlib.Path) -> str:
    """Returns the line of the file's score, after it has been written and compared with the run.

    Args:
      workdir: folder of a finished run.
      config_name: FILE:MODEL, of which it is the run.
      path: where the file is written.

    Raises:
      UserError: another config's run, one without a result or a commit, a file that differs from
        the run or is too large.
    """
    run = certify.in_float32(open_run(workdir))
    metadata = {**describe(run), "streaming": False, "record": record(run, config_name)}
    content = safetensors.make(run)
    with new_file(path, "safetensors") as unfinished:
        safetensors.save(content, unfinished, metadata)
        file = safetensors.load(unfinished)
        certificate = certify.certify(run, file, _EXAMPLES)
        certify.check(certificate, path)
        found = summary(run.task, file.apply, run.batches("test"))
        metadata |= {"certificate": vars(certificate), "test": found}
        safetensors.save(content, unfinished, metadata)
        if (size := unfinished.stat().st_size) > LARGEST:
            raise UserError(f"a model of the package has at most {LARGEST:,} bytes, found {size:,}")
    return result_line(run.task, "test", found)


def record(run: Run, config_name: str) -> dict[str, Any]:
    """Returns how the run was made, and what came of it.

    Raises:
      UserError: see `package`.
    """
    ignored = {*PLACEMENT_KEYS, *PROGRAM_KEYS, "precision", "steps_per_dispatch"}
    wanted = flatten(resolve_config(config_name, {}))
    if different := differences(flatten(run.config), wanted, ignored):
        raise UserError(f"--config expects that of the run, found another: {'; '.join(different)}")
    result = read_result(run.workdir)
    if result is None:
        raise UserError(f"expected a finished run, found no result.json in '{run.workdir}'")
    commit = result["git_commit"] or ""
    if not commit or commit.endswith("-dirty"):
        raise UserError(
            f"expected a run of a commit without changes, found '{commit or 'none'}': commit, and "
            "train again in another workdir"
        )
    return {
        "command": f"python -m crnn_jax.main --config={config_name} --workdir=WORKDIR",
        "commit": commit,
        "result": {k: v for k, v in result.items() if k not in _LEFT_OUT},
    }


def main(argv: list[str]) -> None:
    """Writes the file and prints its score."""
    parser = OneLineParser(prog="python -m crnn_jax.export.package", description=__doc__)
    parser.add_argument(
        "--workdir", required=True, help="folder of a finished run of crnn_jax.main"
    )
    parser.add_argument("--config", required=True, metavar="FILE:MODEL", help="config of the run")
    parser.add_argument("--name", help="default: that of --config, as digits_crnn")
    flags = parser.parse_args(argv)
    with one_line_errors():
        name = flags.name or flags.config.replace(":", "_")
        if not name.isidentifier():
            raise UserError(f"--name expects letters, digits and _, found '{name}'")
        path = pretrained.FOLDER / f"{name}.safetensors"
        line = package(flags.workdir, flags.config, path)
        print(f"{path}: {path.stat().st_size:,} bytes", line, sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
