"""A native delegate that people use: XNNPACK out of the tflite-runtime wheel, here and in LiteRT.

The library is only opened; tflite_runtime itself, which needs NumPy 1, is not imported.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from typing import Any

import numpy as np
import pytest
from abi.xnnpack import XnnPack, library
from checkout import CORPUS
from oracle import assert_same, litert

import tflgpu
from tflgpu.model.builder import ModelBuilder

ZOO = CORPUS / "zoo"


def delegate() -> XnnPack:
    """XNNPACK; skips where tflite-runtime is not installed."""
    path = library()
    if path is None:
        pytest.skip("no XNNPACK to load: pip install tflite-runtime==2.14.0 (Python 3.11 or older)")
    return XnnPack(path)


def network(kind: str) -> bytes:
    """Convolutions, a pooling, a residual sum and a softmax, in float32 or int8."""
    m = ModelBuilder()
    g = m.graph()
    rng = np.random.default_rng(3)
    quantized = kind == "INT8"

    def quantization(scale: float) -> dict[str, Any]:
        return {"scale": scale, "zero_point": -3} if quantized else {}

    def weights(*shape: int, scale: float) -> int:
        name = f"w{len(shape)}{scale}"
        if not quantized:
            return g.constant(name, rng.normal(size=shape).astype(np.float32) * np.float32(0.2))
        fields = {"scale": [scale] * shape[-1 if shape[0] == 1 else 0], "axis": 3 if shape[0] == 1 else 0}
        zeros = [0] * len(fields["scale"])
        return g.constant(name, rng.integers(-127, 128, shape, np.int8), zero_point=zeros, **fields)

    def bias(n: int, scale: float) -> int:
        if not quantized:
            return g.constant(f"b{scale}", rng.normal(size=n).astype(np.float32))
        values = rng.integers(-500, 500, n, np.int32)
        return g.constant(f"b{scale}", values, scale=[scale] * n, zero_point=[0] * n, axis=0)

    x = g.input("x", kind, [1, 9, 9, 3], **quantization(0.05))
    a, b, c, d = (g.tensor(n, kind, [1, 5, 5, 8], **quantization(0.1)) for n in "abcd")
    e = g.tensor("e", kind, [1, 1, 1, 8], **quantization(0.1))
    steps = {"stride_w": 2, "stride_h": 2, "padding": "SAME", "fused_activation_function": "RELU6"}
    g.node("CONV_2D", [x, weights(8, 3, 3, 3, scale=0.01), bias(8, 0.0005)], [a], version=3, **steps)
    ones = {"stride_w": 1, "stride_h": 1, "padding": "SAME"}
    filters = weights(1, 3, 3, 8, scale=0.02)
    g.node("DEPTHWISE_CONV_2D", [a, filters, bias(8, 0.002)], [b], version=3, depth_multiplier=1, **ones)
    g.node("ADD", [a, b], [c], version=2)
    g.node("CONV_2D", [c, weights(8, 1, 1, 8, scale=0.03), bias(8, 0.003)], [d], version=3, **ones)
    g.node("MEAN", [d, g.constant("axes", np.int32([1, 2]))], [e], version=2, keep_dims=True)
    g.outputs(e)
    return m.build()


@pytest.mark.parametrize("kind", ["FLOAT32", "INT8"])
def test_a_network_runs_in_xnnpack_and_gives_what_litert_gives_with_it(kind: str) -> None:
    module = pytest.importorskip("ai_edge_litert.interpreter")
    data = network(kind)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 9, 9, 3)).astype(np.float32)
    values = x if kind == "FLOAT32" else rng.integers(-128, 128, x.shape, np.int8)

    def run(interpreter: Any) -> Any:
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values)
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])

    ours = tflgpu.Interpreter(model_content=data, experimental_delegates=[delegate()])
    got = run(ours)
    assert "XnnPack delegate: 5 nodes delegated out of 5 with 1 partition" in ours.delegation_report()
    same = module.Interpreter(model_content=data, experimental_delegates=[delegate()])
    np.testing.assert_array_equal(got, run(same))
    assert_same([got], litert(data, [values], "BUILTIN"))


def small_models() -> list[str]:
    """The zoo's models that LiteRT runs, but for the largest, which take long."""
    manifest = ZOO / "manifest.json"
    if not manifest.exists():
        return []
    models = json.loads(manifest.read_text())
    return [m["name"] for m in models if m.get("litert_runs") and m["n_ops"] < 120 and m.get("macs", 0) < 3e7]


@pytest.mark.parametrize(
    "name", small_models() or [pytest.param("", marks=pytest.mark.skip("no zoo beside the repository"))]
)
def test_models_of_the_zoo_give_what_litert_gives_with_xnnpack(name: str) -> None:
    """The same library over the reference kernels, where LiteRT can apply it: not where these leave shapes open."""
    module = pytest.importorskip("ai_edge_litert.interpreter")
    data = zipfile.ZipFile(ZOO / "models.zip").read(f"{name}.tflite")
    golden = np.load(io.BytesIO(zipfile.ZipFile(ZOO / "golden.zip").read(f"{name}.npz")), allow_pickle=True)
    inputs = [golden[f"in_{i}"] for i in range(sum(bool(re.fullmatch(r"in_\d+", k)) for k in golden.files))]
    kernels = module.OpResolverType.BUILTIN_REF
    try:
        same = module.Interpreter(
            model_content=data, experimental_delegates=[delegate()], experimental_op_resolver_type=kernels
        )
    except (RuntimeError, ValueError) as error:
        pytest.skip(f"LiteRT cannot apply this library to the model: {error}")

    def run(interpreter: Any) -> list[Any]:
        for detail, x in zip(interpreter.get_input_details(), inputs, strict=True):
            interpreter.resize_tensor_input(detail["index"], x.shape)
        interpreter.allocate_tensors()
        for detail, x in zip(interpreter.get_input_details(), inputs, strict=True):
            interpreter.set_tensor(detail["index"], x)
        interpreter.invoke()
        return [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]

    for got, want in zip(
        run(tflgpu.Interpreter(model_content=data, experimental_delegates=[delegate()])), run(same), strict=True
    ):
        assert got.dtype == want.dtype and got.shape == want.shape
        if want.dtype.kind == "f":
            np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * max(float(np.abs(want).max(initial=0)), 1))
        else:
            np.testing.assert_array_equal(got, want)
