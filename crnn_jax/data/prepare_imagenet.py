"""Makes ImageNet (ILSVRC2012) in TFDS's array_record layout, without TensorFlow.

From the official archives:

python -m crnn_jax.data.prepare imagenet2012 --data_dir=DIR --train_tar=ILSVRC2012_img_train.tar
    --val_tar=ILSVRC2012_img_val.tar --devkit=ILSVRC2012_devkit_t12.tar.gz

or from FOLDER/train/SYNSET/*.JPEG and FOLDER/val/SYNSET/*.JPEG:

python -m crnn_jax.data.prepare imagenet2012 --data_dir=DIR --folder=FOLDER

The validation archive holds no labels: they are in the development kit, or in a text file that
--val_labels names, with a synset (n01440764) a line in the order of the sorted file names, or FILE
SYNSET a line. Every image is decoded once as a check; broken ones are left out and listed. A run
that was killed goes on where it was when the same command is given again.
"""

import argparse
import json
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from crnn_jax.data import imagenet_archives as archives
from crnn_jax.data.imagenet_archives import Item
from crnn_jax.data.imagenet_shards import NAME, SUMMARY, VERSION, prepare
from crnn_jax.data.tfds_metadata import data_dir
from crnn_jax.errors import OneLineParser, UserError

EXPECTED = {"train": 1_281_167, "validation": 50_000}


def describe(summary: dict[str, Any]) -> Iterator[str]:
    """Yields lines that say what a set holds, and how that differs from the whole ImageNet."""
    for name, split in summary["splits"].items():
        expected, found = EXPECTED[name], split["images"]
        counts = split["per_class"].values()
        differs = "" if found == expected else f", expected {expected:,} of the whole ImageNet"
        yield (
            f"{name}: {found:,} images{differs}; {summary['classes']:,} classes of "
            f"{min(counts):,} to {max(counts):,}; {len(split['broken'])} broken, "
            f"{len(split['converted'])} converted"
        )
        yield from (f"broken: {line}" for line in split["broken"])


def find_items(flags: argparse.Namespace) -> dict[str, list[Item]]:
    """Returns the images that the command line names, by split."""
    labels = archives.read_labels(flags.val_labels) if flags.val_labels else None
    if flags.devkit:
        labels = archives.read_devkit(flags.devkit)
    if flags.folder:
        train = archives.folder_items(flags.folder / "train", None)
        return {"train": train, "validation": archives.folder_items(flags.folder / "val", labels)}
    if not (flags.train_tar and flags.val_tar and labels is not None):
        raise UserError(
            "expected --folder, or --train_tar, --val_tar and --devkit (or --val_labels: the "
            "validation archive holds no labels), found others; see "
            "`python -m crnn_jax.data.prepare imagenet2012 --help`"
        )
    return {
        "train": archives.train_items(flags.train_tar),
        "validation": archives.validation_items(flags.val_tar, labels),
    }


def main(argv: Sequence[str]) -> None:
    """Prepares ImageNet from what the command line names."""
    parser = OneLineParser(
        prog="python -m crnn_jax.data.prepare imagenet2012",
        description=__doc__,
    )
    parser.add_argument(
        "--data_dir", default="", help="default: $TFDS_DATA_DIR, else ~/tensorflow_datasets"
    )
    for name in ("train_tar", "val_tar", "devkit", "val_labels", "folder"):
        parser.add_argument(f"--{name}", type=lambda text: pathlib.Path(text).expanduser())
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--shard_mib", type=float, default=128.0, help="size of a file, about")
    parser.add_argument(
        "--check_archives", action="store_true", help="compare with the published md5 first"
    )
    flags = parser.parse_args(argv)
    if flags.workers < 1 or flags.shard_mib <= 0:
        raise UserError("--workers and --shard_mib expect more than 0")
    if flags.check_archives:
        for path in (flags.train_tar, flags.val_tar, flags.devkit):
            if path is not None:
                archives.check_md5(path)
    root = data_dir(flags.data_dir)
    if not (root / NAME / VERSION / SUMMARY).is_file():
        print("looking for the images", file=sys.stderr)
        prepare(root, find_items(flags), flags.workers, flags.shard_mib)
    folder = root / NAME / VERSION
    try:
        lines = list(describe(json.loads((folder / SUMMARY).read_text())))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise UserError(
            f"'{folder / SUMMARY}' is damaged: bring back a copy, or remove '{folder}' and run the "
            "same command again"
        ) from None
    for line in lines:
        print(line)
    print(f"{NAME}: in {folder}", file=sys.stderr)
