"""Makes TFDS array_record data sets without TensorFlow.

python -m crnn_jax.data.prepare cifar10 --data_dir=~/tensorflow_datasets [--archive=FILE]
python -m crnn_jax.data.prepare imagenet2012 --help

TFDS alone needs TensorFlow to download and prepare a data set.
"""

import argparse
import contextlib
import hashlib
import http.client
import io
import pathlib
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import numpy as np
from PIL import Image

from crnn_jax.data import prepare_imagenet as imagenet
from crnn_jax.data.imagenet_archives import ARCHIVE_ERRORS
from crnn_jax.data.tfds_metadata import data_dir
from crnn_jax.errors import UserError, closest, one_line_errors

CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
CIFAR10_SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
CIFAR10_VERSION = "3.0.2"
_CIFAR10_FILES = {
    "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    "test": ("test_batch.bin",),
}
_CHUNK = 1 << 20


def prepare_cifar10(
    root: pathlib.Path,
    archive: pathlib.Path | None = None,
    *,
    sha256: str = CIFAR10_SHA256,
    url: str = CIFAR10_URL,
) -> tuple[pathlib.Path, bool]:
    """Returns (ROOT/cifar10/3.0.2, whether it was made now): CIFAR-10 (Krizhevsky, 2009).

    Pixels, labels, ids and the order of the records are TFDS's own. The folder appears at once and
    complete, or not at all.

    Args:
      root: TFDS's data_dir.
      archive: cifar-10-binary.tar.gz; by default it is downloaded, and removed when done.
      sha256: the archive's, hexadecimal.
      url: where the archive is downloaded from.

    Raises:
      UserError: no such archive, another sha256, no connection, or a folder that cannot be written.
    """
    folder = root / "cifar10" / CIFAR10_VERSION
    if (folder / "dataset_info.json").is_file():
        return folder, False
    if folder.exists():
        raise UserError(
            f"'{folder}': expected a complete data set or none, found a part; remove it"
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
        path = archive or download(url, root / "downloads" / url.rsplit("/", 1)[-1])
        found = _sha256(path)
        if found != sha256:
            if archive is None:
                path.unlink()  # so that the next try starts afresh
            raise UserError(
                f"'{path}': expected sha256 {sha256}, found {found}; get it again from {url}"
            )
        # Below ROOT, so that the last step is a rename within one file system.
        with tempfile.TemporaryDirectory(prefix=".prepare-", dir=root) as temporary:
            made = _write_cifar10(path, pathlib.Path(temporary))
            folder.parent.mkdir(exist_ok=True)
            try:
                made.rename(folder)
            except OSError:
                if not (folder / "dataset_info.json").is_file():  # not made by another process
                    raise
    except OSError as error:
        raise UserError(
            f"cannot prepare cifar10 in '{root}': {error.strerror or error}"
            f"{f' ({error.filename})' if error.filename else ''}; change --data_dir or --archive"
        ) from error
    except ARCHIVE_ERRORS as error:
        raise UserError(f"--archive expects {url}, found no whole archive: {error}") from error
    if archive is None:
        path.unlink(missing_ok=True)
    return folder, True


# What can be prepared: name -> function of (root, archive).
PREPARE: dict[str, Callable[..., tuple[pathlib.Path, bool]]] = {"cifar10": prepare_cifar10}
NAMES = (*PREPARE, imagenet.NAME)


def download(url: str, path: pathlib.Path) -> pathlib.Path:
    """Returns `path`, where `url` now lies; a download that was cut off is continued.

    Raises:
      UserError: no connection, or it broke; what has arrived is kept in PATH.part.
    """
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    try:
        _download_rest(url, part)
    except (
        urllib.error.URLError,
        http.client.HTTPException,
        TimeoutError,
        ConnectionError,
    ) as error:
        reason = getattr(error, "reason", None) or error
        raise UserError(
            f"expected {url}, found no way to it ({reason}); run the same command again to "
            "continue, or download it by other means and pass --archive=FILE"
        ) from error
    part.rename(path)
    return path


def _download_rest(url: str, part: pathlib.Path) -> None:
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # the part is no beginning of this file
            raise
        part.unlink()
        return _download_rest(url, part)
    with response:
        resumed = getattr(response, "status", None) == 206
        start = have if resumed else 0  # a server may ignore Range and send the whole
        length = response.headers.get("Content-Length")
        end = start + int(length) if length else None
        with (
            open(part, "ab" if resumed else "wb") as file,
            _progress(f"downloading {url}", end, unit="B", initial=start) as bar,
        ):
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
            size = file.tell()
    if end is not None and size != end:
        raise ConnectionError(f"it ended after {size} of {end} bytes")


def _sha256(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _progress(what: str, total: int | None, **options: Any) -> Any:
    from tqdm import tqdm

    # Where nobody watches, a line now and then is enough.
    every = 0.1 if sys.stderr.isatty() else 10.0
    scale = options.get("unit") == "B"
    return tqdm(desc=what, total=total, mininterval=every, unit_scale=scale, **options)


def _write_cifar10(archive: pathlib.Path, root: pathlib.Path) -> pathlib.Path:
    """Returns ROOT/cifar10/VERSION, which TFDS writes without TensorFlow, being given PNG bytes."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import registered

    with tarfile.open(archive) as tar:
        class_names = _member(tar, "batches.meta.txt").decode().split()

        # Not registered, since TFDS has a data set of this name, which needs TensorFlow.
        with registered.skip_registration():

            class Cifar10(tfds.core.GeneratorBasedBuilder):
                VERSION = tfds.core.Version(CIFAR10_VERSION)

                def _info(self) -> Any:
                    return tfds.core.DatasetInfo(
                        builder=self,
                        description="60,000 32x32 colour images in 10 classes (Krizhevsky, 2009).",
                        features=tfds.features.FeaturesDict(
                            {
                                "id": tfds.features.Text(),
                                "image": tfds.features.Image(shape=(32, 32, 3)),
                                "label": tfds.features.ClassLabel(names=class_names),
                            }
                        ),
                        supervised_keys=("image", "label"),
                        homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
                    )

                def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
                    return {name: self._generate_examples(name) for name in _CIFAR10_FILES}

                def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
                    return _examples(tar, split, len(class_names))

        tfds.disable_progress_bar()
        builder = Cifar10(data_dir=root, file_format="array_record")
        skip = tfds.download.ComputeStatsMode.SKIP  # statistics need TensorFlow
        with contextlib.redirect_stdout(io.StringIO()):  # it would name the temporary folder
            builder.download_and_prepare(
                download_dir=root, download_config=tfds.download.DownloadConfig(compute_stats=skip)
            )
    return root / "cifar10" / CIFAR10_VERSION


def _examples(
    tar: tarfile.TarFile, split: str, num_classes: int
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields (key, example); TFDS orders the records by a hash of the key, which is the index."""
    index = 0
    bar = _progress(f"writing {split}", None, unit=" images")
    for name in _CIFAR10_FILES[split]:
        data = np.frombuffer(_member(tar, name), np.uint8)
        if data.size == 0 or data.size % 3073 or data[::3073].max() >= num_classes:
            raise UserError(f"'{name}': expected records of a label and 3072 pixels, found others")
        for record in data.reshape(-1, 3073):
            png = io.BytesIO()
            image_HWC = record[1:].reshape(3, 32, 32).transpose(1, 2, 0)
            Image.fromarray(np.ascontiguousarray(image_HWC)).save(png, "PNG")
            png.seek(0)  # TFDS reads on from where the file stands
            yield index, {"id": f"{split}_{index:05d}", "image": png, "label": int(record[0])}
            bar.update()
            index += 1
    bar.close()


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    try:
        file = tar.extractfile(f"cifar-10-batches-bin/{name}")
    except KeyError:
        file = None
    if file is None:
        raise UserError(f"'{tar.name}': expected a file '{name}' in the archive, found none")
    return file.read()


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see `python -m crnn_jax.data.prepare --help`")


def main(argv: Sequence[str] | None = None) -> None:
    """Prepares the data set that the command line names."""
    parser = _Parser(
        prog="python -m crnn_jax.data.prepare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("name", help=f"the data set: {', '.join(NAMES)}")
    parser.add_argument(
        "--data_dir", default="", help="default: $TFDS_DATA_DIR, else ~/tensorflow_datasets"
    )
    parser.add_argument("--archive", help="the official archive, where it is already downloaded")
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv[:1] == [imagenet.NAME]:  # it needs other arguments
        return imagenet.main(argv[1:])
    flags = parser.parse_args(argv)
    if flags.name not in PREPARE:
        hint = closest(flags.name, NAMES)
        raise UserError(f"expected one of {', '.join(NAMES)}, found '{flags.name}'{hint}")
    archive = pathlib.Path(flags.archive).expanduser() if flags.archive else None
    folder, made = PREPARE[flags.name](data_dir(flags.data_dir), archive)
    print(f"{flags.name}: {'prepared' if made else 'already there'} in {folder}", file=sys.stderr)


if __name__ == "__main__":
    with one_line_errors():
        main()
