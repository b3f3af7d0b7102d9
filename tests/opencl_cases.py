"""Cases of kernels that delegate_cases.py does not reach, each with what makes its kernel the one that runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from control_flow.test_loops import FLOATS, dense, filling, loop, nested
from delegate_cases import Case, constant, f, i32, q, t
from ops.indexing.test_stablehlo_indexing import scatter_model
from team_models import network

from tflgpu.model.builder import ModelBuilder
from tflgpu.model.graph import Array

_NONE = {"fused_activation_function": "NONE"}
_WINDOW = {"padding": "SAME", "stride_w": 2, "stride_h": 1, "dilation_w_factor": 1, "dilation_h_factor": 2}
_ROWS = {
    "update_window_dims": [1],
    "inserted_window_dims": [0],
    "scatter_dims_to_operand_dims": [0],
    "index_vector_dim": 1,
}
_RELU6 = _WINDOW | {"fused_activation_function": "RELU6", "depth_multiplier": 1}


_POOLS = ("MAX_POOL_2D", "AVERAGE_POOL_2D")
_POOL = {"padding": "SAME", "stride_w": 2, "stride_h": 2, "filter_width": 3, "filter_height": 2, **_NONE}
_THREE = {"padding": "SAME", "stride_w": 1, "stride_h": 1, "depth_multiplier": 1, **_NONE}


@dataclass(frozen=True, eq=False)
class Chain(Case):
    """Element-wise operators in a row, through a reshape, that become one launch."""

    def model(self) -> bytes:
        m = ModelBuilder()
        g = m.graph()
        x, y = g.input("x", "FLOAT32", [3, 7]), g.input("y", "FLOAT32", [1, 7])
        total, flat, out = (
            g.tensor("sum", "FLOAT32", [3, 7]),
            g.tensor("flat", "FLOAT32", [21]),
            g.tensor("out", "BOOL", [21]),
        )
        g.node("ADD", [x, y], [total], fused_activation_function="RELU")
        g.node("RESHAPE", [total, g.constant("shape", i32(21))], [flat], new_shape=[21])
        g.node("LESS", [flat, g.constant("one", np.float32(1))], [out])
        g.outputs(out)
        return m.build()


@dataclass(frozen=True, eq=False)
class Scatter(Case):
    """Rows of updates added where indices say, some of them to the same row."""

    def model(self) -> bytes:
        x, at, updates = (np.zeros(spec["shape"]) for spec in self.inputs)
        return scatter_model(x, at, updates, "FLOAT32", "STABLEHLO_ADD", **self.options)


@dataclass(frozen=True, eq=False)
class Loops(Case):
    """Loops and branches that one block runs: of the model whose name this has."""

    def model(self) -> bytes:
        return {"nested": nested(), "dense": loop(FLOATS, dense), "list": filling()}[self.name.split()[0]]


def _weights(dtype: str, *shape: int) -> np.ndarray:
    rng = np.random.default_rng(11)
    floats = rng.normal(size=shape).astype(np.float32)
    return floats if dtype == "f4" else rng.integers(-127, 128, shape).astype(dtype)


def _depthwise() -> list[Case]:
    """As many outputs as inputs, and at least a vector of them; 19 leaves a remainder."""
    cases = []
    for c in (16, 19):
        scales = {"scale": np.linspace(0.01, 0.03, c).astype("f4"), "zero_point": np.zeros(c, "i8")}
        codes = constant(_weights("i1", 1, 3, 2, c), "INT8", axis=3, **scales)
        bias = constant(np.arange(c) * 90 - 250, "INT32", scale=0.001, zero_point=0)
        x, y = q("INT8", 2, 5, 7, c, scale=0.07), q("INT8", 2, 5, 4, c, scale=1.3, zero_point=-7)
        real = [f(2, 5, 7, c), _weights("f4", 1, 3, 2, c), _weights("f4", c)]
        cases.append(Case(f"depthwise of {c}", "DEPTHWISE_CONV_2D", real, [f(2, 5, 4, c)], _RELU6))
        cases.append(Case(f"depthwise int8 of {c}", "DEPTHWISE_CONV_2D", [x, codes, bias], [y], _RELU6, 3))
        for stride, ow in ((1, 7), (2, 4)):
            near = _RELU6 | {"dilation_h_factor": 1, "stride_w": stride}
            out = q("INT8", 2, 5, ow, c, scale=1.3, zero_point=-7)
            cases.append(Case(f"quads {stride} of {c}", "DEPTHWISE_CONV_2D", [x, codes, bias], [out], near, 3))
    return cases


def _tiles() -> list[Case]:
    """Products whose last panel and last rows are not full, of one and of many rows."""
    cases = []
    for rows, units, depth in ((1, 40, 9), (5, 1, 8), (13, 33, 17)):
        weights = _weights("f4", units, depth)
        inputs = [f(rows, depth), weights, _weights("f4", units)]
        cases.append(Case(f"tiles {rows} x {units}", "FULLY_CONNECTED", inputs, [f(rows, units)], _NONE, rtol=1e-5))
        codes = constant(_weights("i1", units, depth), "INT8", scale=0.02, zero_point=0)
        bias = constant(np.arange(units) * 9 - 25, "INT32", scale=0.001, zero_point=0)
        x, y = q("INT8", rows, depth), q("INT8", rows, units, scale=0.1 * depth, zero_point=-2)
        cases.append(Case(f"tiles int8 {rows} x {units}", "FULLY_CONNECTED", [x, codes, bias], [y], _NONE, 4))
    return cases


def _transposed() -> list[Case]:
    """Several outputs of each window; of unsigned weights, sums of rows besides."""
    cases = []
    for kind, size, oc in (("INT8", 2, 5), ("INT8", 3, 19), ("UINT8", 3, 5)):
        signed = kind == "INT8"
        weights = _weights("i1", oc, size, size, 7)
        value = weights if signed else (weights.astype("i2") + 128).astype("u1")
        codes = constant(value, kind, scale=0.02, zero_point=0 if signed else 117)
        x, y = q(kind, 2, 5, 9, 7, zero_point=3), q(kind, 2, 10, 18, oc, scale=0.6)
        shape = i32(2, 10, 18, oc)
        options = {"padding": "SAME", "stride_w": 2, "stride_h": 2}
        cases.append(Case(f"transposed {kind} {size} x {oc}", "TRANSPOSE_CONV", [shape, codes, x], [y], options))
    return cases


def _panels() -> list[Case]:
    """Products of computed matrices, broadcast, transposed, whose last tiles are not full."""
    shapes = [((2, 1, 13, 17), (1, 3, 17, 37), {}), ((3, 17, 19), (3, 41, 17), {"adj_x": True, "adj_y": True})]
    cases = []
    for x, y, options in shapes:
        m, n = (x[-1] if options else x[-2]), (y[-2] if options else y[-1])
        lead = np.broadcast_shapes(x[:-2], y[:-2])
        cases.append(Case(f"panels {m} x {n}", "BATCH_MATMUL", [f(*x), f(*y)], [f(*lead, m, n)], options, rtol=1e-5))
    return [*cases, Case("LOG_SOFTMAX of 37", "LOG_SOFTMAX", [f(3, 37)], [f(3, 37)])]


def _others() -> list[Case]:
    hybrid = constant(_weights("i1", 6, 17), "INT8", scale=0.02, zero_point=0)
    two = {"zero_point": 0}
    steps = {"fused_activation_function": "NONE", "pot_scale_int16": True}
    x16, y16 = q("INT16", 70, scale=2**-10, **two), q("INT16", 70, scale=2**-9, **two)
    sixteen = constant(_weights("i1", 6, 17), "INT8", scale=0.02, zero_point=0)
    bias64 = constant(np.arange(6) * 100 - 250, "INT64", scale=0.00002, zero_point=0)
    lrn = {"radius": 2, "bias": 1.0, "alpha": 0.5, "beta": 0.5}
    return [
        *[Case(f"{op} in steps", op, [x16, y16], [y16], steps, 2) for op in ("ADD", "SUB")],
        Case("bias of another node", "FULLY_CONNECTED", [f(3, 17), hybrid, f(6)], [f(3, 6)], _NONE, 9, rtol=1e-5),
        Case(
            "FULLY_CONNECTED int16",
            "FULLY_CONNECTED",
            [q("INT16", 3, 17, scale=0.001, **two), sixteen, bias64],
            [q("INT16", 3, 6, scale=0.01, **two)],
            _NONE,
            4,
        ),
        Case(
            "SOFTMAX int16",
            "SOFTMAX",
            [q("INT16", 3, 37, scale=0.001, **two)],
            [q("INT16", 3, 37, scale=1 / 32768, **two)],
            {"beta": 1.0},
            3,
        ),
        Case("GATHER_ND", "GATHER_ND", [f(3, 4, 5), t("INT32", 6, 2)], [f(6, 5)], below=3),
        Case("slice", "DYNAMIC_UPDATE_SLICE", [f(4, 5), f(2, 3), t("INT32", 2)], [f(4, 5)], version=1, below=6),
        Case("LRN", "LOCAL_RESPONSE_NORMALIZATION", [f(2, 3, 4, 7)], [f(2, 3, 4, 7)], lrn, rtol=1e-5),
        Case("rows of a table", "EMBEDDING_LOOKUP", [t("INT32", 5), _weights("f4", 7, 3)], [f(5, 3)], below=7),
        Scatter("scatter of rows", "STABLEHLO_SCATTER", [f(4, 5), t("INT32", 6, 1), f(6, 5)], [], _ROWS, below=5),
        Case(
            "LOG_SOFTMAX int8",
            "LOG_SOFTMAX",
            [q("INT8", 3, 37, scale=0.1)],
            [q("INT8", 3, 37, scale=16 / 256, zero_point=127)],
            version=2,
        ),
        Chain("chain", "ADD", [f(3, 7), f(1, 7)], []),
        *[Case(f"{op} by rows", op, [f(2, 5, 7, 19)], [f(2, 3, 4, 19)], _POOL, rtol=1e-5) for op in _POOLS],
        Case("places", "DEPTHWISE_CONV_2D", [f(1, 4, 9, 40), _weights("f4", 1, 3, 3, 40)], [f(1, 4, 9, 40)], _THREE),
    ]


KERNEL_CASES: list[Case] = [*_depthwise(), *_tiles(), *_transposed(), *_panels(), *_others()]


@dataclass(frozen=True, eq=False)
class Network(Case):
    """A network of the seed that options name, whose launches become one."""

    def model(self) -> bytes:
        return network(**self.options)[0]

    def values(self) -> list[Array]:
        return network(**self.options)[1]


TEAM_CASES: list[Case] = [
    Network(f"network {seed} {kind}", "", [], [], {"seed": seed, "kind": kind}, rtol=1e-5)
    for seed, kind in ((1, "FLOAT32"), (1, "INT8"), (4, "INT8"))
]

LOOP_CASES: list[Case] = [
    Loops("nested loops", "WHILE", [t("INT32"), f(5)], [], below=4),
    Loops("dense loop", "WHILE", [t("INT32"), *[f(3, 7)] * 3], [], below=4, rtol=1e-5),
    Loops("list that a loop fills", "WHILE", [f(2, 3)], []),
]
"""Which PoCL leaves to the host."""
