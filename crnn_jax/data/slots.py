"""Shared memory that worker processes fill with images again and again.

Grain copies each array of a worker into shared memory made for that array. Where new pages are
dear, as on virtual machines, that takes a seventh of a worker's time. Here a worker decodes into a
slot and sends its name; when the array over it is gone in the main process, the slot is free.

A slot's last byte says whether it is in use. Slots are named PREFIX_WORKER_NUMBER, so that the main
process finds all of a stream's at its end, those that never reached it too. The main process holds
a lock on the file PREFIX.lock beside them; where nobody does, its slots are left from a run that
was killed. (A process number is no proof: containers that share this memory have their own.)
The semaphores of the queues to the workers lie there too, and are named and removed likewise.
"""

import contextlib
import dataclasses
import functools
import itertools
import math
import multiprocessing
import pathlib
import uuid
import weakref
from multiprocessing.shared_memory import SharedMemory

import numpy as np

from crnn_jax import file_lock

_FOLDER = pathlib.Path("/dev/shm")  # where Linux shows shared memory as files


@dataclasses.dataclass(frozen=True)
class Filled:
    """A slot with images in it, as a worker sends it."""

    name: str
    shape: tuple[int, ...]


class WorkerSlots:
    """The slots of one worker process."""

    def __init__(self, prefix: str) -> None:
        self._slots: list[SharedMemory] = []
        self._name = f"{prefix}_{_free_number(prefix)}"

    def take(self, shape: tuple[int, ...]) -> tuple[np.ndarray, Filled]:
        """Returns uint8 memory of `shape`, whatever it holds, and what to send when it is full."""
        size = math.prod(shape)
        for slot in self._slots:
            if slot.size > size and not _memory(slot)[-1]:
                break
        else:
            name = f"{self._name}_{len(self._slots)}"
            slot = SharedMemory(name, create=True, size=size + 1)
            self._slots.append(slot)
        _memory(slot)[-1] = 1
        return np.ndarray(shape, np.uint8, _memory(slot)), Filled(slot.name, shape)


@functools.cache
def worker_slots(prefix: str) -> WorkerSlots:
    """Returns this process's slots of a stream."""
    return WorkerSlots(prefix)


def _free_number(prefix: str) -> int:
    """Returns the first number that no other worker of the stream has, and takes its name."""
    for number in itertools.count():
        with contextlib.suppress(FileExistsError):
            SharedMemory(f"{prefix}_{number}", create=True, size=1).close()
            return number
    raise AssertionError("numbers do not end")


class MainSlots:
    """The slots of all workers of a stream, in the process that reads it."""

    def __init__(self) -> None:
        remove_orphans()
        self.prefix = f"crnn_{uuid.uuid4().hex[:12]}"
        # What SemLock names its semaphores by: else /mp, and nobody knows whose they are.
        getattr(multiprocessing.current_process(), "_config")["semprefix"] = f"/{self.prefix}"  # noqa: B009
        self._slots: dict[str, SharedMemory] = {}
        self._lock_path = _FOLDER / f"{self.prefix}.lock"
        self._lock = file_lock.take(self._lock_path, wait=True) if _FOLDER.is_dir() else None

    def array(self, filled: Filled) -> np.ndarray:
        """Returns the images; when the array and all views of it are gone, the slot is free."""
        if filled.name not in self._slots:
            self._slots[filled.name] = SharedMemory(filled.name)
        slot = self._slots[filled.name]
        array = np.ndarray(filled.shape, np.uint8, _memory(slot))
        # The slot is an argument, so that its memory stays mapped as long as the array lives.
        weakref.finalize(array, _free, slot).atexit = False
        return array

    def close(self) -> None:
        """Removes the slots; the workers have ended. Memory under an array goes with the array."""
        for number in itertools.count():
            if not _remove(worker := f"{self.prefix}_{number}"):
                break
            for slot in itertools.count():
                if not _remove(f"{worker}_{slot}"):
                    break
        self._slots.clear()
        if self._lock is not None:
            file_lock.release(self._lock_path, self._lock)
            self._lock = None


def remove_orphans() -> None:
    """Removes slots and semaphores of runs that were killed together with all their processes."""
    for path in _FOLDER.glob("crnn_*.lock"):
        # An error: it is held, another user's, or gone.
        with contextlib.suppress(OSError):
            file = file_lock.take(path, wait=False)
            for pattern in (f"{path.stem}_*", f"sem.{path.stem}-*"):
                for left in _FOLDER.glob(pattern):
                    left.unlink(missing_ok=True)
            file_lock.release(path, file)


def _remove(name: str) -> bool:
    try:
        SharedMemory(name).unlink()
    except FileNotFoundError:
        return False
    except ValueError:  # empty: its worker was killed or stopped before it gave it a size
        (_FOLDER / name).unlink(missing_ok=True)
    return True


def _free(slot: SharedMemory) -> None:
    _memory(slot)[-1] = 0


def _memory(slot: SharedMemory) -> memoryview:
    assert slot.buf is not None, "it is closed"
    return slot.buf
