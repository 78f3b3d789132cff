"""What this CPU can do, as Linux tells it."""

import functools
import pathlib

CPUINFO = pathlib.Path("/proc/cpuinfo")


def has_bfloat16() -> bool:
    """Returns whether this CPU multiplies bfloat16, by AVX-512 or AMX; False if it is silent."""
    return not _words(CPUINFO).isdisjoint(("avx512_bf16", "amx_bf16"))


def has_bfloat16_tiles() -> bool:
    """Returns whether this CPU has AMX, which multiplies tiles of bfloat16; False if silent."""
    return "amx_bf16" in _words(CPUINFO)


@functools.cache
def _words(path: pathlib.Path) -> frozenset[str]:
    try:
        return frozenset(path.read_text().split())
    except OSError:
        return frozenset()
