"""Predicts for files: python -m crnn_jax.predict --workdir=runs/a FILE_OR_FOLDER... [--json]

--file=FILE takes an exported file in the place of a run, --model=NAME a model of the package.

Prints `path<TAB>class<TAB>probability` a line; PNG, JPEG and the like, gray, RGBA, CMYK or 16-bit,
any size; for a run on clips, videos. Where a prediction is a picture, it is written to --out.
"""

import collections
import concurrent.futures
import contextlib
import itertools
import json
import os
import pathlib
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from typing import Any

import numpy as np

from crnn_jax.data.inputs import find_inputs, read_input
from crnn_jax.data.views import make_view
from crnn_jax.errors import (
    CorruptImageError,
    OneLineParser,
    UserError,
    one_line_errors,
    printable,
)
from crnn_jax.flags import add_placement_flags, placement
from crnn_jax.opened import add_flags, open_named
from crnn_jax.predictor import Predictor
from crnn_jax.tasks.task import Rendered

_BATCH = 64  # files that the model sees at a time
_AHEAD = _BATCH  # files that are read before they are asked for


def predict_files(
    run: Predictor, files: Sequence[pathlib.Path], workers: int = 1
) -> Iterator[tuple[pathlib.Path, Rendered | CorruptImageError]]:
    """Yields (path, prediction), or (path, error) for a file that is no readable input.

    Args:
      run: what predicts.
      files: as many as there are: a few hundred are in memory.
      workers: threads that read and decode while the model runs.
    """
    task, read = run.task, _read_ahead(run, files, workers)
    with contextlib.closing(read):
        while batch := list(itertools.islice(read, _BATCH)):
            good = [pixels for _, pixels in batch if isinstance(pixels, np.ndarray)]
            found: Any = run.apply(np.stack(good)) if good else {}
            rows = iter(range(len(good)))
            for path, pixels in batch:
                if isinstance(pixels, CorruptImageError):
                    yield path, pixels
                    continue
                row = next(rows)
                one = {name: array[row] for name, array in found.items()}
                yield path, task.render(one, run.class_names, {task.pixels: pixels})


def _read_ahead(
    run: Predictor, files: Sequence[pathlib.Path], workers: int
) -> Generator[tuple[pathlib.Path, np.ndarray | CorruptImageError]]:
    """Yields (path, pixels or the error) of each file, in their order."""
    shape, view = run.input_shape, make_view(run.config)

    def read(path: pathlib.Path) -> np.ndarray | CorruptImageError:
        try:
            return read_input(path, shape, view)
        except CorruptImageError as error:
            return error

    pool = concurrent.futures.ThreadPoolExecutor(workers, "decode")
    waiting: collections.deque[tuple[pathlib.Path, concurrent.futures.Future]] = collections.deque()
    try:
        for path in files:
            waiting.append((path, pool.submit(read, path)))
            if len(waiting) > _AHEAD:
                first, future = waiting.popleft()
                yield first, future.result()
        for path, future in waiting:
            yield path, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _write_picture(folder: pathlib.Path, path: pathlib.Path, picture_HWC: np.ndarray) -> str:
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{path.stem}.png"
    for number in range(2, sys.maxsize):
        if not target.exists():
            break
        target = folder / f"{path.stem}_{number}.png"
    Image.fromarray(picture_HWC).save(target)
    return str(target)


def main(argv: list[str]) -> None:
    """Prints what the run predicts for each file."""
    parser = OneLineParser(prog="python -m crnn_jax.predict", description=__doc__)
    add_flags(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object a line, with more")
    parser.add_argument("--out", default="predictions", help="folder of predicted pictures")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="threads that decode; default: all"
    )
    add_placement_flags(parser)
    parser.add_argument("paths", nargs="+", metavar="FILE_OR_FOLDER")
    flags = parser.parse_args(argv)
    with one_line_errors():
        if flags.workers < 1:
            raise UserError(f"--workers expects 1 or more, found {flags.workers}")
        run = open_named(flags, placement(flags))
        files = find_inputs(flags.paths, run.input_shape)
        failed: list[CorruptImageError] = []
        start = time.perf_counter()
        for path, result in predict_files(run, files, flags.workers):
            if isinstance(result, CorruptImageError):
                failed.append(result)
                continue
            text, facts = result.text, {"path": str(path), **result.facts}
            if result.picture_HWC is not None:
                facts["picture"] = _write_picture(pathlib.Path(flags.out), path, result.picture_HWC)
                text += f"\t{printable(facts['picture'])}"
            print(json.dumps(facts) if flags.json else f"{printable(str(path))}\t{text}")
        if len(files) > _BATCH:
            seconds = time.perf_counter() - start
            rate = f"{len(files):,} in {seconds:.1f} s, {len(files) / seconds:,.1f} images/s"
            print(rate, file=sys.stderr)
        if failed:
            others = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
            raise UserError(f"{failed[0]}{others}")


if __name__ == "__main__":
    main(sys.argv[1:])
