"""An operator that only reads what a kernel has just made moves into that kernel, on its registers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.expression import FIRST, IDENTITY, IndexMap, Term, suits_vectors
from tflgpu.delegates.fusion.fuse_elementwise import is_fusable
from tflgpu.delegates.fusion.render_epilogues import (
    CHANNELS,
    SINGLE,
    channels_of,
    makes_floats,
    makes_int8,
    rescaled_other,
)
from tflgpu.delegates.fusion.steps import PassContext, Steps, Uses, with_ops
from tflgpu.delegates.ir import Elementwise, Epilogue, Lookup, Rescaled
from tflgpu.delegates.launch import Buffer, Launch, Op, Ref
from tflgpu.delegates.render import int8_rows, rows_of

MOST = 3
"""So many epilogues of quantized values one kernel takes: each combination is a program to compile."""


def fuse_epilogues(steps: Steps, context: PassContext) -> Steps:
    """Kernels that take epilogues with what alone reads their outputs inside."""
    makers = _Makers(Uses(steps, context), context.limits)
    ops: dict[int, Op | None] = {}
    for position, step in enumerate(steps):
        epilogue = makers.epilogue(step.op) if isinstance(step.op, Elementwise | Lookup | Rescaled) else None
        if epilogue is not None:
            before, launch = makers.joined(epilogue, position)
            ops |= {before: None, position: launch}
        else:
            makers.add(step.op, position)
    return with_ops(steps, ops)


@dataclass(eq=False)
class _Makers:
    """The launches so far that take epilogues, with their positions, by the root of what they make."""

    uses: Uses
    limits: DeviceLimits
    known: dict[int, tuple[int, Launch]] = field(default_factory=dict)

    def add(self, op: object, position: int) -> None:
        launch = int8_rows(op, self.limits) if isinstance(op, Lookup | Rescaled) else op
        if isinstance(launch, Launch) and launch.name in (*CHANNELS, *SINGLE):
            out = launch.outputs["out"]
            if isinstance(out, Ref):
                self.known[self.uses.root(out)] = position, launch

    def ready(self, buffer: Buffer, floats: bool) -> Launch | None:
        """What makes the tensor, if it takes an epilogue, on floats or quantized values, and nothing else reads it."""
        if not isinstance(buffer, Ref) or self.uses.root(buffer) not in self.known or not self.uses.used_once(buffer):
            return None
        _, maker = self.known[self.uses.root(buffer)]
        most = MOST if maker.name in CHANNELS and not floats else 1
        takes = makes_floats(maker) if floats else makes_int8(maker)
        return maker if takes and len(maker.epilogues) < most else None

    def epilogue(self, op: Elementwise | Lookup | Rescaled) -> Epilogue | None:
        """The op as a step after the kernel that makes one of its inputs, or None where there is no such kernel."""
        if isinstance(op, Elementwise):
            return self._of_floats(op) if is_fusable(op) else None
        if not isinstance(op.out, Ref):
            return None
        if isinstance(op, Rescaled):
            return self._rescaled(op)
        maker = self.ready(op.x, floats=False) if op.of_bytes else None
        # Single values are stored as the bits that they are, of whichever type.
        fits = maker is not None and (op.kinds[0] == op.kinds[1] or maker.name in SINGLE)
        return Epilogue(op, (0,)) if fits else None

    def joined(self, epilogue: Epilogue, position: int) -> tuple[int, Launch]:
        """Where the kernel was that takes the epilogue, and what stands at the op's position instead of both."""
        own, out = epilogue.op.reads[epilogue.own[0]], epilogue.op.out
        assert isinstance(own, Ref) and isinstance(out, Ref)
        before, maker = self.known.pop(self.uses.root(own))
        launch = with_epilogue(maker, epilogue)
        self.known[self.uses.root(out)] = position, launch
        return before, launch

    def _of_floats(self, op: Elementwise) -> Epilogue | None:
        if op.out_kind != "f32" or any(operand.kind != "f32" for operand in op.inputs):
            return None
        whole = [o.buffer for o in op.inputs if o.at == IDENTITY and self.ready(o.buffer, floats=True)]
        if not whole:
            return None
        maker = self.ready(whole[-1], floats=True)
        assert maker is not None
        own = tuple(k for k, operand in enumerate(op.inputs) if self.uses.same(operand.buffer, whole[-1]))
        if any(op.inputs[k].at != IDENTITY for k in own):
            return None
        others = [operand.at for k, operand in enumerate(op.inputs) if k not in own]
        return Epilogue(op, own) if maker.name in SINGLE or _on_vectors(op, others, maker) else None

    def _rescaled(self, op: Rescaled) -> Epilogue | None:
        rows = int8_rows(op, self.limits) is not None
        whole = op.operator != "*" and rows_of(op) == (op.n, [(op.n, 1)] * 2)
        if self.uses.same(op.x, op.y) or not (rows or whole):
            return None
        for mine, buffer in enumerate((op.x, op.y)):
            maker = self.ready(buffer, floats=False)
            if maker is not None and rescaled_other(op, mine, channels_of(maker), "") is not None:
                return Epilogue(op, (mine,))
        return None


def _on_vectors(op: Elementwise, others: Sequence[IndexMap], maker: Launch) -> bool:
    """Whether a kernel that computes vectors of channels can do it, and has its other inputs in such vectors."""
    by_channel = IndexMap(terms=(Term(modulo=channels_of(maker)),))
    return all(map(suits_vectors, op.expressions())) and all(at in (IDENTITY, FIRST, by_channel) for at in others)


def with_epilogue(launch: Launch, epilogue: Epilogue) -> Launch:
    """The launch, and its variants, with one epilogue more, whose output they make."""
    return replace(
        launch,
        outputs={**launch.outputs, "out": epilogue.op.out},
        epilogues=(*launch.epilogues, epilogue),
        variants=tuple(with_epilogue(variant, epilogue) for variant in launch.variants),
    )
