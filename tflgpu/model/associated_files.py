"""Files that a model brings along: a ZIP archive after its FlatBuffer."""

from __future__ import annotations

import io
import zipfile

MOST_BYTES = 1 << 28
"""Of one file when unpacked: an archive of a few bytes could name any size."""


def names(content: memoryview) -> list[str]:
    """The files that a model's bytes bring along. Raises ValueError for an archive that cannot be read."""
    return [] if _without(content) else archive_of(content).namelist()


def read(content: memoryview, name: str) -> bytes:
    """One of these files. Raises ValueError, with the names that there are, where there is none of that name."""
    if name not in names(content):
        raise ValueError(f"the model brings no file {name!r} along; it has: {', '.join(names(content)) or 'none'}")
    archive = archive_of(content)
    size = archive.getinfo(name).file_size
    if size > MOST_BYTES:
        raise ValueError(f"associated file {name!r} has {size:,} bytes; at most {MOST_BYTES:,} are read")
    try:
        with archive.open(name) as file:
            found = file.read(MOST_BYTES + 1)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        raise ValueError(f"associated file {name!r} cannot be read: {error}") from None
    if len(found) > MOST_BYTES:
        raise ValueError(f"associated file {name!r} has more than {MOST_BYTES:,} bytes")
    return found


def appended(content: bytes, files: dict[str, bytes]) -> bytes:
    """A model's bytes, which end with their FlatBuffer, with these files after them."""
    if not files:
        return content
    out = io.BytesIO(content)
    with zipfile.ZipFile(out, "a", zipfile.ZIP_STORED) as archive:
        for name, data in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name), data)  # the same date always: deterministic bytes
    return out.getvalue()


def _without(content: memoryview) -> bool:
    """Whether there is no archive: most models have none, and looking for one reads the last 64 KiB."""
    return b"PK\5\6" not in content[-(1 << 16) - 22 :].tobytes()


def archive_of(content: memoryview) -> zipfile.ZipFile:
    """The ZIP archive at the end of these bytes, which are not copied. Raises ValueError where it cannot be read."""
    try:
        return zipfile.ZipFile(io.BufferedReader(_View(content)))
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise ValueError(f"the archive after the model cannot be read: {error}") from None


class _View(io.RawIOBase):
    """Memory as a file, without a copy."""

    def __init__(self, content: memoryview):
        super().__init__()
        self._content = content
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._content)}[whence]
        if base + offset < 0:
            raise ValueError(f"position {base + offset} is before the file")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        found = self._content[self._position : self._position + len(buffer)]
        buffer[: len(found)] = found
        self._position += len(found)
        return len(found)
