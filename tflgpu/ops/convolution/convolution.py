"""What all convolutions share: which arithmetic their types mean, and the epilogue of their accumulators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tflgpu.model.graph import Array, Node, Shape, TensorSpec
from tflgpu.ops.cache_blocks import in_order
from tflgpu.ops.convolution.float_epilogue import FloatEpilogue
from tflgpu.ops.convolution.image_shares import ImageShare, image_shares
from tflgpu.ops.convolution.window import Copy, Window
from tflgpu.ops.matmul.requantize import Requantizer, exact_in_float64, rescale
from tflgpu.ops.registry import OpError, Step, require
from tflgpu.ops.scratch import scratch
from tflgpu.ops.shape_rules import elements
from tflgpu.ops.shares import in_shares

HYBRID_FILTERS = ("UINT8", "INT8", "INT4")
BIASES = {
    "UINT8": ("INT32",),
    "INT8": ("INT32",),
    "INT16": ("INT32", "INT64"),
    "FLOAT32": ("FLOAT32",),
    "FLOAT16": ("FLOAT16",),
}

MAX_PADDED = 1 << 26
"""Values that a filter whose taps reach far beyond its image may cover."""


@dataclass(frozen=True, eq=False)
class RowBlock:
    """Some output pixels: what to copy first, and the step that then computes their accumulators (m, oc).

    rows: which of the output pixels (b * oh * ow). image: which image of the batch they belong to.
    """

    copies: tuple[Copy, ...]
    compute: Step
    rows: slice
    image: int
    accumulators: Array


class ConvolutionWeights(Protocol):
    """Weights as a convolution multiplies them with an image: exactly, where both are integers."""

    oc: int
    weight_sums: Array
    """The sum of each output channel's weights, int64."""
    bound: int
    """What no accumulator exceeds in magnitude."""
    accumulator: np.dtype
    constant: bool
    multiplies: int
    """Multiply-adds of an element of the output; where they are no GEMM's, how many of GEMM take as long."""
    whole_images: bool
    """Whether `row_blocks` is for images, not for some rows of one."""

    def load(self) -> None:
        """Reads the present content of weights that are not constant."""

    def row_blocks(
        self, x: Array, window: Window, pad: float, target: Callable[[slice], Array], per_image: bool, large: bool
    ) -> list[RowBlock]:
        """Blocks that convolve x (b, h, w, c) into target(rows), accumulators (m, oc) of type `accumulator`.

        pad: the value outside the image. per_image: no block covers more than one image. large: many rows at a time.
        """


WeightsFactory = Callable[["int | None", np.dtype, int], ConvolutionWeights]
"""f(largest magnitude of the image's values, or None for floats; accumulator's dtype; the filter's zero point)."""


def execute(blocks: Sequence[tuple[tuple[Copy, ...], Step, Step]]) -> Step:
    """A step that does for each block its copies, its computation and its epilogue."""

    def step() -> None:
        for copies, compute, epilogue in blocks:
            for target, source in copies:
                target[...] = source
            compute()
            epilogue()

    return step


def as_bytes(weights: Array) -> Array:
    """An int16 filter as TensorFlow Lite's kernels read it, which take any filter of an int16 convolution for int8.

    They see the bytes of the first half of the weights. Its converter makes such filters where one is computed.
    """
    return weights.reshape(-1).view(np.int8)[: weights.size].reshape(weights.shape)


def cropped_to_image(window: Window, image: Shape, constant: bool) -> tuple[Window, slice, slice]:
    """The window without the taps that never meet the image (b, h, w, c), and which taps remain.

    Weights that are not constant keep all their taps. Raises OpError where those cover far more than the image.
    """
    cropped, rows, columns = window.cropped(*image[1:3])
    if constant or cropped == window:
        return cropped, rows, columns
    covered = window.rows(1) * window.columns * image[3]
    require(covered <= MAX_PADDED, f"a filter that is not constant covers {covered} values with its dilation. ")
    return window, slice(None), slice(None)


