"""Node -> kernel launches, one file a family, named as in tflgpu/ops."""

from tflgpu.delegates.lowering.audio import fft
from tflgpu.delegates.lowering.convolution import conv, conv_3d, pool, transpose_bias, unpool
from tflgpu.delegates.lowering.custom import custom, detection
from tflgpu.delegates.lowering.elementwise import division, elementwise, flex
from tflgpu.delegates.lowering.gemm import batch_matmul, fully_connected
from tflgpu.delegates.lowering.indexing import indexing, ranking, runtime_slice, scatter, sorting, stablehlo
from tflgpu.delegates.lowering.movement import diagonal, movement, resize, shape
from tflgpu.delegates.lowering.normalization import normalization, softmax
from tflgpu.delegates.lowering.quantization import quantize
from tflgpu.delegates.lowering.recurrent import lstm, rnn, svdf
from tflgpu.delegates.lowering.reduction import reduce, reduce_window
from tflgpu.delegates.lowering.registry import lower

__all__ = [
    "batch_matmul",
    "conv",
    "conv_3d",
    "custom",
    "detection",
    "diagonal",
    "division",
    "elementwise",
    "fft",
    "flex",
    "fully_connected",
    "indexing",
    "lower",
    "lstm",
    "movement",
    "normalization",
    "pool",
    "quantize",
    "ranking",
    "reduce",
    "reduce_window",
    "resize",
    "rnn",
    "runtime_slice",
    "scatter",
    "shape",
    "softmax",
    "sorting",
    "stablehlo",
    "svdf",
    "transpose_bias",
    "unpool",
]
