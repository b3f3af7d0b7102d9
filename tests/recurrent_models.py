"""Models of recurrent operators with random weights, and their answers over several invokes in a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from oracle import Array, answers, assert_same

from tflgpu import Interpreter

Spec = Mapping[str, Any]


def assert_same_as_litert(data: bytes, invokes: Sequence[Sequence[Array]]) -> None:
    """Every invoke's outputs are those of LiteRT's reference resolver.

    Floats to 1e-5: the rounding of one step is the input of the next, for up to a dozen of them.
    """
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    reference = litert.Interpreter(model_content=data, experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF)
    want = answers(reference, invokes)
    assert_same(answers(Interpreter(model_content=data), invokes), want, rtol=1e-5, atol=1e-5)


def sequences(rng: np.random.Generator, *shapes: Sequence[int], invokes: int = 3, sparse: bool = True) -> list[Any]:
    """Inputs for several invokes. sparse: some rows are zero, for which upstream has shortcuts."""
    result = []
    for i in range(invokes):
        xs = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
        if sparse and i == 1:
            for x in xs:
                x[0] = 0
        result.append(xs)
    return result


def weights(rng: np.random.Generator, shape: Sequence[int], kind: str, size: float = 0.6) -> Spec:
    """A constant of float32, or of 8-bit values of one scale."""
    if kind == "FLOAT32":
        return {"value": (rng.normal(size=shape) * size).astype(np.float32)}
    values = rng.integers(-127, 128, shape).astype(np.int8)
    return {"value": values.view(np.uint8) if kind == "UINT8" else values, "scale": size * rng.uniform(0.5, 2) / 127}


def variable(shape: Sequence[int], kind: str = "FLOAT32", **quantization: Any) -> Spec:
    return {"type": kind, "shape": shape, "is_variable": True, **quantization}


def lstm_tensors(
    rng: np.random.Generator,
    n_input: int,
    n_cell: int,
    n_output: int,
    kind: str,
    *,
    cifg: bool = False,
    peephole: bool = False,
    projection: bool = False,
    projection_bias: bool = True,
    diagonal: str = "",
) -> list[Spec | None]:
    """The 17 tensors of a float or hybrid cell from its input weights to its projection bias."""
    used = "fco" if cifg else "ifco"

    def gated(shape: Sequence[int], gates: str = "ifco", there: bool = True, size: float = 0.6) -> list[Spec | None]:
        return [weights(rng, shape, kind, size) if there and g in used else None for g in gates]

    recurrent = gated((n_cell, n_output))
    for i, g in enumerate("ifco"):
        if g in diagonal and g in used:
            recurrent[i] = weights(rng, (n_cell,), "FLOAT32")
    biases = [weights(rng, (n_cell,), "FLOAT32") if g in used else None for g in "ifco"]
    return [
        *gated((n_cell, n_input)),
        *recurrent,
        *gated((n_cell,), "ifo", peephole),
        *biases,
        weights(rng, (n_output, n_cell), kind) if projection else None,
        weights(rng, (n_output,), "FLOAT32") if projection and projection_bias else None,
    ]


def layer_norm_tensors(rng: np.random.Generator, n_cell: int, cifg: bool, there: bool) -> list[Spec | None]:
    return [weights(rng, (n_cell,), "FLOAT32", 1.0) if there and not (cifg and g == "i") else None for g in "ifco"]
