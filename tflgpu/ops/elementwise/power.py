"""POW: by repeated products where exponents are whole."""

from __future__ import annotations

import numpy as np

from tflgpu.arithmetic.fixed_point import to_int32
from tflgpu.model.graph import Array, Node
from tflgpu.ops.cache_blocks import blocked
from tflgpu.ops.elementwise.elementwise import binary_shape, require_same_types
from tflgpu.ops.registry import OpError, Step, kernel


def _power(a: Array, b: Array, y: Array) -> None:
    if a.dtype == np.float32:
        np.power(a, b, out=y)
        # NumPy takes the square root where it sees a single exponent of one half.
        np.copyto(y, np.inf, where=(a == -np.inf) & (b == 0.5))
        return
    if (b < 0).any():
        raise OpError("POW does not support negative value for int32.")
    # In double, which a result beyond int32 leaves as INT32_MIN.
    np.copyto(y, to_int32(np.power(a.astype(np.float64), b.astype(np.float64))))


def _repeated_product(a: Array, exponent: int, y: Array) -> None:
    """a^exponent by squaring, in a's type: integers wrap, floats stay finite."""
    if exponent == 1:
        np.copyto(y, a)
        return
    _repeated_product(a, exponent // 2, y)
    for factor in (y, a)[: 1 + exponent % 2]:
        np.multiply(factor, y, out=y)
        if y.dtype == np.float32:
            limit = np.finfo(np.float32).max
            np.clip(y, -limit, limit, out=y)


@kernel("POW", inputs=2, types="FLOAT32 INT32", shape=binary_shape, check=require_same_types, output_type=0)
def power(node: Node, inputs: tuple[Array, Array], outputs: tuple[Array]) -> Step:
    """a ** b. A single whole exponent that broadcasts is computed by repeated products, as the reference does."""
    (a, b), (y,) = inputs, outputs
    general = blocked(_power, inputs, y)
    if b.size != 1 or a.shape == b.shape:
        return general
    base = a.reshape(y.shape)

    def step() -> None:
        exponent = b.item()
        whole = round(exponent) if abs(exponent) < 2**31 else 0
        if whole >= 1 and abs(exponent - whole) < 1e-5:
            _repeated_product(base, whole, y)
        else:
            general()

    return step
