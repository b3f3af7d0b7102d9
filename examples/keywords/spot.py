"""Spots keywords in a recording: a second of sound at a time, ten times a second.

    examples/run.sh keywords/spot.py [SOUND.wav] [--save SOUND.wav] [--delegate NAME]

Without a sound it makes a recording of ten words, and says which were spoken. --save keeps it as a .wav file.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from sounds import RATE, read, recording, write

import tflgpu

MODEL = Path(__file__).parent / "keywords.tflite"
HOP = RATE // 10
THRESHOLD = 0.7
"""Of the mean of three successive likelihoods."""


def spotted(interpreter: tflgpu.Interpreter, sound: np.ndarray) -> Iterator[tuple[float, str, float]]:
    """(seconds at the end of the window, keyword, likelihood) of each keyword heard, at most one a second."""
    labels = tflgpu.labels(interpreter)
    samples, likelihoods = (d[0]["index"] for d in (interpreter.get_input_details(), interpreter.get_output_details()))
    recent: list[np.ndarray] = []
    quiet_until = 0.0
    for end in range(RATE, len(sound) + 1, HOP):
        interpreter.set_tensor(samples, sound[end - RATE : end, None])
        interpreter.invoke()
        recent = [*recent[-2:], interpreter.get_tensor(likelihoods)[0]]
        mean = np.mean(recent, axis=0)
        best = int(mean.argmax())
        seconds = end / RATE
        if labels[best] not in ("silence", "unknown") and mean[best] > THRESHOLD and seconds > quiet_until:
            quiet_until = seconds + 1.0
            yield seconds, labels[best], float(mean[best])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sound", nargs="?", type=Path)
    parser.add_argument("--save", type=Path)
    parser.add_argument("--delegate")
    given = parser.parse_args(arguments)
    said: list[tuple[float, str]] = []
    if given.sound:
        sound = read(given.sound)
    else:
        sound, said = recording(np.random.default_rng(1))
    if given.save:
        write(given.save, sound)
    delegates = [tflgpu.load_delegate(given.delegate)] if given.delegate else []
    interpreter = tflgpu.Interpreter(model_path=MODEL, experimental_delegates=delegates)
    interpreter.allocate_tensors()
    if said:
        print("spoken: " + ", ".join(f"{word} at {start:.1f} s" for start, word in said))
    begun = time.perf_counter()
    for seconds, word, likelihood in spotted(interpreter, sound):
        print(f"{seconds:5.1f} s  {word}  {likelihood:.0%}")
    took, length = time.perf_counter() - begun, len(sound) / RATE
    print(f"{length:.1f} s of sound in {took:.2f} s, {length / took:.0f} times as fast as it was spoken")
    if delegates:
        print(interpreter.delegation_report().splitlines()[0])


if __name__ == "__main__":
    main()
