"""Draws what a run predicts of the first test examples: python -m crnn_jax.studies.pictures

For tasks whose predictions are pictures. A segmentation's row is the image, the predicted mask and
the true one; a legend names the classes that are in them. Writes RESULTS/NAME.png.
"""

import pathlib
import sys

import numpy as np

from crnn_jax.errors import OneLineParser, UserError, one_line_errors
from crnn_jax.flags import add_placement_flags, placement
from crnn_jax.report.panels import draw
from crnn_jax.run import Run, open_run
from crnn_jax.tasks.task import Panels


def render_examples(run: Run, count: int) -> list[Panels]:
    """Returns the panels of each of the first `count` test examples.

    A task that draws one picture alone has one panel, without a title.

    Raises:
      UserError: the task's predictions are no pictures, or `count` is not in 1..N.
    """
    task, split = run.experiment.task, run.dataset().splits["test"]
    if not 1 <= count <= len(split):
        raise UserError(f"--count expects 1 to {len(split)}, found {count}")
    examples = [split.read(index) for index in range(count)]
    found = run.apply(np.stack([example[task.pixels] for example in examples]))
    rows = []
    for index, example in enumerate(examples):
        prediction = {name: array[index] for name, array in found.items()}
        rendered = task.render(prediction, run.class_names, example)
        if rendered.picture_HWC is None:
            raise UserError(
                f"--workdir expects a run whose predictions are pictures, found task "
                f"'{run.config.task}'"
            )
        rows.append(rendered.panels or Panels({"": rendered.picture_HWC}, {}))
    return rows


def main(argv: list[str]) -> None:
    """Writes the picture."""
    parser = OneLineParser(prog="python -m crnn_jax.studies.pictures", description=__doc__)
    parser.add_argument("--workdir", required=True, help="folder of a run of crnn_jax.main")
    parser.add_argument("--count", type=int, default=6, help="number of examples")
    parser.add_argument("--name", required=True, help="name of the picture")
    parser.add_argument("--results", default="results", help="folder of the picture")
    add_placement_flags(parser)
    flags = parser.parse_args(argv)
    with one_line_errors():
        run = open_run(flags.workdir, placement=placement(flags))
        rows = render_examples(run, flags.count)
        legend = {number: entry for row in rows for number, entry in row.legend.items()}
        path = pathlib.Path(flags.results) / f"{flags.name}.png"
        draw(path, [row.pictures for row in rows], legend)
        print(path)


if __name__ == "__main__":
    main(sys.argv[1:])
