"""RNN, UNIDIRECTIONAL_SEQUENCE_RNN and BIDIRECTIONAL_SEQUENCE_RNN; and the walk over time that LSTMs do too.

The products with the inputs of all times are one launch. A step of time is a few, which differ in where they read and
write only: where they are small, a Loop over them, which is one launch too. States are variable tensors, which stay on
the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Argument, Launch, Loop, Lowered, Packed, Ref, Temp, Turn, launches_of
from tflgpu.delegates.lowering import dot, tiles
from tflgpu.delegates.lowering.hybrid import Rows, quantize_rows
from tflgpu.delegates.lowering.registry import constant, i32, lowers, require
from tflgpu.delegates.lowering.window import Window

from tflgpu.graph import Array, Node, TensorSpec
from tflgpu.ops.recurrent_linear import single_scale

COLUMNS = 4
"""Outputs that a work-item of a product makes: so many sums run side by side."""

EXACT = 1 << 24
"""Sums of whole numbers up to this are exact in float32."""

MAX_LAUNCHES = 1 << 14
"""A sequence that needs more stays on the CPU: each costs time to prepare and memory to keep."""

ACTIVATIONS = {
    "NONE": "(x)",
    "RELU": "((x) < 0.0f ? 0.0f : (x))",
    "RELU_N1_TO_1": "clamp_f32(x, -1.0f, 1.0f)",
    "RELU6": "clamp_f32(x, 0.0f, 6.0f)",
    "TANH": "tanh(x)",
    "SIGN_BIT": "(signbit(x) ? 1.0f : 0.0f)",
}
UPSTREAM_TANH = "upstream_tanh(x)"
"""The reference's rational function to the bit, for states that are quantized next."""


@dataclass(frozen=True)
class Time:
    """What a walk goes over: n_batch rows at each of `steps` times of (n_batch, steps, ...) or its transpose."""

    n_batch: int
    steps: int
    major: bool

    @property
    def rows(self) -> int:
        return self.n_batch * self.steps

    def place(self, depth: int, column: int = 0, reverse: bool = False) -> tuple[int, Turn]:
        """(from row to row, to the first at each time): how far apart elements of `column` lie in rows of depth."""
        row, step = (depth, self.n_batch * depth) if self.major else (self.steps * depth, depth)
        return row, Turn(column + (self.steps - 1) * step, -step) if reverse else Turn(column, step)

    def walk(self, steps: Sequence[Launch], products: int, limits: DeviceLimits) -> Lowered:
        """The steps at each time. products: multiplications of them all at one time."""
        if limits.inner_barriers and products <= (SMALL_STEP if limits.cpu else SMALL_STEP_OF_A_GPU):
            return [Loop(tuple(steps), self.steps)]
        return [at_turn(launch, t) for t in range(self.steps) for launch in steps]


SMALL_STEP = 1 << 19
"""Multiplications of a step of time that one core does in less time than the launches of the step take to start."""

SMALL_STEP_OF_A_GPU = 1 << 16


def at_turn(launch: Launch, turn: int) -> Launch:
    """The launch of one turn of a loop."""
    return replace(launch, args=tuple(a.at(turn) if isinstance(a, Turn) else a for a in launch.args))


def one_row(rows: int) -> dict[str, object]:
    """The define that tells kernels of recurrent.cl that there is one row."""
    return {"ONE_ROW": 1} if rows == 1 else {}


def varying(value: int | Turn) -> Argument:
    """A kernel's integer argument, which may differ from turn to turn."""
    return value if isinstance(value, Turn) else i32(value)


def time_of(x: TensorSpec, major: bool) -> Time:
    """Of a sequence, or of one step (n_batch, depth)."""
    if len(x.shape) == 2:
        return Time(x.shape[0], 1, True)
    return Time(x.shape[1 if major else 0], x.shape[0 if major else 1], major)


@dataclass(frozen=True, eq=False)
class Matrix:
    """Constant weights (n, k), transposed to (k, n). scales and sums (n,) of 8-bit codes; None for floats.

    codes: the weights as they are, or as signed codes. kind: the type in which sums of products with codes are exact.
    """

    n: int
    k: int
    codes: Callable[[], Array]
    weights: Packed
    kind: str = "f32"
    scales: Packed | None = None
    sums: Packed | None = None


