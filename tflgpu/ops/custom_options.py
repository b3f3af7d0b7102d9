"""A custom operator's options: the flexbuffer map in its node, as a dict of numbers, strings and lists of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flatbuffers import flexbuffers  # type: ignore[import-untyped]

from tflgpu.model.graph import Node
from tflgpu.ops.registry import OpError

Options = Mapping[str, Any]


def read(node: Node) -> dict[str, Any]:
    """The node's options by key; empty where it has none. Raises OpError where the bytes are no flat flexbuffer map."""
    if not node.custom_options:
        return {}
    try:
        limit = len(node.custom_options)
        entries = flexbuffers.GetRoot(node.custom_options).AsMap
        keys, values = entries.Keys, entries.Values
        _require_length(values, limit)
        return {keys[i].AsKey: _plain(values[i], limit) for i in range(len(values))}
    except Exception as error:
        # The reader raises whatever it meets in damaged bytes: struct, index, Unicode, type and value errors.
        raise OpError(f"{node.op}: the custom options are not a flexbuffer map of plain values: {error}. ") from error


def _plain(ref: flexbuffers.Ref, limit: int) -> Any:
    # Neither ref.IsAnyVector nor ref.Value, which fail in the library. A vector's elements are taken one level deep:
    # nested vectors may share elements, and so stand for exponentially many values.
    if ref.IsMap:
        return None
    if ref.IsVector:
        elements = ref.AsVector
    elif ref.IsTypedVector:
        elements = ref.AsTypedVector
    elif ref.IsFixedTypedVector:
        elements = ref.AsFixedTypedVector
    else:
        return _scalar(ref)
    _require_length(elements, limit)
    return [_scalar(elements[i]) for i in range(len(elements))]


def _scalar(ref: flexbuffers.Ref) -> bool | int | float | str | None:
    if ref.IsBool:
        return bool(ref.AsBool)
    if ref.IsInt:
        return int(ref.AsInt)
    if ref.IsFloat:
        return float(ref.AsFloat)
    if ref.IsString:
        return str(ref.AsString)
    return str(ref.AsKey) if ref.IsKey else None


def _require_length(container: Any, limit: int) -> None:
    if len(container) > limit:
        raise ValueError(f"{len(container)} entries in {limit} bytes")


def integer(options: Options, key: str, default: int = 0) -> int:
    """The option as an integer, `default` where it is absent. Raises OpError for anything but a finite number."""
    return _number(options, key, default, int)


def real(options: Options, key: str, default: float = 0.0) -> float:
    """The option as a float, `default` where it is absent. Raises OpError for anything but a number."""
    return _number(options, key, default, float)


def integers(options: Options, key: str) -> list[int]:
    """The option as a list of integers, empty where it is absent. Raises OpError for anything else."""
    found = options.get(key)
    if found is None:
        return []
    if not isinstance(found, list):
        raise OpError(f"the option {key} is {found!r}, not a vector. ")
    return [integer({key: element}, key) for element in found]


def _number(options: Options, key: str, default: Any, convert: type) -> Any:
    found = options.get(key)
    if found is None:
        return default
    try:
        if isinstance(found, (bool, int, float)):
            return convert(found)
    except (ValueError, OverflowError) as error:
        raise OpError(f"the option {key} is {found!r}: {error}. ") from error
    raise OpError(f"the option {key} is {found!r}, not a number. ")
