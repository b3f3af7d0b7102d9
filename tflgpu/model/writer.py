"""Writes tables of the schema as a FlatBuffer."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import flatbuffers  # type: ignore[import-untyped]
import numpy as np

from tflgpu.model.graph import Array
from tflgpu.model.schema import ENUMS, IDENTIFIER, SCALARS, TABLES, UNIONS, Field

Values = dict[str, Any]
"""A table's fields by name. Left out or None: absent. A union is (name of its table, its values)."""


def serialize(values: Values, root: str = "Model", identifier: bytes = IDENTIFIER) -> bytes:
    """The file of a Model, or of another root table, which may have no identifier.

    Raises TypeError for a field that the schema lacks.
    """
    builder = flatbuffers.Builder(1024)
    builder.Finish(_write_table(builder, root, values), file_identifier=identifier or None)
    return bytes(builder.Output())


def values_of(table: Any, name: str, numbers: Callable[[Array], Any] = lambda array: array) -> Values:
    """A table as `read_model` returns it, as `serialize` takes it. numbers: what a vector of numbers becomes."""
    found: Values = {}
    for field in TABLES[name]:
        value = getattr(table, field.name)
        if value is None:
            continue
        if field.kind == "union":
            member = getattr(table, f"{field.name}_type")
            if member is None:
                continue
            value = (member, values_of(value, member, numbers))
        elif field.kind == "table":
            value = values_of(value, field.type, numbers)
        elif field.kind == "vector" and field.type in TABLES:
            value = [values_of(element, field.type, numbers) for element in value]
        elif isinstance(value, np.ndarray):
            value = numbers(value)
        found[field.name] = value
    return found


def _write_table(builder: Any, name: str, values: Values) -> int:
    """Writes a table, what it refers to first; its offset. Raises TypeError for a field that the schema lacks."""
    unknown = values.keys() - {field.name for field in TABLES[name]}
    if unknown:
        known = ", ".join(field.name for field in TABLES[name])
        raise TypeError(f"{name} has no field {', '.join(sorted(unknown))}; it has: {known}")
    offsets = {
        field.name: _write_field(builder, field, values[field.name])
        for field in TABLES[name]
        if field.kind not in ("scalar", "enum") and values.get(field.name) is not None
    }
    builder.StartObject(TABLES[name][-1].slot + 1 if TABLES[name] else 0)
    for field in TABLES[name]:
        value = values.get(field.name)
        if value is None:
            continue
        if field.name in offsets:
            if field.kind == "union":
                builder.PrependUint8Slot(field.slot - 1, UNIONS[field.type].index(value[0]), 0)
            builder.PrependUOffsetTRelativeSlot(field.slot, offsets[field.name], 0)
        else:
            _PREPEND[_base(field.type)](
                builder, field.slot, _number(field.type, value), _number(field.type, field.default)
            )
    return int(builder.EndObject())


def _write_field(builder: Any, field: Field, value: Any) -> int:
    if field.kind == "string":
        return int(builder.CreateString(value))
    if field.kind == "table":
        return _write_table(builder, field.type, value)
    if field.kind == "union":
        return _write_table(builder, *value)
    if field.type in TABLES:
        offsets = [_write_table(builder, field.type, element) for element in value]
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return int(builder.EndVector())
    if isinstance(value, bytes):
        content, count = value, len(value)
    else:
        dtype = np.dtype("<" + np.dtype(SCALARS[_base(field.type)]).str[1:])
        array = np.array([_number(field.type, v) for v in value] if field.type in ENUMS else value, dtype)
        content, count = array.tobytes(), array.size
    width = struct.calcsize(SCALARS[_base(field.type)])
    builder.StartVector(width, count, max(width, field.align))
    builder.head = builder.Head() - len(content)
    builder.Bytes[builder.Head() : builder.Head() + len(content)] = content
    return int(builder.EndVector())


def _base(type_: str) -> str:
    return ENUMS[type_].base if type_ in ENUMS else type_


def _number(type_: str, value: Any) -> Any:
    """An enum's name as its number; numbers stay."""
    return ENUMS[type_].numbers[value] if isinstance(value, str) else value


_PREPEND = {
    "bool": flatbuffers.Builder.PrependBoolSlot,
    "byte": flatbuffers.Builder.PrependInt8Slot,
    "ubyte": flatbuffers.Builder.PrependUint8Slot,
    "int": flatbuffers.Builder.PrependInt32Slot,
    "uint": flatbuffers.Builder.PrependUint32Slot,
    "long": flatbuffers.Builder.PrependInt64Slot,
    "ulong": flatbuffers.Builder.PrependUint64Slot,
    "float": flatbuffers.Builder.PrependFloat32Slot,
}
