"""REDUCE_WINDOW and STABLEHLO_REDUCE_WINDOW: windows sliding over any dimensions, each reduced to one value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.registry import OpError, Runtime, function, require, value

TYPES = "FLOAT32 FLOAT64 INT8 UINT8 INT16 INT32 INT64 BOOL"
MAX_RANK = 6

Combine = Callable[[Array, Array], Array]

# NaN as `a` loses and as `b` wins, as in the original's comparisons.
FUNCTIONS: dict[str, Combine] = {
    "ADD": np.add,
    "MUL": np.multiply,
    "MAXIMUM": lambda a, b: np.where(a >= b, a, b),
    "MINIMUM": lambda a, b: np.where(a <= b, a, b),
    "ALL": lambda a, b: np.logical_and(a, b).astype(a.dtype),
    "ANY": lambda a, b: np.logical_or(a, b).astype(a.dtype),
}

# The function of a StableHLO reduction by the one operation in its body.
BODIES: dict[str, str] = {
    "ADD": "ADD",
    "STABLEHLO_ADD": "ADD",
    "MUL": "MUL",
    "STABLEHLO_MULTIPLY": "MUL",
    "MAXIMUM": "MAXIMUM",
    "STABLEHLO_MAXIMUM": "MAXIMUM",
    "MINIMUM": "MINIMUM",
    "STABLEHLO_MINIMUM": "MINIMUM",
    "LOGICAL_AND": "ALL",
    "STABLEHLO_AND": "ALL",
    "LOGICAL_OR": "ANY",
    "STABLEHLO_OR": "ANY",
}


@dataclass(frozen=True, slots=True)
class Window:
    """The window's size, strides and dilations in each dimension."""

    size: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]

    def output_shape(self, shape: Shape) -> Shape:
        """How many windows fit into each dimension."""
        spans = [(k - 1) * d + 1 for k, d in zip(self.size, self.dilations, strict=True)]
        return tuple(
            (n - span) // s + 1 if n >= span else 0 for n, span, s in zip(shape, spans, self.strides, strict=True)
        )


def _window(node: Node, size: list[int], strides: list[int], dilations: list[int]) -> Window:
    rank = len(node.input(0).shape)
    require(0 < rank <= MAX_RANK, f"{node.input(0)}: {node.op} needs one to {MAX_RANK} dimensions. ")
    lengths = {len(size), len(strides), len(dilations)}
    require(lengths == {rank}, f"{node.op}: the window has {lengths} dimensions for {node.input(0)}. ")
    require(min(*size, *strides, *dilations) > 0, f"{node.op}: sizes, strides and dilations must be positive. ")
    init = node.input(1)
    require(init.type == node.input(0).type == node.outputs[0].type, f"{init} must be of the type of the input. ")
    require(np.prod(init.shape) == 1, f"{init} must be one number. ")
    return Window(tuple(size), tuple(strides), tuple(dilations))


def _reduced(combine: Combine, x: Array, init: Array, window: Window, out: Shape) -> Array:
    """Every window of x, reduced in row-major order from init on."""
    # In C++ these are bytes; a sum of true and true is not one, but it is true.
    numbers, start = (a.view(np.int8) if a.dtype == np.bool_ else a for a in (x, init.reshape(-1)[:1]))
    total = np.full(out, start[0], numbers.dtype)
    if total.size == 0:
        return total.astype(x.dtype)
    steps = list(zip(out, window.strides, window.dilations, strict=True))
    with np.errstate(all="ignore"):
        for position in np.ndindex(*window.size):
            seen = tuple(slice(p * d, p * d + (n - 1) * s + 1, s) for p, (n, s, d) in zip(position, steps, strict=True))
            total = combine(total, numbers[seen]).astype(numbers.dtype, copy=False)
    return total.astype(x.dtype, copy=False)


def window_of_inputs(node: Node) -> Window:
    given = [node.input(i) for i in (2, 3, 4)]
    require(all(spec.type == "INT64" for spec in given), "REDUCE_WINDOW: the window must be given in INT64. ")
    return _window(node, *([int(n) for n in np.ravel(value(spec))] for spec in given))


