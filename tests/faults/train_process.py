"""Run by a test as a program: trains for ever as `crnn_jax.main` would, and says when it begins.

python -m tests.faults.train_process WHERE. It then waits where a signal finds it: "setup", before
the loop; "step", in the loop, in a step that hangs, and says when a signal was taken as a request;
"stopped", there after a first signal.
"""

import os
import signal
import sys
import threading

from crnn_jax.ending import end_at_once
from crnn_jax.train.stop import StopSignal


def main() -> None:
    end_at_once()
    where = sys.argv[1]
    if where == "setup":
        print("here", flush=True)
        hang()
    with StopSignal() as stop:
        if where == "stopped":
            os.kill(os.getpid(), signal.SIGINT)
            assert stop.requested == signal.SIGINT
        print("here", flush=True)
        if where == "step":
            while stop.requested is None:
                threading.Event().wait(0.1)
            print("requested", flush=True)
        hang()


def hang() -> None:
    """Waits in the midst of an exception handler, which no signal's exception gets out of."""
    while True:
        try:
            threading.Event().wait()
        except BaseException:
            continue


if __name__ == "__main__":
    main()
