"""The kit's cases as the tests of each device use them: some of all, and one of them on a delegate."""

from __future__ import annotations

import re
from functools import cache
from itertools import groupby
from typing import Any

from tflgpu import Interpreter
from tflgpu.conformance.cases import GRAPHS, every
from tflgpu.conformance.cases.case import Case, T
from tflgpu.conformance.reference import Reference, answer
from tflgpu.conformance.tolerances import distance
from tflgpu.model.graph import DTYPES, Array

RARE = frozenset(("UINT16", "UINT32", "UINT64", "INT2", "UINT4"))
"""Types that only a whole run of the kit has."""
COMPUTED = ("CUMSUM", "ONE_HOT", "RANGE", "TOPK_V2")
"""Operators of the families that move elements which do more than that."""
MOVED = """
    BITCAST DILATE FILL HASHTABLE_LOOKUP MATRIX_DIAG MATRIX_SET_DIAG REVERSE_SEQUENCE SCATTER_ND SELECT SELECT_V2
    SPARSE_TO_DENSE STABLEHLO_GATHER STABLEHLO_PAD ZEROS_LIKE
"""
"""Operators of other families that only move elements."""
MAIN = ("float32", "float16", "int8")
BESIDE = re.compile(
    r"^((ADD|SUB|MUL|DEQUANTIZE|RELU6|RESIZE_BILINEAR|STABLEHLO_AND|TRANSPOSE_CONV)\[uint8|QUANTIZE\[int"
    r"|(MUL|TANH|RSQRT|SQRT|SOFTMAX|PAD|TRANSPOSE|CONV_2D|FULLY_CONNECTED|DYNAMIC_UPDATE_SLICE|STABLEHLO_\w+)\[int16"
    r"|(ADD|ARG_MAX|BITWISE_XOR|CAST|EQUAL|FLOOR_MOD|LESS|LESS_EQUAL|POW|TOPK_V2|UNSORTED_\w+)\[int32|(ARG_MAX|REDUCE_PROD)\[bool"
    r"|(MAXIMUM|LESS|ATAN2)\[bfloat16|(MUL|CAST)\[complex64|(SIGN|ATAN2)\[float64|FLOOR_MOD\[int64,70"
    r"|FULLY_CONNECTED\[float16|BITCAST|CAST\[.*to=(bfloat16|complex64|int4|float16))"
)
"""Cases of other types whose kernels are of their own."""
BY_OPTIONS = ("TFLite_Detection_PostProcess",)
"""Operators whose options decide which kernels run."""
REPEATING = ("ADD_N", "CONCATENATION", "PACK", "SPLIT", "SPLIT_V", "UNPACK")
"""Operators of any number of equal tensors."""


def case(name: str) -> Case:
    """A case by its whole name. Raises KeyError for one that there is not."""
    return every().get(name) or GRAPHS[name]


@cache
def kernels(main: bool = False) -> tuple[Case, ...]:
    """One case of each operator and combination of element types, of rank 3 or more where there is such a one.

    main: only of the main types, where an operator has them.
    """
    groups: dict[tuple[str, ...], list[Case]] = {}
    for found in every().values():
        if "tiles" not in found.family and not RARE & _types(found):
            groups.setdefault(_signature(found), []).append(found)
    chosen = [_representative(cases) for cases in groups.values()]
    return tuple(c for c in chosen if not main or _is_main(c))


def of_family(*families: str) -> list[Case]:
    return [found for found in every().values() if found.family in families]


def _is_main(found: Case) -> bool:
    return (
        found.family == "recurrent"
        or found.type in MAIN
        or BESIDE.match(found.name) is not None
        or not _types_of(found.op) & set(MAIN)
    )


@cache
def _types_of(op: str) -> set[str]:
    return {found.type for found in every().values() if found.op == op}


def _tensors(found: Case) -> list[T]:
    model = found.model
    return [] if model is None else [t for t in (*model.inputs, *model.outputs) if isinstance(t, T)]


def _types(found: Case) -> frozenset[str]:
    return frozenset(t.type for t in _tensors(found))


def _signature(found: Case) -> tuple[str, ...]:
    """The operator and the types of its tensors; of what is only moved, their sizes, and equal neighbours once."""
    model = found.model
    if model is None or found.family == "recurrent" or found.op in BY_OPTIONS:
        return (found.name,)
    moved = (found.family in ("movement", "indexing") and found.op not in COMPUTED) or found.op in MOVED.split()

    def kind(tensor: T | Array | str | None) -> str:
        if not isinstance(tensor, T):
            return tensor if isinstance(tensor, str) else "absent" if tensor is None else "constant"
        size = str(DTYPES[tensor.type].itemsize) if moved and not tensor.scale else tensor.type
        return size + " constant" * tensor.constant

    kinds = [kind(tensor) for tensor in (*model.inputs, "gives", *model.outputs)]
    return (found.op, *((key for key, _ in groupby(kinds)) if found.op in REPEATING else kinds))


def _representative(cases: list[Case]) -> Case:
    filled = [c for c in cases if all(0 not in t.shape for t in _tensors(c))] or cases
    return next((c for c in filled if any(len(t.shape) > 2 for t in _tensors(c))), filled[0])


def check(found: Case, delegate: Any) -> None:
    """The delegate takes the whole case, and every result is as near to the CPU's as the kit's table says."""
    sample = found.sample()
    reference = Reference(sample.model)
    interpreter = Interpreter(model_content=sample.model, experimental_delegates=[delegate])
    for draw in (0, 1, 0) if found.family == "recurrent" else (0,):
        values = sample.values(draw)
        want = reference.expected(values)
        got = answer(interpreter, values)
        for g, w, unit, bound in zip(got, want.outputs, want.units, want.bounds, strict=True):
            off = distance(g, w, unit)
            assert off.ulps <= bound, f"{off.ulps:.3g} ULP where {bound:.3g} are allowed, {off.text}"
    assert "stays on the CPU" not in interpreter.delegation_report(), interpreter.delegation_report()


def fed(found: Case) -> tuple[bytes, list[Array]]:
    """The model and its values."""
    sample = found.sample()
    return sample.model, sample.values()


def recurrent(*patterns: str) -> list[Case]:
    """Cases with a state: those that a pattern is found in, or all."""
    found = of_family("recurrent")
    return [c for c in found if not patterns or any(re.search(pattern, c.name) for pattern in patterns)]


def invokes(found: Case, count: int = 3) -> tuple[bytes, list[list[Array]]]:
    """The model and its values for several invokes in a row."""
    sample = found.sample()
    return sample.model, [sample.values(draw) for draw in range(count)]
