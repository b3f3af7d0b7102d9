"""What is kept on disk between processes comes back exactly or not at all, whoever did what to the files."""

from __future__ import annotations

import errno
import os
import shutil
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
def kept(tmp_path: Path) -> ProgramCache:
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


def test_what_was_put_comes_back_under_its_key_alone_and_in_another_process(kept: ProgramCache) -> None:
    assert kept.get("key") == CONTENT
    assert kept.get("other key") is None
    code = f"""
from pathlib import Path
from tflgpu.delegates.cache import ProgramCache
kept = ProgramCache(Path({str(kept.path("key").parent)!r}))
assert kept.get("key") == bytes(range(256)) * 4
kept.put("key", b"")
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert kept.get("key") == b""


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
def test_a_damaged_file_is_as_none_and_is_replaced(damage: Callable[[bytes], bytes], kept: ProgramCache) -> None:
    path = kept.path("key")
    good = path.read_bytes()
    path.write_bytes(damage(good))
    assert kept.get("key") is None
    kept.put("key", CONTENT)
    assert kept.get("key") == CONTENT and path.read_bytes() == good


def test_the_file_of_another_key_is_as_none(kept: ProgramCache) -> None:
    kept.put("other", CONTENT)
    kept.path("other").replace(kept.path("key"))
    assert kept.get("key") is None


def test_a_link_to_a_good_file_is_not_followed_and_what_it_names_is_not_written(
    kept: ProgramCache, tmp_path: Path
) -> None:
    path, target = kept.path("key"), tmp_path / "target"
    path.rename(target)
    path.symlink_to(target)
    assert kept.get("key") is None
    before = target.read_bytes()
    kept.put("key", b"new")
    assert kept.get("key") == b"new" and not path.is_symlink() and target.read_bytes() == before


def test_a_pipe_or_a_folder_instead_of_the_file_is_as_none(kept: ProgramCache) -> None:
    path = kept.path("key")
    path.unlink()
    os.mkfifo(path)
    assert kept.get("key") is None
    path.unlink()
    path.mkdir()
    assert kept.get("key") is None
    kept.put("key", CONTENT)  # cannot be done, and nothing is left behind
    assert kept.get("key") is None and os.listdir(path.parent) == [path.name]


def test_the_folder_and_its_files_are_the_users_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        kept = ProgramCache(tmp_path / "a" / "b")
        kept.put("key", CONTENT)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    assert stat.S_IMODE(kept.path("key").stat().st_mode) == 0o600


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777, 0o1777])
def test_a_folder_that_others_may_write_is_not_used_which_is_said_once(mode: int, kept: ProgramCache) -> None:
    folder = kept.path("key").parent
    folder.chmod(mode)
    with pytest.warns(RuntimeWarning, match=rf"{folder} may be written by others \(mode {mode:o}; chmod go-w"):
        assert kept.get("key") is None
    kept.put("new", CONTENT)
    assert not kept.path("new").exists()
    folder.chmod(0o755)
    assert kept.get("key") == CONTENT


def test_a_file_that_others_may_write_is_as_none(kept: ProgramCache) -> None:
    kept.path("key").chmod(0o622)
    assert kept.get("key") is None


def test_a_folder_of_another_user_is_not_used_which_is_said_once(kept: ProgramCache) -> None:
    as_root()
    folder = kept.path("key").parent
    os.chown(folder, 12345, -1)
    with pytest.warns(RuntimeWarning, match=f"{folder} belongs to user 12345, not to {os.geteuid()}"):
        assert kept.get("key") is None
    kept.put("new", CONTENT)
    assert not kept.path("new").exists()


def test_a_link_of_another_user_to_a_folder_is_not_used(kept: ProgramCache, tmp_path: Path) -> None:
    as_root()
    link = tmp_path / "link"
    link.symlink_to(kept.path("key").parent)
    assert ProgramCache(link).get("key") == CONTENT
    os.chown(link, 12345, -1, follow_symlinks=False)
    with pytest.warns(RuntimeWarning, match="belongs to user 12345"):
        assert ProgramCache(link).get("key") is None


def test_a_file_of_another_user_is_as_none(kept: ProgramCache) -> None:
    as_root()
    os.chown(kept.path("key"), 12345, -1)
    assert kept.get("key") is None


def test_the_least_recently_used_go_where_the_bound_is_reached(tmp_path: Path) -> None:
    size = HEADER.size + len(CONTENT)
    kept = ProgramCache(tmp_path, bound=3 * size)
    weights = tmp_path / "model-weights.bin"  # somebody else's
    weights.write_bytes(bytes(10 * size))
    for age, key in enumerate(("oldest", "old", "newest")):
        kept.put(key, CONTENT)
        os.utime(kept.path(key), (1000 + age, 1000 + age))
    assert kept.get("oldest") == CONTENT  # which is a use
    kept.put("newest", CONTENT)  # in its own place
    assert all(kept.path(key).exists() for key in ("oldest", "old", "newest"))
    kept.put("more", CONTENT)
    assert [key for key in ("oldest", "old", "newest", "more") if kept.get(key)] == ["oldest", "newest", "more"]
    kept.put("whole", bytes(3 * size - HEADER.size))
    assert {path.name for path in tmp_path.iterdir()} == {weights.name, kept.path("whole").name}
    kept.put("too much", bytes(3 * size - HEADER.size + 1))
    assert {path.name for path in tmp_path.iterdir()} == {weights.name, kept.path("whole").name}


def test_what_an_ended_process_has_begun_to_write_counts_and_goes(tmp_path: Path) -> None:
    kept = ProgramCache(tmp_path, bound=3000)
    draft = tmp_path / "tflgpu-abc.tmp"
    draft.write_bytes(bytes(2500))
    os.utime(draft, (1000, 1000))
    kept.put("key", CONTENT)
    assert kept.get("key") == CONTENT and not draft.exists()


RACE = """
import random, sys, time
from pathlib import Path
from tflgpu.delegates.cache import ProgramCache
seed = int(sys.argv[2])
rng, kept = random.Random(seed), ProgramCache(Path(sys.argv[1]), bound=40_000)
found, end = 0, time.monotonic() + 3
while time.monotonic() < end:
    number = rng.randrange(20)
    content = kept.get(f"key {number}")
    assert content in (None, bytes([number]) * 1000 * (number + 1)), number
    found += content is not None
    kept.put(f"key {number}", bytes([number]) * 1000 * (number + 1))
