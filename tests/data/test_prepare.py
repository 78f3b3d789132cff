import copy
import functools
import hashlib
import http.server
import io
import os
import pathlib
import subprocess
import sys
import tarfile
import threading
from typing import Any

import numpy as np
import pytest

from crnn_jax.config import default_config
from crnn_jax.data import prepare
from crnn_jax.data.prepare import download, main, prepare_cifar10
from crnn_jax.data.sources import load_source
from crnn_jax.errors import UserError

CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()
FILES = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]


def write_archive(path, per_file=4, leave_out="", cut=0):
    """Writes the official layout with random pixels; returns {split: (image_NHWC, label_N)}."""
    rng = np.random.default_rng(0)
    batches = []
    with tarfile.open(path, "w:gz") as tar:

        def add(name, data):
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(data)
            if name != leave_out:
                tar.addfile(member, io.BytesIO(data))

        add("batches.meta.txt", ("\n".join(CLASSES) + "\n\n").encode())
        for name in FILES:
            label_N = rng.integers(0, 10, per_file, np.uint8)
            image_NCHW = rng.integers(0, 256, (per_file, 3, 32, 32), np.uint8)
            data = np.concatenate([label_N[:, None], image_NCHW.reshape(per_file, -1)], 1).tobytes()
            add(name, data[: len(data) - cut])
            batches.append((image_NCHW.transpose(0, 2, 3, 1), label_N))
    image_NHWC, label_N = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
    train = 5 * per_file
    return {
        "train": (image_NHWC[:train], label_N[:train]),
        "test": (image_NHWC[train:], label_N[train:]),
    }


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """(root, archive, what is in it)."""
    root = tmp_path_factory.mktemp("prepare")
    archive = root / "cifar.tar.gz"
    expected = write_archive(archive)
    folder, made = prepare_cifar10(root / "data", archive, sha256=digest(archive))
    assert made
    assert folder == root / "data/cifar10/3.0.2"
    return root / "data", archive, expected


def test_tfds_reads_back_ids_labels_and_pixels(prepared):
    import tensorflow_datasets as tfds

    root, _, expected = prepared
    builder: Any = tfds.builder_from_directory(root / "cifar10/3.0.2")
    assert builder.info.features["label"].names == CLASSES
    assert builder.info.supervised_keys == ("image", "label")
    for split, (image_NHWC, label_N) in expected.items():
        records = list(builder.as_data_source(split))
        ids = [record["id"].decode() for record in records]
        assert sorted(ids) == [f"{split}_{i:05d}" for i in range(len(label_N))]
        for record, name in zip(records, ids, strict=True):
            i = int(name.removeprefix(f"{split}_"))
            np.testing.assert_array_equal(record["image"], image_NHWC[i])
            assert record["label"] == label_N[i]


def test_records_have_the_order_of_tfds(prepared):
    # TFDS orders by a hash of the index, salted with the split's name, so that index i is the same
    # image wherever it was prepared.
    root, _, expected = prepared
    config = copy.deepcopy(default_config("crnn").data)
    config.source, config.dir = "tfds:cifar10", str(root)
    source = load_source(config, 0)
    assert source.input_shape == (32, 32, 3)
    assert source.class_names == tuple(CLASSES)
    image_NHWC, label_N = expected["train"]
    order = [
        next(i for i in range(20) if (image_NHWC[i] == source.train.read(k)["image"]).all())
        for k in range(20)
    ]
    assert [source.train.read(k)["label"] for k in range(20)] == label_N[order].tolist()
    # How images 0 to 19 follow each other in the real data set.
    assert order == [6, 16, 19, 12, 14, 18, 5, 13, 15, 4, 10, 17, 0, 8, 3, 1, 9, 7, 11, 2]
    assert len(source.test) == 4


def test_second_time_does_nothing(prepared, capsys):
    root, archive, _ = prepared
    file = root / "cifar10/3.0.2/dataset_info.json"
    before = file.stat()
    assert prepare_cifar10(root, archive, sha256="wrong") == (file.parent, False)
    main(["cifar10", f"--data_dir={root}"])
    assert f"already there in {file.parent}" in capsys.readouterr().err
    assert file.stat() == before
    assert sorted(path.name for path in root.iterdir()) == ["cifar10"]  # nothing temporary is left


def test_other_sha256(prepared, tmp_path):
    archive = prepared[1]
    with pytest.raises(UserError) as caught:
        prepare_cifar10(tmp_path, archive)
    message = str(caught.value)
    assert prepare.CIFAR10_SHA256 in message
    assert digest(archive) in message
    assert archive.exists()
    assert not (tmp_path / "cifar10/3.0.2").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"leave_out": "data_batch_3.bin"}, "expected a file 'data_batch_3.bin'"),
        ({"leave_out": "batches.meta.txt"}, "expected a file 'batches.meta.txt'"),
        ({"cut": 1}, "'data_batch_1.bin': expected records"),
    ],
)
def test_bad_archive_leaves_nothing(tmp_path, change, message):
    archive = tmp_path / "bad.tar.gz"
    write_archive(archive, per_file=1, **change)
    with pytest.raises(UserError, match=message):
        prepare_cifar10(tmp_path / "data", archive, sha256=digest(archive))
    assert not any(path.is_file() for path in (tmp_path / "data").rglob("*"))
    assert not (tmp_path / "data/cifar10/3.0.2").exists()


