"""Draws studies' pictures and tables again: python -m crnn_jax.studies.redraw results/NAME.json ...

Nothing is measured, and the numbers in the files stay as they are. A study whose picture shows
images, such as saliency, keeps it.
"""

import json
import pathlib
import sys

from crnn_jax.errors import OneLineParser, UserError, one_line_errors
from crnn_jax.studies import runs


def redraw(path: pathlib.Path) -> None:
    """Writes what stands beside a study's JSON file.

    Raises:
      UserError: it cannot be read, or is no study's.
    """
    from crnn_jax.report.beside import OTHER_SHAPE
    from crnn_jax.report.study_tables import STUDY_TABLES
    from crnn_jax.studies import scaling_figures

    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"expected a study's JSON file, found '{path}' ({error})") from None
    other = UserError(
        f"expected a study's JSON file, found another in '{path}': studies are "
        f"{', '.join(STUDY_TABLES)} and scaling"
    )
    try:
        if {"mode", "points", "one_device"} <= content.keys():
            print(*scaling_figures.draw(path, content), sep="\n", flush=True)
        elif content["study"] in STUDY_TABLES and content["command"]:
            runs.write_results(path, content)
        else:
            raise other
    except OTHER_SHAPE:
        raise other from None


def main(argv: list[str]) -> None:
    """Draws for each file."""
    parser = OneLineParser(prog="python -m crnn_jax.studies.redraw", description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE.json", type=pathlib.Path)
    flags = parser.parse_args(argv)
    with one_line_errors():
        for path in flags.files:
            redraw(path)


if __name__ == "__main__":
    main(sys.argv[1:])
