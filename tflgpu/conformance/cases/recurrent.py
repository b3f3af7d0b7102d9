"""Cells and layers with a state that outlives an invocation: RNN, LSTM, SVDF; float, hybrid and integer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tflgpu.conformance.cases.case import Case, OneOp, T, one, row, shaped

FAMILY = "recurrent"
F = "FLOAT32"
SEQUENCE = "UNIDIRECTIONAL_SEQUENCE_LSTM"
Shape = tuple[int, ...]


def cases() -> Iterator[Case]:
    for batch, time, size, units in ((1, 4, 3, 5), (2, 3, 5, 4), (1, 1, 7, 1)):
        for activation in ("TANH", "RELU"):
            options: dict[str, Any] = {"fused_activation_function": activation}
            inputs, note = [T(F, (batch, size)), *_rnn(size, units, batch)], f"units={units},{activation.lower()}"
            yield row(FAMILY, "RNN", inputs, [T(F)], note, **options)
            inputs = [T(F, (batch, time, size)), *inputs[1:]]
            yield row(FAMILY, "UNIDIRECTIONAL_SEQUENCE_RNN", inputs, [T(F)], note, time_major=False, **options)
        yield _lstm(SEQUENCE, F, (batch, time, size), batch, units, "", "")
    for activation in ("RELU6", "RELU_N1_TO_1"):
        inputs = [T(F, (3, 17), "within:-9:9"), *_rnn(17, 5, 3)]
        yield row(FAMILY, "RNN", inputs, [T(F)], activation.lower(), fused_activation_function=activation)
    yield from _hybrid_layers()
    yield from _cells()
    for note, shape, cells, options in INTEGER_CELLS:
        yield _integer_lstm(note, shape, cells, **options)
    yield from _svdf()


def _weights(kind: str, *shape: int, scale: float = 0.006) -> T:
    """A constant of float32, or of int8 weights of one scale; UINT8 holds the bits of int8 values, as in old models."""
    if kind == F:
        return T(F, shape, "unit", True)
    return T(kind, shape, "within:-127:127" if kind == "INT8" else "normal", True, scale)


def _rnn(size: int, units: int, batch: int, kind: str = F) -> list[T]:
    """Input weights, recurrent weights, bias and state."""
    state = T(F, (batch, units), variable=True)
    return [_weights(kind, units, size), _weights(kind, units, units), _weights(F, units), state]


def _hybrid_layers() -> Iterator[Case]:
    for kind, asymmetric in (("INT8", False), ("INT8", True), ("UINT8", False)):
        note = f"{kind.lower()} weights" + (",asymmetric" if asymmetric else "")
        options: dict[str, Any] = {"fused_activation_function": "TANH", "asymmetric_quantize_inputs": asymmetric}
        yield row(FAMILY, "RNN", [T(F, (3, 17)), *_rnn(17, 5, 3, kind)], [T(F)], note, **options)
        inputs = [T(F, (4, 3, 6)), *_rnn(6, 5, 3, kind)]
        yield row(FAMILY, "UNIDIRECTIONAL_SEQUENCE_RNN", inputs, [T(F)], note, time_major=True, **options)
    options = {"fused_activation_function": "TANH", "asymmetric_quantize_inputs": False}
    yield row(FAMILY, "RNN", [T(F, (3, 17), "within:-90:90"), *_rnn(17, 5, 3, "INT8")], [T(F)], "saturated", **options)
    for kind, time_major, merged, linked in ((F, False, True, True), ("INT8", True, False, False)):
        x = T(F, (2, 4, 6) if not time_major else (4, 2, 6))
        aux = [_weights(kind, n, 6) if linked else None for n in (5, 3)]
        layers: list[T | None] = [x, *_rnn(6, 5, 2, kind), *_rnn(6, 3, 2, kind), x, *aux]
        options = {"time_major": time_major, "merge_outputs": merged, "fused_activation_function": "TANH"}
        options["asymmetric_quantize_inputs"] = kind != F
        outputs, note = [T(F)] * (1 if merged else 2), f"{kind.lower()} weights"
        yield row(FAMILY, "BIDIRECTIONAL_SEQUENCE_RNN", layers, outputs, note, **options)


def _cells() -> Iterator[Case]:
    """By name: what a cell has (cifg, peephole, projection, layer norm, diagonal recurrent weights)."""
    everything, clipped = "cifg peephole projection", {"cell_clip": 0.5, "proj_clip": 0.4}
    yield _lstm("LSTM", F, (3, 5), 3, 7, "", "plain")
    yield _lstm("LSTM", "INT8", (3, 5), 3, 7, "", "hybrid")
    yield _lstm("LSTM", "UINT8", (3, 5), 3, 7, "peephole", "hybrid,uint8")
    yield _lstm(SEQUENCE, F, (4, 3, 5), 3, 7, f"{everything} norm", "everything", time_major=True, **clipped)
    yield _lstm(SEQUENCE, F, (3, 4, 5), 3, 7, "diagonal", "diagonal")
    yield _lstm(SEQUENCE, "INT8", (4, 3, 5), 3, 7, "", "hybrid", time_major=True, asymmetric_quantize_inputs=True)
    yield _lstm(SEQUENCE, "UINT8", (3, 4, 5), 3, 7, everything, "hybrid,everything", **clipped)
    for kind, merged, linked in ((F, False, False), (F, True, False), (F, True, True), ("INT8", False, False)):
        two = [_gates(kind, 5, 4, 4, "") for _ in range(2)]
        states = [T(F, (2, 4), variable=True) for _ in range(4)]
        aux = [T(F, (2, 3, 6)), *(_weights(kind, 4, 6) for _ in range(8))] if linked else [None] * 9
        inputs = [T(F, (2, 3, 5)), *two[0], *two[1], *states, *aux]
        options: dict[str, Any] = {"fused_activation_function": "TANH", "time_major": False, "merge_outputs": merged}
        note = f"{kind.lower()} weights" + (",merged" if merged else "") + (",linked" if linked else "")
        outputs = [T(F)] * (1 if merged else 2)
        yield row(FAMILY, "BIDIRECTIONAL_SEQUENCE_LSTM", inputs, outputs, note, **options)


def _gates(kind: str, size: int, cells: int, out: int, features: str) -> list[T | None]:
    """The 17 tensors from the input weights to the projection's bias."""
    used = "fco" if "cifg" in features else "ifco"

    def each(there: bool, gates: str, kind: str, *shape: int) -> list[T | None]:
        weights = [_weights(kind, *shape, scale=0.006 + 0.002 * k) for k in range(len(gates))]
        return [w if there and gate in used else None for w, gate in zip(weights, gates, strict=True)]

    projection = "projection" in features
    diagonal: tuple[Any, ...] = (F, cells) if "diagonal" in features else (kind, cells, out)
    return [
        *each(True, "ifco", kind, cells, size),
        *each(True, "ifco", *diagonal),
        *each("peephole" in features, "ifo", kind, cells),
        *each(True, "ifco", F, cells),
        _weights(kind, out, cells) if projection else None,
        _weights(F, out) if projection else None,
    ]


