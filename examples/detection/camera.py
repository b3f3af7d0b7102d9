"""Detects in each frame of a camera or a film, and shows the frame rate.

    examples/run.sh detection/camera.py [SOURCE] [--frames N] [--output film.gif] [--delegate NAME]

SOURCE: the number of a camera or a film that OpenCV reads (pip install opencv-python-headless; no camera was there
to try it with), or an animated GIF. Without one it makes a film of digits that move. The rate counts all that a
frame takes: reading it, fitting it into the input, the model, and drawing.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from boxes import MODEL, Detector, drawn
from PIL import Image, ImageSequence
from scenes import DIGIT, SIDE, digits


def frames(source: str | None) -> Iterator[Image.Image]:
    """The frames of a camera, a film, a GIF, or of a film made here."""
    if source is None:
        yield from made()
    elif source.lower().endswith(".gif"):
        with Image.open(source) as film:
            yield from (frame.convert("L") for frame in ImageSequence.Iterator(film))
    else:
        import cv2

        capture = cv2.VideoCapture(int(source) if source.isdigit() else source)
        if not capture.isOpened():
            raise SystemExit(f"{source} cannot be opened")
        try:
            while (read := capture.read())[0]:
                yield Image.fromarray(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))
        finally:
            capture.release()


def made(count: int = 60) -> Iterator[Image.Image]:
    """Five held-out digits that cross the picture, each in a row of its own."""
    images, _ = digits(held_out=True)
    for time_step in range(count):
        pixels = np.zeros((SIDE, SIDE), np.float32)
        for row in range(5):
            left = (time_step + 11 * row) % (SIDE - DIGIT)
            pixels[2 + 12 * row : 2 + 12 * row + DIGIT, left : left + DIGIT] = images[row]
        yield Image.fromarray(np.round(pixels * 255).astype(np.uint8)).resize((4 * SIDE, 4 * SIDE), 0)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?")
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--frames", type=int, help="end after so many")
    parser.add_argument("--output", type=Path, help="save the frames with their boxes as an animated GIF")
    parser.add_argument("--delegate")
    given = parser.parse_args(arguments)
    detect = Detector(given.model, given.delegate)
    kept, ends = [], [time.perf_counter()]
    for number, frame in enumerate(islice(frames(given.source), given.frames), 1):
        found = detect(frame)
        shown = drawn(frame, found)
        if given.output:
            kept.append(shown)
        ends.append(time.perf_counter())
        if sys.stdout.isatty():
            rate = len(ends[-30:]) / (ends[-1] - ends[-30:][0] + 1e-9)
            line = f"frame {number}, {rate:.0f} a second: {', '.join(f'{box.label} {box.score:.0%}' for box in found)}"
            print(f"\r\033[K{line[:79]}", end="", flush=True)
    if sys.stdout.isatty():
        print()
    if len(ends) == 1:
        raise SystemExit(f"no frame in {given.source}")
    print(f"{len(ends) - 1} frames, {(len(ends) - 1) / (ends[-1] - ends[0]):.0f} a second")
    if given.output:
        kept[0].save(given.output, save_all=True, append_images=kept[1:], duration=40, loop=0)
        print(f"{len(kept)} frames in {given.output}")


if __name__ == "__main__":
    main()
