"""What studies share: runs that are not run again, kept as one small JSON file each.

A study is a dict of points, each a config; every point is trained with several seeds. The file of
a finished run, RESULTS/.../POINT_seed_N.json, says all that a study reads. While it is there the
run is not trained again, even if its workdir is gone: a study goes on elsewhere from these files.
"""

import dataclasses
import datetime
import json
import pathlib
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from crnn_jax.config import (
    AUTO_KEYS,
    PLACEMENT_KEYS,
    PROGRAM_KEYS,
    differences,
    flatten,
    override,
)
from crnn_jax.errors import OneLineParser, UserError, closest
from crnn_jax.flags import parse_overrides, split_name
from crnn_jax.studies.seeds import interval95, score_of

Result = dict[str, Any]
Points = dict[str, ConfigDict]


@dataclasses.dataclass(frozen=True)
class Folders:
    """Where the runs of a study lie, and the small files that are kept of them."""

    kept: pathlib.Path
    workdir: pathlib.Path


def make_parser(study: str, doc: str | None) -> OneLineParser:
    """Returns a parser with the flags that every study has; `doc` is the module's docstring."""
    parser = OneLineParser(
        prog=f"python -m crnn_jax.studies.{study}",
        description=doc,
    )
    parser.add_argument("--workdir", default="", help="folder of the runs; default: under runs/")
    parser.add_argument("--results", default="results", help="folder of the result files")
    parser.add_argument(
        "--report", action="store_true", help="train nothing: write the files from what is kept"
    )
    return parser


def study_overrides(rest: list[str], *reserved: str) -> dict[str, str]:
    """Returns the --config.KEY=VALUE of a study's command line.

    Raises:
      UserError: a key that the study sets itself: the seed, or one of `reserved`.
    """
    overrides = parse_overrides(rest)
    for key in ("seed", *reserved):
        if key in overrides:
            raise UserError(f"expected no --config.{key}: the study sets it by a flag of its own")
    return overrides


def with_seed(config: ConfigDict, seed: int) -> ConfigDict:
    """Returns a copy of the config with another seed."""
    copied = ConfigDict(config.to_dict())
    override(copied, "seed", str(seed))
    return copied


def kept_path(folders: Folders, point: str, seed: int) -> pathlib.Path:
    """Returns the path of a run's kept file."""
    return folders.kept / f"{point}_seed_{seed}.json"


def read_kept(path: pathlib.Path, config: ConfigDict) -> Result | None:
    """Returns the kept result of `config`, None if there is no file.

    Raises:
      UserError: the file is of another config, or cannot be read.
    """
    try:
        result = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"'{path}' cannot be read as JSON ({error}): delete it") from error
    if not isinstance(result, dict) or not isinstance(result.get("config"), dict):
        raise UserError(f"'{path}' has no section 'config': not a kept run; delete it")
    # Not the hash: a version with more keys has another, and computes the same.
    wanted = flatten(config)
    open_keys = {key for key, auto in AUTO_KEYS.items() if wanted.get(key) == auto}
    ignored = {*PLACEMENT_KEYS, *PROGRAM_KEYS, *open_keys}
    if changed := differences(result["config"], wanted, ignored):
        raise UserError(
            f"'{path}' is of another config: {'; '.join(changed)}. Move it away to train anew, or "
            "choose another --results"
        )
    return result


def run_or_read(folders: Folders, point: str, config: ConfigDict) -> Result:
    """Returns the result of one run: its kept file's, or that of training it now.

    The result is the content of result.json, with the date, the config, what the data were and,
    where a validation part was held out, the metrics on it after the last step.

    Raises:
      UserError: see `read_kept` and `train`; the kept file is of other data than there are now.
    """
    path = kept_path(folders, point, config.seed)
    if (kept := _read_comparable(path, config)) is not None:
        print(f"already finished: {path}", flush=True)
        return kept
    from crnn_jax.studies.kept_data import trained_on
    from crnn_jax.train.loop import train
    from crnn_jax.writers import plain, write_json_atomically

    print(f"training {path.stem}", flush=True)
    workdir = folders.workdir / path.stem
    result = train(config, str(workdir))
    if config.data.validation > 0 and "validation" not in result:
        result = {"validation": last_validation(workdir, score_of(config)), **result}
    path.parent.mkdir(parents=True, exist_ok=True)
    result = {"date": today(), **result, **trained_on(workdir), "config": flatten(config)}
    result = plain(result)
    write_json_atomically(path, result)
    return result


def _read_comparable(path: pathlib.Path, config: ConfigDict) -> Result | None:
    """Returns `read_kept`, compared with the data that are there now."""
    if (kept := read_kept(path, config)) is not None:
        from crnn_jax.studies.kept_data import check_same

        check_same(path, kept, config)
    return kept


def spent_flops(result: Result) -> float:
    """Returns a run's training FLOPs: 3 x forward FLOPs x images, as the backward pass is two."""
    return 3.0 * result["flops_per_image"] * result["steps"] * result["config"]["batch_size"]


