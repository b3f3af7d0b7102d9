"""Intel's OpenCL runtime for CPUs as pip installs it (intel-opencl-rt): a library that no OpenCL loader looks for.

The .icd file of its wheel names a folder of the machine that built it. A loader reads the .icd files of one folder,
which OCL_ICD_VENDORS may name, at the process's first OpenCL call and never again.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

PACKAGE, LIBRARY = "intel-opencl-rt", "libintelocl.so"
CHOICES = ("OCL_ICD_VENDORS", "OPENCL_VENDOR_PATH", "OCL_ICD_FILENAMES")
"""What a user sets to say which runtimes there are."""
SYSTEM = Path("/etc/OpenCL/vendors")


def library() -> Path | None:
    """The runtime's library; None where pip has not installed it, and on other systems than Linux."""
    if sys.platform != "linux":
        return None
    try:
        installed = metadata.files(PACKAGE) or ()
    except metadata.PackageNotFoundError:
        return None
    found = [Path(str(file.locate())).resolve() for file in installed if file.name == LIBRARY]
    return next((path for path in found if path.exists()), None)


@contextmanager
def visible() -> Iterator[None]:
    """Makes the runtime a platform besides the system's, if the process's first OpenCL call is made inside."""
    runtime = library()
    if runtime is None or any(choice in os.environ for choice in CHOICES):
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        for icd in SYSTEM.glob("*.icd"):
            shutil.copy(icd, folder)
        Path(folder, "intel.icd").write_text(f"{runtime}\n")
        os.environ[CHOICES[0]] = folder
        try:
            yield
        finally:
            del os.environ[CHOICES[0]]
