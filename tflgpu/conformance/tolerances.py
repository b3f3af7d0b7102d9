"""How near a result must be to the reference's: one table of bounds in ULP, by operator and size.

The unit of a bound is the distance between neighbouring floats at a magnitude: of the wanted value itself; of the same
operator's result on absolute values, where sums may cancel; of the largest operand; or of 1. Integers,
booleans and whatever is only moved or compared are equal. A file may widen bounds for one delegate, with reasons.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from tflgpu.model.graph import Array, Node
from tflgpu.ops.audio.fft import TRANSFORMS
from tflgpu.ops.registry import OPS, evaluate

OWN, ABSOLUTE, LARGEST, ONE = "own", "absolute", "largest", "one"


@dataclass(frozen=True)
class Bound:
    """ulps: of the node, as few as 0, for equality. magnitude: at which the unit is taken."""

    ulps: Callable[[Node], float]
    magnitude: str = OWN


def _fixed(ulps: float, magnitude: str = OWN) -> Bound:
    return Bound(lambda node: ulps, magnitude)


def _window(position: int) -> Callable[[Node], float]:
    """2·kh·kw·c of weights (oc, kh, kw, c); depthwise ones are (1, kh, kw, c·m)."""

    def ulps(node: Node) -> float:
        _, kh, kw, c = node.input(position).shape
        return 2.0 * kh * kw * (1 if node.op == "DEPTHWISE_CONV_2D" else c) + 2

    return ulps


def _volume(node: Node) -> float:
    """2·kd·kh·kw·c of weights (kd, kh, kw, c, oc), or (kd, kh, kw, oc, c)."""
    weights = node.input(1).shape
    return 2.0 * math.prod(weights) / weights[4 if node.op == "CONV_3D" else 3] + 2


def _inner(node: Node) -> float:
    """2·k."""
    shape = node.input(0).shape or (1,)
    return 2.0 * shape[-2 if getattr(node.options, "adj_x", False) and len(shape) > 1 else -1] + 2


def _reduced(node: Node) -> float:
    """2·n, n the elements that make one."""
    return 2.0 * math.prod(node.input(0).shape) / max(math.prod(node.outputs[0].shape), 1) + 2


def _row(node: Node) -> float:
    """3n + 3, n the length of a row."""
    return 3.0 * (node.input(0).shape or (1,))[-1] + 3


def _pooled(node: Node) -> float:
    return 2.0 * node.options.filter_height * node.options.filter_width + 2


def _steps(node: Node) -> float:
    """Of a recurrent cell: every product, over all steps."""
    shape = node.input(0).shape
    return 8.0 * (shape[-1] + node.outputs[0].shape[-1]) * max(math.prod(shape[:-1]), 1) + 16


BOUNDS: Mapping[str, Bound] = {
    # Exact, but for the sign of a zero, of which TensorFlow Lite's own kernels give either.
    **dict.fromkeys(("ABS", "CEIL", "FLOOR", "MAXIMUM", "MAX_POOL_2D", "MINIMUM", "NEG", "REDUCE_MAX"), _fixed(0)),
    **dict.fromkeys(("REDUCE_MIN", "RELU", "RELU6", "RELU_0_TO_1", "RELU_N1_TO_1", "ROUND", "SIGN"), _fixed(0)),
    **dict.fromkeys(("ADD", "SUB", "SQUARE", "SQUARED_DIFFERENCE", "DEQUANTIZE"), _fixed(1)),
    "MUL": Bound(lambda node: 3.0 if node.outputs[0].type.startswith("COMPLEX") else 1.0),
    **dict.fromkeys(("DIV", "SQRT", "COMPLEX_ABS", "FAKE_QUANT", "LEAKY_RELU", "PRELU"), _fixed(3)),
    **dict.fromkeys(("EXP", "LOG", "SIN", "COS", "RSQRT", "HARD_SWISH"), _fixed(5)),
    **dict.fromkeys(("TANH", "ELU", "ATAN2"), _fixed(8)),
    **dict.fromkeys(("FlexAtan", "FlexCosh", "FlexErf", "FlexSinh", "FlexTan"), _fixed(8)),
    "FlexEluGrad": _fixed(2),
    # Below -9 the reference has exp(x), which is off by as much itself.
    "LOGISTIC": _fixed(4, ONE),
    "POW": _fixed(17),
    "GELU": _fixed(12, LARGEST),
    "FLOOR_MOD": _fixed(1, LARGEST),
    "ADD_N": Bound(lambda node: 2.0 * len(node.inputs), ABSOLUTE),
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"), Bound(_window(1), ABSOLUTE)),
    **dict.fromkeys(("CONV_3D", "CONV_3D_TRANSPOSE"), Bound(_volume, ABSOLUTE)),
    **dict.fromkeys((*TRANSFORMS, "Convolution2DTransposeBias", "aeq.hadamard_rotation"), _fixed(24, LARGEST)),
    **dict.fromkeys(("FULLY_CONNECTED", "BATCH_MATMUL"), Bound(_inner, ABSOLUTE)),
    **dict.fromkeys(("SUM", "MEAN", "CUMSUM"), Bound(_reduced, ABSOLUTE)),
    "REDUCE_PROD": Bound(_reduced),
    "CUMSUM": Bound(lambda node: 2.0 * max(node.input(0).shape or (1,)) + 2, ABSOLUTE),
    "SOFTMAX": Bound(_row),
    "LOG_SOFTMAX": Bound(_row, LARGEST),
    "L2_NORMALIZATION": Bound(_row),
    "LOCAL_RESPONSE_NORMALIZATION": Bound(_row),
    "AVERAGE_POOL_2D": Bound(_pooled, ABSOLUTE),
    "L2_POOL_2D": Bound(_pooled),
    "RESIZE_BILINEAR": _fixed(12, ABSOLUTE),
    "Landmarks2TransformMatrix": _fixed(16, LARGEST),
    **dict.fromkeys(("RNN", "UNIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_RNN"), Bound(_steps, LARGEST)),
    **dict.fromkeys(("LSTM", "UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM"), Bound(_steps, LARGEST)),
    "SVDF": Bound(_steps, LARGEST),
}
"""By operator; one that is not here only moves, compares or chooses, and is equal bit for bit."""

EXACT = _fixed(0)

NEAR = {
    "float16": (2e-3, 1e-3),
    "bfloat16": (2e-2, 1e-2),
    "float32": (2e-6, 1e-6),
    "float64": (1e-12, 1e-12),
    "complex64": (2e-6, 1e-6),
    "complex128": (1e-12, 1e-12),
}
"""Relative and absolute, by dtype: how near two implementations are that compute the same in the same precision, where
no operator is asked. Integers, booleans and strings are equal. Whoever must be wider says why beside it."""


@dataclass(frozen=True)
class Override:
    """A wider bound for the cases whose names match. reason: shown beside every case that needed it."""

    cases: str
    ulps: float
    reason: str


def read_overrides(path: Path | None) -> tuple[Override, ...]:
    """The overrides of a JSON file: [{"cases": regular expression, "ulps": number, "reason": why}, ...].

    Raises ValueError for an entry without a reason, or one that is anything else.
    """
    if path is None:
        return ()
    try:
        entries = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    found = []
    for entry in entries:
        if not isinstance(entry, dict) or set(entry) != {"cases", "ulps", "reason"} or not str(entry["reason"]).strip():
            raise ValueError(f"{path}: each override needs cases, ulps and a reason, not {entry}")
        found.append(Override(str(entry["cases"]), float(entry["ulps"]), str(entry["reason"])))
    return tuple(found)


def override_for(name: str, overrides: Sequence[Override]) -> Override | None:
    return next((o for o in overrides if re.search(o.cases, name)), None)


RELAXED = {"fp32": 1.0, "tf32": 2.0**13, "fp16": 2.0**14}
"""By how much a precision's unit is wider than float32's (tf32 and float16 keep 10 bits after the first; float16 sums
lose one more)."""
FP16_LARGEST, FP16_LEAST = 65504.0, 6.1e-5


@dataclass(frozen=True)
class Distance:
    """The worst of an output: in ULP, where, and what was there."""

    ulps: float
    text: str = ""


def distance(got: Array, want: Array, unit: Array | None, precision: str = "fp32", one_step: bool = False) -> Distance:
    """How far got is from want, in units (None: of any difference); infinite where they cannot be compared."""
    if got.shape != want.shape or got.dtype != want.dtype:
        return Distance(math.inf, f"{got.dtype} {list(got.shape)} instead of {want.dtype} {list(want.shape)}")
    if not want.size:
        return Distance(0.0)
    if want.dtype.kind not in "fc" or unit is None:
        return _unequal(got, want, one_step)
    with np.errstate(all="ignore"):
        wide = np.complex128 if want.dtype.kind == "c" else np.float64
        off = np.abs(got.astype(wide) - want.astype(wide)) / (unit * RELAXED[precision])
        same = (got == want) | (np.isnan(got) & np.isnan(want))
        # A denormal result may be flushed to zero.
        same |= (np.abs(want) < np.finfo(want.dtype).tiny) & (got == 0)
        # Without activation the reference clamps to the finite floats, where optimized kernels keep an infinity.
        same |= (np.abs(want) == np.finfo(want.dtype).max) & (got == np.sign(want) * np.inf)
        if precision == "fp16":
            same |= (np.abs(want) > FP16_LARGEST) & (np.isinf(got) | (np.abs(got) > FP16_LARGEST * 0.9))
            same |= (np.abs(want) < FP16_LEAST) & (np.abs(got) < 2 * FP16_LEAST)
    off = np.where(same, 0.0, np.where(np.isfinite(off), off, math.inf))
    return _worst(got, want, off)


def _unequal(got: Array, want: Array, one_step: bool) -> Distance:
    if want.dtype == object:
        return _worst(got, want, np.where(got == want, 0.0, math.inf))
    if one_step and want.dtype.itemsize <= 2 and want.dtype.kind in "iu":
        off = np.abs(got.astype(np.int64) - want.astype(np.int64))
        return _worst(got, want, np.where(off <= 1, 0.0, math.inf))
    bits = f"u{want.dtype.itemsize}"
    if want.dtype.kind == "f":  # moved bit for bit, but for which NaN it is
        same = (np.ascontiguousarray(got).view(bits) == np.ascontiguousarray(want).view(bits)) | (
            np.isnan(got) & np.isnan(want)
        )
    else:  # bfloat16 among them, which NumPy takes for no float
        same = (got == want) | ((got != got) & (want != want))
    return _worst(got, want, np.where(same, 0.0, math.inf))


def _worst(got: Array, want: Array, off: Array) -> Distance:
    at = np.unravel_index(int(np.argmax(off)), off.shape)
    worst = float(off[at])
    if worst == 0:
        return Distance(0.0)
    wrong = int((off > 0).sum())
    return Distance(
        worst, f"at {list(map(int, at))}: {got[at]!s} instead of {want[at]!s}; {wrong} of {off.size} differ"
    )


def unit_of(node: Node, inputs: Sequence[Array | None], want: Array) -> Array | None:
    """The size of one ULP for each element of an output of the node; None where it is exact."""
    bound = BOUNDS.get(node.op, EXACT)
    if want.dtype.kind not in "fc" or bound is EXACT:
        return None
    with np.errstate(all="ignore"):
        magnitude = np.abs(want).astype(np.float64)
        if bound.magnitude == ONE:
            magnitude = np.maximum(magnitude, 1.0)
        if bound.magnitude == LARGEST:
            floats = [x for x in inputs if x is not None and x.dtype.kind == "f" and x.size]
            magnitude = np.maximum(
                magnitude, max((float(np.nanmax(np.abs(x), initial=1)) for x in floats), default=1.0)
            )
        if bound.magnitude == ABSOLUTE:
            magnitude = np.maximum(magnitude, _of_absolutes(node, inputs, want))
    info = np.finfo(want.dtype)
    magnitude = np.where(np.isfinite(magnitude), magnitude, float(info.max))
    return np.asarray(
        np.maximum(np.exp2(np.floor(np.log2(np.maximum(magnitude, float(info.tiny))))) * float(info.eps), 0)
    )


def _of_absolutes(node: Node, inputs: Sequence[Array | None], want: Array) -> Any:
    """The node's result on absolute values, without activation: what its terms sum to at most."""
    options = SimpleNamespace(**vars(node.options))
    if hasattr(options, "fused_activation_function"):
        options.fused_activation_function = "NONE"
    positive = [x if x is None or x.dtype.kind != "f" else np.abs(x) for x in inputs]
    weights = any(s is not None and s.type == "INT8" for s in node.inputs)
    if weights:  # floats by quantized values: their signs count, their zero points are 0
        positive = [np.abs(x) if x is not None and x.dtype == np.int8 and x.ndim > 1 else x for x in positive]
    specs = tuple(
        s if s is None or s.data is None else replace(s, data=x) for s, x in zip(node.inputs, positive, strict=True)
    )
    alike = replace(node, options=options, inputs=specs)
    runtime: Any = SimpleNamespace(state={}, ops=OPS)
    (found, *_) = evaluate(alike, positive, runtime)
    return np.abs(found.astype(np.float64)).reshape(want.shape)
