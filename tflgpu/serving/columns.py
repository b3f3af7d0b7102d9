"""Arrays as columns of Arrow tables, and back: a row's tensor is a list, or a list of lists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from tflgpu.model.graph import Array
from tflgpu.serving.entry_point import Port


def table(arrays: Mapping[str, Any]) -> pa.Table:
    """A row a row of the arrays. Raises ValueError where their rows are not as many, or have a type of no column."""
    try:
        return pa.table({name: _column(x) for name, x in arrays.items()})
    except pa.ArrowNotImplementedError as error:
        raise ValueError(f"Parquet has no such column: {error}") from error


def _column(x: Any) -> Any:
    if isinstance(x, pa.Array):
        return x
    if x.dtype == object:
        return pa.array([row.tolist() if isinstance(row, np.ndarray) else row for row in x], _row_type(x))
    column = pa.array(np.ascontiguousarray(x).reshape(-1))
    for axis in range(x.ndim - 1, 0, -1):
        rows = int(np.prod(x.shape[:axis]))
        column = pa.ListArray.from_arrays(np.arange(rows + 1, dtype=np.int32) * x.shape[axis], column)
    return column


def _row_type(rows: Array) -> Any:
    """The type of rows of numbers whose shapes differ; None of others."""
    if not (len(rows) and isinstance(rows[0], np.ndarray) and rows[0].dtype != object):
        return None
    found = pa.from_numpy_dtype(rows[0].dtype)
    for _ in range(rows[0].ndim):
        found = pa.list_(found)
    return found


def array(column: pa.Array, port: Port) -> Array:
    """A column as rows of an input. Raises ValueError for nulls, uneven rows, and numbers that the type does not hold.

    A row's lists may be nested as the input's dimensions, or flat.
    """
    values: Any = column
    dimensions = [len(values)]
    while (
        pa.types.is_list(values.type) or pa.types.is_large_list(values.type) or pa.types.is_fixed_size_list(values.type)
    ):
        _no_nulls(values, port)
        lengths = set(values.value_lengths().to_pylist()) if len(values) else {0}
        if len(lengths) > 1:
            raise ValueError(f"rows of column {port.name!r} have different lengths: {sorted(lengths)[:5]}")
        dimensions.append(lengths.pop())
        values = values.flatten()
    _no_nulls(values, port)
    if port.dtype.kind == "S":
        flat = np.array([x.encode() if isinstance(x, str) else x for x in values.to_pylist()], object)
    else:
        try:
            flat = values.cast(pa.from_numpy_dtype(port.dtype)).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid as error:
            raise ValueError(f"column {port.name!r}: {error}") from error
    inner = port.shape[1:]
    if len(dimensions) == 2 and len(inner) != 1 and -1 not in inner:
        dimensions[1:] = inner if flat.size == dimensions[0] * int(np.prod(inner)) else dimensions[1:]
    return flat.reshape(dimensions)


def _no_nulls(values: Any, port: Port) -> None:
    if values.null_count:
        raise ValueError(f"column {port.name!r} has {values.null_count} nulls")
