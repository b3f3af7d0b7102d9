"""Element-wise operators on plain numbers, held to LiteRT: every type, broadcasting, and the edges of each type."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import assert_same, litert, one_op, tflgpu_run
from single_op import example, refused_by_both, same_as_litert

from tflgpu.ops.cache_blocks import blocked

derandomized = settings(max_examples=20, derandomize=True, deadline=None)
OPTIMIZED = "BUILTIN_WITHOUT_DEFAULT_DELEGATES"
EDGES = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -1e-40, 3.4e38, -3.4e38, 0.5, -0.5, 2.5, -1.5], np.float32)

UNARY = {
    "ABS": "FLOAT32 INT32",
    "COS": "FLOAT32 FLOAT16",
    "EXP": "FLOAT32",
    "FLOOR": "FLOAT32 FLOAT16 BFLOAT16",
    "LOG": "FLOAT32",
    "LOGICAL_NOT": "BOOL",
    "NEG": "FLOAT32 FLOAT16 BFLOAT16 INT8 INT16 INT32 INT64",
    "RSQRT": "FLOAT32",
    "SIGN": "FLOAT32 FLOAT64 INT32",
    "SIN": "FLOAT32 FLOAT16",
    "SQRT": "FLOAT32",
    "SQUARE": "FLOAT32",
    "ZEROS_LIKE": "FLOAT32 INT32 INT64",
}
NUMBERS = "FLOAT32 FLOAT16 INT32 INT64"
BINARY = {
    "ADD": NUMBERS,
    "SUB": "FLOAT32 INT32 INT64",
    "MUL": f"{NUMBERS} UINT32 COMPLEX64",
    "DIV": "FLOAT32",
    "SQUARED_DIFFERENCE": "FLOAT32 INT32",
    "MAXIMUM": f"{NUMBERS} BFLOAT16 INT8 UINT8 INT16",
    "MINIMUM": f"{NUMBERS} BFLOAT16 INT8 UINT8 INT16",
    "FLOOR_MOD": "FLOAT32",
    "POW": "FLOAT32",
    "LOGICAL_AND": "BOOL",
    "LOGICAL_OR": "BOOL",
    "BITWISE_XOR": "INT8 UINT8 INT16 UINT16 INT32 UINT32",
    "RIGHT_SHIFT": "INT8 UINT8 INT16 UINT16 INT32 UINT32",
    "EQUAL": f"{NUMBERS} BOOL STRING",
    "NOT_EQUAL": f"{NUMBERS} BOOL STRING",
    "LESS": f"{NUMBERS} BFLOAT16 INT16",
    "LESS_EQUAL": f"{NUMBERS} INT16",
    "GREATER": f"{NUMBERS} BFLOAT16 INT16",
    "GREATER_EQUAL": f"{NUMBERS} INT16",
}
NEW_VERSIONS = {"ADD": 5, "SUB": 4, "MUL": 7, "EQUAL": 4, "NOT_EQUAL": 4}
COMPARISONS = ("EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL")
SAME_SHAPE = {
    "ATAN2": "FLOAT32 FLOAT64 FLOAT16 BFLOAT16",
    "STABLEHLO_ADD": "FLOAT32 FLOAT16 INT8 INT16 INT32 INT64",
    "STABLEHLO_MULTIPLY": "FLOAT32 INT8 INT32",
    "STABLEHLO_MAXIMUM": "FLOAT32 INT8 INT32",
    "STABLEHLO_MINIMUM": "FLOAT32 INT16 UINT8",
}


def rows(table):
    return [(op, type) for op, types in table.items() for type in types.split()]


def of_two(op, type, shapes, output=None, **options):
    output = output or ("BOOL" if op in COMPARISONS else type)
    options.setdefault("version", NEW_VERSIONS.get(op, 1))
    return one_op(op, [{"type": type, "shape": s} for s in shapes], [{"type": output, "shape": ()}], **options)


def of_one(op, type, shape, **options):
    options.setdefault("version", NEW_VERSIONS.get(op, 1))
    return one_op(op, [{"type": type, "shape": shape}], [{"type": type, "shape": shape}], **options)


@pytest.mark.parametrize(("op", "type"), rows(UNARY))
def test_unary_operator(op, type):
    x = example(type, (3, 5, 7))
    if op in ("LOG", "SQRT", "RSQRT"):
        x = np.abs(x)
    same_as_litert(of_one(op, type, x.shape), x)


@pytest.mark.parametrize(("op", "type"), [("CEIL", "FLOAT32"), *rows({"ROUND": "FLOAT32 FLOAT16 BFLOAT16"})])
def test_unary_operator_that_the_reference_resolver_lacks(op, type):
    x = example(type, (3, 5, 7)) * 4
    same_as_litert(of_one(op, type, x.shape), x.astype(example(type, ()).dtype), resolver=OPTIMIZED)


@pytest.mark.parametrize("op", [op for op, types in UNARY.items() if "FLOAT32" in types])
def test_unary_operator_of_nan_infinities_and_denormals(op):
    same_as_litert(of_one(op, "FLOAT32", EDGES.shape), EDGES)


@pytest.mark.parametrize("op", ["ABS", "CEIL", "EXP", "LOG", "SQRT", "RSQRT", "SQUARE"])
def test_float16_beyond_the_kernels_is_float32_rounded(op):
    x = np.abs(example("FLOAT16", (3, 5))) + np.float16(0.25)
    [got] = tflgpu_run(of_one(op, "FLOAT16", x.shape), [x])
    [want] = tflgpu_run(of_one(op, "FLOAT32", x.shape), [x.astype(np.float32)])
    assert_same([got], [want.astype(np.float16)])


@pytest.mark.parametrize(("op", "type"), rows(BINARY))
@pytest.mark.parametrize("shapes", [((2, 3, 5), (2, 3, 5)), ((2, 3, 5), (5,)), ((1, 3, 1), (2, 1, 5)), ((), (3,))])
def test_binary_operator_broadcasts(op, type, shapes):
    a, b = (example(type, shape, seed) for seed, shape in enumerate(shapes))
    if op == "POW":
        a = np.abs(a)
    same_as_litert(of_two(op, type, shapes), a, b)


@pytest.mark.parametrize(("op", "type"), rows(SAME_SHAPE))
def test_binary_operator_of_one_shape(op, type):
    a, b = example(type, (2, 3, 5)), example(type, (2, 3, 5), 1)
    same_as_litert(of_two(op, type, [a.shape, b.shape]), a, b)
    with pytest.raises(RuntimeError, match="must be equal"):
        tflgpu_run(of_two(op, type, [(2, 3), (3,)]), [a[0, :2, :3], b[0, 0, :3]])


@pytest.mark.parametrize("type", ["BOOL", "INT8", "INT16", "INT32"])
def test_stablehlo_and(type):
    a, b = example(type, (3, 5)), example(type, (3, 5), 1)
    same_as_litert(of_two("STABLEHLO_AND", type, [a.shape] * 2), a, b, resolver=OPTIMIZED)


@pytest.mark.parametrize("type", ["INT8", "INT16", "INT32"])
def test_stablehlo_shift_left(type):
    a = example(type, (3, 5))
    b = np.arange(15).reshape(3, 5).astype(a.dtype)
    same_as_litert(of_two("STABLEHLO_SHIFT_LEFT", type, [a.shape] * 2), a, b, resolver=OPTIMIZED)


@pytest.mark.parametrize("op", ["ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "FLOOR_MOD", "POW", "LESS", "EQUAL"])
def test_binary_operator_of_nan_infinities_and_denormals(op):
    a, b = (x.ravel() for x in np.meshgrid(EDGES, EDGES))
    same_as_litert(of_two(op, "FLOAT32", [a.shape, b.shape]), a, b)


@pytest.mark.parametrize("op", ["ADD", "SUB", "MUL", "DIV"])
@pytest.mark.parametrize("activation", ["NONE", "RELU", "RELU6", "RELU_N1_TO_1"])
def test_fused_activation_passes_nan_on_and_bounds_infinities(op, activation):
    a, b = (x.ravel() for x in np.meshgrid(EDGES, EDGES))
    same_as_litert(of_two(op, "FLOAT32", [a.shape, b.shape], fused_activation_function=activation), a, b)


@pytest.mark.parametrize("op", ["ADD", "SUB", "MUL"])
@pytest.mark.parametrize("type", ["INT32", "INT64"])
def test_fused_activation_of_integers(op, type):
    a, b = (x.ravel().astype(type.lower()) for x in np.meshgrid(np.arange(-9, 10), np.arange(-5, 6)))
    same_as_litert(of_two(op, type, [a.shape, b.shape], fused_activation_function="RELU6"), a, b)


@pytest.mark.parametrize("op", ["ADD", "MUL"])
def test_int16_without_scales_wraps(op):
    a, b = example("INT16", (3, 5)), example("INT16", (5,), 1)
    same_as_litert(of_two(op, "INT16", [a.shape, b.shape], version={"ADD": 5, "MUL": 7}[op]), a, b)


@pytest.mark.parametrize("op", ["FLOOR_DIV", "FLOOR_MOD"])
@pytest.mark.parametrize("type", ["INT8", "INT16", "INT32"])
def test_floor_division_of_every_sign(op, type):
    values = np.array([-127, -126, -7, -3, -1, 1, 2, 3, 7, 127])
    a, b = (x.ravel().astype(type.lower()) for x in np.meshgrid(values, values))
    same_as_litert(of_two(op, type, [a.shape, b.shape], version=3 if op == "FLOOR_DIV" else 2), a, b)


def test_floor_division_of_floats():
    values = np.array([-7.5, -1, -0.25, 0.25, 1, 3, 7.5], np.float32)
    a, b = (x.ravel() for x in np.meshgrid(values, values))
    same_as_litert(of_two("FLOOR_DIV", "FLOAT32", [a.shape, b.shape], version=2), a, b)


def test_integer_quotient_is_cut_towards_zero():
    values = np.array([-(2**31), -(2**31) + 1, -7, -1, 1, 2, 7, 2**31 - 1], np.int32)
    a, b = (x.ravel() for x in np.meshgrid(values, values))
    same_as_litert(of_two("DIV", "INT32", [a.shape, b.shape]), a, b)


@pytest.mark.parametrize(
    ("op", "type"),
    [
        ("DIV", "INT32"),
        ("FLOOR_DIV", "INT32"),
        ("FLOOR_DIV", "FLOAT32"),
        ("FLOOR_MOD", "INT32"),
        ("FLOOR_MOD", "INT64"),
    ],
)
def test_division_by_zero_is_refused(op, type):
    dtype = type.lower()
    data = of_two(op, type, [(2,), (2,)], version=2 if op == "FLOOR_DIV" else 1)
    refused_by_both(data, np.ones(2, dtype), np.array([1, 0], dtype), match="failed to invoke")


def test_integer_power():
    a, b = (
        x.ravel() for x in np.meshgrid(np.array([-3, -1, 0, 1, 2, 7], np.int32), np.array([0, 1, 2, 5, 12], np.int32))
    )
    same_as_litert(of_two("POW", "INT32", [a.shape, b.shape]), a, b)
    overflowing = np.array([10, -10, 2], np.int32), np.array([10, 11, 31], np.int32)
    same_as_litert(of_two("POW", "INT32", [(3,), (3,)]), *overflowing)
    refused_by_both(
        of_two("POW", "INT32", [(1,), (1,)]), np.array([2], np.int32), np.array([-1], np.int32), match="POW"
    )


@pytest.mark.parametrize("exponent", [1, 2, 3, 7, 31, 2.000001, 0, -1, 0.5])
def test_power_of_one_exponent_for_all(exponent):
    x = np.abs(example("FLOAT32", (3, 5))) + np.float32(0.1)
    same_as_litert(of_two("POW", "FLOAT32", [x.shape, ()]), x, np.float32(exponent))
    if exponent == int(exponent) > 0:
        whole = np.array([[-3, 2], [7, 10]], np.int32)
        same_as_litert(of_two("POW", "INT32", [whole.shape, ()]), whole, np.int32(exponent))


def test_shift_amounts_are_clamped():
    a = np.array([1, -8, 100, -1, 8], np.int8)
    b = np.array([-3, 1, 7, 40, 127], np.int8)
    same_as_litert(of_two("RIGHT_SHIFT", "INT8", [a.shape, b.shape]), a, b)


@pytest.mark.parametrize("type", ["FLOAT32", "INT32"])
def test_sum_of_many(type):
    arrays = [example(type, (2, 3), seed) // 8 for seed in range(5)]
    ins = [{"type": type, "shape": (2, 3)}] * 5
    same_as_litert(one_op("ADD_N", ins, [{"type": type, "shape": (2, 3)}]), *arrays)


SELECTED = ["FLOAT32", "FLOAT16", "FLOAT64", "INT8", "UINT8", "INT16", "INT32", "UINT32", "INT64", "BOOL", "COMPLEX64"]


@pytest.mark.parametrize("type", SELECTED)
@pytest.mark.parametrize(
    ("op", "shapes"),
    [
        ("SELECT", [(2, 3), (2, 3), (2, 3)]),
        ("SELECT", [(2,), (2, 3), (2, 3)]),
        ("SELECT", [(), (2, 3), (2, 3)]),
        ("SELECT_V2", [(2, 1), (3,), (2, 3)]),
        ("SELECT_V2", [(2, 3), (), (2, 3)]),
    ],
)
def test_selection(op, shapes, type):
    ins = [{"type": t, "shape": s} for t, s in zip(["BOOL", type, type], shapes, strict=True)]
    values = [example("BOOL", shapes[0]), example(type, shapes[1]), example(type, shapes[2], 1)]
    same_as_litert(one_op(op, ins, [{"type": type, "shape": ()}]), *values)


@pytest.mark.parametrize("op", ["ADD", "MAXIMUM", "LESS", "LOGICAL_AND", "BITWISE_XOR"])
def test_shapes_that_do_not_broadcast_are_refused(op):
    type = BINARY[op].split()[0]
    data = of_two(op, type, [(2, 3), (4,)])
    refused_by_both(data, example(type, (2, 3)), example(type, (4,)), match="not broadcastable")


@pytest.mark.parametrize("op", ["ADD", "MUL", "ABS", "SQUARE", "GREATER"])
def test_empty_tensors(op):
    shapes = [(0, 3)] * (1 if op in UNARY else 2)
    data = of_one(op, "FLOAT32", (0, 3)) if op in UNARY else of_two(op, "FLOAT32", shapes)
    [got] = tflgpu_run(data, [np.zeros(s, np.float32) for s in shapes])
    assert got.shape == (0, 3)


@pytest.mark.parametrize(
    ("op", "type"), [("ABS", "UINT8"), ("LOGICAL_OR", "INT32"), ("POW", "INT64"), ("LESS", "BOOL")]
)
def test_type_that_is_not_supported_is_named(op, type):
    data = of_one(op, type, (2,)) if op in UNARY else of_two(op, type, [(2,), (2,)])
    x = example(type, (2,))
    refused_by_both(data, *[x] * (1 if op in UNARY else 2), match=f"{type} is not supported")


@derandomized
@given(st.data())
def test_blocks_cover_any_broadcast(data):
    sizes = st.sampled_from([0, 1, 1, 2, 3, 5])
    shape = tuple(data.draw(st.lists(sizes, max_size=5)))
    inputs = []
    for seed in range(2):
        rank = data.draw(st.integers(0, len(shape)))
        own = tuple(d if data.draw(st.booleans()) else 1 for d in shape[len(shape) - rank :])
        inputs.append(example("FLOAT32", own, seed))
    out = np.full(np.broadcast_shapes(shape, *(x.shape for x in inputs)), np.nan, np.float32)
    limit = data.draw(st.integers(1, 40))
    blocked(lambda a, b, y, scratch: np.copyto(y, np.add(a, b, out=scratch)), inputs, out, [np.float32], limit)()
    np.testing.assert_array_equal(out, np.broadcast_to(inputs[0] + inputs[1], out.shape))


@pytest.mark.parametrize("op", ["ADD", "MAXIMUM"])
def test_tensors_of_many_blocks(op):
    a, b = example("FLOAT32", (7, 61, 97)), example("FLOAT32", (61, 1), 1)
    a[3, 5, 7] = np.nan
    data = of_two(op, "FLOAT32", [a.shape, b.shape], **({"fused_activation_function": "RELU"} if op == "ADD" else {}))
    assert_same(tflgpu_run(data, [a, b]), litert(data, [a, b]))
