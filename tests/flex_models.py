"""Models of one Flex operator, whose attributes lie in a NodeDef as TensorFlow's converter writes it."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from flatbuffers import flexbuffers
from oracle import one_op, tflgpu_run

from tflgpu.ops.flex.checkpoint import NUMBERS
from tflgpu.ops.flex.node_def import DataType
from tflgpu.ops.flex.sorted_table import encoded

Array = np.ndarray[Any, Any]


def field(number: int, content: bytes) -> bytes:
    return encoded(number << 3 | 2) + encoded(len(content)) + content


def value(given: Any) -> bytes:
    """An AttrValue."""
    if isinstance(given, list):
        return field(1, b"".join(value(entry) for entry in given))
    if isinstance(given, bool):
        return encoded(5 << 3) + encoded(given)
    if isinstance(given, int):
        return encoded(3 << 3) + encoded(given)
    if isinstance(given, float):
        return encoded(4 << 3 | 5) + struct.pack("<f", given)
    if isinstance(given, DataType):
        return encoded(6 << 3) + encoded(NUMBERS[given])
    if isinstance(given, tuple):
        return field(7, b"".join(field(2, encoded(1 << 3) + encoded(d)) for d in given))
    return field(2, given.encode() if isinstance(given, str) else given)


def options(op: str, attributes: dict[str, Any]) -> bytes:
    """A Flex node's options: the flexbuffer vector of an operator's name and NodeDef."""
    entries = (field(5, field(1, key.encode()) + field(2, value(given))) for key, given in attributes.items())
    return bytes(flexbuffers.Dumps([op, field(1, b"node") + field(2, op.encode()) + b"".join(entries)]))


def type_of(x: Array) -> str:
    return "STRING" if x.dtype == object else x.dtype.name.upper()


def strings(*texts: str | bytes) -> Array:
    out = np.empty(len(texts), object)
    out[:] = [text.encode() if isinstance(text, str) else text for text in texts]
    return out


def model(op: str, inputs: Sequence[Any], outputs: str, **attributes: Any) -> bytes:
    """inputs: arrays, given by callers; (array,) for a constant. outputs: their types."""
    ins = [
        {"type": type_of(x[0]), "value": x[0]} if isinstance(x, tuple) else {"type": type_of(x), "shape": list(x.shape)}
        for x in inputs
    ]
    outs = [{"type": type, "shape": []} for type in outputs.split()]
    return one_op(f"Flex{op}", ins, outs, custom=options(op, attributes))


def run(op: str, inputs: Sequence[Any], outputs: str, **attributes: Any) -> list[Array]:
    """What the operator makes of the inputs."""
    given = [x for x in inputs if not isinstance(x, tuple)]
    return tflgpu_run(model(op, inputs, outputs, **attributes), given)
