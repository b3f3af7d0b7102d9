"""`tflgpu edit`: a model with another batch size, other outputs, fewer nodes, other metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from tflgpu.cli.inputs import Seed, at_random
from tflgpu.cli.models import ModelPath, console, key_values, plain_errors, quantity, sizes
from tflgpu.edit import describe, interface, shapes
from tflgpu.edit.compare import compare
from tflgpu.edit.document import Document
from tflgpu.model.loader import load

Tensors = list[str] | None


def many(name: str, metavar: str, help: str) -> Any:
    return typer.Option(name, metavar=metavar, help=f"{help}; repeatable.", show_default=False)


@plain_errors
def edit(
    model: ModelPath,
    output: Annotated[Path, typer.Argument(help="The file to write.", dir_okay=False)],
    batch: Annotated[str, typer.Option(help="Another batch size: a number, or open.")] = "",
    pin: Annotated[Tensors, many("--pin", "NAME=1,224,224,3", "An input's shape, fixed for good")] = None,
    expose: Annotated[
        Tensors, many("--expose", "TENSOR", help="A tensor, by name or number, that becomes an output")
    ] = None,
    cut_from: Annotated[
        Tensors, many("--cut-from", "TENSOR", help="A tensor that is an input instead of the model's")
    ] = None,
    cut_to: Annotated[
        Tensors, many("--cut-to", "TENSOR", help="A tensor that is an output instead of the model's")
    ] = None,
    quantized_ends: Annotated[
        bool, typer.Option("--quantized-ends", help="Take out QUANTIZE at inputs and DEQUANTIZE at outputs.")
    ] = False,
    drop_signature: Annotated[Tensors, many("--drop-signature", "KEY", help="A signature to take out")] = None,
    rename_signature: Annotated[Tensors, many("--rename-signature", "OLD=NEW", help="A signature's key")] = None,
    strip_metadata: Annotated[bool, typer.Option("--strip-metadata", help="Take out metadata and files.")] = False,
    metadata: Annotated[Path | None, typer.Option(help="Put in this JSON, by the schema's names.", exists=True)] = None,
    labels: Annotated[Path | None, typer.Option(help="Put in labels of output 0, one a line.", exists=True)] = None,
    attach: Annotated[list[Path] | None, many("--attach", "FILE", help="A file to put in")] = None,
    seed: Seed = 0,
) -> None:
    """Change a model's file. Before it is written it is checked, and compared with the original on random inputs."""
    original = model.read_bytes()
    if output.exists() and output.samefile(model):
        raise ValueError("write to another file: the original is compared with what was made of it")
    document = Document(original)
    done: list[str] = []
    if cut_from or cut_to:
        done += interface.cut(document, cut_from or (), cut_to or ())
    if quantized_ends:
        done += interface.quantized_ends(document) or ["there is no QUANTIZE or DEQUANTIZE at an end"]
    if expose:
        done += interface.expose(document, expose)
    if pin:
        done += shapes.pin(document, {name: sizes(text, "--pin") for name, text in key_values(pin, "--pin").items()})
    size = _batch(batch)
    if batch:
        done += shapes.set_batch(document, size)
    for key in drop_signature or ():
        done += interface.drop_signature(document, key)
    for old, new in key_values(rename_signature, "--rename-signature").items():
        done += interface.rename_signature(document, old, new)
    if strip_metadata:
        done += describe.strip_metadata(document)
    if metadata:
        done += describe.put_metadata(document, metadata.read_text("utf-8"))
    for file in attach or ():
        done += describe.attach(document, file.name, file.read_bytes())
    if labels:
        done += describe.put_labels(document, labels.name, labels.read_bytes())
    if not done:
        raise ValueError("say what to change: tflgpu edit --help")
    _keep(document, original, output, seed, _examples(original, size) if batch else 1, done)


def _batch(text: str) -> int | None:
    """The number that --batch gives; None for an open batch."""
    if text in ("", "open"):
        return None
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"--batch takes a number of 1 or more, or open, not {text!r}")
    return int(text)


def _examples(original: bytes, size: int | None) -> int:
    """How often the original must run for as many examples as the edited model takes."""
    graph = load(content=original).graphs[0]
    old = max(1, graph.tensors[graph.inputs[0]].shape[0])
    return shapes.PROBE if size is None else -(-size // old)


def _keep(document: Document, original: bytes, output: Path, seed: int, examples: int, done: list[str]) -> None:
    """Writes the edited model where it agrees with its original; else the exit status is 1."""
    edited = document.build()
    generator = np.random.default_rng(seed)
    with console.status("comparing with the original"):
        found = compare(original, document, edited, lambda d: at_random(d, generator), examples)
    for line in (*done, *map(str, found)):
        console.print(line, highlight=False)
    if not all(one.agrees for one in found):
        console.print("nothing was written: the edited model differs from the original", style="red")
        raise typer.Exit(1)
    output.write_bytes(edited)
    console.print(f"{output}: {quantity(len(edited))}, the original {quantity(len(original))}", highlight=False)
