"""The `tflgpu` command: one function a subcommand, each in the module of its name."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from tflgpu import __version__
from tflgpu.cli import batch, benchmark, compare, compile, conformance, doctor, edit, inspect, run, serve
from tflgpu.cli import exec as program

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # the frames of rich cut the names of options
    context_settings={"help_option_names": ["-h", "--help"]},
)


def show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tflgpu {__version__}")
        raise typer.Exit


@app.callback()
def top(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=show_version)
    ] = False,
) -> None:
    """Runs TensorFlow Lite models on the CPU and the GPU."""


class WithBooleans(TyperCommand):
    """Takes --flag=true and --flag=false too, as TensorFlow Lite's benchmark_model does."""

    def parse_args(self, context: Any, args: list[str]) -> list[str]:
        flags = {name: p for p in self.params if getattr(p, "is_flag", False) for name in p.opts}
        return super().parse_args(context, [word for arg in args for word in _spelled(arg, flags)])


def _spelled(argument: str, flags: dict[str, Any]) -> list[str]:
    """A flag with a boolean as the flag, its opposite or nothing; any other argument as it is."""
    name, sign, value = argument.partition("=")
    if not sign or name not in flags or value.lower() not in ("true", "false", "1", "0"):
        return [argument]
    return [name] if value.lower() in ("true", "1") else flags[name].secondary_opts[:1]


app.command(cls=WithBooleans)(benchmark.benchmark)
for module in (run, compile, batch, serve, inspect, edit, compare, conformance):
    app.command()(getattr(module, module.__name__.rpartition(".")[2]))


@app.command("doctor")
def doctor_(as_json: Annotated[bool, typer.Option("--json", help="All of it as JSON.")] = False) -> None:
    """Show what is installed, which delegates work, which device each takes and why, and what is missing."""
    doctor.doctor(as_json)


@app.command(
    "exec",
    add_help_option=False,  # the program's own options follow, and -h is asked of the parser that splits them
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False},
)
def exec_(context: typer.Context) -> None:
    """Run a program that was written for TensorFlow Lite on tflgpu, unchanged."""
    program.main(context.args)
