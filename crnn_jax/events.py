"""TensorBoard's event files, written by the thread that calls: an error is the caller's to see.

tensorboardX's own writer hands events to a thread; if a full disk ends that, the next call waits
for ever.
"""

import contextlib
import os
import pathlib
import time
from typing import Any

from crnn_jax.disk import cannot_write


class Events:
    """One event file in a folder, which ends what earlier files of it say from a step on."""

    def __init__(self, folder: str | os.PathLike[str], first_step: int) -> None:
        """TensorBoard hides what earlier files hold of `first_step` and later.

        Raises:
          UserError: the file cannot be written.
        """
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2

        proto: Any = event_pb2  # its classes are made at run time

        self._path = pathlib.Path(folder) / "events"
        start = proto.Event(step=first_step, wall_time=time.time())
        start.session_log.status = proto.SessionLog.START
        try:
            self._writer: Any = EventsWriter(os.fspath(self._path), f".{time.time_ns()}")
            self._writer.write_event(start)
            self._writer.flush()
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def write(self, step: int, numbers: dict[str, Any]) -> None:
        """Writes each number of `numbers` under its name; what is no number is left out.

        Raises:
          UserError: the file cannot be written.
        """
        from tensorboardX.proto import event_pb2

        proto: Any = event_pb2  # its classes are made at run time
        from tensorboardX.summary import scalar

        try:
            for name, value in numbers.items():
                if isinstance(value, (int, float)):
                    event = proto.Event(
                        step=step, wall_time=time.time(), summary=scalar(name, value)
                    )
                    self._writer.write_event(event)
            self._writer.flush()
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def close(self) -> None:
        """Closes the file. Each `write` has left nothing to be written, or has told."""
        with contextlib.suppress(OSError):
            self._writer._py_recordio_writer.close()  # `close` itself stops at the first error
