import hashlib
import io
import json
import os
import pathlib
import subprocess
import sys
import tarfile
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image

from crnn_jax.config import default_config
from crnn_jax.data import imagenet_archives as archives
from crnn_jax.data import imagenet_shards, prepare
from crnn_jax.data.sources import load_source
from crnn_jax.errors import UserError
from tests.faults import processes

SYNSETS = ["n01440764", "n01443537", "n02100000"]
PER_CLASS = 4


def jpeg(number, **options):
    # Noise, which compresses badly: a file of many kilobytes, as real ones are.
    image_HWC = np.random.default_rng(number).integers(0, 256, (120, 100, 3), np.uint8)
    file = io.BytesIO()
    image = Image.fromarray(image_HWC)
    image.convert(options.pop("mode", "RGB")).save(file, options.pop("format", "JPEG"), **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def images():
    """Real JPEGs where they are, else drawn ones."""
    folder = pathlib.Path(os.environ.get("TFDS_DATA_DIR", "/nonexistent"))
    if not (folder / "imagenet2012").is_dir():
        return [jpeg(number) for number in range(20)]
    config = default_config("crnn").data
    config.update(source="tfds:imagenet2012", dir=str(folder), image_size=8)
    encoded: Any = load_source(config, 0).train.encoded
    return [bytes(item.data) for item in encoded(range(20))]


def add(tar, name, data):
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def tar_of(files):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:") as tar:
        for name, data in files.items():
            add(tar, name, data)
    return file.getvalue()


@pytest.fixture
def official(tmp_path, images):
    """(folder with the three archives, {split: {name: (bytes, label)}}), made as the official."""
    import scipy.io

    content = {"train": {}, "validation": {}}
    inner = {}
    for label, synset in reversed(list(enumerate(SYNSETS))):  # not in the order of the labels
        files = {f"{synset}_{i}.JPEG": images[PER_CLASS * label + i] for i in range(PER_CLASS)}
        inner[f"{synset}.tar"] = tar_of(files)
        content["train"] |= {name: (data, label) for name, data in files.items()}
    folder = tmp_path / "official"
    folder.mkdir()
    (folder / "train.tar").write_bytes(tar_of(inner))
    labels = [2, 0, 1, 0, 2]
    names = [f"ILSVRC2012_val_{i:08d}.JPEG" for i in range(1, 6)]
    files = {name: images[12 + i] for i, name in enumerate(names)}
    content["validation"] = {n: (files[n], label) for n, label in zip(names, labels, strict=True)}
    (folder / "val.tar").write_bytes(tar_of(dict(reversed(files.items()))))
    # The devkit numbers the synsets in an order of its own; more of them are no leaves.
    row = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("num_children", "O")]
    table = [(2, SYNSETS[0], 0), (3, SYNSETS[1], 0), (1, SYNSETS[2], 0), (4, "n00001740", 3)]
    meta = io.BytesIO()
    scipy.io.savemat(meta, {"synsets": np.array(table, dtype=row)})
    truth = "".join(f"{[2, 3, 1][label]}\n" for label in labels).encode()
    with tarfile.open(folder / "devkit.tar.gz", "w:gz") as tar:
        add(tar, "ILSVRC2012_devkit_t12/data/meta.mat", meta.getvalue())
        add(tar, "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt", truth)
    lines = [f"{SYNSETS[label]}\n" for label in labels]
    (folder / "labels.txt").write_text("".join(lines))
    return folder, content


def arguments(folder, root, labels="--devkit=devkit.tar.gz", shard_mib=0.02):
    flags = ["--train_tar=train.tar", "--val_tar=val.tar", labels]
    paths = [flag.replace("=", f"={folder}/") for flag in flags]
    return ["imagenet2012", *paths, f"--data_dir={root}", "--workers=1", f"--shard_mib={shard_mib}"]


def read_back(root):
    """{split: {name: (bytes, label)}} by TFDS, and its class names."""
    import tensorflow_datasets as tfds

    builder: Any = tfds.builder_from_directory(root / "imagenet2012/5.1.0")
    decoders = {"image": tfds.decode.SkipDecoding()}
    found = {}
    for split in builder.info.splits:
        records = list(builder.as_data_source(split, decoders=decoders))
        names = [record["file_name"] for record in records]
        names = [name.decode() if isinstance(name, bytes) else name for name in names]
        pairs = [(bytes(record["image"]), int(record["label"])) for record in records]
        found[split] = dict(zip(names, pairs, strict=True))
        assert len(found[split]) == len(records)
    return found, builder.info.features["label"].names


