"""The time steps of recurrent layers: the offsets at which each reads and writes, and the loop over them.

A time step is a few launches, which differ from those of other steps only in their offsets: small ones become a Loop,
which is one launch. States are variable tensors, which stay on the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Buffer, Launch, Loop, Lowered, PerIteration, Ref, launches_of
from tflgpu.delegates.lowering.registry import require
from tflgpu.model.graph import TensorSpec

MAX_LAUNCHES = 1 << 14
"""Launches of a sequence that runs on the device, at the most: each costs time to prepare, and memory."""

ACTIVATIONS = {
    "NONE": "(x)",
    "RELU": "((x) < 0.0f ? 0.0f : (x))",
    "RELU_N1_TO_1": "clamp_f32(x, -1.0f, 1.0f)",
    "RELU6": "clamp_f32(x, 0.0f, 6.0f)",
    "TANH": "tanh(x)",
    "SIGN_BIT": "(signbit(x) ? 1.0f : 0.0f)",
}
UPSTREAM_TANH = "upstream_tanh(x)"
"""The reference's rational function to the bit, for states that are quantized next."""


@dataclass(frozen=True)
class Time:
    """The time steps of a sequence (n_batch, steps, ...), or time-major (steps, n_batch, ...)."""

    n_batch: int
    steps: int
    major: bool

    @property
    def rows(self) -> int:
        return self.n_batch * self.steps

    def row_step_and_offset(self, depth: int, column: int = 0, reverse: bool = False) -> tuple[int, PerIteration]:
        """The step from row to row, and the offset of the first row at each time step, from column `column` on."""
        row, step = (depth, self.n_batch * depth) if self.major else (self.steps * depth, depth)
        return row, PerIteration(column + (self.steps - 1) * step, -step) if reverse else PerIteration(column, step)

    def walk(self, steps: Sequence[Launch], macs: int, limits: DeviceLimits) -> Lowered:
        """The launches of all time steps. macs: multiplications of one time step."""
        if limits.inner_barriers and macs <= small_step(limits):
            return [Loop(tuple(steps), self.steps, work=macs)]
        return [at_iteration(launch, t) for t in range(self.steps) for launch in steps]


SMALL_STEP = 1 << 19
"""Multiplications of a time step that one core does in less time than the launches of the step take to start."""

SMALL_STEP_OF_A_GPU = 1 << 16
"""The same for each block of a GPU."""


def small_step(limits: DeviceLimits) -> int:
    """Multiplications of a time step below which one launch is faster than launches from the host."""
    return SMALL_STEP if limits.cpu else SMALL_STEP_OF_A_GPU * limits.blocks


def at_iteration(launch: Launch, iteration: int) -> Launch:
    """The launch of one iteration of a loop."""
    sizes = {
        name: size.at(iteration) if isinstance(size, PerIteration) else size for name, size in launch.sizes.items()
    }
    return replace(launch, sizes=sizes)


def gates_at(order: str) -> dict[str, object]:
    """The macros of the positions of an LSTM's gates."""
    return {**{f"AT_{g.upper()}": at for at, g in enumerate(order)}, "GATES": len(order)}


def one_row(rows: int) -> dict[str, object]:
    """The macro ONE_ROW of the kernels of recurrent layers."""
    return {"ONE_ROW": 1} if rows == 1 else {}


def time_of(x: TensorSpec, major: bool) -> Time:
    """The time steps of a sequence, or of one step (n_batch, depth)."""
    if len(x.shape) == 2:
        return Time(x.shape[0], 1, True)
    return Time(x.shape[1 if major else 0], x.shape[0 if major else 1], major)


@dataclass(frozen=True)
class Walk:
    """A cell's input sequence, and its output: columns of `out` from `column` on."""

    x: TensorSpec
    over: Time
    out: TensorSpec
    column: int = 0
    aux: TensorSpec | None = None
    reverse: bool = False


def state(spec: TensorSpec, elements: int) -> Ref:
    """A variable tensor that kernels read and write. Raises Unsupported where the tensor is not variable."""
    require(spec.is_variable and spec.data is None, f"{spec} is not a variable tensor without a value")
    require(int(np.prod(spec.shape)) == elements, f"{spec} has not {elements} elements")
    return Ref(spec.index)


def checked(launches: Lowered) -> Lowered:
    """The launches. Raises Unsupported where they are too many."""
    count = sum(1 for _ in launches_of(launches))
    require(count <= MAX_LAUNCHES, f"a sequence of {count} launches")
    return launches


def emit(
    p: Buffer,
    hidden: Buffer,
    out: TensorSpec,
    size: int,
    n: int,
    output_at: tuple[int, int | PerIteration],
    p_type: str,
    kind: str,
    activate: str,
) -> Launch:
    """The launch that writes activate(p), p (rows, n), to the state and to rows of the output at output_at."""
    return Launch(
        "recurrent_emit.emit",
        (size,),
        inputs={"p": p},
        outputs={"state": hidden, "y": Ref(out.index)},
        sizes={"size": size, "n": n, "y_step": output_at[0], "y_offset": output_at[1]},
        defines={"P_T": p_type, "T": kind, "ACTIVATE(x)": activate} | one_row(size // n),
    )
