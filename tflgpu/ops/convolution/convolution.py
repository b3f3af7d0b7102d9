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
from tflgpu.ops.registry import OpError, Step, require
from tflgpu.ops.scratch import scratch
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


@dataclass(frozen=True, eq=False)
class Convolution:
    """A node's image x (b, h, w, c), bias (oc) or None, result out (b, oh, ow, oc), and the window over the image.

    specs: of x, filter and bias.
    """

    node: Node
    specs: tuple[TensorSpec, TensorSpec, TensorSpec | None]
    x: Array
    bias: Array | None
    out: Array
    window: Window

    @property
    def constant_bias(self) -> bool:
        return is_constant(self.specs[2])


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
    make: Callable[[Node, Sequence[Array | None], Sequence[Array]], Step],
    node: Node,
    inputs: Sequence[Array | None],
    outputs: Sequence[Array],
) -> Step:
    """`make`'s step, over float32 copies where an array is float16."""
    if not any(a is not None and a.dtype == np.float16 for a in inputs):
        return make(node, inputs, outputs)
    widened = [a.astype(np.float32) if a is not None and a.dtype == np.float16 else a for a in inputs]
    results = [np.empty(a.shape, np.float32) if a.dtype == np.float16 else a for a in outputs]
    inner = make(node, widened, results)
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


def float_convolution(c: Convolution, prepared: ConvolutionWeights, activation: str | None = None) -> Step:
    """A step that convolves float32 images with float32 weights. activation: instead of that of the node's options."""
    epilogue = FloatEpilogue(c.bias, c.node.options.fused_activation_function if activation is None else activation)

    def bind(share: ImageShare) -> Step:
        rows_of = share.out.__getitem__
        blocks = prepared.row_blocks(share.x, share.window, 0.0, rows_of, per_image=False, large=True)
        return execute([(block.copies, block.compute, epilogue.bind(block.accumulators)) for block in blocks])

    before = loads(c, prepared, epilogue)
    return in_order([*before, in_shares(image_shares(c.x, c.window, c.out, prepared), bind)])


def loads(c: Convolution, prepared: ConvolutionWeights, epilogue: FloatEpilogue) -> list[Step]:
    """What reads the present content of weights and bias, where they are not constant, before each run."""
    steps: list[Step] = [] if prepared.constant else [prepared.load]
    return steps if c.constant_bias else [*steps, epilogue.load]
