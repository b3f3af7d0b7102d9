"""Activations and quantized unary operators against LiteRT: every 8-bit value, a grid of 16-bit ones, floats."""

import numpy as np
import pytest
from oracle import assert_same, one_op, tflgpu_run
from single_op import example, refused_by_both, same_as_litert

OPTIMIZED = "BUILTIN_WITHOUT_DEFAULT_DELEGATES"
EDGES = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -1e-40, 3.4e38, -3.4e38, 30, -30, 100, -100], np.float32)
ALPHA = np.float32(0.1)

FLOATS = {
    "RELU": "FLOAT32",
    "RELU6": "FLOAT32",
    "RELU_N1_TO_1": "FLOAT32",
    "RELU_0_TO_1": "FLOAT32",
    "LEAKY_RELU": "FLOAT32",
    "ELU": "FLOAT32",
    "GELU": "FLOAT32 FLOAT16",
    "HARD_SWISH": "FLOAT32",
    "LOGISTIC": "FLOAT32 FLOAT16 BFLOAT16",
    "TANH": "FLOAT32 FLOAT16 BFLOAT16",
}
# Input and output (scale, zero point): alike, finer, coarser, off the ends.
SCALES = [((0.05, 0), (0.05, 0)), ((0.1, -5), (0.03, 12)), ((0.02, 127), (0.3, -128)), ((0.7, -128), (0.01, 1))]
CODES = {
    "RELU": "INT8 UINT8 INT16",
    "RELU6": "INT8 UINT8 INT16",
    "RELU_N1_TO_1": "INT8 UINT8",
    "RELU_0_TO_1": "INT8 UINT8",
    "LEAKY_RELU": "INT8 UINT8 INT16",
    "ELU": "INT8",
    "GELU": "INT8 UINT8 INT16",
    "HARD_SWISH": "INT8 UINT8",
    "TANH": "INT8 UINT8",
    "ABS": "INT8 INT16",
    "EXP": "INT8 INT16",
    "LOG": "INT8 INT16",
    "QUANTIZE": "INT8 UINT8 INT16",
}
VERSIONS = {"INT16": {"RELU": 2, "RELU6": 2, "LEAKY_RELU": 2, "GELU": 2, "LOGISTIC": 3, "TANH": 3, "ABS": 3}}


def rows(table):
    return [(op, type) for op, types in table.items() for type in types.split()]


def options_of(op):
    return {"LEAKY_RELU": {"alpha": float(ALPHA)}}.get(op, {})


def resolver_of(op):
    return OPTIMIZED if op == "ELU" else "BUILTIN_REF"


def quantized(op, type, quantization, output_type=None, **options):
    (s_in, z_in), (s_out, z_out) = quantization
    output_type = output_type or type

    def zero(type, z):
        return 0 if type == "INT16" else z + 128 if type == "UINT8" else z

    fine = 1 / 256 if type == "INT16" else 1
    x = {"type": type, "shape": every_value(type).shape, "scale": s_in * fine, "zero_point": zero(type, z_in)}
    y = {"type": output_type, "shape": (), "scale": s_out * fine, "zero_point": zero(output_type, z_out)}
    version = VERSIONS.get(type, {}).get(op, 2 if type in ("INT8", "INT16") else 1)
    if op in ("RELU_N1_TO_1", "RELU_0_TO_1", "HARD_SWISH", "ELU", "PRELU"):
        version = 1
    return one_op(op, [x], [y], version=version, **options_of(op), **options)


def every_value(type):
    if type == "INT16":
        grid = np.arange(-32768, 32768, 7)
        return np.concatenate([grid, np.arange(-300, 300), [32766, 32767]]).astype(np.int16)
    return np.arange(256, dtype=np.uint8).view(type.lower())


@pytest.mark.parametrize(("op", "type"), rows(FLOATS))
def test_activation_of_floats(op, type):
    x = (example("FLOAT32", (3, 5, 67)) * 4).astype(example(type, ()).dtype)
    spec = {"type": type, "shape": x.shape}
    same_as_litert(one_op(op, [spec], [spec], **options_of(op)), x, resolver=resolver_of(op))


@pytest.mark.parametrize("op", [op for op in FLOATS if op not in ("GELU", "HARD_SWISH", "ELU")])
def test_activation_of_nan_infinities_and_denormals(op):
    spec = {"type": "FLOAT32", "shape": EDGES.shape}
    same_as_litert(one_op(op, [spec], [spec], **options_of(op)), EDGES)


