"""Save and Restore, by which a model that trains itself keeps its variables: TensorFlow's checkpoints, version 1.

A model file may be hostile: only what a caller gave names a file, and a file that is there and is no checkpoint is not
written over.
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterator, Mapping

import numpy as np

from tflgpu.limits import Meter
from tflgpu.model.graph import DTYPES, Array, CallersText, Node, Shape
from tflgpu.ops.flex import sorted_table
from tflgpu.ops.flex.inputs import one_element, one_string
from tflgpu.ops.flex.node_def import TYPES, element_type, fields, shape_of, varint
from tflgpu.ops.flex.strings import strings
from tflgpu.ops.registry import OpError, Runtime, function, require
from tflgpu.ops.shape_rules import elements

NUMBERS = {name: number for number, name in TYPES.items()}

# The fields of TensorProto that hold values: their numbers, and how a value lies in them.
_FIELDS = {
    "FLOAT32": (5, "<f4"),
    "FLOAT64": (6, "<f8"),
    "COMPLEX64": (9, "<c8"),
    "COMPLEX128": (12, "<c16"),
    "INT64": (10, ""),
    "BOOL": (11, ""),
    "FLOAT16": (13, ""),
    "UINT32": (16, ""),
    "UINT64": (17, ""),
    "STRING": (8, "bytes"),
} | dict.fromkeys(("INT32", "UINT8", "INT16", "INT8", "UINT16"), (7, ""))


def _message(number: int, content: bytes) -> bytes:
    return sorted_table.encoded(number << 3 | 2) + sorted_table.encoded(len(content)) + content


def _number(number: int, value: int) -> bytes:
    return sorted_table.encoded(number << 3) + sorted_table.encoded(value)


def _tensor_proto(type: str, x: Array) -> bytes:
    """The values of x, as checkpoints have them: without type and shape."""
    number, form = _FIELDS[type]
    flat = x.reshape(-1)
    if form == "bytes":
        return b"".join(_message(number, bytes(text)) for text in flat)
    if form:
        return _message(number, np.ascontiguousarray(flat.astype(form)).tobytes())
    flat = flat.view(np.uint16) if x.dtype == np.float16 else flat
    return _message(number, b"".join(sorted_table.encoded(int(value)) for value in flat.tolist()))


def _values(type: str, proto: bytes, shape: Shape) -> Array:
    """The tensor of these values. Raises ValueError where there are not as many as its shape takes."""
    number, form = _FIELDS[type]
    found = [content for field, content in fields(proto) if field == number]
    packed = b"".join(content for content in found if isinstance(content, bytes))
    if form == "bytes":
        flat = strings((len(found),), [content for content in found if isinstance(content, bytes)])
    elif form:
        flat = np.frombuffer(packed, form).astype(DTYPES[type])
    else:
        numbers = [content for content in found if isinstance(content, int)] or list(_varints(packed))
        raw = np.array(numbers, np.uint64)
        flat = raw.astype(np.uint16).view(np.float16) if type == "FLOAT16" else raw.astype(DTYPES[type])
    if flat.size != elements(shape):
        raise ValueError(f"{flat.size:,} values for the shape {list(shape)}")
    return flat.reshape(shape)


def _varints(packed: bytes) -> Iterator[int]:
    at = 0
    while at < len(packed):
        value, at = varint(packed, at)
        yield value


def _whole(shape: Shape) -> bytes:
    """The TensorSliceProto of all of a tensor."""
    return b"".join(_message(1, b"") for _ in shape)


def _key(name: bytes, rank: int) -> bytes:
    """By what a checkpoint has the values of a whole tensor, in TensorFlow's ordered encoding."""
    text = b"".join(b"\x00\xff" if c == 0 else b"\xff\x00" if c == 255 else bytes([c]) for c in name)
    return b"\x00" + text + b"\x00\x01" + bytes([1, rank] if rank else [0]) + b"\x80\x7f" * rank


def checkpoint(tensors: Mapping[bytes, tuple[str, Array]]) -> bytes:
    """The file of tensors by their names, each with its type in the schema's words."""
    metas, entries = b"", {}
    for name, (type, x) in tensors.items():
        whole = _whole(x.shape)
        shape = b"".join(_message(2, _number(1, d)) for d in x.shape)
        metas += _message(1, _message(1, name) + _message(2, shape) + _number(3, NUMBERS[type]) + _message(4, whole))
        data = _message(1, name) + _message(2, whole) + _message(3, _tensor_proto(type, x))
        entries[_key(name, x.ndim)] = _message(2, data)
    entries[b""] = _message(1, metas + _message(2, _number(1, 1)))
    return sorted_table.written(entries)


