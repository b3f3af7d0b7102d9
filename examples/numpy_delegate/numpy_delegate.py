"""A complete delegate: it runs ADD, MUL and RELU over float32, in NumPy. Copy it to begin one of your own."""

import numpy as np

from tflgpu import Unsupported
from tflgpu.delegation.delegate import Limits

OPS = {"ADD": np.add, "MUL": np.multiply, "RELU": lambda x, out: np.maximum(x, 0, out=out)}


class NumpyDelegate:
    name = "numpy"
    limits = Limits(min_nodes=1)

    def check(self, node):
        if node.op not in OPS:
            raise Unsupported("only ADD, MUL and RELU")
        if any(spec.type != "FLOAT32" for spec in (*node.inputs, *node.outputs)):
            raise Unsupported("only float32")
        if getattr(node.options, "fused_activation_function", "NONE") != "NONE":
            raise Unsupported("a fused activation")

    def compile(self, partition, tensors):
        made = {
            s.index: np.empty(s.shape, s.dtype) for n in partition.nodes for s in n.outputs if s.index not in tensors
        }
        host = {i: tensor.host for i, tensor in tensors.items()} | made
        host |= {s.index: s.data for n in partition.nodes for s in n.inputs if s.data is not None}
        calls = [(OPS[n.op], [host[s.index] for s in n.inputs], host[n.outputs[0].index]) for n in partition.nodes]

        def run():
            for index in partition.inputs & tensors.keys():
                tensors[index].read()  # at the host; a GPU's delegate would pass its device
            for index in partition.outputs:
                tensors[index].write()
            for function, inputs, out in calls:
                function(*inputs, out=out)

        return run


def load(options):
    if options:
        raise ValueError(f"the numpy delegate has no options, got {', '.join(options)}")
    return NumpyDelegate()