@pytest.mark.parametrize("op", ["GELU", "HARD_SWISH", "ELU"])
def test_activation_far_out(op):
    spec = {"type": "FLOAT32", "shape": EDGES.shape}
    x = np.where(np.isfinite(EDGES) & (np.abs(EDGES) < 1e30), EDGES, np.float32(7))
    same_as_litert(one_op(op, [spec], [spec]), x, resolver=resolver_of(op))


@pytest.mark.parametrize("op", list(FLOATS))
def test_float16_is_float32_rounded(op):
    x = (example("FLOAT32", (5, 7)) * 3).astype(np.float16)
    half, full = ({"type": t, "shape": x.shape} for t in ("FLOAT16", "FLOAT32"))
    [got] = tflgpu_run(one_op(op, [half], [half], **options_of(op)), [x])
    [want] = tflgpu_run(one_op(op, [full], [full], **options_of(op)), [x.astype(np.float32)])
    assert_same([got], [want.astype(np.float16)])


def test_gelu_by_the_hyperbolic_tangent():
    spec = {"type": "FLOAT32", "shape": (5, 97)}
    same_as_litert(one_op("GELU", [spec], [spec], approximate=True), example("FLOAT32", (5, 97)) * 5)


@pytest.mark.parametrize("alpha", [-0.5, 0.0, 1.0, 1.5])
def test_leaky_relu_of_any_slope(alpha):
    spec = {"type": "FLOAT32", "shape": (97,)}
    same_as_litert(one_op("LEAKY_RELU", [spec], [spec], alpha=alpha), example("FLOAT32", (97,)))


@pytest.mark.parametrize(("op", "type"), rows(CODES))
@pytest.mark.parametrize("quantization", SCALES)
def test_every_8_bit_value(op, type, quantization):
    same_as_litert(quantized(op, type, quantization), every_value(type), resolver=resolver_of(op))


def test_hard_swish_to_a_finer_scale_is_refused():
    data = quantized("HARD_SWISH", "INT8", ((0.7, 0), (0.001, 0)))
    refused_by_both(data, every_value("INT8"), match="output_multiplier_exponent")


@pytest.mark.parametrize("alpha", [-0.7, 0.0, 1.7])
def test_quantized_leaky_relu_of_any_slope(alpha):
    x = {"type": "INT8", "shape": (256,), "scale": 0.1, "zero_point": 3}
    same_as_litert(one_op("LEAKY_RELU", [x], [{**x, "scale": 0.07}], alpha=alpha), every_value("INT8"))


@pytest.mark.parametrize("type", ["INT8", "UINT8", "INT16"])
def test_quantized_gelu_by_the_hyperbolic_tangent(type):
    same_as_litert(quantized("GELU", type, SCALES[0], approximate=True), every_value(type))


@pytest.mark.parametrize("type", ["INT8", "UINT8"])
@pytest.mark.parametrize("scale", [0.004, 0.05, 0.3])
def test_quantized_logistic(type, scale):
    same_as_litert(quantized("LOGISTIC", type, ((scale, 7), (1 / 256, -128))), every_value(type))


@pytest.mark.parametrize("op", ["LOGISTIC", "TANH"])
@pytest.mark.parametrize("scale", [1 / 4096, 1 / 2048, 1 / 8192, 0.0001, 0.0007, 0.01, 1e-6])
def test_16_bit_logistic_and_tanh(op, scale):
    x = {"type": "INT16", "shape": every_value("INT16").shape, "scale": scale, "zero_point": 0}
    same_as_litert(one_op(op, [x], [{**x, "scale": 1 / 32768}], version=3), every_value("INT16"))


@pytest.mark.parametrize("scale", [1 / 255, 1 / 128])
def test_logistic_to_another_scale_is_refused(scale):
    refused_by_both(quantized("LOGISTIC", "INT8", ((0.1, 0), (scale, -128))), every_value("INT8"), match="1. / 256")


@pytest.mark.parametrize("op", ["SQRT", "RSQRT"])
@pytest.mark.parametrize("quantization", [((0.1, -128), (0.03, -128)), ((0.004, -128), (0.5, 3))])
def test_roots_of_every_8_bit_value(op, quantization):
    same_as_litert(quantized(op, "INT8", quantization), every_value("INT8"))


@pytest.mark.parametrize("op", ["SQRT", "RSQRT"])
def test_roots_of_16_bits(op):
    x = np.arange(0, 32768, 5).astype(np.int16)
    spec = {"type": "INT16", "shape": x.shape, "scale": 0.0011, "zero_point": 0}
    data = one_op(op, [spec], [{**spec, "scale": 0.0013}], version=3 if op == "RSQRT" else 2)
    same_as_litert(data, x)


