"""The StableHLO operators: element-wise ones of equal shapes, PAD, GATHER and SCATTER."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.expression import Expr, IndexMap, X, Y, call, cast, where
from tflgpu.delegates.ir import Copy
from tflgpu.delegates.launch import Launch, Lowered, Ref
from tflgpu.delegates.lowering.elementwise.elementwise import elementwise
from tflgpu.delegates.lowering.movement.movement import copy, fill_from
from tflgpu.delegates.lowering.reduction.combine import A, V, combine_macro, wrapping
from tflgpu.delegates.lowering.reduction.reduction_bodies import function_of
from tflgpu.delegates.lowering.registry import bits_type, c_type, lowers, require, size
from tflgpu.delegates.lowering.strided_index import index_map, standin
from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.indexing.stablehlo_indexing import dimensions_of, gather_dimensions, index_vectors, order_of
from tflgpu.ops.movement.padding import placed, stablehlo_placements

FLOATS = {
    "STABLEHLO_ADD": X + Y,
    "STABLEHLO_MULTIPLY": X * Y,
    "STABLEHLO_MAXIMUM": where(X < Y, Y, X),
    "STABLEHLO_MINIMUM": where(Y < X, Y, X),
}
BOOLS = FLOATS | {"STABLEHLO_ADD": X | Y, "STABLEHLO_MULTIPLY": X & Y, "STABLEHLO_AND": X & Y}
WIDE_X, WIDE_Y = cast("u64", X), cast("u64", Y)
INTEGERS: Mapping[str, Callable[[str], Expr]] = {
    "STABLEHLO_ADD": lambda kind: cast(kind, WIDE_X + WIDE_Y),
    "STABLEHLO_MULTIPLY": lambda kind: cast(kind, WIDE_X * WIDE_Y),
    "STABLEHLO_MAXIMUM": lambda kind: FLOATS["STABLEHLO_MAXIMUM"],
    "STABLEHLO_MINIMUM": lambda kind: FLOATS["STABLEHLO_MINIMUM"],
    "STABLEHLO_AND": lambda kind: X & Y,
    "STABLEHLO_SHIFT_LEFT": lambda kind: cast(kind, cast("u64", cast("i64", X)) << (cast("i64", Y) & 31)),
    "RIGHT_SHIFT": lambda kind: X >> cast("i32", call("clamp_i64", Y, 0, int(kind[1:]) - 1)),
}
"""By the element type. Integers wrap in 64 bits and are truncated."""


@lowers(*INTEGERS)
def plain(node: Node, limits: DeviceLimits) -> Lowered:
    """Element-wise on equal shapes; quantized values are treated as integers."""
    x, y, out = node.input(0), node.input(1), node.outputs[0]
    rows: Mapping[str, object] = {"f": FLOATS, "b": BOOLS}.get(x.dtype.kind, INTEGERS)
    require(x.type == y.type == out.type and node.op in rows, f"{node.op} of {x.type} and {y.type} to {out.type}")
    row = rows[node.op]
    expression = row if isinstance(row, Expr) else INTEGERS[node.op](c_type(x, limits))
    return [elementwise(expression, (x, y), out, limits)]


@lowers("STABLEHLO_PAD")
def stablehlo_pad(node: Node, limits: DeviceLimits) -> Lowered:
    """Fills out with the value of input 1, then copies x into it with strides."""
    x, filler, out = node.input(0), node.input(1), node.outputs[0]
    require(x.type == filler.type == out.type, f"STABLEHLO_PAD of {x.type} to {out.type}")
    if not size(out):
        return []
    y_base, x_base = standin(out.shape, out.dtype), standin(x.shape, x.dtype)
    target, source = placed(y_base, x_base, stablehlo_placements(node))
    from_at, to_at = index_map(source, x_base), index_map(target, y_base)
    bits = bits_type(out)
    over = [Copy(Ref(x.index), Ref(out.index), source.size, bits, from_at, to_at)] if source.size else []
    return [fill_from(filler, out), *over]


@lowers("STABLEHLO_GATHER")
def stablehlo_gather(node: Node, limits: DeviceLimits) -> Lowered:
    """Windows of slice_sizes of x from index vectors on, which are clamped so that windows fit."""
    x, indices, out = node.input(0), node.input(1), node.outputs[0]
    require(x.type == out.type, f"STABLEHLO_GATHER of {x.type} to {out.type}")
    sizes, kept, targets, offset_dims, _ = gather_dimensions(node)
    if not size(out):
        return []
    x_base, index_base = standin(x.shape, x.dtype), standin(indices.shape, indices.dtype)
    vectors = index_vectors(index_base, int(node.options.index_vector_dim))
    window = x_base[tuple(slice(0, n) if d in kept else 0 for d, n in enumerate(sizes))]
    whole = (*vectors.shape[:-1], *window.shape)
    order = order_of(len(out.shape), offset_dims)

    def seen(view: Array, base: Array) -> IndexMap:
        return index_map(np.broadcast_to(view, whole).transpose(order), base)

    starts = [
        f"clamp_i64(indices[{seen(vectors[..., k].reshape(vectors.shape[:-1] + (1,) * window.ndim), index_base)}], 0, "
        f"{x.shape[d] - sizes[d]}) * {int(np.prod(x.shape[d + 1 :], dtype=np.int64))}"
        for k, d in enumerate(targets)
    ]
    defines = {
        "T": bits_type(out),
        "INDEX_T": c_type(indices, limits),
        "START": f"(i32)({' + '.join(starts) or '0'})",
        "X_AT": seen(window, x_base),
    }
    inputs, n = {"x": Ref(x.index), "indices": Ref(indices.index)}, size(out)
    return [Launch("windows.gather_windows", (n,), (64,), inputs, {"out": Ref(out.index)}, {"n": n}, defines=defines)]


COMBINED = {"UPDATE": V, "ADD": A + V, "MUL": A * V, "MAXIMUM": where(A < V, V, A), "MINIMUM": where(V < A, V, A)}
OF_BOOLS = COMBINED | {"ADD": A | V, "MUL": A & V, "ALL": A & V, "ANY": A | V}


@dataclass(frozen=True)
class _Scatter:
    """Which dimensions STABLEHLO_SCATTER means.

    window_dims: of the updates, those of windows. inserted: of x, those in which a window has one element. targets:
    of x, those that index vectors have an entry for, in their order. batch, window: the shapes of the windows
    together, and of one.
    """

    window_dims: tuple[int, ...]
    inserted: tuple[int, ...]
    targets: tuple[int, ...]
    batch: Shape
    window: Shape

    @classmethod
    def of(cls, node: Node) -> _Scatter:
        o, rank, updates = node.options, len(node.input(0).shape), node.input(2).shape
        window_dims = tuple(sorted(dimensions_of(o.update_window_dims, len(updates), "update_window_dims")))
        inserted = dimensions_of(o.inserted_window_dims, rank, "inserted_window_dims")
        targets = dimensions_of(o.scatter_dims_to_operand_dims, rank, "scatter_dims_to_operand_dims")
        batch = tuple(d for i, d in enumerate(updates) if i not in window_dims)
        require(len(window_dims) + len(inserted) == rank, "windows of another rank")
        return cls(window_dims, tuple(inserted), tuple(targets), batch, tuple(updates[d] for d in window_dims))

    def step(self, d: int, n: int, vectors: Array, indices: Array, at: Callable[[Array, Array], IndexMap]) -> str:
        """C that takes `at` on by dimension d of x, of size n: where a window begins, by `indices`, plus where in it.

        vectors: a view of the indices. at: where in an array each update reads a view of it that broadcasts to them.
        """
        terms = []
        if d in self.targets:
            vector = vectors[..., self.targets.index(d)].reshape(self.batch + (1,) * len(self.window))
            terms.append(f"(i64)indices[{at(vector, indices)}]")
        if d not in self.inserted:
            k = d - sum(i < d for i in self.inserted)
            ruler = standin((self.window[k],), np.uint8)
            terms.append(str(at(ruler.reshape([-1] + [1] * (len(self.window) - k - 1)), ruler)))
        position = f"i64 p = {' + '.join(terms) or '0'}; inside &= (u64)p < {n}u;"  # below 0 too
        return f"{{ {position} at = at * {n} + (inside ? (i32)p : 0); }}"


@lowers("STABLEHLO_SCATTER")
def stablehlo_scatter(node: Node, limits: DeviceLimits) -> Lowered:
    """x with windows of updates combined into it at index vectors; elements outside are left out."""
    x, indices, updates, out = node.input(0), node.input(1), node.input(2), node.outputs[0]
    require(x.type == updates.type == out.type, f"STABLEHLO_SCATTER of {updates.type} to {out.type}")
    name, s = function_of(node), _Scatter.of(node)
    rows = OF_BOOLS if out.type == "BOOL" else COMBINED
    require(name in rows, f"the function {name}")
    index_base, base = standin(indices.shape, indices.dtype), standin(updates.shape, updates.dtype)
    vectors = index_vectors(index_base, int(node.options.index_vector_dim))
    require(vectors.shape == (*s.batch, len(s.targets)), "shapes that do not fit")
    if not size(updates):
        return [copy(x, out)]
    # Rows that are not clipped can only overlap in their own column.
    apart = set(s.targets) <= set(s.inserted)
    order = order_of(len(updates.shape), s.window_dims)
    base_view = base.transpose(np.argsort(order)) if apart else base
    order = list(range(len(order))) if apart else order

    def at(view: Array, of: Array) -> IndexMap:
        return index_map(np.broadcast_to(view, (*s.batch, *s.window)).transpose(order), of)

    columns = int(np.prod(s.window, dtype=np.int64)) if apart else 1
    kind = bits_type(out) if name == "UPDATE" else c_type(out, limits)
    defines = {
        "T": kind,
        "INDEX_T": c_type(indices, limits),
        "STEPS": " ".join(s.step(d, n, vectors, index_base, at) for d, n in enumerate(x.shape)),
        "UPDATE_AT": index_map(base_view, base),
        **combine_macro(wrapping(rows[name], kind)),
    }
    over = Launch(
        "windows.scatter_windows",
        (columns,),
        inputs={"updates": Ref(updates.index), "indices": Ref(indices.index)},
        outputs={"out": Ref(out.index)},
        sizes={"columns": columns, "count": size(updates) // columns},
        defines=defines,
    )
    return [copy(x, out), over]