def _lstm(op: str, kind: str, x: Shape, batch: int, cells: int, features: str, note: str, **options: Any) -> Case:
    """A cell of float, or of floats by int8 weights."""
    out = 4 if "projection" in features else cells
    states = [T(F, (batch, out), variable=True), T(F, (batch, cells), variable=True)]
    norms = [
        _weights(F, cells) if "norm" in features and ("cifg" not in features or g != "i") else None for g in "ifco"
    ]
    inputs = [T(F, x), *_gates(kind, x[-1], cells, out, features), *states, *norms]
    options = {"fused_activation_function": "TANH", "cell_clip": 0.0, "proj_clip": 0.0, **options}
    if op == SEQUENCE:
        options = {"time_major": False, **options}
    detail = [shaped(x), f"units={cells}", *([note] if note else [])]
    return one(FAMILY, F, detail, OneOp(op, inputs, [T(F)], options))


INTEGER_CELLS: tuple[tuple[str, Shape, int, dict[str, Any]], ...] = (
    ("plain", (2, 5), 11, {}),
    ("sequence", (3, 4, 5), 11, {}),
    ("forgets half", (3, 4, 5), 11, {"features": "half"}),
    ("clip", (3, 4, 5), 11, {"cell_clip": 0.3}),
    ("projection", (3, 4, 5), 11, {"features": "cifg projection", "proj_clip": 0.4, "time_major": True}),
    ("peephole", (3, 4, 5), 11, {"features": "peephole projection"}),
    ("layer norm", (3, 4, 5), 19, {"features": "peephole norm", "time_major": True}),
    ("layer norm of many", (3, 12, 5), 97, {"features": "norm"}),
)


