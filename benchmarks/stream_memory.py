"""The host's memory while images are streamed: it must not grow.

    TFDS_DATA_DIR=... python benchmarks/stream_memory.py [--images 20000] [--workers 1] [--write]

Streams random-resized crops at 224 pixels of tfds:imagenet2012, epoch after epoch, and reads the
memory that the process and its workers have allocated, at ten places. The change counts from
the second place, when all buffers are filled, to the last. --write appends a JSON line to
results/benchmarks/stream_memory.jsonl.
"""

import argparse
import contextlib
import pathlib

import jax
import jpegs
import psutil
from timing import append

from crnn_jax import mesh as mesh_lib
from crnn_jax.data.streaming import StreamingPipeline
from crnn_jax.huge_pages import restart_with_huge_pages

BATCH, PLACES = 64, 10


def mebibytes() -> tuple[float, float]:
    """Returns (of this process, of its children): what they allocated, shared memory too.

    A page that two of them share counts half in each; files and libraries do not count. Linux only.
    """

    def allocated(process: psutil.Process) -> float:
        lines = pathlib.Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()[1:]
        kilobytes = {line.split(":")[0]: line.split()[1] for line in lines}
        return sum(int(kilobytes[name]) for name in ("Pss_Anon", "Pss_Shmem")) / 2**10

    own = psutil.Process()
    found = [allocated(own)]
    for child in own.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
            found.append(allocated(child))
    return found[0], sum(found[1:])


def main() -> None:
    """Streams, and prints the memory."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="append to results/benchmarks")
    flags = parser.parse_args()
    pipeline = StreamingPipeline(
        jpegs.load().train, batch_size=BATCH, seed=0, mesh=mesh_lib.make_mesh(), skip_corrupt=False,
        num_workers=flags.workers, view=jpegs.CROP,
    )  # fmt: skip
    total = -(-flags.images // BATCH)
    places = [total * place // PLACES for place in range(PLACES + 1)]
    rows = []
    with contextlib.closing(pipeline.train_inputs(0)) as batches:
        for step in range(total + 1):
            jax.block_until_ready(next(batches))
            if step in places:
                rows.append([step * BATCH, *mebibytes()])
                print(f"{rows[-1][0]:,} images: {rows[-1][1]:,.0f} + {rows[-1][2]:,.0f} MiB")
    second, last = sum(rows[1][1:]), sum(rows[-1][1:])
    change = last / second - 1
    print(f"from the second to the last: {100 * change:+.1f}%")
    if flags.write:
        record = {"images": rows[-1][0], "batch": BATCH, "workers": flags.workers}
        append("stream_memory", {**record, "mebibytes": rows, "change": change})


if __name__ == "__main__":
    restart_with_huge_pages()  # as crnn_jax.main does
    main()
