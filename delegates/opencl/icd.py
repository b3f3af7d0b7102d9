"""Opens OpenCL's runtimes so that other libraries of the process do not change them, and finds Intel's of pip.

An OpenCL loader opens, at the process's first OpenCL call, the libraries that the .icd files of one folder name. They
take symbols that they define from whoever exported them before: LLVM's from TensorFlow, and crash. A library
that is open already is not opened again. So these are opened here first, each with its own symbols before all others.
No variable of the environment is set: they are the whole process's, and its threads read them at any time.

Intel's OpenCL runtime for CPUs, as pip installs it (intel-opencl-rt), is a library that no loader looks for: the .icd
file of its wheel names a folder of the machine that built it. Its platform is asked of the library itself.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

PACKAGE, LIBRARY = "intel-opencl-rt", "libintelocl.so"
CHOICES = ("OCL_ICD_VENDORS", "OPENCL_VENDOR_PATH", "OCL_ICD_FILENAMES")
"""What a user sets to say which runtimes there are."""
SYSTEM = "/etc/OpenCL/vendors"
TBB = "libtbb.so.12"
"""What Intel's runtime needs of its own version, and OpenVINO brings an older one of."""

failures: dict[str, str] = {}
"""Libraries that could not be opened, with the system loader's words."""

_open: dict[str, ctypes.CDLL] = {}


def open_all() -> None:
    """Opens what an OpenCL loader will open, and Intel's runtime; what fails is noted in failures."""
    if sys.platform == "linux":
        for library in [*offered(), *filter(None, [intel()])]:
            _opened(library)


def intel_platforms() -> Sequence[int]:
    """The cl_platform_id of Intel's runtime of pip; none where it is not installed, or cannot be opened."""
    path = intel()
    library = None if path is None else _opened(path)
    if library is None:
        return ()
    address_of = library.clGetExtensionFunctionAddress
    address_of.restype, address_of.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint, ctypes.POINTER(ctypes.c_void_p), ctypes.POINTER(ctypes.c_uint))
    get_platforms = kind(address_of(b"clIcdGetPlatformIDsKHR"))
    count, found = ctypes.c_uint(), (ctypes.c_void_p * 4)()
    if get_platforms(len(found), found, ctypes.byref(count)):  # an error, of which there is no more to know
        return ()
    return [platform for platform in found[: count.value] if platform]


def intel() -> str | None:
    """The library of Intel's runtime; None where pip has none installed, or the user says which runtimes there are."""
    if sys.platform != "linux" or any(choice in os.environ for choice in CHOICES):
        return None
    try:
        installed = metadata.files(PACKAGE) or ()
    except metadata.PackageNotFoundError:
        return None
    found = [Path(str(file.locate())).resolve() for file in installed if file.name == LIBRARY]
    return next((str(path) for path in found if path.exists()), None)


def offered() -> Iterator[str]:
    """The libraries that the system's and the user's .icd files name."""
    said = next(filter(None, map(os.environ.get, CHOICES[:2])), None)
    chosen = Path(said or SYSTEM)
    if said and not chosen.is_dir() and chosen.suffix != ".icd":
        yield said  # a library itself, which a loader takes too
        return
    for icd in [chosen] if chosen.suffix == ".icd" else sorted(chosen.glob("*.icd")):
        try:
            yield icd.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            failures[str(icd)] = str(error)


def _opened(library: str) -> ctypes.CDLL | None:
    if library not in _open:
        try:
            _open_before_others(library)
            _open[library] = ctypes.CDLL(library)
            failures.pop(library, None)
        except OSError as error:
            failures[library] = str(error)
    return _open.get(library)


def _open_before_others(library: str) -> None:
    """Opens it so that it sees its own symbols, and those of the libraries beside it, before all others."""
    mode = os.RTLD_NOW | (0 if _malloc_is_replaced() else os.RTLD_DEEPBIND)
    tbb = Path(library).with_name(TBB)
    if not tbb.exists():
        ctypes.CDLL(library, mode)
        return
    # By its name the system's loader would take whichever TBB is loaded; by a path in a library's needs it takes that.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tflgpu-icd.so")
        path.write_bytes(library_that_needs([str(tbb), library]))
        ctypes.CDLL(str(path), mode)


def _malloc_is_replaced() -> bool:
    """Whether another malloc was put before libc's, which a library that sees its own symbols first would not use."""
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:
        return True  # another C library, whose loader knows no order of symbols
    addresses = [ctypes.cast(owner.malloc, ctypes.c_void_p).value for owner in (ctypes.CDLL(None), libc)]
    return addresses[0] != addresses[1]


def library_that_needs(paths: Sequence[str]) -> bytes:
    """An ELF file for x86-64 with nothing in it but the names of other libraries, which are searched in this order."""
    load, dynamic, stack = 1, 2, 0x6474E551
    needed, strtab, symtab, strsz, syment = 1, 5, 6, 10, 11
    names, offsets = b"\0", []
    for path in paths:
        offsets.append(len(names))
        names += os.fsencode(path) + b"\0"
    header_size, program_size, symbol_size = 64, 56, 24
    dynamic_at = header_size + 3 * program_size
    symbols_at = dynamic_at + 16 * (len(paths) + 5)
    names_at = symbols_at + symbol_size
    size = names_at + len(names)
    tags = [(needed, offset) for offset in offsets]
    tags += [(strtab, names_at), (symtab, symbols_at), (strsz, len(names)), (syment, symbol_size), (0, 0)]
    identity = b"\x7fELF" + bytes([2, 1, 1]).ljust(12, b"\0")  # 64 bits, least byte first, version 1
    shared, x86_64 = 3, 62
    counts = header_size, program_size, 3, 64, 0, 0
    header = struct.pack("<HHIQQQIHHHHHH", shared, x86_64, 1, 0, header_size, 0, 0, *counts)
    segments = [(load, 0, size, 4096), (dynamic, dynamic_at, symbols_at - dynamic_at, 8), (stack, 0, 0, 16)]
    read_write = 6  # not executable: the stack's entry else makes every stack so
    programs = [struct.pack("<IIQQQQQQ", kind, read_write, at, at, at, n, n, step) for kind, at, n, step in segments]
    table = [struct.pack("<QQ", *tag) for tag in tags]
    return b"".join([identity, header, *programs, *table, bytes(symbol_size), names])