assert found
"""


def test_processes_at_once_read_nothing_torn_and_keep_to_the_bound(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", RACE, str(tmp_path / "shared")]
    running = [subprocess.Popen([*command, str(seed)], stderr=subprocess.PIPE) for seed in range(3)]
    assert [process.communicate()[1] for process in running] == [b""] * 3
    assert sum(path.stat().st_size for path in (tmp_path / "shared").iterdir()) <= 40_000 + 2 * 20_100
    assert not list((tmp_path / "shared").glob("*.tmp"))


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("call", ["fsync", "replace", "scandir"])
def test_a_file_that_cannot_be_written_is_not_kept_and_nothing_is_left_of_it(
    call: str, error: int, kept: ProgramCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: Any) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, call, fails)
    kept.put("new", CONTENT)
    kept.put("key", b"other")
    monkeypatch.undo()
    assert os.listdir(kept.path("key").parent) == [kept.path("key").name]
    assert kept.get("new") is None and kept.get("key") == CONTENT


def in_a_mount(options: str, folder: Path, code: str, **environment: str) -> None:
    """Runs Python where a tmpfs, which nobody else sees, is mounted on the folder. Skips where that is not allowed."""
    if not shutil.which("unshare"):
        pytest.skip("unshare (util-linux) is not installed")
    start = ["unshare", *(["--map-root-user"] if os.geteuid() else []), "--mount", "sh", "-c"]
    mount = f"mount -t tmpfs -o {options} tmpfs '{folder}'"
    if subprocess.run([*start, mount], capture_output=True).returncode:
        pytest.skip("this user may not mount in a namespace of its own")
    run = [*start, f'{mount} && exec "$@"', "sh", sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(run, env={**os.environ, **environment}, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0 and done.stdout.endswith("right\n"), done.stderr
    assert not done.stderr


FULL = """
import os
from pathlib import Path
from tflgpu.delegates.cache import ProgramCache
folder = Path({folder!r}) / "programs"
kept = ProgramCache(folder)
kept.put("small", b"small")
kept.put("large", bytes(1 << 20))
assert kept.get("small") == b"small" and kept.get("large") is None
assert os.listdir(folder) == [kept.path("small").name]
print("right")
"""


def test_a_full_disk_keeps_what_it_has(tmp_path: Path) -> None:
    in_a_mount("size=64k", tmp_path, FULL.format(folder=str(tmp_path)))


RUN = """
import os, sys
sys.path.insert(0, {tests!r})
import numpy as np
from oracle import one_op, tflgpu_run
from tflgpu.delegation.discovery import load_delegate
spec = {{"type": "FLOAT32", "shape": [3]}}
options = {{"require_full": 1, "device": {device!r}, **{options!r}}}
delegate = load_delegate({name!r}, options)
(got,) = tflgpu_run(one_op("ABS", [spec], [spec]), [np.array([-1, 2, -3], np.float32)], [delegate])
assert got.tolist() == [1, 2, 3], got
print("right")
"""
DEVICES = [("opencl", "pocl"), ("opencl", "intel"), ("cuda", "emulator")]


def running(name: str, device: str, **options: Any) -> str:
    """A program that runs a model on the device, which is there; else the test is skipped."""
    from tflgpu.delegation.discovery import load_delegate

    try:
        load_delegate(name, {"device": device, "cache_dir": "none"})
    except (ValueError, ImportError) as error:
        pytest.skip(str(error))
    return RUN.format(tests=str(Path(__file__).parent.parent), name=name, device=device, options=options)


def run(code: str, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "right\n", "")


@pytest.mark.parametrize("name, device", DEVICES)
@pytest.mark.parametrize("options", ["size=16k", "size=16k,ro"], ids=["full", "read-only"])
def test_a_home_that_takes_no_file_is_no_hindrance(name: str, device: str, options: str, tmp_path: Path) -> None:
    code = running(name, device)
    places = {place: str(tmp_path / "driver") for place in ("POCL_CACHE_DIR", "TMPDIR")}
    (tmp_path / "driver").mkdir()
    (tmp_path / "home").mkdir()
    in_a_mount(options, tmp_path / "home", code, HOME=str(tmp_path / "home"), XDG_CACHE_HOME="", **places)


@pytest.mark.parametrize("name, device", DEVICES)
def test_a_damaged_or_exchanged_program_is_compiled_anew(name: str, device: str, tmp_path: Path) -> None:
    code = running(name, device, cache_dir=str(tmp_path / "programs"))
    run(code)
    good = {path: path.read_bytes() for path in (tmp_path / "programs").iterdir()}
    assert good
    last = [*good.values()][-1]
    for damage in (
        lambda data: data[: len(data) // 2],
        lambda data: data[HEADER.size :],  # the driver's own, as earlier versions kept them
        lambda data: data[: len(data) // 2] + bytes(range(64)) + data[len(data) // 2 + 64 :],
        lambda data: last if data != last else b"",
    ):
        for path, data in good.items():
            path.write_bytes(damage(data))
        run(code)
        kept = {path: path.read_bytes() for path in (tmp_path / "programs").iterdir()}
        assert kept.keys() == good.keys()
        assert all(kept[path] != damage(data) for path, data in good.items())


@pytest.mark.parametrize("name, device", DEVICES)
def test_processes_that_start_at_once_share_a_cache(name: str, device: str, tmp_path: Path) -> None:
    code = running(name, device, cache_dir=str(tmp_path / "programs"))
    command = [sys.executable, "-W", "error", "-c", code]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    assert [process.communicate() for process in both] == [(b"right\n", b"")] * 2
    assert not list((tmp_path / "programs").glob("*.tmp"))


def test_choices_of_the_tuner_are_kept_as_programs_are_and_join_those_of_others(tmp_path: Path) -> None:
    from tflgpu.delegates.autotune import Tuner

    kept = ProgramCache(tmp_path)
    first, second = Tuner("device", kept), Tuner("device", kept)
    first._chosen["a"], second._chosen["b"] = 1, 2
    first._keep()
    second._keep()
    assert Tuner("device", kept)._chosen == {"a": 1, "b": 2}
    assert Tuner("other device", kept)._chosen == {}
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes().replace(b'"a": 1', b'"a": 0'))
    assert Tuner("device", kept)._chosen == {}


def test_pyopencls_database_is_neither_made_nor_read(tmp_path: Path) -> None:
    code = running("opencl", "pocl", cache_dir="none")
    run(code, XDG_CACHE_HOME=str(tmp_path / "home"))
    assert not (tmp_path / "home" / "pytools").exists()
    (tmp_path / "home" / "pytools").write_text("where its database would be")
    run(code, XDG_CACHE_HOME=str(tmp_path / "home"))


def test_another_user_of_pyopencl_in_the_process_is_not_disturbed(tmp_path: Path) -> None:
    code = running("opencl", "pocl", cache_dir="none").replace('print("right")', "")
    code += """
import pyopencl as cl
assert not cl._PYOPENCL_NO_CACHE
context = delegate.device._context
queue, program = cl.CommandQueue(context), cl.Program(context, "kernel void three(global int* x) { x[0] = 3; }")
x, buffer = np.zeros(1, np.int32), cl.Buffer(context, cl.mem_flags.READ_WRITE, 4)
program.build().three(queue, (1,), None, buffer)
cl.enqueue_copy(queue, x, buffer)
assert x[0] == 3
print("right")
"""
    run(code, XDG_CACHE_HOME=str(tmp_path))


def test_the_folder_is_the_options_or_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert cache_folder("none", "x") is None
    assert cache_folder("~/kept", "x") == tmp_path / "kept"
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


def test_nothing_is_kept_nowhere() -> None:
    cache.NOWHERE.put("key", CONTENT)
    assert cache.NOWHERE.get("key") is None
    cache.NOWHERE.drop("key")
