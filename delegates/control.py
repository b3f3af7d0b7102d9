"""WHILE and IF whose graphs are small: lowered whole, into one Loop that runs in one block of the device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.fuse import joined, shares
from tflgpu.delegates.launch import Argument, Launch, Loop, Lowered, Packed, Ref, Share, Temp, launches_of
from tflgpu.delegates.lowering.bodies import with_body
from tflgpu.delegates.lowering.movement import WHOLE, copy, move
from tflgpu.delegates.lowering.recurrent import SMALL_STEP, SMALL_STEP_OF_A_GPU, matrix, product
from tflgpu.delegates.lowering.registry import bits_type, lower, lowers, require, size

from tflgpu.cost import macs
from tflgpu.graph import Array, Graph, Node, Quantization, Shape, TensorSpec
from tflgpu.ops.registry import OPS
from tflgpu.partition import operations
from tflgpu.shapes import infer_stage

MOST_LAUNCHES = 256
MOST_BUFFERS = 96
"""PoCL takes 1024 bytes of arguments."""

Place = Callable[[Argument], Argument]


class _Runtime:
    """What shape inference asks of an interpreter, over the model's graphs."""

    def __init__(self, graphs: Sequence[Graph]):
        self.state: dict[Any, Any] = {}
        self.ops = OPS
        self.graphs = graphs

    def subgraph(self, index: int) -> Any:
        graph, itself = self.graphs[index], cast(Any, self)

        def outputs_for(shapes: Sequence[Shape]) -> list[TensorSpec | None]:
            specs = _with_inputs(graph, shapes)
            waiting = infer_stage(graph.nodes, specs, itself).waiting
            late = {spec.index for node in waiting for spec in node.outputs}
            return [None if index in late else specs[index] for index in graph.outputs]

        inputs = tuple(graph.tensors[i] for i in graph.inputs)
        return SimpleNamespace(
            graph=graph, inputs=inputs, output_count=len(graph.outputs), outputs_for=outputs_for, run=None
        )


def _with_inputs(graph: Graph, shapes: Sequence[Shape]) -> list[TensorSpec]:
    specs = list(graph.tensors)
    for index, shape in zip(graph.inputs, shapes, strict=True):
        specs[index] = replace(specs[index], shape=tuple(shape))
    return specs


@dataclass(frozen=True, eq=False)
class _Graph:
    """A graph as steps over its own tensors. work: elements touched and products made by all its nodes."""

    graph: Graph
    specs: Sequence[TensorSpec]
    steps: tuple[Launch | Loop, ...]
    roots: Mapping[int, int]
    work: int

    def root(self, tensor: int) -> int:
        return self.roots.get(tensor, tensor)

    @property
    def inputs(self) -> list[int]:
        return [self.root(i) for i in self.graph.inputs]

    @property
    def outputs(self) -> list[int]:
        return [self.root(i) for i in self.graph.outputs]


def _lowered(graph: Graph, given: Sequence[TensorSpec], graphs: Sequence[Graph], limits: DeviceLimits) -> _Graph:
    """The graph for inputs of these shapes, and values where they are constants. Raises Unsupported."""
    specs = _with_inputs(graph, [spec.shape for spec in given])
    for index, spec in zip(graph.inputs, given, strict=True):
        require(specs[index].type == spec.type, f"a loop variable of {spec.type} that becomes {specs[index].type}")
        specs[index] = replace(specs[index], data=spec.data)
    runtime: Any = _Runtime(graphs)
    stage = infer_stage(graph.nodes, specs, runtime)
    require(not stage.waiting, "shapes that only running tells, in its graphs")
    alone = replace(limits, tiles=False, dot=False, warps=False, tensor_cores=False, library=False)
    groups: list[Lowered] = []
    for node in stage.nodes:
        every = [spec for spec in (*node.inputs, *node.outputs) if spec is not None]
        require(not any(s.is_variable or s.type in ("RESOURCE", "VARIANT") for s in every), "variables in its graphs")
        groups.append(_dense(node, alone) or lower(with_body(node, graphs), alone))
    roots = shares(groups)
    kept = {roots.get(i, i) for i in (*graph.inputs, *graph.outputs)}
    # No loops over rows: those are kernels of vectors, and here the block's work-items are the vector.
    groups = joined(groups, roots, kept.__contains__, replace(alone, cpu=False))
    steps = tuple(step for group in groups for step in group if not isinstance(step, Share))
    work = sum(max(operations(node), macs(node, specs)) for node in stage.nodes)
    return _Graph(graph, specs, steps, roots, work)


