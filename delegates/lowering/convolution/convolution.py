"""A convolution, of whichever operator, by the kernel that is fastest for it: of floats, of codes, and hybrid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Buffer, Launch, Lowered, Ref
from tflgpu.delegates.lowering.convolution import depthwise_strips, transpose_as_gemm
from tflgpu.delegates.lowering.convolution.depthwise_vnni import depthwise_dot
from tflgpu.delegates.lowering.convolution.window import Window, steps_of
from tflgpu.delegates.lowering.gemm import hybrid, register_tiles, tensor_core, vnni
from tflgpu.delegates.lowering.registry import c_type, constant, i32, require, size
from tflgpu.model.graph import Array, Node, TensorSpec
from tflgpu.ops.convolution.conv import IN_ORDER, check_hybrid_axis
from tflgpu.ops.convolution.convolution import check_quantization, scale_factors
from tflgpu.ops.fused_activation import float_range
from tflgpu.ops.matmul.hybrid import channel_scale
from tflgpu.ops.matmul.requantize import rescale


@dataclass(frozen=True, eq=False)
class Convolution:
    """One convolution: x (n, h, w, c) with weights (kh, kw, c / groups, oc) as `packed`, which `weights` become.

    symmetric: the filter's zero points must be 0. transposed: x is scattered where a plain convolution would gather;
    window is then that of the output over x.
    """

    node: Node
    x: TensorSpec
    weights: TensorSpec
    bias: TensorSpec | None
    out: TensorSpec
    packed: Buffer
    before: Lowered
    groups: int
    window: Window
    activation: str
    bias_type: str
    symmetric: bool = True
    transposed: bool = False


HYBRID = {("FLOAT32", "INT8"), ("FLOAT32", "INT4")}
INTEGERS = {("INT8", "INT8"), ("INT8", "INT4"), ("UINT8", "UINT8"), ("INT16", "INT8"), ("INT16", "INT4")}


def lowered(c: Convolution, limits: DeviceLimits) -> Lowered:
    """The launch of the generic kernel, after what turns computed weights."""
    types = (c.x.type, c.weights.type)
    fast = _tiled(c, limits)
    if fast is not None:
        return fast
    if types == ("FLOAT32", "FLOAT32") and c.out.type == "FLOAT32":
        return [*c.before, _float(c)]
    if types in HYBRID and c.out.type == "FLOAT32":
        return [*c.before, *_hybrid(c, limits)]
    require(types in INTEGERS and c.out.type == c.x.type, f"{types[0]} input with {types[1]} weights to {c.out.type}")
    return [*c.before, _integer(c, limits)]


def _tiled(c: Convolution, limits: DeviceLimits) -> Lowered | None:
    """The launches of a fast kernel, or None where there is none for the case."""
    x, weights, out = c.x, c.weights, c.out
    types = (x.type, weights.type, out.type)
    if not (limits.has("register_tiles") or limits.has("warps")) or types not in TILED or 0 in out.shape:
        return None
    if weights.data is None or (c.bias is not None and c.bias.data is None):
        return None
    if c.transposed:
        return _spread(c, limits)
    # Large terms that cancel out leave what the reference's rounding left.
    in_order = x.type == "FLOAT32" and x.shape[3] == 1 and size(out) <= IN_ORDER and c.window.kh * c.window.kw <= 16
    if in_order and not limits.cpu:
        return None
    wide = types[0] == "INT16"
    if wide and (
        limits.has("warps") or not limits.double or c.bias_type == "INT32" or c.node.op == "DEPTHWISE_CONV_2D"
    ):
        return None
    if c.node.op == "DEPTHWISE_CONV_2D" and x.shape[3] == 1 and x.type == "FLOAT32" and limits.cpu:
        # Of one channel, it is a plain convolution.
        data = weights.data.transpose(3, 1, 2, 0)
        plain = replace(c, node=replace(c.node, op="CONV_2D"), weights=replace(weights, shape=data.shape, data=data))
        return _tiled(plain, limits)
    depthwise = c.node.op == "DEPTHWISE_CONV_2D" and c.groups == out.shape[3] >= 4 and limits.cpu
    if limits.has("warps") and c.node.op == "DEPTHWISE_CONV_2D" and c.groups == out.shape[3]:
        depthwise = depthwise_strips.fits(out.shape[3], c.window)
    if not depthwise and (c.groups > 1 or c.node.op == "DEPTHWISE_CONV_2D"):
        return None
    finish = replace(_finish(c), in_order=in_order)
    if depthwise:
        return _depthwise(c, finish, limits)
    make = tensor_core.conv_gemm if limits.has("warps") else vnni.conv_dot
    return make(_filtering(c, finish), limits)


def _filtering(c: Convolution, finish: register_tiles.Finish) -> register_tiles.Filtering:
    n, h, w, channels = c.x.shape
    return register_tiles.Filtering(c.x, (n, h, w, channels), _matrix(c), c.out, c.window, finish)


def _matrix(c: Convolution) -> register_tiles.Matrix:
    """The weights and the bias, which are constant."""
    assert c.weights.data is not None
    zero = c.weights.zero_point if c.x.type == "UINT8" else 0
    return register_tiles.Matrix(c.weights.data, zero, None if c.bias is None else c.bias.data)


def _depthwise(c: Convolution, finish: register_tiles.Finish, limits: DeviceLimits) -> Lowered | None:
    """Of as many outputs as channels, with constant weights; None where sums of codes may be too large."""
    x, weights, out = c.x, c.weights, c.out
    bias = bias_argument(c.bias, out.shape[3], "f4" if x.type == "FLOAT32" else "i4")
    if limits.has("warps"):
        return [depthwise_strips.depthwise_strips(x, weights, bias, out, c.window, finish, limits)]
    if c.window.kh * c.window.kw * 255 * 255 > register_tiles.EXACT:
        return None
    matrix = _matrix(c)
    fast = depthwise_dot(x, matrix, out, c.window, finish, limits) if finish.rescale else None
    if fast is not None:
        return [fast]
    return [register_tiles.depthwise_rows(x, matrix.weights, matrix.zero_point, bias, out, c.window, finish, limits)]


def _spread(c: Convolution, limits: DeviceLimits) -> Lowered | None:
    """A transposed convolution as a plain one, each of whose places makes several outputs."""
    over, weights = c.window, c.weights
    fits = limits.cpu and min(over.top, over.left) >= 0 and 0 not in c.x.shape
    if not fits or c.x.type not in ("FLOAT32", "INT8", "UINT8"):
        return None
    oc, kh, kw, channels = weights.shape
    if c.x.type == "FLOAT32":
        return transpose_as_gemm.transposed(_filtering(c, _finish(c)), (oc, kh, kw, channels), limits)
    return [vnni.transposed(_filtering(c, _finish(c)), (oc, kh, kw, channels), limits)]


TILED = {
    ("FLOAT32", "FLOAT32", "FLOAT32"),
    ("INT8", "INT8", "INT8"),
    ("UINT8", "UINT8", "UINT8"),
    ("INT16", "INT8", "INT16"),
}


def _finish(c: Convolution) -> register_tiles.Finish:
    if c.x.type == "FLOAT32":
        low, high = float_range(c.activation)
        return register_tiles.Finish(np.float32(low), np.float32(high))
    check_quantization(c.node, c.x, c.weights, c.bias, symmetric_filter=c.symmetric)
    channels, wide = c.out.shape[3], c.x.type == "INT16"
    scaling = rescale(scale_factors(c.x, c.weights, c.bias, c.out, channels), channels, c.out, c.activation, wide)
    return replace(register_tiles.fixed_point(scaling, c.x.zero_point), wide=wide)


def _launch(
    c: Convolution,
    kernel: str,
    inputs: Mapping[str, Buffer],
    scalars: Mapping[str, np.generic],
    defines: Mapping[str, object],
) -> Launch:
    (_, h, w, channels), (_, oh, ow, oc) = c.x.shape, c.out.shape
    win = c.window
    image = {"h": h, "w": w, "c": channels, "oh": oh, "ow": ow, "oc": oc}
    return Launch(
        f"conv.{kernel}",
        (size(c.out),),
        inputs=inputs,
        outputs={"out": Ref(c.out.index)},
        sizes={"size": size(c.out), **image, "kh": win.kh, "kw": win.kw, "groups": c.groups, **steps_of(win)},
        scalars=scalars,
        defines={**defines, **({"TRANSPOSED": 1} if c.transposed else {})},
    )


def bias_argument(bias: TensorSpec | None, channels: int, dtype: str) -> Buffer:
    """The bias, or zeros where there is none."""
    if bias is None:
        return np.zeros(max(channels, 1), dtype)
    require(bias.dtype == np.dtype(dtype), f"a bias of {bias.type}")
    require(size(bias) == channels, f"a bias of {size(bias)} for {channels} channels")
    return Ref(bias.index)


def _float(c: Convolution) -> Launch:
    low, high = float_range(c.activation)
    bias = bias_argument(c.bias, c.out.shape[3], "f4")
    inputs = {"x": Ref(c.x.index), "weights": c.packed, "bias": bias}
    return _launch(c, "conv_float", inputs, {"low": low, "high": high}, {"FLOAT": 1})


def _integer(c: Convolution, limits: DeviceLimits) -> Launch:
    x, weights, out = c.x, c.weights, c.out
    # 64-bit sums, unless the option says that the bias, and so the sum, is of 32.
    wide = x.type == "INT16" and c.bias_type != "INT32"
    channels = out.shape[3]
    check_quantization(c.node, x, weights, c.bias, symmetric_filter=c.symmetric)
    scaling = rescale(scale_factors(x, weights, c.bias, out, channels), channels, out, c.activation, wide)
    weight_zero = weights.zero_point if x.type == "UINT8" else 0
    inputs = {
        "x": Ref(x.index),
        "weights": c.packed,
        "bias": bias_argument(c.bias, channels, "i8" if wide else "i4"),
        "multipliers": np.ascontiguousarray(scaling.multiplier),
        "exponents": np.ascontiguousarray(scaling.exponent),
    }
    scalars = {"x_zero": x.zero_point, "weight_zero": weight_zero, "out_zero": scaling.zero_point}
    scalars |= {"low": scaling.lo, "high": scaling.hi}
    defines = {
        "T": c_type(x, limits),
        "W_T": c_type(replace(weights, type="INT8") if weights.type == "INT4" else weights, limits),
        "ACC_T": "i64" if wide else "i32",
        "RESCALE": "mbqm64" if wide else "mbqm",
    }
    return _launch(c, "conv_integer", inputs, {name: i32(value) for name, value in scalars.items()}, defines)


def _hybrid(c: Convolution, limits: DeviceLimits) -> Lowered:
    """Each image quantized at run time, then summed as integers."""
    x, channels = c.x, c.out.shape[3]
    require(not c.transposed, "float input with integer weights")
    require(c.weights.quantization is not None, "weights without scales")
    assert c.weights.quantization is not None
    scale = channel_scale(c.weights, channels).astype(np.float32)
    if c.node.op == "CONV_2D":
        check_hybrid_axis(c.weights, c.groups)
    elif c.node.op == "DEPTHWISE_CONV_2D":
        require(scale.size == c.weights.shape[c.weights.quantization.axis], "scales of another dimension")
    asymmetric = c.node.op == "DEPTHWISE_CONV_2D" or c.groups > 1 or not bool((scale == scale[0]).all())
    if not asymmetric:
        # The x86 build multiplies -128 as +128 in some places where rows are not a multiple of 4.
        plain = channels % 4 == 0 or int(constant(c.weights, "weights").min(initial=0)) > -128
        require(plain, "weights of -128 in a hybrid convolution")
    rows = x.shape[0]
    quantized = hybrid.quantize_rows(Ref(x.index), rows, size(x) // max(rows, 1), asymmetric, limits)
    fast = _hybrid_product(c, quantized, scale, asymmetric, limits)
    if fast is not None:
        return fast
    one_by_one: dict[str, object] = {"ONE_BY_ONE": 1} if asymmetric and c.node.op == "CONV_2D" else {}
    inputs = {
        "x": quantized.codes,
        "weights": c.packed,
        "bias": bias_argument(c.bias, channels, "f4"),
        "weight_scales": np.ascontiguousarray(np.broadcast_to(scale, (channels,))),
        "scales": quantized.scales,
        "zero_points": quantized.zero_points,
    }
    low, high = float_range(c.activation)
    scalars = {"low": low, "high": high}
    return [quantized.launch, _launch(c, "conv_hybrid", inputs, scalars, {"HYBRID": 1} | one_by_one)]


def _hybrid_product(
    c: Convolution, quantized: hybrid.Rows, scale: Array, asymmetric: bool, limits: DeviceLimits
) -> Lowered | None:
    """The same of constant weights as a product of matrices, by the kernels that the device has for those."""
    known = c.weights.data is not None and (c.bias is None or c.bias.data is not None)
    if not known or c.groups != 1 or c.node.op != "CONV_2D" or not size(c.out):
        return None
    n, h, w, channels = c.x.shape
    image, each = (n, h, w, channels), c.window.oh * c.window.ow
    low, high = float_range(c.activation)
    if limits.has("vnni"):
        kind: dict[str, object] = {"ONE_BY_ONE": 1} if asymmetric else {}
        product = vnni.hybrid_conv(quantized, image, _matrix(c), scale, c.out, c.window, low, high, limits, kind, each)
        return [quantized.launch, product]
    if limits.has("warps"):
        ends = (low, high)
        return tensor_core.hybrid_gemm(
            quantized, image, _matrix(c), scale, c.out, c.window, ends, each, limits, asymmetric
        )
    return None
