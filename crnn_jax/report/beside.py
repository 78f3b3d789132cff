"""Results of studies that belong on a page: those of its runs, and those of the whole project."""

import dataclasses
import itertools
import json
import os
import pathlib
import shlex
from collections.abc import Sequence
from typing import Any

from crnn_jax.report.architecture import architecture_svg
from crnn_jax.report.bars import Measured, dot_rows
from crnn_jax.report.charts import Series, heat_map, line_chart
from crnn_jax.report.formats import percent
from crnn_jax.report.run_files import RunFiles
from crnn_jax.report.study_tables import STUDY_TABLES

_OF_A_RUN = {
    "architecture": "Architecture",
    "saliency": "Which pixels and steps decide",
    "anytime": "What fewer steps cost",
    "robustness": "What worse images cost",
}
# What is raised where a study's file has another shape than this version writes.
OTHER_SHAPE = (LookupError, TypeError, ValueError, StopIteration, AttributeError, ArithmeticError)
_OF_ALL = {"table1": "Table 1 of the paper", "sensitivity": "Fig. 2: layers and hidden units"}


@dataclasses.dataclass(frozen=True)
class Study:
    """A result file of a study.

    Attributes:
      title: for people.
      path: where the JSON file is.
      shown: the path from its folder on, for people.
      content: what it holds.
      picture: a file beside it, maybe absent.
      charts: drawn from its numbers, as inline SVG; where there is one, no picture is needed.
      table: rows of cells, the names of the columns first.
      notes: paragraphs.
    """

    title: str
    path: pathlib.Path
    shown: str
    content: dict[str, Any]
    picture: pathlib.Path
    charts: list[str]
    table: list[list[str]]
    notes: list[str]


def studies_of_runs(runs: Sequence[RunFiles], results: pathlib.Path) -> dict[str, list[Study]]:
    """Returns {run's name: its studies}, each file once.

    They lie in the workdir, beside it, or in `results`; outside the workdir a file belongs to the
    run that its command names with --workdir.
    """
    found: dict[str, list[Study]] = {run.name: [] for run in runs}
    taken: set[pathlib.Path] = set()
    for run in runs:
        folders = [run.workdir, run.workdir / "results", run.workdir.parent, results]
        for folder in folders:
            for path in sorted(folder.glob("*.json")):
                content = _study(path, _OF_A_RUN)
                inside = run.workdir in path.parents
                if content is None or path.resolve() in taken:
                    continue
                if inside or names_workdir(str(content.get("command", "")), run.workdir):
                    taken.add(path.resolve())
                    shown = shown_path(path, run.workdir if inside else folder)
                    title = _OF_A_RUN[content["study"]]
                    found[run.name].append(_read(path, shown, content, title))
        found[run.name].sort(key=lambda study: list(_OF_A_RUN.values()).index(study.title))
    return found


def studies_of_all(results: pathlib.Path) -> list[Study]:
    """Returns Table 1, Fig. 2 and the scaling of what lies in `results`."""
    found = []
    for path in sorted(results.glob("*.json")):
        if (content := _study(path, _OF_ALL)) is not None:
            title = f"{_OF_ALL[content['study']]}: {path.stem}"
            found.append(_read(path, shown_path(path, results), content, title))
    found.sort(key=lambda study: list(_OF_ALL).index(study.content["study"]))
    for path in sorted((results / "scaling").glob("*.json")):
        content = _json(path)
        if content is not None and content.get("points"):
            charts, table = scaling(content)
            title = f"Scaling: {path.stem}"
            note = (
                f"{content.get('mode')} scaling of {content.get('config')}, {content.get('date')}"
            )
            shown, picture = shown_path(path, results), path.with_suffix(".png")
            found.append(Study(title, path, shown, content, picture, charts, table, [note]))
    return found


def shown_path(path: pathlib.Path, folder: pathlib.Path) -> str:
    """Returns a path from the name of the folder on: where that lies is no reader's business."""
    return f"{folder.resolve().name}/{path.relative_to(folder).as_posix()}"


def names_workdir(command: str, workdir: pathlib.Path) -> bool:
    """Returns whether a command has --workdir of this workdir; relative paths by their parts."""
    try:
        words = shlex.split(command)
    except ValueError:
        words = command.split()
    given = [word.partition("=")[2] for word in words if word.startswith("--workdir=")]
    given += [after for word, after in itertools.pairwise(words) if word == "--workdir"]
    parts = workdir.resolve().parts
    for text in given:
        named = pathlib.PurePath(os.path.expanduser(text)).parts
        if named and parts[-len(named) :] == named:
            return True
    return False


