"""The levels that a delegate can reach, and the rule of each.

float: nothing is wrong, every contract holds, and of each operator in FLOAT at least half of the float32 cases are
delegated. integer: the same of INTEGER and int8. complete: both, and of every operator and type in the table at least
one case is delegated, but for those that are constant before a delegate sees them. partial: nothing is wrong, but
neither float nor integer is reached. Where cases are right only at a relaxed precision, the level says which. A run of
chosen cases has no level.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tflgpu.conformance import verdicts
from tflgpu.conformance.verdicts import Result

FLOAT = (
    *("ABS", "ADD", "AVERAGE_POOL_2D", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "DIV", "ELU", "EXP"),
    *("FULLY_CONNECTED", "HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "MAXIMUM", "MAX_POOL_2D", "MEAN", "MINIMUM", "MUL"),
    *(
        "NEG",
        "PAD",
        "PRELU",
        "RELU",
        "RELU6",
        "RESHAPE",
        "RESIZE_BILINEAR",
        "RESIZE_NEAREST_NEIGHBOR",
        "RSQRT",
        "SLICE",
    ),
    *(
        "SOFTMAX",
        "SPACE_TO_DEPTH",
        "SQRT",
        "SQUARE",
        "STRIDED_SLICE",
        "SUB",
        "SUM",
        "TANH",
        "TRANSPOSE",
        "TRANSPOSE_CONV",
    ),
)
"""What image and speech models are made of: the core of TensorFlow Lite's own GPU delegate."""
INTEGER = (
    *("ADD", "AVERAGE_POOL_2D", "CONCATENATION", "CONV_2D", "DEPTHWISE_CONV_2D", "DEQUANTIZE", "FULLY_CONNECTED"),
    *("LOGISTIC", "MAX_POOL_2D", "MEAN", "MUL", "PAD", "QUANTIZE", "RELU", "RELU6", "RESHAPE", "RESIZE_BILINEAR"),
    *("RESIZE_NEAREST_NEIGHBOR", "SLICE", "SOFTMAX", "STRIDED_SLICE", "SUB", "TANH", "TRANSPOSE"),
)
SHARE = 0.5
RIGHT = (verdicts.PASSED, verdicts.RELAXED)


def level(results: Sequence[Result], whole: bool, precision: str) -> tuple[str, str]:
    """The level reached and why not the next. whole: whether every case of the table or of --quick was run."""
    name, why = _level(results, whole)
    if name not in ("none", "not judged") and any(result.verdict == verdicts.RELAXED for result in results):
        return f"{name} at {precision}", why
    return name, why


def _level(results: Sequence[Result], whole: bool) -> tuple[str, str]:
    wrong = sum(result.bad for result in results)
    if wrong:
        return "none", f"{wrong} cases are wrong"
    if not whole:
        return "not judged", "only some cases were run"
    float_gaps, integer_gaps = _gaps(results, FLOAT, "float32"), _gaps(results, INTEGER, "int8")
    if float_gaps and integer_gaps:
        return "partial", f"float: {_list(float_gaps)}; integer: {_list(integer_gaps)}"
    if integer_gaps:
        return "float", f"integer: {_list(integer_gaps)}"
    if float_gaps:
        return "integer", f"float: {_list(float_gaps)}"
    absent = _absent(results)
    if absent:
        return "float and integer", f"complete: {_list(absent)}"
    return "complete", "every operator and type is delegated and right"


def _gaps(results: Iterable[Result], ops: Sequence[str], type: str) -> list[str]:
    taken: dict[str, list[bool]] = {op: [] for op in ops}
    for result in results:
        # What QUANTIZE reads is float32 and what it makes is int8; it counts with both.
        if result.op in taken and (result.type == type or result.op == "QUANTIZE"):
            taken[result.op].append(result.verdict in RIGHT)
    return [op for op, found in taken.items() if not found or sum(found) < SHARE * len(found)]


FOLDED = ("RANK", "SHAPE")
"""Operators that are constant before any delegate sees them."""


def _absent(results: Iterable[Result]) -> list[str]:
    kinds: dict[str, bool] = {}
    for result in results:
        if result.family not in ("contract", "random", "graphs") and result.op not in FOLDED:
            kind = f"{result.op} {result.type}"
            kinds[kind] = kinds.get(kind, False) or result.verdict in RIGHT
    return [kind for kind, found in kinds.items() if not found]


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return f"too few cases are delegated of {', '.join(names[:6])}{more}"