def test_interrupted_writing_leaves_nothing(prepared, tmp_path, monkeypatch, capsys):
    archive = prepared[1]
    examples = prepare._examples

    def interrupted(tar, split, num_classes):
        yield next(examples(tar, split, num_classes))
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare, "_examples", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare_cifar10(tmp_path, archive, sha256=digest(archive))
    assert not any(path.is_file() for path in tmp_path.rglob("*"))
    monkeypatch.setattr(prepare, "_examples", examples)
    assert prepare_cifar10(tmp_path, archive, sha256=digest(archive))[1]
    assert capsys.readouterr().out == ""  # TFDS would name its temporary folder there


def test_part_of_a_folder_is_not_taken_for_done(prepared, tmp_path):
    (tmp_path / "cifar10/3.0.2").mkdir(parents=True)
    with pytest.raises(UserError, match=r"cifar10/3\.0\.2': expected a complete data set"):
        prepare_cifar10(tmp_path, prepared[1])


def test_missing_archive_and_unwritable_folder(prepared, tmp_path):
    with pytest.raises(UserError, match=r"absent\.tar\.gz.*--archive"):
        prepare_cifar10(tmp_path, tmp_path / "absent.tar.gz")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot prepare cifar10 in '.*file'"):
        prepare_cifar10(tmp_path / "file", prepared[1])


class Server(http.server.BaseHTTPRequestHandler):
    """Serves `content`, at most `limit` bytes of it at a time."""

    def __init__(self, state, *args):
        self.state = state
        super().__init__(*args)

    def do_GET(self):
        content, limit = self.state["content"], self.state["limit"]
        asked = self.headers.get("Range")
        self.state["asked"].append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if not self.state["ranges"]:
            start = 0
        elif start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : start + limit])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    state = {"content": os.urandom(5000), "limit": 2000, "ranges": True, "asked": []}
    httpd = http.server.HTTPServer(("127.0.0.1", 0), functools.partial(Server, state))
    threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True).start()
    state["url"] = f"http://127.0.0.1:{httpd.server_port}/cifar-10-binary.tar.gz"
    yield state
    httpd.shutdown()
    httpd.server_close()


def test_download_resumes(server, tmp_path):
    path = tmp_path / "downloads/a.tar.gz"
    for _ in range(2):
        with pytest.raises(UserError, match=r"run the same command again.*--archive=FILE"):
            download(server["url"], path)
        assert not path.exists()
    assert download(server["url"], path) == path
    assert path.read_bytes() == server["content"]
    assert server["asked"] == [None, "bytes=2000-", "bytes=4000-"]
    assert list(path.parent.iterdir()) == [path]
    download(server["url"], path)
    assert len(server["asked"]) == 3


def test_download_starts_again_where_it_cannot_resume(server, tmp_path):
    server["limit"] = 10_000
    path = tmp_path / "a.tar.gz"
    for ranges, have in ((False, 10), (True, 6000)):  # no ranges; a part longer than the file
        server["ranges"] = ranges
        (tmp_path / "a.tar.gz.part").write_bytes(bytes(have))
        assert download(server["url"], path).read_bytes() == server["content"]
        path.unlink()


def test_download_without_a_connection(tmp_path):
    with pytest.raises(UserError, match=r"expected http://127.0.0.1:9/x, found no way to it"):
        prepare_cifar10(tmp_path, url="http://127.0.0.1:9/x")
    assert not (tmp_path / "cifar10").exists()  # nothing that looks like a data set


def test_downloaded_archive_is_checked_and_then_removed(server, prepared, tmp_path):
    server["limit"] = 10**7
    with pytest.raises(UserError, match="expected sha256"):
        prepare_cifar10(tmp_path, url=server["url"])
    server["content"] = prepared[1].read_bytes()  # the next try starts afresh
    folder, made = prepare_cifar10(tmp_path, url=server["url"], sha256=digest(prepared[1]))
    assert made
    assert (folder / "label.labels.txt").read_text().split() == CLASSES
    assert list((tmp_path / "downloads").iterdir()) == []


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "the following arguments are required: name"),
        (["cifar"], "expected one of cifar10, imagenet2012, found 'cifar' .did you mean 'cifar10'"),
        (["cifar10", "--datadir=x"], "unrecognized arguments: --datadir=x"),
    ],
)
def test_command_line_mistakes(argv, message):
    with pytest.raises(UserError, match=message):
        main(argv)


def test_command_line_ends_with_one_line(tmp_path):
    command = [sys.executable, "-m", "crnn_jax.data.prepare", "cifar10", f"--data_dir={tmp_path}/d"]
    root = pathlib.Path(prepare.__file__).parents[2]
    run = subprocess.run(
        [*command, "--archive=absent"], capture_output=True, text=True, cwd=root, check=False
    )
    assert run.returncode == 2
    assert run.stderr.count("\n") == 1
    assert run.stderr.startswith("error: cannot prepare cifar10")
    assert run.stdout == ""
