"""Ops that compute along rows become one kernel that keeps each row in registers: layer normalization and its like.

A region is a sum or mean along the last axis with the element-wise operators before and after it, and further sums of
what these make, of which only the last value is wanted outside. How an exporter writes it does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from tflgpu.delegates.expression import FIRST, IDENTITY, IndexMap, Term, c_text, types_macro
from tflgpu.delegates.fusion.fuse_elementwise import is_fusable
from tflgpu.delegates.fusion.steps import PassContext, Steps, Uses, with_ops
from tflgpu.delegates.ir import MEAN_OF_FLOATS, SUM_OF_FLOATS, Elementwise, Operand, Reduce
from tflgpu.delegates.launch import Buffer, Launch, Op, Ref

SHORTEST, MOST_THREADS, MOST_HELD = 16, 256, 16
"""Elements of a row at the least; threads of a block and elements that each of them keeps at the most."""

REACH = 48
"""How many steps after a sum may belong to it."""

MOST_INPUTS, MOST_ARRAYS = 8, 5
"""Parameters of a kernel, and arrays of registers that it loads, at the most."""

Work = Elementwise | Reduce


def fuse_row_chains(steps: Steps, context: PassContext) -> Steps:
    """A kernel of rows in number of each region, where the last of its steps was."""
    if not context.limits.has("warps"):
        return steps
    search = _Search(Uses(steps, context))
    ops: dict[int, Op | None] = {}
    taken: set[int] = set()
    for number, step in enumerate(steps):
        if not is_row_sum(step.op) or number in taken:
            continue
        first = cast(Reduce, step.op)
        region = search.around(number, first, taken)
        launch = _Text(region, first, search.uses).launch() if region else None
        if launch is None:
            continue
        taken.update(region)
        ops |= dict.fromkeys(region) | {max(region): launch}
    return with_ops(steps, ops)


def is_row_sum(op: object) -> bool:
    """Whether it adds floats along the last axis, and makes a tensor."""
    if not isinstance(op, Reduce) or not isinstance(op.x, Ref) or not isinstance(op.out, Ref):
        return False
    return op.reducer in (SUM_OF_FLOATS, MEAN_OF_FLOATS) and op.kinds == ("f32", "f32") and op.along_rows


class _Search:
    """Finds the steps that belong to a sum."""

    def __init__(self, uses: Uses):
        self.steps, self.uses = uses.steps, uses

    def work(self, number: int) -> Work | None:
        """What the step computes, where that is known."""
        op = self.steps[number].op
        return cast(Work, op) if is_row_sum(op) or is_fusable(op) else None

    def around(self, number: int, first: Reduce, taken: set[int]) -> dict[int, Work]:
        """The largest region with this sum, by the numbers of its steps; empty where there is none."""
        if not SHORTEST <= first.count <= MOST_THREADS * MOST_HELD:
            return {}
        region = {k: work for k in self._feeding(number, first, taken) if (work := self.work(k)) is not None}
        shapes = {self._root(work.out): True for work in region.values()}
        region[number] = first
        shapes[self._root(first.out)] = False
        best: dict[int, Work] = {}
        for k in range(number + 1, min(number + REACH, len(self.steps))):
            work = self.work(k)
            whole = None if work is None or k in taken else self._shape_after(work, shapes, first)
            if whole is None or work is None:
                continue
            region[k] = work
            shapes[self._root(work.out)] = whole
            if whole and self._only_last_leaves(region, k):
                best = dict(region)
        return best

    def _root(self, buffer: Buffer) -> int:
        assert isinstance(buffer, Ref)
        return self.uses.root(buffer)

    def _feeding(self, number: int, first: Reduce, taken: set[int]) -> list[int]:
        """Element-wise steps whose results only the sum reads, or steps that feed it."""
        found: set[int] = set()
        waiting = [first.x]
        while waiting:
            made = waiting.pop()
            k = self.uses.makers.get(self._root(made))
            work = None if k is None or k in taken else self.work(k)
            if k is None or not isinstance(work, Elementwise) or self.uses.live_out(cast(Ref, made)):
                continue
            if not self.uses.users_of(cast(Ref, made)) <= {number, *found}:
                continue
            if work.out_kind == "f32" and work.n == first.n * first.count:
                found.add(k)
                waiting += [o.buffer for o in work.inputs if isinstance(o.buffer, Ref) and o.at == IDENTITY]
        return sorted(found)

    def _only_last_leaves(self, region: Mapping[int, Work], last: int) -> bool:
        outs = {k: cast(Ref, work.out) for k, work in region.items()}
        leaving = [k for k, out in outs.items() if self.uses.live_out(out) or self.uses.users_of(out) - {*region}]
        return leaving == [last]

    def _shape_after(self, work: Work, shapes: Mapping[int, bool], first: Reduce) -> bool | None:
        """Whether what a step makes of the region's values is whole rows, or one value for each; None: it is none.

        shapes: the same of those values.
        """
        rows, columns = first.n, first.count
        if isinstance(work, Reduce):
            fits = shapes.get(self._root(work.x)) is True and (work.n, work.count) == (rows, columns)
            return False if fits else None
        if work.out_kind != "f32" or work.n not in (rows, rows * columns):
            return None
        whole, some = work.n == rows * columns, False
        for operand in work.inputs:
            shape = shapes.get(self._root(operand.buffer)) if isinstance(operand.buffer, Ref) else None
            if shape is None:
                continue
            some = True
            of_row = FIRST if rows == 1 else IndexMap(terms=(Term(divide=columns),)) if whole else IDENTITY
            if operand.kind != "f32" or operand.at != (IDENTITY if shape else of_row) or (shape and not whole):
                return None
        return whole if some else None


class _Text:
    """The program of a region, and the launch that runs it. Values are named s0, s1 … in their order."""

    def __init__(self, region: Mapping[int, Work], first: Reduce, uses: Uses):
        self.region, self.rows, self.columns, self.uses = region, first.n, first.count, uses
        self.values: dict[int, tuple[str, bool]] = {}
        self.inputs: dict[tuple[Any, str], tuple[Buffer, str]] = {}
        self.loads: list[str] = []

    def launch(self) -> Launch | None:
        """None where it would take more parameters or registers than there should be."""
        body: list[str] = []
        works = [work for _, work in sorted(self.region.items())]
        for number, work in enumerate(works):
            whole = isinstance(work, Elementwise) and work.n == self.rows * self.columns
            body.append(self._sum(work, number) if isinstance(work, Reduce) else self._elementwise(work, number, whole))
            self.values[self.uses.root(cast(Ref, work.out))] = (f"s{number}", whole)
        vector = 4 if self.columns % 4 == 0 else 1
        units = self.columns // vector
        width = min(-(-units // 32) * 32, MOST_THREADS)
        held = -(-units // width) * vector
        arrays = len(self.loads)
        if len(self.inputs) > MOST_INPUTS or arrays > MOST_ARRAYS or (arrays > 3 and held > 8):
            return None
        return Launch(
            "row_chain.row_chain",
            (self.rows * width,),
            (width,),
            inputs={name: buffer for buffer, name in self.inputs.values()},
            outputs={"out": works[-1].out},
            defines={
                "COLUMNS": self.columns,
                "WIDTH": width,
                "PER_THREAD": held,
                "VECTOR": vector,
                "INPUTS": "".join(f"IN({kind}) {name}, " for (_, kind), (_, name) in self.inputs.items()),
                "BODY": " ".join([*self.loads, *body]),
                "LAST": f"s{len(self.region) - 1}",
            }
            | types_macro(*(work.expression for work in works if isinstance(work, Elementwise))),
            stage="none",
        )

    def _sum(self, work: Reduce, number: int) -> str:
        known = self.values.get(self.uses.root(cast(Ref, work.x)))
        name = known[0] if known else self._array(work.x, across=False)
        return f"f32 s{number} = row_sum({name}, partial){' / (f32)COLUMNS' if work.reducer == MEAN_OF_FLOATS else ''};"

    def _elementwise(self, work: Elementwise, number: int, whole: bool) -> str:
        names = [self._input(operand, whole) for operand in work.inputs]
        value = c_text(work.expression, names.__getitem__)
        if not whole:
            return f"f32 s{number}; {{ i32 i = row; s{number} = {value}; }}"
        return f"f32 s{number}[PER_THREAD]; FOR_EACH {{ i32 i = row * COLUMNS + COLUMN(e); s{number}[e] = {value}; }}"

    def _input(self, operand: Operand, whole: bool) -> str:
        """What stands for an input in an expression."""
        buffer, at = operand.buffer, operand.at
        known = self.values.get(self.uses.root(buffer)) if isinstance(buffer, Ref) else None
        if known is not None:
            return f"{known[0]}[e]" if known[1] else known[0]
        if whole and operand.kind == "f32" and at in (IDENTITY, IndexMap(terms=(Term(modulo=self.columns),))):
            return f"{self._array(buffer, across=at != IDENTITY or self.rows == 1)}[e]"
        return f"{self._parameter(buffer, operand.kind)}[{at}]"

    def _array(self, buffer: Buffer, across: bool) -> str:
        """The name of the registers that hold what this thread has of a row: of each its own, or across, of all one."""
        parameter = self._parameter(buffer, "f32")
        begin = parameter if across else f"{parameter} + row * {self.columns}"
        known = [k for k, text in enumerate(self.loads) if text == _load(k, begin)]
        if known:
            return f"l{known[0]}"
        self.loads.append(_load(len(self.loads), begin))
        return f"l{len(self.loads) - 1}"

    def _parameter(self, buffer: Buffer, kind: str) -> str:
        key = (self.uses.root(buffer) if isinstance(buffer, Ref) else id(buffer), kind)
        if key not in self.inputs:
            self.inputs[key] = (buffer, f"x{len(self.inputs)}")
        return self.inputs[key][1]


def _load(number: int, begin: str) -> str:
    return f"f32 l{number}[PER_THREAD]; load_row(l{number}, {begin});"
