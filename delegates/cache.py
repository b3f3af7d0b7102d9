"""Compiled programs and measured choices, kept on disk from one process to the next.

A file is read only where nobody but the user can have written it, and its content is given on only where its digest is
right and it belongs to the key. Whatever fails, on a full disk or in a read-only home, is as if nothing had been kept.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import struct
import sys
import tempfile
import warnings
import weakref
from contextlib import suppress
from pathlib import Path

from tflgpu.debug import PARTITIONS, say
from tflgpu.delegation.options import Option, count

MAGIC = b"tflgpu cache, format 1\r\n"
HEADER = struct.Struct("<24s32sQ32s")
"""MAGIC, the key's digest, the content's length, and the digest of these three and the content."""

CACHE_OPTIONS = {
    "cache_dir": Option("", str, "where compiled kernels are kept; none keeps them nowhere"),
    "cache_bytes": Option(1 << 30, count, "the most that cache_dir may hold; the least recently used goes"),
}

PREFIX, KEPT, DRAFT = "tflgpu-", ".bin", ".tmp"

_said: set[str] = set()


class ProgramCache:
    """The files of one folder; None: nothing is kept. bound: bytes that they may take, the least recently used goes."""

    def __init__(self, folder: Path | None, bound: int = CACHE_OPTIONS["cache_bytes"].default):
        self._folder, self._bound = folder, bound

    @property
    def keeps(self) -> bool:
        """Whether there is a folder to keep anything in."""
        return self._folder is not None

    def get(self, key: str) -> bytes | None:
        """What was kept under the key; None where there is nothing, or not exactly what was put there."""
        if self._folder is None:
            return None
        try:
            if not self._is_trusted(self._folder):
                return None
            return _read(self.path(key), hashlib.sha256(key.encode()).digest())
        except OSError:
            return None

    def put(self, key: str, content: bytes) -> None:
        """Keeps the content under the key, in place of what is there, where the folder can be written."""
        start = MAGIC, hashlib.sha256(key.encode()).digest(), len(content)
        if self._folder is None or HEADER.size + len(content) > self._bound:
            return
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._is_trusted(self._folder):
                self._make_room(HEADER.size + len(content), self.path(key).name)
                write_whole(self.path(key), HEADER.pack(*start, _digest(*start, content)) + content)
        except OSError as error:
            if _is_news(str(self._folder)):
                say(PARTITIONS, f"nothing can be kept in {self._folder}: {error}")

    def drop(self, key: str) -> None:
        """Forgets what is kept under the key."""
        if self._folder is not None:
            with suppress(OSError):  # a folder that may only be read
                self.path(key).unlink()

    def path(self, key: str) -> Path:
        """The file of the key, whether it is there or not. Only where there is a folder."""
        assert self._folder is not None
        return self._folder / f"{PREFIX}{hashlib.sha256(key.encode()).hexdigest()}{KEPT}"

    def _make_room(self, nbytes: int, name: str) -> None:
        """Removes files, the least recently used first, until nbytes more fit. name: of the file to be replaced."""
        with os.scandir(self._folder) as entries:
            ours = [e for e in entries if e.name.startswith(PREFIX) and e.name.endswith((KEPT, DRAFT))]
        found = []
        for entry in ours:
            with suppress(FileNotFoundError):  # another process has removed or renamed it
                info = entry.stat(follow_symlinks=False)
                found += [(info.st_mtime_ns, info.st_size, entry.path)] if entry.name != name else []
        excess = sum(size for _, size, _ in found) + nbytes - self._bound
        for _, size, path in sorted(found):
            if excess <= 0:
                break
            Path(path).unlink(missing_ok=True)
            excess -= size

    def _is_trusted(self, folder: Path) -> bool:
        """Whether nobody else could have put files there; says once where somebody could. Raises OSError if none."""
        wrong = _distrust(os.lstat(folder)) or _distrust(os.stat(folder))
        if wrong and _is_news(f"{folder} {wrong}"):
            said = f"tflgpu: the cache folder {folder} {wrong}: it is not used, and kernels are compiled anew"
            warnings.warn(said, RuntimeWarning, stacklevel=3)
        return not wrong


NOWHERE = ProgramCache(None)


def cache_folder(option: str, name: str) -> Path | None:
    """Where files are kept: option, or the folder of that name in the user's cache; None for "none".

    Raises ValueError where option begins with the home folder of a user that there is not.
    """
    if option.lower() == "none":
        return None
    if option:
        folder = os.path.expanduser(option)
        if folder.startswith("~"):
            raise ValueError(f"option cache_dir={option!r}: there is no such home folder; write ./~… for a name with ~")
        return Path(folder).absolute()
    if sys.platform == "win32":
        root = os.environ.get("LOCALAPPDATA") or os.path.expanduser("~/AppData/Local")
    elif sys.platform == "darwin":
        root = os.path.expanduser("~/Library/Caches")
    else:
        root = os.environ.get("XDG_CACHE_HOME", "")
        root = root if os.path.isabs(root) else os.path.expanduser("~/.cache")
    if not os.path.isabs(root):  # a user without a home folder
        return None
    folder = os.path.join(root, "tflgpu", name)
    with suppress(OSError):  # there is none yet, or it is somebody else's
        mode = os.lstat(folder).st_mode
        if stat.S_ISDIR(mode) and mode & 0o077:
            os.chmod(folder, 0o700)
    return Path(folder)


def write_whole(path: Path, content: bytes, sync: bool = True) -> None:
    """Writes a private file whole or not at all, even if the process ends, with sync the machine. Raises OSError."""
    number, draft = tempfile.mkstemp(prefix=PREFIX, suffix=DRAFT, dir=path.parent)
    try:
        with open(number, "wb") as file:
            file.write(content)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(draft)
        raise


def process_folder(owner: object, prefix: str) -> Path:
    """A private folder for files that must have a path to be loaded; it goes with its owner or the process."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    weakref.finalize(owner, _remove, folder, os.getpid())
    return folder


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:  # and not one that was forked from it
        shutil.rmtree(folder, ignore_errors=True)


