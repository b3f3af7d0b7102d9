"""Joins the launches of a part, so that fewer and larger ones run: chains, epilogues, tables, sequences."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.fusion.fuse_epilogues import with_epilogues
from tflgpu.delegates.fusion.fuse_int8_lookups import with_tables
from tflgpu.delegates.fusion.fuse_lookups import with_byte_tables
from tflgpu.delegates.fusion.vectorize_rows import in_rows
from tflgpu.delegates.launch import Buffer, Launch, Loop, Lowered, Ref, Share
from tflgpu.delegates.megakernel.barrier_kernel import in_sequences
from tflgpu.model.graph import Array

MAX_INPUTS = 8
MAX_STEPS = 24
LETTERS = "xyz"


@dataclass(frozen=True, eq=False)
class Chain:
    """An element-wise launch taken apart. inputs: argument, element type and index of each. steps: C statements that
    define what `expression` uses besides them."""

    inputs: tuple[tuple[Buffer, str, str], ...]
    steps: tuple[str, ...]
    expression: str
    out: Ref
    out_type: str
    n: int

    def renamed(self, names: Mapping[str, str]) -> str:
        """The expression with other names, or other expressions, for some of its own."""
        return renamed(self.expression, names)


def joined(
    groups: Sequence[Lowered],
    roots: Mapping[int, int],
    kept: Callable[[int], bool],
    limits: DeviceLimits,
    constant: Callable[[int], Array | None] = lambda tensor: None,
    barriers: Callable[[int, Launch], int] = lambda group, launch: 0,
) -> list[Lowered]:
    """The groups, an element-wise launch that only another reads moved into that one.

    roots: whose storage each tensor shares. kept: whether a tensor's value is wanted outside of the launches.
    constant: a tensor's value where it is constant. barriers: how many a launch of a group brings into a sequence
    (sequence.py), 0 where it is none for one.
    """
    launches = [
        (g, s, step) for g, group in enumerate(groups) for s, step in enumerate(group) if isinstance(step, Launch)
    ]
    readers = Counter(root for _, _, launch in launches for root in _reads(launch, roots))
    for loop in (step for group in groups for step in group if isinstance(step, Loop)):
        readers.update({root for launch in loop.launches() for root in _refs(launch.buffers, roots)})
    out: list[list[Any]] = [list(group) for group in groups]
    producers: dict[int, tuple[int, int, Chain]] = {}
    chains: dict[tuple[int, int], Chain] = {}
    for g, s, launch in launches:
        chain = taken_apart(launch)
        if chain is None:
            continue
        chain, used = _with_producers(chain, producers, roots)
        for root in used:
            group, place, _ = producers.pop(root)
            out[group][place] = None
            del chains[group, place]
        chains[g, s] = chain
        if used:
            out[g][s] = _put_together(chain)
        root = roots.get(chain.out.tensor, chain.out.tensor)
        if readers[root] == 1 and not kept(root):
            producers[root] = (g, s, chain)
    with_tables(out, lambda tensor: roots.get(tensor, tensor), kept, constant)
    with_byte_tables(out, lambda tensor: roots.get(tensor, tensor), kept)
    with_epilogues(out, chains, lambda tensor: roots.get(tensor, tensor), kept)
    in_sequences(out, barriers)
    in_rows(out, chains, lambda tensor: roots.get(tensor, tensor), limits)
    return [[step for step in group if step is not None] for group in out]


def _reads(launch: Launch, roots: Mapping[int, int]) -> set[int]:
    """Roots of the tensors among a launch's arguments, but for the output of an element-wise launch."""
    own = launch.reads if launch.stem == "elementwise" else launch.buffers
    return _refs([*own, *(buffer for other in launch.sequence[:-1] for buffer in other.buffers)], roots)


def _refs(buffers: Sequence[Buffer], roots: Mapping[int, int]) -> set[int]:
    tensors = [buffer.tensor for buffer in buffers if isinstance(buffer, Ref)]
    return {roots.get(tensor, tensor) for tensor in tensors}


