"""What lowering returns besides launches: what is computed, as data for passes; render.py makes launches of it.

Each has its buffers by name as a Launch has, and `on`, which puts it on others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from tflgpu.delegates.expression import IDENTITY, Expr, IndexMap, Term, X, Y, cast, expr, input_, parameter
from tflgpu.delegates.launch import Buffer, Fault, Packed, Ref
from tflgpu.model.graph import Array, Shape

Put = Callable[[Buffer], Buffer]


@dataclass(frozen=True, eq=False)
class Operand:
    """An input of an element-wise operator: its buffer, its element type, and where output element i reads it."""

    buffer: Buffer
    kind: str
    at: IndexMap = IDENTITY


@dataclass(frozen=True)
class Alias:
    """A tensor whose bytes are another's: no kernel runs."""

    output: int
    input: int

    @property
    def reads(self) -> list[Buffer]:
        return [Ref(self.input)]

    @property
    def writes(self) -> list[Buffer]:
        return [Ref(self.output)]

    def on(self, put: Put) -> Alias:
        """Itself: it has no buffers of its own."""
        return self


@dataclass(frozen=True, eq=False)
class Elementwise:
    """out[i] = the expression of the inputs, for i < n.

    values: what is computed before it, each of a type, from the inputs and the values before: of fused
    operators. fault: the condition on the inputs under which an element is a fault and stays as it was, and the fault.
    """

    inputs: tuple[Operand, ...]
    expression: Expr
    out: Buffer
    out_kind: str
    n: int
    values: tuple[tuple[str, Expr], ...] = ()
    fault: tuple[Expr, Fault] | None = None

    @property
    def reads(self) -> list[Buffer]:
        return [operand.buffer for operand in self.inputs]

    @property
    def writes(self) -> list[Buffer]:
        return [self.out, *([] if self.fault is None else [self.fault[1]])]

    def on(self, put: Put) -> Elementwise:
        inputs = tuple(replace(operand, buffer=put(operand.buffer)) for operand in self.inputs)
        return replace(self, inputs=inputs, out=put(self.out))

    def expressions(self) -> list[Expr]:
        """All that it computes, in order."""
        return [*(value for _, value in self.values), self.expression]


OfX = TypeVar("OfX", bound="_OfX")


@dataclass(frozen=True, eq=False)
class _OfX:
    """The n elements of out, computed from x alone."""

    x: Buffer
    out: Buffer
    n: int

    @property
    def reads(self) -> list[Buffer]:
        return [self.x]

    @property
    def writes(self) -> list[Buffer]:
        return [self.out]

    def on(self: OfX, put: Put) -> OfX:
        return replace(self, x=put(self.x), out=put(self.out))


@dataclass(frozen=True, eq=False)
class Copy(_OfX):
    """out at out_at = x at x_at, for i < n, of elements of the type `bits`."""

    bits: str
    x_at: IndexMap = IDENTITY
    out_at: IndexMap = IDENTITY


@dataclass(frozen=True, eq=False)
class Lookup:
    """out[i] = table[x[i]], for i < n, whose types are kinds; x's values count as unsigned numbers.

    least, fault: values below `least` are a fault.
    """

    x: Buffer
    table: Buffer
    out: Buffer
    n: int
    kinds: tuple[str, str]
    least: int | None = None
    fault: Fault | None = None

    @property
    def reads(self) -> list[Buffer]:
        return [self.x, self.table]

    @property
    def writes(self) -> list[Buffer]:
        return [self.out, *([] if self.fault is None else [self.fault])]

    def on(self, put: Put) -> Lookup:
        return replace(self, x=put(self.x), table=put(self.table), out=put(self.out))

    @property
    def of_bytes(self) -> bool:
        """Whether it looks 8-bit values up by 8-bit values, and finds fault with none."""
        return set(self.kinds) <= BYTES.keys() and self.fault is None


BYTES = {"i8": np.dtype(np.int8), "u8": np.dtype(np.uint8)}