def _dense(node: Node, limits: DeviceLimits) -> Lowered | None:
    """FULLY_CONNECTED of floats by constants, by the kernels that recurrent layers have; None for any other."""
    if node.op != "FULLY_CONNECTED" or node.options.weights_format != "DEFAULT":
        return None
    x, weights, bias, out = node.input(0), node.input(1), node.optional(2), node.outputs[0]
    plain = x.data is None and weights.data is not None and node.options.fused_activation_function == "NONE"
    known = {x.type, out.type} == {"FLOAT32"} and weights.type in ("FLOAT32", "INT8") and not weights.sparsity
    if not plain or not known or (bias is not None and bias.data is None):
        return None
    units = weights.shape[0]
    rows = size(out) // units if units else 0
    start = np.zeros(units, np.float32) if bias is None or bias.data is None else bias.data.reshape(-1)
    if not rows or start.dtype != np.float32 or not weights.shape[1]:
        return None
    if weights.type == "FLOAT32":
        dense = matrix([weights])
    else:
        scales = weights.quantization
        if scales is None or scales.block_size:
            return None
        dense = replace(matrix([_of_one_scale(weights)]), scales=Packed(lambda: _for_each(scales.scale, units)))
    made = product(Ref(x.index), rows, dense, bool(node.options.asymmetric_quantize_inputs), limits)
    return [*made.launches(start, 0, 0, Ref(out.index))]


def _of_one_scale(spec: TensorSpec) -> TensorSpec:
    return replace(spec, quantization=Quantization(np.ones(1, np.float32), np.zeros(1, np.int64)))


def _for_each(scales: Array, units: int) -> Array:
    return np.ascontiguousarray(np.broadcast_to(scales.astype(np.float32), (units,)))


def _placed(step: Launch | Loop, place: Place) -> Launch | Loop:
    """The step with other arguments."""
    if isinstance(step, Loop):
        steps, before = (tuple(_placed(s, place) for s in group) for group in (step.steps, step.before))
        return Loop(steps, step.turns, before, None if step.test is None else place(step.test))
    before_it = tuple(_placed(s, place) for s in step.before)
    assert all(isinstance(s, Launch) for s in before_it)
    args = tuple(place(argument) for argument in step.args)
    return replace(step, args=args, before=before_it, variants=())  # type: ignore[arg-type]


class _Storage:
    """Where the tensors of one graph lie: its inputs where the caller says, what it makes in temporary memory."""

    def __init__(self, of: _Graph, inputs: Sequence[Argument]):
        self._of = of
        self._known: dict[int, Argument] = {}
        for index, argument in zip(of.inputs, inputs, strict=True):
            self._known.setdefault(index, argument)

    def __call__(self, argument: Argument) -> Argument:
        if not isinstance(argument, Ref):
            return argument
        root = self._of.root(argument.tensor)
        if root not in self._known:
            spec = self._of.specs[root]
            made = max(size(spec) * spec.dtype.itemsize, 1)
            self._known[root] = Temp(made) if spec.data is None else np.ascontiguousarray(spec.data)
        return self._known[root]

    def steps(self) -> list[Launch | Loop]:
        return [_placed(step, self) for step in self._of.steps]


def _touches(step: Launch | Loop, argument: Argument) -> bool:
    arguments = [a for launch in launches_of([step]) for one in launch.sequence for a in one.args]
    return any(_same(a, argument) for a in arguments) or (isinstance(step, Loop) and step.test is argument)


def _same(one: Argument, other: Argument) -> bool:
    return one == other if isinstance(one, Ref) and isinstance(other, Ref) else one is other


@lowers("WHILE")
def while_(node: Node, limits: DeviceLimits) -> Lowered:
    """The loop variables are the outputs, but for those that no turn changes: they are the inputs."""
    graphs: Sequence[Graph] = getattr(node.options, "graphs", ())
    require(graphs, "graphs that are not known")
    first = [node.input(k) for k in range(len(node.inputs))]
    cond, body = (graphs[i] for i in (node.options.cond_subgraph_index, node.options.body_subgraph_index))
    fixed = [i == o for i, o in zip(body.inputs, body.outputs, strict=True)]
    given = [spec if still else replace(spec, data=None) for spec, still in zip(first, fixed, strict=True)]
    test, turn = (_lowered(graph, given, graphs, limits) for graph in (cond, body))
    require(test.work + turn.work <= _small(limits), f"a turn of {test.work + turn.work:,} operations")
    for k, index in enumerate(body.outputs):
        after = turn.specs[index]
        require((after.shape, after.type) == (first[k].shape, first[k].type), f"loop variable {k} changes its shape")
    held: list[Argument] = [
        Ref(spec.index) if still else Ref(out.index)
        for spec, out, still in zip(first, node.outputs, fixed, strict=True)
    ]
    asks, does = _Storage(test, held), _Storage(turn, held)
    condition = asks(Ref(cond.outputs[0]))
    steps = does.steps()
    carried = [(k, does(Ref(body.outputs[k]))) for k, still in enumerate(fixed) if not still and size(first[k])]
    loop = Loop(tuple(_carried(steps, carried, held, first)), 0, tuple(asks.steps()), condition)
    begin = [copy(first[k], node.outputs[k]) for k, _ in carried]
    kept = [Share(out.index, spec.index) for spec, out, still in zip(first, node.outputs, fixed, strict=True) if still]
    return [_checked(Loop((*begin, loop), 1), limits), *kept]


