"""Says whether this installation can train, and what to do if not: python -m crnn_jax.doctor

Exit code 0 if it can, 1 if something is wrong.
"""

import contextlib
import dataclasses
import importlib.metadata
import io
import os
import pathlib
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable

from crnn_jax.config import default_config, override
from crnn_jax.disk import first_line
from crnn_jax.errors import OneLineParser

_INSTALL = "pip install -e . -c constraints.txt"
_LARGE_CACHE_GB = 5.0  # a cache of compiled programs


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of the report; with something to do about it, if that is needed."""

    text: str
    advice: str = ""


def check_packages() -> Finding:
    """Says which versions are installed, and which are missing or older than the tested ones."""
    from crnn_jax.provenance import versions

    found = "  ".join(f"{name} {version}" for name, version in versions().items() if version)
    try:
        requirements = importlib.metadata.requires("crnn-jax") or []
    except importlib.metadata.PackageNotFoundError:
        return Finding(found, f"the project itself is not installed: {_INSTALL}")
    wrong = [text for text in map(_unmet, requirements) if text]
    return Finding(found, f"{'; '.join(wrong)}: {_INSTALL}" if wrong else "")


def _unmet(requirement: str) -> str:
    """Returns what is wrong with a requirement such as "jax>=0.10.2"; "" for extras."""
    match = re.fullmatch(r"([A-Za-z0-9._-]+)>=([0-9.]+)", requirement)
    if not match:
        return ""
    name, lowest = match[1], match[2]
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return f"{name} is missing"
    if _numbers(version) < _numbers(lowest):
        return f"{name} {version} is older than {lowest}"
    return ""


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def check_devices() -> Finding:
    """Says which devices JAX sees, and whether it overlooks a GPU."""
    import jax

    from crnn_jax.provenance import describe_devices

    text = describe_devices()
    platform = os.environ.get("JAX_PLATFORMS", "")
    if jax.default_backend() == "cpu" and pathlib.Path("/dev/nvidiactl").exists():
        if platform:
            return Finding(text, f"there is a GPU, hidden by JAX_PLATFORMS={platform}: unset it")
        return Finding(text, 'there is a GPU that JAX does not see: pip install -e ".[cuda13]"')
    return Finding(text)


def check_matmul() -> Finding:
    """Checks a matrix product against NumPy's to the bit, and measures the speed of a large one."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    small = np.random.default_rng(0).integers(-3, 4, size=(2, 128, 128))
    # Small integers are exact in every floating-point format that a device may use inside.
    product = jax.jit(jnp.matmul)(*small.astype(np.float32))
    if not np.array_equal(np.asarray(product), small[0] @ small[1]):
        return Finding("matrix product: wrong values", "the device or its driver is faulty")
    size = 1024 if jax.default_backend() == "cpu" else 8192
    matrix = jnp.ones((size, size), jnp.float32)
    matmul = jax.jit(jnp.matmul)
    matmul(matrix, matrix).block_until_ready()
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        matmul(matrix, matrix).block_until_ready()
        seconds.append(time.perf_counter() - start)
    rate = 2 * size**3 / min(seconds) / 1e9
    return Finding(f"matrix product: right, {rate:,.0f} GFLOP/s (float32, {size} x {size})")


def check_training() -> Finding:
    """Trains a tiny model for two steps on the embedded digits, through the real loop."""
    import jax

    from crnn_jax.train.loop import train

    config = default_config("crnn")
    changes = {
        "duration": "2 steps",
        "batch_size": str(8 * jax.device_count()),
        "eval.batch_size": str(64 * jax.device_count()),
        "model.width": "4",
        "model.stage_multipliers": "(1, 2)",
        "model.num_conv_layers": "2",
        "model.hidden_units": "8",
        "checkpoint.every": "1 steps",
        "log.tracker": "none",
    }
    for key, text in changes.items():
        override(config, key, text)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as workdir, contextlib.redirect_stdout(io.StringIO()):
        result = train(config, workdir)
    seconds = time.perf_counter() - start
    total = result["test"]["num_examples"]
    return Finding(f"training: 2 steps and a test on {total} digits in {seconds:.1f} s")


def check_cache() -> Finding:
    """Says where decoded images and compiled programs are kept, and how much they take."""
    from crnn_jax.data.cache import cache_dir, make_writable

    folder = cache_dir(default_config("crnn").data)
    make_writable(folder)
    programs, everything = (_gigabytes(path) for path in (folder / "xla", folder))
    text = f"cache: {folder}, {everything:.2f} GB, of which compiled programs {programs:.2f} GB"
    if programs > _LARGE_CACHE_GB:
        return Finding(text, "prune it: python -m crnn_jax.data.cache prune --older_than=30d")
    free = shutil.disk_usage(folder).free / 1e9
    return Finding(text, f"only {free:.2f} GB are free there" if free < 1 else "")


def _gigabytes(folder: pathlib.Path) -> float:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # deleted in the meantime
            total += path.stat().st_size if path.is_file() else 0
    return total / 1e9


def check_data() -> Finding:
    """Says where TFDS data is looked for and what is there; the digits need none."""
    from crnn_jax.data.tfds_metadata import data_dir

    folder = data_dir(default_config("crnn").data.dir)
    found = sorted({path.parent.relative_to(folder) for path in _infos(folder)})
    if found:
        return Finding(f"data: {folder} has {', '.join(map(str, found))}")
    if "TFDS_DATA_DIR" in os.environ and not folder.is_dir():
        advice = "TFDS_DATA_DIR names no folder: correct it or unset it"
        return Finding(f"data: {folder} does not exist", advice)
    hint = "the digits need none; CIFAR-10: python -m crnn_jax.data.prepare cifar10"
    return Finding(f"data: none in {folder} ({hint})")


def _infos(folder: pathlib.Path) -> list[pathlib.Path]:
    return [
        path for depth in ("*/*", "*/*/*") for path in folder.glob(f"{depth}/dataset_info.json")
    ]


# Each check, and what to do when it fails without a word of its own.
CHECKS: tuple[tuple[Callable[[], Finding], str], ...] = (
    (check_packages, _INSTALL),
    (check_devices, 'reinstall JAX for this machine: pip install -e ".[cuda13]" (or cuda12, tpu)'),
    (check_matmul, "the device is taken by another program, or its driver does not fit JAX"),
    (check_training, "report this with the lines above"),
    (check_cache, "set XDG_CACHE_HOME to a folder that can be written"),
    (check_data, "set TFDS_DATA_DIR to a folder that can be read"),
)


def main(argv: list[str]) -> int:
    """Prints the findings; returns the exit code."""
    OneLineParser(prog="python -m crnn_jax.doctor", description=__doc__).parse_args(argv)
    problems = 0
    for check, advice in CHECKS:
        try:
            finding = check()
        except (Exception, SystemExit) as error:  # whatever is broken, the other checks go on
            name = check.__name__.removeprefix("check_")
            finding = Finding(f"{name}: {type(error).__name__}: {first_line(error)}", advice)
        print(f"{'FAIL' if finding.advice else 'ok  '}  {finding.text}", flush=True)
        if finding.advice:
            problems += 1
            print(f"      -> {finding.advice}", flush=True)
    print(f"{problems} to mend, see above" if problems else "fit to train")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
