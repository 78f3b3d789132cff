"""Writes the shards of an ImageNet data set in parallel, and goes on after a kill."""

import collections
import concurrent.futures
import hashlib
import io
import json
import multiprocessing
import os
import pathlib
import sys
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple

from PIL import Image

from crnn_jax.data import decode
from crnn_jax.data.imagenet_archives import Item
from crnn_jax.data.tfds_metadata import SplitFacts, write_metadata
from crnn_jax.data.workers import end_with_parent
from crnn_jax.errors import CorruptImageError, UserError

NAME, VERSION = "imagenet2012", "5.1.0"
SUMMARY = "prepared.json"  # that a set is complete, and what is in it
_FACTS = ".facts.json"  # what is known of a shard, until all are there
_MARK = "plan.sha256"


class _Shard(NamedTuple):
    path: str
    items: list[Item]
    labels: list[int]


def prepare(
    root: pathlib.Path, splits: dict[str, list[Item]], workers: int, shard_mib: float
) -> None:
    """Writes ROOT/imagenet2012/5.1.0.

    The order within a split is by a hash of the file names. Shards are written by `workers`
    processes to a hidden folder beside, which is renamed when all is there.

    Raises:
      UserError: labels that the training split does not have, no room, or a part of another set.
    """
    folder = root / NAME / VERSION
    if folder.exists():
        raise UserError(f"'{folder}': expected a set made by this command, or none; remove it")
    synsets = sorted({item.synset for item in splits["train"]})
    unknown = {item.synset for item in splits["validation"]} - set(synsets)
    if unknown:
        raise UserError(f"expected the classes of the training split, found {min(unknown)} too")
    partial = folder.with_name(f".{VERSION}.partial")
    try:
        partial.mkdir(parents=True, exist_ok=True)
        plan = {
            name: _plan(partial, name, items, synsets, round(shard_mib * 2**20))
            for name, items in splits.items()
        }
        _check_same(partial, plan)
        facts = _write_all(plan, workers)
        _write_summary(partial, plan, facts, synsets)
        partial.rename(folder)
        for path in (*folder.glob(f"*-of-*{_FACTS}"), folder / _MARK):  # no more needed
            path.unlink()
    except OSError as error:
        raise UserError(
            f"cannot write '{partial}': {error.strerror or error}; give room or another --data_dir,"
            " then run the same command again to go on"
        ) from error


