"""Checkpoints of a run: saved in the background, checked by checksums when they are read back.

A checkpoint is the folder DIRECTORY/STEP (see `folders`), written by Orbax, whose metadata also
holds a CRC-32 of each array: Orbax itself restores flipped bytes silently. Reading never changes
the directory, so a run can be evaluated while it trains; damaged checkpoints are moved aside, to
`damaged-STEP-N`, by the first save after they were found. When steps are kept or deleted is decided
here and not by Orbax's `Checkpointer`, which fails to open a directory with one damaged checkpoint
in it.
"""

import math
import os
import pathlib
import shutil
import sys
from collections.abc import Callable
from typing import Any, Self, TypeVar

import jax

from crnn_jax import checksums, distributed, orbax_logging
from crnn_jax.checkpoint import folders
from crnn_jax.checksums import DamagedError, named_leaves
from crnn_jax.disk import cannot_write, explain_save_error, first_line
from crnn_jax.errors import UserError

T = TypeVar("T")
Tree = Any


class Checkpoints:
    """The checkpoints in one directory; a context manager that waits for the last save.

    Arrays that live on several processes must be global; all processes then call every method at
    the same steps and share the directory.
    """

    def __init__(
        self, directory: str | os.PathLike[str], *, keep_latest: int, keep_best: bool
    ) -> None:
        self.directory = pathlib.Path(directory).absolute()
        self._keep_latest = keep_latest
        self._keep_best = keep_best
        self._pending: tuple[int, int, Any] | None = None  # step, bytes, Orbax's response
        self._damaged: set[int] = set()
        self._scores: dict[int, float | None] = {}
        self._tidied = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, Exception) and jax.process_count() > 1:
            return  # a save of several processes ends with all or not at all: do not wait for it
        try:
            self.close()
        except UserError as error:
            if kind is None:
                raise
            distributed.say(str(error), sys.stderr)  # must not hide what ended the block

    def steps(self) -> list[int]:
        """Returns the steps of the finished checkpoints not known to be damaged, ascending."""
        self.wait()
        return self._steps()

    def best_step(self) -> int | None:
        """Returns the step of the highest score (of equals the earliest), or None."""
        return self._best(self.steps())

    def score(self, step: int) -> float | None:
        """Returns the score that the checkpoint of `step` was saved with, or None."""
        self._best([step])
        return self._scores[step]

    def set_aside(self, first: int) -> None:
        """Moves the checkpoints of `first` and later steps aside, as damaged ones are."""
        self._damaged.update(step for step in self.steps() if step >= first)
        self._tidy()

    def save(
        self, step: int, state: Tree, metrics: dict[str, float] | None = None, force: bool = False
    ) -> bool:
        """Returns True once a save of `state` has begun, False if `step` has a checkpoint already.

        It waits for the save before this one and copies the arrays to the host; the rest is done
        in the background, and the arrays may be donated at once. An error in the background is
        raised by the next save, `wait` or `close`.

        Args:
          step: names the checkpoint.
          state: pytree of arrays of at least one element each.
          metrics: {name: score} of the validation part; the highest score is the best.
          force: replace an existing checkpoint of this step, which is kept until the new one is
            complete.

        Raises:
          UserError: the directory cannot be written, or is full.
          NotFiniteError: the state is not finite.
        """
        self.wait()
        self._tidy()
        leaves = named_leaves(state)
        checksums.check_finite(leaves, step)
        if not force and self._folder(step).exists():
            return False
        # With `force` whether or not one is there: the processes may not see the same yet.
        folder = folders.new_folder_of(self.directory, step) if force else self._folder(step)
        from orbax.checkpoint import v1 as ocp

        num_bytes = sum(leaf.nbytes for leaf in leaves.values())
        metrics = {k: v for k, v in (metrics or {}).items() if math.isfinite(v)}
        try:
            response = ocp.save_async(
                os.fspath(folder), leaves, custom_metadata=checksums.seal(leaves, metrics)
            )
        except Exception as error:
            raise self._save_error(step, num_bytes, error) from error
        if response is None:
            raise RuntimeError(f"Orbax skipped the checkpoint of step {step}")
        self._pending = (step, num_bytes, response)
        self._scores[step] = _score(metrics)
        return True

    def wait(self) -> None:
        """Waits for the save under way, then deletes the superfluous ones; raises as `save`."""
        if self._pending is None:
            return
        (step, num_bytes, response), self._pending = self._pending, None
        try:
            response.result()
        except Exception as error:
            raise self._save_error(step, num_bytes, error) from error

        def delete_superfluous() -> None:
            folders.replace_old(self.directory)
            steps = self._steps()
            kept: set[int | None] = {step, *steps[-self._keep_latest :]}
            if self._keep_best:
                kept.add(self._best(steps))
            for old in set(steps) - kept:
                folders.delete(self._folder(old))

        distributed.on_first(delete_superfluous)

    def close(self) -> None:
        """Waits for the save under way; raises as `wait`."""
        self.wait()

    def restore(self, abstract_state: Tree) -> tuple[int, Tree] | None:
        """Returns (step, state) of the newest good checkpoint, or None if there never was one.

        A damaged checkpoint is reported in one line on stderr and the one before it is tried.

        Args:
          abstract_state: pytree of `jax.ShapeDtypeStruct` or arrays, each with its sharding, which
            may differ from the sharding that was saved.

        Raises:
          UserError: all are damaged, or their arrays are not those of `abstract_state`.
        """
        for step in reversed(distributed.seen_by_all(self.steps())):
            try:
                return step, self._load(step, abstract_state)
            except DamagedError as error:
                if self._folder(step).exists():  # else a running training has just deleted it
                    self._damaged.add(step)
                    text = f"checkpoint {step} in {self.directory} is damaged ({error})"
                    distributed.say(text, sys.stderr)
        if self._damaged:
            found = ", ".join(map(str, sorted(self._damaged)))
            raise UserError(
                f"expected a good checkpoint in {self.directory}, found only damaged ones "
                f"(steps {found}): bring back a copy, or start anew with another --workdir"
            )
        return None

    def restore_step(self, step: int, abstract_state: Tree) -> Tree:
        """Returns the state of the checkpoint of `step`.

        Raises:
          UserError: no such checkpoint, damaged, or other arrays than those of `abstract_state`.
        """
        steps = self.steps()
        if step not in steps:
            found = ", ".join(map(str, steps)) or "none"
            raise UserError(f"no checkpoint of step {step} in {self.directory}, found: {found}")
        try:
            return self._load(step, abstract_state)
        except DamagedError as error:
            raise UserError(
                f"checkpoint {step} in {self.directory} is damaged ({error}); "
                f"others: {', '.join(str(s) for s in steps if s != step) or 'none'}"
            ) from error

    def _folder(self, step: int) -> pathlib.Path:
        return folders.folder_of(self.directory, step)

    def _steps(self) -> list[int]:
        return sorted(folders.steps_in(self.directory) - self._damaged)

    def _best(self, steps: list[int]) -> int | None:
        for step in set(steps) - self._scores.keys():
            try:
                self._scores[step] = _score(metadata(self._folder(step))["metrics"])
            except DamagedError:
                self._scores[step] = None
        scored = [step for step in steps if self._scores[step] is not None]
        return max(scored, key=lambda step: (self._scores[step], -step), default=None)

    def _load(self, step: int, abstract_state: Tree) -> Tree:
        from orbax.checkpoint import v1 as ocp

        folder, abstract = self._folder(step), named_leaves(abstract_state)
        target = {}
        for name, leaf in abstract.items():
            if getattr(leaf, "sharding", None) is None:
                raise ValueError(f"'{name}' of the restore target has no sharding")
            target[name] = jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)

        def read() -> tuple[dict[str, Any], dict[str, jax.Array]]:
            saved = metadata(folder)["leaves"]
            checksums.check_structure(abstract, saved, f"checkpoint {folder}")
            leaves: dict[str, Any] = _read(folder, lambda: ocp.load(os.fspath(folder), target))
            if (name := checksums.not_finite(leaves)) is not None:
                raise DamagedError(f"{name} is not finite")
            return saved, leaves

        # Damaged for one process is damaged for all.
        saved, leaves = distributed.together(read, DamagedError)
        checksums.check_arrays(leaves, saved)
        checksums.check_step(leaves, step)
        structure = jax.tree_util.tree_structure(abstract_state)
        return jax.tree_util.tree_unflatten(structure, [leaves[name] for name in abstract])

    def _tidy(self) -> None:
        """Makes the directory ready for saves: moves damaged checkpoints out of their way."""
        orbax_logging.silence()

        def tidy() -> None:
            self.directory.mkdir(parents=True, exist_ok=True)
            for path in self.directory.glob("*"):
                if not self._tidied and path.name.endswith((folders.TEMPORARY, folders.DOOMED)):
                    shutil.rmtree(path)
            for step in self._damaged:
                taken = len(list(self.directory.glob(f"damaged-{step}-*")))
                self._folder(step).rename(self.directory / f"damaged-{step}-{taken + 1}")
            folders.replace_old(self.directory)

        try:
            distributed.on_first(tidy)
        except OSError as error:
            raise cannot_write(self.directory, error) from error
        for step in self._damaged:
            self._scores.pop(step, None)
        self._damaged.clear()
        self._tidied = True

    def _save_error(self, step: int, num_bytes: int, error: Exception) -> Exception:
        for name in (f"{step}", f"{step}{folders.NEW}"):
            shutil.rmtree(self.directory / f"{name}{folders.TEMPORARY}", ignore_errors=True)
        return explain_save_error(error, self.directory, f"checkpoint {step}", num_bytes)


def _score(metrics: dict[str, float]) -> float | None:
    return next(iter(metrics.values()), None)


def metadata(folder: pathlib.Path) -> dict[str, Any]:
    """Returns `checksums.unseal` of a checkpoint's folder, and raises as it does."""
    from orbax.checkpoint import v1 as ocp

    sealed: Any = _read(folder, lambda: ocp.metadata(os.fspath(folder)).custom_metadata)
    return checksums.unseal(sealed)


def _read(folder: pathlib.Path, action: Callable[[], T]) -> T:
    orbax_logging.silence()
    try:
        return action()
    except (MemoryError, jax.errors.JaxRuntimeError):
        raise  # says nothing about the files
    except PermissionError as error:
        raise UserError(f"checkpoint {folder} cannot be read: {error.strerror}") from error
    except Exception as error:  # Orbax and TensorStore raise anything
        raise DamagedError(first_line(error.__cause__ or error)) from error