@function(
    "REDUCE_WINDOW",
    inputs=5,
    types=TYPES,
    shape=lambda node: [window_of_inputs(node).output_shape(node.input(0).shape)],
)
def reduce_window(node: Node, x: Array, init: Array, size: Array, strides: Array, dilations: Array) -> Array:
    """x reduced window by window with the option's function, from init on."""
    name = node.options.reduce_function
    require(name in FUNCTIONS, f"REDUCE_WINDOW: unsupported reduction body {name}. ")
    return _reduced(FUNCTIONS[name], x, init, window_of_inputs(node), node.outputs[0].shape)


@dataclass(frozen=True, slots=True)
class Edges:
    """What is done to the input first: dilation, and padding around it (negative: cropping)."""

    dilations: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]

    def shape(self, shape: Shape) -> Shape:
        """The shape after dilation and padding."""
        spread = [(n - 1) * d + 1 for n, d in zip(shape, self.dilations, strict=True)]
        return tuple(n + low + high for n, (low, high) in zip(spread, self.padding, strict=True))


def edges_of(node: Node) -> Edges:
    rank = len(node.input(0).shape)
    dilations = [int(d) for d in node.options.base_dilations or ()]
    padding = [int(p) for p in node.options.padding or ()]
    require(len(dilations) == rank and len(padding) == 2 * rank, f"{node.op}: options of another rank. ")
    require(min(dilations) > 0, f"{node.op}: sizes, strides and dilations must be positive. ")
    edges = Edges(tuple(dilations), tuple(zip(padding[::2], padding[1::2], strict=True)))
    empty = "The padding specification of stablehlo.reduce_window gives an empty tensor."
    require(not any(padding) or min(edges.shape(node.input(0).shape)) > 0, empty)
    return edges


def window_of_options(node: Node) -> Window:
    o = node.options
    return _window(node, *(list(field or ()) for field in (o.window_dimensions, o.window_strides, o.window_dilations)))


def _stablehlo_shape(node: Node, runtime: Runtime) -> list[Shape]:
    window = window_of_options(node)
    return [window.output_shape(edges_of(node).shape(node.input(0).shape))]


def spread_slices(shape: Shape, edges: Edges) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Which elements of an array remain after dilation and padding, and at which slices."""
    inner, source = [], []
    for n, size, d, (low, _) in zip(shape, edges.shape(shape), edges.dilations, edges.padding, strict=True):
        first = max(0, -(low // d))
        last = min(n, (size - 1 - low) // d + 1)
        source.append(slice(first, max(first, last)))
        begin = low + first * d
        inner.append(slice(begin, begin + max(0, (last - first - 1) * d + 1), d) if last > first else slice(0, 0))
    return tuple(source), tuple(inner)


def _spread(x: Array, init: Array, edges: Edges) -> Array:
    """x with init between and around its elements."""
    out = np.full(edges.shape(x.shape), init.reshape(-1)[0], x.dtype)
    source, inner = spread_slices(x.shape, edges)
    out[inner] = x[source]
    return out


def _body(node: Node, runtime: Runtime) -> str:
    nodes = runtime.subgraph(node.options.body_subgraph_index).graph.nodes
    if len(nodes) != 1:
        raise OpError(
            f"Only one kernel is allowed within stablehlo.reduce_window body. ({len(nodes)}) kernels found.\n"
        )
    require(nodes[0].op in BODIES, f"{node.op}: unsupported reduction body {nodes[0].op}. ")
    return BODIES[nodes[0].op]


@function("STABLEHLO_REDUCE_WINDOW", inputs=2, types=TYPES, shape=_stablehlo_shape, stateful=True)
def stablehlo_reduce_window(node: Node, runtime: Runtime, x: Array, init: Array) -> Array:
    """x, dilated and padded with init, reduced window by window with the function of the body's one operation."""
    combine = FUNCTIONS[_body(node, runtime)]
    edges = edges_of(node)
    if any(d != 1 for d in edges.dilations) or any(any(p) for p in edges.padding):
        x = _spread(x, init, edges)
    return _reduced(combine, x, init, window_of_options(node), node.outputs[0].shape)
