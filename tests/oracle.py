"""What LiteRT answers, what tflgpu answers, and whether they agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tflgpu.conformance.reference import answer
from tflgpu.conformance.tolerances import NEAR
from tflgpu.model.builder import ModelBuilder

Array = npt.NDArray[Any]


def litert(data: bytes, inputs: Sequence[Any], resolver: str = "BUILTIN_REF") -> list[Array]:
    """LiteRT's outputs; inputs in the model's order, resized to where their shapes differ. Skips without LiteRT.

    resolver: "BUILTIN_REF", "BUILTIN_WITHOUT_DEFAULT_DELEGATES" (optimized kernels) or "BUILTIN" (with XNNPACK).
    """
    module = pytest.importorskip("ai_edge_litert.interpreter")
    kernels = getattr(module.OpResolverType, resolver)
    return _run(module.Interpreter(model_content=data, experimental_op_resolver_type=kernels), inputs)


def tflgpu_run(data: bytes, inputs: Sequence[Any], delegates: Sequence[Any] = ()) -> list[Array]:
    """tflgpu's outputs; inputs in the model's order, resized to where their shapes differ."""
    from tflgpu import Interpreter

    return _run(Interpreter(model_content=data, experimental_delegates=list(delegates) or None), inputs)


def _run(interpreter: Any, inputs: Sequence[Any]) -> list[Array]:
    details = interpreter.get_input_details()
    arrays = [np.asarray(value) for value in inputs]
    if len(details) != len(arrays):
        raise TypeError(f"the model has {len(details)} inputs, got {len(arrays)}")
    return answer(interpreter, arrays)


def answers(interpreter: Any, invokes: Sequence[Sequence[Array]]) -> list[Array]:
    """The outputs of all invokes, one after the other, the state carried on."""
    interpreter.allocate_tensors()
    results = []
    for inputs in invokes:
        for detail, x in zip(interpreter.get_input_details(), inputs, strict=True):
            interpreter.set_tensor(detail["index"], x)
        interpreter.invoke()
        results += [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]
    return results


def assert_same(
    got: Sequence[Array], want: Sequence[Array], *, rtol: float | None = None, atol: float | None = None
) -> None:
    """The same number of arrays of the same shapes and dtypes: floats by tolerances.NEAR, all others equal."""
    assert len(got) == len(want)
    for g, w in zip(got, want, strict=True):
        assert g.shape == w.shape, f"shape {g.shape}, should be {w.shape}"
        if w.dtype.kind in "OSU":
            assert list(map(_bytes, g.ravel())) == list(map(_bytes, w.ravel()))
            continue
        assert g.dtype == w.dtype, f"dtype {g.dtype}, should be {w.dtype}"
        if w.dtype.name in NEAR:
            relative, absolute = NEAR[w.dtype.name]
            if w.dtype.name == "bfloat16":
                g, w = g.astype(np.float32), w.astype(np.float32)
            np.testing.assert_allclose(
                g, w, relative if rtol is None else rtol, absolute if atol is None else atol, equal_nan=True
            )
        else:
            np.testing.assert_array_equal(g, w)


def _bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(value)


def one_op(
    op: str, inputs: Sequence[Any], outputs: Sequence[Mapping[str, Any]], *, version: int = 1, **options: Any
) -> bytes:
    """A model of one node.

    Each input: None where absent; an array for a constant; or a mapping with `type` and `shape` for an input of the
    model, with `value` for a constant, besides whatever `GraphBuilder.tensor` takes (scale, zero_point, axis,
    is_variable ...). Each output: such a mapping. options: the operator's, by the schema's names; `custom=bytes` makes
    it a custom operator, `intermediates=` are mappings too.
    """
    model = ModelBuilder()
    graph = model.graph()

    def add(name: str, spec: Any, is_input: bool) -> int | None:
        if spec is None:
            return None
        if not isinstance(spec, Mapping):
            return graph.constant(name, spec)
        fields = dict(spec)
        if "value" in fields:
            return graph.constant(name, fields.pop("value"), **fields)
        make = graph.input if is_input and not fields.get("is_variable") else graph.tensor
        return make(name, fields.pop("type"), fields.pop("shape"), **fields)

    ins = [add(f"in{i}", spec, True) for i, spec in enumerate(inputs)]
    outs = [add(f"out{i}", spec, False) for i, spec in enumerate(outputs)]
    inner = [graph.tensor(f"intermediate{i}", **spec) for i, spec in enumerate(options.pop("intermediates", ()))]
    results = [i for i in outs if i is not None]
    if "custom" in options:
        graph.custom(op, ins, results, options=options["custom"], version=version)
    else:
        graph.node(op, ins, results, version=version, intermediates=inner or None, **options)
    graph.outputs(*results)
    return model.build()
