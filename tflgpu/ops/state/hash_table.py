"""Hash tables between int64 and strings, filled once and then looked up."""

from __future__ import annotations

import numpy as np

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.registry import OpError, Runtime, function, require


def _handle_shape(node: Node, runtime: Runtime) -> list[Shape]:
    pair = (node.options.key_dtype, node.options.value_dtype)
    require(
        pair in (("INT64", "STRING"), ("STRING", "INT64")),
        f"HASHTABLE maps INT64 to STRING or STRING to INT64, not {pair[0]} to {pair[1]}. ",
    )
    return [node.outputs[0].shape]


@function("HASHTABLE", inputs=0, shape=_handle_shape, stateful=True)
def hashtable(node: Node, runtime: Runtime) -> Array:
    """The table's number, which is the option table_id."""
    runtime.state.setdefault(("table", node.options.table_id), None)
    return np.full(node.outputs[0].shape, node.options.table_id, np.int32)


def _same_as_keys(node: Node, runtime: Runtime) -> list[Shape]:
    return [node.input(1).shape]


def _one(node: Node, runtime: Runtime) -> list[Shape]:
    return [(1,)]


def _no_outputs(node: Node, runtime: Runtime) -> list[Shape]:
    require(node.input(1).shape == node.input(2).shape, "HASHTABLE_IMPORT's keys and values differ in shape. ")
    return []


@function("HASHTABLE_IMPORT", inputs=3, outputs=0, types="RESOURCE INT32", shape=_no_outputs, stateful=True)
def hashtable_import(node: Node, runtime: Runtime, handle: Array, keys: Array, values: Array) -> tuple[Array, ...]:
    """Fills the table, the first time only. Of equal keys the first wins."""
    name = ("table", handle.item())
    if runtime.state.get(name) is None:
        table: dict[object, object] = {}
        for key, value in zip(keys.ravel().tolist(), values.ravel().tolist(), strict=True):
            table.setdefault(key, value)
        runtime.state[name] = table
    return ()


def _table(runtime: Runtime, handle: Array) -> dict[object, object]:
    table: dict[object, object] | None = runtime.state.get(("table", handle.item()))
    if table is None:
        raise OpError("hashtable need to be initialized before using")
    return table


@function("HASHTABLE_FIND", inputs=3, types="RESOURCE INT32", shape=_same_as_keys, stateful=True)
def hashtable_find(node: Node, runtime: Runtime, handle: Array, keys: Array, default: Array) -> Array:
    """The value of each key, or the first element of default."""
    table, missing = _table(runtime, handle), default.ravel()[0]
    found = np.empty(keys.shape, node.outputs[0].dtype)
    for index in np.ndindex(keys.shape):
        found[index] = table.get(keys[index] if keys.dtype == object else int(keys[index]), missing)
    return found


@function("HASHTABLE_SIZE", inputs=1, types="RESOURCE INT32", shape=_one, stateful=True)
def hashtable_size(node: Node, runtime: Runtime, handle: Array) -> Array:
    """The number of keys, int64 (1,)."""
    return np.array([len(_table(runtime, handle))], np.int64)