@pytest.mark.parametrize("labels", ["--devkit=devkit.tar.gz", "--val_labels=labels.txt"])
def test_tfds_reads_back_what_the_archives_hold(official, tmp_path, capsys, labels):
    folder, content = official
    prepare.main(arguments(folder, tmp_path / "data", labels))
    found, names = read_back(tmp_path / "data")
    assert found == content
    assert names == SYNSETS
    out = capsys.readouterr().out
    assert "train: 12 images, expected 1,281,167 of the whole ImageNet; 3 classes of 4 to 4" in out
    assert "validation: 5 images, expected 50,000" in out
    made = tmp_path / "data/imagenet2012/5.1.0"
    assert len(list(made.glob("*-train.array_record-*"))) > 1
    checked = subprocess.run(["sha256sum", "-c", "--quiet", "checksums.sha256"], cwd=made)
    assert checked.returncode == 0
    assert not list(made.glob("*.facts.json"))
    times = {path: path.stat().st_mtime_ns for path in made.iterdir()}
    prepare.main(arguments(folder, tmp_path / "data", labels))  # it is there: nothing is done
    assert times == {path: path.stat().st_mtime_ns for path in made.iterdir()}


def test_our_source_reads_it(official, tmp_path, capsys):
    folder, content = official
    prepare.main(arguments(folder, tmp_path / "data"))
    config = default_config("crnn").data
    config.update(source="tfds:imagenet2012", dir=str(tmp_path / "data"), image_size=8)
    source = load_source(config, 0)
    assert source.test.name == "validation"
    for split, name in ((source.train, "train"), (source.test, "validation")):
        encoded: Any = split.encoded
        items = encoded(range(len(split)))
        found = sorted((bytes(item.data), int(item.values["label"])) for item in items)
        assert found == sorted(content[name].values())


def test_a_folder_with_broken_and_odd_files(tmp_path, images, capsys):
    for index, synset in enumerate(SYNSETS):
        for part in ("train", "val"):
            path = tmp_path / "images" / part / synset
            path.mkdir(parents=True)
            (path / f"{part}_{synset}_1.JPEG").write_bytes(images[index])
    odd = tmp_path / "images/train" / SYNSETS[0]
    (odd / "cut.JPEG").write_bytes(images[5][:2000])
    (odd / "cmyk.JPEG").write_bytes(jpeg(1, mode="CMYK"))
    (odd / "portable.JPEG").write_bytes(jpeg(2, format="PNG"))
    (odd / "notes.txt").write_text("not an image")
    prepare.main(
        ["imagenet2012", f"--folder={tmp_path}/images", f"--data_dir={tmp_path}/d", "--workers=1"]
    )
    out = capsys.readouterr().out
    assert "train: 5 images" in out
    assert "1 broken, 2 converted" in out
    assert "cut.JPEG: expected a readable image" in out
    found, _ = read_back(tmp_path / "d")
    assert set(found["train"]) == {
        "cmyk.JPEG", "portable.JPEG", *(f"train_{synset}_1.JPEG" for synset in SYNSETS)
    }  # fmt: skip
    for name in ("cmyk.JPEG", "portable.JPEG"):
        with Image.open(io.BytesIO(found["train"][name][0])) as image:
            assert (image.format, image.mode) == ("JPEG", "RGB")
    summary = json.loads((tmp_path / "d/imagenet2012/5.1.0/prepared.json").read_text())
    assert summary["splits"]["train"]["per_class"][SYNSETS[0]] == 3


def test_a_killed_run_goes_on(tmp_path, images):
    """The last image is a pipe, at which the run waits until it is killed."""
    names = [f"ILSVRC2012_val_{i:08d}.JPEG" for i in range(1, 7)]
    val, train = tmp_path / "images/val", tmp_path / "images/train" / SYNSETS[0]
    val.mkdir(parents=True)
    train.mkdir(parents=True)
    (train / "a.JPEG").write_bytes(images[0])
    last = max(names, key=lambda name: hashlib.sha256(f"validation/{name}".encode()).digest())
    for number, name in enumerate(names):
        if name == last:
            os.mkfifo(val / name)
        else:
            (val / name).write_bytes(images[number])
    (tmp_path / "labels.txt").write_text(f"{SYNSETS[0]}\n" * len(names))
    root = tmp_path / "data"
    command = [
        "imagenet2012", f"--folder={tmp_path}/images", f"--val_labels={tmp_path}/labels.txt",
        f"--data_dir={root}", "--workers=1", "--shard_mib=0.001",
    ]  # fmt: skip
    process = subprocess.Popen([sys.executable, "-m", "crnn_jax.data.prepare", *command])
    partial = root / "imagenet2012/.5.1.0.partial"
    deadline = time.monotonic() + 60
    while len(list(partial.glob("*.facts.json"))) < 6 and time.monotonic() < deadline:
        time.sleep(0.05)
    worker = processes.wait_for_worker(process.pid)
    process.kill()
    process.wait()
    assert processes.wait_for_end(worker, 20)  # it waits for the pipe, and ends with its parent
    shards = sorted(partial.glob("imagenet2012-*-of-*[0-9]"))
    assert len(shards) == 6  # of train and validation, all but the one with the pipe
    assert not (root / "imagenet2012/5.1.0").exists()
    shards[1].write_bytes(shards[1].read_bytes()[:-1])  # the disk was full, say
    times = {path.name: path.stat().st_mtime_ns for path in shards}
    (val / last).unlink()
    (val / last).write_bytes(b"")
    prepare.main(command)
    again = {name: (root / "imagenet2012/5.1.0" / name).stat().st_mtime_ns for name in times}
    assert [name for name in times if times[name] != again[name]] == [shards[1].name]
    found, _ = read_back(root)
    assert set(found["validation"]) == set(names) - {last}


