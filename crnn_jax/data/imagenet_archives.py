"""Where each ImageNet image lies in the official archives or folders, and which class it has."""

import hashlib
import io
import pathlib
import re
import tarfile
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from crnn_jax.data.decode import is_image_name
from crnn_jax.errors import UserError

# What is raised of a file that is no archive, is damaged, or cut off.
ARCHIVE_ERRORS = (OSError, EOFError, zlib.error, tarfile.TarError)
_SYNSET = re.compile(r"n\d{8}")
MD5 = {  # as published with the archives
    "ILSVRC2012_img_train.tar": "1d675b47d978889d74fa0da5fadfb00e",
    "ILSVRC2012_img_val.tar": "29b22e2961454d5413ddabcf34fc5622",
    "ILSVRC2012_devkit_t12.tar.gz": "fa75699e90414af021442c21a62c3abf",
}


class Item(NamedTuple):
    """One stored image: `size` bytes from `offset` on in the file `path`."""

    name: str
    synset: str
    path: str
    offset: int
    size: int


def train_items(train_tar: pathlib.Path) -> list[Item]:
    """Returns the images of ILSVRC2012_img_train.tar, an archive of one archive for each synset.

    Only headers are read.

    Raises:
      UserError: another archive, or one that is cut off.
    """
    items: list[Item] = []
    with _open_tar(train_tar) as outer:
        for member in _members(outer, train_tar):
            synset = pathlib.PurePath(member.name).stem
            inner_file = outer.extractfile(member)
            if not _SYNSET.fullmatch(synset) or inner_file is None:
                raise UserError(
                    f"'{train_tar}': expected archives such as n01440764.tar in it, found "
                    f"'{member.name}'; --train_tar is ILSVRC2012_img_train.tar"
                )
            try:
                with tarfile.open(fileobj=inner_file, mode="r:") as inner:
                    items += [
                        Item(
                            pathlib.PurePath(image.name).name,
                            synset,
                            str(train_tar),
                            member.offset_data + image.offset_data,
                            image.size,
                        )
                        for image in _members(inner, train_tar)
                    ]
            except ARCHIVE_ERRORS as error:
                raise UserError(f"'{train_tar}': '{member.name}' is no archive ({error})") from None
    return _checked(items, train_tar)


def validation_items(val_tar: pathlib.Path, synset_of: dict[str, str] | list[str]) -> list[Item]:
    """Returns the images of ILSVRC2012_img_val.tar.

    Args:
      val_tar: the archive, which knows no classes.
      synset_of: synset of each file name, or synsets in the order of the sorted file names.

    Raises:
      UserError: another archive, or labels of other files.
    """
    with _open_tar(val_tar) as tar:
        found = [
            (pathlib.PurePath(member.name).name, member.offset_data, member.size)
            for member in _members(tar, val_tar)
        ]
    label = _labels(sorted(name for name, _, _ in found), synset_of, val_tar)
    items = [Item(name, label[name], str(val_tar), *place) for name, *place in found]
    return _checked(items, val_tar)


def folder_items(folder: pathlib.Path, synset_of: dict[str, str] | list[str] | None) -> list[Item]:
    """Returns the images of FOLDER/SYNSET/*.JPEG, or of FOLDER/*.JPEG given their labels.

    Raises:
      UserError: no such folder, no images, or images without labels.
    """
    if not folder.is_dir():
        raise UserError(f"--folder expects a folder with train and val, found no '{folder}'")
    paths = sorted(p for p in folder.glob("*/*") if _SYNSET.fullmatch(p.parent.name))
    label = {str(path): path.parent.name for path in paths}
    if not paths:
        paths = sorted(path for path in folder.glob("*") if is_image_name(path.name))
        if paths and synset_of is None:
            raise UserError(
                f"'{folder}': expected folders named after synsets such as n01440764, found images "
                "alone: pass --val_labels or --devkit"
            )
        by_name = _labels([path.name for path in paths], synset_of or [], folder)
        label = {str(path): by_name[path.name] for path in paths}
    items = [
        Item(path.name, label[str(path)], str(path.absolute()), 0, path.stat().st_size)
        for path in paths
        if is_image_name(path.name)
    ]
    return _checked(items, folder)


