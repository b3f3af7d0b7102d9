"""Node -> kernel launches, one file a family, named as in tflgpu/ops."""

from tflgpu.delegates.lowering import conv, elementwise, matmul, movement, pool, reduce, resize, softmax
from tflgpu.delegates.lowering.registry import lower

__all__ = ["conv", "elementwise", "lower", "matmul", "movement", "pool", "reduce", "resize", "softmax"]
