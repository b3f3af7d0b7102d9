"""What is cached on disk between processes comes back exactly or not at all, whoever did what to the files."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tflgpu.delegates import cache
from tflgpu.delegates.cache import HEADER, ProgramCache, cache_folder, process_folder

if sys.platform == "win32":
    pytest.skip("Windows has no owners and modes of this kind", allow_module_level=True)

CONTENT = bytes(range(256)) * 4


@pytest.fixture
def stored(tmp_path: Path) -> ProgramCache:
    """A cache with CONTENT under "key"."""
    made = ProgramCache(tmp_path / "programs")
    made.put("key", CONTENT)
    return made


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_said", set())


def as_root() -> None:
    if os.geteuid():
        pytest.skip("only root gives files to other users")


def test_what_was_put_comes_back_under_its_key_alone_and_in_another_process(stored: ProgramCache) -> None:
    assert stored.get("key") == CONTENT
    assert stored.get("other key") is None
    script = f"""
from pathlib import Path
from tflgpu.delegates.cache import ProgramCache
stored = ProgramCache(Path({str(stored.path("key").parent)!r}))
assert stored.get("key") == bytes(range(256)) * 4
stored.put("key", b"")
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    assert stored.get("key") == b""


def flipped(offset: int, bit: int) -> Callable[[bytes], bytes]:
    def damage(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[offset] ^= 1 << bit
        return bytes(changed)

    return damage


# Every byte of the header, and bytes of the content; in each a bit.
FLIPS = {
    f"flip-{offset}": flipped(offset, offset % 8)
    for offset in (*range(HEADER.size), HEADER.size, HEADER.size + 511, HEADER.size + len(CONTENT) - 1)
}
CUTS = {
    f"cut-{length}": lambda data, length=length: data[:length]
    for length in (0, 1, 23, 24, 63, HEADER.size - 1, HEADER.size, HEADER.size + 1, 512, HEADER.size + len(CONTENT) - 1)
}
OTHERS: dict[str, Callable[[bytes], bytes]] = {
    "longer": lambda data: data + b"\0",
    "twice": lambda data: data + data,
    "zeros": lambda data: bytes(len(data)),
    "no header": lambda data: data[HEADER.size :],
    "another format": lambda data: data.replace(b"format 1", b"format 2"),
    "another content": lambda data: data[: HEADER.size] + bytes(len(CONTENT)),
}


@pytest.mark.parametrize("damage", [pytest.param(f, id=name) for name, f in {**FLIPS, **CUTS, **OTHERS}.items()])
def test_a_damaged_file_is_as_none_and_is_replaced(damage: Callable[[bytes], bytes], stored: ProgramCache) -> None:
    path = stored.path("key")
    good = path.read_bytes()
    path.write_bytes(damage(good))
    assert stored.get("key") is None
    stored.put("key", CONTENT)
    assert stored.get("key") == CONTENT and path.read_bytes() == good


def test_the_file_of_another_key_is_as_none(stored: ProgramCache) -> None:
    stored.put("other", CONTENT)
    stored.path("other").replace(stored.path("key"))
    assert stored.get("key") is None


def test_a_link_to_a_good_file_is_not_followed_and_what_it_names_is_not_written(
    stored: ProgramCache, tmp_path: Path
) -> None:
    path, target = stored.path("key"), tmp_path / "target"
    path.rename(target)
    path.symlink_to(target)
    assert stored.get("key") is None
    before = target.read_bytes()
    stored.put("key", b"new")
    assert stored.get("key") == b"new" and not path.is_symlink() and target.read_bytes() == before


def test_a_pipe_or_a_folder_instead_of_the_file_is_as_none(stored: ProgramCache) -> None:
    path = stored.path("key")
    path.unlink()
    os.mkfifo(path)
    assert stored.get("key") is None
    path.unlink()
    path.mkdir()
    assert stored.get("key") is None
    stored.put("key", CONTENT)  # cannot be done, and nothing is left
    assert stored.get("key") is None and os.listdir(path.parent) == [path.name]


def test_the_folder_and_its_files_are_the_users_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        stored = ProgramCache(tmp_path / "a" / "b")
        stored.put("key", CONTENT)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    assert stat.S_IMODE(stored.path("key").stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777, 0o1777])
def test_a_folder_that_others_may_write_is_not_used_which_is_said_once(mode: int, stored: ProgramCache) -> None:
    folder = stored.path("key").parent
    folder.chmod(mode)
    with pytest.warns(RuntimeWarning, match=rf"{folder} may be written by others \(mode {mode:o}; chmod go-w"):
        assert stored.get("key") is None
    stored.put("new", CONTENT)
    assert not stored.path("new").exists()
    folder.chmod(0o755)
    assert stored.get("key") == CONTENT


def test_a_file_that_others_may_write_is_as_none(stored: ProgramCache) -> None:
    stored.path("key").chmod(0o622)
    assert stored.get("key") is None


def test_a_folder_of_another_user_is_not_used_which_is_said_once(stored: ProgramCache) -> None:
    as_root()
    folder = stored.path("key").parent
    os.chown(folder, 12345, -1)
    with pytest.warns(RuntimeWarning, match=f"{folder} belongs to user 12345, not to {os.geteuid()}"):
        assert stored.get("key") is None
    stored.put("new", CONTENT)
    assert not stored.path("new").exists()


