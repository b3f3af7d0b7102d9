"""Reads a FlatBuffer of TensorFlow Lite's schema, believing nothing: every offset, length and type is checked first.

The schema nests no table in itself, so that depth is bounded; width is bounded by the number of tables and by the bytes
read, each counted as often as something refers to it (a small file could name one table a million times).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from tflgpu.model.schema import ENUMS, IDENTIFIER, SCALARS, TABLES, UNIONS, Field

INVALID = "The model is not a valid Flatbuffer buffer"
MAX_TABLES = 250_000
MAX_BYTES_PER_BYTE = 8
SLACK_BYTES = 1 << 16

Table = SimpleNamespace
"""A table as read, by field name; None for what is absent. A union `u` has the name of its table in `u_type`."""

_Read = Callable[["_Reader", int], Any]

_u16 = struct.Struct("<H").unpack_from
_u32 = struct.Struct("<I").unpack_from
_i32 = struct.Struct("<i").unpack_from


class _Malformed(Exception):
    """A broken rule; `path` grows from the inside out on its way up."""

    def __init__(self, rule: str):
        super().__init__(rule)
        self.path: list[str] = []


def read_model(content: Any, root: str = "Model", identifier: bytes = IDENTIFIER) -> Table:
    """The model in `content` (bytes-like) as nested `Table`s; bulk data are read-only views of `content`.

    root, identifier: of another of the schema's tables that content may be; b"" where it has no identifier. Raises
    ValueError, which names the path, the rule and what was there.
    """
    reader = _Reader(content)
    try:
        if reader.size < 8 or not bytes(reader.view[4:8]).startswith(identifier):
            found = bytes(reader.view[4:8])
            raise _Malformed(f"the identifier at byte 4 must be {identifier!r}, found {found!r} in {reader.size} bytes")
        return reader.table(root, reader.target(0))
    except _Malformed as error:
        path = ".".join([root, *reversed(error.path)]).replace(".[", "[")
        raise ValueError(f"{INVALID}: {path}: {error}") from None


class _Reader:
    def __init__(self, content: Any):
        self.view = memoryview(content).cast("B")
        self.size = len(self.view)
        self.tables_left = MAX_TABLES
        self.bytes_left = self.size * MAX_BYTES_PER_BYTE + SLACK_BYTES
        # By table and vtable: writers share vtables, so that a table costs little more than its fields.
        self.plans: dict[tuple[str, int], tuple[dict[str, Any], list[tuple[str, _Read, int]]]] = {}

    def spend(self, nbytes: int) -> None:
        self.bytes_left -= nbytes
        if self.bytes_left < 0:
            raise _Malformed(f"tables and vectors refer to more than {MAX_BYTES_PER_BYTE} times the file")

    def target(self, position: int) -> int:
        """Where the offset at `position` leads: at least four bytes of the buffer."""
        if position & 3:
            raise _Malformed(f"offset at byte {position} must be aligned to 4")
        if position + 4 > self.size:
            raise _Malformed(f"offset at byte {position} is beyond the {self.size} bytes")
        (offset,) = _u32(self.view, position)
        target: int = position + offset
        if offset == 0 or offset > 0x7FFFFFFF or target + 4 > self.size:
            raise _Malformed(f"offset at byte {position} must lead into the {self.size} bytes, is {offset}")
        return target

    def vector(self, position: int, width: int) -> tuple[int, int]:
        """(first byte, number of elements) of the vector that the offset at `position` leads to."""
        target = self.target(position)
        if target & 3:
            raise _Malformed(f"vector at byte {target} must be aligned to 4")
        (count,) = _u32(self.view, target)
        if target + 4 + count * width > self.size:
            raise _Malformed(f"vector at byte {target} has {count} elements of {width} bytes in {self.size} bytes")
        return target + 4, count

    def table(self, name: str, position: int) -> Table:
        """The table of that name at `position`."""
        self.tables_left -= 1
        if self.tables_left < 0:
            raise _Malformed(f"more than {MAX_TABLES} tables")
        if position & 3 or position + 4 > self.size:
            raise _Malformed(f"table at byte {position} must be aligned to 4, within {self.size} bytes")
        vtable = position - _i32(self.view, position)[0]
        plan = self.plans.get((name, vtable))
        if plan is None:
            plan = self.plans[name, vtable] = self.plan(name, vtable)
        defaults, present = plan
        values = defaults.copy()
        self.spend(4)
        field = ""
        try:
            for field, read, offset in present:
                values[field] = read(self, position + offset)
        except _Malformed as error:
            error.path.append(field)
            raise
        except struct.error:
            beyond = _Malformed(f"at byte {position + offset} is beyond the {self.size} bytes")
            beyond.path.append(field)
            raise beyond from None
        return Table(**values)

    def plan(self, name: str, vtable: int) -> tuple[dict[str, Any], list[tuple[str, _Read, int]]]:
        """(default values, (field, how to read it, offset in the table) of those present) by a vtable."""
        if vtable < 0 or vtable & 1 or vtable + 2 > self.size:
            raise _Malformed(f"vtable of a {name} at byte {vtable} must be even, within {self.size} bytes")
        (length,) = _u16(self.view, vtable)
        if length & 1 or vtable + length > self.size:
            raise _Malformed(f"vtable of a {name} at byte {vtable} must have an even length, has {length}")
        defaults: dict[str, Any] = {}
        present = []
        for field, read in _LAYOUTS[name]:
            entry = 4 + 2 * field.slot
            offset = _u16(self.view, vtable + entry)[0] if entry + 2 <= length else 0
            defaults[field.name] = field.default
            if field.kind == "union":
                type_offset = _u16(self.view, vtable + entry - 2)[0] if entry <= length else 0
                defaults[field.name + "_type"] = None
                if type_offset:
                    present.append((field.name + "_type", _union_type(field.type), type_offset))
                read = _union(field.type, type_offset - offset) if type_offset else _no_union
            if offset:
                present.append((field.name, read, offset))
        return defaults, present


def _scalar(type_: str) -> _Read:
    unpack = struct.Struct("<" + SCALARS[type_]).unpack_from
    width = struct.calcsize(SCALARS[type_])
    if width == 1:
        return lambda reader, position: unpack(reader.view, position)[0]

    def read(reader: _Reader, position: int) -> Any:
        if position % width:
            raise _Malformed(f"{type_} at byte {position} must be aligned to {width}")
        return unpack(reader.view, position)[0]

    return read


def _enum(type_: str) -> _Read:
    """An enum by its name; as the number where the schema knows no name for it."""
    scalar = _scalar(ENUMS[type_].base)
    names = dict(enumerate(ENUMS[type_].names))

    def read(reader: _Reader, position: int) -> Any:
        number = scalar(reader, position)
        return names.get(number, number)

    return read


def _string(reader: _Reader, position: int) -> str:
    start, count = reader.vector(position, 1)
    end = start + count
    if end >= reader.size or reader.view[end]:
        raise _Malformed(f"string at byte {start - 4} of length {count} must end in a zero byte")
    reader.spend(count)
    return str(reader.view[start:end], "utf-8", "backslashreplace")


def _table(type_: str) -> _Read:
    return lambda reader, position: reader.table(type_, reader.target(position))


def _union_type(type_: str) -> _Read:
    members = dict(enumerate(UNIONS[type_]))
    return lambda reader, position: members.get(_byte(reader, position))


def _union(type_: str, type_distance: int) -> _Read:
    """A union's table; None where its type, `type_distance` bytes further, is not one of the schema's."""
    members = dict(enumerate(UNIONS[type_]))

    def read(reader: _Reader, position: int) -> Any:
        target = reader.target(position)
        member = members.get(_byte(reader, position + type_distance))
        return member and reader.table(member, target)

    return read


def _no_union(reader: _Reader, position: int) -> None:
    """A union's table without its type: checked to be somewhere, as TensorFlow Lite does, and left."""
    reader.target(position)


