"""Writes the results table of a Markdown file: python -m crnn_jax.report.tables README.md

Reads the JSON files under results/ alone and replaces what lies between the two marker lines.
"""

import json
import pathlib
import statistics
import sys
from typing import Any

from crnn_jax.errors import OneLineParser, UserError, one_line_errors

BEGIN = "<!-- results: python -m crnn_jax.report.tables README.md -->"
END = "<!-- /results -->"
_HEADER = (
    "| run | test accuracy | n | epochs | parameters | MFLOP/image | images/s | training | on "
    "| date, commit |",
    "|---|---|---|---|---|---|---|---|---|---|",
)


def format_accuracy(row: dict[str, Any]) -> str:
    """Returns "93.12% ± 0.20" (the mean and half its 95% interval) or, for one run, "93.12%"."""
    mean = f"{100 * row['accuracy_mean']:.2f}%"
    return mean if row["ci95"] is None else f"{mean} ± {100 * row['ci95']:.2f}"


def format_row(name: str, content: dict[str, Any], row: dict[str, Any]) -> str:
    """Returns one line of the table; times are medians over the seeds."""
    seconds = statistics.median(item.get("train", 0.0) for item in row["seconds"])
    rate = statistics.median(row["images_per_second"])
    commits = ", ".join(
        commit[:7] + ("*" if "dirty" in commit else "") for commit in row["git_commit"]
    )
    cells = [
        f"[{name}](results/{name}.json)",
        format_accuracy(row),
        str(row["n"]),
        f"{row['epochs']:.0f}",
        f"{row['parameters']:,}",
        f"{row['flops_per_image'] / 1e6:.1f}",
        f"{rate:,.0f}",
        f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min",
        row["devices"],
        f"{content['date']}, {commits}",
    ]
    return "| " + " | ".join(cells) + " |"


def make_table(results: pathlib.Path) -> str:
    """Returns the Markdown table of all files in `results` that have rows.

    Raises:
      UserError: no such file there.
    """
    lines = list(_HEADER)
    for path in sorted(results.glob("*.json")):
        content = json.loads(path.read_text())
        lines += [format_row(path.stem, content, row) for row in content.get("rows", [])]
    if len(lines) == len(_HEADER):
        raise UserError(f"expected JSON files with rows in '{results}', found none")
    return "\n".join(lines)


def replace_table(text: str, table: str) -> str:
    """Returns `text` with `table` between the markers.

    Raises:
      UserError: a marker is missing.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError(f"expected the lines '{BEGIN}' and '{END}', found not both")
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"


def main(argv: list[str]) -> None:
    """Rewrites the table of the file named; with --check only says whether it is up to date."""
    parser = OneLineParser(prog="python -m crnn_jax.report.tables", description=__doc__)
    parser.add_argument("file", metavar="README.md")
    parser.add_argument("--results", default="results", help="folder of the JSON files")
    parser.add_argument("--check", action="store_true", help="exit 2 if the table is out of date")
    flags = parser.parse_args(argv)
    with one_line_errors():
        path = pathlib.Path(flags.file)
        old = path.read_text()
        new = replace_table(old, make_table(pathlib.Path(flags.results)))
        if flags.check and new != old:
            raise UserError(
                f"the results table of '{path}' is out of date: run this without --check"
            )
        if new != old:
            path.write_text(new)


if __name__ == "__main__":
    main(sys.argv[1:])
