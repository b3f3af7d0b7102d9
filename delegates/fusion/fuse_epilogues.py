"""Element-wise launches that only read what a kernel of tiles has just made move into that kernel, on its registers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from tflgpu.delegates.fusion.fuse_int8_epilogues import Epilogue, code_step, with_last_table
from tflgpu.delegates.fusion.vectorize_rows import HEXADECIMAL, ON_VECTORS, on_vectors
from tflgpu.delegates.launch import Launch, Loop, Ref

TILED = (
    "conv_tiles",
    "depthwise_dot",
    "depthwise_rows",
    "dot_tiles",
    "gemm",
    "gemm_mma",
    "gemm_finish",
    "depthwise_strips",
    "code_rows",
)
"""Kernels that take an epilogue: the macros AFTER, EXTRA and EXTRA_PASSED of vectors.clh and prelude.cuh."""

CHANNELS = {"conv_tiles": "oc", "depthwise_rows": "c", "depthwise_dot": "c", "dot_tiles": "oc", "code_rows": "oc"}
"""Of kernels that compute on vectors of channels: the size that is the number of channels."""

ONE_BY_ONE = ("gemm", "gemm_mma", "gemm_finish", "depthwise_strips")
"""Kernels that compute single outputs, so that what is done to them may be any C."""

Place = tuple[int, int]

MOST = 3
"""So many epilogues of codes one kernel takes: each combination is a program to compile."""


def with_epilogues(
    groups: list[list[Any]],
    chains: Mapping[Place, Any],
    root: Callable[[int], int],
    kept: Callable[[int], bool],
) -> None:
    """Moves launches of `groups` into the kernels whose outputs they read, in place; None is left where they were.

    chains: the fuse.Chain of each element-wise launch, by group and place. root: whose storage a tensor shares.
    """
    makers = _Makers(groups, root, kept)
    for g, group in enumerate(groups):
        for s, step in enumerate(group):
            if not isinstance(step, Launch):
                continue
            epilogue = (
                _of_chain(chains[g, s], makers.ready, makers.channels, makers.alone, root)
                if (g, s) in chains
                else code_step(step, lambda tensor: makers.ready(tensor, "codes"), makers.channels, root)
            )
            if epilogue is not None:
                makers.finish(epilogue, (g, s))
    for group in groups:
        group[:] = [with_last_table(step) if isinstance(step, Launch) else step for step in group]


class _Makers:
    """The kernels that take epilogues, by the root of what they make.

    turns: epilogues that each has. readers: of every tensor.
    """

    def __init__(self, groups: list[list[Any]], root: Callable[[int], int], kept: Callable[[int], bool]):
        self._groups, self._root, self._kept = groups, root, kept
        self._makers: dict[int, Place] = {}
        self._turns: dict[int, int] = {}
        self._readers: dict[int, set[Place]] = {}
        for g, group in enumerate(groups):
            for s, step in enumerate(group):
                for tensor in self._seen(step, (g, s)):
                    self._readers.setdefault(root(tensor), set()).add((g, s))

    def _seen(self, step: Any, place: Place) -> list[int]:
        """The tensors that a step reads. Where it takes epilogues it is known as a maker from then on."""
        if isinstance(step, Loop):
            return [a.tensor for launch in step.launches() for a in launch.buffers if isinstance(a, Ref)]
        if not isinstance(step, Launch):
            return []
        out = step.outputs.get("out") if step.name in TILED or step.stem in PLAIN else None
        if isinstance(out, Ref) and step.name in TILED:
            self._makers[self._root(out.tensor)] = place
        own = step.reads if isinstance(out, Ref) else step.buffers
        before = [a for other in step.sequence[:-1] for a in other.buffers]
        return [a.tensor for a in (*own, *before) if isinstance(a, Ref)]

    def _maker(self, made: int) -> Launch:
        g, s = self._makers[made]
        launch: Launch = self._groups[g][s]
        return launch

    def channels(self, tensor: int) -> int:
        """Channels that the tensor's kernel computes on vectors of; 0 where it does not."""
        maker = self._maker(self._root(tensor))
        name = CHANNELS.get(maker.name)
        return 0 if name is None else maker.sizes[name]  # type: ignore[return-value]

    def alone(self, tensor: int) -> bool:
        """Whether the tensor's kernel computes single outputs."""
        return self._maker(self._root(tensor)).name in ONE_BY_ONE

    def ready(self, tensor: int, kind: str) -> bool:
        """Whether what makes the tensor takes an epilogue on "f32" or on "codes", and nothing else reads it."""
        made = self._root(tensor)
        if made not in self._makers or self._kept(made) or len(self._readers[made]) != 1:
            return False
        maker, turn = self._maker(made), self._turns.get(made, 0)
        if kind == "f32":
            return not turn and ("PLAIN" in maker.defines or "HYBRID" in maker.defines)
        most = MOST if maker.name in CHANNELS else 1
        return "CODES" in maker.defines and "WIDE" not in maker.defines and turn < most

    def finish(self, epilogue: Epilogue, place: Place) -> None:
        """Puts the kernel, with the epilogue, where the launch was that becomes one."""
        made, out = self._root(epilogue.made), self._root(epilogue.out.tensor)
        maker = self._maker(made)
        g, s = self._makers.pop(made)
        turn = self._turns.pop(made, 0)
        self._groups[place[0]][place[1]] = _finished(maker, epilogue, turn)
        self._groups[g][s] = None
        self._turns[out], self._makers[out] = turn + 1, place


