"""Run by a test as a program: reads a batch with worker processes, says who they are, and waits.

python -m tests.faults.hold_stream WORKERS
"""

import json
import multiprocessing
import sys

from crnn_jax import mesh as mesh_lib
from crnn_jax.config import default_config
from crnn_jax.data.sources import load_source
from crnn_jax.data.streaming import StreamingPipeline


def main() -> None:
    pipeline = StreamingPipeline(
        load_source(default_config("crnn").data, 0).train,
        batch_size=16,
        seed=3,
        mesh=mesh_lib.make_mesh(1),
        skip_corrupt=False,
        num_workers=int(sys.argv[1]),
    )
    inputs = pipeline.train_inputs(0)
    next(inputs)
    workers = [process.pid for process in multiprocessing.active_children()]
    print(json.dumps(workers), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
