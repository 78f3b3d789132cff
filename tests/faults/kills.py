"""Kills a training, or fails it, at its operations on files and in its phases, and resumes it.

python -m tests.faults.kills COUNT SEED FOLDER prints a JSON object of counts. It needs a C compiler
(faults.c). Every training is a fork of one process that has imported all and computed nothing.
"""

import collections
import contextlib
import ctypes
import errno
import json
import os
import pathlib
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

LIBRARY = "CRNN_JAX_FAULTS"  # names the compiled faults.c, in the environment
SECONDS = 300  # a run of a few seconds that takes so long hangs, also on a busy machine
SECONDS_TO_STOP = 15  # between a signal and the end of the process
PHASES = ("setup", "compile", "train", "evaluation", "checkpoint")
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
KEYS = {
    "model.hidden_units": "8",
    "batch_size": "64",
    "duration": "12 steps",
    "optim.warmup": "2 steps",
    "data.validation": "0.2",
    "checkpoint.every": "4 steps",
    "eval.every": "6 steps",
    "eval.batch_size": "64",
    "log.every": "3 steps",
}
Arm = Callable[[], None]


def compile_library(folder: pathlib.Path) -> pathlib.Path:
    """Returns the compiled faults.c."""
    source, library = pathlib.Path(__file__).with_name("faults.c"), folder / "faults.so"
    command = ["cc", "-shared", "-fPIC", "-O1", str(source), "-o", str(library), "-ldl"]
    subprocess.run(command, check=True)
    return library


def run(count: int, seed: int, folder: pathlib.Path) -> dict[str, Any]:
    """Returns the counts of `count` faults, from a process of its own."""
    flags = "--xla_backend_optimization_level=0"
    library = str(compile_library(folder))
    preload = {"LD_PRELOAD": library, LIBRARY: library}
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, **preload}
    command = [sys.executable, "-m", "tests.faults.kills", str(count), str(seed), str(folder)]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


class Outcome:
    """How a forked training ended: its exit code (negative: a signal's) and what it printed."""

    def __init__(self, code: int | None, text: str, seconds: float) -> None:
        self.code, self.text, self.seconds = code, text, seconds
        self.ended = time.monotonic()

    def said(self, name: str) -> Any:
        """Returns the JSON value of the line that begins with `name`."""
        lines = [line for line in self.text.splitlines() if line.startswith(f"{name} ")]
        return json.loads(lines[-1].partition(" ")[2]) if lines else None

    def stopped_at(self) -> int | None:
        """Returns the step at which a signal stopped the training."""
        found = re.search(r"^stopped by a signal, saved at step (\d+);", self.text, re.MULTILINE)
        return int(found[1]) if found else None


def in_fork(action: Callable[[], None]) -> Outcome:
    """Returns how `action` ends in a fork; code None: it hangs, and was killed."""
    reader, writer = os.pipe()
    start = time.monotonic()
    pid = os.fork()
    if pid == 0:
        for stream in (1, 2):
            os.dup2(writer, stream)
        code = 1
        try:
            action()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    os.close(writer)
    parts, hangs = [], False
    while not hangs:
        left = SECONDS - (time.monotonic() - start)
        hangs = not select.select([reader], [], [], max(0, left))[0]
        if not hangs:
            if not (part := os.read(reader, 1 << 16)):
                break
            parts.append(part)
    if hangs:
        os.kill(pid, signal.SIGKILL)
    os.close(reader)
    status = os.waitpid(pid, 0)[1]
    code = None if hangs else os.waitstatus_to_exitcode(status)
    return Outcome(code, b"".join(parts).decode(errors="replace"), time.monotonic() - start)


def train(workdir: pathlib.Path, arm: Arm) -> Outcome:
    """Returns how `crnn_jax.main` ends in a fork after `arm`; it says its operations' count."""

    def action() -> None:
        from crnn_jax.ending import end_at_once
        from crnn_jax.main import main

        end_at_once()
        library = ctypes.CDLL(os.environ[LIBRARY])
        library.faults_arm(os.fsencode(workdir), ctypes.c_long(-1), 0, 0)
        arm()
        keys = [f"--config.{key}={value}" for key, value in KEYS.items()]
        main(["--config=configs/digits.py:rnn", f"--workdir={workdir}", *keys])
        library.faults_count.restype = ctypes.c_long
        print("operations", library.faults_count(), flush=True)

    return in_fork(action)


def at_operation(workdir: pathlib.Path, number: int, error: int, for_ever: bool) -> Arm:
    """Returns what makes the operation fail with `error`, 0: kills there; `for_ever`: and later."""

    def arm() -> None:
        library = ctypes.CDLL(os.environ[LIBRARY])
        library.faults_arm(os.fsencode(workdir), ctypes.c_long(number), error, int(for_ever))

    return arm