@dataclass(frozen=True, eq=False)
class Rescaled:
    """Quantized x + y ("+"), x - y ("-") or x * y ("*"), of type `kind`, rescaled in fixed point and clamped.

    shapes: of x and y, which broadcast to out_shape. numbers: zero points, multipliers, exponents, range, as the
    kernels of quantized.h call them.
    """

    operator: str
    x: Buffer
    y: Buffer
    out: Buffer
    kind: str
    shapes: tuple[Shape, Shape]
    out_shape: Shape
    numbers: Mapping[str, np.int32]

    @property
    def n(self) -> int:
        return math.prod(self.out_shape)

    @property
    def reads(self) -> list[Buffer]:
        return [self.x, self.y]

    @property
    def writes(self) -> list[Buffer]:
        return [self.out]

    def on(self, put: Put) -> Rescaled:
        return replace(self, x=put(self.x), y=put(self.y), out=put(self.out))


@dataclass(frozen=True)
class Reducer:
    """How elements are taken together, from init on: a = combine of a (X) and the next (Y); the result is finish of a.

    acc_kind: the type of a. They may ask for the first element of all (input 2), and for parameters of reduce.h.
    """

    acc_kind: str
    init: Expr
    combine: Expr
    finish: Expr = X


def sum_of(acc_kind: str, finish: Expr = X) -> Reducer:
    return Reducer(acc_kind, expr(0), X + Y, finish)


SUM_OF_FLOATS = sum_of("f32")
MEAN_OF_FLOATS = sum_of("f32", X / cast("f32", parameter("count")))


@dataclass(frozen=True, eq=False)
class Reduce(_OfX):
    """out[i] = the `count` elements x[x_at(i) + k_at(k)] taken together, for i < n; `width` work-items share them.

    columns: of so many neighbouring outputs, a divisor of n, the work-items of a block share the elements.
    numbers: the scalars that the reducer names.
    """

    count: int
    reducer: Reducer
    kinds: tuple[str, str]
    x_at: IndexMap
    k_at: IndexMap
    width: int = 1
    columns: int = 1
    numbers: Mapping[str, int | np.float32] = field(default_factory=dict)

    @property
    def along_rows(self) -> bool:
        """Whether each output is of neighbours in memory, row by row."""
        row = IndexMap(terms=(Term(stride=self.count),) if self.n > 1 else ())
        return self.x_at == row and self.k_at == IndexMap(counter="k")


@dataclass(frozen=True, eq=False)
class Epilogue:
    """What a kernel does to each of its outputs before it stores it as `op.out`: `op`, whose inputs `own` are that.

    own: the numbers of these among op's inputs.
    """

    op: Elementwise | Lookup | Rescaled
    own: tuple[int, ...]

    @property
    def reads(self) -> list[Buffer]:
        """What it reads besides the kernel's output."""
        return [buffer for number, buffer in enumerate(self.op.reads) if number not in self.own]

    @property
    def writes(self) -> list[Buffer]:
        return self.op.writes

    def on(self, put: Put) -> Epilogue:
        return replace(self, op=self.op.on(put))


def inlined(consumer: Elementwise, operand: Operand, producer: Elementwise) -> Elementwise:
    """The consumer with the producer's values before its own, in place of the input `operand`."""
    inputs, names = list(producer.inputs), dict[int, Expr]()
    made = len(producer.values)
    for number, given in enumerate(consumer.inputs):
        if given is operand:
            names[number] = Expr("value", value=made)
        else:
            names[number] = input_(len(inputs))
            inputs.append(given)

    def leaf(of: Expr) -> Expr:
        if of.kind == "input":
            return names[of.value]
        return replace(of, value=of.value + made + 1) if of.kind == "value" else of

    values = [*producer.values, (producer.out_kind, producer.expression)]
    values += [(kind, value.with_leaves(leaf)) for kind, value in consumer.values]
    expression = consumer.expression.with_leaves(leaf)
    return replace(consumer, inputs=tuple(inputs), values=tuple(values), expression=expression)


def entries_of(table: Buffer) -> Array:
    """A constant's value."""
    entries = table.make() if isinstance(table, Packed) else table
    assert isinstance(entries, np.ndarray)
    return entries
