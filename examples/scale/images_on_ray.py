"""A folder of images through a model on Ray, to Parquet: on this machine, or on the cluster whose address is given.

pip install 'tflgpu[ray,examples]'
python examples/scale/images_on_ray.py [ADDRESS]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import ray
from PIL import Image

import tflgpu

DIGITS = Path(__file__).parents[1] / "digits"
sys.path.append(str(DIGITS))
from data import held_out  # noqa: E402


def write_images(folder: Path) -> list[int]:
    """The held-out digits as PNG files, NUMBER.png; their labels."""
    images, labels = held_out()
    folder.mkdir()
    for number, image in enumerate(images):
        Image.fromarray((image[..., 0] * 255).astype(np.uint8)).save(folder / f"{number:04}.png")
    return labels.tolist()


def as_inputs(batch: dict[str, Any]) -> dict[str, Any]:
    """What the model takes, of a batch of Ray's images."""
    return {"image": batch["image"].reshape(-1, 8, 8, 1).astype(np.float32) / 255}


def main() -> None:
    folder = Path(tempfile.mkdtemp())
    labels = write_images(folder / "images")
    ray.init(*sys.argv[1:2] or ["local"], log_to_driver=False)
    model = (DIGITS / "digits_float32.tflite").read_bytes()  # its content goes to every node
    ray.data.read_images(str(folder / "images"), mode="L", include_paths=True).map_batches(
        tflgpu.Predictor,
        fn_constructor_kwargs={"model": model, "batch": 32, "preprocess": as_inputs, "keep": ["path"]},
        batch_size=64,
        compute=ray.data.ActorPoolStrategy(size=1),
    ).write_parquet(str(folder / "predictions"))
    rows = pq.read_table(folder / "predictions", columns=["path", "probabilities"]).to_pylist()
    right = sum(int(np.argmax(row["probabilities"])) == labels[int(Path(row["path"]).stem)] for row in rows)
    print(f"{right} of {len(rows)} digits are right; predictions in {folder / 'predictions'}")


if __name__ == "__main__":
    main()
