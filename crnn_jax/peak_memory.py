"""The most memory that this process has used so far."""

import resource
import sys

import jax


def peak_memory() -> dict[str, int | None]:
    """Returns {"host": bytes, "device": bytes or None}: peaks since the process began.

    "host" is resident memory, with the input pipeline's and the compiler's, without that of worker
    processes. "device" is that of the local device that used most; None where JAX does not count
    it, as on a CPU, whose arrays are in the host's memory.
    """
    unit = 1 if sys.platform == "darwin" else 1024
    counts = [
        stats["peak_bytes_in_use"]
        for device in jax.local_devices()
        if (stats := device.memory_stats()) and "peak_bytes_in_use" in stats
    ]
    return {
        "host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
        "device": max(counts, default=None),
    }
