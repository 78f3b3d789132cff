"""Archives that mean harm, are cut off or damaged: one line, and no file outside their folder."""

import tarfile

import numpy as np
import pytest

from crnn_jax.data import imagenet_archives as archives
from crnn_jax.data.prepare import prepare_cifar10
from crnn_jax.errors import UserError
from tests.data.test_prepare import digest, write_archive
from tests.data.test_prepare_imagenet import tar_of

SYNSET = "n01440764"


@pytest.mark.parametrize(
    "name", ["../{}.tar", "/{}.tar", "a/../../{}.tar", "{}.tar/../../../home/{}.tar"]
)
def test_members_that_leave_their_folder_are_refused(tmp_path, name):
    image, name = b"image", name.replace("{}", SYNSET)
    train, val, inner = (tmp_path / f"{kind}.tar" for kind in ("train", "val", "inner"))
    train.write_bytes(tar_of({name: tar_of({"a.JPEG": image})}))
    inner.write_bytes(tar_of({f"{SYNSET}.tar": tar_of({name.replace(".tar", ".JPEG"): image})}))
    val.write_bytes(tar_of({name: image}))
    for action in (
        lambda: archives.train_items(train),
        lambda: archives.train_items(inner),
        lambda: archives.validation_items(val, {f"{SYNSET}.tar": SYNSET}),
    ):
        with pytest.raises(UserError, match=r"expected files below its folder, found '"):
            action()
    assert len(list(tmp_path.iterdir())) == 3


def test_links_are_passed_over(tmp_path):
    path = tmp_path / "val.tar"
    with tarfile.open(path, "w:") as tar:
        link = tarfile.TarInfo("a.JPEG")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    with pytest.raises(UserError, match="expected images, found none"):
        archives.validation_items(path, {"a.JPEG": SYNSET})


def test_damaged_archives_are_one_line(tmp_path):
    files = {f"{SYNSET}_{i}.JPEG": bytes([i]) * 700 for i in range(3)}
    good = tar_of({f"{SYNSET}.tar": tar_of(files)})
    path, outcomes = tmp_path / "train.tar", set()
    for number in range(400):
        random = np.random.default_rng(number)
        data = bytearray(good)
        at = int(random.integers(0, 2000))
        data[at : at + 4] = random.bytes(4)
        path.write_bytes(data if number % 2 else good[: int(random.integers(0, len(good)))])
        try:
            outcomes.add(len(archives.train_items(path)))
        except UserError:
            outcomes.add("refused")
    assert {3, "refused"} <= outcomes


@pytest.mark.parametrize("cut", [0, 10, 1000, -30])
def test_a_compressed_archive_that_is_cut_off(tmp_path, cut):
    write_archive(tmp_path / "whole.tar.gz")
    path = tmp_path / "cut.tar.gz"
    path.write_bytes((tmp_path / "whole.tar.gz").read_bytes()[:cut])
    with pytest.raises(UserError, match=r"--devkit expects"):
        archives.read_devkit(path)
    with pytest.raises(UserError, match=r"--archive expects .*, found no whole archive"):
        prepare_cifar10(tmp_path / "data", path, sha256=digest(path))
    assert not list((tmp_path / "data").glob("**/*.array_record*"))
