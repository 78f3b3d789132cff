"""Records of a run for a program that shows and compares runs: `log.tracker`.

A tracker is given each line of metrics.jsonl. All write to the disk alone unless the environment
says otherwise, and a run that resumes continues its record.
"""

import contextlib
import logging
import os
import pathlib
import time
import uuid
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any, NamedTuple, Protocol

from crnn_jax.disk import first_line
from crnn_jax.errors import UserError
from crnn_jax.events import Events

_PROJECT = "crnn_jax"


class Start(NamedTuple):
    """What a tracker is told of a run when it starts or resumes.

    Attributes:
      folder: the workdir, whose name is the run's.
      first_step: the first step that is not done yet.
      config: dotted key to value.
      record: the name that the tracker gave this run's record before; None for a new run.
    """

    folder: pathlib.Path
    first_step: int
    config: Mapping[str, Any]
    record: str | None


class Tracker(Protocol):
    """Keeps one record of a run.

    Attributes:
      record: names it; a resumed run is given it in `Start`.
      replaces: whether what is written of `first_step` and later takes the place of what was
        written before. Where not, the caller writes no number twice.
    """

    record: str
    replaces: bool

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Adds the numbers of a step; a step may come twice, with other names."""
        ...

    def close(self) -> None:
        """Ends the record."""
        ...


class TensorBoard:
    """Event files in the workdir: `tensorboard --logdir=WORKDIR`."""

    replaces = True

    def __init__(self, start: Start) -> None:
        self.record = start.folder.name
        self._events = Events(start.folder, start.first_step)

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Writes an event a number."""
        self._events.write(step, dict(numbers))

    def close(self) -> None:
        """Closes the file."""
        self._events.close()


class WandB:
    """A run of Weights & Biases in WORKDIR/wandb; WANDB_MODE=online sends it."""

    replaces = False

    def __init__(self, start: Start) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # it would be sent
        import wandb  # pyright: ignore[reportMissingImports]

        self.record = start.record or uuid.uuid4().hex[:8]
        self._run = wandb.init(
            id=self.record,
            resume="allow",
            mode=os.environ.get("WANDB_MODE", "offline"),
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            name=start.folder.name,
            dir=os.fspath(start.folder),
            config=dict(start.config),
            settings=wandb.Settings(silent=True),
        )

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Adds them to those of the step."""
        self._run.log(dict(numbers), step=step)

    def close(self) -> None:
        """Waits until all is written."""
        self._run.finish()


class MLflow:
    """A run of MLflow in WORKDIR/mlflow.db; MLFLOW_TRACKING_URI names a server or another place."""

    replaces = False

    def __init__(self, start: Start) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it would be sent
        from mlflow import MlflowClient  # pyright: ignore[reportMissingImports]
        from mlflow.entities import Param  # pyright: ignore[reportMissingImports]

        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells how it makes its tables
        database = f"sqlite:///{start.folder.absolute() / 'mlflow.db'}"
        self._client = MlflowClient(os.environ.get("MLFLOW_TRACKING_URI", database))
        if start.record is None:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)
            found = self._client.get_experiment_by_name(name)
            experiment = found.experiment_id if found else self._client.create_experiment(name)
            run = self._client.create_run(experiment, run_name=start.folder.name)
            self.record = run.info.run_id
            params = [Param(key, str(value)) for key, value in start.config.items()]
            self._client.log_batch(self.record, params=params)
        else:
            self.record = start.record
            self._client.update_run(self.record, status="RUNNING")

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Adds them in one transaction."""
        from mlflow.entities import Metric  # pyright: ignore[reportMissingImports]

        now = round(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for name, value in numbers.items()]
        self._client.log_batch(self.record, metrics=metrics)

    def close(self) -> None:
        """Marks the run as ended."""
        self._client.set_terminated(self.record)


class Trackio:
    """A run of Trackio in WORKDIR/trackio; TRACKIO_DIR names another place."""

    replaces = False

    def __init__(self, start: Start) -> None:
        os.environ.setdefault("TRACKIO_DIR", os.fspath(start.folder.absolute() / "trackio"))
        os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
        import trackio  # pyright: ignore[reportMissingImports]

        self.record = start.record or f"{start.folder.name}-{uuid.uuid4().hex[:8]}"
        self._trackio = trackio
        with contextlib.redirect_stdout(None):  # lines of its own among those of the training
            trackio.init(
                project=_PROJECT,
                name=self.record,
                resume="allow",
                config=dict(start.config),
                auto_log_gpu=False,
                auto_log_cpu=False,
            )

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Adds them to those of the step."""
        self._trackio.log(dict(numbers), step=step)

    def close(self) -> None:
        """Waits until all is written."""
        with contextlib.redirect_stdout(None):
            self._trackio.finish()


class _Kind(NamedTuple):
    make: Callable[[Start], Tracker] | None
    package: str = ""  # that must be installed, by the extra of this name


TRACKERS: dict[str, _Kind] = {
    "none": _Kind(None),
    "tensorboard": _Kind(TensorBoard),
    "wandb": _Kind(WandB, "wandb"),
    "mlflow": _Kind(MLflow, "mlflow"),
    "trackio": _Kind(Trackio, "trackio"),
}


def check_installed(name: str) -> None:
    """Checks that the tracker's package is there; nothing is imported.

    Raises:
      UserError: says what to install.
    """
    package = TRACKERS[name].package
    if package and find_spec(package) is None:
        raise UserError(
            f"config key 'log.tracker' is '{name}', which expects the package '{package}', found "
            f'none: pip install -e ".[{package}]", or choose another tracker'
        )


def start_tracker(name: str, start: Start) -> Tracker | None:
    """Returns the tracker of the name, started; None for "none".

    Raises:
      UserError: it is not installed, or cannot start.
    """
    check_installed(name)
    if (make := TRACKERS[name].make) is None:
        return None
    try:
        return make(start)
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"config key 'log.tracker' is '{name}', which expects to start, found "
            f"{type(error).__name__}: {first_line(error)}; 'none' goes on without it"
        ) from error


def close_tracker(tracker: Tracker) -> None:
    """Ends the record; what fails then has no numbers to lose."""
    with contextlib.suppress(Exception):
        tracker.close()