def last_validation(workdir: pathlib.Path, score: str) -> dict[str, float]:
    """Returns the task's figures on the validation part after the last step: its score, "loss"."""
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    evaluations = [line for line in map(json.loads, lines) if f"validation/{score}" in line]
    prefix = "validation/"
    return {
        name.removeprefix(prefix): value
        for name, value in sorted(evaluations[-1].items())
        if name.startswith(prefix)
    }


def needs_accuracy(config: ConfigDict) -> None:
    """Checks that the runs of a study that compares accuracies will have them.

    Raises:
      UserError: the config's task is judged by another score.
    """
    if (score := score_of(config)) != "accuracy":
        raise UserError(
            "this study expects a task that is judged by its accuracy, found task "
            f"'{config.task}' with {score}; studies.seeds, tune and variants take every task"
        )


def run_points(points: Points, chosen: Iterable[str], seeds: int, folders: Folders) -> None:
    """Trains the chosen points with seeds 0, 1, ...

    All points have a seed's run before the next seed starts, so that what there is when a study is
    stopped compares all of them.

    Raises:
      UserError: see `run_or_read`; for a kept file of other data or config, before the first run.
    """
    configs = [(name, with_seed(points[name], s)) for s in range(seeds) for name in chosen]
    for name, config in configs:
        _read_comparable(kept_path(folders, name, config.seed), config)
    for name, config in configs:
        run_or_read(folders, name, config)


def finished(points: Points, folders: Folders) -> dict[str, list[Result]]:
    """Returns the kept results of each point that has any, by seed; those of its config alone.

    Raises:
      UserError: there are none at all.
    """
    found = {}
    for name, config in points.items():
        results = []
        for path in folders.kept.glob(f"{name}_seed_*.json"):
            seed = path.stem.removeprefix(f"{name}_seed_")
            if seed.isdecimal():
                try:
                    results.append(read_kept(path, with_seed(config, int(seed))))
                except UserError as error:
                    print(f"left out: {error}", flush=True)
        if results:
            found[name] = sorted(results, key=lambda result: result["seed"])
    if not found:
        raise UserError(f"expected results of finished runs in '{folders.kept}', found none")
    return found


def paired_difference(
    first: list[Result], second: list[Result], score: str = "accuracy"
) -> dict[str, Any] | None:
    """Returns the test scores of `first` minus those of `second`, of the seeds that both have.

    {"n", "seeds", "differences", "mean", "ci95"}: ci95 is half the 95% interval of the mean, None
    for one seed; None for no seed in common.
    """
    other = {result["seed"]: result["test"][score] for result in second}
    pairs = {r["seed"]: r["test"][score] - other[r["seed"]] for r in first if r["seed"] in other}
    if not pairs:
        return None
    differences = list(pairs.values())
    return {
        "n": len(pairs),
        "seeds": list(pairs),
        "differences": differences,
        "mean": float(np.mean(differences)),
        "ci95": interval95(differences),
    }


def choose(flag: str, text: str, names: Iterable[str]) -> list[str]:
    """Returns the names of a comma-separated flag, in their usual order; all of them for "".

    Raises:
      UserError: a name that there is not.
    """
    names = list(names)
    wanted = [name for name in text.split(",") if name]
    for name in wanted:
        if name not in names:
            raise UserError(
                f"{flag} expects some of {', '.join(names)}; found '{name}'{closest(name, names)}"
            )
    return [name for name in names if name in wanted or not wanted]


def at_least_one(flag: str, value: int) -> int:
    """Returns `value`; a UserError below 1."""
    if value < 1:
        raise UserError(f"{flag} expects 1 or more, found {value}")
    return value


def config_name(config: str) -> str:
    """Returns "cifar10_crnn_small" of "configs/cifar10.py:crnn_small", for names of files."""
    file, argument = split_name(config)
    return "_".join(re.findall(r"[\w.]+", f"{pathlib.Path(file).stem} {argument}"))


def today() -> str:
    """Returns the date in UTC, 2026-11-24."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def header(study: str, argv: list[str], **facts: Any) -> dict[str, Any]:
    """Returns how a study's result file begins."""
    command = " ".join([f"python -m crnn_jax.studies.{study}", *argv])
    return {"study": study, "command": command, "date": today(), **facts}


def write_results(path: pathlib.Path, content: dict[str, Any]) -> None:
    """Writes a study's JSON file, its Markdown table and, if it has one, its figure beside it."""
    from crnn_jax.report.figures import FIGURES
    from crnn_jax.report.study_tables import STUDY_TABLES
    from crnn_jax.writers import plain, write_json_atomically

    path.parent.mkdir(parents=True, exist_ok=True)
    content = plain(content)
    write_json_atomically(path, content)
    table = STUDY_TABLES[content["study"]](content)
    path.with_suffix(".md").write_text(f"{table}\n")
    if content["study"] in FIGURES:
        FIGURES[content["study"]](content, path.with_suffix(".png"))
    print(f"{table}\n\nwritten to {path}", flush=True)