PLAIN = ("elementwise", "chain", "lut", "quantized")
"""Files of kernels that write `out` and read nothing of it."""


def _finished(maker: Launch, epilogue: Epilogue, turn: int) -> Launch:
    """The launch with one epilogue more. turn: epilogues before."""
    extra = {name.replace("#", str(turn)): argument for _, name, argument in epilogue.parameters}
    more = {
        "AFTER": f" {epilogue.statements}",
        "EXTRA": "".join(f", {kind} {name}" for kind, name, _ in epilogue.parameters),
        "EXTRA_PASSED": "".join(f", {name}" for _, name, _ in epilogue.parameters),
    }
    defines = {key: f"{maker.defines.get(key, '')}{text.replace('#', str(turn))}" for key, text in more.items()}
    return replace(
        maker,
        outputs={**maker.outputs, "out": epilogue.out},
        extra={**maker.extra, **extra},
        defines={**maker.defines, **defines},
        variants=tuple(_finished(variant, epilogue, turn) for variant in maker.variants),
    )


def _of_chain(
    chain: Any,
    ready: Callable[[int, str], bool],
    channels: Callable[[int], int],
    alone: Callable[[int], bool],
    root: Callable[[int], int],
) -> Epilogue | None:
    if chain.out_type != "f32" or any(kind != "f32" for _, kind, _ in chain.inputs):
        return None
    whole = [a.tensor for a, _, at in chain.inputs if isinstance(a, Ref) and at == "(i)" and ready(a.tensor, "f32")]
    if not whole:
        return None
    made = whole[-1]
    text = " ".join([*chain.steps, chain.expression])
    single = alone(made)
    values = {"(i)": "some_floats(other{k} + m * oc + n, room)", "(0)": "other{k}[0]"}
    if not single:
        if not ON_VECTORS.fullmatch(HEXADECIMAL.sub("", text)) or (re.search("[<>?]", text) and not channels(made)):
            return None
        values[f"(i % {channels(made)})"] = "some_floats(other{k} + n, room == ALL ? ALL : oc - n)"
    statements: list[str] = []
    parameters: list[tuple[str, str, Any]] = []
    for k, (argument, _, at) in enumerate(chain.inputs):
        if isinstance(argument, Ref) and root(argument.tensor) == root(made):
            if at != "(i)":
                return None
            statements.append(f"VF v{k} = acc;")
        elif single or at in values:
            parameters.append(("IN(f32)", f"other{k}", argument))
            value = values[at].format(k=k) if at in values else f"other{k}[{at}]"
            statements.append(f"VF v{k} = {value};")
        else:
            return None
    if any(at not in values for _, _, at in chain.inputs):
        statements.insert(0, "i32 i = m * oc + n;")
    statements += [*chain.steps, f"acc = {chain.expression};"]
    return Epilogue(made, on_vectors(" ".join(statements)), tuple(parameters), chain.out)
