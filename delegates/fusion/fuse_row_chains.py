"""Launches that compute along rows become one that keeps each row in registers: layer normalization and its like.

A region is a sum or mean along the last axis with the element-wise launches before and behind it, and further sums of
what these make, of which only the last value is wanted outside. How an exporter writes it does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tflgpu.delegates.fusion.fuse_elementwise import Chain, taken_apart
from tflgpu.delegates.launch import Buffer, Launch, Loop, Lowered, Ref, Share, launches_of

SHORTEST, MOST_THREADS, MOST_HELD = 16, 256, 16
"""Elements of a row at the least; threads of a block and elements that each of them keeps at the most."""

REACH = 48
"""How many launches behind a sum may belong to it."""

MOST_INPUTS, MOST_ARRAYS = 8, 5
"""Parameters of a kernel, and arrays of registers that it loads, at the most."""

MEAN, SUM = "(a / (f32)count)", "(a)"


@dataclass(frozen=True, eq=False)
class Sum:
    """The sums or means of `rows` rows of `columns` elements of the tensor x."""

    x: int
    out: Ref
    rows: int
    columns: int
    mean: bool


@dataclass(frozen=True, eq=False)
class _Step:
    """A step of the list: where it stands, the tensors that it speaks of, and what it computes where that is known."""

    place: tuple[int, int]
    tensors: tuple[Ref, ...]
    work: Chain | Sum | None


def with_row_chains(groups: Sequence[Lowered], roots: Mapping[int, int], kept: Callable[[int], bool]) -> list[Lowered]:
    """The groups, launches of a region replaced by one at the place of the last of them.

    roots: whose storage each tensor shares. kept: whether a tensor's value is wanted outside of the launches.
    """
    out: list[list[Any]] = [list(group) for group in groups]
    steps = [
        _Step((g, s), _tensors(step), (_sum(step) or taken_apart(step)) if isinstance(step, Launch) else None)
        for g, group in enumerate(groups)
        for s, step in enumerate(group)
        if not isinstance(step, Share)
    ]
    search = _Search(steps, lambda tensor: roots.get(tensor, tensor), kept)
    taken: set[int] = set()
    for number, step in enumerate(steps):
        if not isinstance(step.work, Sum) or number in taken:
            continue
        region = search.around(number, step.work, taken)
        launch = _Text(region, step.work, search.root).launch() if region else None
        if launch is None:
            continue
        taken.update(region)
        for g, s in (steps[k].place for k in region):
            out[g][s] = None
        g, s = steps[max(region)].place
        out[g][s] = launch
    return [[step for step in group if step is not None] for group in out]


def _sum(launch: Launch) -> Sum | None:
    """A launch that adds floats along the last axis, else None."""
    d = launch.defines
    if launch.kernel != "reduce.reduce" or (d["X_T"], d["OUT_T"], d["ACC_T"], d["INIT"]) != ("f32", "f32", "f32", "0"):
        return None
    x, out, n, count = launch.inputs["x"], launch.outputs["out"], launch.sizes["n"], launch.sizes["count"]
    if not isinstance(x, Ref) or not isinstance(out, Ref):  # a temporary, which no other node reads
        return None
    assert isinstance(n, int) and isinstance(count, int)
    along = d["X_AT"] == (f"(i * {count})" if n > 1 else "(0)") and d["K_AT"] == "(k)"
    adds = d["COMBINE(a, v)"] == "(a + v)" and d["FINISH(a)"] in (MEAN, SUM)
    return Sum(x.tensor, out, n, count, d["FINISH(a)"] == MEAN) if along and adds else None


class _Search:
    """Finds the launches that belong to a sum."""

    def __init__(self, steps: Sequence[_Step], root: Callable[[int], int], kept: Callable[[int], bool]):
        self.steps, self.root = steps, root
        self.kept = {root(ref.tensor) for step in steps for ref in step.tensors if kept(ref.tensor)}
        self.readers: dict[int, set[int]] = {}
        self.makers: dict[int, int] = {}
        for number, step in enumerate(steps):
            made = step.work.out if step.work is not None else None
            for ref in step.tensors:
                if ref is not made:
                    self.readers.setdefault(root(ref.tensor), set()).add(number)
            if made is not None:
                self.makers[root(made.tensor)] = number

    def around(self, number: int, first: Sum, taken: set[int]) -> dict[int, Chain | Sum]:
        """The largest region with this sum, by the numbers of its steps; empty where there is none."""
        if not SHORTEST <= first.columns <= MOST_THREADS * MOST_HELD:
            return {}
        region = {k: self.steps[k].work for k in self._feeding(number, first, taken)}
        shapes = {self.root(work.out.tensor): True for work in region.values() if work is not None}
        region[number] = first
        shapes[self.root(first.out.tensor)] = False
        best: dict[int, Any] = {}
        for k in range(number + 1, min(number + REACH, len(self.steps))):
            work = self.steps[k].work
            whole = None if work is None or k in taken else _shape_behind(work, shapes, first, self.root)
            if whole is None or work is None:
                continue
            region[k] = work
            shapes[self.root(work.out.tensor)] = whole
            if whole and self._only_last_leaves(region, k):
                best = dict(region)
        return best

    def _feeding(self, number: int, first: Sum, taken: set[int]) -> list[int]:
        """Element-wise steps whose results only the sum reads, or steps that feed it."""
        found: set[int] = set()
        waiting = [first.x]
        while waiting:
            made = self.root(waiting.pop())
            k = self.makers.get(made)
            if k is None or k in taken or made in self.kept or not self.readers[made] <= {number, *found}:
                continue
            work = self.steps[k].work
            if isinstance(work, Chain) and work.out_type == "f32" and work.n == first.rows * first.columns:
                found.add(k)
                waiting += [a.tensor for a, kind, at in work.inputs if isinstance(a, Ref) and at == "(i)"]
        return sorted(found)

    def _only_last_leaves(self, region: Mapping[int, Any], last: int) -> bool:
        made = {self.root(work.out.tensor): k for k, work in region.items()}
        leaving = [
            k for tensor, k in made.items() if tensor in self.kept or self.readers.get(tensor, set()) - {*region}
        ]
        return leaving == [last]


def _tensors(step: Launch | Loop) -> tuple[Ref, ...]:
    launches = [one for launch in launches_of([step]) for one in launch.sequence]
    return tuple(buffer for launch in launches for buffer in launch.buffers if isinstance(buffer, Ref))


def _shape_behind(work: Chain | Sum, shapes: Mapping[int, bool], first: Sum, root: Callable[[int], int]) -> bool | None:
    """Whether what a step makes of the region's values is whole rows, or one value for each; None: it is none of it.

    shapes: the same of those values.
    """
    rows, columns = first.rows, first.columns
    if isinstance(work, Sum):
        fits = shapes.get(root(work.x)) is True and (work.rows, work.columns) == (rows, columns)
        return False if fits else None
    if work.out_type != "f32" or work.n not in (rows, rows * columns):
        return None
    whole, some = work.n == rows * columns, False
    for argument, kind, at in work.inputs:
        shape = shapes.get(root(argument.tensor)) if isinstance(argument, Ref) else None
        if shape is None:
            continue
        some = True
        of_row = "(0)" if rows == 1 else f"(i / {columns})" if whole else "(i)"
        if kind != "f32" or at != ("(i)" if shape else of_row) or (shape and not whole):
            return None
    return whole if some else None


class _Text:
    """The program of a region, and the launch that runs it. Values are named s0, s1 … in their order."""

    def __init__(self, region: Mapping[int, Chain | Sum], first: Sum, root: Callable[[int], int]):
        self.region, self.rows, self.columns, self.root = region, first.rows, first.columns, root
        self.values: dict[int, tuple[str, bool]] = {}
        self.inputs: dict[tuple[Any, str], tuple[Buffer, str]] = {}
        self.loads: list[str] = []
        self.arrays = 0

    def launch(self) -> Launch | None:
        """None where it would take more parameters or registers than there should be."""
        body: list[str] = []
        work = None
        for place, (_, work) in enumerate(sorted(self.region.items())):
            whole = isinstance(work, Chain) and work.n == self.rows * self.columns
            body.append(self._sum(work, place) if isinstance(work, Sum) else self._chain(work, place, whole))
            self.values[self.root(work.out.tensor)] = (f"s{place}", whole)
        assert work is not None
        vector = 4 if self.columns % 4 == 0 else 1
        units = self.columns // vector
        width = min(-(-units // 32) * 32, MOST_THREADS)
        held = -(-units // width) * vector
        if len(self.inputs) > MOST_INPUTS or self.arrays > MOST_ARRAYS or (self.arrays > 3 and held > 8):
            return None
        defines = {
            "COLUMNS": self.columns,
            "WIDTH": width,
            "HELD": held,
            "VECTOR": vector,
            "INPUTS": "".join(f"IN({kind}) {name}, " for (_, kind), (_, name) in self.inputs.items()),
            "BODY": " ".join([*self.loads, *body]),
            "LAST": f"s{len(self.region) - 1}",
        }
        inputs, threads = {name: buffer for buffer, name in self.inputs.values()}, (self.rows * width,)
        return Launch("row_chain.row_chain", threads, (width,), inputs, {"out": work.out}, defines=defines)

    def _sum(self, work: Sum, place: int) -> str:
        known = self.values.get(self.root(work.x))
        name = known[0] if known else self._array(Ref(work.x), f"{{0}} + row * {self.columns}")
        return f"f32 s{place} = row_sum({name}, partial){' / (f32)COLUMNS' if work.mean else ''};"

    def _chain(self, work: Chain, place: int, whole: bool) -> str:
        names = {f"v{k}": self._input(*given, whole) for k, given in enumerate(work.inputs)}
        if not whole:
            return f"f32 s{place}; {{ i32 i = row; s{place} = {work.renamed(names)}; }}"
        return f"f32 s{place}[HELD]; EACH {{ i32 i = row * COLUMNS + COLUMN(e); s{place}[e] = {work.renamed(names)}; }}"

    def _input(self, argument: Buffer, kind: str, at: str, whole: bool) -> str:
        """What stands for an input in an expression."""
        known = self.values.get(self.root(argument.tensor)) if isinstance(argument, Ref) else None
        if known is not None:
            return f"{known[0]}[e]" if known[1] else known[0]
        if whole and kind == "f32" and at in ("(i)", f"(i % {self.columns})"):
            across = at != "(i)" or self.rows == 1
            return f"{self._array(argument, '{0}' if across else f'{{0}} + row * {self.columns}')}[e]"
        return f"{self._parameter(argument, kind)}[{at}]"

    def _array(self, argument: Buffer, where: str) -> str:
        """The name of the registers that hold this thread's part of a row that begins at `where`."""
        load = f"load_row({{}}, {where.format(self._parameter(argument, 'f32'))});"
        known = [k for k, text in enumerate(self.loads) if text.endswith(load.format(f"l{k}"))]
        if known:
            return f"l{known[0]}"
        name = f"l{len(self.loads)}"
        self.loads.append(f"f32 {name}[HELD]; {load.format(name)}")
        self.arrays += 1
        return name

    def _parameter(self, argument: Buffer, kind: str) -> str:
        key = (self.root(argument.tensor) if isinstance(argument, Ref) else id(argument), kind)
        if key not in self.inputs:
            self.inputs[key] = (argument, f"x{len(self.inputs)}")
        return self.inputs[key][1]
