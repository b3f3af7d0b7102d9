"""Classifies one picture: labels, the three highest scores, where the model ran and how long it took.

    examples/run.sh digits/picture.py [PICTURE] [--model FILE] [--labels FILE] [--delegate NAME] [--fit letterbox]

Without arguments: seven.png with digits_int8.tflite, whose labels are in the model.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import tflgpu
from tflgpu.images import FITS

HERE = Path(__file__).parent


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", nargs="?", type=Path, default=HERE / "seven.png")
    parser.add_argument("--model", type=Path, default=HERE / "digits_int8.tflite")
    parser.add_argument("--labels", type=Path, help="one a line; else those of the model")
    parser.add_argument("--delegate", help="opencl, cuda, ...; the CPU unless given")
    parser.add_argument("--fit", choices=FITS, default="resize")
    given = parser.parse_args(arguments)

    delegates = [tflgpu.load_delegate(given.delegate)] if given.delegate else []
    interpreter = tflgpu.Interpreter(model_path=given.model, experimental_delegates=delegates)
    interpreter.allocate_tensors()
    (image,) = interpreter.get_input_details()
    about = next(iter(interpreter.metadata.inputs), None)  # its mean and std, where the model says them
    interpreter.set_tensor(image["index"], tflgpu.image_input(given.picture, image, about, fit=given.fit))
    start = time.perf_counter()
    interpreter.invoke()
    elapsed_ms = (time.perf_counter() - start) * 1e3

    output = interpreter.get_output_details()[0]
    scores = tflgpu.dequantize(interpreter.get_tensor(output["index"]), output)
    labels = tflgpu.labels(given.labels) if given.labels else interpreter.metadata.labels()
    for best in tflgpu.top_k(scores, 3, labels):
        print(f"{best.score:6.1%}  {best.label}")
    where = interpreter.delegation_report().splitlines()[0] if delegates else "on the CPU"
    print(f"{given.picture.name} with {given.model.name}: {elapsed_ms:.2f} ms; {where}")


if __name__ == "__main__":
    main()
