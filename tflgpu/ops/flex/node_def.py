"""The attributes of a Flex operator: TensorFlow's NodeDef, a protobuf, in a flexbuffer vector [operator, NodeDef]."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, TypeVar

from flatbuffers import flexbuffers  # type: ignore[import-untyped]

from tflgpu.model.graph import DTYPES, Node
from tflgpu.ops.registry import OpError

T = TypeVar("T", bool, int, float, bytes)

# The numbers of TensorFlow's DataType.
TYPES: Mapping[int, str] = {
    1: "FLOAT32",
    2: "FLOAT64",
    3: "INT32",
    4: "UINT8",
    5: "INT16",
    6: "INT8",
    7: "STRING",
    8: "COMPLEX64",
    9: "INT64",
    10: "BOOL",
    14: "BFLOAT16",
    17: "UINT16",
    18: "COMPLEX128",
    19: "FLOAT16",
    20: "RESOURCE",
    21: "VARIANT",
    22: "UINT32",
    23: "UINT64",
}

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SIZES = {_FIXED64: 8, _FIXED32: 4}


class MalformedNodeDef(OpError, ValueError):
    """A Flex operator's options are damaged, or lack what the operator needs."""


class DataType(str):
    """An attribute that is an element type, by its name in the schema, e.g. "FLOAT32"."""

    __slots__ = ()


def attributes(node: Node) -> Mapping[str, Any]:
    """A Flex node's attributes by name; empty where it has no options.

    An attribute is a bool, int, float, bytes, DataType, a shape (a tuple with -1 for an unknown size, None for an
    unknown rank), or a list of such; functions and tensors are missing. Raises MalformedNodeDef for damaged bytes.
    """
    if not node.custom_options:
        return {}
    try:
        return _parsed(bytes(node.custom_options))
    except Exception as error:
        # The flexbuffer reader raises whatever it meets in damaged bytes.
        text = f"{node.op}: the custom options are not an operator's name and NodeDef: {error}. "
        raise MalformedNodeDef(text) from error


def attribute(node: Node, name: str, default: T) -> T:
    """An attribute of the default's type; the default where the node has none. Raises MalformedNodeDef for another."""
    found = attributes(node).get(name)
    if found is None:
        return default
    if type(found) is not type(default):
        raise MalformedNodeDef(f"{node.op}: the attribute {name} is {found!r}, not of type {type(default).__name__}. ")
    return found


def integers(node: Node, name: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
    """An attribute that is a list of integers; the default where the node has none. Raises MalformedNodeDef."""
    found = attributes(node).get(name)
    if found is None:
        return default
    if not isinstance(found, list) or any(type(entry) is not int for entry in found):
        raise MalformedNodeDef(f"{node.op}: the attribute {name} is {found!r}, not a list of integers. ")
    return tuple(found)


def choice(node: Node, name: str, choices: tuple[str, ...]) -> str:
    """An attribute that is one of these words; the first where the node has none. Raises MalformedNodeDef."""
    found = attribute(node, name, choices[0].encode())
    if found.decode("latin-1") not in choices:
        raise MalformedNodeDef(f"{node.op}: the attribute {name} is {found!r}, not one of {', '.join(choices)}. ")
    return found.decode()


def element_type(node: Node, name: str) -> str:
    """An attribute that is an element type, by its name in the schema. Raises MalformedNodeDef."""
    found = attributes(node).get(name)
    if not isinstance(found, DataType) or found not in DTYPES:
        raise MalformedNodeDef(f"{node.op}: the attribute {name} is {found!r}, not a known element type. ")
    return str(found)


@lru_cache(maxsize=1024)
def _parsed(content: bytes) -> Mapping[str, Any]:
    entries = flexbuffers.GetRoot(content).AsVector
    if len(entries) != 2:
        raise ValueError(f"{len(entries)} entries")
    found: dict[str, Any] = {}
    node_def = entries[1].AsBlob if entries[1].IsBlob else entries[1].AsStringBytes
    for number, entry in fields(bytes(node_def)):
        if number == 5:
            pair = dict(fields(_bytes(entry)))
            found[_bytes(pair.get(1, b"")).decode()] = _value(_bytes(pair.get(2, b"")))
    return found


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of the message's fields: an int of a varint, else bytes. Raises ValueError where it is cut."""
    at = 0
    while at < len(message):
        key, at = varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = varint(message, at)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            nbytes, at = varint(message, at)
        elif kind in _SIZES:
            nbytes = _SIZES[kind]
        else:
            raise ValueError(f"wire type {kind} at byte {at}")
        if nbytes > len(message) - at:
            raise ValueError(f"{nbytes} bytes at byte {at} of {len(message)}")
        yield key >> 3, message[at : at + nbytes]
        at += nbytes


def varint(message: bytes, at: int) -> tuple[int, int]:
    """The number at a byte of a message, and where it ends. Raises ValueError where it is cut."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError(f"a number is cut at byte {at}")
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (1 << 64) - 1, at
    raise ValueError(f"a number of more than ten bytes at byte {at - 10}")


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError(f"{value} where bytes belong")
    return value


def _value(message: bytes) -> Any:
    """An AttrValue; None for what is neither plain nor a list of plain values."""
    value = None
    for number, entry in fields(message):
        value = _list(_bytes(entry)) if number == 1 else _plain(number, entry)
    return value


def _list(message: bytes) -> list[Any]:
    found: list[Any] = []
    for number, entry in fields(message):
        if number in (3, 5, 6) and isinstance(entry, bytes):  # packed
            at = 0
            while at < len(entry):
                value, at = varint(entry, at)
                found.append(_plain(number, value))
        elif number == 4 and len(_bytes(entry)) != 4:
            found += struct.unpack(f"<{len(_bytes(entry)) // 4}f", _bytes(entry))
        else:
            found.append(_plain(number, entry))
    return found


def _plain(number: int, entry: int | bytes) -> Any:
    """The value of field `number` of AttrValue, or of its lists, where they have the same numbers."""
    if number == 2:
        return _bytes(entry)
    if number == 4:
        return struct.unpack("<f", _bytes(entry))[0]
    if number == 7:
        return shape_of(_bytes(entry))
    if number not in (3, 5, 6):
        return None
    if isinstance(entry, bytes):
        raise ValueError(f"{len(entry)} bytes where a number belongs")
    if number == 3:
        return _signed(entry)
    return bool(entry) if number == 5 else DataType(TYPES.get(entry, f"DataType {entry}"))


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def shape_of(message: bytes) -> tuple[int, ...] | None:
    """A TensorShapeProto: (size, …), None where the rank is unknown."""
    shape: list[int] = []
    for number, entry in fields(message):
        if number == 3 and entry:
            return None
        if number == 2:
            size = dict(fields(_bytes(entry))).get(1, 0)
            if isinstance(size, bytes):
                raise ValueError(f"a size of {len(size)} bytes")
            shape.append(_signed(size))
    return tuple(shape)
