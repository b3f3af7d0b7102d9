"""A model of two nodes, and an interpreter of it."""

import numpy as np

from tflgpu.model.builder import ModelBuilder


def add_model(shape=(2, 3), signature=None, shape_signature=None):
    """z = (x + y) * x, two nodes."""
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", "FLOAT32", shape, shape_signature=shape_signature)
    y = g.input("y", "FLOAT32", shape, shape_signature=shape_signature)
    t = g.tensor("t", "FLOAT32", shape)
    z = g.tensor("z", "FLOAT32", shape)
    g.node("ADD", [x, y], [t])
    g.node("MUL", [t, x], [z])
    g.outputs(z)
    for key in signature or ():
        m.signature(key, g, inputs={"b": x, "a": y}, outputs={"out": z})
    return m.build()


def allocated(api, data=None, **arguments):
    interpreter = api.Interpreter(model_content=data or add_model(), **arguments)
    interpreter.allocate_tensors()
    return interpreter


ONES = np.ones((2, 3), np.float32)