def _read(path: Path, key: bytes) -> bytes | None:
    """The content of a file; None where it is not as `put` has written it for that key. Raises OSError."""
    with open(path, "rb", opener=_open) as file:
        info = os.fstat(file.fileno())
        if _distrust(info) or not stat.S_ISREG(info.st_mode) or info.st_size < HEADER.size:
            return None
        header = file.read(HEADER.size)
        magic, of_key, length, digest = HEADER.unpack(header)
        if (magic, of_key, length) != (MAGIC, key, info.st_size - HEADER.size):
            return None
        content = file.read(length)
        if _digest(magic, of_key, length, content) != digest:
            return None
        with suppress(OSError):  # of a file that may only be read, nobody knows when it was last used
            os.utime(path)
        return content


def _open(path: str, flags: int) -> int:
    """Follows no link, and does not wait where the file is a pipe."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))


def _digest(magic: bytes, key: bytes, length: int, content: bytes) -> bytes:
    return hashlib.sha256(HEADER.pack(magic, key, length, b"")[:-32] + content).digest()


def _distrust(info: os.stat_result) -> str:
    """Why somebody else may have written a file or a folder, in words; "" where only this user and root can."""
    if sys.platform == "win32":
        return ""
    if info.st_uid not in (os.geteuid(), 0):
        return f"belongs to user {info.st_uid}, not to {os.geteuid()}"
    if not stat.S_ISLNK(info.st_mode) and info.st_mode & 0o022:
        return f"may be written by others (mode {stat.S_IMODE(info.st_mode):o}; chmod go-w makes it private)"
    return ""


def _is_news(text: str) -> bool:
    """Whether it is asked for the first time in this process."""
    known = text in _said
    _said.add(text)
    return not known
