"""The `tflgpu` command: one function a subcommand, each in the module of its name."""

from __future__ import annotations

import typer

from tflgpu.cli import benchmark, compare, conformance, doctor, inspect, run

app = typer.Typer(
    help="Runs TensorFlow Lite models on the CPU and the GPU.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (run, inspect, benchmark, compare, conformance, doctor):
    app.command()(getattr(module, module.__name__.rpartition(".")[2]))
