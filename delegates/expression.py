"""Scalar expressions as small trees, and index maps: lowering builds them, passes join them, render.py prints them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np


def c_float(value: float) -> str:
    """A float32 as a C literal, exact."""
    v = float(np.float32(value))
    if math.isnan(v):
        return "NAN"
    if math.isinf(v):
        return "INFINITY" if v > 0 else "(-INFINITY)"
    return f"({v.hex()}f)"


@dataclass(frozen=True)
class Expr:
    """A scalar computed from others: `kind` says how, of `args`.

    Leaves are "input" and "value", by number; "index", the output element's; "f32" and "int", constants; "literal", a
    constant as C writes it; and "parameter", a scalar of the kernel's by its name. Else it is an operator of C, "?:", a
    "cast" to the type `value`, or a "call" of `value`.
    """

    kind: str
    args: tuple[Expr, ...] = ()
    value: Any = None

    def __add__(self, other: Any) -> Expr:
        return _binary("+", self, other)

    def __radd__(self, other: Any) -> Expr:
        return _binary("+", other, self)

    def __sub__(self, other: Any) -> Expr:
        return _binary("-", self, other)

    def __rsub__(self, other: Any) -> Expr:
        return _binary("-", other, self)

    def __mul__(self, other: Any) -> Expr:
        return _binary("*", self, other)

    def __rmul__(self, other: Any) -> Expr:
        return _binary("*", other, self)

    def __truediv__(self, other: Any) -> Expr:
        return _binary("/", self, other)

    def __rtruediv__(self, other: Any) -> Expr:
        return _binary("/", other, self)

    def __mod__(self, other: Any) -> Expr:
        return _binary("%", self, other)

    def __and__(self, other: Any) -> Expr:
        return _binary("&", self, other)

    def __or__(self, other: Any) -> Expr:
        return _binary("|", self, other)

    def __xor__(self, other: Any) -> Expr:
        return _binary("^", self, other)

    def __lshift__(self, other: Any) -> Expr:
        return _binary("<<", self, other)

    def __rshift__(self, other: Any) -> Expr:
        return _binary(">>", self, other)

    def __lt__(self, other: Any) -> Expr:
        return _binary("<", self, other)

    def __le__(self, other: Any) -> Expr:
        return _binary("<=", self, other)

    def __gt__(self, other: Any) -> Expr:
        return _binary(">", self, other)

    def __ge__(self, other: Any) -> Expr:
        return _binary(">=", self, other)

    def __neg__(self) -> Expr:
        return Expr("neg", (self,))

    def nodes(self) -> Iterator[Expr]:
        """The expression and all that it is made of."""
        yield self
        for arg in self.args:
            yield from arg.nodes()

    def with_leaves(self, leaf: Callable[[Expr], Expr]) -> Expr:
        """The expression with other leaves."""
        if not self.args:
            return leaf(self)
        return replace(self, args=tuple(arg.with_leaves(leaf) for arg in self.args))


def expr(value: Any) -> Expr:
    """A Python number as an expression: a float as float32, an int as an int."""
    if isinstance(value, Expr):
        return value
    if isinstance(value, float | np.floating):
        return Expr("f32", value=float(np.float32(value)))
    return Expr("int", value=int(value))


def _binary(kind: str, left: Any, right: Any) -> Expr:
    return Expr(kind, (expr(left), expr(right)))


def input_(number: int) -> Expr:
    """The element of an input."""
    return Expr("input", value=number)


X, Y, Z = (input_(number) for number in range(3))
INDEX = Expr("index")
"""Which element of the output is computed."""


def where(condition: Expr, chosen: Any, other: Any) -> Expr:
    return Expr("?:", (condition, expr(chosen), expr(other)))


def equal(left: Any, right: Any) -> Expr:
    return _binary("==", left, right)


def unequal(left: Any, right: Any) -> Expr:
    return _binary("!=", left, right)


def both(left: Expr, right: Expr) -> Expr:
    return _binary("&&", left, right)


def either(left: Expr, right: Expr) -> Expr:
    return _binary("||", left, right)


def cast(kind: str, value: Any) -> Expr:
    """The value as the C type `kind`."""
    return Expr("cast", (expr(value),), kind)


def call(name: str, *args: Any) -> Expr:
    """A function of C or of shared.h."""
    return Expr("call", tuple(map(expr, args)), name)


def literal(text: str) -> Expr:
    """A constant as C writes it."""
    return Expr("literal", value=text)


def parameter(name: str) -> Expr:
    """A scalar that the kernel is given."""
    return Expr("parameter", value=name)


@dataclass(frozen=True)
class Words:
    """How a dialect's scalars, or its vectors of them, say a cast and a function."""

    casts: dict[str, str]
    functions: dict[str, str]


