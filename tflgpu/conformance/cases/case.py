"""What a case is: a model and the values fed to it, made anew from its name alone."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from tflgpu.conformance.cases.values import Values, drawn
from tflgpu.model.builder import ModelBuilder
from tflgpu.model.graph import Array
from tflgpu.ops.registry import OPS

QUANTIZED = {"UINT8": (0.05, 120), "INT8": (0.05, 3), "INT16": (0.001, 0), "INT4": (0.1, 0)}
"""Scale and zero point of a tensor of quantized values, where its case gives no other."""

NO_CASES = {
    "STRING": "a kernel has no texts",
    "RESOURCE": "a handle is no number",
    "COMPLEX128": "no kernel moves elements of 16 bytes",
    "FLOAT8_E4M3FN": "NumPy has no name for it, and a kernel moves it as UINT8",
    "FLOAT8_E5M2": "NumPy has no name for it, and a kernel moves it as UINT8",
    **({} if find_spec("ml_dtypes") else {"BFLOAT16": "NumPy has no name for it without ml_dtypes"}),
}
"""Element types that no case has, and why."""
if "BFLOAT16" not in NO_CASES:
    import_module("ml_dtypes")  # with which NumPy has the type

_VERSIONS = {"INT8": 2, "INT16": 3, "INT64": 4, "UINT32": 5, "FLOAT16": 6, "BOOL": 3}


@dataclass(frozen=True, eq=False)
class T:
    """A tensor of a model of one operator. values: how it is filled, as `drawn` takes it; a pair: in either draw."""

    type: str
    shape: tuple[int, ...] = ()
    values: Values | tuple[Values, Values] = "normal"
    constant: bool = False
    scale: Any = None
    zero_point: Any = 0
    axis: int = 0
    variable: bool = False

    def drawn(self, rng: np.random.Generator, draw: int = 0) -> Array:
        """Values of one of the two draws."""
        values = self.values[draw] if isinstance(self.values, tuple) else self.values
        return drawn(values, self.type, self.shape, rng)

    def quantization(self) -> dict[str, Any]:
        if self.scale is None:
            return {}
        return {"scale": self.scale, "zero_point": self.zero_point, "axis": self.axis}


def q(type: str, *shape: int, scale: float | None = None, zero_point: int | None = None, **fields: Any) -> T:
    """A tensor, with the type's usual quantization where the type can be quantized, unless another is given."""
    usual = QUANTIZED.get(type)
    if usual is None:
        return T(type, shape, **fields)
    s, z = usual[0] if scale is None else scale, usual[1] if zero_point is None else zero_point
    return T(type, shape, scale=s, zero_point=z, **fields)


def i32(*values: int) -> Array:
    """A constant vector."""
    return np.array(values, np.int32)


def scalar(value: int) -> Array:
    """A constant without dimensions."""
    return np.array(value, np.int32)


@dataclass(frozen=True, eq=False)
class OneOp:
    """A model of one node. Inputs: T, an array for a constant, or None for one that is absent.

    custom: the options of a custom operator; None for a builtin one. intermediates: its tensors that no node reads.
    refused: whether the operator refuses the values of the second draw.
    """

    op: str
    inputs: Sequence[T | Array | None]
    outputs: Sequence[T]
    options: Mapping[str, Any] = field(default_factory=dict)
    version: int | None = None
    custom: bytes | None = None
    intermediates: Sequence[T] = ()
    refused: bool = False

    def sample(self, seed: int) -> Sample:
        rng = np.random.default_rng(seed)
        model = ModelBuilder()
        graph = model.graph()
        fed: list[T] = []
        inputs: list[int | None] = []
        for number, spec in enumerate(self.inputs):
            name = f"in{number}"
            if spec is None:
                inputs.append(None)
            elif isinstance(spec, np.ndarray):
                inputs.append(graph.constant(name, spec))
            elif spec.constant:
                inputs.append(graph.constant(name, spec.drawn(rng), type=spec.type, **spec.quantization()))
            elif spec.variable:
                inputs.append(graph.tensor(name, spec.type, spec.shape, is_variable=True, **spec.quantization()))
            else:
                fed.append(spec)
                inputs.append(graph.input(name, spec.type, spec.shape, **spec.quantization()))
        outputs = [graph.tensor(f"out{n}", t.type, t.shape, **t.quantization()) for n, t in enumerate(self.outputs)]
        inner = [
            graph.tensor(f"inner{n}", t.type, t.shape, **t.quantization()) for n, t in enumerate(self.intermediates)
        ]
        if self.custom is None:
            graph.node(self.op, inputs, outputs, version=self._version(), intermediates=inner or None, **self.options)
        else:
            graph.custom(self.op, inputs, outputs, options=self.custom, version=self.version or 1)
        graph.outputs(*outputs)
        return Sample(model.build(), fed, seed, self.refused)

    def _version(self) -> int:
        """The version that a converter would write, about: newer for types that came later."""
        if self.version is not None:
            return self.version
        if self.op == "BROADCAST_TO":  # there is no first
            return 2
        typed = OPS[self.op].typed_input
        first = self.inputs[typed] if typed < len(self.inputs) else None
        kind = first.type if isinstance(first, T) else "FLOAT32"
        return min(OPS[self.op].version, _VERSIONS.get(kind, 1))