def matrix(weights: Sequence[TensorSpec]) -> Matrix:
    """The weights one above the other, all of one type."""
    arrays = [constant(w, "weights") for w in weights]
    n, k = sum(len(a) for a in arrays), arrays[0].shape[1]
    require(len({w.type for w in weights}) == 1, "weights of several types")

    def stacked() -> Array:
        return np.concatenate(arrays)

    if weights[0].type == "FLOAT32":
        return Matrix(n, k, stacked, Packed(lambda: np.ascontiguousarray(stacked().T)))
    require(weights[0].type in ("INT8", "UINT8"), f"weights of {weights[0].type}")
    # The x86 build multiplies -128 as +128 in some places.
    least = min((int(a.view(np.int8).min(initial=0)) for a in arrays), default=0)
    require(k < 16 or least > -128, "weights of -128")
    scales = np.repeat([single_scale(w) for w in weights], [len(a) for a in arrays]).astype(np.float32)
    kind, dtype = ("f32", np.float32) if 128 * 128 * k <= EXACT else ("i32", np.int8)
    return Matrix(
        n,
        k,
        lambda: stacked().view(np.int8),
        Packed(lambda: np.ascontiguousarray(stacked().view(np.int8).T, dtype)),
        kind,
        Packed(lambda: scales),
        Packed(lambda: stacked().view(np.int8).sum(axis=1, dtype=np.int32)),
    )


@dataclass(frozen=True, eq=False)
class Product:
    """out (rows, n) = start + x (rows, k) times the matrix; what is quantized before, if anything."""

    x: Argument
    rows: int
    matrix: Matrix
    quantized: Rows | None

    @property
    def products(self) -> int:
        return self.rows * self.matrix.n * self.matrix.k

    def launches(self, start: Argument, step: int, offset: int | Turn, out: Temp | Ref) -> list[Launch]:
        """Row r of start begins at offset + r * step."""
        m = self.matrix
        columns = COLUMNS if m.n % COLUMNS == 0 else 1
        size = self.rows * m.n // columns
        sizes = (i32(size), i32(m.n), i32(m.k), i32(step), varying(offset))
        defines: dict[str, object] = {"COLUMNS": columns, "W_T": m.kind} | one_row(self.rows)
        if self.quantized is None:
            args = (self.x, m.weights, start, out, *sizes)
            return [Launch("recurrent.product", args, (size,), defines=defines | {"FLOATS": 1})]
        q = self.quantized
        assert m.scales is not None and m.sums is not None
        codes = (q.codes, q.scales, q.zero_points, m.weights, m.scales, m.sums, start, out, *sizes)
        return [q.launch, Launch("recurrent.product_hybrid", codes, (size,), defines=defines | {"HYBRID": 1})]


def product(x: Argument, rows: int, weights: Matrix, asymmetric: bool, limits: DeviceLimits) -> Product:
    """Float rows are quantized each with its own scale where the weights are codes."""
    hybrid = weights.scales is not None
    return Product(x, rows, weights, quantize_rows(x, rows, weights.k, asymmetric, limits) if hybrid else None)


def state(spec: TensorSpec, elements: int) -> Ref:
    """A variable tensor that the kernels read and write. Raises Unsupported where it is none."""
    require(spec.is_variable and spec.data is None, f"{spec} is not a variable tensor without a value")
    require(int(np.prod(spec.shape)) == elements, f"{spec} has not {elements} elements")
    return Ref(spec.index)


def checked(launches: Lowered) -> Lowered:
    """The launches. Raises Unsupported where they are too many."""
    count = sum(1 for _ in launches_of(launches))
    require(count <= MAX_LAUNCHES, f"a sequence of {count} launches")
    return launches


@lowers("RNN", "UNIDIRECTIONAL_SEQUENCE_RNN", variables=True)
def rnn(node: Node, limits: DeviceLimits) -> Lowered:
    """A layer over a sequence, or over one step."""
    x = node.input(0)
    over = time_of(x, node.op == "RNN" or bool(node.options.time_major))
    return checked(_layer(node, 1, [(x, node.input(1))], over, (node.outputs[0], 0), limits))


@lowers("BIDIRECTIONAL_SEQUENCE_RNN", variables=True)
def bidirectional_rnn(node: Node, limits: DeviceLimits) -> Lowered:
    """A layer forward and one backward in time."""
    x, aux = node.input(0), node.optional(9)
    over = time_of(x, bool(node.options.time_major))
    aux_weights = node.optional(10), node.optional(11)
    require((aux_weights[0] is None) == (aux_weights[1] is None), "auxiliary weights of one direction")
    linked = aux_weights[0] is not None
    require(not linked or aux is not None, "auxiliary weights without an input")
    require(aux is None or linked or aux.shape == x.shape, "an auxiliary input of another shape")
    merged = len(node.outputs) == 1
    n = node.input(1).shape[0]
    targets = [(node.outputs[0], 0), (node.outputs[0], n) if merged else (node.outputs[1], 0)]
    launches: Lowered = []
    for first, extra, (out, column), back in zip((1, 5), aux_weights, targets, (False, True), strict=True):
        # Upstream's batch-major loop gives the backward layer the input all the same.
        seen = aux if back and aux is not None and not linked and over.major else x
        sources = [(seen, node.input(first))]
        if aux is not None and extra is not None:
            sources.append((aux, extra))
        launches += _layer(node, first, sources, over, (out, column), limits, back)
    # Upstream's hybrid time-major loop runs the whole sequence once for each time, states carried on.
    repeats = over.steps if over.major and node.input(1).type != "FLOAT32" else 1
    return checked(launches * repeats)


