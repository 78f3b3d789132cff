"""Images/s of ImageNet's input, by stage, against a PyTorch DataLoader and plain TFDS with Grain.

    pip install -e ".[bench]"
    TFDS_DATA_DIR=... python benchmarks/input_imagenet.py [--repeats 5] [--write]

The images are those of tfds:imagenet2012, whichever are there, written to a temporary folder both
as files and as crnn_jax.data.prepare writes them. All do the same: read, random-resized crop to
224, uint8 batches of 64. The DataLoader's Dataset decodes and resizes by Pillow as torchvision
does, and reads the files; plain Grain maps the same over tfds.data_source, which decodes whole
images; ours also copies to the device. First on one core, interleaved; then with one and two
worker processes on all cores, after warm-up. --write appends a JSON line to
results/benchmarks/input_imagenet.jsonl.
"""

import argparse
import io
import itertools
import os
import pathlib
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import grain
import jax
import jpegs
import numpy as np
import psutil  # comes with orbax-checkpoint
import tensorflow_datasets as tfds
import torch  # pyright: ignore[reportMissingImports]
from PIL import Image
from timing import append, interleave, spread

from crnn_jax import mesh as mesh_lib
from crnn_jax.config import default_config
from crnn_jax.data import jpeg, reading, tf_example
from crnn_jax.data.fields import Field
from crnn_jax.data.imagenet_archives import Item
from crnn_jax.data.imagenet_shards import NAME, VERSION, prepare
from crnn_jax.data.sources import load_source
from crnn_jax.data.splits import Split
from crnn_jax.data.streaming import StreamingPipeline
from crnn_jax.data.tfds_metadata import data_dir
from crnn_jax.huge_pages import restart_with_huge_pages

BATCH, SIZE = 64, jpegs.SIZE


def pillow_crop(image: Image.Image) -> np.ndarray:
    """Returns a random-resized crop, uint8: RandomResizedCrop(224) as torchvision's, by Pillow."""
    box = jpegs.CROP.box(0, random.getrandbits(31), image.height, image.width)
    top, left, height, width = box
    part = image.crop((left, top, left + width, top + height))
    return np.asarray(part.resize((SIZE, SIZE), Image.Resampling.BILINEAR))


class Files(torch.utils.data.Dataset):
    """Image files, decoded and cropped by Pillow."""

    def __init__(self, paths: list[str]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        with open(self.paths[index], "rb") as file:
            image = Image.open(file).convert("RGB")
        return torch.from_numpy(pillow_crop(image).copy()), index


class PlainCrop(grain.transforms.Map):
    """Crops the decoded image of a TFDS example by Pillow."""

    def map(self, element: Any) -> dict[str, Any]:
        """Returns {"image", "label"}."""
        image_HWC = element["image"]
        return {"image": pillow_crop(Image.fromarray(image_HWC)), "label": element["label"]}


def torch_batches(paths: list[str], workers: int) -> Iterator[Any]:
    """Returns the DataLoader's endless batches."""
    sampler = torch.utils.data.RandomSampler(range(len(paths)), True, num_samples=10**9)
    loader = torch.utils.data.DataLoader(
        Files(paths), BATCH, sampler=sampler, num_workers=workers,
        multiprocessing_context="fork" if workers else None,
    )  # fmt: skip
    return iter(loader)


def grain_batches(folder: pathlib.Path) -> Iterator[Any]:
    """Returns endless batches of a plain TFDS source through Grain."""
    builder: Any = tfds.builder_from_directory(folder)
    dataset: Any = grain.MapDataset.source(builder.as_data_source("train"))
    dataset = dataset.shuffle(seed=0).repeat().map(PlainCrop()).batch(BATCH)
    # Few are read ahead: what is read before the clock starts is not counted.
    options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=2)
    return iter(dataset.to_iter_dataset(options))


def our_batches(split: Split, workers: int) -> Iterator[Any]:
    """Returns our endless batches, on the device."""
    pipeline = StreamingPipeline(
        split, batch_size=BATCH, seed=0, mesh=mesh_lib.make_mesh(), skip_corrupt=False,
        num_workers=workers, view=jpegs.CROP,
    )  # fmt: skip
    return pipeline.train_inputs(0)


