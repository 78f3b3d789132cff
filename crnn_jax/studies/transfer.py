"""What features of other classes are worth: python -m crnn_jax.studies.transfer

    python -m crnn_jax.studies.transfer --config=configs/cifar10.py:crnn_small --seeds=5

Trains --config on the first half of its classes, then, for each seed, on --images images of each of
the other classes, drawn by the seed: from the source's weights (configs/finetune.py, and its linear
probe), and without weights, by the same settings and by the source's own. All but the probe take as
many steps of the same size, and so as many minutes. Images are written as PNG below the workdir.
Every run is resumable, and kept as RESULTS/transfer/NAME/*.json: what has a file is not trained
again. Writes RESULTS/transfer_NAME.json and .md.
"""

import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from crnn_jax.config import flatten, override
from crnn_jax.data.sources import labels_of
from crnn_jax.entry import run_training
from crnn_jax.errors import CorruptImageError, UserError, one_line_errors
from crnn_jax.flags import resolve_config
from crnn_jax.studies import runs
from crnn_jax.studies.claims import signed_points
from crnn_jax.studies.tune import parse_trial
from crnn_jax.studies.variants import make_rows

_FINETUNE = "configs/finetune.py"
_CHUNK = 1000  # images read at a time
# Of each row: the recipe of `_FINETUNE`, whether it has the source's weights, and what is shown.
ROWS: dict[str, dict[str, str]] = {
    "scratch": {},
    "scratch_source": {"recipe": "the source's"},
    "finetune": {"init.from": "the source"},
    "probe": {"init.from": "the source", "recipe": "probe"},
}


def target_config(row: str, base: ConfigDict, changes: dict[str, str]) -> ConfigDict:
    """Returns the config of a row of `ROWS`, without its data and the source's workdir.

    Args:
      row: of `ROWS`.
      base: the source's config: its model, and for "scratch_source" its recipe.
      changes: dotted keys and values of every row but the source.
    """
    recipe = "probe" if row == "probe" else "finetune"
    preset = f"{_FINETUNE}:{base.model.name},recipe={recipe}"
    # The workdir is set later, so that a missing one is no mistake of the config.
    config = resolve_config(preset, {"init.from": "later", **changes})
    if row == "scratch_source":
        mixed = ConfigDict(base.to_dict())
        mixed.duration, mixed.batch_size = config.duration, config.batch_size
        mixed.checkpoint.every = config.checkpoint.every
        return mixed
    config.precision = base.precision
    for name in base.model:
        if name != "dropout":
            config.model[name] = base.model[name]
    if row == "scratch":
        config.init.update({"from": "", "skip": (), "layer_decay": 1.0})
    return config


def with_folder(config: ConfigDict, folder: pathlib.Path, **keys: str) -> ConfigDict:
    """Returns a copy of the config that reads the images below `folder`, as they are."""
    copied = ConfigDict(config.to_dict())
    changes = {"data.source": f"folder:{folder}", "data.image_size": "0", **keys}
    for key, text in changes.items():
        override(copied, key, text)
    return copied


def write_images(
    source: Any, classes: list[int], folder: pathlib.Path, images: int | None, seed: int
) -> None:
    """Writes the images of some classes as FOLDER/train/CLASS/N.png and FOLDER/test/CLASS/N.png.

    Nothing is done if the folder is there; it appears whole or not at all.

    Args:
      source: of `load_source`, still images with one class each.
      classes: their numbers.
      folder: to be made.
      images: of each class in train, drawn by the seed; None: all. The test split is whole.
      seed: of the draw.
    """
    if folder.exists():
        return
    unfinished = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    for part, split in (("train", source.train), ("test", source.test)):
        class_N = labels_of(split)
        for number in classes:
            index_N = np.flatnonzero(class_N == number)
            if part == "train" and images is not None:
                index_N = _draw(index_N, images, seed, source.class_names[number])
            target = unfinished / part / source.class_names[number]
            target.mkdir(parents=True)
            _write(split, index_N, target)
    os.replace(unfinished, folder)


def _draw(index_N: np.ndarray, images: int, seed: int, name: str) -> np.ndarray:
    if len(index_N) < images:
        raise UserError(f"--images expects at most {len(index_N)}, all of '{name}', found {images}")
    return np.sort(np.random.default_rng(seed).permutation(index_N)[:images])


