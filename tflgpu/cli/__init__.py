"""The command line: run, compile, batch, serve, inspect, edit, benchmark, compare, conformance, doctor, exec.

All but `exec` and `doctor` need the extra `tflgpu[cli]`.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command that the arguments name. Exits with 2 where typer and rich are not installed."""
    if sys.argv[1:2] == ["exec"]:
        from tflgpu.cli import exec

        exec.main(sys.argv[2:])
    try:
        from tflgpu.cli.app import app
    except ModuleNotFoundError as missing:
        if missing.name not in ("typer", "rich", "click"):
            raise
        if sys.argv[1:2] == ["doctor"]:
            from tflgpu.cli import doctor

            doctor.doctor("--json" in sys.argv[2:])
            return
        sys.exit(f"The tflgpu command needs {missing.name}: pip install 'tflgpu[cli]'")
    app()
