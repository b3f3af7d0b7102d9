"""Checks wheels and sdists: the same bytes from each build, and in them what belongs there and nothing else.

python ci/check_release.py FOLDER ANOTHER FROM_SDIST    folders with a wheel and a .tar.gz each
"""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

ROOT = Path(__file__).parent.parent
LARGEST_WHEEL = 1_200_000
SUFFIXES = {".py", ".typed", ".h", ".inc", ".cl", ".clh", ".cu", ".cuh", ".cpp"}
"""Of files of the package: Python, kernels, and what the CUDA emulator is compiled from."""

IN_SDIST = {"tflgpu", "delegates", "kernels_cl", "kernels_cuda", "README.md", "LICENSE", "pyproject.toml", "PKG-INFO"}
OUTSIDE = {".gitignore"}
"""What hatchling adds to an sdist by itself."""


def one(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def version() -> str:
    """The version, on which all who name it agree."""
    named = {
        "pyproject.toml": r'^version = "(.*)"',
        "CITATION.cff": r"^version: (.*)",
        "tflgpu/__init__.py": r'^__version__ = "(.*)"',
    }
    found = {name: re.search(pattern, (ROOT / name).read_text(), re.M)[1] for name, pattern in named.items()}
    assert len(set(found.values())) == 1, found
    return found["pyproject.toml"]


def check_wheel(path: Path) -> None:
    size = path.stat().st_size
    assert size < LARGEST_WHEEL, f"{path.name} has {size:,} bytes"
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        info = f"tflgpu-{version()}.dist-info/"
        stray = [n for n in names if not n.startswith(("tflgpu/", info))]
        stray += [n for n in names if n.startswith("tflgpu/") and Path(n).suffix not in SUFFIXES]
        assert not stray, stray
        for wanted in (
            "tflgpu/py.typed",
            "tflgpu/delegates/gpu.py",
            "tflgpu/kernels_cl/prelude.clh",
            f"{info}licenses/LICENSE",
        ):
            assert wanted in names, wanted
        about = Parser().parsestr(wheel.read(f"{info}METADATA").decode())
    assert about["Name"] == "tflgpu" and about["Version"] == version(), (about["Name"], about["Version"])
    assert about["License-Expression"] == "Apache-2.0" and about["Requires-Python"] and about["Summary"]
    assert about["Description-Content-Type"] == "text/markdown" and about.get_payload().startswith("# tflgpu")
    core = [r for r in about.get_all("Requires-Dist") if "extra ==" not in r]
    assert len(core) == 3, f"the core has three dependencies: {core}"
    assert not about.get_all("Project-URL"), "no host has the project yet: a URL would be dead"
    print(f"{path.name}: {len(names)} files, {size:,} bytes, needs {', '.join(core)}")


def check_sdist(path: Path) -> None:
    with tarfile.open(path) as sdist:
        names = [member.name.split("/", 1)[1] for member in sdist if "/" in member.name]
    stray = [n for n in names if n.split("/")[0] not in IN_SDIST | OUTSIDE or "__pycache__" in n]
    assert not stray, stray
    print(f"{path.name}: {len(names)} files, {path.stat().st_size:,} bytes")


def main() -> None:
    first, second, from_sdist = map(Path, sys.argv[1:])
    for pattern in ("*.whl", "*.tar.gz"):
        same = one(first, pattern).read_bytes() == one(second, pattern).read_bytes()
        assert same, f"two builds of one commit differ: {one(first, pattern).name}"
    assert one(first, "*.whl").read_bytes() == one(from_sdist, "*.whl").read_bytes(), "the sdist makes another wheel"
    check_wheel(one(first, "*.whl"))
    check_sdist(one(first, "*.tar.gz"))
    print("both builds are equal to the byte, and so is the wheel that the sdist makes")


if __name__ == "__main__":
    main()
