"""Node -> kernel launches, one file a family, named as in tflgpu/ops."""

from tflgpu.delegates.lowering import (
    conv,
    elementwise,
    indexing,
    matmul,
    movement,
    normalization,
    pool,
    reduce,
    resize,
    softmax,
    sorting,
)
from tflgpu.delegates.lowering.registry import lower

__all__ = [
    "conv",
    "elementwise",
    "indexing",
    "lower",
    "matmul",
    "movement",
    "normalization",
    "pool",
    "reduce",
    "resize",
    "softmax",
    "sorting",
]
