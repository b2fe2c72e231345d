"""What the operating system knows of this process."""

from __future__ import annotations

import gc
import resource
import sys
from pathlib import Path

GC_YOUNG = 50_000
"""A decoded batch is tens of thousands of short-lived containers and no cycles: look for those rarely."""


def memory_bytes() -> int:
    """Resident memory now, or its peak where only that is known."""
    try:
        with Path("/proc/self/statm").open(encoding="ascii") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def spare_the_collector() -> None:
    """What was built at start stays for ever: the cycle collector need not walk it at every batch."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_YOUNG, 20, 100)