def _small(limits: DeviceLimits) -> int:
    """Operations that one block does in less time than launches from the host would take to start."""
    return SMALL_STEP if limits.cpu else SMALL_STEP_OF_A_GPU


def _checked(loop: Loop, limits: DeviceLimits) -> Loop:
    launches = list(loop.launches())
    require(limits.inner_barriers, "a loop that ends by a test, which the device's compiler does not stand")
    require(len(launches) <= MOST_LAUNCHES, f"a turn of {len(launches)} launches")
    buffers = {a if isinstance(a, Ref) else id(a) for x in launches for a in x.args if not isinstance(a, np.generic)}
    require(len(buffers) <= MOST_BUFFERS, f"{len(buffers)} buffers in its graphs")
    return loop


def _carried(
    steps: list[Launch | Loop],
    carried: Sequence[tuple[int, Argument]],
    held: Sequence[Argument],
    specs: Sequence[TensorSpec],
) -> list[Launch | Loop]:
    """The steps of a turn, and behind them what makes its results the loop variables, all at once.

    A result is made in its variable's own place where nothing looks at the old value from then on.
    """
    olds = {id(held[k]) for k, _ in carried}
    apart: list[tuple[int, Argument]] = []
    for k, result in carried:
        others = [r for j, r in carried if j != k]
        wanted_later = any(r is held[k] or r is result for r in others)
        direct = None if wanted_later or not isinstance(result, Temp) else _in_place(steps, result, held[k], specs[k])
        if direct is None:
            apart.append((k, result))
        else:
            steps = direct
    moved: list[Launch | Loop] = []
    after: list[Launch | Loop] = []
    for k, result in apart:
        source = result
        if id(result) in olds and len(apart) > 1:  # another variable, which may be overwritten before this one is
            source = Temp(size(specs[k]) * specs[k].dtype.itemsize)
            moved.append(_copied(result, source, specs[k]))
        after.append(_copied(source, held[k], specs[k]))
    return [*steps, *moved, *after]


def _copied(x: Argument, out: Argument, spec: TensorSpec) -> Launch:
    return move(x, out, size(spec), bits_type(spec))


def _in_place(
    steps: Sequence[Launch | Loop], result: Temp, old: Argument, spec: TensorSpec
) -> list[Launch | Loop] | None:
    """The steps with the result made where the old value is; None where a step still looks at that."""
    readers = [at for at, step in enumerate(steps) if _touches(step, old)]
    makers = [at for at, step in enumerate(steps) if _touches(step, result)]
    if not makers:
        return None
    start = steps[makers[0]]
    begins_as_old = (
        isinstance(start, Launch)
        and start.kernel == "movement.move"
        and _same(start.args[0], old)
        and start.args[1] is result
        and (start.defines["X_AT"], start.defines["OUT_AT"]) == (WHOLE[1], WHOLE[1])
        and all(a == n for a, n in zip(start.args[2:], (size(spec), 0, 0), strict=True))
    )
    if readers and readers[-1] > makers[0] - (not begins_as_old):
        return None
    kept = [step for step in steps if not (begins_as_old and step is start)]
    return [_placed(step, lambda a: old if a is result else a) for step in kept]


@lowers("IF")
def if_(node: Node, limits: DeviceLimits) -> Lowered:
    """Both branches stand in the kernel, each in a loop that runs once or not at all."""
    graphs: Sequence[Graph] = getattr(node.options, "graphs", ())
    require(graphs, "graphs that are not known")
    given = [node.input(k) for k in range(1, len(node.inputs))]
    indices = node.options.then_subgraph_index, node.options.else_subgraph_index
    steps: list[Launch | Loop] = []
    loops: list[Loop] = []
    condition = node.input(0)
    for index, value in zip(indices, ("(x != 0)", "(x == 0)"), strict=True):
        branch = _lowered(graphs[index], given, graphs, limits)
        require(branch.work <= _small(limits), f"a branch of {branch.work:,} operations")
        place = _Storage(branch, [Ref(spec.index) for spec in given])
        body = place.steps()
        for k, out in enumerate(node.outputs):
            made = branch.specs[graphs[index].outputs[k]]
            require((made.shape, made.type) == (out.shape, out.type), f"output {k} differs between the branches")
            if size(out):
                body.append(_copied(place(Ref(graphs[index].outputs[k])), Ref(out.index), out))
        flag = Temp(1)
        steps.append(_flag(condition, flag, value))
        loops.append(Loop((*body, move(np.zeros(1, np.bool_), flag, 1, "u8")), 0, (), flag))
    return [_checked(Loop((*steps, *loops), 1), limits)]


def _flag(condition: TensorSpec, flag: Temp, expression: str) -> Launch:
    defines = {"EXPR": expression, "X_T": "u8", "OUT_T": "u8", "X_AT": "(i)"}
    return Launch("elementwise.unary", (Ref(condition.index), flag, np.int32(1)), (1,), defines=defines)
