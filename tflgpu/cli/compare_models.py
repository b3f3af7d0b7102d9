"""`tflgpu compare A B`: two models of one origin, node by node, in real values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import typer
from rich.table import Table

from tflgpu.cli.inputs import at_random, inputs_for
from tflgpu.cli.models import columns, console, opened, reshaped
from tflgpu.comparison.measure import Measure, missed
from tflgpu.comparison.models import Comparison, compare_models
from tflgpu.comparison.page import HEADINGS, cells, clipped, page
from tflgpu.model.graph import Array
from tflgpu.quantized import dequantize, quantize

SHOWN = 20
"""Nodes that the terminal lists unless --nodes asks for all."""
SMALLEST_PICTURE = 16
"""In pixels: an input of one or three channels, and of no fewer rows and columns, is taken for a picture."""


def compare_files(
    paths: tuple[Path, Path],
    inputs: list[str] | None,
    shape: list[str] | None,
    seed: int,
    examples: int,
    limit: list[str] | None,
) -> Comparison:
    """Both models on `examples` inputs of the first: from the files given, else random in the range of the second."""
    a, b = (opened(path, preserve_all_tensors=True, limit=limit) for path in paths)
    reshaped(a, shape)
    generator = np.random.default_rng(seed)
    theirs = b.get_input_details()
    given = inputs_for(a, inputs, seed) if inputs else None

    def make(number: int) -> list[Array]:
        if given is not None:
            return given
        details = a.get_input_details()
        if len(details) != len(theirs):
            return [at_random(d, generator) for d in details]
        return [_within(d, other, generator) for d, other in zip(details, theirs, strict=True)]

    with console.status("running both"):
        return compare_models(a, b, make, 1 if given is not None else examples)


def _within(details: Mapping[str, Any], other: Mapping[str, Any], generator: np.random.Generator) -> Array:
    """A random value of the first model's input, within what a quantized one of the two can hold."""
    quantized = next((d for d in (other, details) if d["quantization"][0] and np.dtype(d["dtype"]).kind in "iu"), None)
    if quantized is None:
        return at_random(details, generator)
    shape, limits = tuple(map(int, details["shape"])), np.iinfo(quantized["dtype"])
    if len(shape) == 4 and shape[3] in (1, 3) and min(shape[1:3]) >= SMALLEST_PICTURE:
        values = limits.min + picture(shape, generator) * (limits.max - limits.min)
        return quantize(dequantize(values.astype(quantized["dtype"]), quantized), details)
    return quantize(dequantize(at_random({**quantized, "shape": shape}, generator), quantized), details)


def picture(shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    """Noise in [0, 1], (n, h, w, c), smooth as an unsharp photograph.

    White noise drives convolutions far beyond the values that a calibration with pictures has seen.
    """
    height, width = shape[1:3]
    frequency = np.hypot(height * np.fft.fftfreq(height)[:, None], width * np.fft.rfftfreq(width))
    spectrum = np.fft.rfft2(generator.standard_normal(shape), axes=(1, 2)) / np.maximum(frequency, 1)[..., None] ** 1.5
    values = np.fft.irfft2(spectrum, (height, width), axes=(1, 2))
    return np.clip(0.5 + values / (4 * values.std()), 0, 1)


def tell(comparison: Comparison, nodes: bool) -> None:
    """Prints the outputs, then the nodes, those that add most noise first; the page has more of each."""
    console.print(outputs_table(comparison.outputs, comparison.examples))
    ordered = comparison.by_guilt
    table = columns("node", "added\nnoise", *HEADINGS[:-1], title="nodes, by the noise that they add")
    for node in ordered if nodes else ordered[:SHOWN]:
        table.add_row(node.name, f"{node.added:.1e}", *cells(node.measure)[:-1])
    console.print(table)
    left = comparison.unmatched
    console.print(f"{len(ordered)} nodes match; {left[0]} of the first and {left[1]} of the second model do not")
    if clipped(comparison):
        console.print(clipped(comparison), highlight=False)
    if comparison.examples > 1:
        console.print("the inputs are random: --input with a real one tells more")
    if len(ordered) > SHOWN and not nodes:
        console.print(f"{len(ordered) - SHOWN} more nodes: --nodes shows all")


def outputs_table(outputs: Mapping[str, Measure], examples: int) -> Table:
    plural = "" if examples == 1 else "s"
    table = columns("output", *HEADINGS, title=f"outputs, over {examples} example{plural}")
    for name, measure in outputs.items():
        table.add_row(name, *cells(measure))
    return table


def finish(paths: tuple[Path, Path], comparison: Comparison, html: Path | None, bounds: Mapping[str, float]) -> None:
    """Writes the page; the exit status is 1 where an output misses a bound."""
    if html is not None:
        html.write_text(page(paths[0].name, paths[1].name, comparison), encoding="utf-8")
        console.print(f"page: {html}", highlight=False)
    judge(comparison.outputs, bounds)


def judge(outputs: Mapping[str, Measure], bounds: Mapping[str, float]) -> None:
    """The exit status is 1 where an output misses a bound, which is told."""
    told = [f"output {name}: {why}" for name, measure in outputs.items() for why in missed(measure, bounds)]
    for line in told:
        console.print(line, style="red", highlight=False)
    if told:
        raise typer.Exit(1)
