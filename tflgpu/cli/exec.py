"""`tflgpu exec`: a program that was written for TensorFlow Lite, on tflgpu, unchanged.

It needs only the standard library, and the program replaces its process: no typer, no wrapper that stays.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from optparse import OptionParser

from tflgpu.exec.settings import Settings

USAGE = """tflgpu exec [OPTIONS] (PROGRAM | -m MODULE) [ARGUMENTS]

Runs a program on tflgpu, unchanged: tflite_runtime.interpreter, ai_edge_litert.interpreter and
tensorflow.lite.python.interpreter, and so tf.lite.Interpreter, give tflgpu's classes in it and in the Pythons
that it starts. PROGRAM is a script of Python, a module after -m, or a command. Options before it are tflgpu's,
those after it the program's."""


def main(arguments: Sequence[str]) -> None:
    """Starts the program that the arguments name. Does not return, but with SystemExit where it cannot start."""
    parser = option_parser()
    given, program = parser.parse_args(list(arguments))
    if not program:
        parser.error("name a program")
    if given.threads is not None and given.threads < 1:
        parser.error(f"--threads takes a number of 1 or more, not {given.threads}")
    wrong = [pair for pair in given.options if "=" not in pair]
    if wrong:
        parser.error(f"--delegate-option takes key=value, not {wrong[0]!r}")
    wrong = [pair for pair in given.limits if "=" not in pair]
    if wrong:
        parser.error(f"--limit takes NAME=NUMBER, not {wrong[0]!r}")
    if given.options and given.delegate is None:
        parser.error("--delegate-option is for a delegate: name one with --delegate")
    module = given.__dict__.pop("module")
    pairs = {name: dict(pair.split("=", 1) for pair in getattr(given, name)) for name in ("options", "limits")}
    settings = Settings(**{**vars(given), **pairs})
    start(command(module, program[0], program[1:]), settings.environment(os.environ))


def option_parser() -> OptionParser:
    # Not argparse, which drops a -- of the program's own.
    made = OptionParser(USAGE, prog="tflgpu exec")
    made.disable_interspersed_args()
    add = made.add_option
    add("-d", "--delegate", help="added where the program passes none: opencl, cuda, an entry point, a library")
    add("-o", "--delegate-option", dest="options", action="append", default=[], metavar="KEY=VALUE", help="repeatable")
    add("--limit", dest="limits", action="append", default=[], metavar="NAME=NUMBER", help="of each interpreter")
    add("--threads", "--num-threads", type="int", help="num_threads of each interpreter, whatever the program passes")
    add("--preserve-all", action="store_true", default=False, help="experimental_preserve_all_tensors for each")
    add("--report", action="store_true", default=False, help="a line an interpreter: delegated, why not, times")
    add("--provide-tflite-runtime", action="store_true", default=False, help="there is one where none is installed")
    add("-m", dest="module", action="store_true", default=False, help="PROGRAM is a module of Python")
    return made


def command(module: bool, program: str, arguments: Sequence[str]) -> list[str]:
    """What is to be started. Raises SystemExit where there is no such program."""
    python = [sys.executable, *subprocess._args_from_interpreter_flags()]  # type: ignore[attr-defined]
    if sys.flags.ignore_environment or sys.flags.no_site:
        sys.exit("tflgpu exec: this Python ignores its environment or has no site (-I, -E or -S): run it without")
    if module:
        return [*python, "-m", program, *arguments]
    if os.path.exists(program):
        return [*python, program, *arguments]
    found = shutil.which(program)
    if found is None:
        sys.exit(f"tflgpu exec: there is neither a file nor a command {program!r}")
    return [found, *arguments]


def start(command: Sequence[str], environment: dict[str, str]) -> None:
    """Gives this process to the command; on Windows, which cannot do that, waits for it."""
    sys.stdout.flush()
    if os.name == "nt":
        sys.exit(subprocess.run(command, env=environment).returncode)
    os.execve(command[0], list(command), environment)
