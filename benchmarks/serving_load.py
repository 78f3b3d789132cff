"""A server under load on this machine: errors, times and memory.

    pip install -e ".[serve]"
    python benchmarks/serving_load.py [--model digits_crnn] [--seconds 300] [--clients 32] [--write]

Starts `crnn_jax.serve` as a process of its own. At saturation every client sends its next image
when it has its answer, for --seconds; then images come at 70% of that rate, for a fifth of the
time: evenly, which the verdict is on, and at random (a Poisson process), which makes queues of its
own. An image's time counts from when it was due. The clients share the machine's cores with the
server. Prints the verdicts; --write keeps all of it in results/benchmarks/serving_load.json.
"""

import argparse
import asyncio
import gc
import io
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import time
from typing import Any

import numpy as np
from PIL import Image
from timing import RESULTS

from crnn_jax.provenance import describe_devices, git_commit, versions

LOAD = 0.7
LARGEST_RATIO = 3.0  # p99 / p50, at that load
LARGEST_GROWTH = 0.05  # the memory's growth, from the second quarter of the time to the last


def request(host: str) -> bytes:
    """Returns the bytes of a request with a small photograph-like JPEG."""
    side = np.linspace(0, 255, 64)
    across, down = np.meshgrid(side, side)
    pixels = np.stack([(across + down) / 2, across, 255 - down], -1)
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "JPEG")
    body = file.getvalue()
    head = f"POST /predict HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/jpeg\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Connection:
    """One connection that is kept."""

    def __init__(self, host: str, port: int):
        self._place = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, message: bytes) -> int:
        """Returns the status of the answer, 0 where there is none."""
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection(*self._place)
            reader, writer = self._streams
            writer.write(message)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].split()[0])
            await reader.readexactly(length)
            return int(head.split()[1])
        except (OSError, asyncio.IncompleteReadError, ValueError, IndexError):
            self._streams = None
            return 0


class Answers:
    """The times of answers, and how many were no success."""

    def __init__(self):
        self.seconds: list[float] = []
        self.statuses: dict[int, int] = {}

    def add(self, status: int, seconds: float) -> None:
        """Adds one."""
        self.seconds.append(seconds)
        self.statuses[status] = self.statuses.get(status, 0) + 1

    def summary(self, seconds: float) -> dict[str, Any]:
        """Returns rate, times in milliseconds and errors."""
        p50, p90, p99 = (1e3 * float(x) for x in np.quantile(self.seconds, [0.5, 0.9, 0.99]))
        ok = self.statuses.get(200, 0)
        return {
            "requests": len(self.seconds),
            "errors": len(self.seconds) - ok,
            "statuses": self.statuses,
            "images_per_second": ok / seconds,
            "milliseconds": {"p50": p50, "p90": p90, "p99": p99, "max": 1e3 * max(self.seconds)},
        }


async def saturate(place: tuple[str, int], seconds: float, clients: int) -> dict[str, Any]:
    """Returns the summary of clients that send as fast as they are answered."""
    answers, message = Answers(), request(place[0])
    end = time.perf_counter() + seconds

    async def client() -> None:
        connection = Connection(*place)
        while (start := time.perf_counter()) < end:
            status = await connection.ask(message)
            answers.add(status, time.perf_counter() - start)

    await asyncio.gather(*(client() for _ in range(clients)))
    return answers.summary(seconds)


async def at_rate(
    place: tuple[str, int], seconds: float, rate: float, *, evenly: bool
) -> dict[str, Any]:
    """Returns the summary of images that come at `rate` a second, evenly or at random times."""
    answers, message, free = Answers(), request(place[0]), []
    draw, tasks = random.Random(0), set()
    start = time.perf_counter()
    due = start

    async def one(due: float) -> None:
        connection = free.pop() if free else Connection(*place)
        status = await connection.ask(message)
        answers.add(status, time.perf_counter() - due)
        free.append(connection)

    while (due := due + (1 / rate if evenly else draw.expovariate(rate))) < start + seconds:
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        task = asyncio.ensure_future(one(due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    return {"asked_per_second": rate, **answers.summary(seconds)}


async def watch_memory(pid: int, found: list[float]) -> None:
    """Adds the process's resident megabytes, once a second."""
    while True:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
        found.append(int(status.partition("VmRSS:")[2].split()[0]) / 1024)
        await asyncio.sleep(1)


async def measure(place: tuple[str, int], pid: int, flags: argparse.Namespace) -> dict[str, Any]:
    """Returns what came of all loads."""
    await saturate(place, min(5.0, flags.seconds), flags.clients)  # warms up
    megabytes: list[float] = []
    watch = asyncio.ensure_future(watch_memory(pid, megabytes))
    saturated = await saturate(place, flags.seconds, flags.clients)
    watch.cancel()
    rate = LOAD * saturated["images_per_second"]
    part = max(10.0, flags.seconds / 5)
    loaded = await at_rate(place, part, rate, evenly=True)
    at_random = await at_rate(place, part, rate, evenly=False)
    quarter = max(1, len(megabytes) // 4)
    early = statistics.median(megabytes[quarter : 2 * quarter] or megabytes)
    late = statistics.median(megabytes[-quarter:])
    return {
        "saturated": saturated,
        "at_70_percent": loaded,
        "at_70_percent_at_random": at_random,
        "megabytes": {"second_quarter": early, "last_quarter": late, "most": max(megabytes)},
    }


def verdicts(found: dict[str, Any]) -> dict[str, bool]:
    """Returns what was promised, and whether it holds."""
    times, memory = found["at_70_percent"]["milliseconds"], found["megabytes"]
    loads = ("saturated", "at_70_percent", "at_70_percent_at_random")
    return {
        "no_error": sum(found[load]["errors"] for load in loads) == 0,
        "memory_flat": memory["last_quarter"] <= (1 + LARGEST_GROWTH) * memory["second_quarter"],
        "p99_within_3_times_p50": times["p99"] <= LARGEST_RATIO * times["p50"],
    }


def main() -> None:
    """Measures a server of its own and prints what it found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="digits_crnn", help="model of the package")
    parser.add_argument("--seconds", type=float, default=300, help="at saturation")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--write", action="store_true", help="keep it in results/benchmarks")
    flags = parser.parse_args()
    command = [sys.executable, "-m", "crnn_jax.serve", f"--model={flags.model}", "--port=0"]
    busy = os.getloadavg()[0]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        if not line:
            raise SystemExit("the server did not start: see above")
        host, _, port = line.split()[3].removeprefix("http://").rpartition(":")
        gc.freeze()  # a pause of the clients is no pause of the server
        found = asyncio.run(measure((host, int(port)), server.pid, flags))
    finally:
        server.terminate()
        code = server.wait(30)
    record = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "git_commit": git_commit(),
        "devices": describe_devices(),
        "versions": versions(),
        "model": flags.model,
        "seconds": flags.seconds,
        "clients": flags.clients,
        "image": "a JPEG of 64x64",
        "load_average_before": busy,  # what else the machine did
        **found,
        "ended_with": code,
        "verdicts": verdicts(found),
    }
    print(json.dumps(found, indent=1), json.dumps(record["verdicts"]), sep="\n")
    if flags.write:
        RESULTS.mkdir(parents=True, exist_ok=True)
        (RESULTS / "serving_load.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