def taken_apart(launch: Launch) -> Chain | None:
    if launch.stem != "elementwise" or "FAULT" in launch.defines:
        return None
    defines = launch.defines
    letters = LETTERS[: len(launch.inputs)]
    names = {letter: f"v{k}" for k, letter in enumerate(letters)} | {
        name: str(defines[name]) for name in ("T", "UT") if name in defines
    }
    out, n = launch.outputs["out"], launch.sizes["n"]
    if not isinstance(out, Ref):  # a temporary, which no other node reads
        return None
    assert isinstance(n, int)
    inputs = tuple(
        (launch.inputs[f"{letter}s"], str(defines[f"{letter.upper()}_T"]), str(defines[f"{letter.upper()}_AT"]))
        for letter in letters
    )
    return Chain(inputs, (), renamed(str(defines["EXPR"]), names), out, str(defines["OUT_T"]), n)


def renamed(text: str, names: Mapping[str, str]) -> str:
    return re.sub(r"\b[A-Za-z]\w*\b", lambda found: names.get(found[0], found[0]), text)


def _with_producers(
    chain: Chain, producers: Mapping[int, tuple[int, int, Chain]], roots: Mapping[int, int]
) -> tuple[Chain, list[int]]:
    """The chain, with what makes its inputs inside where that is possible, and the roots of those inputs."""
    used: list[int] = []
    for argument, kind, at in chain.inputs:
        root = roots.get(argument.tensor, argument.tensor) if isinstance(argument, Ref) else None
        if root is None or root not in producers or root in used or at != "(i)":
            continue
        producer = producers[root][2]
        fits = len(chain.inputs) + len(producer.inputs) - 1 <= MAX_INPUTS
        if producer.n != chain.n or not fits or len(chain.steps) + len(producer.steps) >= MAX_STEPS:
            continue
        if sum(_same(argument, other, roots) for other, _, _ in chain.inputs) > 1 or kind != producer.out_type:
            continue
        chain = _inlined(chain, argument, producer)
        used.append(root)
    return chain, used


def _same(one: Buffer, other: Buffer, roots: Mapping[int, int]) -> bool:
    if not isinstance(one, Ref) or not isinstance(other, Ref):
        return False
    return roots.get(one.tensor, one.tensor) == roots.get(other.tensor, other.tensor)


def _inlined(chain: Chain, argument: Buffer, producer: Chain) -> Chain:
    """The chain with the producer's steps before its own, in place of the input `argument`."""
    inputs = list(producer.inputs)
    made = f"t{len(producer.steps)}"
    names: dict[str, str] = {f"t{k}": f"t{k + len(producer.steps) + 1}" for k in range(len(chain.steps))}
    for k, (given, kind, at) in enumerate(chain.inputs):
        if given is argument:
            names[f"v{k}"] = made
        else:
            names[f"v{k}"] = f"v{len(inputs)}"
            inputs.append((given, kind, at))
    steps = [*producer.steps, f"{producer.out_type} {made} = {producer.expression};"]
    steps += [renamed(step, names) for step in chain.steps]
    return replace(chain, inputs=tuple(inputs), steps=tuple(steps), expression=renamed(chain.expression, names))


def _put_together(chain: Chain) -> Launch:
    parameters = "".join(f"IN({kind}) x{k}, " for k, (_, kind, _) in enumerate(chain.inputs))
    loads = " ".join(f"{kind} v{k} = x{k}[{at}];" for k, (_, kind, at) in enumerate(chain.inputs))
    defines = {
        "INPUTS": parameters,
        "STEPS": f"{loads} {' '.join(chain.steps)}",
        "EXPR": chain.expression,
        "OUT_T": chain.out_type,
    }
    inputs = {f"x{k}": argument for k, (argument, _, _) in enumerate(chain.inputs)}
    return Launch("chain.chain", (chain.n,), (64,), inputs, {"out": chain.out}, {"n": chain.n}, defines=defines)


def shares(groups: Sequence[Lowered]) -> dict[int, int]:
    """For each tensor that shares another's storage, the tensor that has it."""
    roots: dict[int, int] = {}
    for group in groups:
        for step in group:
            if isinstance(step, Share):
                roots[step.output] = roots.get(step.input, step.input)
    return roots
