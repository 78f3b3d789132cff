"""Writes the tables of Markdown files: python -m crnn_jax.report.tables README.md docs/*.md

Reads the files under results/ alone, and replaces what lies between `<!-- table: NAME -->` and
`<!-- /table -->`. A name is one of `TABLES`, or that of a study's file: table1_cifar10_cpu for
results/table1_cifar10_cpu.json. table1_cifar10_cpu_short is the same in few columns.
"""

import json
import pathlib
import re
import statistics
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from crnn_jax.errors import OneLineParser, UserError, one_line_errors
from crnn_jax.report import (
    conv_tables,
    explain_tables,
    export_tables,
    fault_tables,
    input_tables,
    scaling_tables,
    speed_tables,
)
from crnn_jax.report.formats import format_accuracy, format_commits, train_seconds
from crnn_jax.report.study_tables import SHORT_TABLES, STUDY_TABLES

_MARKED = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- /table -->)", re.DOTALL)
_HEADER = (
    "| run | test accuracy | n | epochs | parameters | MFLOP/image | images/s | training | on "
    "| date, commit |",
    "|---|---|---|---|---|---|---|---|---|---|",
)


def format_row(name: str, content: dict[str, Any], row: dict[str, Any]) -> str:
    """Returns one line of the table; times are medians over the seeds."""
    rate = statistics.median(row["images_per_second"])
    cells = [
        f"[{name}](../results/{name}.json)",
        format_accuracy(row),
        str(row["n"]),
        f"{row['epochs']:.0f}",
        f"{row['parameters']:,}",
        f"{row['flops_per_image'] / 1e6:.1f}",
        f"{rate:,.0f}",
        train_seconds(row),
        row["devices"],
        f"{content['date']}, {format_commits(row)}",
    ]
    return "| " + " | ".join(cells) + " |"


def runs_table(results: pathlib.Path) -> str:
    """Returns the Markdown table of all JSON files in `results` that have rows, but those of clips.

    It links them for a page in docs/. A study of many settings has a table of its own, and is left
    out.
    """
    return _runs_table(results, "classification", _HEADER)


def clips_table(results: pathlib.Path) -> str:
    """Returns the same of the runs on clips; a run counts clips as images."""
    header = tuple(line.replace("image", "clip") for line in _HEADER)
    return _runs_table(results, "video", header)


def _runs_table(results: pathlib.Path, task: str, header: tuple[str, ...]) -> str:
    lines = list(header)
    for path in sorted(results.glob("*.json")):
        content = json.loads(path.read_text())
        settings = content.get("config", {})  # older files name no task: there was one
        if "study" in content or settings.get("task", "classification") != task:
            continue
        lines += [format_row(path.stem, content, row) for row in content.get("rows", [])]
    if len(lines) == len(header):
        raise UserError(
            f"expected JSON files with rows of task '{task}' in '{results}', found none"
        )
    return "\n".join(lines)


TABLES: dict[str, Callable[[pathlib.Path], str]] = {
    "runs": runs_table,
    "clips": clips_table,
    "conv_gradient": partial(conv_tables.conv_gradient_table, dtype="float32"),
    "conv_gradient_bfloat16": partial(conv_tables.conv_gradient_table, dtype="bfloat16"),
    "huge_pages": speed_tables.huge_pages_table,
    "step": speed_tables.step_table,
    "memory": speed_tables.memory_table,
    "gru": speed_tables.gru_table,
    "gru_gpu": speed_tables.gru_gpu_table,
    "gru_parts": speed_tables.gru_parts_table,
    "input": speed_tables.input_table,
    "startup": speed_tables.startup_table,
    "dispatch": speed_tables.dispatch_table,
    "bottleneck": speed_tables.bottleneck_table,
    "decoders": input_tables.decoders_table,
    "input_imagenet": input_tables.input_imagenet_table,
    "stream_memory": input_tables.memory_table,
    "overfit_imagenet": input_tables.overfit_imagenet_table,
    "sizes_imagenet": input_tables.sizes_imagenet_table,
    "reproducible": speed_tables.reproducible_table,
    "export_equality": export_tables.equality_table,
    "serving": export_tables.serving_table,
    "serving_load": export_tables.serving_load_table,
    "sequencer": export_tables.sequencer_table,
    "explain": explain_tables.explain_table,
    "new_user": explain_tables.new_user_table,
    "faults": fault_tables.faults_table,
    "scaling_points": scaling_tables.points_table,
    "scaling_projection": scaling_tables.projection_table,
}


def make_table(name: str, results: pathlib.Path) -> str:
    """Returns the table of a mark.

    Raises:
      UserError: an unknown name, or a table without results.
    """
    if name in TABLES:
        return TABLES[name](results)
    tables = SHORT_TABLES if name.endswith("_short") else STUDY_TABLES
    path = results / f"{name.removesuffix('_short')}.json"
    content = json.loads(path.read_text()) if path.exists() else {}
    if content.get("study") not in tables:
        raise UserError(
            f"expected a table of {', '.join(TABLES)} or the name of a study's JSON file in "
            f"'{results}', found '{name}'"
        )
    return tables[content["study"]](content)


def replace_tables(text: str, results: pathlib.Path) -> str:
    """Returns `text` with its marked tables made anew.

    Raises:
      UserError: no mark, a mark with an unknown name, or a table without results.
    """
    if not _MARKED.search(text):
        raise UserError("expected lines '<!-- table: NAME -->' and '<!-- /table -->', found none")
    return _MARKED.sub(
        lambda match: f"{match[1]}\n{make_table(match[2], results)}\n\n{match[3]}", text
    )


def main(argv: list[str]) -> None:
    """Rewrites the tables of the files named; with --check says whether they are up to date."""
    parser = OneLineParser(prog="python -m crnn_jax.report.tables", description=__doc__)
    parser.add_argument("files", nargs="+", metavar="README.md")
    parser.add_argument("--results", default="results", help="folder of the result files")
    parser.add_argument("--check", action="store_true", help="exit 2 if a table is out of date")
    flags = parser.parse_args(argv)
    with one_line_errors():
        for path in map(pathlib.Path, flags.files):
            old = path.read_text()
            new = replace_tables(old, pathlib.Path(flags.results))
            if flags.check and new != old:
                raise UserError(f"a table of '{path}' is out of date: run this without --check")
            if new != old:
                path.write_text(new)


if __name__ == "__main__":
    main(sys.argv[1:])
