"""The files beside the records that make a folder a TFDS data set, written without TensorFlow."""

import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

_FEATURES = "tensorflow_datasets.core.features"


class SplitFacts(NamedTuple):
    """What TFDS wants to know of a split's files, NAME-SPLIT.array_record-00000-of-00001."""

    name: str
    num_bytes: int
    shard_lengths: list[int]


def data_dir(configured: str) -> pathlib.Path:
    """Returns the folder of TFDS data: `configured`, else $TFDS_DATA_DIR, else TFDS's default."""
    folder = configured or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return pathlib.Path(folder).expanduser().absolute()


def write_metadata(
    folder: pathlib.Path,
    *,
    name: str,
    version: str,
    description: str,
    url: str,
    class_names: Sequence[str],
    splits: Sequence[SplitFacts],
) -> None:
    """Writes dataset_info.json, features.json and label.labels.txt of JPEGs with labels.

    The records' features are file_name, image and label.
    """
    (folder / "label.labels.txt").write_text("".join(f"{line}\n" for line in class_names))
    features = json.dumps(_features(len(class_names)), indent=1)
    (folder / "features.json").write_text(features)
    info = {
        "name": name,
        "version": version,
        "description": description,
        "fileFormat": "array_record",
        "location": {"urls": [url]},
        "splits": [
            {
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                "name": split.name,
                "numBytes": str(split.num_bytes),
                "shardLengths": [str(length) for length in split.shard_lengths],
            }
            for split in splits
        ],
        "supervisedKeys": {"tuple": {"items": [{"featureKey": k} for k in ("image", "label")]}},
    }
    (folder / "dataset_info.json").write_text(json.dumps(info, indent=1))


def _features(num_classes: int) -> dict[str, Any]:
    image = {
        "dtype": "uint8",
        "encodingFormat": "jpeg",
        "shape": {"dimensions": ["-1", "-1", "3"]},
    }
    features = {
        "file_name": {"pythonClassName": f"{_FEATURES}.text_feature.Text", "text": {}},
        "image": {"pythonClassName": f"{_FEATURES}.image_feature.Image", "image": image},
        "label": {
            "pythonClassName": f"{_FEATURES}.class_label_feature.ClassLabel",
            "classLabel": {"numClasses": str(num_classes)},
        },
    }
    name = f"{_FEATURES}.features_dict.FeaturesDict"
    return {"pythonClassName": name, "featuresDict": {"features": features}}