def rate(batches: Iterator[Any], warm: int, count: int) -> float:
    """Returns the seconds an image over `count` batches, after `warm`, without a pause between.

    What is prefetched is gone by then: the reader waits for every batch. Then the reading ends,
    since it would go on beside whatever is timed next.
    """
    start = 0.0
    for number, batch in enumerate(itertools.islice(batches, warm + count)):
        if isinstance(batch, dict):
            jax.block_until_ready(batch)
        if number == warm - 1:
            start = time.perf_counter()
    seconds = time.perf_counter() - start
    close = getattr(batches, "close", None)  # PyTorch's has none, and stops when it is deleted
    if close is not None:
        close()
    return seconds / (count * BATCH)


def over(first: list[float], second: list[float]) -> list[float]:
    """Returns [min, median, max] of the ratios of each round: the machine's speed drifts."""
    return spread([a / b for a, b in zip(first, second, strict=True)])


def cpu_milliseconds(batches: Iterator[Any], warm: int, count: int) -> dict[str, float]:
    """Returns {"process", "workers"}: CPU milliseconds of an image here and in child processes."""

    def spent(processes: list[psutil.Process]) -> float:
        return sum(sum(process.cpu_times()[:2]) for process in processes)

    for _ in range(warm):
        jax.block_until_ready(next(batches))
    own = psutil.Process()
    groups = {"process": [own], "workers": own.children(recursive=True)}
    before = {name: spent(group) for name, group in groups.items()}
    for _ in range(count):
        jax.block_until_ready(next(batches))
    return {
        name: 1e3 * (spent(group) - before[name]) / (count * BATCH)
        for name, group in groups.items()
    }


