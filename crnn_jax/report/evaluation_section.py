"""What the page shows of an evaluation: the figures of a report.json, charts and mistakes."""

import dataclasses
from typing import Any

from crnn_jax.errors import UserError
from crnn_jax.report.charts import Series, heat_map, line_chart
from crnn_jax.report.formats import percent
from crnn_jax.report.pictures import Budget
from crnn_jax.report.run_files import Facts, RunFiles

_PAIRS = 10  # confused classes
_THUMBNAIL = 96  # pixels
_WIDE = 480  # pixels, for pictures that show several panels
_ROWS = 200  # classes in a table
_NAMES = {"f1": "F1", "iou": "IoU"}


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """An evaluation as the template shows it.

    Attributes:
      title: the split, with test-time augmentation.
      facts: what report.json holds.
      lines: sentences.
      charts: confusion matrix and reliability diagram.
      classes: rows of cells of the table of classes, the names of the columns first.
      confused: (true, predicted, count).
      mistakes: (picture or None, caption).
      legend: (name, CSS colour) of what the mistakes' pictures show.
    """

    title: str
    facts: Facts
    lines: list[str]
    charts: list[str]
    classes: list[list[str]]
    confused: list[tuple[str, str, int]]
    mistakes: list[tuple[str | None, str]]
    legend: list[tuple[str, str]]


def evaluations(run: RunFiles, budget: Budget) -> list[Evaluation]:
    """Returns the evaluations of a run whose reports lie in its workdir, that of "test" first.

    Raises:
      UserError: a report of another version.
    """
    found = []
    order = sorted(run.reports, key=lambda name: (name != "report_test", name))
    for name in order:
        try:
            found.append(_evaluation(run, name, budget))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise UserError(
                f"'{run.workdir / name / 'report.json'}' expects a report of this version, found "
                "another: make it anew with python -m crnn_jax.evaluate --report"
            ) from error
    return found


def _evaluation(run: RunFiles, name: str, budget: Budget) -> Evaluation:
    facts = run.reports[name]
    views = "" if facts["tta"] == "none" else f" with tta={facts['tta']}"
    return Evaluation(
        title=f"{facts['split']}{views}",
        facts=facts,
        lines=_lines(run, facts),
        charts=[chart for chart in (_confusion(facts), reliability(facts)) if chart],
        classes=_classes(facts),
        confused=[
            (c["true"], c["predicted"], c["count"]) for c in facts.get("confused", [])[:_PAIRS]
        ],
        mistakes=[_mistake(run, name, item, budget) for item in facts["mistakes"]],
        legend=[(str(of["name"]), _css(*of["rgb"])) for of in facts.get("legend", [])],
    )


def _lines(run: RunFiles, facts: Facts) -> list[str]:
    score, interval, summary = facts["score"], facts["interval"], facts["summary"]
    lines = [
        f"{facts['split'].capitalize()} {score.replace('_', ' ')} {percent(summary[score])}; "
        f"{percent(interval['low'])} to {percent(interval['high'])} is the {interval['what']}."
    ]
    if facts.get("top5_accuracy") is not None:
        lines.append(
            f"The true class is among the first five in {percent(facts['top5_accuracy'])}."
        )
    if "means" in facts:
        means = ", ".join(f"{name} {percent(value)}" for name, value in facts["means"].items())
        lines.append(f"Means over the classes: {means}.")
    if calibration := facts.get("calibration"):
        lines.append(_calibration_line(calibration))
    if facts["num_unreadable"]:
        lines.append(f"Left out, since they could not be read: {facts['num_unreadable']}.")
    steps = (run.result or {}).get("steps")
    if steps not in (None, facts["step"]):
        lines.append(f"The checkpoint is that of step {facts['step']}, not the last, {steps}.")
    return lines


def _calibration_line(calibration: Facts) -> str:
    line = f"ECE {calibration['ece']:.4f}, mean -log probability {calibration['nll']:.4f} nats"
    fitted = calibration["temperature"]
    if fitted is None:
        return f"{line}. No temperature: {calibration['no_temperature']}."
    return (
        f"{line}; with temperature {fitted['temperature']:.3g}, fitted on "
        f"{fitted['num_fitted']:,} {fitted['fitted_on']} examples, ECE {fitted['ece']:.4f} and "
        f"{fitted['nll']:.4f} nats. {calibration['definition']}."
    )


def _confusion(facts: Facts) -> str:
    counts, names = facts.get("confusion"), facts["class_names"]
    if not counts:
        return ""
    shares = [[n / max(1, sum(row)) for n in row] for row in counts]
    most = max(max(row) for row in counts)
    texts = [
        [f"{n}" if most < 10_000 else f"{share:.1%}" for n, share in zip(row, of_row, strict=True)]
        for row, of_row in zip(counts, shares, strict=True)
    ]
    title = "confusion matrix (colour: share of the true class)"
    return heat_map(title, names, names, shares, texts, axes=("true", "predicted"))


def reliability(facts: Facts) -> str:
    """Returns the reliability diagram of a report; "" of one without probabilities."""
    if "calibration" not in facts:
        return ""
    calibration = facts["calibration"]
    series = [Series(f"as it is, ECE {calibration['ece']:.4f}", _points(calibration), 0, "dots")]
    if fitted := calibration["temperature"]:
        name = f"temperature {fitted['temperature']:.3g}, ECE {fitted['ece']:.4f}"
        series.append(Series(name, _points(fitted), 1, "dots"))
    title = f"accuracy in each of {len(calibration['bins'])} bins of confidence"
    whole = (0.0, 1.0)
    return line_chart(
        title, "mean confidence of the bin", series, x_range=whole, y_range=whole, diagonal=True
    )


def _points(figures: Facts) -> list[tuple[float, float]]:
    return [(b["confidence"], b["accuracy"]) for b in figures["bins"] if b["count"]]


def _classes(facts: Facts) -> list[list[str]]:
    rows = facts["classes"]
    header = [_NAMES.get(str(name)) or _plain(name) for name in rows[0]]
    return [header, *([_cell(value) for value in row.values()] for row in rows[:_ROWS])]


def _plain(name: str) -> str:
    return name.removeprefix("num_").replace("_", " ")


def _cell(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return percent(value) if value is None or isinstance(value, float) else str(value)


def _css(red: int, green: int, blue: int) -> str:
    return f"rgb({int(red)} {int(green)} {int(blue)})"


def _mistake(run: RunFiles, name: str, item: Facts, budget: Budget) -> tuple[str | None, str]:
    is_class = "predicted" in item
    # A report may come from elsewhere: no file outside its own folder is read.
    path = run.workdir / name / "examples" / f"{int(item['index'])}.png"
    picture = budget.embed(path, _THUMBNAIL if is_class else _WIDE)
    where = item.get("name") or f"example {item['index']}"
    if not is_class:
        return picture, f"mean IoU {item['mean_iou']:.3f} ({where})"
    sure = f"{100 * item['probability']:.1f}%"
    return picture, f"{item['predicted']}, {sure} sure; is {item['true']} ({where})"
