"""Requests share a batch, and each gets its own rows."""

import asyncio
import threading
from typing import Any

import numpy as np
import pytest

from crnn_jax.serve.batcher import Batcher


def ask(batcher, counts, start) -> list[Any]:
    """Returns what requests of so many images get, made together, the model started after all."""

    async def all_of_them():
        tasks = [
            asyncio.ensure_future(batcher(np.full((count, 1), index, np.uint8)))
            for index, count in enumerate(counts)
        ]
        await asyncio.sleep(0)
        start.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    return asyncio.run(asyncio.wait_for(all_of_them(), 30))


def test_what_waits_is_run_together_and_nothing_is_mixed_up():
    start, sizes = threading.Event(), []

    def apply(pixels):
        start.wait()
        return {"value": pixels[:, 0] * 2}

    batcher = Batcher(apply, 4, lambda images, seconds: sizes.append(images))
    found = ask(batcher, [1, 2, 1, 1, 3, 1, 1], start)
    for index, count in enumerate([1, 2, 1, 1, 3, 1, 1]):
        np.testing.assert_array_equal(found[index]["value"], [2 * index] * count)
    assert sum(sizes) == 10
    assert max(sizes) == 4
    assert len(sizes) <= 5  # 4, 4, 2, or the first by itself: whatever came before the model began
    batcher.close()
    assert not batcher.is_alive


def test_an_error_is_that_of_its_batch():
    start = threading.Event()

    def apply(pixels):
        start.wait()
        if 1 in pixels:
            raise ValueError("broken")
        return {"value": pixels[:, 0]}

    batcher = Batcher(apply, 1)
    found = ask(batcher, [1, 1, 1], start)
    assert [isinstance(one, ValueError) for one in found] == [False, True, False]
    batcher.close()


def test_a_request_that_was_given_up_stops_nobody():
    start = threading.Event()

    def apply(pixels):
        start.wait()
        return {"value": pixels[:, 0]}

    batcher = Batcher(apply, 8)

    async def give_up():
        first = asyncio.ensure_future(batcher(np.zeros((1, 1), np.uint8)))
        second = asyncio.ensure_future(batcher(np.ones((1, 1), np.uint8)))
        await asyncio.sleep(0)
        first.cancel()
        start.set()
        found = await asyncio.wait_for(second, 30)
        with pytest.raises(asyncio.CancelledError):
            await first
        return found["value"]

    np.testing.assert_array_equal(asyncio.run(give_up()), [1])
    batcher.close()
