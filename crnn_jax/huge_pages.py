"""Memory in huge pages for a training on the CPU."""

import os
import sys

_SETTING = "glibc.malloc.hugetlb=1"


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
    os.environ["GLIBC_TUNABLES"] = f"{tunables}:{_SETTING}" if tunables else _SETTING
    sys.stdout.flush()
    os.execv(sys.executable, sys.orig_argv)
