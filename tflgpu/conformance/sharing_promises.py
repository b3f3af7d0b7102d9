"""Promises where interpreters, delegates and partitions share something: values, variables, an instance."""

from __future__ import annotations

import threading
from dataclasses import replace

from tflgpu.conformance.contract import Broken, Subject, numbers, on_cpu, promise, same
from tflgpu.conformance.guards import Watched
from tflgpu.conformance.promise_models import accumulating, counting
from tflgpu.conformance.reference import answer
from tflgpu.interpreter import Interpreter


@promise("variables keep their state between partitions")
def _variables(subject: Subject) -> None:
    model = counting(subject.op)
    mine, theirs = subject.interpreter(model), Interpreter(model_content=model)
    for seed in range(4):
        x = numbers((1, 3), seed)
        same(answer(mine, [x]), answer(theirs, [x]), f"step {seed + 1} of a state")
    mine.reset_all_variables()
    theirs.reset_all_variables()
    same(answer(mine, [numbers((1, 3))]), answer(theirs, [numbers((1, 3))]), "after a reset")


@promise("two delegates share one model")
def _two_delegates(subject: Subject) -> None:
    """Each takes every other node or a few, and the CPU the rest: values go from one device to another and back."""
    model = subject.chain(9)
    for mine, theirs in ((frozenset({1, 3, 4, 7}), frozenset()), (frozenset({0, 5, 8}), frozenset({5}))):
        first, second = subject.limited(skip_nodes=mine), subject.fresh()
        second.limits = replace(first.limits, skip_nodes=theirs)
        interpreter = Interpreter(model_content=model, experimental_delegates=[first, second])
        for seed in range(3):
            x = numbers(seed=seed)
            same(answer(interpreter, [x]), on_cpu(model, x), f"invoke {seed + 1} with two delegates")


@promise("variables have one value, whoever reads or writes them")
def _shared_variables(subject: Subject) -> None:
    for left in ((), ("READ_VARIABLE",), ("ASSIGN_VARIABLE",), (subject.op,)):
        model = accumulating(subject.op)
        delegate = subject.limited(skip_ops=frozenset(left))
        mine, theirs = subject.interpreter(model, delegate), Interpreter(model_content=model)
        for seed in range(4):
            x = numbers((1, 3), seed)
            same(
                answer(mine, [x]),
                answer(theirs, [x]),
                f"invoke {seed + 1}, {', '.join(left) or 'nothing'} left to the CPU",
            )


@promise("a variable that one delegate reads and another writes")
def _variable_of_two(subject: Subject) -> None:
    model = accumulating(subject.op)
    first, second = subject.limited(skip_ops=frozenset({"READ_VARIABLE"})), subject.fresh()
    second.limits = replace(first.limits, skip_ops=frozenset({"ASSIGN_VARIABLE"}))
    mine = Interpreter(model_content=model, experimental_delegates=[first, second])
    theirs = Interpreter(model_content=model)
    for seed in range(4):
        x = numbers((1, 3), seed)
        same(answer(mine, [x]), answer(theirs, [x]), f"invoke {seed + 1} with two delegates")


@promise("a variable without a value is refused")
def _no_value(subject: Subject) -> None:
    interpreter = subject.interpreter(accumulating(subject.op, start=False))
    try:
        answer(interpreter, [numbers((1, 3))])
    except RuntimeError:
        return
    raise Broken("a variable was read before it had a value")


@promise("two interpreters run in two threads")
def _threads(subject: Subject) -> None:
    trouble: list[str] = []

    def work(delegate: Watched, seed: int) -> None:
        shape = (17 + seed, 65)
        model = subject.chain(4, shape)
        try:
            interpreter = subject.interpreter(model, delegate)
            for number in range(30):
                x = numbers(shape, seed * 100 + number)
                same(answer(interpreter, [x]), on_cpu(model, x), f"thread {seed}, invoke {number + 1}")
        except Exception as error:
            trouble.append(str(error))

    threads = [threading.Thread(target=work, args=(subject.fresh(), seed)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if trouble:
        raise Broken(trouble[0])


@promise("two interpreters share one instance, alternately")
def _alternately(subject: Subject) -> None:
    models = [subject.chain(3, (3, 5)), subject.chain(4, (7, 2))]
    both = [subject.interpreter(model) for model in models]
    for seed in range(4):
        for model, interpreter in zip(models, both, strict=True):
            x = numbers((3, 5) if model is models[0] else (7, 2), seed)
            same(answer(interpreter, [x]), on_cpu(model, x), "alternately")