def restored(file: bytes, name: bytes, type: str, most: int) -> Array:
    """A tensor of a checkpoint whose blocks have at most so many bytes. Raises ValueError where it has no such one."""
    shape: Shape | None = None
    for key, value in sorted_table.read(file, most):
        for number, content in fields(value):
            if key == b"" and number == 1 and isinstance(content, bytes):
                shape = _described(content, name, type)
            elif number == 2 and isinstance(content, bytes):
                slice = dict(fields(content))
                if slice.get(1) == name and shape is not None:
                    return _values(type, _of_bytes(slice.get(3, b"")), shape)
    raise ValueError(f"Key {name.decode('utf-8', 'replace')} not found in checkpoint")


def _described(meta: bytes, name: bytes, type: str) -> Shape | None:
    """The shape of a tensor of this name and type."""
    for number, content in fields(meta):
        entry = dict(fields(_of_bytes(content))) if number == 1 else {}
        if entry.get(1) != name:
            continue
        shape = shape_of(_of_bytes(entry.get(2, b"")))
        if entry.get(3) != NUMBERS[type] or shape is None or min(shape, default=0) < 0:
            raise ValueError(f"Key {name!r} is of type {TYPES.get(entry.get(3, 0), '?')}, not {type}")  # type: ignore[arg-type]
        return shape
    return None


def _of_bytes(content: int | bytes) -> bytes:
    if isinstance(content, int):
        raise ValueError(f"{content} where bytes belong")
    return content


def _path(node: Node, name: Array) -> str:
    """A file's name. Raises OpError for one that the model has as a constant, or computes."""
    given = one_element(node, 0, name)
    require(
        isinstance(given, CallersText),
        f"{node.op}: the model itself names the file, {node.input(0)}; only a caller may. ",
    )
    return os.fsdecode(bytes(given))


def _nothing(node: Node, runtime: Runtime) -> list[Shape]:
    return []


@function(
    "FlexSave",
    inputs="2+",
    outputs=0,
    types="STRING",
    shape=_nothing,
    custom=True,
    stateful=True,
)
def save(node: Node, runtime: Runtime, path: Array, names: Array, *tensors: Array) -> tuple[Array, ...]:
    """Writes tensors under their names into a file, whole or not at all."""
    require(names.shape == (len(tensors),), f"{len(tensors)} tensors for {names.size} names. ")
    file = _path(node, path)
    kinds = [node.input(2 + i).type for i in range(len(tensors))]
    for kind in kinds:
        require(kind in _FIELDS, f"{node.op} does not write {kind}. ")
    runtime.meter.reserve(2 * sum(x.nbytes for x in tensors), f"{node}, writing {file!r},")
    content = checkpoint({bytes(n): (kind, x) for n, kind, x in zip(names, kinds, tensors, strict=True)})
    try:
        _write(file, content)
    except OSError as error:
        raise OpError(f"{node.op}: {file!r} cannot be written: {error}. ") from error
    return ()


def _write(file: str, content: bytes) -> None:
    if os.path.lexists(file):
        with open(file, "rb") as there:
            there.seek(0, os.SEEK_END)
            size = there.tell()
            there.seek(max(0, size - sorted_table.FOOTER))
            if size and not sorted_table.is_table(there.read(sorted_table.FOOTER)):
                raise OpError(f"{file!r} is there and is no checkpoint; it is not written over. ")
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(file) or ".", prefix=os.path.basename(file) + ".")
    try:
        with open(handle, "wb") as out:
            out.write(content)
        os.replace(temporary, file)
    except BaseException:
        os.unlink(temporary)
        raise


@function("FlexRestore", inputs=2, types="STRING", custom=True, stateful=True)
def restore(node: Node, runtime: Runtime, path: Array, name: Array) -> Array:
    """A tensor from a checkpoint that FlexSave or TensorFlow wrote."""
    type = element_type(node, "dt")
    require(type in _FIELDS and type == node.outputs[0].type, f"{node.op} does not read {node.outputs[0]}. ")
    file, tensor, meter = _path(node, path), one_string(node, 1, name), runtime.meter
    try:
        return restored(_content(file, meter, str(node)), tensor, type, meter.most_nbytes)
    except (OSError, ValueError, OverflowError, struct.error) as error:
        raise OpError(f"{node.op}: {file!r} cannot be read: {error}. ") from error


def _content(file: str, meter: Meter, what: str) -> bytes:
    meter.reserve(os.stat(file).st_size, f"{what}, reading {file!r},")
    with open(file, "rb") as there:
        return there.read()
