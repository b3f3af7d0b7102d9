"""The promises themselves: each raises Broken where the delegate does not keep it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tflgpu.conformance import sharing_promises as sharing_promises  # which registers more
from tflgpu.conformance.contract import PROMISES, Broken, NotApplicable, Subject, numbers, on_cpu, promise, same
from tflgpu.conformance.promise_models import gathering
from tflgpu.conformance.reference import answer, feed, outputs_of
from tflgpu.conformance.resident import python_blocks, resident_bytes
from tflgpu.conformance.settings import opened
from tflgpu.delegation.delegate import ClaimsNodes
from tflgpu.delegation.discovery import NativeDelegate
from tflgpu.optional import offering, offers

SHAPES = ((2, 3), (5, 7), (1, 1), (2, 3), (64, 65), (0, 3), (5, 7))
INVOKES = 1000
GROWTH_BYTES = 24 << 20
"""What 1,000 invokes may add to the process: less than half of one 64 KiB tensor an invoke."""
GROWTH_BLOCKS = 600
"""And to Python's allocated blocks."""


@promise("every claimed node runs, once an invoke")
def _claimed_run(subject: Subject) -> None:
    interpreter = subject.interpreter(subject.chain(7))
    feed(interpreter, [numbers()])
    for _ in range(3):
        interpreter.invoke()
    if sum(len(partition.nodes) for partition, _ in subject.delegate.partitions) != 7:
        raise Broken("a chain of one operator that it takes was not taken whole")
    if subject.delegate.runs != [3]:
        raise Broken(f"after 3 invokes its partitions have run {subject.delegate.runs} times")


@promise("limits on partitions are respected")
def _limits(subject: Subject) -> None:
    if offering(subject.interpreter(subject.chain())._session.delegates, ClaimsNodes):
        raise NotApplicable("it claims nodes by itself, within limits of its own")
    model, want = subject.chain(9), on_cpu(subject.chain(9), numbers())
    cases: tuple[tuple[dict[str, Any], Callable[[list[int]], bool]], ...] = (
        ({"skip_nodes": frozenset({2, 5})}, lambda sizes: sizes == [2, 2, 3]),
        ({"skip_nodes": frozenset({2, 5}), "max_partitions": 1}, lambda sizes: sizes == [3]),
        ({"skip_nodes": frozenset({2, 5}), "min_nodes": 3}, lambda sizes: sizes == [3]),
        ({"only_nodes": frozenset({4})}, lambda sizes: sizes == [1]),
        ({"skip_ops": frozenset({subject.op})}, lambda sizes: sizes == []),
    )
    for limits, right in cases:
        delegate = subject.limited(**limits)
        got = answer(subject.interpreter(model, delegate), [numbers()])
        sizes = [len(partition.nodes) for partition, _ in delegate.partitions]
        if not right(sizes):
            raise Broken(f"with {limits} it has partitions of {sizes} nodes")
        same(got, want, f"with {limits}")


@promise("its options set the limits")
def _options(subject: Subject) -> None:
    if offers(subject.delegate.inner, NativeDelegate):
        raise NotApplicable(
            "a native library chooses its nodes by itself, and may ignore options that it does not know"
        )
    wanted = {**subject.settings.options, "max_partitions": "1", "skip_ops": subject.op}
    try:
        limits = opened(replace(subject.settings, options=wanted)).limits
    except (ValueError, TypeError) as error:
        raise NotApplicable(f"it does not offer them: {error}"[:200]) from error
    if limits.max_partitions != 1 or subject.op not in limits.skip_ops:
        raise Broken(f"max_partitions=1 and skip_ops={subject.op} made {limits}")


@promise("inputs may be resized")
def _resize(subject: Subject) -> None:
    model = subject.chain()
    interpreter = subject.interpreter(model)
    for number, shape in enumerate(SHAPES):
        x = numbers(shape, number)
        subject.delegate.poison_outputs()
        same(answer(interpreter, [x]), on_cpu(model, x), f"resized to {list(shape)}")


@promise("allocating again keeps inputs and results")
def _reallocation(subject: Subject) -> None:
    model, x = subject.chain(), numbers()
    interpreter = subject.interpreter(model)
    first = answer(interpreter, [x])
    interpreter.allocate_tensors()
    interpreter.allocate_tensors()
    interpreter.invoke()
    same(outputs_of(interpreter), first, "allocated again")
    interpreter.resize_tensor_input(0, (2, 2))
    interpreter.allocate_tensors()
    same(answer(interpreter, [x]), first, "allocated for another shape and back")


@promise("the same inputs always give the same bits")
def _deterministic(subject: Subject) -> None:
    interpreter = subject.interpreter(subject.chain(shape=(33, 65)))
    first = answer(interpreter, [numbers((33, 65))])
    for _ in range(50):
        subject.delegate.poison_outputs()
        interpreter.invoke()
        if outputs_of(interpreter)[0].tobytes() != first[0].tobytes():
            raise Broken("an invoke with unchanged inputs gave other outputs")


