"""Element-wise launches that only read what a kernel of tiles has just made move into that kernel, on its registers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from tflgpu.delegates.code_epilogue import Epilogue, code_step, with_last_table
from tflgpu.delegates.launch import Argument, Launch, Loop, Ref
from tflgpu.delegates.rows import HEXADECIMAL, ON_VECTORS, on_vectors

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

CHANNELS_AT = {"conv_tiles": 9, "depthwise_rows": 6, "depthwise_dot": 5, "dot_tiles": 11, "code_rows": 5}
"""Of kernels that compute on vectors of channels: how far behind the output the number of channels is an argument."""

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
    makers: dict[int, Place] = {}
    outputs: dict[int, int] = {}
    turns: dict[int, int] = {}
    readers: dict[int, set[Place]] = {}
    for g, group in enumerate(groups):
        for s, step in enumerate(group):
            if isinstance(step, Loop):
                for launch in step.launches():
                    for argument in launch.args:
                        if isinstance(argument, Ref):
                            readers.setdefault(root(argument.tensor), set()).add((g, s))
            if not isinstance(step, Launch):
                continue
            refs = [argument.tensor for argument in step.args if isinstance(argument, Ref)]
            if _takes_epilogue(step) and refs:
                makers[root(refs[-1])] = (g, s)
                outputs[root(refs[-1])] = _output_place(step)
            if _takes_epilogue(step) or _last_is_output(step):
                refs = refs[:-1]
            refs += [a.tensor for other in step.sequence[:-1] for a in other.args if isinstance(a, Ref)]
            for tensor in refs:
                readers.setdefault(root(tensor), set()).add((g, s))

    def channels(tensor: int) -> int:
        g, s = makers[root(tensor)]
        maker = groups[g][s]
        far = CHANNELS_AT.get(maker.name)
        return 0 if far is None else int(maker.args[outputs[root(tensor)] + far])

    def alone(tensor: int) -> bool:
        g, s = makers[root(tensor)]
        return groups[g][s].name in ONE_BY_ONE

    def ready(tensor: int, kind: str) -> bool:
        made = root(tensor)
        if made not in makers or kept(made) or len(readers[made]) != 1:
            return False
        g, s = makers[made]
        maker = groups[g][s]
        if kind == "f32":
            return not turns.get(made) and ("PLAIN" in maker.defines or "HYBRID" in maker.defines)
        most = MOST if maker.name in CHANNELS_AT else 1
        return "CODES" in maker.defines and "WIDE" not in maker.defines and turns.get(made, 0) < most

    for g, group in enumerate(groups):
        for s, step in enumerate(group):
            if not isinstance(step, Launch):
                continue
            epilogue = (
                _of_chain(chains[g, s], ready, channels, alone, root)
                if (g, s) in chains
                else code_step(step, lambda tensor: ready(tensor, "codes"), channels, root)
            )
            if epilogue is None:
                continue
            made = root(epilogue.made)
            maker_group, place = makers.pop(made)
            output = outputs.pop(made)
            turn = turns.pop(made, 0)
            group[s] = _finished(groups[maker_group][place], epilogue, output, turn)
            outputs[root(epilogue.out.tensor)], turns[root(epilogue.out.tensor)] = output, turn + 1
            groups[maker_group][place] = None
            makers[root(epilogue.out.tensor)] = (g, s)
    for group in groups:
        group[:] = [with_last_table(step) if isinstance(step, Launch) else step for step in group]


def _takes_epilogue(launch: Launch) -> bool:
    if launch.name not in TILED or "SPLIT" in launch.defines:  # a split product's sums are not its outputs yet
        return False
    buffers = [argument for argument in launch.args if not isinstance(argument, np.generic)]
    return isinstance(buffers[-1], Ref)


def _last_is_output(launch: Launch) -> bool:
    return launch.stem in ("elementwise", "chain", "lut", "quantized")


def _output_place(maker: Launch) -> int:
    return max(k for k, argument in enumerate(maker.args) if isinstance(argument, Ref))


def _finished(maker: Launch, epilogue: Epilogue, output: int, turn: int) -> Launch:
    """The launch with one epilogue more. output: where its output is among its arguments. turn: epilogues before."""
    args = [*maker.args, *(argument for _, _, argument in epilogue.parameters)]
    args[output] = epilogue.out
    more = {
        "AFTER": f" {epilogue.statements}",
        "EXTRA": "".join(f", {kind} {name}" for kind, name, _ in epilogue.parameters),
        "EXTRA_PASSED": "".join(f", {name}" for _, name, _ in epilogue.parameters),
    }
    defines = {key: f"{maker.defines.get(key, '')}{text.replace('#', str(turn))}" for key, text in more.items()}
    variants = tuple(
        _finished(variant, epilogue, output if turn else _output_place(variant), turn) for variant in maker.variants
    )
    return replace(maker, args=tuple(args), defines={**maker.defines, **defines}, variants=variants)


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
    parameters: list[tuple[str, str, Argument]] = []
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
