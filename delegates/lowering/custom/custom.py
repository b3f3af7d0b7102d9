"""Custom operators with bodies in a kernel language: one work-item for each element of the first output."""

from __future__ import annotations

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Launch, Lowered, Ref
from tflgpu.delegates.lowering.registry import c_type, lowers_custom, require, size
from tflgpu.model.graph import Node
from tflgpu.ops.registry import OPS


@lowers_custom
def custom(node: Node, limits: DeviceLimits) -> Lowered:
    """The bodies of a custom operator wrapped into kernels, with its tensors as `in0` … and `out0` …"""
    inputs = [(f"in{k}", spec) for k, spec in enumerate(node.inputs) if spec is not None]
    outputs = [(f"out{k}", spec) for k, spec in enumerate(node.outputs)]
    require(outputs, "a custom operator without outputs")
    parameters = [f"IN({c_type(spec, limits)}) {name}" for name, spec in inputs]
    parameters += [f"OUT({c_type(spec, limits)}) {name}" for name, spec in outputs]
    texts = {}
    for dialect, body in OPS[node.op].bodies.items():
        lines = body if isinstance(body, str) else body(node)
        texts[dialect] = (
            f"KERNEL custom({', '.join(parameters)}, const i32 n) {{\n"
            f"    const i32 i = GLOBAL_ID;\n    if (i >= n) return;\n{lines}\n}}\n"
        )
    n = size(node.outputs[0])
    reads, writes = ({name: Ref(spec.index) for name, spec in tensors} for tensors in (inputs, outputs))
    return [Launch("custom.custom", (n,), (64,), reads, writes, {"n": n}, texts=texts)]