def _layer(
    node: Node,
    first: int,
    sources: Sequence[tuple[TensorSpec, TensorSpec]],
    over: Time,
    target: tuple[TensorSpec, int],
    limits: DeviceLimits,
    reverse: bool = False,
) -> Lowered:
    """h = activation(W x + R h + bias), and y = h, at each time. sources: inputs and what each is multiplied by."""
    recurrent, bias = node.input(first + 1), node.input(first + 2)
    n, asymmetric = recurrent.shape[0], bool(node.options.asymmetric_quantize_inputs)
    hidden = state(node.input(first + 3), over.n_batch * n)
    name = node.options.fused_activation_function
    require(name in ACTIVATIONS, f"the activation {name}")
    hybrid = recurrent.type != "FLOAT32"
    before, launches = inputs_of_all_times(sources, constant(bias, "a bias"), over, asymmetric, limits)
    step = product(hidden, over.n_batch, matrix([recurrent]), asymmetric, limits)
    total = Temp(4 * over.n_batch * n)
    act = UPSTREAM_TANH if hybrid and name == "TANH" else ACTIVATIONS[name]
    out, column = target
    place = over.place(out.shape[-1], column, reverse)
    steps = step.launches(before, *over.place(n, 0, reverse), total)
    steps.append(emit(total, hidden, out, over.n_batch * n, n, place, "f32", "f32", act))
    return [*launches, *over.walk(steps, step.products, limits)]


def inputs_of_all_times(
    sources: Sequence[tuple[TensorSpec, TensorSpec]], bias: Array, over: Time, asymmetric: bool, limits: DeviceLimits
) -> tuple[Temp, Lowered]:
    """bias (n,) + the sum of the inputs times their weights, (over.rows, n)."""
    made = [(x, matrix([w])) for x, w in sources]
    return from_matrices(made, bias, over, asymmetric, limits)


def from_matrices(
    sources: Sequence[tuple[TensorSpec, Matrix]], bias: Array, over: Time, asymmetric: bool, limits: DeviceLimits
) -> tuple[Temp, Lowered]:
    """The same of matrices made already."""
    n = sources[0][1].n
    before = Temp(4 * over.rows * n)
    launches: Lowered = []
    start: tuple[Argument, int] = (np.ascontiguousarray(bias, np.float32), 0)
    for x, weights in sources:
        require(x.type == "FLOAT32", f"an input of {x.type}")
        made = product(Ref(x.index), over.rows, weights, asymmetric, limits)
        if limits.tiles and start[1] == 0 and over.rows > 1 and weights.k:
            launches += in_tiles(made, bias, before, limits)
        else:
            launches += made.launches(*start, 0, before)
        start = (before, n)
    return before, launches


def in_tiles(made: Product, bias: Array, out: Temp, limits: DeviceLimits) -> Lowered:
    """The product plus bias (n,), by the kernels of tiles.py."""
    m = made.matrix
    assert isinstance(made.x, Ref)
    weights = tiles.Matrix(m.codes(), 0, np.ascontiguousarray(bias, np.float32))
    target = TensorSpec(-1, "", "FLOAT32", (made.rows, m.n))
    if made.quantized is not None:
        assert m.scales is not None
        scales = m.scales.make()
        launch = dot.hybrid_dot(made.quantized, weights, scales, target, -np.inf, np.inf, limits)
        return [made.quantized.launch, _into(out, launch)]
    x = TensorSpec(made.x.tensor, "", "FLOAT32", (made.rows, m.k))
    over = Window(1, 1, 1, 1, 1, 1, 1, made.rows, 0, 0)
    finish = tiles.Finish(np.float32(-np.inf), np.float32(np.inf))
    lowered = tiles.conv_tiles(x, (1, 1, made.rows, m.k), weights, target, over, finish, limits)
    return [_into(out, launch) for launch in launches_of(lowered)]


def _into(out: Temp, launch: Launch) -> Launch:
    """The launch, with `out` in the place of tensor -1."""
    args = tuple(out if isinstance(a, Ref) and a.tensor == -1 else a for a in launch.args)
    return replace(launch, args=args, variants=tuple(_into(out, variant) for variant in launch.variants))


def emit(
    p: Argument,
    hidden: Argument,
    out: TensorSpec,
    size: int,
    n: int,
    place: tuple[int, int | Turn],
    p_type: str,
    kind: str,
    activate: str,
) -> Launch:
    """The state, and a row of the output at `place`: activate(x) of p (rows, n)."""
    args = (p, hidden, Ref(out.index), i32(size), i32(n), i32(place[0]), varying(place[1]))
    defines = {"P_T": p_type, "T": kind, "ACTIVATE(x)": activate, "EMIT": 1} | one_row(size // n)
    return Launch("recurrent.emit", args, (size,), defines=defines)