def stages(source: Split, images: list[bytes]) -> dict[str, Callable[[], Any]]:
    """Returns a program for each part of what a batch needs, over all images."""
    reader: Any = source.read
    records = reader.records
    every = list(range(len(records)))
    serialized = records.__getitems__(every)
    frames = [jpeg._usual_frame(data) for data in images]
    work: list[Any] = []
    for number, (data, frame) in enumerate(zip(images, frames, strict=True)):
        if frame is not None:  # else Pillow's: none of these images
            box = jpegs.CROP.box(0, number, frame.height, frame.width)
            scale = next((n for n in (8, 4, 2) if min(box.height, box.width) >= n * SIZE), 1)
            work.append((data, frame, box, scale, 3))
    decoded = [(np.array(jpeg._decode_jpeg(*item)), *item[2:4]) for item in work]
    sharding = mesh_lib.batch_sharding(mesh_lib.make_mesh())
    row_HWC = np.zeros((SIZE, SIZE, 3), np.uint8)

    def resize() -> None:
        for image_HWC, box, scale in decoded:
            jpeg._resized(image_HWC, box, scale, row_HWC.shape, row_HWC)

    def transfer() -> None:
        for _ in range(len(images) // BATCH):
            batch_BHWC = reading.aligned(BATCH, Field(row_HWC.shape, np.uint8, "pixels"))
            jax.block_until_ready(mesh_lib.place(batch_BHWC, sharding))

    return {
        "read": lambda: records.__getitems__(every),
        "parse": lambda: [
            tf_example.image_and_label(r, "image", "label") for r in serialized
        ],
        "header and box": lambda: [
            jpegs.CROP.box(0, 1, frame.height, frame.width)
            for frame in map(jpeg._usual_frame, images) if frame
        ],
        "decode": lambda: [jpeg._decode_jpeg(*item) for item in work],
        "resize": resize,
        "transfer": transfer,
        "decoder alone, whole images": lambda: [
            jpeg.simplejpeg.decode_jpeg(data, "RGB") for data in images
        ],
        "Pillow, whole images": lambda: [
            Image.open(io.BytesIO(data)).convert("RGB") for data in images
        ],
    }  # fmt: skip


def prepared_split(folder: pathlib.Path, images: list[bytes]) -> tuple[Split, list[str]]:
    """Returns the images as crnn_jax.data.prepare writes them, and their files."""
    paths = []
    for number, data in enumerate(images):
        paths.append(str(folder / f"{number}.jpg"))
        pathlib.Path(paths[-1]).write_bytes(data)
    items = [
        Item(os.path.basename(path), f"n{number % 8:08d}", path, 0, len(data))
        for number, (path, data) in enumerate(zip(paths, images, strict=True))
    ]
    prepare(folder, {"train": items, "validation": items[:1]}, 1, 128.0)
    config = default_config("crnn").data
    config.update(source=f"tfds:{NAME}", dir=str(folder), image_size=SIZE)
    return load_source(config, 0).train, paths


def main() -> None:
    """Times all and prints rates, ratios and the table by stage."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batches", type=int, default=20, help="a measurement, twice with workers")
    parser.add_argument("--write", action="store_true", help="append to results/benchmarks")
    flags = parser.parse_args()
    cores = os.sched_getaffinity(0)
    torch.set_num_threads(1)
    images = jpegs.files(jpegs.load())
    with tempfile.TemporaryDirectory() as temporary:
        split, paths = prepared_split(pathlib.Path(temporary), images)
        os.sched_setaffinity(0, {min(cores)})
        tfds_folder = data_dir("") / NAME / VERSION
        makes: dict[str, Callable[[int], Iterator[Any]]] = {
            "ours": lambda workers: our_batches(split, workers),
            "torch": lambda workers: torch_batches(paths, workers),
            "tfds and grain": lambda workers: grain_batches(tfds_folder),
        }
        parts = stages(split, images)
        times: dict[str, list[float]] = {name: [] for name in [*makes, *parts]}
        for _ in range(flags.repeats):
            for name in reversed(makes):  # ours last: next to its parts and the decoder
                times[name].append(rate(makes[name](0), 4, flags.batches))
            for name, seconds in interleave(parts, 1).items():
                times[name].append(seconds[0] / len(images))
        os.sched_setaffinity(0, cores)
        with_workers: dict[tuple[str, int], list[float]] = {}
        for _, name, number in itertools.product(range(flags.repeats), ("ours", "torch"), (1, 2)):
            seconds = rate(makes[name](number), 16, 2 * flags.batches)
            with_workers.setdefault((name, number), []).append(seconds)
        batches = our_batches(split, 2)
        cpu = cpu_milliseconds(batches, 16, 2 * flags.batches)
        batches.close()  # pyright: ignore[reportAttributeAccessIssue]
        workers = {
            name: {str(n): spread([1 / s for s in with_workers[name, n]]) for n in (1, 2)}
            for name in ("ours", "torch")
        }
    milliseconds = {name: [1e3 * s for s in spread(values)] for name, values in times.items()}
    for name, (low, median, high) in milliseconds.items():
        print(f"{name:28} {low:.3f}/{median:.3f}/{high:.3f} ms  {1e3 / median:,.0f} images/s")
    ratios = {
        "to_torch": over(times["torch"], times["ours"]),
        "to_tfds_and_grain": over(times["tfds and grain"], times["ours"]),
        "to_decoder": over(times["decoder alone, whole images"], times["ours"]),
        "two_workers_to_one": over(with_workers["ours", 1], with_workers["ours", 2]),
    }
    print(ratios, workers, cpu)
    if flags.write:
        more = {"images": len(images), "batch": BATCH, "repeats": flags.repeats,
                "torch_version": torch.__version__}  # fmt: skip
        unit = "ms an image on one core, images/s with workers, [min, median, max]"
        append(
            "input_imagenet",
            {"dataset": NAME, **more, "unit": unit, "one_core": milliseconds,
             "workers": workers, "cpu_of_two_workers": cpu, "cores": len(cores), "ratios": ratios},
        )  # fmt: skip


if __name__ == "__main__":
    restart_with_huge_pages()  # as crnn_jax.main does
    main()
