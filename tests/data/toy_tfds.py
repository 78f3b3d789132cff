"""A data set of a few images in TFDS's layout."""

import io
import json

import numpy as np
from PIL import Image


def png(value, shape=(2, 3, 3)):
    file = io.BytesIO()
    array = np.full(shape, value, np.uint8)
    Image.fromarray(array[:, :, 0] if shape[2] == 1 else array).save(file, "PNG")
    return file.getvalue()


def feature(kind, **fields):
    return {"pythonClassName": f"tensorflow_datasets.core.features.{kind}", **fields}


def write_toy(folder, splits, shape=("-1", "-1", "3"), label_kind="classLabel"):
    """Writes {name: [(png bytes, label), ...]}, classes ant and bee, one file for each record."""
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.proto import tf_example_pb2

    folder.mkdir(parents=True)
    infos = []
    for name, examples in splits.items():
        for i, (data, label) in enumerate(examples):
            example = tf_example_pb2.Example()  # pyright: ignore[reportAttributeAccessIssue]
            example.features.feature["image"].bytes_list.value.append(data)
            example.features.feature["label"].int64_list.value.append(label)
            path = folder / f"toy-{name}.array_record-{i:05d}-of-{len(examples):05d}"
            writer = ArrayRecordWriter(str(path), "group_size:1")
            writer.write(example.SerializeToString())
            writer.close()
        template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        lengths = ["1"] * len(examples)
        infos.append({"filepathTemplate": template, "name": name, "shardLengths": lengths})
    label = feature("class_label_feature.ClassLabel", classLabel={"numClasses": "2"})
    if label_kind == "text":
        label = feature("text_feature.Text", text={})
    image = {"dtype": "uint8", "shape": {"dimensions": list(shape)}}
    features = {"image": feature("image_feature.Image", image=image), "label": label}
    (folder / "features.json").write_text(
        json.dumps(feature("features_dict.FeaturesDict", featuresDict={"features": features}))
    )
    (folder / "label.labels.txt").write_text("ant\nbee\n")
    info = {"name": "toy", "version": folder.name, "fileFormat": "array_record", "splits": infos}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder.parent.parent