def through_float32(
    make: Callable[[Sequence[Array | None], Sequence[Array]], Step],
    node: Node,
    inputs: Sequence[Array | None],
    outputs: Sequence[Array],
) -> Step | None:
    """`make`'s step over float32 copies where an array is float16, or None where none is."""
    if not any(a is not None and a.dtype == np.float16 for a in inputs):
        return None
    widened = [a.astype(np.float32) if a is not None and a.dtype == np.float16 else a for a in inputs]
    results = [np.empty(a.shape, np.float32) if a.dtype == np.float16 else a for a in outputs]
    inner = make(widened, results)
    changing = [
        (wide, narrow)
        for wide, narrow, spec in zip(widened, inputs, node.inputs, strict=True)
        if wide is not narrow and not is_constant(spec) and wide is not None
    ]
    rounded = [(out, result) for out, result in zip(outputs, results, strict=True) if out is not result]

    def step() -> None:
        for wide, narrow in changing:
            wide[...] = narrow
        inner()
        with np.errstate(over="ignore"):
            for out, result in rounded:
                out[...] = result

    return step


def check_types(
    node: Node, x: TensorSpec, weights: TensorSpec, bias: TensorSpec | None, filters: dict[str, tuple[str, ...]]
) -> None:
    """Raises OpError where the types of input, filter, bias and output do not go together."""
    if weights.type not in filters[x.type]:
        raise OpError(
            f"{node.op}: {x.type} input with a {weights.type} filter is not supported; "
            f"supported: {', '.join(filters[x.type])}. "
        )
    output = node.outputs[0]
    require(output.type == x.type, f"output->type != input_type ({output.type} != {x.type})")
    if bias is not None:
        supported = BIASES[x.type]
        require(bias.type in supported, f"bias->type {bias.type} is not one of {', '.join(supported)}. ")


def check_quantization(
    node: Node, x: TensorSpec, weights: TensorSpec, bias: TensorSpec | None, symmetric_filter: bool = True
) -> None:
    """Raises OpError where quantization parameters are not what an integer convolution needs."""
    require(weights.quantization is not None, "filter->quantization.type != kTfLiteAffineQuantization")
    require(x.quantization is not None, "input->quantization.type != kTfLiteAffineQuantization")
    if symmetric_filter and x.type != "UINT8" and weights.quantization is not None:
        require(not weights.quantization.zero_point.any(), "affine_quantization->zero_point->data[i] != 0")
    if bias is not None and bias.quantization is not None:
        require(not bias.quantization.zero_point[:1].any(), "bias->params.zero_point != 0")
    if x.type == "INT16":
        require(x.zero_point == 0, f"input->params.zero_point != 0 ({x.zero_point} != 0)")
        require(node.outputs[0].zero_point == 0, "output->params.zero_point != 0")
        wanted = getattr(node.options, "quantized_bias_type", "FLOAT32")
        if wanted != "FLOAT32":
            require(wanted in ("INT32", "INT64"), f"a quantized_bias_type of {wanted} is not supported. ")
            require(bias is None or bias.type == wanted, f"bias->type != params->quantized_bias_type ({wanted})")


def check_integers(
    node: Node, specs: tuple[TensorSpec, TensorSpec, TensorSpec | None], oc: int, symmetric_filter: bool = True
) -> None:
    """Raises OpError where input, filter and bias are quantized as an integer convolution cannot use."""
    x, weights, bias = specs
    if x.dtype.kind == "f":
        return
    check_quantization(node, x, weights, bias, symmetric_filter)
    if elements(node.outputs[0].shape):
        scale_factors(x, weights, bias, node.outputs[0], oc)


def scale_factors(x: TensorSpec, weights: TensorSpec, bias: TensorSpec | None, output: TensorSpec, oc: int) -> Array:
    """The real factors (1,) or (oc,), in double, from accumulators to the output. Raises OpError for other scales."""
    assert weights.quantization is not None
    scales = weights.quantization.scale
    require(scales.size in (1, oc), f"affine_quantization->scale->size {scales.size} is neither 1 nor {oc}. ")
    channels = weights.shape[weights.quantization.axis] if scales.size > 1 else oc
    require(channels == oc, f"the scales are of axis {weights.quantization.axis}, which is not the output's channels. ")
    require(output.scale > 0, f"{output} has a scale of {output.scale}. ")
    if x.type != "UINT8":
        return np.float64(x.scale) * scales.astype(np.float64) / np.float64(output.scale)
    require(scales.size == 1, "input->type == kTfLiteInt8 || input->type == kTfLiteInt16 was not true.")
    if bias is not None and bias.quantization is not None:
        difference = abs(np.float64(x.scale) * np.float64(scales[0]) - np.float64(bias.scale))
        require(difference / np.float64(output.scale) <= 0.02, "scale_diff / output_scale <= 0.02 was not true.")
    return np.array([np.float64(x.scale * scales[0]) / np.float64(output.scale)])


