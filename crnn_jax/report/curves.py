"""Curves of the metrics of runs: what metrics.jsonl has, by epoch, a chart for each figure."""

from collections.abc import Sequence
from typing import Any

from crnn_jax.report.charts import COLOURS, Series, line_chart
from crnn_jax.report.run_files import RunFiles, is_number

_STYLES = {"train": "solid", "validation": "dashed"}  # the others: dots
_LEFT_OUT = ("train/epoch", "train/images_per_second", "train/mfu", "train/skipped_updates")
# Points of all lines of a chart, at most: a page of many runs stays small.
_POINTS = 3000
_FIRST = ("loss", "accuracy", "mean_iou")


def learning_curves(runs: Sequence[RunFiles]) -> list[str]:
    """Returns a chart for each figure that the runs logged: the loss first."""
    names: dict[str, list[str]] = {}  # "loss" -> ["train/loss", "validation/loss"]
    for run in runs:
        for line in run.metrics:
            for key in line:
                split, slash, figure = key.partition("/")
                if slash and split != "seconds" and key not in _LEFT_OUT:
                    found = names.setdefault(figure, [])
                    if key not in found:
                        found.append(key)
    order = sorted(names, key=lambda name: _FIRST.index(name) if name in _FIRST else len(_FIRST))
    charts = [
        _chart(runs, figure.replace("_", " "), sorted(names[figure], key=_place))
        for figure in order
    ]
    return [chart for chart in charts if chart]


def _place(key: str) -> int:
    """Returns where a split's line stands: training, validation, the others."""
    splits = list(_STYLES)
    split = key.partition("/")[0]
    return splits.index(split) if split in splits else len(splits)


def rate_chart(runs: Sequence[RunFiles]) -> str:
    """Returns the chart of images/s in training; "" where none was logged."""
    return _chart(runs, "images/s in training", ["train/images_per_second"])


def _chart(runs: Sequence[RunFiles], title: str, keys: list[str]) -> str:
    room = max(20, _POINTS // max(1, len(runs) * len(keys)))
    series = []
    for number, run in enumerate(runs):
        for place, key in enumerate(keys):
            split = key.partition("/")[0]
            what = split.replace("_", " with ", 1) if len(keys) > 1 else ""
            name = " ".join(part for part in (run.name if len(runs) > 1 else "", what) if part)
            # With one run its splits have colours of their own, with several each run has one.
            colour = number if len(runs) > 1 else place
            points = thinned(points_of(run, key), room)
            series.append(Series(name or title, points, colour, _STYLES.get(split, "dots")))
    title, series = _in_units(title, series)
    x_name = "epoch" if all(map(_has_epochs, runs)) else "step"
    return line_chart(title, x_name, series, legend=_short_legend(runs, keys))


def _in_units(title: str, series: list[Series]) -> tuple[str, list[Series]]:
    """Returns bytes as GB or MB, the unit in the title; other figures as they are."""
    if not title.endswith(" bytes"):
        return title, series
    largest = max((abs(y) for line in series for _, y in line.points), default=0)
    size, unit = (1e9, "GB") if largest >= 1e9 else (1e6, "MB")
    named = f"{title.removesuffix(' bytes')} memory, {unit}"
    return named, [
        line._replace(name=named if line.name == title else line.name,
                      points=[(x, y / size) for x, y in line.points])
        for line in series
    ]  # fmt: skip


def _short_legend(runs: Sequence[RunFiles], keys: list[str]) -> list[Series] | None:
    """Returns, where every run has several lines, an entry for each run and each kind of line."""
    if len(runs) < 3 or len(keys) == 1:
        return None
    point = [(0.0, 0.0), (1.0, 0.0)]
    entries = [Series(run.name, point, number) for number, run in enumerate(runs)]
    for split in dict.fromkeys(key.partition("/")[0] for key in keys):
        style = _STYLES.get(split, "dots")
        entries.append(Series(split.replace("_", " with ", 1), point, COLOURS - 1, style))
    return entries


def points_of(run: RunFiles, key: str) -> list[tuple[float, float]]:
    """Returns (epoch, value) of each line that has the key; by step where epochs are not known."""
    share = _epochs_a_step(run)
    return [(line["step"] * share, line[key]) for line in run.metrics if is_number(line.get(key))]


def _has_epochs(run: RunFiles) -> bool:
    return _epochs_a_step(run) != 1


def _epochs_a_step(run: RunFiles) -> float:
    batch_size: Any = run.settings.get("batch_size")
    num_train: Any = run.dataset.get("num_train")
    known = is_number(batch_size) and is_number(num_train) and num_train > 0
    return batch_size / num_train if known else 1


def thinned(points: list[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """Returns at most `most` of the points, evenly chosen, the first and the last among them."""
    if len(points) <= most:
        return points
    step = (len(points) - 1) / (most - 1)
    return [points[round(index * step)] for index in range(most)]