@dataclass(frozen=True, eq=False)
class Sample:
    """A model, how its inputs are filled, and the seed that they are drawn with. refused: as OneOp has it."""

    model: bytes
    inputs: Sequence[T]
    seed: int
    refused: bool = False

    def values(self, draw: int = 0) -> list[Array]:
        """The inputs' values; each `draw` has its own."""
        rng = np.random.default_rng([self.seed, draw])
        return [spec.drawn(rng, draw) for spec in self.inputs]


@dataclass(frozen=True, eq=False)
class Case:
    """name: `OP[type,shapes,parameters]`, which selects it and seeds it. make: its model, as late as possible; model:
    what that is made of, where it has one operator.
    """

    name: str
    family: str
    op: str
    type: str
    make: Callable[[int], Sample]
    model: OneOp | None = None

    def sample(self) -> Sample:
        return self.make(seed_of(self.name))


def seed_of(name: str) -> int:
    return zlib.crc32(name.encode())


def shaped(*shapes: Sequence[int]) -> str:
    """Shapes as a name has them: 4x1001,3; a scalar's is ()."""
    return ",".join("x".join(map(str, shape)) or "()" for shape in shapes)


def words(options: Mapping[str, Any]) -> list[str]:
    """Options as a name has them, beta=0.5; the long names of the schema shortened, what is absent left out."""
    return [
        f"{_SHORT.get(key, key)}={_word(value)}" if key not in _BARE else _word(value)
        for key, value in options.items()
        if value not in (None, "NONE")
    ]


def _word(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return "x".join(map(str, value))
    return str(value).lower() if isinstance(value, (bool, str)) else f"{value:g}"


_BARE = {"fused_activation_function", "padding", "mode"}
_SHORT = {
    "stride_w": "sw",
    "stride_h": "sh",
    "dilation_w_factor": "dw",
    "dilation_h_factor": "dh",
    "filter_width": "kw",
    "filter_height": "kh",
    "depth_multiplier": "m",
    "asymmetric_quantize_inputs": "asymmetric",
}


def one(family: str, type: str, detail: Iterable[str], model: OneOp) -> Case:
    """A case of one operator. detail: what its name says beside operator and type."""
    name = f"{model.op}[{','.join([type.lower(), *detail])}]"
    return Case(name, family, model.op, type.lower(), model.sample, model)


def row(
    family: str,
    op: str,
    inputs: Sequence[Any],
    outputs: Sequence[T],
    note: Any = "",
    version: Any = None,
    custom: Any = None,
    **options: Any,
) -> Case:
    """A case by the arguments of OneOp; its name has the first tensor's type, the shapes of what is fed, the note."""
    fed = [spec for spec in inputs if isinstance(spec, T) and not spec.constant and not spec.variable] or outputs
    typed = OPS[op].typed_input if op in OPS else 0
    first = inputs[typed] if typed < len(inputs) else None
    kind = (first if isinstance(first, T) else fed[0]).type
    shapes = shaped(*(spec.shape for spec in fed))
    return one(family, kind, [shapes, *([note] if note else [])], OneOp(op, inputs, outputs, options, version, custom))


def beside(op: str, types: str) -> list[str]:
    """The element types that an operator is registered for beside these, of those that cases have."""
    return sorted(kind for kind in OPS[op].types if kind not in types.split() and kind not in NO_CASES)