def test_a_link_of_another_user_to_a_folder_is_not_used(stored: ProgramCache, tmp_path: Path) -> None:
    as_root()
    link = tmp_path / "link"
    link.symlink_to(stored.path("key").parent)
    assert ProgramCache(link).get("key") == CONTENT
    os.chown(link, 12345, -1, follow_symlinks=False)
    with pytest.warns(RuntimeWarning, match="belongs to user 12345"):
        assert ProgramCache(link).get("key") is None


def test_a_file_of_another_user_is_as_none(stored: ProgramCache) -> None:
    as_root()
    os.chown(stored.path("key"), 12345, -1)
    assert stored.get("key") is None


def test_the_least_recently_used_go_where_the_bound_is_reached(tmp_path: Path) -> None:
    size = HEADER.size + len(CONTENT)
    stored = ProgramCache(tmp_path, bound=3 * size)
    weights = tmp_path / "model-weights.bin"  # somebody else's
    weights.write_bytes(bytes(10 * size))
    for age, key in enumerate(("oldest", "old", "newest")):
        stored.put(key, CONTENT)
        os.utime(stored.path(key), (1000 + age, 1000 + age))
    assert stored.get("oldest") == CONTENT  # which is a use
    stored.put("newest", CONTENT)  # a replacement
    assert all(stored.path(key).exists() for key in ("oldest", "old", "newest"))
    stored.put("more", CONTENT)
    assert [key for key in ("oldest", "old", "newest", "more") if stored.get(key)] == ["oldest", "newest", "more"]
    stored.put("whole", bytes(3 * size - HEADER.size))
    assert {path.name for path in tmp_path.iterdir()} == {weights.name, stored.path("whole").name}
    stored.put("too much", bytes(3 * size - HEADER.size + 1))
    assert {path.name for path in tmp_path.iterdir()} == {weights.name, stored.path("whole").name}


def test_what_an_ended_process_has_begun_to_write_counts_and_is_removed(tmp_path: Path) -> None:
    stored = ProgramCache(tmp_path, bound=3000)
    draft = tmp_path / "tflgpu-abc.tmp"
    draft.write_bytes(bytes(2500))
    os.utime(draft, (1000, 1000))
    stored.put("key", CONTENT)
    assert stored.get("key") == CONTENT and not draft.exists()


RACE = """
import random, sys, time
from pathlib import Path
from tflgpu.delegates.cache import ProgramCache
seed = int(sys.argv[2])
rng, stored = random.Random(seed), ProgramCache(Path(sys.argv[1]), bound=40_000)
found, end = 0, time.monotonic() + 3
while time.monotonic() < end:
    number = rng.randrange(20)
    content = stored.get(f"key {number}")
    assert content in (None, bytes([number]) * 1000 * (number + 1)), number
    found += content is not None
    stored.put(f"key {number}", bytes([number]) * 1000 * (number + 1))
assert found
"""


def test_concurrent_processes_read_nothing_torn_and_respect_the_bound(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", RACE, str(tmp_path / "shared")]
    running = [subprocess.Popen([*command, str(seed)], stderr=subprocess.PIPE) for seed in range(3)]
    assert [process.communicate()[1] for process in running] == [b""] * 3
    assert sum(path.stat().st_size for path in (tmp_path / "shared").iterdir()) <= 40_000 + 2 * 20_100
    assert not list((tmp_path / "shared").glob("*.tmp"))


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("call", ["fsync", "replace", "scandir"])
def test_a_file_that_cannot_be_written_leaves_nothing(
    call: str, error: int, stored: ProgramCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: Any) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, call, fails)
    stored.put("new", CONTENT)
    stored.put("key", b"other")
    monkeypatch.undo()
    assert os.listdir(stored.path("key").parent) == [stored.path("key").name]
    assert stored.get("new") is None and stored.get("key") == CONTENT


def test_the_folder_is_the_options_or_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert cache_folder("none", "x") is None
    assert cache_folder("~/programs", "x") == tmp_path / "programs"
    assert cache_folder("here", "x") == tmp_path / "here"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which its specification says to ignore
    assert cache_folder("", "x") == tmp_path / ".cache" / "tflgpu" / "x"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder("", "x") == tmp_path / "xdg" / "tflgpu" / "x"
    (tmp_path / "xdg" / "tflgpu" / "x").mkdir(parents=True, mode=0o775)
    cache_folder("", "x")
    assert stat.S_IMODE((tmp_path / "xdg" / "tflgpu" / "x").stat().st_mode) == 0o700


def test_a_home_that_there_is_not_is_an_error_where_it_is_named_and_else_no_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ValueError, match=r"cache_dir='~nobody-of-this-name/x': there is no such home folder"):
        cache_folder("~nobody-of-this-name/x", "x")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert cache_folder("", "x") is None


def test_files_to_be_loaded_go_with_their_owner_but_not_with_a_forked_process() -> None:
    class Owner:
        """Of a folder."""

    owner = Owner()
    folder = process_folder(owner, "tflgpu-test-")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    cache._remove(folder, os.getppid())
    assert folder.exists()
    del owner
    assert not folder.exists()


def test_without_a_cache_folder_nothing_is_cached() -> None:
    cache.NOWHERE.put("key", CONTENT)
    assert cache.NOWHERE.get("key") is None
    cache.NOWHERE.drop("key")
