"""Runs the model on what several requests wait for, together."""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Predictions = dict[str, np.ndarray]
Observe = Callable[[int, float], None]  # (images of a batch, seconds of the model)


class _Waiting(NamedTuple):
    pixels: np.ndarray
    found: "asyncio.Future[Predictions]"


class Batcher:
    """One thread that runs the model; while it does, what comes in waits for the next batch.

    So a batch is as large as the load makes it, and an image that comes alone waits for nobody.
    """

    def __init__(
        self,
        apply: Callable[[np.ndarray], Predictions],
        max_images: int,
        observe: Observe = lambda images, seconds: None,
    ):
        """Starts the thread.

        Args:
          apply: uint8 (B, ...) to arrays (B, ...) by name.
          max_images: most in a batch; a request has no more.
          observe: is told of every batch, in the thread.
        """
        self._apply = apply
        self._max_images = max_images
        self._observe = observe
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._left: _Waiting | None = None  # did not fit into the batch before
        self._thread = threading.Thread(target=self._work, name="model", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether the thread works."""
        return self._thread.is_alive()

    async def __call__(self, pixels: np.ndarray) -> Predictions:
        """Returns what `apply` returns for pixels, uint8 (B, ...) with B from 1 to max_images.

        Raises:
          Exception: whatever `apply` raises.
        """
        found: asyncio.Future[Predictions] = asyncio.get_running_loop().create_future()
        self._queue.put(_Waiting(pixels, found))
        return await found

    def close(self) -> None:
        """Ends the thread after what waits now."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (batch := self._next_batch()) is not None:
            pixels = np.concatenate([one.pixels for one in batch])
            start = time.perf_counter()
            try:
                result: Predictions | Exception = self._apply(pixels)
            except Exception as error:  # is the requests' to tell; the next ones are answered
                result = error
            self._observe(len(pixels), time.perf_counter() - start)
            loop = batch[0].found.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(_hand_out, batch, result)

    def _next_batch(self) -> list[_Waiting] | None:
        """Returns what waits, at least one, as far as it fits; None at the end."""
        first = self._left or self._queue.get()
        self._left = None
        if first is None:
            return None
        batch, count = [first], len(first.pixels)
        while True:
            try:
                one = self._queue.get_nowait()
            except queue.Empty:
                return batch
            if one is None:
                self._queue.put(None)  # again, for after this batch
                return batch
            if count + len(one.pixels) > self._max_images:
                self._left = one
                return batch
            batch.append(one)
            count += len(one.pixels)


def _hand_out(batch: list[_Waiting], result: Predictions | Exception) -> None:
    first = 0
    for one in batch:
        rows = slice(first, first + len(one.pixels))
        first = rows.stop
        if one.found.done():  # its request was given up
            continue
        if isinstance(result, Exception):
            one.found.set_exception(result)
        else:
            one.found.set_result({name: array[rows] for name, array in result.items()})


def row(predictions: Predictions, index: int) -> dict[str, Any]:
    """Returns the arrays of one image."""
    return {name: array[index] for name, array in predictions.items()}
