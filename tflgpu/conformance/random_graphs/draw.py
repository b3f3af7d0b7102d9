"""How a random graph grows: values, and steps that may follow them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tflgpu.model.builder import GraphBuilder
from tflgpu.model.graph import Array

QUANTIZED = {"INT8": (-128, 127), "UINT8": (0, 255), "INT16": (-32768, 32767)}
ACTIVATIONS = ("NONE", "NONE", "RELU", "RELU6", "RELU_N1_TO_1")
EXACT, CLOSE, COARSE = 0, 1, 2
LARGEST = 4096


@dataclass(frozen=True)
class Value:
    """A tensor. most: a bound of its magnitude. exact: EXACT; CLOSE where floats may differ in their last bits; COARSE
    where such a float has been quantized since."""

    index: int
    type: str
    shape: tuple[int, ...]
    most: float = 4.0
    exact: int = EXACT
    scale: float | None = None
    zero_point: int = 0

    @property
    def quantization(self) -> dict[str, Any]:
        return {} if self.scale is None else {"scale": self.scale, "zero_point": self.zero_point}

    @property
    def quantized(self) -> bool:
        return self.scale is not None

    @property
    def real(self) -> bool:
        return self.type == "FLOAT32"


@dataclass
class Draw:
    """A graph that grows. batched: every value's first dimension is the batch, which no step depends on. variables:
    whether resource variables may keep a value from one invoke to the next.
    """

    rng: np.random.Generator
    graph: GraphBuilder
    batched: bool = False
    variables: bool = True
    values: list[Value] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def among(self, items: Sequence[Any]) -> Any:
        return items[int(self.rng.integers(len(items)))]

    def number(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def normal(self, *shape: int) -> Array:
        return self.rng.normal(size=shape).astype(np.float32)

    def constant(self, value: Any, **arguments: Any) -> int:
        return self.graph.constant(f"c{len(self.graph.tensors)}", value, **arguments)

    def ints(self, *values: Any) -> int:
        return self.constant(np.array(values[0] if len(values) == 1 else values, np.int32))

    def tensor(self, value: Value) -> Value:
        fields = value.quantization
        if self.batched and value.shape:
            fields["shape_signature"] = [-1, *value.shape[1:]]
        index = self.graph.tensor(f"t{len(self.graph.tensors)}", value.type, value.shape, **fields)
        return replace(value, index=index)

    def add(self, op: str, inputs: Sequence[Value | int | None], *outs: Value, **options: Any) -> Value:
        """A node; the outputs' exactness is at least as bad as the inputs'."""
        worst = max([v.exact for v in inputs if isinstance(v, Value)], default=EXACT)
        made = [self.tensor(replace(out, exact=max(out.exact, worst))) for out in outs]
        indices = [v.index if isinstance(v, Value) else v for v in inputs]
        self.graph.node(op, indices, [out.index for out in made], **options)
        self.log.append(
            f"{op}({', '.join(map(str, indices))}) -> {', '.join(f't{v.index}{list(v.shape)}{v.type}' for v in made)}"
        )
        self.values += made
        return made[0]

    def pick(self, fits: Callable[[Value], bool] = lambda v: True) -> Value | None:
        """A value, more often a late one."""
        found = [v for v in self.values if fits(v)]
        return found[max(self.number(0, len(found) - 1) for _ in range(2))] if found else None

    def axis(self, x: Value) -> int:
        return self.number(1 if self.batched else 0, len(x.shape) - 1)

    def signed(self, axis: int, x: Value) -> int:
        return axis - len(x.shape) if self.chance(0.3) else axis

    def activation(self) -> str:
        return str(self.among(ACTIVATIONS))

    def quantize(self, type: str, shape: Sequence[int], most: float, exact: int = EXACT) -> Value:
        """A quantized value for floats up to `most`, not all of which fit."""
        low, high = QUANTIZED[type]
        scale = float(np.float32(max(most, 1e-3) * self.rng.uniform(0.4, 1.6) / high * (2 if type == "UINT8" else 1)))
        zero = 0 if type == "INT16" else self.among((0, low, high, self.number(low, high), self.number(low, high)))
        if type == "UINT8" and zero == 0:
            zero = 128
        return Value(-1, type, tuple(shape), most, exact, scale, zero)

    def like(self, x: Value, shape: Sequence[int], **changes: Any) -> Value:
        return replace(x, shape=tuple(int(d) for d in shape), **changes)


Step = Callable[[Draw, Value], None]
STEPS: list[tuple[float, Callable[[Draw, Value], bool], Step]] = []


def step(
    weight: float, fits: Callable[[Value], bool], batched: bool = True, variables: bool = False
) -> Callable[[Step], Step]:
    """A step that may follow a value. batched: whether it leaves the batch alone; variables: whether it has some."""

    def enter(function: Step) -> Step:
        def allowed(d: Draw, v: Value) -> bool:
            return (batched or not d.batched) and (d.variables or not variables) and math.prod(v.shape) > 0 and fits(v)

        STEPS.append((weight, allowed, function))
        return function

    return enter


def number(v: Value) -> bool:
    return (v.real or v.quantized) and v.most < 1e3


def image(v: Value) -> bool:
    return number(v) and len(v.shape) == 4


def floats(v: Value) -> bool:
    return v.real and v.most < 1e3


def ranked(v: Value) -> bool:
    return len(v.shape) > 0


def movable(v: Value) -> bool:
    return len(v.shape) > 0 and math.prod(v.shape) <= LARGEST // 2


def grow(d: Draw, names: Sequence[str] = ()) -> bool:
    x = d.pick()
    assert x is not None
    fitting = [(w, s) for w, allowed, s in STEPS if (not names or s.__name__ in names) and allowed(d, x)]
    if not fitting:
        return False
    weights = np.array([w for w, _ in fitting])
    fitting[int(d.rng.choice(len(fitting), p=weights / weights.sum()))][1](d, x)
    return True
