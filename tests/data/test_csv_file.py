"""Images listed in a CSV file: its columns, its splits, its weights, and what is wrong with it."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from crnn_jax import config as cfg
from crnn_jax.data.sources import load_source
from crnn_jax.errors import CorruptImageError, UserError
from crnn_jax.train.loop import train


@pytest.fixture
def table(tmp_path):
    """Returns write(text) -> data_config of a CSV beside images/0.png ... images/11.png."""
    (tmp_path / "images").mkdir()
    for index in range(12):
        pixels = np.full((6, 7, 3), 20 * index, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{index}.png")

    def write(text, encoding="utf-8", **changes):
        path = tmp_path / "list.csv"
        path.write_bytes(text.encode(encoding) if isinstance(text, str) else text)
        config = cfg.default_config("cnn")
        config.data.source = f"csv:{path}"
        config.data.update(changes)
        return config.data

    return write


SPLIT = """path,label,split
images/0.png,cat,train
images/1.png,dog,train
{root}/images/2.png,cat,train

images/3.png,dog,test
"""


def read(split):
    return [
        (example["image"][0, 0, 0] // 20, example["label"])
        for example in split.read_many(range(len(split)))
    ]


def test_rows_are_examples(table, tmp_path, capsys):
    source = load_source(table(SPLIT.format(root=tmp_path)), 0)
    assert source.class_names == ("cat", "dog")
    assert source.input_shape == (6, 7, 3)
    assert sorted(read(source.train)) == [(0, 0), (1, 1), (2, 0)]
    assert read(source.test) == [(3, 1)]
    assert source.train.group_N is not None
    assert set(source.train.fields) == set(source.test.fields) == {"image", "label"}
    assert capsys.readouterr().err == ""
    again = load_source(table(SPLIT.format(root=tmp_path)), 0)
    assert again.fingerprint == source.fingerprint
    other = SPLIT.format(root=tmp_path).replace("1.png,dog", "1.png,cat")
    assert (
        load_source(table(other.replace("3.png,dog", "3.png,cat")), 0).fingerprint
        != source.fingerprint
    )


def test_columns_in_any_order_with_quotes_and_a_byte_order_mark(table, tmp_path, capsys):
    rows = ["Label , path,note,weight"] + [f'"a, ""b""",images/{i}.png,x,{i}' for i in range(6)]
    rows += [f"caf\u00e9,images/{i}.png,,6" for i in range(6, 9)]
    rows += [f"cafe\u0301,images/{i}.png,,6" for i in range(9, 12)]
    source = load_source(table("\r\n".join(rows), encoding="utf-8-sig", test_fraction=0.3), 0)
    assert source.class_names == ('a, "b"', "caf\u00e9")
    assert "left out the columns note" in capsys.readouterr().err
    assert len(source.train) + len(source.test) == 12
    assert len(source.test) > 0