def _json(path: pathlib.Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _study(path: pathlib.Path, kinds: dict[str, str]) -> dict[str, Any] | None:
    content = _json(path)
    return content if content is not None and str(content.get("study")) in kinds else None


def _read(path: pathlib.Path, shown: str, content: dict[str, Any], title: str) -> Study:
    try:
        table, notes = parsed(STUDY_TABLES[content["study"]](content))
        draw = _CHARTS.get(content["study"])
        charts = [draw(content)] if draw else []
    except OTHER_SHAPE:
        charts, table = [], []
        notes = [f"'{shown}' is of another version, and has no table here"]
    return Study(title, path, shown, content, path.with_suffix(".png"), charts, table, notes)


def parsed(markdown: str) -> tuple[list[list[str]], list[str]]:
    """Returns (rows of cells, the other lines) of a text with one Markdown table."""
    rows, notes = [], []
    for line in markdown.splitlines():
        if line.startswith("|"):
            cells = line.replace("\\|", "\0").strip("|").split("|")
            if not all(set(cell.strip()) <= {"-", ":"} and cell.strip() for cell in cells):
                rows.append([_plain(cell) for cell in cells])
        elif line.strip():
            notes.append(_plain(line))
    return rows, notes


def _plain(cell: str) -> str:
    text = cell.strip().replace("\0", "|").replace("`", "")
    for sign in "\\_*<>$[]":
        text = text.replace(f"\\{sign}", sign)
    return text


def table1_chart(content: dict[str, Any]) -> str:
    """Returns the accuracy of each row beside the paper's."""
    rows = [
        Measured(
            row["row"],
            100 * row["accuracy_mean"],
            None if row["ci95"] is None else 100 * row["ci95"],
            None if row["paper"] is None else 100 * row["paper"],
        )
        for row in content["rows"]
    ]
    title = f"test accuracy, %, {content['dataset']}, budget {content['budget']}"
    return dot_rows(title, rows, ("ours", "the paper's"), "%")


def sensitivity_chart(content: dict[str, Any]) -> str:
    """Returns Fig. 2: accuracy by conv layers and hidden units."""
    points = {(row["num_conv_layers"], row["hidden_units"]): row for row in content["rows"]}
    accuracies = [row["accuracy_mean"] for row in content["rows"]]
    low, high = min(accuracies), max(max(accuracies), min(accuracies) + 0.05)
    shares, texts = [], []
    for layers in content["layers"]:
        cells = [points.get((layers, units)) for units in content["units"]]
        shares.append(
            [0.1 + 0.9 * (c["accuracy_mean"] - low) / (high - low) if c else 0.0 for c in cells]
        )
        texts.append([percent(c["accuracy_mean"]) if c else "" for c in cells])
    rows = [f"{layers} layers" for layers in content["layers"]]
    columns = [f"{units} units" for units in content["units"]]
    title = f"test accuracy, {content['config']}, {content['duration']} a point"
    return heat_map(title, rows, columns, shares, texts, axes=("layers", "units"))


_CHARTS = {
    "architecture": architecture_svg,
    "sensitivity": sensitivity_chart,
    "table1": table1_chart,
}


def scaling(content: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Returns (charts, table) of the measured points of a scaling study; none of another shape."""
    try:
        return _scaling(content["points"])
    except OTHER_SHAPE:
        return [], []


def _scaling(points: list[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    rates = [(p["devices"], p["images_per_second"]) for p in points]
    efficiency = [(p["devices"], p["efficiency"]) for p in points]
    rows = [
        [str(p["devices"]), f"{p['batch_size']:,}", f"{p['seconds']:.3f}",
         f"{p['images_per_second']:,.0f}", f"{p['efficiency']:.0%}", str(p["described"])]
        for p in points
    ]  # fmt: skip
    ticks = [devices for devices, _ in rates]
    charts = [
        line_chart(name, "devices", [Series(name, found, colour)], x_ticks=ticks)
        for colour, (name, found) in enumerate((("images/s", rates), ("efficiency", efficiency)))
    ]
    return charts, [["devices", "batch", "s/step", "images/s", "efficiency", "on"], *rows]
