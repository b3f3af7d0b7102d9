"""Random numbers from a seed that the model gives: StatelessRandomUniformV2 and StatelessRandomNormalV2."""

from __future__ import annotations

import numpy as np

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.flex.inputs import sizes
from tflgpu.ops.registry import function, require
from tflgpu.ops.shape_rules import elements
from tflgpu.ops.state.random import Generator, normal_floats, philox_4x32, unit_float

PHILOX, AUTOMATIC = 1, 3


def _key_shapes(node: Node) -> list[Shape]:
    require(node.input(0).shape == (2,), f"seed must have shape [2], not {node.input(0)}. ")
    require(all(spec.type == "UINT64" for spec in node.outputs), f"{node.op} gives UINT64. ")
    return [(1,), (2,)]


@function("FlexStatelessRandomGetKeyCounter", inputs=1, outputs=2, types="INT32 INT64", shape=_key_shapes, custom=True)
def key_and_counter(node: Node, seed: Array) -> tuple[Array, Array]:
    """The key (1,) and the counter (2,) of Philox for a seed, scrambled by Philox itself."""
    words = seed.astype(np.int64).view(np.uint32).reshape(1, 4)
    mixed = philox_4x32((0x3EC8F720, 0x02461E29), words)[0].astype(np.uint64)
    return np.array([mixed[0] | mixed[1] << np.uint64(32)]), np.array(
        [0, mixed[2] | mixed[3] << np.uint64(32)], np.uint64
    )


def _given_shape(node: Node) -> list[Shape]:
    key, counter, algorithm = (node.input(i) for i in (1, 2, 3))
    require(key.type == counter.type == "UINT64" and key.shape == (1,), f"{key}: key must be (1,) of UINT64. ")
    require(counter.shape == (2,), f"{counter}: counter must be (2,). ")
    require(algorithm.shape == () and algorithm.type == "INT32", f"{algorithm} must be an INT32. ")
    require(node.outputs[0].type == "FLOAT32", f"{node.op} of {node.outputs[0]} is not supported. ")
    return [sizes(node, 0)]


def _drawn(node: Node, inputs: tuple[Array, ...]) -> Array:
    """Enough words for the output, in whole groups of four."""
    _, key, counter, algorithm = inputs
    require(algorithm.item() in (PHILOX, AUTOMATIC), f"{node.op}: only Philox is supported, not {algorithm.item()}. ")
    start = int(counter[0]) | int(counter[1]) << 64
    return Generator.at(int(key[0]), start).draw(-(-elements(node.outputs[0].shape) // 4) * 4)


@function("FlexStatelessRandomUniformV2", inputs=4, types="INT32 INT64", shape=_given_shape, custom=True)
def uniform(node: Node, *inputs: Array) -> Array:
    """float32 in [0, 1)."""
    shape = node.outputs[0].shape
    return unit_float(_drawn(node, inputs))[: elements(shape)].reshape(shape)


@function("FlexStatelessRandomNormalV2", inputs=4, types="INT32 INT64", shape=_given_shape, custom=True)
def normal(node: Node, *inputs: Array) -> Array:
    """float32 of mean 0 and variance 1."""
    shape = node.outputs[0].shape
    return normal_floats(_drawn(node, inputs))[: elements(shape)].reshape(shape)
