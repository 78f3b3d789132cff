"""Memory in huge pages for a training on the CPU."""

import os
import sys

# Huge pages, and memory that the process keeps: in one heap (arena_max) that is never given back
# (trim_threshold, bytes). But a block of 64 MiB or more (mmap_threshold) comes from the kernel and
# goes back to it: in the heap its place may not fit it again, and the heap grows by as much.
SETTING = (
    "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=67108864:glibc.malloc.arena_max=1"
    ":glibc.malloc.trim_threshold=68719476736"
)


def restart_with_huge_pages() -> None:
    """Starts this command again with glibc told to keep memory in huge pages, if it was not yet.

    XLA takes its buffers from malloc anew at each step, and Linux clears fresh memory page by page:
    tens of thousands of page faults a step, a tenth and more of its time: benchmarks/huge_pages.py.
    Huge pages make them hundreds. glibc reads the setting only when a
    process starts. Without glibc, or where the user has set huge pages, it changes nothing.
    """
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    if sys.platform != "linux" or "glibc.malloc.hugetlb" in tunables:
        return
    os.environ["GLIBC_TUNABLES"] = f"{tunables}:{SETTING}" if tunables else SETTING
    sys.stdout.flush()
    os.execv(sys.executable, sys.orig_argv)
