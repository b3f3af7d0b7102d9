"""Asks a server for the held-out digits, by NVIDIA's client: python client.py HOST:PORT"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient.http import InferenceServerClient, InferInput

sys.path.append(str(Path(__file__).parents[1] / "digits"))
from data import held_out


def main() -> None:
    images, labels = held_out()
    inputs: dict[str, Any] = {
        "digits_float32": (images, "FP32"),
        "digits_int8": (np.round(images * 255 - 128).astype(np.int8), "INT8"),
    }
    with InferenceServerClient(sys.argv[1], concurrency=8) as client:
        for model, (x, datatype) in inputs.items():
            waiting = []
            for image in x:  # one request each, which the server gathers into batches
                tensor = InferInput("image", [1, 8, 8, 1], datatype)
                tensor.set_data_from_numpy(image[None])
                waiting.append(client.async_infer(model, [tensor]))
            scores = np.concatenate([one.get_result().as_numpy("probabilities") for one in waiting])
            print(f"{model}: {np.mean(scores.argmax(axis=1) == labels):.1%} of {len(labels)} digits are right")


if __name__ == "__main__":
    main()
