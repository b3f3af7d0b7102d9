"""`tflgpu compile`: a model's kernels are compiled into the delegate's cache, before anybody waits for them."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from tflgpu.cli.inputs import feed, inputs_for
from tflgpu.cli.models import (
    DelegateOptions,
    Delegates,
    ModelPath,
    Shapes,
    console,
    loaded,
    opened,
    plain_errors,
    reshaped,
)
from tflgpu.delegation.delegate import CompilesKernels
from tflgpu.optional import offering


@plain_errors
def compile(
    model: ModelPath,
    delegate: Delegates = None,
    delegate_option: DelegateOptions = None,
    shape: Shapes = None,
    run: Annotated[bool, typer.Option("--run/--no-run", help="Invoke once too: for shapes known only then.")] = True,
) -> None:
    """Compile a model's kernels into the cache of a delegate, for the next program that runs it."""
    delegates = loaded(delegate, delegate_option)
    if not offering(delegates, CompilesKernels):
        raise ValueError("nothing to compile: name a delegate that has kernels with --delegate, e.g. cuda or opencl")
    start = time.perf_counter()
    interpreter = opened(model, delegates)
    reshaped(interpreter, shape)
    interpreter.allocate_tensors()
    if run:
        feed(interpreter, inputs_for(interpreter, (), 0))
        interpreter.invoke()
    console.print(f"{model.name}: prepared in {time.perf_counter() - start:.1f} s")
    for line in interpreter.delegation_report().splitlines():
        if " delegate: " in line:
            console.print(line)
