"""What tests of the server share: asking by NVIDIA's clients."""

from __future__ import annotations

import time
from typing import Any

NAMES = {"float32": "FP32", "float16": "FP16", "int8": "INT8", "int32": "INT32", "object": "BYTES"}


def asked(module: Any, x: Any, name: str = "x") -> Any:
    """An input of a request. module: tritonclient.http or tritonclient.grpc."""
    one = module.InferInput(name, list(x.shape), NAMES[x.dtype.name])
    one.set_data_from_numpy(x)
    return one


def until(true: Any, seconds: float = 10) -> None:
    """Waits until it is true; fails if that takes longer."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)