def _plan(
    folder: pathlib.Path, split: str, items: list[Item], synsets: list[str], shard_bytes: int
) -> list[_Shard]:
    """Returns the shards of a split: a function of the files' names, sizes and number alone."""
    label_of = {synset: label for label, synset in enumerate(synsets)}
    ordered = sorted(items, key=lambda i: hashlib.sha256(f"{split}/{i.name}".encode()).digest())
    count = min(len(ordered), -(-sum(item.size for item in ordered) // shard_bytes))
    shards = []
    for index in range(count):
        part = ordered[len(ordered) * index // count : len(ordered) * (index + 1) // count]
        path = folder / f"{NAME}-{split}.array_record-{index:05d}-of-{count:05d}"
        shards.append(_Shard(str(path), part, [label_of[item.synset] for item in part]))
    return shards


def _check_same(folder: pathlib.Path, plan: dict[str, list[_Shard]]) -> None:
    digest = hashlib.sha256()
    for shards in plan.values():
        for shard in shards:
            files = [(item.name, item.size) for item in shard.items]
            name = os.path.basename(shard.path)
            digest.update(json.dumps([name, files, shard.labels]).encode())
    mark = folder / _MARK
    if not mark.exists():
        mark.write_text(digest.hexdigest())
    elif mark.read_text() != digest.hexdigest():
        raise UserError(f"'{folder}': expected a part of this data set, found another's; remove it")


def _write_all(plan: dict[str, list[_Shard]], workers: int) -> dict[str, dict[str, Any]]:
    """Returns {shard path: its facts}; what was there and is whole is not written again."""
    from tqdm import tqdm

    shards = [shard for part in plan.values() for shard in part]
    total = sum(len(shard.items) for shard in shards)
    facts = {}
    every = 0.1 if sys.stderr.isatty() else 10.0
    # Spawned: a fork of a process that has started threads may hang.
    context = multiprocessing.get_context("spawn")
    with (
        concurrent.futures.ProcessPoolExecutor(workers, context, end_with_parent) as pool,
        tqdm(desc="writing", total=total, unit=" images", mininterval=every) as bar,
    ):
        futures = {pool.submit(write_shard, shard): shard for shard in shards}
        try:
            for future in concurrent.futures.as_completed(futures):
                shard = futures[future]
                facts[shard.path] = future.result()
                bar.update(len(shard.items))
        except BrokenProcessPool:
            raise UserError(
                "expected the writing processes to live, found one killed (out of memory?): use "
                "fewer with --workers, and run the same command again to go on"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)
    return facts


def write_shard(shard: _Shard) -> dict[str, Any]:
    """Returns {"sha256", "bytes", "labels", "broken", "converted"} of a shard, written if need be.

    Its facts are written beside it when it is whole; so what a kill leaves behind is written again,
    and what is not as it was written too.
    """
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.proto import tf_example_pb2

    path, facts_path = pathlib.Path(shard.path), pathlib.Path(f"{shard.path}{_FACTS}")
    known = _read_facts(facts_path, len(shard.items)) if path.is_file() else None
    if known is not None and known["sha256"] == _sha256(path):
        return known
    facts: dict[str, Any] = {"labels": [], "broken": [], "converted": []}
    temporary = path.with_name(f".{path.name}.tmp")
    # JPEGs do not compress, and an uncompressed record is read several times as fast.
    writer = ArrayRecordWriter(str(temporary), "group_size:1,uncompressed")
    for (item, data), label in zip(_read(shard.items), shard.labels, strict=True):
        try:
            stored = as_jpeg(data, item.name)
        except CorruptImageError as error:
            facts["broken"].append(f"{item.path}: {error}")
            continue
        if stored is not data:
            facts["converted"].append(item.name)
        example: Any = tf_example_pb2.Example()  # pyright: ignore[reportAttributeAccessIssue]
        feature = example.features.feature
        feature["file_name"].bytes_list.value.append(item.name.encode())
        feature["image"].bytes_list.value.append(stored)
        feature["label"].int64_list.value.append(label)
        writer.write(example.SerializeToString())
        facts["labels"].append(label)
    writer.close()
    facts |= {"sha256": _sha256(temporary), "bytes": temporary.stat().st_size}
    temporary.rename(path)
    temporary.write_text(json.dumps(facts))
    temporary.rename(facts_path)
    return facts


def _read_facts(path: pathlib.Path, num_items: int) -> dict[str, Any] | None:
    """Returns the facts of a shard of that many items; None where there are none, or damaged ones.

    A power cut may leave a file that is there and empty.
    """
    try:
        facts = json.loads(path.read_text())
        is_whole = (
            isinstance(facts["sha256"], str)
            and isinstance(facts["bytes"], int)
            and all(isinstance(facts[name], list) for name in ("labels", "broken", "converted"))
            and len(facts["labels"]) + len(facts["broken"]) == num_items
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        is_whole = False
    if not is_whole:
        print(f"'{path}' is damaged: writing its shard again", file=sys.stderr)
        return None
    return facts


def as_jpeg(data: bytes, name: str) -> bytes:
    """Returns `data` if it is a gray or RGB JPEG that can be decoded, else such a JPEG of it.

    TFDS does the same with one PNG and some CMYK images of the original.

    Raises:
      CorruptImageError: it cannot be decoded.
    """
    image_HWC = decode.decode_image(data, name)
    with Image.open(io.BytesIO(data)) as image:
        if image.format == "JPEG" and image.mode in ("L", "RGB"):
            return data
    file = io.BytesIO()
    Image.fromarray(image_HWC).save(file, "JPEG", quality=100, subsampling="4:4:4")
    return file.getvalue()


def _read(items: list[Item]) -> Iterator[tuple[Item, bytes]]:
    files: dict[str, Any] = {}
    try:
        for item in items:
            if item.offset == 0:
                yield item, pathlib.Path(item.path).read_bytes()
                continue
            if item.path not in files:
                files[item.path] = open(item.path, "rb")
            files[item.path].seek(item.offset)
            yield item, files[item.path].read(item.size)
    finally:
        for file in files.values():
            file.close()


def _sha256(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_summary(
    folder: pathlib.Path,
    plan: dict[str, list[_Shard]],
    facts: dict[str, dict[str, Any]],
    synsets: list[str],
) -> None:
    splits, summary, checksums = [], {"classes": len(synsets), "splits": {}}, []
    for name, shards in plan.items():
        parts = [facts[shard.path] for shard in shards]
        lengths = [len(part["labels"]) for part in parts]
        splits.append(SplitFacts(name, sum(part["bytes"] for part in parts), lengths))
        counts = collections.Counter(label for part in parts for label in part["labels"])
        summary["splits"][name] = {
            "images": counts.total(),
            "per_class": {synset: counts[label] for label, synset in enumerate(synsets)},
            "broken": sorted(line for part in parts for line in part["broken"]),
            "converted": sorted(line for part in parts for line in part["converted"]),
        }
        for shard, part in zip(shards, parts, strict=True):
            checksums.append(f"{part['sha256']}  {os.path.basename(shard.path)}\n")
    write_metadata(
        folder,
        name=NAME,
        version=VERSION,
        description="ILSVRC 2012 (Russakovsky et al. 2015), labels in the order of the synsets.",
        url="https://image-net.org/",
        class_names=synsets,
        splits=splits,
    )
    (folder / "checksums.sha256").write_text("".join(checksums))  # as `sha256sum -c` reads it
    (folder / SUMMARY).write_text(json.dumps(summary, indent=1))
