"""Rows a second of `tflgpu batch` with one and two workers, processes and actors of Ray, beside the interpreter alone.

    python benchmarks/batch.py MODEL [--images 400] [--json FILE]

Images are of the model's size, as PNG files. The second half of the shards counts, when all workers have started.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterable
from datetime import date
from pathlib import Path

import numpy as np
from litert import machine
from PIL import Image

import tflgpu
from tflgpu.serving.job import begin, run_shard, shards
from tflgpu.serving.ray_job import run_on_ray
from tflgpu.serving.workers import Workers


def rate(done: Iterable[int]) -> float:
    """Rows a second of the second half, when all workers have started."""
    times, rows = [], []
    for found in done:
        times.append(time.perf_counter())
        rows.append(found)
    middle = len(rows) // 2
    return sum(rows[middle + 1 :]) / (times[-1] - times[middle])


def alone(predictor: tflgpu.Predictor, files: list[Path]) -> float:
    """Images a second, read and predicted one by one, and written nowhere."""
    entry = predictor.rows.entry
    (name,) = entry.inputs
    start = time.perf_counter()
    for file in files:
        predictor.rows({name: entry.picture(name, file)})
    return len(files) / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    predictor = tflgpu.Predictor(options.model.absolute(), keep=["path"])
    (port,) = predictor.rows.entry.inputs.values()
    folder = Path(tempfile.mkdtemp())
    (folder / "images").mkdir()
    for number, pixels in enumerate(
        np.random.default_rng(0).integers(0, 256, (options.images, *port.own[1:]), np.uint8)
    ):
        Image.fromarray(pixels).save(folder / "images" / f"{number:05}.png")
    rows = [{"what": "alone", "rows_a_second": round(alone(predictor, sorted((folder / "images").iterdir())[:100]), 1)}]
    for what in ("processes", "ray"):
        for workers in (1, 2):
            output = folder / f"{what}{workers}"
            todo = begin(predictor, shards(folder / "images", output, 10), output)
            if what == "ray":
                found = rate(run_on_ray(predictor, todo, "local", workers))
            else:
                with Workers([predictor] * workers) as pool:
                    found = rate(pool.map(run_shard, todo))
            rows.append({"what": what, "workers": workers, "rows_a_second": round(found, 1)})
            print(rows[-1], flush=True)
    about = {"command": " ".join(["python", *sys.argv]), "machine": machine(), "date": f"{date.today()}"}
    print(json.dumps({**about, "model": options.model.stem, "rows": rows}))
    if options.json:
        options.json.write_text(json.dumps({**about, "model": options.model.stem, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
