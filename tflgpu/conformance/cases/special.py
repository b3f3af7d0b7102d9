"""NaN, infinities, the largest floats and -0 in the first, a middle and the last position of what an operator reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tflgpu.conformance.cases import comparison, elementwise, reduce
from tflgpu.conformance.cases.case import NO_CASES, Case, OneOp, T, i32, one, q, scalar, shaped
from tflgpu.model.graph import Array

FAMILY = "special"
NOTE = "every position"

SPECIAL = np.array([np.nan, np.inf, -np.inf, 3.4028235e38, -3.4028235e38, -0.0, 1e30, -1e30], np.float32)
DEPTH = 19
"""Of a row: more than a vector has, and no multiple of one."""
BY_WORDS = 3
"""Of a row along the innermost dimension of ARG_MAX: from 4 on, TensorFlow Lite's vectors lose a NaN."""


def rows(depth: int = DEPTH) -> Array:
    """Rows of plain numbers, each with one special value first, in the middle or last; then NaN in all positions."""
    positions = sorted({0, depth // 2, depth - 1})
    plain = np.where(np.arange(depth) % 2, np.float32(0.75), np.float32(-1.5)).astype(np.float32)
    found = np.tile(plain, (len(positions) * SPECIAL.size + 2, 1))
    for k, position in enumerate(positions):
        found[k * SPECIAL.size : (k + 1) * SPECIAL.size, position] = SPECIAL
    found[-2, :-1] = np.nan
    found[-1] = np.nan
    return found


def cases() -> Iterator[Case]:
    for op, (types, _, _) in elementwise.UNARY.items():
        for options in elementwise.PARAMETERS.get(op, ({},)) if "FLOAT32" in types else ():
            detail = elementwise.words(options)
            yield _case("FLOAT32", detail, OneOp(op, [_floats(rows())], [T("FLOAT32")], options))
    for op, types in elementwise.BINARY.items():
        if "FLOAT32" in types:
            yield from _pairs(op)
    for op in comparison.COMPARISONS:
        yield _pair(op, *_grid(SPECIAL, SPECIAL), "BOOL")
    for op, types in reduce.REDUCTIONS.items():
        if "FLOAT32" in types:
            yield from _reductions(op)
    for op in ("ARG_MAX", "ARG_MIN"):
        for x, axis in ((rows().T.copy(), 0), (rows(BY_WORDS), 1)):
            model = OneOp(op, [_floats(x), scalar(axis)], [T("INT32")], {"output_type": "INT32"})
            yield _case("FLOAT32", [f"axis={axis}"], model)
    outputs = [T("FLOAT32"), T("INT32")]
    yield _case("FLOAT32", ["k=7"], OneOp("TOPK_V2", [_floats(rows()), scalar(7)], outputs))
    yield _case("FLOAT32", ["k=19"], OneOp("TOPK_V2", [_floats(rows()), scalar(DEPTH)], outputs))
    yield from _products()
    yield from _integers()
    yield from _powers()
    if "BFLOAT16" not in NO_CASES:
        x = BITS.view(np.float32)
        yield one(FAMILY, "FLOAT32", ["10", "to=bfloat16", "ties"], OneOp("CAST", [_floats(x)], [T("BFLOAT16")]))


BITS = np.array([0x3F808000, 0x3F818000, 0xBF808000, 0x3F80FFFF, 0x3F807FFF, 0x7F7FFFFF, 0x7F800001, 0x7FFFFFFF,
                 0xFF800001, 0x00008000], np.uint32)  # fmt: skip
"""Of float32: half way between two values of bfloat16, beside it, beyond the largest, and NaN with few bits."""


def _powers() -> Iterator[Case]:
    """Powers and a quotient that leave int32, and powers by what is nearly a whole number."""
    least, opposite = np.full(70, -(2**31), np.int32), np.resize(np.array([-1, 1, 2, -2], np.int32), 70)
    inputs: list[T | Array] = [T("INT32", (70,), least), T("INT32", (70,), opposite)]
    plain = {"fused_activation_function": "NONE"}
    yield one(FAMILY, "INT32", ["70", "beyond int32"], OneOp("DIV", inputs, [T("INT32")], plain))
    x = np.tile(np.array([-46341, 46341, -2, 2, -3, 1, -1, 0, 1291, -1291], np.int32), 7)
    y = np.repeat(np.array([1, 2, 3, 31, 30, 32, 100], np.int32), 10)
    yield one(
        FAMILY,
        "INT32",
        ["70", "beyond int32"],
        OneOp("POW", [T("INT32", (70,), x), T("INT32", (70,), y)], [T("INT32")]),
    )
    for exponent in (2.05, 2.000001):
        inputs = [T("FLOAT32", (70,), "positive"), np.array([exponent], np.float32)]
        yield one(FAMILY, "FLOAT32", ["70", f"by {exponent}"], OneOp("POW", inputs, [T("FLOAT32")]))


def _case(type: str, detail: list[str], model: OneOp) -> Case:
    x = model.inputs[0]
    assert isinstance(x, T)
    return one(FAMILY, type, [shaped(x.shape), *detail, NOTE], model)


def _floats(values: Array, constant: bool = False) -> T:
    return T("FLOAT32", values.shape, values, constant)


def _grid(x: Array, y: Array) -> tuple[Array, Array]:
    """Every value of x with every value of y, and each of them with plain numbers beside it."""
    first, second = np.meshgrid(x, y)
    plain = np.array([1.5, -2, 0.25, 0, 3], np.float32)
    return (
        np.concatenate([first.reshape(-1), x, np.resize(plain, y.size)]),
        np.concatenate([second.reshape(-1), np.resize(plain[::-1], x.size), y]),
    )


def _pair(op: str, x: Array, y: Array, out: str = "FLOAT32", detail: str = "") -> Case:
    options = {"fused_activation_function": "NONE"} if op in elementwise.ACTIVATED else {}
    model = OneOp(op, [_floats(x), _floats(y, constant=op == "PRELU")], [T(out)], options)
    return _case("FLOAT32", [detail] if detail else [], model)


def _pairs(op: str) -> Iterator[Case]:
    # FLOOR_DIV refuses a divisor of 0.
    divisors = SPECIAL[SPECIAL != 0] if op == "FLOOR_DIV" else SPECIAL
    x, y = _grid(SPECIAL, divisors)
    yield _pair(op, x, np.where(y == 0, np.float32(0.5), y) if op == "FLOOR_DIV" else y)
    if op == "POW":
        for exponent in (2, 3, 0.5, -1):
            yield _pair(op, rows(), np.array([exponent], np.float32), detail=f"by {exponent:g}")


def _reductions(op: str) -> Iterator[Case]:
    for x, axis in ((rows(), 1), (rows().T.copy(), 0)):
        if op == "REDUCE_PROD":  # whose partial products would leave float32 in one order and not in another
            x = np.where(np.abs(x) < 2, np.copysign(np.float32(1), x), x)
        yield _case(
            "FLOAT32", [f"axis={axis}"], OneOp(op, [_floats(x), i32(axis)], [T("FLOAT32")], {"keep_dims": False})
        )


def _products() -> Iterator[Case]:
    """GEMMs whose rows have one special value each: constant and computed weights, with and without an activation."""
    x, rng, f = rows(), np.random.default_rng(0), "FLOAT32"
    windows = {"padding": "SAME", "stride_w": 1, "stride_h": 1}
    image = x.reshape(1, len(x), 1, DEPTH)
    weights, bias = rng.uniform(-1, 1, (7, DEPTH)).astype(np.float32), _floats(np.ones(7, np.float32), True)
    for activation in ("NONE", "RELU6"):
        options: dict[str, Any] = {"fused_activation_function": activation}
        for computed in (False, True):
            note = [activation.lower(), *(["computed weights"] if computed else [])]
            inputs = [_floats(x), _floats(weights, not computed), bias]
            yield _case(f, note, OneOp("FULLY_CONNECTED", inputs, [T(f)], options))
        filters = _floats(weights.reshape(7, 1, 1, DEPTH), True)
        model = OneOp("CONV_2D", [_floats(image), filters, bias], [T(f)], {**options, **windows})
        yield _case(f, [activation.lower()], model)
        each = [_floats(weights[:1].reshape(1, 1, 1, DEPTH), True), _floats(np.ones(DEPTH, np.float32), True)]
        options = {**options, **windows, "depth_multiplier": 1}
        yield _case(f, [activation.lower()], OneOp("DEPTHWISE_CONV_2D", [_floats(image), *each], [T(f)], options))
    yield _case(f, [], OneOp("BATCH_MATMUL", [_floats(x), _floats(weights.T.copy())], [T(f)]))


def _integers() -> Iterator[Case]:
    """What no integer holds, as integers and as quantized values."""
    for type in ("INT8", "UINT8", "INT16"):
        for zero in (0,) if type == "INT16" else (-3, 5) if type == "INT8" else (200,):
            out = q(type, scale=0.25, zero_point=zero)
            model = OneOp("QUANTIZE", [_floats(rows())], [out])
            yield _case("FLOAT32", [f"to={type.lower()}", f"zero={zero}"], model)
    for type in ("INT8", "UINT8", "INT16", "INT32", "INT64", "BOOL"):
        yield _case("FLOAT32", [f"to={type.lower()}"], OneOp("CAST", [_floats(rows())], [T(type)]))