def in_phase(name: str, number: int, sent: int) -> Arm:
    """Returns what sends a signal when a training enters the phase for the `number`-th time."""

    def arm() -> None:
        from crnn_jax.train.clock import Clock

        phase, entered = Clock.phase, [0]

        @contextlib.contextmanager
        def signalled(self: Clock, entering: str) -> Any:
            with phase(self, entering):
                if entering == name:
                    if entered[0] == number:
                        print("signalled", time.monotonic(), flush=True)
                        os.kill(os.getpid(), sent)
                    entered[0] += 1
                yield

        setattr(Clock, "phase", signalled)  # noqa: B010

    return arm


def kept(workdir: pathlib.Path) -> dict[str, Any]:
    """Returns what a finished run leaves that must not depend on its interruptions."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    figures = ("loss", "accuracy")

    def metadata() -> None:
        from crnn_jax.checkpoint import metadata

        print("leaves", json.dumps(metadata(workdir / "checkpoints" / "12")["leaves"]))

    found = [
        (x["step"], name, value)
        for x in lines
        for name, value in x.items()
        if name.endswith(figures)
    ]
    return {
        "state": in_fork(metadata).said("leaves"),
        "lines": sorted(x for x in found if not x[1].startswith("train/")),
        "train": {name: sums(found, name) for name in ("train/loss", "train/accuracy")},
        "test": json.loads((workdir / "result.json").read_text())["test"],
    }


def sums(lines: list[tuple[int, str, float]], name: str) -> list[tuple[int, float]]:
    """Returns (step, sum over the steps until then) of a figure that lines have the means of.

    A line has the mean of the steps since the line before it.
    """
    found, last, total = [], 0, 0.0
    for step, _, value in sorted(x for x in lines if x[1] == name):
        total += (step - last) * value
        last = step
        found.append((step, total))
    return found


def same(found: dict[str, Any], expected: dict[str, Any], stopped: int | None) -> bool:
    """Returns whether a run left what was expected; it was `stopped` by a signal at that step.

    The stop logs the steps since the last line, so that there is one line more: the means of the
    lines around it are other ones, and their sums are the same.
    """
    for name, ours in found["train"].items():
        theirs = expected["train"][name]
        ours = [x for x in ours if x[0] != stopped or stopped in dict(theirs)]
        if [step for step, _ in ours] != [step for step, _ in theirs]:
            return False
        if any(abs(a[1] - b[1]) > 1e-5 for a, b in zip(ours, theirs, strict=True)):
            return False
    return all(found[name] == expected[name] for name in ("state", "lines", "test"))


def fault(number: int, random_of: random.Random, operations: int, workdir: pathlib.Path) -> Any:
    """Returns (its kind, what arms it, the exit codes that it may end with) of a fault."""
    kind = ("full disk", "failure", "signal", "kill", "kill", "kill")[number % 6]
    if kind == "signal":
        sent, phase = random_of.choice(SIGNALS), random_of.choice(PHASES)
        return kind, in_phase(phase, random_of.randrange(3), sent), {0, 128 + sent}
    at = random_of.randrange(operations)
    if kind == "kill":
        return kind, at_operation(workdir, at, 0, False), {-signal.SIGKILL}
    code = errno.ENOSPC if kind == "full disk" else errno.EIO
    return kind, at_operation(workdir, at, code, kind == "full disk"), {0, 2}


def main(count: int, seed: int, folder: pathlib.Path) -> dict[str, Any]:
    """Returns counts: of faults by kind, and of what must be 0."""
    import crnn_jax.run
    import crnn_jax.train.loop  # noqa: F401

    random_of = random.Random(seed)
    whole = train(folder / "whole", lambda: None)
    assert whole.code == 0, whole.text
    expected, operations = kept(folder / "whole"), whole.said("operations")
    counts: collections.Counter[str] = collections.Counter()
    slowest, slowest_stop = 0.0, 0.0
    for number in range(count):
        workdir = folder / f"run_{number}"
        kind, arm, codes = fault(number, random_of, operations, workdir)
        first = train(workdir, arm)
        outcomes, problems = [first], []
        if first.code not in codes:
            problems.append("code")
        if first.code != 0:
            outcomes.append(train(workdir, lambda: None))
        counts[kind] += 1
        if (signalled := first.said("signalled")) and first.code != 0:
            slowest_stop = max(slowest_stop, first.ended - signalled)
            if first.ended - signalled > SECONDS_TO_STOP:
                problems.append("late stop")
        if any(x.code is None for x in outcomes):
            problems.append("hang")
        if any("Traceback" in x.text for x in outcomes):
            problems.append("traceback")
        if outcomes[-1].code != 0:
            problems.append("lost")
        elif not same(kept(workdir), expected, first.stopped_at()):
            problems.append("other numbers")
        slowest = max(slowest, *(x.seconds for x in outcomes))
        for problem in problems:
            counts[problem] += 1
            texts = "\n---\n".join(f"code {x.code}\n{x.text[-3000:]}" for x in outcomes)
            print(f"{problem}: {kind} {number}, seed {seed}\n{texts}", file=sys.stderr)
        shutil.rmtree(workdir)
    times = {"slowest_s": round(slowest, 1), "slowest_stop_s": round(slowest_stop, 1)}
    return {"faults": count, "operations": operations, **times, **counts}


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3]))))
