"""What stands on the page of runs, gathered from their files, and the page itself."""

import base64
import datetime
import hashlib
import itertools
import math
import pathlib
from collections.abc import Sequence
from typing import Any

from crnn_jax.errors import UserError, printable
from crnn_jax.report.bars import stacked_bars
from crnn_jax.report.beside import Study, studies_of_all, studies_of_runs
from crnn_jax.report.curves import learning_curves, rate_chart
from crnn_jax.report.drawing import engineering
from crnn_jax.report.evaluation_section import Evaluation, evaluations
from crnn_jax.report.formats import format_seconds, percent
from crnn_jax.report.pictures import Budget
from crnn_jax.report.robustness import half_interval
from crnn_jax.report.run_files import Facts, RunFiles, read_runs
from crnn_jax.report.shapes import score_name

_TEMPLATES = pathlib.Path(__file__).parent / "templates"
_PICTURES = 3_300_000  # bytes of pictures in a page, of which all has to stay below 5 MB
_STUDY_PIXELS = 1400  # longer side of a study's picture
_LONG = 28  # characters in a cell from which on its column is one of texts
_OPEN_RUNS = 3  # where there are more, each is folded


def make_page(workdirs: Sequence[str], results: str, *, live: bool = False) -> bytes:
    """Returns the page of runs as one HTML document, UTF-8, that asks for nothing else.

    Args:
      workdirs: folders of the runs, in the order of the page.
      results: folder of studies' results; it need not be there.
      live: whether the page asks where it came from for a newer one.

    Raises:
      UserError: no run there, a damaged file, or Jinja2 is not installed.
    """
    runs = read_runs(workdirs)
    folder = pathlib.Path(results).expanduser()
    budgets = {run.name: Budget(_PICTURES // len(runs)) for run in runs}
    beside = studies_of_runs(runs, folder)
    shown = [_run(run, beside[run.name], budgets[run.name]) for run in runs]
    differing = [[key, *values] for key, values in config_differences(runs)]
    script, style = ((_TEMPLATES / name).read_text() for name in ("page.js", "page.css"))
    template = _environment().get_template("page.html")
    page: str = template.render(
        title=", ".join(run.name for run in runs[:3]) + (" …" if len(runs) > 3 else ""),
        runs=shown,
        is_open=len(runs) <= _OPEN_RUNS,
        curves=learning_curves(runs),
        rates=rate_chart(runs),
        phases=phases_chart(runs),
        differences=[["key", *(run.name for run in runs)], *differing] if differing else [],
        studies=studies_of_all(folder),
        made=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        live=live,
        script=script,
        style=style,
        script_hash=_hash(script),
        style_hash=_hash(style),
    )
    return page.encode(errors="backslashreplace")  # names of files may be no Unicode


def _environment() -> Any:
    try:
        import jinja2
    except ModuleNotFoundError as error:
        raise UserError(
            'the page expects the package jinja2, found none: pip install -e ".[report]"'
        ) from error
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "name": lambda value: printable(str(value)),
        "long_columns": long_columns,
    }
    return environment


def long_columns(rows: Sequence[Sequence[Any]]) -> list[bool]:
    """Tells for each column of a table whether it has a text that may need several lines."""
    columns = itertools.zip_longest(*rows, fillvalue="")
    return [max(len(str(value)) for value in column) > _LONG for column in columns]


def _hash(text: str) -> str:
    """Returns how a content security policy names an inline script or style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _run(run: RunFiles, studies: list[Study], budget: Budget) -> Facts:
    """Returns what the template shows of a run."""
    result = run.result or {}
    found = evaluations(run, budget)
    return {
        "name": run.name,
        "state": state_of(run),
        "score": score_of(run),
        "figures": figures_of(run, found),
        "made": made_of(run),
        "evaluations": found,
        "studies": [(study, *_shown(study, budget)) for study in studies],
        "config": sorted(run.settings.items()),
        "finished": bool(result),
    }


def _shown(study: Study, budget: Budget) -> tuple[str | None, str | None]:
    """Returns (drawing, picture) of a study: SVG, or else the address of what its file shows."""
    drawing = budget.take("".join(study.charts)) or None
    return drawing, None if drawing else budget.embed(study.picture, _STUDY_PIXELS)


def state_of(run: RunFiles) -> str:
    """Returns "finished: 607 steps, 60.1 epochs", or how far a run is that has no result."""
    if run.result is not None:
        return f"finished: {run.result['steps']:,} steps, {run.result['epochs']:.3g} epochs"
    if not run.metrics:
        return "no step logged yet"
    last = run.metrics[-1]["step"]
    epochs = [line["train/epoch"] for line in run.metrics if "train/epoch" in line]
    done = f", epoch {epochs[-1]:.3g}" if epochs else ""
    return f"no result yet: at step {last:,}{done} of {run.settings.get('duration')}"


def score_of(run: RunFiles) -> Facts | None:
    """Returns {"name", "text", "interval", "counts"} of the reported split; None without one."""
    split = run.settings.get("eval.report", "test")
    summary = (run.result or {}).get(split)
    if not isinstance(summary, dict):
        return None
    name = score_name(summary)
    found: Facts = {"name": f"{split} {name.replace('_', ' ')}", "text": percent(summary[name])}
    found["interval"] = found["counts"] = ""
    if "num_correct" in summary:
        count, right = summary["num_examples"], summary["num_correct"]
        low, high = wilson(right, count)
        found["counts"] = f"{right:,} of {count:,}"
        found["interval"] = f"{percent(low)} to {percent(high)}"
    return found


def wilson(correct: int, count: int) -> tuple[float, float]:
    """Returns the 95% interval of a share (Wilson 1927)."""
    share, z2 = correct / count, 1.96**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = half_interval(share, count)
    return max(0.0, middle - half), min(1.0, middle + half)


def figures_of(run: RunFiles, found: list[Evaluation]) -> list[tuple[str, str]]:
    """Returns (what, value) of a run for the comparison, the same ones of every run."""
    result, dash = run.result or {}, "-"
    seconds = result.get("seconds", {})
    first = found[0].facts if found else {}
    calibration = first.get("calibration", {})
    top5 = first.get("top5_accuracy")
    rate, mfu = result.get("images_per_second"), result.get("mfu")
    return [
        ("top-5", dash if top5 is None else percent(top5)),
        ("ECE", f"{calibration['ece']:.4f}" if "ece" in calibration else dash),
        ("parameters", f"{result['parameters']:,}" if "parameters" in result else dash),
        ("FLOPs an example", engineering(result["flops_per_image"]).strip() if result else dash),
        ("images/s", dash if rate is None else f"{rate:,.0f}"),
        ("MFU", dash if mfu is None else f"{mfu:.1%}"),
        ("training", format_seconds(seconds["train"]) if "train" in seconds else dash),
        ("all phases", format_seconds(math.fsum(seconds.values())) if seconds else dash),
    ]


def made_of(run: RunFiles) -> list[tuple[str, str, bool]]:
    """Returns (what, value, whether it is code) of how a run was made."""
    source = run.starts[-1] if run.starts else (run.result or {})
    data, versions = run.dataset, source.get("versions") or {}
    lines = [("command", start.get("command", "-"), True) for start in run.starts[-1:]]
    if not lines:
        lines = [("command", "not stored: the run is of an older version", False)]
    if len(run.starts) > 1:
        steps = ", ".join(f"{start.get('step')} ({start.get('time')})" for start in run.starts)
        lines.append(("started at steps", steps, False))
    elif run.starts:
        lines.append(("started", str(run.starts[0].get("time")), False))
    lines += [
        ("workdir", str(run.workdir), True),
        ("commit", str(source.get("git_commit") or "unknown"), True),
        ("hardware", str(source.get("devices", "unknown")), False),
        ("seed", str(run.settings.get("seed")), False),
        ("config hash", str((run.result or {}).get("config_hash", "-")), True),
        ("weights reported", str(run.settings.get("eval.weights")), False),
        ("data", _data(run), False),
        ("data fingerprint", _fingerprint(data), True),
        ("versions", ", ".join(f"{name} {number}" for name, number in versions.items()), False),
    ]
    return lines


def _data(run: RunFiles) -> str:
    data = run.dataset
    shape = " × ".join(str(size) for size in data.get("input_shape", data.get("image_shape", [])))
    classes = len(data.get("class_names", []))
    return (
        f"{run.settings.get('data.source')}: {data.get('num_train', '?')} training examples of "
        f"{shape}, {classes} classes, validation part {run.settings.get('data.validation')}"
    )


def _fingerprint(data: Facts) -> str:
    splits = data.get("splits")
    if not isinstance(splits, dict):
        return "not stored: the run is of an older version"
    return ", ".join(
        f"{name} {split.get('content')} ({split.get('num_examples')})"
        for name, split in splits.items()
        if isinstance(split, dict)
    )


def phases_chart(runs: Sequence[RunFiles]) -> str:
    """Returns the seconds of each phase of each run."""
    rows = []
    for run in runs:
        prefix = "seconds/"
        lines = [line for line in run.metrics if any(key.startswith(prefix) for key in line)]
        last = lines[-1] if lines else {}
        logged = {k.removeprefix(prefix): v for k, v in last.items() if k.startswith(prefix)}
        rows.append((run.name, (run.result or {}).get("seconds", logged)))
    return stacked_bars("seconds of each phase", rows, "s")


def config_differences(runs: Sequence[RunFiles]) -> list[tuple[str, list[str]]]:
    """Returns (key, its value in each run) of the keys that not all runs have alike."""
    keys = sorted(set().union(*(run.settings for run in runs)))
    rows = [(key, [_value(run.settings, key) for run in runs]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def _value(config: Facts, key: str) -> str:
    return str(config[key]) if key in config else "-"
