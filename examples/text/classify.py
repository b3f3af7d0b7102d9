"""Says in which language a line is written: English, Python, C, shell or TOML.

    examples/run.sh text/classify.py ["a line"]... [--delegate NAME]

Without lines, from standard input or else some of its own. `tflgpu run lines.tflite --input line.txt` does the
same, since the model's metadata says how a text becomes numbers.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import tflgpu

MODEL = Path(__file__).parent / "lines.tflite"
SOME = (
    "The interpreter checks every offset before it is used.",
    "for index, name in enumerate(names):",
    "float sum = 0.0f; sum += a[i * n + k] * b[k];",
    'venv=${TFLGPU_VENV:-"$here/.venv"}',
    'dependencies = ["numpy>=1.26", "flatbuffers"]',
)


class Classifier:
    """A model that takes the numbers of words, by the vocabulary and the pattern in its metadata."""

    def __init__(self, model: Path, delegate: str | None = None):
        delegates = [tflgpu.load_delegate(delegate)] if delegate else []
        self.interpreter = tflgpu.Interpreter(model_path=model, experimental_delegates=delegates)
        self.interpreter.allocate_tensors()
        metadata = self.interpreter.metadata
        self.pattern = metadata.inputs[0].pattern
        words = metadata.read("words.txt").decode().splitlines()
        self.numbers = {word: int(number) for word, _, number in (line.rpartition(" ") for line in words)}
        self.labels = metadata.labels()
        (self.ids,) = self.interpreter.get_input_details()
        (self.likely,) = self.interpreter.get_output_details()

    def __call__(self, line: str) -> list:
        """The classes, most likely first: each has label and score."""
        words = [word for word in re.split(self.pattern, line) if word]
        numbers = [self.numbers.get(word, self.numbers["<UNKNOWN>"]) for word in words]
        length = int(self.ids["shape"][1])
        padded = np.zeros((1, length), np.int32)  # 0 is <PAD>
        padded[0, : len(numbers)] = numbers[:length]
        self.interpreter.set_tensor(self.ids["index"], padded)
        self.interpreter.invoke()
        return tflgpu.top_k(self.interpreter.get_tensor(self.likely["index"]), labels=self.labels)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lines", nargs="*")
    parser.add_argument("--delegate")
    given = parser.parse_args(arguments)
    classify = Classifier(MODEL, given.delegate)
    piped = () if sys.stdin.isatty() else (line.rstrip("\n") for line in sys.stdin)
    for line in given.lines or list(piped) or SOME:
        best = classify(line)[0]
        print(f"{best.score:6.1%}  {best.label:8} {line}")


if __name__ == "__main__":
    main()
