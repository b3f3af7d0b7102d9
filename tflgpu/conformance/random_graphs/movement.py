"""Steps of random graphs that move values, and those whose shapes are known only at run time."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from tflgpu.conformance.random_graphs.draw import EXACT, LARGEST, QUANTIZED, Draw, Value, number, ranked, step
from tflgpu.model.graph import DTYPES


@step(0.7, lambda v: len(v.shape) == 4 and (number(v) or v.type == "INT32") and v.type != "INT16")
def blocks(d: Draw, x: Value) -> None:
    n, h, w, c = x.shape
    if h % 2 == 0 and w % 2 == 0 and d.chance(0.6):
        d.add("SPACE_TO_DEPTH", [x], d.like(x, (n, h // 2, w // 2, c * 4)), block_size=2)
    elif c % 4 == 0:
        d.add("DEPTH_TO_SPACE", [x], d.like(x, (n, h * 2, w * 2, c // 4)), block_size=2)


@step(3, ranked)
def reshaped(d: Draw, x: Value) -> None:
    keep = x.shape[:1] if d.batched else ()
    rest = math.prod(x.shape[1:]) if d.batched else math.prod(x.shape)
    options = [(rest,), (1, rest), (rest, 1)]
    options += [(k, rest // k) for k in (2, 3, 4, 6) if rest % k == 0]
    options += [(k, 2, rest // k // 2) for k in (1, 2, 3) if rest % (2 * k) == 0]
    shape = (*keep, *d.among(options))
    if d.chance(0.15) and 1 in x.shape[1:]:
        axis = 1 + x.shape[1:].index(1)
        d.add("SQUEEZE", [x], d.like(x, [s for k, s in enumerate(x.shape) if k != axis]), squeeze_dims=[axis])
        return
    if d.chance(0.15) and len(x.shape) < 4:
        axis = d.number(1, len(x.shape))
        d.add("EXPAND_DIMS", [x, d.ints(axis)], d.like(x, (*x.shape[:axis], 1, *x.shape[axis:])))
        return
    wanted = [-1, *shape[1:]] if d.batched or d.chance(0.3) else list(shape)
    out = d.like(x, shape)
    if d.chance(0.7):
        d.add("RESHAPE", [x, d.ints(wanted)], out, new_shape=wanted)
    else:
        d.add("RESHAPE", [x], out, new_shape=wanted)


@step(3, lambda v: 2 <= len(v.shape) <= 5)
def transposed(d: Draw, x: Value) -> None:
    first = [0] if d.batched else []
    order = first + [int(k) + len(first) for k in d.rng.permutation(len(x.shape) - len(first))]
    d.add("TRANSPOSE", [x, d.ints(order)], d.like(x, [x.shape[k] for k in order]))


@step(2.5, lambda v: 1 <= len(v.shape) <= 5)
def sliced(d: Draw, x: Value) -> None:
    begin, size = [], []
    for k, s in enumerate(x.shape):
        whole = (d.batched and k == 0) or d.chance(0.4)
        begin.append(0 if whole else d.number(0, s - 1))
        size.append(s if whole else d.number(1, s - begin[-1]))
    if d.chance(0.5):
        wanted = [
            -1 if b + z == s and (d.batched or d.chance(0.5)) else z
            for b, z, s in zip(begin, size, x.shape, strict=True)
        ]
        d.add("SLICE", [x, d.ints(begin), d.ints(wanted)], d.like(x, size))
        return
    strides = [1 if d.batched and k == 0 else d.among((1, 1, 2, -1)) for k in range(len(x.shape))]
    ends = [b + z for b, z in zip(begin, size, strict=True)]
    masks = {"begin_mask": 0, "end_mask": 0, "shrink_axis_mask": 0}
    shape = []
    for k, by in enumerate(strides):
        if d.batched and k == 0:
            masks["begin_mask"], masks["end_mask"] = 1, 1
            shape.append(x.shape[0])
        elif by < 0:
            masks["begin_mask"] |= 1 << k
            masks["end_mask"] |= 1 << k
            shape.append(x.shape[k])
        elif d.chance(0.2):
            masks["shrink_axis_mask"] |= 1 << k
            strides[k] = 1
        else:
            shape.append(-(-size[k] // by))
    inputs: list[Value | int] = [x, d.ints(begin), d.ints(ends), d.ints(strides)]
    d.add("STRIDED_SLICE", inputs, d.like(x, shape), **masks)


@step(3, lambda v: 1 <= len(v.shape) <= 4)
def concatenated(d: Draw, x: Value) -> None:
    if d.batched and len(x.shape) < 2:
        return
    axis = d.axis(x)

    def fits(v: Value) -> bool:
        alike = v.type == x.type and len(v.shape) == len(x.shape) and (v.scale, v.zero_point) == (x.scale, x.zero_point)
        return alike and all(a == b for k, (a, b) in enumerate(zip(v.shape, x.shape, strict=True)) if k != axis)

    joined = [x]
    for _ in range(d.number(1, 3)):
        found = d.pick(fits)
        assert found is not None
        joined.insert(d.number(0, len(joined)), found)
    if x.real and d.chance(0.2):
        shape = [1 if k == axis else s for k, s in enumerate(x.shape)]
        if not d.batched:
            joined.append(Value(d.constant(d.normal(*shape)), "FLOAT32", tuple(shape)))
    if x.type == "UINT8" and d.chance(0.5):
        other = d.pick(lambda v: v.type == "UINT8" and v.shape == x.shape)
        assert other is not None
        joined.append(other)
    shape = list(x.shape)
    shape[axis] = sum(p.shape[axis] for p in joined)
    if math.prod(shape) > LARGEST:
        return
    out = d.like(x, shape, most=max(p.most for p in joined))
    d.add("CONCATENATION", joined, out, axis=d.signed(axis, x), fused_activation_function="NONE")


@step(1.5, lambda v: 1 <= len(v.shape) <= 4 and v.type != "BOOL")
def split(d: Draw, x: Value) -> None:
    if d.batched and len(x.shape) < 2:
        return
    axis = d.axis(x)
    n = x.shape[axis]
    counts = [k for k in (2, 3, 4) if n % k == 0]
    if counts and d.chance(0.6):
        k = d.among(counts)
        out = d.like(x, [n // k if j == axis else s for j, s in enumerate(x.shape)])
        d.add("SPLIT", [d.ints(d.signed(axis, x)), x], *[out] * k, num_splits=k)
    elif n >= 2:
        cut = d.number(1, n - 1)
        outs = [d.like(x, [z if j == axis else s for j, s in enumerate(x.shape)]) for z in (cut, n - cut)]
        d.add("SPLIT_V", [x, d.ints([cut, d.among((-1, n - cut))]), d.ints(d.signed(axis, x))], *outs, num_splits=2)


@step(1, lambda v: 1 <= len(v.shape) <= 4 and v.type != "BOOL")
def stacked(d: Draw, x: Value) -> None:
    if d.batched and len(x.shape) < 2:
        return
    axis = d.axis(x)
    if d.chance(0.5) and x.shape[axis] <= 6:
        out = d.like(x, [s for k, s in enumerate(x.shape) if k != axis])
        d.add("UNPACK", [x], *[out] * x.shape[axis], num=x.shape[axis], axis=d.signed(axis, x))
        return
    alike = [
        v for v in d.values if (v.shape, v.type, v.scale, v.zero_point) == (x.shape, x.type, x.scale, x.zero_point)
    ]
    others = [x, *alike[-2:]]
    if math.prod(x.shape) * len(others) <= LARGEST:
        out = d.like(x, (*x.shape[:axis], len(others), *x.shape[axis:]), most=max(v.most for v in others))
        d.add("PACK", others, out, values_count=len(others), axis=axis)


@step(1.5, lambda v: 1 <= len(v.shape) <= 4 and v.type in ("FLOAT32", "INT8", "UINT8", "INT32", "INT16"))
def padded(d: Draw, x: Value) -> None:
    pads = [[0, 0] if d.batched and k == 0 else [d.number(0, 2), d.number(0, 2)] for k in range(len(x.shape))]
    kind = d.among(("PAD", "PAD", "PADV2", "MIRROR_PAD"))
    if kind == "MIRROR_PAD":
        pads = [[min(p, s - 1) for p in pair] for pair, s in zip(pads, x.shape, strict=True)]
    shape = [s + sum(p) for s, p in zip(x.shape, pads, strict=True)]
    if math.prod(shape) > LARGEST:
        return
    inputs: list[Any] = [x, d.ints(pads)]
    if kind == "PADV2":
        if x.quantized:
            low, high = QUANTIZED[x.type]
            value = np.asarray(d.number(low, high), DTYPES[x.type])
            inputs.append(d.constant(value, scale=x.scale, zero_point=x.zero_point))
        else:
            inputs.append(d.constant(np.asarray(d.number(-2, 2), DTYPES[x.type])))
    options = {"mode": d.among(("REFLECT", "SYMMETRIC"))} if kind == "MIRROR_PAD" else {}
    d.add(kind, inputs, d.like(x, shape), **options)


@step(1, lambda v: 1 <= len(v.shape) <= 4 and v.type != "INT16")
def repeated(d: Draw, x: Value) -> None:
    kind = d.number(0, 3)
    axis = d.axis(x) if len(x.shape) > d.batched else None
    if axis is None:
        return
    if kind == 0 and math.prod(x.shape) * 2 <= LARGEST and x.type != "UINT8":
        by = [2 if k == axis else 1 for k in range(len(x.shape))]
        d.add("TILE", [x, d.ints(by)], d.like(x, [s * b for s, b in zip(x.shape, by, strict=True)]))
    elif kind == 1 and x.type in ("FLOAT32", "INT32", "BOOL", "UINT8"):
        d.add("REVERSE_V2", [x, d.ints([axis])], x)
    elif kind == 2:
        picks = [d.number(0, x.shape[axis] - 1) for _ in range(d.number(1, 4))]
        shape = (*x.shape[:axis], len(picks), *x.shape[axis + 1 :])
        if math.prod(shape) <= LARGEST:
            d.add("GATHER", [x, d.ints(picks)], d.like(x, shape), axis=axis, batch_dims=0)
    elif kind == 3 and not d.batched and x.type in ("FLOAT32", "INT32", "INT8"):
        shape = (2, *x.shape)
        if math.prod(shape) <= LARGEST and len(shape) <= 5:
            d.add("BROADCAST_TO", [x, d.ints(list(shape))], d.like(x, shape), version=2)


@step(0.3, lambda v: v.real and v.most < 1e3 and ranked(v), batched=False)
def emptied(d: Draw, x: Value) -> None:
    """A slice of no elements, joined to the rest again."""
    shape = (0, *x.shape[1:])
    begin, size = [d.number(0, x.shape[0]), *[0] * (len(shape) - 1)], [0, *[-1] * (len(shape) - 1)]
    y = d.add("SLICE", [x, d.ints(begin), d.ints(size)], d.like(x, shape))
    y = d.add("NEG", [y], y)
    d.add("CONCATENATION", [y, x], x, axis=0, fused_activation_function="NONE")


@step(0.4, lambda v: ranked(v) and v.type in ("FLOAT32", "INT32") and v.most < 1e3)
def shape_chain(d: Draw, x: Value) -> None:
    """RESHAPE to what SHAPE, STRIDED_SLICE and PACK say, as exporters write a batch that may change."""
    y = d.add("SHAPE", [x], Value(-1, "INT32", (len(x.shape),), 1e9), out_type="INT32")
    n = d.add("STRIDED_SLICE", [y, d.ints([0]), d.ints([1]), d.ints([1])], d.like(y, ()), shrink_axis_mask=1)
    rest = math.prod(x.shape[1:])
    shape = d.add("PACK", [n, d.ints(rest)], d.like(y, (2,)), values_count=2, axis=0)
    d.values = [v for v in d.values if v.most < 1e9]
    d.add("RESHAPE", [x, shape], d.like(x, (x.shape[0], rest)))


@step(0.4, lambda v: v.real and v.exact == EXACT and ranked(v) and v.most < 1e3, batched=False)
def found_indices(d: Draw, x: Value) -> None:
    """A maximum over the elements above an edge, whose number is known only at run time."""
    edge = d.constant(np.float32(-0.5))
    above = d.add("GREATER", [x, edge], Value(-1, "BOOL", x.shape))
    indices = d.tensor(Value(-1, "INT64", (0, len(x.shape))))
    d.graph.node("WHERE", [above.index], [indices.index])
    taken = d.tensor(replace(x, shape=(0,)))
    d.graph.node("GATHER_ND", [x.index, indices.index], [taken.index])
    scaled = d.tensor(replace(x, shape=(0,)))
    d.graph.node("MUL", [taken.index, d.constant(np.float32(2))], [scaled.index])
    most = d.tensor(Value(-1, "FLOAT32", ()))
    d.graph.node("REDUCE_MAX", [scaled.index, d.ints([0])], [most.index], keep_dims=False)
    d.add(
        "MAXIMUM", [most, d.constant(np.float32(-1))], replace(x, shape=(), most=x.most * 2)
    )  # of none it is the least
    d.log.append("  (WHERE, GATHER_ND, MUL, REDUCE_MAX before it)")


@step(0.4, lambda v: v.real and ranked(v) and v.most < 1e3, batched=False)
def reshaped_late(d: Draw, x: Value) -> None:
    """RESHAPE to a shape that is computed from values."""
    first = d.tensor(Value(-1, "FLOAT32", ()))
    flat = d.tensor(Value(-1, "FLOAT32", (math.prod(x.shape),)))
    d.graph.node("RESHAPE", [x.index, d.ints([-1])], [flat.index], new_shape=[-1])
    d.graph.node("REDUCE_MAX", [flat.index, d.ints([0])], [first.index], keep_dims=False)
    low = d.tensor(Value(-1, "FLOAT32", ()))
    d.graph.node("MINIMUM", [first.index, d.constant(np.float32(0))], [low.index])
    none = d.tensor(Value(-1, "FLOAT32", ()))
    d.graph.node("MUL", [low.index, d.constant(np.float32(0))], [none.index])
    whole = d.tensor(Value(-1, "INT32", ()))
    d.graph.node("CAST", [none.index], [whole.index], in_data_type="FLOAT32", out_data_type="INT32")
    shape = (2, math.prod(x.shape) // 2) if math.prod(x.shape) % 2 == 0 else (math.prod(x.shape), 1)
    wanted = d.tensor(Value(-1, "INT32", (2,)))
    d.graph.node("ADD", [whole.index, d.ints(list(shape))], [wanted.index])
    d.add("RESHAPE", [x, wanted.index], d.like(x, shape))
    d.log.append("  (to a computed shape)")
