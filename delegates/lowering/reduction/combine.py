"""How elements are taken together, as expressions: of A, what there is so far, and V, the next."""

from __future__ import annotations

from tflgpu.delegates.expression import Expr, X, Y, c_text, cast, input_

A, V, FIRST_OF_ALL = X, Y, input_(2)
"""FIRST_OF_ALL: the first element of the tensor."""


def wrapping(combine: Expr, kind: str) -> Expr:
    """A sum or a product of integers as one that wraps; anything else as it is. kind: the element type."""
    if kind.startswith("f") or combine.kind not in ("+", "*"):
        return combine
    return cast(kind, combine.with_leaves(lambda leaf: cast("u64", leaf)))


def text_of(expression: Expr) -> str:
    """In C, as the kernels call the values."""
    return c_text(expression, ("a", "v", "x[0]").__getitem__)


def combine_macro(combine: Expr) -> dict[str, object]:
    """The macro COMBINE of the kernels."""
    return {"COMBINE(a, v)": text_of(combine)}