DAMAGED = ["", "{", "[]", "[" * 100_000, '{"sha256": 3}', "\xff"]


@pytest.mark.parametrize("damaged", [*DAMAGED, lambda facts: {**facts, "labels": []}])
def test_a_shard_with_damaged_facts_is_written_again(tmp_path, images, damaged, capsys):
    (tmp_path / "a.JPEG").write_bytes(images[0])
    item = archives.Item("a.JPEG", SYNSETS[0], str(tmp_path / "a.JPEG"), 0, len(images[0]))
    shard = imagenet_shards._Shard(str(tmp_path / "shard"), [item], [0])
    first = imagenet_shards.write_shard(shard)
    path = tmp_path / "shard.facts.json"
    text = damaged if isinstance(damaged, str) else json.dumps(damaged(first))
    path.write_text(text, "latin-1")
    assert imagenet_shards.write_shard(shard) == first
    assert capsys.readouterr().err == f"'{path}' is damaged: writing its shard again\n"
    assert imagenet_shards.write_shard(shard) == json.loads(path.read_text()) == first
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("damaged", DAMAGED)
def test_a_damaged_summary_is_one_line(tmp_path, damaged):
    folder = tmp_path / "imagenet2012/5.1.0"
    folder.mkdir(parents=True)
    (folder / "prepared.json").write_text(damaged, "latin-1")
    with pytest.raises(UserError, match=r"prepared\.json' is damaged: bring back a copy"):
        prepare.main(["imagenet2012", "--folder=.", f"--data_dir={tmp_path}"])


def test_another_sets_part_is_not_mixed_in(official, tmp_path):
    folder, _ = official
    partial = tmp_path / "data/imagenet2012/.5.1.0.partial"
    partial.mkdir(parents=True)
    (partial / "plan.sha256").write_text("other")
    with pytest.raises(UserError, match=r"partial': expected a part of this data set"):
        prepare.main(arguments(folder, tmp_path / "data"))


def test_mistakes_are_named(official, tmp_path):
    folder, _ = official
    root = tmp_path / "data"
    with pytest.raises(UserError, match=r"expected --folder, or --train_tar.*no labels"):
        prepare.main([*arguments(folder, root)[:3], f"--data_dir={root}"])
    (folder / "labels.txt").write_text(f"{SYNSETS[0]}\n" * 4)
    with pytest.raises(UserError, match="label for each of 5 images, found 4"):
        prepare.main(arguments(folder, root, "--val_labels=labels.txt"))
    (folder / "labels.txt").write_text("cat\n" * 5)
    with pytest.raises(UserError, match=r"expected a synset such as n01440764 a line.*'cat'"):
        prepare.main(arguments(folder, root, "--val_labels=labels.txt"))
    (folder / "labels.txt").write_text("n99999999\n" * 5)
    with pytest.raises(UserError, match="classes of the training split, found n99999999"):
        prepare.main(arguments(folder, root, "--val_labels=labels.txt"))
    with pytest.raises(UserError, match=r"--devkit expects .*devkit_t12\.tar\.gz, found"):
        prepare.main(arguments(folder, root, "--devkit=val.tar"))
    with pytest.raises(UserError, match=r"--train_tar is ILSVRC2012_img_train\.tar"):
        archives.train_items(folder / "val.tar")
    data = (folder / "train.tar").read_bytes()
    (folder / "train.tar").write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match=r"train\.tar'"):
        prepare.main(arguments(folder, root))
    with pytest.raises(UserError, match=r"--check_archives knows .*found 'train\.tar'"):
        prepare.main([*arguments(folder, root), "--check_archives"])
    with pytest.raises(UserError, match="expected one of cifar10, imagenet2012"):
        prepare.main(["imagenet"])


def test_labels_by_file_name(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text(f"val/b.JPEG,{SYNSETS[1]}\na.JPEG {SYNSETS[0]}\n")
    assert archives.read_labels(path) == {"b.JPEG": SYNSETS[1], "a.JPEG": SYNSETS[0]}
