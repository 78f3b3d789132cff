"""Keeps Orbax quiet about a damaged or full directory: what there is to say is in one `UserError`.

It logs up to three tracebacks of a failed save. After a failed read it leaves tasks of an event
loop behind, whose errors nobody asks for, and which complain when they are deleted.
"""

import functools
import logging
import pathlib
import sys
import warnings

_LIBRARIES = ("orbax", "tensorstore")
_CLOSED = "Event loop is closed"
_UNREAD = "exception was never retrieved"  # a task's; this project has none of its own


@functools.cache
def silence() -> None:
    """Drops what Orbax says through absl, asyncio and deleted coroutines, from now on."""
    import absl.logging

    # Made by absl itself: another logger of that name would not know where a record comes from.
    absl.logging.get_absl_logger().addFilter(_is_not_from_orbax)
    logging.getLogger("asyncio").addFilter(_is_of_another_task)
    # This project has no coroutines of its own.
    warnings.filterwarnings("ignore", r"coroutine '.*' was never awaited", RuntimeWarning)
    before = sys.unraisablehook

    def hook(unraisable: "sys.UnraisableHookArgs") -> None:
        code = getattr(unraisable.object, "cr_code", None)
        if _CLOSED not in str(unraisable.exc_value) and not _is_of_libraries(code):
            before(unraisable)

    sys.unraisablehook = hook


def _is_of_libraries(code: object) -> bool:
    path = pathlib.Path(getattr(code, "co_filename", ""))
    return not set(_LIBRARIES).isdisjoint(path.parts)


def _is_not_from_orbax(record: logging.LogRecord) -> bool:
    trace = record.exc_info[2] if record.exc_info else None
    source = trace.tb_frame.f_code.co_filename if trace else record.pathname
    return "orbax" not in pathlib.Path(source).parts


def _is_of_another_task(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    text = f"{record.getMessage()} {error}"
    return not any(name in text for name in (_CLOSED, _UNREAD, *_LIBRARIES))