SCALARS = Words({}, {})
VECTORS = Words({"f32": "VF"}, {"clamp_f32": "clamp_v"})
"""The words of vectors.clh. The rest of C means the same of vectors as of floats."""

SAME_OF_VECTORS = ("input", "value", "f32", "int", "+", "-", "*", "/", "neg", "<", "<=", ">", ">=", "==", "?:")
FUNCTIONS_OF_VECTORS = ("exp", "expm1", "log", "sqrt", "tanh", "sin", "cos", "fabs", "floor", "ceil", "rint", "trunc")


FUNCTIONS_OF_TYPES = {
    *("from_f16", "to_f16", "from_bf16", "to_bf16", "c64_of", "real_of", "imag_of", "power_of", "repeated_product")
}
"""Those of types.h, and of a dialect's file of types."""


def types_macro(*expressions: Expr) -> dict[str, object]:
    """The macro TYPES, which a launch has whose text calls functions of types.h."""
    called = {node.value for one in expressions for node in one.nodes() if node.kind == "call"}
    return {"TYPES": 1} if called & FUNCTIONS_OF_TYPES else {}


def suits_vectors(expression: Expr, functions: bool = False) -> bool:
    """Whether it means the same of vectors of floats as of floats. functions: also those of mathematics."""

    def suits(node: Expr) -> bool:
        if node.kind == "cast":
            return bool(node.value == "f32")
        if node.kind == "call":
            return node.value == "clamp_f32" or (functions and node.value in FUNCTIONS_OF_VECTORS)
        return node.kind in SAME_OF_VECTORS and not (node.kind == "f32" and math.isnan(node.value))

    return all(map(suits, expression.nodes()))


def c_text(expression: Expr, inputs: Callable[[int], str], words: Words = SCALARS) -> str:
    """The expression in C. inputs: what each input is called there; values are t0, t1 …, the index i."""
    kind, value = expression.kind, expression.value
    args = [c_text(arg, inputs, words) for arg in expression.args]
    if kind == "input":
        return inputs(value)
    if kind in ("value", "index"):
        return f"t{value}" if kind == "value" else "i"
    if kind in ("f32", "int", "literal", "parameter"):
        return c_float(value) if kind == "f32" else str(value)
    if kind == "neg":
        return f"(-{args[0]})"
    if kind == "?:":
        return f"({args[0]} ? {args[1]} : {args[2]})"
    if kind == "cast":
        return f"({words.casts.get(value, value)})({args[0]})"
    if kind == "call":
        return f"{words.functions.get(value, value)}({', '.join(args)})"
    return f"({args[0]} {kind} {args[1]})"


@dataclass(frozen=True)
class Term:
    """counter / divide % modulo * stride, without the modulo where it is 0."""

    divide: int = 1
    modulo: int = 0
    stride: int = 1

    def text(self, counter: str) -> str:
        """The term in C."""
        position = counter if self.divide == 1 else f"{counter} / {self.divide}"
        position = f"{position} % {self.modulo}" if self.modulo else position
        return position if self.stride == 1 else f"{position} * {self.stride}"


@dataclass(frozen=True)
class IndexMap:
    """Where the element lies that belongs to the counter's value: start, and the sum of the terms.

    skip: the counter less so many, and 0 below.
    """

    start: int = 0
    terms: tuple[Term, ...] = (Term(),)
    counter: str = "i"
    skip: int = 0

    def __str__(self) -> str:
        if self.skip:
            return f"({self.counter} < {self.skip} ? 0 : {self.counter} - {self.skip})"
        terms = [term.text(self.counter) for term in self.terms]
        return f"({' + '.join([*([str(self.start)] if self.start else []), *terms]) or '0'})"


IDENTITY = IndexMap()
FIRST = IndexMap(terms=())
"""Every element is the first one."""
