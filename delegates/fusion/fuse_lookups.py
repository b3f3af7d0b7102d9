"""A product of bytes and of what a table makes of the same bytes, as in swish, is one table of their codes.

For launches of kernels that every device has; fuse_int8_lookups.py joins those of lowering/elementwise/int8_rows.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from tflgpu.arithmetic.fixed_point import mbqm
from tflgpu.delegates.launch import Buffer, Launch, Packed, Ref, launches_of
from tflgpu.model.graph import Array

DTYPES = {"i8": np.dtype(np.int8), "u8": np.dtype(np.uint8)}


def with_byte_tables(groups: list[list[Any]], root: Callable[[int], int], kept: Callable[[int], bool]) -> None:
    """Joins such launches of `groups` in place; None is left where a table was that nothing reads any more."""
    places: dict[int, tuple[int, int]] = {}
    for g, group in enumerate(groups):
        for s, step in enumerate(group):
            if not isinstance(step, Launch):
                continue
            if is_byte_table(step):
                places[_made(step, root)] = (g, s)
            elif _is_byte_product(step):
                group[s] = _as_table(step, {made: groups[a][b] for made, (a, b) in places.items()}, root)
    read = {root(tensor) for group in groups for step in group for tensor in _read(step)}
    for made, (g, s) in places.items():
        if made not in read and not kept(made):
            groups[g][s] = None


def is_byte_table(launch: Launch) -> bool:
    """Whether the launch looks up bytes by bytes, tensor by tensor, and finds fault with none."""
    return (
        launch.kernel == "lut.lut"
        and launch.defines["X_T"] == launch.defines["OUT_T"] == "u8"
        and "LEAST" not in launch.defines
        and isinstance(launch.inputs["x"], Ref)
        and isinstance(launch.outputs["out"], Ref)
    )


def _is_byte_product(launch: Launch) -> bool:
    d = launch.defines
    return launch.kernel == "quantized.product" and d["T"] in DTYPES and d["X_AT"] == d["Y_AT"] == "(i)"


def _made(launch: Launch, root: Callable[[int], int]) -> int:
    out = launch.outputs["out"]
    assert isinstance(out, Ref)
    return root(out.tensor)


def _read(step: Any) -> list[int]:
    """Tensors among a step's arguments, but for the output of a table."""
    if isinstance(step, Launch) and is_byte_table(step):
        return [a.tensor for a in step.reads if isinstance(a, Ref)]
    steps = [] if step is None else launches_of([step])
    return [
        a.tensor
        for launch in steps
        for way in (launch, *launch.variants)
        for one in way.sequence
        for a in one.buffers
        if isinstance(a, Ref)
    ]


def _as_table(product: Launch, tables: dict[int, Launch], root: Callable[[int], int]) -> Launch:
    """The product as a table, where one factor is made of the other by one; else as it is."""
    x, y = product.inputs["x"], product.inputs["y"]
    if not isinstance(x, Ref) or not isinstance(y, Ref):
        return product
    kind, numbers = DTYPES[str(product.defines["T"])], {name: int(a) for name, a in product.scalars.items()}
    for plain, looked_up, at in ((x, y, 1), (y, x, 0)):
        table = tables.get(root(looked_up.tensor))
        source = None if table is None else table.inputs["x"]
        if table is None or not isinstance(source, Ref) or root(source.tensor) != root(plain.tensor):
            continue
        entries = table.inputs["table"]
        if not isinstance(entries, Ref):
            made = Packed(partial(_products, entries, kind, at, numbers))
            outputs, sizes = product.outputs, product.sizes
            inputs: dict[str, Buffer] = {"x": plain, "table": made}
            return replace(table, inputs=inputs, outputs=outputs, sizes=sizes, threads=product.threads)
    return product


def _products(entries: Buffer, kind: Any, at: int, numbers: dict[str, int]) -> Array:
    """For every code the product of itself and its entry, the entry being factor `at`, as the kernel computes it."""
    array = entries.make() if isinstance(entries, Packed) else entries
    assert isinstance(array, np.ndarray)
    codes = np.arange(256, dtype=np.uint8).view(kind).astype(np.int32)
    found = array.reshape(-1).view(kind).astype(np.int32)
    left, right = (codes, found) if at else (found, codes)
    product = (left - np.int32(numbers["x_zero"])) * (right - np.int32(numbers["y_zero"]))
    total = mbqm(product, numbers["multiplier"], numbers["exponent"]).astype(np.int64) + numbers["out_zero"]
    return np.clip(total, numbers["low"], numbers["high"]).astype(kind).view(np.uint8)