@pytest.mark.parametrize("op", ["SQRT", "RSQRT"])
def test_roots_of_negative_numbers_are_refused(op):
    refused_by_both(quantized(op, "INT8", SCALES[0]), every_value("INT8"), match="only defined for")


@pytest.mark.parametrize("type", ["INT8", "UINT8", "INT16"])
@pytest.mark.parametrize("shape", [(1, 1, 8), (4, 1, 1), (4, 8, 8)])
def test_quantized_prelu(type, shape):
    rng = np.random.default_rng(0)
    alpha_type = "INT8" if type == "INT16" else type
    zero, alpha_zero = {"INT16": (0, 3), "UINT8": (131, 120), "INT8": (3, -8)}[type]
    x = rng.permutation(every_value(type))[:256].reshape(4, 8, 8)
    alpha = rng.integers(0, 256, shape).astype(np.uint8).view(alpha_type.lower())
    spec = {"type": type, "shape": x.shape, "scale": 0.05, "zero_point": zero}
    slopes = {"type": alpha_type, "shape": shape, "scale": 0.02, "zero_point": alpha_zero}
    same_as_litert(one_op("PRELU", [spec, slopes], [{**spec, "scale": 0.07}]), x, alpha)


@pytest.mark.parametrize("shape", [(7,), (3, 1, 1), (3, 5, 7)])
def test_prelu_of_floats(shape):
    x, alpha = example("FLOAT32", (2, 3, 5, 7)), example("FLOAT32", shape, 1)
    x[0, 0, 0, :2] = np.nan, np.inf
    specs = [{"type": "FLOAT32", "shape": a.shape} for a in (x, alpha)]
    same_as_litert(one_op("PRELU", specs, [specs[0]]), x, alpha)


def test_prelu_that_would_grow_its_input_is_refused():
    specs = [{"type": "FLOAT32", "shape": s} for s in [(3,), (2, 3)]]
    x, alpha = example("FLOAT32", (3,)), example("FLOAT32", (2, 3))
    refused_by_both(one_op("PRELU", specs, [{"type": "FLOAT32", "shape": ()}]), x, alpha, match="HaveSameShapes")


@pytest.mark.parametrize(
    ("op", "type"), [("RELU", "INT8"), ("LEAKY_RELU", "UINT8"), ("RELU6", "INT16"), ("GELU", "INT8"), ("EXP", "INT8")]
)
def test_integers_without_scales_are_what_tensorflow_lite_makes_of_them(op, type):
    spec = {"type": type, "shape": every_value(type).shape}
    same_as_litert(one_op(op, [spec], [spec], version=2 if type == "INT16" else 1, **options_of(op)), every_value(type))


@pytest.mark.parametrize("op", ["LOGISTIC", "RELU", "EXP"])
def test_large_16_bit_tensors_by_table_are_the_small_ones(op):
    x = np.arange(-32768, 32768).astype(np.int16).reshape(256, 256)
    spec = {"type": "INT16", "scale": 0.0003, "zero_point": 0}
    out = {**spec, "scale": 1 / 32768}
    version = VERSIONS["INT16"].get(op, 2)
    whole = one_op(op, [{**spec, "shape": x.shape}], [{**out, "shape": x.shape}], version=version)
    row = one_op(op, [{**spec, "shape": (256,)}], [{**out, "shape": (256,)}], version=version)
    [got] = tflgpu_run(whole, [x])
    for i in (0, 17, 127, 128, 255):
        np.testing.assert_array_equal(got[i], tflgpu_run(row, [x[i]])[0])


@pytest.mark.parametrize("op", ["RELU", "LEAKY_RELU", "TANH", "PRELU", "MUL"])
def test_one_scale_a_channel_counts_as_none(op: str) -> None:
    """TensorFlow Lite's kernels read a scale of 0 for the whole of such a tensor."""
    x = {"type": "INT8", "shape": (2, 8), "scale": [0.5, 0.25], "zero_point": [0, 0]}
    y = {"type": "INT8", "shape": (2, 8), "scale": 1 / 128, "zero_point": 0}
    inputs = [x, y][: 2 if op in ("PRELU", "MUL") else 1]
    data = one_op(op, inputs, [y], **({"alpha": 0.5} if op == "LEAKY_RELU" else {}))
    same_as_litert(data, *[np.arange(-8, 8, dtype=np.int8).reshape(2, 8)] * len(inputs))