def accumulator_rows(prepared: ConvolutionWeights) -> Callable[[slice], Array]:
    """A `target` for ConvolutionWeights.row_blocks in scratch that all blocks share, as large as the first asks for."""
    store: list[Array] = []

    def target(rows: slice) -> Array:
        m = rows.stop - rows.start
        if not store:
            store.append(scratch("sums", (m, prepared.oc), prepared.accumulator))
        return store[0][:m]

    return target


def is_constant(spec: TensorSpec | None) -> bool:
    return spec is None or spec.data is not None


def float_convolution(
    node: Node,
    x: Array,
    bias: Array | None,
    out: Array,
    window: Window,
    prepared: ConvolutionWeights,
    constant_bias: bool,
    activation: str | None = None,
) -> Step:
    """A step that convolves float32 x (b, h, w, c) with float32 weights, plus bias (oc), into out (b, oh, ow, oc)."""
    epilogue = FloatEpilogue(bias, node.options.fused_activation_function if activation is None else activation)

    def bind(share: ImageShare) -> Step:
        rows_of = share.out.__getitem__
        blocks = prepared.row_blocks(share.x, share.window, 0.0, rows_of, per_image=False, large=True)
        return execute([(block.copies, block.compute, epilogue.bind(block.accumulators)) for block in blocks])

    before: list[Step] = [] if prepared.constant else [prepared.load]
    if not constant_bias:
        before.append(epilogue.load)
    return in_order([*before, in_shares(image_shares(x, window, out, prepared), bind)])


def integer_convolution(
    node: Node,
    x: Array,
    specs: tuple[TensorSpec, TensorSpec, TensorSpec | None],
    bias: Array | None,
    out: Array,
    window: Window,
    make: WeightsFactory,
    wide: bool,
) -> Step:
    """A step that convolves 8- or 16-bit x with 8-bit weights. specs: of x, filter, bias. wide: 64-bit accumulators."""
    x_spec, weights_spec, bias_spec = specs
    largest, dtype = (1 << 15, np.dtype(np.float64)) if x_spec.type == "INT16" else (255, np.dtype(np.float32))
    zero_point = x_spec.zero_point
    if x_spec.type == "INT8":
        largest = 128
    prepared = make(largest, dtype, weights_spec.zero_point if x_spec.type == "UINT8" else 0)
    factors = scale_factors(x_spec, weights_spec, bias_spec, node.outputs[0], prepared.oc)
    scaling = rescale(factors, prepared.oc, node.outputs[0], node.options.fused_activation_function, wide)
    constant_bias = is_constant(bias_spec)

    def offsets() -> Array:
        """The bias, and what the input's zero point contributes."""
        offset = -zero_point * prepared.weight_sums
        return offset if bias is None else offset + bias

    if not prepared.constant:
        prepared.load()
    most_bias = 1 << 62 if not constant_bias else int(np.abs(offsets()).max(initial=0))
    if not prepared.constant:
        most_bias += 255 * prepared.bound
    largest_sum = prepared.bound + most_bias
    exact = exact_in_float64(scaling, largest_sum)
    epilogues: list[Requantizer] = []

    def bind(share: ImageShare) -> Step:
        target, pad = accumulator_rows(prepared), float(zero_point)
        blocks = prepared.row_blocks(share.x, share.window, pad, target, per_image=False, large=False)
        size = max(block.rows.stop - block.rows.start for block in blocks)
        epilogue = Requantizer(scaling, size, offsets(), largest_sum, exact)
        epilogues.append(epilogue)
        return execute([(b.copies, b.compute, epilogue.bind(b.accumulators, share.out[b.rows])) for b in blocks])

    def load_bias() -> None:
        for epilogue in epilogues:
            epilogue.set_bias(offsets())

    before: list[Step] = [] if prepared.constant else [prepared.load]
    if before or not constant_bias:
        before.append(load_bias)
    return in_order([*before, in_shares(image_shares(x, window, out, prepared), bind)])