@promise("each invoke computes anew")
def _anew(subject: Subject) -> None:
    model = subject.chain()
    interpreter = subject.interpreter(model)
    for seed in range(6):
        x = numbers(seed=seed)
        same(answer(interpreter, [x]), on_cpu(model, x), f"invoke {seed + 1}")


@promise("nothing outside its outputs is written")
def _guards(subject: Subject) -> None:
    for shape in ((1,), (7,), (257,), (3, 5), (63, 65), (1, 1021)):
        interpreter = subject.interpreter(subject.chain(2, shape))
        feed(interpreter, [numbers(shape)])
        interpreter.invoke()
        found = subject.delegate.violations()
        subject.delegate.forget()
        if found:
            raise Broken(f"shape {list(shape)}: {'; '.join(found)}")


@promise("views show the present values")
def _views(subject: Subject) -> None:
    model = subject.chain()
    interpreter = subject.interpreter(model)
    interpreter.allocate_tensors()
    x_at, y_at = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    show_x, show_y = interpreter.tensor(x_at), interpreter.tensor(y_at)
    for seed in range(3):
        x = numbers(seed=seed)
        show_x()[...] = x
        interpreter.invoke()
        same([show_y().copy()], on_cpu(model, x), "an input written through its view")
    held = show_y()
    try:
        interpreter.invoke()
    except RuntimeError:
        del held
        interpreter.invoke()
        return
    raise Broken("invoke ran while a view was held")


@promise("an interpreter that is gone leaves nothing")
def _lifetime(subject: Subject) -> None:
    delegate = subject.fresh()
    interpreter = subject.interpreter(subject.chain(shape=(64, 64)), delegate)
    answer(interpreter, [numbers((64, 64))])
    blocks = [weakref.ref(block.base) for block in delegate.blocks() if block.base is not None]
    steps = list(delegate.steps)
    delegate.forget()
    del interpreter
    gc.collect()
    if any(ref() is not None for ref in steps):
        raise Broken("a compiled partition outlives its interpreter")
    if any(ref() is not None for ref in blocks):
        raise Broken("a tensor's memory outlives its interpreter")


@promise("memory is flat over 1,000 invokes")
def _flat(subject: Subject) -> None:
    delegate = subject.fresh()
    interpreter = subject.interpreter(subject.chain(2, (128, 128)), delegate)
    feed(interpreter, [numbers((128, 128))])
    for _ in range(100):
        interpreter.invoke()
    gc.collect()
    before, blocks = resident_bytes(), python_blocks()
    for _ in range(INVOKES):
        interpreter.invoke()
    gc.collect()
    grown, more = resident_bytes() - before, python_blocks() - blocks
    if grown > GROWTH_BYTES:
        raise Broken(f"{INVOKES} invokes added {grown / 2**20:.1f} MiB to the process")
    if more > GROWTH_BLOCKS:
        raise Broken(f"{INVOKES} invokes left {more} more Python objects alive")


@promise("preparing a model again and again does not pile up")
def _prepared(subject: Subject) -> None:
    delegate, model = subject.fresh(), subject.chain(2, (256, 256))
    sizes = []
    for number in range(60):
        answer(subject.interpreter(model, delegate), [numbers((256, 256))])
        delegate.forget()
        if number % 20 == 19:
            gc.collect()
            sizes.append(resident_bytes())
    if sizes[-1] - sizes[0] > GROWTH_BYTES * 3 // 4:
        raise Broken(f"40 interpreters of one model added {(sizes[-1] - sizes[0]) / 2**20:.1f} MiB to the process")


@promise("an error leaves the interpreter usable")
def _errors(subject: Subject) -> None:
    for taken in (True, False):
        delegate = subject.limited(**({} if taken else {"skip_ops": frozenset({"GATHER"})}))
        model = gathering(subject.op)
        interpreter = subject.interpreter(model, delegate)
        x = numbers((5,))
        want = on_cpu(model, x, np.array([4, 0, 2], np.int32))
        same(answer(interpreter, [x, np.array([4, 0, 2], np.int32)]), want, "before the error")
        for _ in range(2):
            try:
                answer(interpreter, [x, np.array([0, 77, 1], np.int32)])
            except RuntimeError:
                pass
            else:
                raise Broken("an index out of bounds raised nothing")
        same(answer(interpreter, [x, np.array([4, 0, 2], np.int32)]), want, "after an error")


@promise("signatures run")
def _signatures(subject: Subject) -> None:
    model = subject.chain()
    run = subject.interpreter(model).get_signature_runner("run")
    for seed, shape in enumerate(((3, 5), (2, 7))):
        x = numbers(shape, seed)
        same([run(x=x)["y"]], on_cpu(model, x), "a signature")


@promise("every tensor may be preserved")
def _preserved(subject: Subject) -> None:
    model, x = subject.chain(), numbers()
    interpreter = subject.interpreter(model, experimental_preserve_all_tensors=True)
    same(answer(interpreter, [x]), on_cpu(model, x), "with all tensors preserved")


NAMES = tuple(PROMISES)
"""Every promise that a delegate is held to."""
