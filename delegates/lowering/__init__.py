"""Node -> kernel launches, one file a family, named as in tflgpu/ops."""

from tflgpu.delegates.lowering import (
    conv,
    custom,
    diagonal,
    elementwise,
    indexing,
    matmul,
    movement,
    normalization,
    pool,
    reduce,
    reduce_window,
    resize,
    scatter,
    shape,
    softmax,
    sorting,
    stablehlo,
)
from tflgpu.delegates.lowering.registry import lower

__all__ = [
    "conv",
    "custom",
    "diagonal",
    "elementwise",
    "indexing",
    "lower",
    "matmul",
    "movement",
    "normalization",
    "pool",
    "reduce",
    "reduce_window",
    "resize",
    "scatter",
    "shape",
    "softmax",
    "sorting",
    "stablehlo",
]
