"""Finds digits in a picture and draws a box with label and score around each.

    examples/run.sh detection/boxes.py [PICTURE] [--output boxes.png] [--delegate NAME] [--judge]

Without a picture it takes a scene of held-out digits. --judge counts hits and misses on 100 such scenes. Any
detector whose outputs are those of TFLite_Detection_PostProcess (boxes, classes, scores, count) goes by --model.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw
from scenes import SIDE, digits, scene

import tflgpu
from tflgpu.images import placement

MODEL = Path(__file__).parent / "detector.tflite"
ENLARGED = 8


class Box(NamedTuple):
    """A detection in pixels of the picture."""

    label: str
    score: float
    left: float
    top: float
    right: float
    bottom: float


class Detector:
    """A model with the outputs of TFLite_Detection_PostProcess, on the CPU or a delegate."""

    def __init__(self, model: Path, delegate: str | None = None, threshold: float = 0.6):
        delegates = [tflgpu.load_delegate(delegate)] if delegate else []
        self.interpreter = tflgpu.Interpreter(model_path=model, experimental_delegates=delegates)
        self.interpreter.allocate_tensors()
        self.threshold = threshold
        self.labels = self.interpreter.metadata.labels()
        (self.image,) = self.interpreter.get_input_details()
        self.about = next(iter(self.interpreter.metadata.inputs), None)
        self.outputs = [d["index"] for d in self.interpreter.get_output_details()]

    def __call__(self, picture: Image.Image) -> list[Box]:
        """What is in a picture, which is letterboxed into the model's input."""
        pixels = tflgpu.image_input(picture, self.image, self.about, fit="letterbox")
        self.interpreter.set_tensor(self.image["index"], pixels)
        self.interpreter.invoke()
        boxes, classes, scores, count = (self.interpreter.get_tensor(i) for i in self.outputs)
        height, width = (int(d) for d in self.image["shape"][1:3])
        left, top, wide, high = placement(picture.size, (width, height), "letterbox")
        found = []
        for box, kind, score in zip(boxes[0][: int(count[0])], classes[0], scores[0], strict=False):
            if score >= self.threshold:
                y1, x1, y2, x2 = box * [height, width, height, width]  # pixels of the input, then of the picture
                across, down = picture.width / wide, picture.height / high
                corners = ((x1 - left) * across, (y1 - top) * down, (x2 - left) * across, (y2 - top) * down)
                name = self.labels[int(kind)] if self.labels else str(int(kind))
                found.append(Box(name, float(score), *map(float, corners)))
        return found


def drawn(picture: Image.Image, found: Sequence[Box]) -> Image.Image:
    """A copy in colour with the boxes on it."""
    canvas = picture.convert("RGB")
    draw = ImageDraw.Draw(canvas)
    for box in found:
        draw.rectangle((box.left, box.top, box.right, box.bottom), outline="#f97316", width=2)
        draw.text((box.left + 2, box.top - 12), f"{box.label} {box.score:.0%}", fill="#22c55e")
    return canvas


def held_out_scene(seed: int) -> tuple[Image.Image, list]:
    """A scene that the detector was not trained on, enlarged, and the digits in it."""
    pixels, truth = scene(np.random.default_rng([1, seed]), *digits(held_out=True), count=10)
    picture = Image.fromarray(np.round(pixels * 255).astype(np.uint8))
    return picture.resize((SIDE * ENLARGED, SIDE * ENLARGED), Image.Resampling.NEAREST), truth


def judged(model: Path, delegate: str | None = None) -> str:
    """Hits and misses on 100 held-out scenes: a hit has the label, and is within two pixels of the 8 of a digit."""
    detect, hits, wrong, total = Detector(model, delegate), 0, 0, 0
    for seed in range(100):
        picture, truth = held_out_scene(seed)
        names = detect.labels
        left = {(names[d.label], d.top, d.left) for d in truth}
        total += len(left)
        for box in detect(picture):
            at = box.top / ENLARGED, box.left / ENLARGED
            near = [d for d in left if d[0] == box.label and abs(d[1] - at[0]) <= 2 and abs(d[2] - at[1]) <= 2]
            left -= set(near[:1])
            hits, wrong = hits + bool(near), wrong + (not near)
    return f"100 held-out scenes: {hits} of {total} digits found, {wrong} boxes wrong"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", nargs="?", type=Path)
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--output", type=Path, default=Path("boxes.png"))
    parser.add_argument("--delegate")
    parser.add_argument("--threshold", type=float, default=0.6)
    parser.add_argument("--judge", action="store_true")
    given = parser.parse_args(arguments)
    if given.judge:
        print(judged(given.model, given.delegate))
        return
    detect = Detector(given.model, given.delegate, given.threshold)
    picture = Image.open(given.picture) if given.picture else held_out_scene(0)[0]
    found = detect(picture)
    for box in sorted(found, key=lambda box: -box.score):
        print(f"{box.score:5.1%}  {box.label:8} at {box.left:.0f}, {box.top:.0f} to {box.right:.0f}, {box.bottom:.0f}")
    drawn(picture, found).save(given.output)
    print(f"{len(found)} boxes in {given.output}")


if __name__ == "__main__":
    main()
