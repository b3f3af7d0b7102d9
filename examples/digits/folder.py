"""Classifies every picture in a folder, in batches, with progress, and writes a CSV file of name, label and score.

    examples/run.sh digits/folder.py [FOLDER] [--output FILE.csv] [--model FILE] [--batch 32] [--delegate NAME]

Without a folder it makes one of the 360 held-out digits, and says how many it got right. `tflgpu batch` does the
same for millions of pictures, in several processes or on a cluster, and goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from data import held_out
from PIL import Image
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import tflgpu
from tflgpu.images import SUFFIXES

HERE = Path(__file__).parent


def make_pictures(folder: Path) -> None:
    """Writes the held-out digits as pictures of 8 x 8, whose names end in their label."""
    for number, (image, label) in enumerate(zip(*held_out(), strict=True)):
        Image.fromarray(np.round(image[..., 0] * 255).astype(np.uint8)).save(folder / f"{number:03}_{label}.png")


def classified(
    predictor: tflgpu.Predictor, interpreter: tflgpu.Interpreter, paths: Sequence[Path], batch: int
) -> Iterator[list[tuple[Path, int, float]]]:
    """For each batch (path, index of the best label, its score).

    interpreter: of the same model, which says how pictures become its input and what its output means.
    """
    (image,), output = interpreter.get_input_details(), interpreter.get_output_details()[0]
    about = next(iter(interpreter.metadata.inputs), None)
    for start in range(0, len(paths), batch):
        names = paths[start : start + batch]
        pixels = np.concatenate([tflgpu.image_input(path, image, about) for path in names])
        (scores,) = predictor({image["name"]: pixels}).values()
        scores = tflgpu.dequantize(scores, output)
        best = scores.argmax(axis=1)
        yield [(path, int(i), float(row[i])) for path, i, row in zip(names, best, scores, strict=True)]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--output", type=Path, help="the CSV file; not written unless given")
    parser.add_argument("--model", type=Path, default=HERE / "digits_int8.tflite")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--delegate")
    given = parser.parse_args(arguments)

    with tempfile.TemporaryDirectory() as made:
        folder = given.folder or Path(made)
        if not given.folder:
            make_pictures(folder)
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        if not paths:
            sys.exit(f"no pictures in {folder}")
        predictor = tflgpu.Predictor(given.model, delegate=given.delegate, batch=given.batch)
        interpreter = tflgpu.Interpreter(model_path=given.model)
        labels = interpreter.metadata.labels()
        rows: list[tuple[Path, int, float]] = []
        start = time.perf_counter()
        with Progress(
            BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn()
        ) as bar:
            task = bar.add_task("", total=len(paths))
            for some in classified(predictor, interpreter, paths, given.batch):
                rows += some
                rate = len(rows) / (time.perf_counter() - start)
                bar.update(task, advance=len(some), description=f"{rate:.0f} pictures/s")
    if given.output:
        with given.output.open("w", newline="") as file:
            csv.writer(file).writerows(
                (path.name, labels[i] if labels else i, f"{score:.4f}") for path, i, score in rows
            )
        print(f"{len(rows)} rows in {given.output}")
    if not given.folder:
        right = sum(path.stem.endswith(f"_{i}") for path, i, _ in rows)
        print(f"{right} of {len(rows)} held-out digits are right")


if __name__ == "__main__":
    main()