def test_weights_have_the_mean_1_in_training(table):
    rows = [f"images/{i}.png,{'ab'[i % 2]},train,{i}" for i in range(4)]
    rows += ["images/4.png,a,test,0"]
    source = load_source(table("\n".join(["path,label,split,weight", *rows])), 0)
    examples = map(source.train.read, range(4))
    found = {int(e["image"][0, 0, 0] // 20): float(e["loss_weight"]) for e in examples}
    assert found == pytest.approx({i: i / 1.5 for i in range(4)})
    assert source.test.read(0)["loss_weight"] == 1.0
    assert source.train.fields.keys() == source.test.fields.keys()
    assert source.train.encoded is not None
    encoded = source.train.encoded([0, 3])
    assert not isinstance(encoded[0], CorruptImageError)
    assert encoded[0].values["loss_weight"] == source.train.read(0)["loss_weight"]
    equal = "\n".join(["path,label,split,weight", *(row[:-1] + "5" for row in rows)])
    assert "loss_weight" not in load_source(table(equal), 0).train.fields


@pytest.mark.long
@pytest.mark.parametrize("pipeline", ["resident", "streaming"])
def test_a_weight_of_0_is_no_training(table, tiny, tmp_path, pipeline):
    """The runs are equal of two files that differ in the class of one image of weight 0."""
    losses = []
    for name in ("a", "b"):
        rows = [f"images/{i}.png,{'ab'[i // 5]},train,2" for i in range(8)]
        rows.insert(5, f"images/8.png,{name},train,0")  # the order by class stays
        rows.append("images/9.png,a,test,1")
        data = table("\n".join(["path,label,split,weight", *rows]))
        changes = {"data__source": data.source, "data__pipeline": pipeline, "batch_size": 8}
        config = tiny("cnn", duration="6 steps", mesh__data=1, model__norm=False, **changes)
        result = train(config, str(tmp_path / f"{pipeline}_{name}"))
        lines = (tmp_path / f"{pipeline}_{name}" / "metrics.jsonl").read_text().splitlines()
        losses.append([x["train/loss"] for x in map(json.loads, lines) if "train/loss" in x])
        assert result["test"]["num_examples"] == 1
    assert losses[0] == losses[1]


def test_val_beside_test_is_the_validation_part(table, capsys):
    rows = [f"images/{i}.png,a,{split}" for i, split in enumerate(("train", "Test", "valid"))]
    text = "\n".join(["path,label,split", *rows])
    source = load_source(table(text), 0)
    assert source.validation is not None
    assert [read(split) for split in (source.train, source.test, source.validation)] == [
        [(0, 0)],
        [(1, 0)],
        [(2, 0)],
    ]
    assert {name: len(part.files) for name, part in source.files.items()} == {
        "train": 1,
        "test": 1,
        "validation": 1,
    }
    assert load_source(table(text, validation=0.5), 0).validation is None
    assert "left out 1 rows of split val, since 'data.validation' is 0.5" in capsys.readouterr().err


def test_a_missing_image_keeps_its_place_if_the_config_says_so(table):
    text = "path,label,split\nimages/0.png,a,train\nimages/77.png,a,train\nimages/1.png,a,test"
    source = load_source(table(text, skip_corrupt=True), 0)
    assert isinstance(source.train.read_many([0, 1])[1], CorruptImageError)


HEAD = "path,label,split,weight\n"
GOOD = "images/0.png,a,train,1\nimages/1.png,a,test,1\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first row with the columns path and label.* found none"),
        ("path,class\nimages/0.png,a", "columns path and label.*found path, class"),
        ("path,label,path\n", "found 'path' twice"),
        ("path,label,wieght\nimages/0.png,a,1", r"no column 'wieght'.*\(did you mean 'weight'"),
        ("path,label\n", "a row for each image, found none"),
        (HEAD + "images/0.png,a,train\n", "line 2: expected 4 values, found 3"),
        (HEAD + GOOD + "images/2.png,,train,1\n", "line 4: expected a label, found an empty"),
        (HEAD + GOOD + ",a,train,1\n", "line 4: expected a path, found an empty"),
        (HEAD + GOOD + "images/2.png,a,trian,1\n", r"line 4: .*'trian' \(did you mean 'train'"),
        (HEAD + GOOD + "images/2.png,a,train,-1\n", "line 4: .*0 or more, found '-1'"),
        (HEAD + GOOD + "images/2.png,a,train,nan\n", "line 4: .*0 or more, found 'nan'"),
        (HEAD + GOOD + "images/2.png,a,train,1e308\n", "line 4: .*0 or more, found '1e308'"),
        (HEAD + GOOD + "images/2\0.png,a,train,1\n", "line 4: expected a path without null"),
        (HEAD + GOOD + "images/2.png,a\0,train,1\n", "line 4: expected a label without null"),
        (HEAD + GOOD + "images/2.png,a,train,\n", "line 4: .*0 or more, found ''"),
        (HEAD + GOOD + "images/2.png,b,test,1\n", "line 4: .*label that train has, found 'b'"),
        (HEAD + GOOD + "images/77.png,a,train,1\n", "line 4: .*images/77.png', found: No such"),
        (HEAD + GOOD + "images/0.png,a,test,1\n", "line 4: .*found another in line 2"),
        (HEAD + GOOD.replace("train,1", "train,0"), "a weight above 0, found 1 of 0"),
        (HEAD + GOOD.replace("test", "train"), "rows of split 'test', found none"),
        (HEAD + GOOD + '"images/2.png"x,a,train,1\n', "after line 3: .*found: ',' expected"),
        (HEAD + GOOD + '"images/2.png,a,train,1\n', "after line 3: .*unexpected end of data"),
        ((HEAD + GOOD).encode() + b"\xff\xfe,a,train,1\n", "UTF-8.*found: 'utf-8' codec"),
        ("path,label\nimages/0.png,a\n", "'data.test_fraction', or add a column"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(table, text, message):
    with pytest.raises(UserError, match=message) as error:
        load_source(table(text, test_fraction=1e-9), 0)
    assert "list.csv'" in str(error.value)
    assert "\n" not in str(error.value)


def test_no_file(table, tmp_path):
    data = table("")
    data.source = f"csv:{tmp_path}/nothing.csv"
    with pytest.raises(UserError, match="expects csv:FILE, found no file"):
        load_source(data, 0)
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", tmp_path / "pipe"):
        data.source = f"csv:{path}"
        with pytest.raises(UserError, match="a file on a disk, found a device or a pipe"):
            load_source(data, 0)
    data.source = f"csv:{tmp_path}"
    with pytest.raises(UserError, match="expected a readable file, found: Is a directory"):
        load_source(data, 0)
