"""Control flow: operators that run other graphs of the model."""

from __future__ import annotations

from collections.abc import Sequence

from tflgpu.model.graph import Array, Node, Shape, TensorSpec
from tflgpu.ops.registry import Runtime, function, require
from tflgpu.ops.state.random import generator_key


def _shapes(specs: Sequence[TensorSpec | None]) -> list[Shape]:
    return [spec.shape for spec in specs if spec is not None]


def _static_where_equal(branches: Sequence[Sequence[TensorSpec | None]]) -> list[Shape] | None:
    """The shapes that all branches give; None where one is known only at run time, or they differ."""
    if any(spec is None for branch in branches for spec in branch):
        return None
    shapes = [_shapes(branch) for branch in branches]
    return shapes[0] if all(s == shapes[0] for s in shapes) else None


def _check_subgraph(
    node: Node,
    runtime: Runtime,
    index: int,
    passed: Sequence[TensorSpec | None],
    wanted: Sequence[TensorSpec] | None,
) -> None:
    """Raises OpError where graph `index` does not take and give as many tensors, or not of these types.

    TensorFlow Lite gives the graph's tensors the types of the node's and reads the bytes anew; no converter makes that.
    """
    graph = runtime.subgraph(index)
    require(
        len(graph.inputs) == len(passed) and (wanted is None or graph.output_count == len(wanted)),
        f"{node} passes {len(passed)} tensors to subgraph {index}, which takes {len(graph.inputs)}, "
        f"and wants {None if wanted is None else len(wanted)} of the {graph.output_count} that it gives. ",
    )
    given = [graph.graph.tensors[i] for i in graph.graph.outputs]
    for outside, inside in (*zip(passed, graph.inputs, strict=True), *zip(wanted or given, given, strict=True)):
        require(
            outside is None or outside.type == inside.type,
            f"{outside} of {node} is {inside} in subgraph {index}: their types differ. ",
        )


def _if_branches(node: Node) -> tuple[int, int]:
    return node.options.then_subgraph_index, node.options.else_subgraph_index


def if_shapes(node: Node, runtime: Runtime) -> list[Shape] | None:
    """Static where both branches give the same."""
    condition = node.input(0)
    require(condition.type == "BOOL", f"IF takes a BOOL condition, not {condition.type}. ")
    require(all(d == 1 for d in condition.shape), f"IF takes one condition, not {list(condition.shape)}. ")
    for index in _if_branches(node):
        _check_subgraph(node, runtime, index, node.inputs[1:], node.outputs)
    shapes = _shapes(node.inputs[1:])
    return _static_where_equal([runtime.subgraph(index).outputs_for(shapes) for index in _if_branches(node)])


@function("IF", inputs="1+", outputs="0+", shape=if_shapes, stateful=True)
def if_(node: Node, runtime: Runtime, condition: Array, *inputs: Array) -> tuple[Array, ...]:
    """The outputs of the then-graph or the else-graph; only that one runs."""
    then, otherwise = _if_branches(node)
    runtime.meter.iteration()
    return runtime.subgraph(then if condition.item() else otherwise).run(inputs)


def while_shapes(node: Node, runtime: Runtime) -> list[Shape] | None:
    """Static where the body returns the shapes that it takes."""
    cond, body = node.options.cond_subgraph_index, node.options.body_subgraph_index
    require(cond != body, "WHILE's condition and body must be different subgraphs. ")
    _check_subgraph(node, runtime, cond, node.inputs, None)
    _check_subgraph(node, runtime, body, node.inputs, node.outputs)
    shapes = _shapes(node.inputs)
    (condition, *_) = runtime.subgraph(cond).outputs_for(shapes)
    require(condition is None or condition.type == "BOOL", "WHILE's condition must be BOOL. ")
    after = runtime.subgraph(body).outputs_for(shapes)
    static = _static_where_equal([after])
    return static if static == shapes else None


@function("WHILE", inputs="0+", outputs="0+", shape=while_shapes, stateful=True)
def while_(node: Node, runtime: Runtime, *inputs: Array) -> tuple[Array, ...]:
    """The loop variables after the last iteration; the inputs where the condition is false at once."""
    condition = runtime.subgraph(node.options.cond_subgraph_index)
    body = runtime.subgraph(node.options.body_subgraph_index)
    values = inputs
    count = runtime.meter.counter
    while condition.run(values)[0].item():
        count()
        values = body.run(values)
    return values


def _nothing(node: Node, runtime: Runtime) -> list[Shape]:
    _check_subgraph(node, runtime, node.options.init_subgraph_index, (), ())
    return []


@function("CALL_ONCE", inputs=0, outputs=0, shape=_nothing, stateful=True)
def call_once(node: Node, runtime: Runtime) -> tuple[Array, ...]:
    """Runs the initialisation graph at the first invoke of the interpreter, and never again."""
    key = ("called once", node.options.init_subgraph_index)
    if key not in runtime.state:
        runtime.subgraph(node.options.init_subgraph_index).run(())
        runtime.state[key] = True
    return ()


def composite_shapes(node: Node, runtime: Runtime) -> list[Shape] | None:
    """Those of the decomposition."""
    index = node.options.decomposition_subgraph_index
    _check_subgraph(node, runtime, index, node.inputs, node.outputs)
    return _static_where_equal([runtime.subgraph(index).outputs_for(_shapes(node.inputs))])


@function("STABLEHLO_COMPOSITE", inputs="0+", outputs="0+", shape=composite_shapes, stateful=True)
def composite(node: Node, runtime: Runtime, *inputs: Array) -> tuple[Array, ...]:
    """A named operation, run as the graph that it decomposes into; its own state begins anew, as in TensorFlow Lite."""
    decomposition = runtime.subgraph(node.options.decomposition_subgraph_index)
    runtime.meter.iteration()
    decomposition.reset_variables()
    for step in decomposition.graph.nodes:
        runtime.state.pop(generator_key(step), None)
    return decomposition.run(inputs)


def case_shapes(node: Node, runtime: Runtime) -> list[Shape] | None:
    """Static where all branches give the same."""
    branches = node.options.branch_subgraph_indices
    require(len(branches) > 0, "STABLEHLO_CASE has no branches. ")
    for index in branches:
        _check_subgraph(node, runtime, index, node.inputs[1:], node.outputs)
    shapes = _shapes(node.inputs[1:])
    return _static_where_equal([runtime.subgraph(index).outputs_for(shapes) for index in branches])


@function("STABLEHLO_CASE", inputs="1+", outputs="0+", types="INT32", shape=case_shapes, stateful=True)
def case(node: Node, runtime: Runtime, index: Array, *inputs: Array) -> tuple[Array, ...]:
    """The outputs of the branch at `index`; of the last one where there is no such branch."""
    branches = node.options.branch_subgraph_indices
    at = index.item()
    runtime.meter.iteration()
    return runtime.subgraph(branches[at if 0 <= at < len(branches) else -1]).run(inputs)