def _tables(type_: str) -> _Read:
    def read(reader: _Reader, position: int) -> list[Table]:
        start, count = reader.vector(position, 4)
        reader.spend(4 * count)
        elements = []
        try:
            for at in range(start, start + 4 * count, 4):
                elements.append(reader.table(type_, reader.target(at)))
        except _Malformed as error:
            error.path.append(f"[{len(elements)}]")
            raise
        return elements

    return read


def _numbers(field: Field) -> _Read:
    """Bulk data and floats as a view, bytes as bytes, all others as a tuple."""
    enum = ENUMS.get(field.type)
    letter = SCALARS[enum.base if enum else field.type]
    width = struct.calcsize(letter)
    dtype = np.dtype("<" + np.dtype(letter).str[1:])
    names = dict(enumerate(enum.names)) if enum else {}
    as_view = bool(field.align) or field.type == "float"

    def read(reader: _Reader, position: int) -> Any:
        start, count = reader.vector(position, width)
        if as_view:
            if not field.align:
                reader.spend(width * count)
            view = np.frombuffer(reader.view, dtype, count, start) if count else np.zeros(0, dtype)
            view.flags.writeable = False
            return view
        reader.spend(width * count)
        if field.type == "ubyte":
            return bytes(reader.view[start : start + count])
        values = struct.unpack_from(f"<{count}{letter}", reader.view, start)
        return tuple(names.get(value, value) for value in values) if enum else values

    return read


def _reading(field: Field) -> _Read:
    if field.kind == "vector":
        return _tables(field.type) if field.type in TABLES else _numbers(field)
    if field.kind == "string":
        return _string
    # A union is read by where its type is in each table: see `_Reader.plan`.
    by_kind = {"scalar": _scalar, "enum": _enum, "table": _table, "union": _union_type}
    return by_kind[field.kind](field.type)


_byte = _scalar("ubyte")
_LAYOUTS = {name: [(field, _reading(field)) for field in fields] for name, fields in TABLES.items()}