def _integer_lstm(note: str, x: Shape, cells: int, features: str = "", **options: Any) -> Case:
    """An int8 cell with 16-bit gates. half: the forget gate is one half, so that every odd state is a tie."""
    rng = np.random.default_rng(len(note))
    out = 7 if "projection" in features else cells
    batch = x[1] if options.get("time_major") else x[0]
    used = "fco" if "cifg" in features else "ifco"
    halved, zero = "f" if "half" in features else "", "within:0:0"
    hidden: dict[str, Any] = (
        {"scale": 0.0083, "zero_point": -3} if "projection" in features else {"scale": 0.009, "zero_point": 12}
    )
    result: dict[str, Any] = {"scale": 0.009, "zero_point": 12}

    def each(there: bool, gates: str, kind: str, shape: Shape, values: str, low: float, high: float) -> list[T | None]:
        return [
            T(kind, shape, zero if g in halved else values, True, rng.uniform(low, high) if high else None)
            if there and g in used
            else None
            for g in gates
        ]

    bias = f"within:-{20000 if 'norm' in features else 4000}:{20000 if 'norm' in features else 4000}"
    projected = "projection" in features
    inputs = [
        T("INT8", x, scale=0.031, zero_point=-5),
        *each(True, "ifco", "INT8", (cells, x[-1]), "within:-127:127", 0.002, 0.022),
        *each(True, "ifco", "INT8", (cells, out), "within:-127:127", 0.002, 0.022),
        *each("peephole" in features, "ifo", "INT16", (cells,), "within:-32767:32767", 2.5e-5, 2.5e-5),
        *each(True, "ifco", "INT32", (cells,), bias, 0, 0),
        T("INT8", (out, cells), "within:-127:127", True, rng.uniform(0.002, 0.022)) if projected else None,
        T("INT32", (out,), "within:-2000:2000", True) if projected else None,
        T("INT8", (batch, out), variable=True, **result),
        T("INT16", (batch, cells), variable=True, scale=2.0**-11),
        *each("norm" in features, "ifco", "INT16", (cells,), "within:500:32767", 3e-5, 1.3e-4),
    ]
    inner = [T("INT16", scale=rng.uniform(0.0008, 0.0028)) for _ in range(4)]
    op = "LSTM" if len(x) == 2 else SEQUENCE
    options = {"fused_activation_function": "TANH", **options}
    model = OneOp(op, inputs, [T("INT8", **result)], options, intermediates=[*inner, T("INT8", **hidden)])
    return one(FAMILY, "INT8", [shaped(x), f"units={cells}", note], model)


def _svdf() -> Iterator[Case]:
    for kind, bias, activation, asymmetric in ((F, True, "RELU", False), ("INT8", False, "NONE", True)):
        rank, units, memory = 2, 4, 10
        filters, state = units * rank, T(F, (2, 10 * units * rank), variable=True)
        inputs: list[T | None] = [T(F, (2, 17)), _weights(kind, filters, 17), _weights(kind, filters, memory)]
        options: dict[str, Any] = {
            "rank": rank,
            "fused_activation_function": activation,
            "asymmetric_quantize_inputs": asymmetric,
        }
        inputs += [_weights(F, units) if bias else None, state]
        yield row(FAMILY, "SVDF", inputs, [T(F)], f"{kind.lower()} weights", **options)
    yield _svdf_of_bytes()
    x, wide = T("INT8", (2, 9), scale=0.03, zero_point=-4), "within:-32767:32767"
    integers = [x, T("INT8", (10, 9), "within:-127:127", True, 0.011), T("INT16", (10, 7), wide, True, 0.9 / 32767)]
    integers += [T("INT32", (5,), "within:-40000:40000", True), T("INT16", (2, 70), variable=True, scale=2.0**-11)]
    out = T("INT8", scale=0.07, zero_point=11)
    yield row(FAMILY, "SVDF", integers, [out], version=3, rank=2, fused_activation_function="RELU")


def _svdf_of_bytes() -> Case:
    """With a state of 8 bits and a zero point, which no value of the first invokes is."""
    inputs = [T("INT8", (3, 9), scale=0.03, zero_point=-4), T("INT8", (10, 9), "within:-127:127", True, 0.011)]
    inputs += [T("INT8", (10, 7), "within:-127:127", True, 0.007), T("INT32", (5,), "within:-4000:4000", True)]
    inputs.append(T("INT8", (3, 70), variable=True, scale=0.05, zero_point=11))
    out = T("INT8", scale=0.07, zero_point=-20)
    return row(FAMILY, "SVDF", inputs, [out], "8 bits", 3, rank=2, fused_activation_function="RELU")
