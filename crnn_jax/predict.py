"""Predicts for files: python -m crnn_jax.predict --workdir=runs/a FILE_OR_FOLDER... [--json]

--file=FILE takes an exported file in the place of a run, --model=NAME a model of the package.

Prints `path<TAB>class<TAB>probability` a line; PNG, JPEG and the like, gray, RGBA, CMYK or 16-bit,
any size; for a run on clips, videos. Where a prediction is a picture, it is written to --out.
"""

import json
import pathlib
import sys
from collections.abc import Iterator
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

_BATCH = 64  # files that are read before the model sees them


def predict_files(
    run: Predictor, files: list[pathlib.Path]
) -> Iterator[tuple[pathlib.Path, Rendered | CorruptImageError]]:
    """Yields (path, prediction), or (path, error) for a file that is no readable input."""
    task, shape = run.task, run.input_shape
    view = make_view(run.config)
    for first in range(0, len(files), _BATCH):
        read: dict[pathlib.Path, np.ndarray | CorruptImageError] = {}
        for path in files[first : first + _BATCH]:
            try:
                read[path] = read_input(path, shape, view)
            except CorruptImageError as error:
                read[path] = error
        good = {path: pixels for path, pixels in read.items() if isinstance(pixels, np.ndarray)}
        found: Any = run.apply(np.stack(list(good.values()))) if good else {}
        row_of = {path: row for row, path in enumerate(good)}
        for path, pixels in read.items():
            if isinstance(pixels, CorruptImageError):
                yield path, pixels
                continue
            one = {name: array[row_of[path]] for name, array in found.items()}
            yield path, task.render(one, run.class_names, {task.pixels: pixels})


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
    add_placement_flags(parser)
    parser.add_argument("paths", nargs="+", metavar="FILE_OR_FOLDER")
    flags = parser.parse_args(argv)
    with one_line_errors():
        run = open_named(flags, placement(flags))
        files = find_inputs(flags.paths, run.input_shape)
        failed: list[CorruptImageError] = []
        for path, result in predict_files(run, files):
            if isinstance(result, CorruptImageError):
                failed.append(result)
                continue
            text, facts = result.text, {"path": str(path), **result.facts}
            if result.picture_HWC is not None:
                facts["picture"] = _write_picture(pathlib.Path(flags.out), path, result.picture_HWC)
                text += f"\t{printable(facts['picture'])}"
            print(json.dumps(facts) if flags.json else f"{printable(str(path))}\t{text}")
        if failed:
            others = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
            raise UserError(f"{failed[0]}{others}")


if __name__ == "__main__":
    main(sys.argv[1:])
