"""Which command, code, versions and devices made a result, and when."""

import datetime
import importlib.metadata
import os
import pathlib
import platform
import shlex
import subprocess
import sys

import jax

_PACKAGES = (
    "jax jaxlib flax optax orbax-checkpoint grain tensorflow-datasets array_record ml_collections "
    "numpy"
).split()


def command() -> str:
    """Returns the command of this process, "python -m crnn_jax.main --config=...", for a shell."""
    return shlex.join(["python", *sys.orig_argv[1:]])


def utc_now() -> str:
    """Returns the time in UTC, 2026-11-24T13:05:00Z."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def git_commit() -> str | None:
    """Returns this code's commit, with "-dirty" if tracked files differ from it; None without git.

    It is the repository that tracks this file: neither that of the current directory, nor one
    around a virtual environment into which the package was installed. Files under results/ may
    differ: programs write them, none of what a run computes reads them.
    """
    here = pathlib.Path(__file__).resolve()
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here.parent), *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=10, env=env
        )
        return done.stdout.strip()

    code = (":/", ":(top,exclude)results")
    try:
        git("ls-files", "--error-unmatch", here.name)
        commit = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--untracked-files=no", "--", *code)
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit}-dirty" if changed else commit


def versions() -> dict[str, str | None]:
    """Returns {"python": "3.12.1", "jax": ...}; None for a package that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def describe_devices() -> str:
    """Returns "8 x NVIDIA H200 (gpu)", of all processes together, or of the CPU.

    As in "CPU: AMD EPYC (family 26, model 2), 2 cores": a virtual machine may tell so short a name
    that the generation is in the two numbers alone.
    """
    first = jax.devices()[0]
    if first.platform != "cpu":
        return f"{jax.device_count()} x {first.device_kind} ({first.platform})"
    virtual = f", {jax.device_count()} virtual devices" if jax.device_count() > 1 else ""
    return f"CPU: {_processor_name()}, {os.cpu_count()} cores{virtual}"


def _processor_name() -> str:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    pairs = [line.partition(":") for line in lines]
    first = {key.strip(): value.strip() for key, _, value in reversed(pairs)}
    name = first.get("model name", platform.machine())
    if "cpu family" not in first:
        return name
    return f"{name} (family {first['cpu family']}, model {first['model']})"
