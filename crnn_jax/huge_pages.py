"""Memory in huge pages for a training on the CPU."""

import os
import sys

# Huge pages, and memory that the process keeps: all of it in one heap (mmap_max, arena_max) that is
# never given back (trim_threshold, bytes).
SETTING = (
    "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.arena_max=1"
    ":glibc.malloc.trim_threshold=68719476736"
)


def restart_with_huge_pages() -> None:
    """Starts this command again with glibc told to ask for huge pages, if it was not yet.

    XLA takes its buffers from malloc anew at each step, and Linux fills fresh memory page by page:
    tens of thousands of page faults a step, a tenth and more of its time, that huge pages avoid
    (benchmarks/huge_pages.py). glibc reads the setting only when a process starts. Without glibc,
    or with huge pages switched off, it changes nothing.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if sys.platform != "linux" or "glibc.malloc.hugetlb" in tunables:
        return
    os.environ["GLIBC_TUNABLES"] = f"{tunables}:{SETTING}" if tunables else SETTING
    sys.stdout.flush()
    os.execv(sys.executable, sys.orig_argv)
