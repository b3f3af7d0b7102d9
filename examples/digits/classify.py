"""Classifies the held-out digits with every model, on the CPU and on every delegate that this machine has."""

from __future__ import annotations

import re
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from data import held_out
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import tflgpu

KINDS = ("float32", "float16", "dynamic_range", "int8")
DELEGATES = ("opencl", "cuda")
HERE = Path(__file__).parent


def classify(path: Path, images: np.ndarray, delegate: Any) -> tuple[np.ndarray, str]:
    """The model's output for all images at once, (n, 10), and how many of its nodes were delegated."""
    interpreter = tflgpu.Interpreter(model_path=path, experimental_delegates=[delegate] if delegate else None)
    image = interpreter.get_input_details()[0]
    interpreter.resize_tensor_input(image["index"], images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(image["index"], quantized(images, image))
    interpreter.invoke()
    counts = re.search(r"(\d+) nodes delegated out of (\d+)", interpreter.delegation_report()) if delegate else None
    delegated = f"{counts[1]} of {counts[2]}" if counts else ""
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"]), delegated


def quantized(images: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    """Images as the model takes them: quantized where its input is int8."""
    if details["dtype"] is np.float32:
        return images
    scale, zero_point = details["quantization"]
    return np.clip(np.round(images / scale) + zero_point, -128, 127).astype(np.int8)


def latency_ms(path: Path, image: np.ndarray, delegate: Any) -> float:
    """The median time of one invoke on one image."""
    interpreter = tflgpu.Interpreter(model_path=path, experimental_delegates=[delegate] if delegate else None)
    interpreter.allocate_tensors()
    details = interpreter.get_input_details()[0]
    interpreter.set_tensor(details["index"], quantized(image, details))
    times = []
    for _ in range(200):
        start = time.perf_counter()
        interpreter.invoke()
        times.append((time.perf_counter() - start) * 1e3)
    return statistics.median(times)


def present(console: Console) -> dict[str, Any]:
    """The CPU, as None, and the delegates that can be loaded; says why of the others."""
    found: dict[str, Any] = {"CPU": None}
    for name in DELEGATES:
        try:
            found[name] = tflgpu.load_delegate(name)
        except (OSError, ValueError) as error:
            console.print(f"[dim]{name} is not here: {escape(str(error).splitlines()[0])}[/]")
    return found


def main() -> None:
    console = Console()
    images, labels = held_out()
    runs = present(console)
    table = Table(title=f"{len(labels)} held-out handwritten digits")
    for heading in ("model", "runs on", "accuracy", "agrees with the CPU", "latency, one image", "nodes delegated"):
        table.add_column(heading, no_wrap=heading == "model")
    with console.status("classifying"):
        for kind in KINDS:
            path = HERE / f"digits_{kind}.tflite"
            for name, delegate in runs.items():
                output, delegated = classify(path, images, delegate)
                guesses = output.argmax(1)
                if delegate is None:
                    on_the_cpu = output
                table.add_row(
                    kind,
                    name,
                    f"{(guesses == labels).mean():.2%}",
                    f"{(guesses == on_the_cpu.argmax(1)).mean():.2%}",
                    f"{latency_ms(path, images[:1], delegate):.3f} ms",
                    delegated,
                )
    console.print(table)


if __name__ == "__main__":
    main()
