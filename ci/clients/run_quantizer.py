"""AI Edge Quantizer: calibrates, quantizes and validates a small model; compared are the scales and its errors."""

import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer, recipe

from tflgpu.model.builder import ModelBuilder

CONV = {"padding": "SAME", "stride_h": 2, "stride_w": 2, "fused_activation_function": "RELU"}


def model() -> bytes:
    """Two convolutions and a fully connected layer."""
    r = np.random.default_rng(0)
    m = ModelBuilder()
    g = m.graph()
    x = y = g.input("x", "FLOAT32", [1, 16, 16, 3])
    for i, (size, before, after) in enumerate([(8, 3, 8), (4, 8, 16)]):
        w = g.constant(f"w{i}", (r.normal(size=(after, 3, 3, before)) / 4).astype(np.float32))
        z = g.tensor(f"conv{i}", "FLOAT32", [1, size, size, after])
        g.node("CONV_2D", [y, w, g.constant(f"b{i}", np.zeros(after, np.float32))], [z], **CONV)
        y = z
    flat, out = g.tensor("flat", "FLOAT32", [1, 256]), g.tensor("out", "FLOAT32", [1, 10])
    g.node("RESHAPE", [y, g.constant("shape", np.int32([1, 256]))], [flat])
    g.node("FULLY_CONNECTED", [flat, g.constant("v", (r.normal(size=(10, 256)) / 16).astype(np.float32)), -1], [out])
    g.outputs(out)
    m.signature("serve", g, {"x": x}, {"out": out})
    return m.build()


r = np.random.default_rng(1)
data = {"serve": [{"x": r.normal(size=(1, 16, 16, 3)).astype(np.float32)} for _ in range(4)]}
q = quantizer.Quantizer(model(), recipe.static_wi8_ai8())
quantized = q.quantize(q.calibrate(data)).quantized_model
result = q.validate(data)
details = Interpreter(model_content=bytes(quantized)).get_tensor_details()
compared = result.get_signature_comparison_result("serve")
errors = {**compared.output_tensors, **compared.intermediate_tensors}
np.savez(
    sys.argv[1],
    scales=np.concatenate([d["quantization_parameters"]["scales"] for d in details]),
    errors=np.array([value for name in sorted(errors) for _, value in sorted(errors[name].items())]),
)
