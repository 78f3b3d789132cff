"""Reads what a run left in its workdir: config, data, metrics, result and evaluation reports."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence

from crnn_jax.errors import UserError
from crnn_jax.report import shapes
from crnn_jax.report.shapes import Facts, is_number


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """What lies in a workdir.

    Attributes:
      workdir: folder of the run.
      name: short, and another for each run of the page.
      settings: config.json by dotted keys.
      dataset: dataset.json; {} where there is none.
      starts: the lines of starts.jsonl; [] of an older run.
      metrics: the lines of metrics.jsonl, by step.
      result: result.json; None of a run that has not finished.
      reports: {folder's name: report.json} of the evaluations.
    """

    workdir: pathlib.Path
    name: str
    settings: Facts
    dataset: Facts
    starts: list[Facts]
    metrics: list[Facts]
    result: Facts | None
    reports: dict[str, Facts]


def read_runs(workdirs: Sequence[str]) -> list[RunFiles]:
    """Returns what lies in each workdir.

    Raises:
      UserError: no run there, or one of its files is damaged.
    """
    folders = [pathlib.Path(path).expanduser() for path in dict.fromkeys(workdirs)]
    return [
        _read_run(folder, name) for folder, name in zip(folders, short_names(folders), strict=True)
    ]


def short_names(folders: Sequence[pathlib.Path]) -> list[str]:
    """Returns the last part of each path, or as many of them as make all names different."""
    parts = [folder.resolve().parts for folder in folders]
    for count in range(1, max(map(len, parts), default=1) + 1):
        names = ["/".join(part[-count:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def changed_at(workdirs: Sequence[str]) -> float:
    """Returns when a file that a page shows changed last, in seconds."""
    times = [0.0]
    for workdir in workdirs:
        folder = pathlib.Path(workdir).expanduser()
        for path in [
            folder / "metrics.jsonl",
            folder / "result.json",
            *folder.glob("*/report.json"),
        ]:
            if path.exists():
                times.append(path.stat().st_mtime)
    return max(times)


def _read_run(folder: pathlib.Path, name: str) -> RunFiles:
    config = read_json(folder / "config.json")
    if config is None:
        raise UserError(
            f"expected a run with '{folder / 'config.json'}', found no such file: check --workdir"
        )
    reports = {
        path.parent.name: read_json(path) or {}
        for path in sorted(folder.glob("report_*/report.json"))
    }
    settings = shapes.check(folder / "config.json", flat(config), shapes.CONFIG)
    dataset = read_json(folder / "dataset.json") or {}
    result = read_json(folder / "result.json")
    if result is not None:
        shapes.check(folder / "result.json", result, shapes.RESULT, shapes.RESULT_HAS)
    return RunFiles(
        workdir=folder,
        name=name,
        settings=settings,
        dataset=shapes.check(folder / "dataset.json", dataset, shapes.DATASET),
        starts=[
            line
            for line in read_lines(folder / "starts.jsonl")
            if isinstance(line.get("versions", {}), dict)
        ],
        metrics=[
            line for line in read_lines(folder / "metrics.jsonl") if is_number(line.get("step"))
        ],
        result=result,
        reports=reports,
    )


def read_json(path: pathlib.Path) -> Facts | None:
    """Returns the object in a file of JSON; None where there is no file.

    Raises:
      UserError: it cannot be read, or is no object.
    """
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"'{path}' cannot be read as JSON ({error}): bring back a copy") from error
    if not isinstance(value, dict):
        raise UserError(f"'{path}' expects an object of JSON, found another value")
    return value


def read_lines(path: pathlib.Path) -> list[Facts]:
    """Returns the objects in a file of JSON lines, without those that a kill has torn."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return []
    found = []
    for line in text.splitlines():
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


def flat(config: Facts) -> Facts:
    """Returns {"optim.learning_rate": ...} of nested sections."""
    found: Facts = {}
    for key, value in config.items():
        found |= (
            {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {key: value}
        )
    return found
