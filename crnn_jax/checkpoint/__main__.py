"""Checkpoints of a run: python -m crnn_jax.checkpoint --workdir=runs/a list|verify|prune

list: steps, sizes and validation scores. verify: reads each and compares its checksums; exit
code 1 if one is damaged. prune: deletes all good ones but the latest and the best, what was moved
aside as damaged, and what killed saves left; not in the workdir of a training that runs.
"""

import pathlib
import shutil
import sys

import jax

from crnn_jax.checkpoint import Checkpoints, folders, metadata
from crnn_jax.checksums import DamagedError
from crnn_jax.errors import OneLineParser, UserError, one_line_errors
from crnn_jax.file_lock import only_run

_LEFTOVERS = (folders.TEMPORARY, folders.DOOMED)


def main(argv: list[str]) -> None:
    """Lists, verifies or prunes; a user's mistake ends with exit code 2 and one line."""
    parser = OneLineParser(
        prog="python -m crnn_jax.checkpoint",
        description=__doc__,
    )
    parser.add_argument("--workdir", required=True, help="folder of the run")
    parser.add_argument("--keep_latest", type=int, default=1, help="prune: how many (default 1)")
    parser.add_argument("action", choices=("list", "verify", "prune"))
    flags = parser.parse_args(argv)
    with one_line_errors():
        directory = pathlib.Path(flags.workdir).expanduser() / "checkpoints"
        if not directory.is_dir():
            raise UserError(f"expected checkpoints in '{directory}', found none: check --workdir")
        if flags.keep_latest < 1:
            raise UserError(f"--keep_latest expects 1 or more, found {flags.keep_latest}")
        checkpoints = Checkpoints(directory, keep_latest=flags.keep_latest, keep_best=True)
        if flags.action == "list":
            _list(checkpoints)
        elif flags.action == "verify":
            sys.exit(0 if _good_steps(checkpoints) == checkpoints.steps() else 1)
        else:
            with only_run(flags.workdir):
                _prune(checkpoints, flags.keep_latest)


def _list(checkpoints: Checkpoints) -> None:
    best = checkpoints.best_step()
    for step in checkpoints.steps():
        folder = folders.folder_of(checkpoints.directory, step)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
        try:
            scores = metadata(folder)["metrics"].items()
            text = "".join(f"  {name.replace('/', ' ')} {value:.4f}" for name, value in scores)
        except DamagedError as error:
            text = f"  damaged ({error})"
        print(f"step {step}  {size:.1f} MB{text}{'  best' if step == best else ''}")


def _good_steps(checkpoints: Checkpoints) -> list[int]:
    """Returns the steps whose checksums are right, and prints a line for each step."""
    good = []
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    for step in checkpoints.steps():
        try:
            saved = metadata(folders.folder_of(checkpoints.directory, step))["leaves"]
            target = {
                name: jax.ShapeDtypeStruct(shape, dtype, sharding=place)
                for name, (dtype, shape, _) in saved.items()
            }
            checkpoints.restore_step(step, target)
            good.append(step)
            print(f"step {step}  good")
        except (DamagedError, UserError) as error:
            print(f"step {step}  {error}")
    return good


def _prune(checkpoints: Checkpoints, keep_latest: int) -> None:
    folders.replace_old(checkpoints.directory)
    steps = _good_steps(checkpoints)  # a damaged one is not counted, and left
    kept = {*steps[-keep_latest:], checkpoints.best_step()}
    doomed = [checkpoints.directory / str(step) for step in steps if step not in kept]
    for path in checkpoints.directory.iterdir():
        if path.name.startswith("damaged-") or path.name.endswith(_LEFTOVERS):
            doomed.append(path)
    for path in doomed:
        # Renamed first, so that a kill in between leaves no half checkpoint under a number.
        path = path.rename(path.with_name(path.name.removesuffix(".deleted") + ".deleted"))
        shutil.rmtree(path)
        print(f"deleted {path.name.removesuffix('.deleted')}")


if __name__ == "__main__":
    main(sys.argv[1:])
