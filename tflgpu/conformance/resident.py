"""What a process holds: bytes of memory, and blocks of Python's."""

from __future__ import annotations

import os
import sys


def resident_bytes() -> int:
    """Bytes of this process in memory; where only the peak can be known, that; 0 where nothing can."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        pass
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def python_blocks() -> int:
    """Blocks that Python's allocator has given out; 0 where it does not count."""
    count = getattr(sys, "getallocatedblocks", None)
    return 0 if count is None else int(count())
