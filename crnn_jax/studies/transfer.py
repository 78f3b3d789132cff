"""What features of other classes are worth: python -m crnn_jax.studies.transfer

    python -m crnn_jax.studies.transfer --config=configs/cifar10.py:crnn_small --seeds=5
    python -m crnn_jax.studies.transfer --config=configs/cifar10.py:crnn_small \\
        --source=cifar10_crnn --config.data.source=folder:photos --name=photos

Trains --config on the first half of its classes, then, for each seed, on --images images of each of
the other classes, drawn by the seed: from the source's weights (configs/finetune.py, and its linear
probe), and without weights, by the same settings and by the source's own. All but the probe take as
many steps of the same size, and so as many minutes. Images are written as PNG below the workdir.

With --source the weights are there already, and all runs are on --config's images. The model is the
source's, and a run without weights has the settings of configs/finetune.py or of --config.

Every run is resumable, and kept as RESULTS/transfer/NAME/*.json: what has a file is not trained
again. Writes RESULTS/transfer_NAME.json and .md.
"""

import pathlib

import numpy as np
from ml_collections import ConfigDict

from crnn_jax.config import SHAPELESS_KEYS, flatten, override
from crnn_jax.entry import run_training
from crnn_jax.errors import UserError, one_line_errors
from crnn_jax.flags import resolve_config
from crnn_jax.studies import runs
from crnn_jax.studies.claims import signed_points
from crnn_jax.studies.class_folders import write_images
from crnn_jax.studies.tune import parse_trial
from crnn_jax.studies.variants import make_rows

_FINETUNE = "configs/finetune.py"
# A row has these of its recipe; all else of the data and the model, and the sizes, are the study's.
_AUGMENTATION = (
    "crop_padding", "flip", "cutout", "mixup", "cutmix", "erase",
    "rand_augment", "rand_augment_magnitude",
)  # fmt: skip
_IMAGES = 100  # images of each class to be learned
# Each row: its recipe in `_FINETUNE`, whether it has the source's weights, and what is shown.
ROWS: dict[str, dict[str, str]] = {
    "scratch": {},
    "scratch_source": {"recipe": "the source's"},
    "finetune": {"init.from": "the source"},
    "probe": {"init.from": "the source", "recipe": "probe"},
}


def target_config(
    row: str, base: ConfigDict, changes: dict[str, str], source: str = ""
) -> ConfigDict:
    """Returns the config of a row of `ROWS`, without its data and the source's workdir.

    Args:
      row: one of `ROWS`.
      base: the source's config: its model, and for "scratch_source" its recipe.
      changes: dotted keys and values of every row but the source.
      source: weights that are there, whose sizes all rows have; "": the sizes are those of `base`.

    Raises:
      UserError: a mistake in a config, or the source is of another model or cannot be found.
    """
    recipe = "probe" if row == "probe" else "finetune"
    preset = f"{_FINETUNE}:{base.model.name},recipe={recipe}"
    preset += f",init.from={source}" if source else ""
    # A workdir is set later, so that a missing one is no mistake of the config.
    config = resolve_config(preset, {"init.from": source or "later", **changes})
    if row == "scratch_source":
        mixed = ConfigDict(base.to_dict())
        mixed.duration, mixed.batch_size = config.duration, config.batch_size
        mixed.checkpoint.every = config.checkpoint.every
        if source:
            mixed.data.image_size = config.data.image_size
            for name, value in config.model.items():
                if f"model.{name}" not in SHAPELESS_KEYS:
                    mixed.model[name] = value
        return mixed
    config.precision = base.precision
    for name in () if source else base.model:
        if name != "dropout":
            config.model[name] = base.model[name]
    if row == "scratch":
        config.init.update({"from": "", "skip": (), "layer_decay": 1.0})
    return config


def with_folder(config: ConfigDict, folder: pathlib.Path) -> ConfigDict:
    """Returns a copy of the config that reads the images below `folder`, as they are."""
    copied = ConfigDict(config.to_dict())
    for key, text in {"data.source": f"folder:{folder}", "data.image_size": "0"}.items():
        override(copied, key, text)
    return copied


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
        self,
        config: ConfigDict,
        changes: dict[str, str],
        images: int,
        folders: runs.Folders,
        source: str = "",
    ) -> None:
        self.base, self.images, self.folders, self.source = config, images, folders, source
        self.source_workdir = folders.workdir / "source_seed_0"
        self.source_images = folders.workdir / "images" / "source"
        self.rows = {row: target_config(row, config, changes, source) for row in ROWS}
        self.source_config = with_folder(config, self.source_images)

    def config_of(self, row: str, seed: int) -> ConfigDict:
        """Returns the config of one run on the images of `seed`."""
        config = runs.with_seed(self.rows[row], seed)
        for name, value in self.base.data.items():
            if name != "image_size" and name not in _AUGMENTATION:
                config.data[name] = value
        if self.source:
            return config
        if "init.from" in ROWS[row]:
            config.init["from"] = str(self.source_workdir)
        number = "" if self.images == _IMAGES else f"_of_{self.images}"
        folder = self.folders.workdir / "images" / f"target_{seed}{number}"
        return with_folder(config, folder)

    def kept(self, row: str, seed: int) -> runs.Result | None:
        """Returns the result of one run, None if it was not trained.

        Raises:
          UserError: it is of another config, which names the images.
        """
        path = runs.kept_path(self.folders, row, seed)
        return runs.read_kept(path, self.config_of(row, seed))

    def train(self, rows: list[str], seeds: int) -> None:
        """Trains what is missing of some rows."""
        missing = [(s, row) for s in range(seeds) for row in rows if self.kept(row, s) is None]
        if self.source:
            for seed, row in missing:
                runs.run_or_read(self.folders, row, self.config_of(row, seed))
            return
        if not missing:
            return
        from crnn_jax.data.sources import load_source

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
    parser.add_argument(
        "--source",
        default="",
        metavar="WORKDIR|NAME|FILE",
        help="weights that are there; default: train --config on half of its classes",
    )
    parser.add_argument(
        "--images", type=int, help=f"images of each class to be learned; default: {_IMAGES}"
    )
    parser.add_argument("--rows", default="", help=f"train some of {','.join(ROWS)}; default: all")
    parser.add_argument("--seeds", type=int, default=5, help="runs a row: seeds 0, 1, ...")
    parser.add_argument("--name", default="", help="name of the files; default: from the config")
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
        if flags.source and flags.images is not None:
            raise UserError(
                "--images expects no --source, with which all images of --config's data are "
                "used: leave one of the two out"
            )
        images = _IMAGES if flags.images is None else runs.at_least_one("--images", flags.images)
        rows = runs.choose("--rows", flags.rows, ROWS)
        name = flags.name or runs.config_name(flags.config)
        results = pathlib.Path(flags.results)
        folders = runs.Folders(
            results / "transfer" / name, pathlib.Path(flags.workdir or f"runs/transfer_{name}")
        )
        config = resolve_config(flags.config, common)
        runs.needs_accuracy(config)
        study = Study(config, parse_trial(flags.target), images, folders, flags.source)
        if not flags.report:
            study.train(rows, seeds)
        found = study.found(seeds)
        facts = {"source": flags.source} if flags.source else {"images": images}
        head = runs.header("transfer", argv, config=flags.config, **facts)
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
