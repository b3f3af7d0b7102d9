"""TensorFlow's element-wise operators that its converter leaves as Flex ones: one row an operator."""

from __future__ import annotations

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.expression import X, Y, call, where
from tflgpu.delegates.launch import Lowered
from tflgpu.delegates.lowering.elementwise.elementwise import elementwise
from tflgpu.delegates.lowering.registry import lowers, require
from tflgpu.model.graph import Node

OF_FLOATS = {
    "FlexAtan": call("atan", X),
    "FlexCosh": call("cosh", X),
    "FlexEluGrad": where(Y < 0.0, (Y + 1.0) * X, X),
    "FlexErf": call("erf", X),
    "FlexRelu6Grad": where(Y > 0.0, where(Y < 6.0, X, 0.0), 0.0),
    "FlexReluGrad": where(Y > 0.0, X, 0.0),
    "FlexSinh": call("sinh", X),
    "FlexTan": call("tan", X),
}
OF_INTEGERS = {"FlexBitwiseAnd": X & Y, "FlexBitwiseOr": X | Y}


@lowers(*OF_FLOATS, *OF_INTEGERS)
def flex(node: Node, limits: DeviceLimits) -> Lowered:
    """One input, or two that are broadcast: of float32, or of any integers."""
    inputs, out = tuple(node.input(i) for i in range(len(node.inputs))), node.outputs[0]
    if node.op in OF_INTEGERS:
        return [elementwise(OF_INTEGERS[node.op], inputs, out, limits)]
    require(inputs[0].type == "FLOAT32", f"{node.op} of {inputs[0].type}")
    return [elementwise(OF_FLOATS[node.op], inputs, out, limits)]
