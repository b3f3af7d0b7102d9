"""What the cgroups around this process allow it, of version 1 or 2."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path, PurePosixPath


def cgroups(controller: str, root: Path = Path("/")) -> Iterator[tuple[Path, bool]]:
    """The folder of each cgroup around this process that the controller may limit, and whether it is of version 1."""
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and controller not in controllers.split(","):
                continue
            mounted = root / "sys/fs/cgroup" / (controller if controllers else "")
            inner = PurePosixPath(path).relative_to("/")
            for folder in (inner, *inner.parents):
                yield mounted / folder, bool(controllers)


@cache
def memory_of_the_machine(root: Path = Path("/")) -> int:
    """Bytes of memory that this process may use: the machine's, or less where a cgroup allows less."""
    try:
        sizes = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    except (AttributeError, ValueError, OSError):  # no sysconf on Windows
        sizes = [1 << 40]
    for folder, first_version in cgroups("memory", root):
        with suppress(OSError, ValueError):  # no such file, or "max"
            sizes.append(int((folder / ("memory.limit_in_bytes" if first_version else "memory.max")).read_text()))
    return min(sizes)
