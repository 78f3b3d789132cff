"""A stream that is killed in mid-epoch and goes on with another number of workers."""

import collections
import contextlib
import itertools
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.data.stream_examples import BATCH, describe, make

NUM_EXAMPLES = 120  # an epoch ends within a batch


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for part, count in (("train", NUM_EXAMPLES), ("test", 2)):
        for index in range(count):
            path = root / part / f"class{index % 2}" / f"{index:03d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            height, width = random.integers(20, 60, 2)
            Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)).save(path)
    return root


def killed_after(folder, workers, num_steps):
    """Returns what a stream had shown when SIGKILL ended it and its workers."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.data.stream_examples", str(folder), str(workers), "0"],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(["", os.environ.get("PYTHONPATH", "")])},
    )
    assert process.stdout is not None
    lines = [json.loads(line) for line in itertools.islice(process.stdout, num_steps)]
    os.killpg(process.pid, signal.SIGKILL)
    process.stdout.close()
    process.wait()
    return lines


def test_every_example_once_an_epoch_and_with_the_same_crop(folder):
    num_steps, killed_at = 2 * NUM_EXAMPLES // BATCH, 5  # 2 epochs; the kill is within the first
    with contextlib.closing(make(str(folder), 0).train_inputs(0)) as batches:
        uninterrupted = [describe(batch) for batch in itertools.islice(batches, num_steps)]
    before = killed_after(folder, 2, killed_at)
    with contextlib.closing(make(str(folder), 1).train_inputs(killed_at)) as batches:
        after = [describe(batch) for batch in itertools.islice(batches, num_steps - killed_at)]
    assert before + after == uninterrupted
    seen = collections.Counter(
        (epoch, example) for batch in before + after for epoch, example, _ in batch
    )
    assert seen == {(epoch, i): 1 for epoch in (0, 1) for i in range(NUM_EXAMPLES)}
    crops = {(example, pixels) for batch in after for _, example, pixels in batch}
    assert len(crops) > NUM_EXAMPLES  # another part of the image in another epoch