def read_labels(path: pathlib.Path) -> dict[str, str] | list[str]:
    """Returns the synsets of a text file: SYNSET a line, or FILE SYNSET a line.

    Raises:
      UserError: no such file, or other lines.
    """
    try:
        lines = [line.replace(",", " ").split() for line in path.read_text().splitlines() if line]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--val_labels expects a text file, found '{path}': {error}") from None
    widths = {len(line) for line in lines}
    if widths not in ({1}, {2}) or not all(_SYNSET.fullmatch(line[-1]) for line in lines):
        raise UserError(
            f"'{path}': expected a synset such as n01440764 a line, or FILE SYNSET a line, found "
            f"'{' '.join(lines[0]) if lines else ''}' first"
        )
    if widths == {1}:
        return [line[0] for line in lines]
    return {pathlib.PurePath(name).name: synset for name, synset in lines}


def read_devkit(path: pathlib.Path) -> list[str]:
    """Returns the validation synsets of ILSVRC2012_devkit_t12.tar.gz, by sorted file name.

    It holds a number for each image, and a table from numbers to synsets for MATLAB.

    Raises:
      UserError: another archive.
    """
    import scipy.io

    try:
        with tarfile.open(path) as tar:
            files = {pathlib.PurePath(member.name).name: member for member in tar}
            meta, truth = (
                _extract(tar, files[name])
                for name in ("meta.mat", "ILSVRC2012_validation_ground_truth.txt")
            )
        table: Any = scipy.io.loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]
        synset_of = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in table}
        return [synset_of[int(line)] for line in truth.split()]
    except (*ARCHIVE_ERRORS, KeyError, ValueError, TypeError, IndexError) as error:
        raise UserError(
            f"--devkit expects ILSVRC2012_devkit_t12.tar.gz, found '{path}': {error!r}"
        ) from None


def check_md5(path: pathlib.Path) -> None:
    """Checks that a file is the published one of its name.

    Raises:
      UserError: it is not, or no checksum of such a name is known.
    """
    expected = MD5.get(path.name)
    if expected is None:
        raise UserError(f"--check_archives knows {', '.join(MD5)}, found '{path.name}'")
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != expected:
        raise UserError(f"'{path}': expected md5 {expected}, found {found}; get it again")


def _open_tar(path: pathlib.Path) -> tarfile.TarFile:
    try:
        return tarfile.open(path, "r:")  # offsets mean nothing in a compressed one
    except ARCHIVE_ERRORS as error:
        raise UserError(f"expected an uncompressed archive, found '{path}': {error}") from None


def _members(tar: tarfile.TarFile, path: pathlib.Path) -> Iterator[tarfile.TarInfo]:
    try:
        for member in tar:
            # Nothing is extracted: who writes such a name means harm.
            if member.name.startswith("/") or ".." in pathlib.PurePosixPath(member.name).parts:
                raise UserError(
                    f"'{path}': expected files below its folder, found '{member.name}': get another"
                )
            if member.isfile():
                yield member
    except ARCHIVE_ERRORS as error:
        raise UserError(f"'{path}': expected a whole archive, found: {error}") from None


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    if file is None:
        raise KeyError(member.name)
    return file.read()


def _labels(
    names: list[str], synset_of: dict[str, str] | list[str], path: pathlib.Path
) -> dict[str, str]:
    if isinstance(synset_of, list):
        if len(synset_of) != len(names):
            raise UserError(
                f"'{path}': expected a label for each of {len(names):,} images, found "
                f"{len(synset_of):,}"
            )
        return dict(zip(names, synset_of, strict=True))
    for name in names:
        if name not in synset_of:
            raise UserError(f"'{path}': expected a label for '{name}', found none")
    return synset_of


def _checked(items: list[Item], path: pathlib.Path) -> list[Item]:
    if not items:
        raise UserError(f"'{path}': expected images, found none")
    names = {item.name for item in items}
    if len(names) < len(items):
        raise UserError(f"'{path}': expected files of different names, found some twice")
    last = max(items, key=lambda item: item.offset)
    if last.offset + last.size > pathlib.Path(last.path).stat().st_size:
        raise UserError(f"'{path}': expected a whole archive, found it cut off")
    return items
