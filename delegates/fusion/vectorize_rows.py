"""For CPUs: element-wise operators and copies as loops over rows of vectors, without a division for every element."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.expression import VECTORS, IndexMap, Term, c_text, suits_vectors
from tflgpu.delegates.fusion.fuse_elementwise import is_fusable
from tflgpu.delegates.fusion.steps import PassContext, Steps, Uses, with_ops
from tflgpu.delegates.ir import Copy, Elementwise
from tflgpu.delegates.launch import Launch, Op
from tflgpu.delegates.render import value_of

SMALL = 2048
"""Elements below which a second work-item costs more than it saves."""


@dataclass(frozen=True)
class Rows:
    """`rows` rows of `c` elements, which `items` work-items share, and of which the last takes the rest of n."""

    n: int
    rows: int
    items: int
    c: int

    @property
    def sizes(self) -> dict[str, int]:
        """As the kernels of rows.cl call them."""
        return {"n": self.n, "rows": self.rows, "items": self.items, "c": self.c}


def vectorize_rows(steps: Steps, context: PassContext) -> Steps:
    """Launches over rows in place of such ops where there are rows."""
    if not (context.limits.cpu and context.limits.has("chains")):
        return steps
    uses = Uses(steps, context)
    ops: dict[int, Op | None] = {}
    for position, step in enumerate(steps):
        op, launch = step.op, None
        if isinstance(op, Copy):
            launch = _copied(op, context.limits)
        # Elements that two vectors compute must not change between them.
        elif isinstance(op, Elementwise) and is_fusable(op) and not any(uses.same(op.out, a) for a in op.reads):
            launch = _computed(op, context.limits)
        if launch is not None:
            ops[position] = launch
    return with_ops(steps, ops)


def _computed(op: Elementwise, limits: DeviceLimits) -> Launch | None:
    if op.out_kind != "f32" or any(operand.kind != "f32" for operand in op.inputs):
        return None
    # PoCL 3.0's functions on vectors are other ones than on floats.
    if not all(suits_vectors(one, functions=limits.vector >= 16) for one in op.expressions()):
        return None
    split = _split(op.n, [operand.at for operand in op.inputs], limits)
    lanes = 0 if split is None else _lanes(split, limits)
    if split is None or not lanes:
        return None
    loads = []
    for k, operand in enumerate(op.inputs):
        found = by_rows(operand.at, split.c)
        assert found is not None
        row, across = in_c(found[0], split.c), found[1]
        loads.append(f"VF v{k} = {f'VLOAD(x{k} + {row} + k)' if across else f'x{k}[{row}]'};")
    values = [f"VF t{k} = {c_text(value, value_of, VECTORS)};" for k, (_, value) in enumerate(op.values)]
    return Launch(
        "vectorized_rows.element_rows",
        (split.items,),
        (1,),
        inputs={f"x{k}": operand.buffer for k, operand in enumerate(op.inputs)},
        outputs={"out": op.out},
        sizes=split.sizes,
        defines={
            "VW": lanes,
            "INPUTS": "".join(f"IN(f32) x{k}, " for k in range(len(op.inputs))),
            "LOADS": " ".join(loads),
            "STEPS": " ".join(values),
            "EXPR": f"(VF)({c_text(op.expression, value_of, VECTORS)})",
            "OUT_T": "f32",
        },
        stage="none",
        single=True,
    )


WORD = {"u8": "uchar", "u16": "ushort", "u32": "uint", "u64": "ulong"}


def _copied(op: Copy, limits: DeviceLimits) -> Launch | None:
    x_at, out_at = replace(op.x_at, start=0), replace(op.out_at, start=0)
    split = _split(op.n, [x_at, out_at], limits)
    lanes = 0 if split is None else _lanes(split, limits, 8 if op.bits == "u64" else 4)
    if split is None or not lanes:
        return None
    source, target = by_rows(x_at, split.c), by_rows(out_at, split.c)
    assert source is not None and target is not None
    (x_row, across), (out_row, filled) = source, target
    if not filled:
        return None
    defines: dict[str, object] = {"T": WORD[op.bits], "X_ROW": in_c(x_row, split.c), "OUT_ROW": in_c(out_row, split.c)}
    defines |= {"LANES": lanes, "GET": f"vload{lanes}", "PUT": f"vstore{lanes}"} | ({} if across else {"SCALAR": 1})
    return Launch(
        "vectorized_rows.move_rows",
        (split.items,),
        (1,),
        inputs={"x": op.x},
        outputs={"out": op.out},
        sizes={**split.sizes, "x_start": op.x_at.start, "out_start": op.out_at.start},
        defines=defines,
        stage="none",
        single=True,
    )


def _lanes(split: Rows, limits: DeviceLimits, nbytes: int = 4) -> int:
    """As many of elements of up to nbytes as the narrowest row has and a vector holds; 0 where that is too few."""
    most = min(split.c, split.n - (split.rows - 1) * split.c, limits.vector * 4 // nbytes)
    return next((lanes for lanes in (16, 8, 4) if lanes <= most), 0)


def _split(n: int, maps: Sequence[IndexMap], limits: DeviceLimits) -> Rows | None:
    """Rows in which every index only counts on or stands still; None where there are none."""
    terms = [term for at in maps for term in at.terms]
    sizes = {t.divide for t in terms if t.divide > 1} | {t.modulo for t in terms if t.divide == 1 and t.modulo}
    most = limits.units * 4
    if not n:
        return None
    if not sizes and any(by_rows(at, 1) is None for at in maps):
        return None
    if not sizes:
        # Chunks as even as whole vectors allow.
        items = max(1, min(most, n // SMALL))
        c = (-(-n // items) + 15) // 16 * 16
        return Rows(n, max(n // c, 1), max(n // c, 1), c)
    c = min(sizes)
    if c < 4 or n % c or any(size % c for size in sizes) or any(by_rows(at, c) is None for at in maps):
        return None
    rows = n // c
    return Rows(n, rows, max(1, min(most, rows, n // SMALL)), c)


def by_rows(at: IndexMap, c: int) -> tuple[IndexMap, bool] | None:
    """Where an index stands at the start of row r, and whether it counts on from there; None where neither."""
    across = [term.stride == 1 for term in at.terms if term.divide == 1]
    if at.skip or (across and across != [True]):
        return None
    return replace(at, terms=tuple(row for term in at.terms if (row := _of_row(term, c))), counter="r"), bool(across)


def in_c(row: IndexMap, c: int) -> str:
    """The start of row r in C, by the kernel's own c where rows lie one after another: for rows of any length."""
    return str(row).replace(f"(r * {c})", "(r * c)")


def _of_row(term: Term, c: int) -> Term | None:
    """The term at the start of row r, counted by r; None where it is 0."""
    if term.divide == 1:
        return None if term.modulo == c else Term(1, term.modulo // c, c * term.stride)
    return replace(term, divide=term.divide // c)