def _examples(split: Any, index_N: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    for start in range(0, len(index_N), _CHUNK):
        for example in split.read_many(index_N[start : start + _CHUNK].tolist()):
            if isinstance(example, CorruptImageError):
                raise example
            yield example


def _write(split: Any, index_N: np.ndarray, target: pathlib.Path) -> None:
    from PIL import Image

    for index, example in zip(index_N, _examples(split, index_N), strict=True):
        image_HWC = example[split.pixels]
        image_HWC = image_HWC if image_HWC.shape[-1] == 3 else image_HWC[..., 0]
        Image.fromarray(image_HWC).save(target / f"{index:05d}.png", compress_level=1)


def make_sentences(found: dict[str, list[runs.Result]]) -> list[str]:
    """Returns the claim, judged: what fine-tuning brings over the better training from scratch."""
    scratch = [row for row in ("scratch", "scratch_source") if row in found]
    if "finetune" not in found or not scratch:
        return []
    best = max(scratch, key=lambda row: _mean(found[row]))
    pair = runs.paired_difference(found["finetune"], found[best])
    if pair is None:
        return []
    known = pair["ci95"] is not None
    clear = known and abs(pair["mean"]) > pair["ci95"]
    verdict = "differ" if clear else "cannot be told apart"
    seconds = [
        float(np.median([r["seconds"].get("train", 0.0) for r in found[row]]))
        for row in ("finetune", best)
    ]
    return [
        f"'finetune' and '{best}', the better of the trainings without weights, {verdict} over "
        f"{pair['n']} seeds: {signed_points(pair)}, in {seconds[0]:.0f} and {seconds[1]:.0f} "
        "seconds of training steps; the source's training is not counted."
    ]


def _mean(results: list[runs.Result]) -> float:
    return float(np.mean([result["test"]["accuracy"] for result in results]))


class Study:
    """The configs of all runs, and their results as far as they are there."""

    def __init__(
        self, config: ConfigDict, changes: dict[str, str], images: int, folders: runs.Folders
    ) -> None:
        self.base, self.images, self.folders = config, images, folders
        self.source_workdir = folders.workdir / "source_seed_0"
        self.source_images = folders.workdir / "images" / "source"
        self.rows = {row: target_config(row, config, changes) for row in ROWS}
        self.source_config = with_folder(config, self.source_images)

    def config_of(self, row: str, seed: int) -> ConfigDict:
        """Returns the config of one run on the images of `seed`."""
        folder = self.folders.workdir / "images" / f"target_{seed}"
        keys = {"init.from": str(self.source_workdir)} if "init.from" in ROWS[row] else {}
        return with_folder(runs.with_seed(self.rows[row], seed), folder, **keys)

    def kept(self, row: str, seed: int) -> runs.Result | None:
        """Returns the result of one run, None if it was not trained."""
        path = runs.kept_path(self.folders, row, seed)
        return runs.read_kept(path, self.config_of(row, seed))

    def train(self, seeds: int) -> None:
        """Trains what is missing."""
        missing = [(s, row) for s in range(seeds) for row in ROWS if self.kept(row, s) is None]
        if not missing:
            return
        from crnn_jax.data.dataset import load_source

        source = load_source(self.base.data, self.base.seed)
        numbers = list(range(source.num_classes))
        half = source.num_classes // 2
        write_images(source, numbers[:half], self.source_images, None, 0)
        # The workdir is needed, whatever was kept of its result: the weights are in it.
        if not (self.source_workdir / "result.json").exists():
            runs.kept_path(self.folders, "source", 0).unlink(missing_ok=True)
        runs.run_or_read(self.folders, "source", self.source_config)
        for seed, row in missing:
            config = self.config_of(row, seed)
            folder = pathlib.Path(config.data.source.removeprefix("folder:"))
            write_images(source, numbers[half:], folder, self.images, seed)
            runs.run_or_read(self.folders, row, config)

    def found(self, seeds: int) -> dict[str, list[runs.Result]]:
        """Returns the results by row, of the seeds that are there.

        Raises:
          UserError: there are none.
        """
        found = {row: [r for s in range(seeds) if (r := self.kept(row, s))] for row in ROWS}
        found = {row: results for row, results in found.items() if results}
        if not found:
            raise UserError(f"expected kept runs in '{self.folders.kept}', found none")
        return found


def main(argv: list[str]) -> None:
    """Trains what is missing and writes the files."""
    parser = runs.make_parser("transfer", __doc__)
    parser.add_argument(
        "--config", default="configs/cifar10.py:crnn_small", metavar="FILE:MODEL", help="the source"
    )
    parser.add_argument("--images", type=int, default=100, help="of each class to be learned")
    parser.add_argument("--seeds", type=int, default=5, help="runs a row: seeds 0, 1, ...")
    parser.add_argument("--name", default="", help="of the files; default: from the config")
    parser.add_argument(
        "--target",
        default="",
        metavar="KEY=VALUE,...",
        help="keys of configs/finetune.py to change",
    )
    flags, rest = parser.parse_known_args(argv)
    with one_line_errors():
        common = runs.study_overrides(rest, "data.validation")
        seeds = runs.at_least_one("--seeds", flags.seeds)
        images = runs.at_least_one("--images", flags.images)
        name = flags.name or runs.config_name(flags.config)
        results = pathlib.Path(flags.results)
        folders = runs.Folders(
            results / "transfer" / name, pathlib.Path(flags.workdir or f"runs/transfer_{name}")
        )
        config = resolve_config(flags.config, common)
        runs.needs_accuracy(config)
        study = Study(config, parse_trial(flags.target), images, folders)
        if not flags.report:
            study.train(seeds)
        found = study.found(seeds)
        head = runs.header("transfer", argv, config=flags.config, images=images)
        content = {
            **head,
            "duration": study.rows["finetune"].duration,
            "settings": flatten(study.rows["finetune"]),
            "rows": make_rows(ROWS, found),
            "sentences": make_sentences(found),
        }
        runs.write_results(results / f"transfer_{name}.json", content)


if __name__ == "__main__":
    run_training(main)
