"""What the cgroups around this process allow it, of version 1 or 2."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cache


def text_of(*path: str | os.PathLike[str]) -> str:
    """What is in a file. Raises OSError where there is none."""
    with open(os.path.join(*path)) as file:  # pathlib takes 3 ms to import
        return file.read()


def cgroups(controller: str, root: str | os.PathLike[str] = "/") -> Iterator[tuple[str, bool]]:
    """The folder of each cgroup around this process that the controller may limit, and whether it is of version 1."""
    with suppress(OSError):
        for line in text_of(root, "proc/self/cgroup").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and controller not in controllers.split(","):
                continue
            mounted = os.path.join(root, "sys/fs/cgroup", controller if controllers else "")
            names = [name for name in path.split("/") if name]
            for depth in range(len(names), -1, -1):
                yield os.path.join(mounted, *names[:depth]), bool(controllers)


@cache
def memory_of_the_machine(root: str | os.PathLike[str] = "/") -> int:
    """Bytes of memory that this process may use: the machine's, or less where a cgroup allows less."""
    try:
        sizes = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    except (AttributeError, ValueError, OSError):  # no sysconf on Windows
        sizes = [1 << 40]
    for folder, first_version in cgroups("memory", root):
        with suppress(OSError, ValueError):  # no such file, or "max"
            sizes.append(int(text_of(folder, "memory.limit_in_bytes" if first_version else "memory.max")))
    return min(sizes)
