"""How an operator is registered, checked, shaped, prepared and run on the CPU.

An operator is registered in one of four styles, from the plainest to the fastest:

`function`  `(node, *inputs) -> output or outputs`: allocates its result. For shapes that are known only at run time.
`view`      `(node, x) -> a NumPy view of x`: movement. The CPU copies the view, the GPUs read its strides. Without a
            shape rule the output has the view's shape; with one, its elements are the view's in row-major order.
`alias`     `(node) -> the output's shape`: the same bytes under another shape, in the input's storage where possible.
`kernel`    `(node, inputs, outputs) -> step`: a factory, called once a shape. All shape arithmetic, packing of
            weights and scratch allocation happen here; the step takes nothing, reads inputs and fills outputs.

Each registration says how many `inputs` the operator takes: 2, "2-3" or "1+"; and how many `outputs`, where not one.
What else it requires of its tensors and options is its `check`, `(node) -> None`, which raises OpError. Shape
inference asks both, so that a node that does not pass reaches neither the CPU's factory nor a delegate's lowering.

A `stateful` operator also takes a `Runtime` (as `function(node, runtime, *inputs)`, `kernel(node, inputs, outputs,
runtime)`, `shape(node, runtime)`), is never folded, and keeps its order among the others that are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from operator import setitem
from typing import Any, Protocol

import numpy as np

from tflgpu.limits import Meter
from tflgpu.model.graph import DTYPES, Array, Graph, Model, Node, Shape, TensorSpec
from tflgpu.ops import MODULES, OTHERS
from tflgpu.ops.arity import ANY, Count
from tflgpu.ops.in_batches import in_batches
from tflgpu.ops.on_demand import OnDemand
from tflgpu.ops.runtime_views import by_values, copied
from tflgpu.ops.scratch import sharing

Step = Callable[[], object]
"""What runs one node or partition: it takes no arguments, and its result is ignored."""
ShapeRule = Callable[..., "Sequence[Shape]"]
Check = Callable[[Node], None]


Body = str | Callable[[Node], str]
"""The body of a kernel, as `tflgpu.custom_op` takes it."""


class OpError(RuntimeError):
    """An operator cannot be prepared or run; the text is TensorFlow Lite's where it has one."""


class UnsupportedType(OpError, ValueError):
    """An element type that an operator does not take. Also a RuntimeError, as TensorFlow Lite raises it."""


class NeedsValue(Exception):
    """A shape depends on the value of a tensor that is not constant: it is known when that tensor has been computed."""

    def __init__(self, spec: TensorSpec):
        super().__init__(f"the value of {spec}")
        self.spec = spec


class Subgraph(Protocol):
    """A graph that a control-flow operator can run. One instance a graph of the model, shared by all its callers."""

    @property
    def graph(self) -> Graph: ...
    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...
    @property
    def output_count(self) -> int: ...

    def outputs_for(self, shapes: Sequence[Shape]) -> list[TensorSpec | None]:
        """The outputs' specs for inputs of these shapes; None for an output whose shape is known only at run time."""

    def reset_variables(self) -> None:
        """Sets the variable tensors of the graph to zeros."""

    def run(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """The outputs' values, as arrays of the subgraph's own that the next run overwrites."""


class Runtime(Protocol):
    """What a stateful operator may touch: the other graphs of the model, and the state that all of them share."""

    state: dict[Any, Any]
    """Variables, tables, random generators, by a key of the operator's choosing, e.g. ("variable", container, name)."""

    ops: Mapping[str, Op]
    """The operators of this interpreter: the registered ones and its own custom ones."""

    meter: Meter
    """What this interpreter has used of its limits: loops ask it at each iteration."""

    def subgraph(self, index: int) -> Subgraph: ...


@dataclass(frozen=True)
class Op:
    """An operator as registered. `types` are what its input at `typed_input` may be; `inputs` and `outputs`, how many.

    check: raises OpError where a node's types, shapes or options do not fit one another.
    variables: whether running it writes to inputs that are variable tensors. overwrites: whether its output may lie in
    its first input's storage, where nothing else reads that later. bodies: of a custom operator, its kernels by the
    suffix of their dialect, "cu" and "cl". output_type: where TensorFlow Lite ignores the declared type, the input that
    gives the output's type, the outputs' types ("INT32 FLOAT32"), or the option that names the type ("out_type").
    """

    name: str
    version: int
    types: frozenset[str]
    typed_input: int
    shape: ShapeRule | None
    run: Callable[..., Any]
    style: str
    stateful: bool
    custom: bool = False
    variables: bool = False
    bodies: Mapping[str, Body] = field(default_factory=dict, compare=False)
    overwrites: bool = False
    check: Check | None = None
    inputs: Count = ANY
    outputs: Count = ANY
    output_type: int | str | None = None

    def require_valid(self, node: Node) -> None:
        """Raises OpError where the operator does not take a node of these types, shapes and options.

        The shapes of the outputs are known by then.
        """
        self.check_type(node)
        if self.style in ("view", "alias"):
            x, y = node.input(0), node.outputs[0]
            require(x.dtype == y.dtype, f"{node.op}: input {x.type} and output {y.type} must be of one type. ")
        if self.check is not None:
            self.check(node)

    def check_arity(self, node: Node) -> None:
        """Raises OpError where a node has more or fewer inputs or outputs than its operator."""
        for what, specs, count in (("inputs", node.inputs, self.inputs), ("outputs", node.outputs, self.outputs)):
            if len(specs) not in count:
                raise OpError(f"{node.op} takes {count} {what}, not {len(specs)}. ")

    def check_type(self, node: Node) -> None:
        """Raises UnsupportedType where the node's main input is of a type that this operator does not take."""
        spec = node.optional(self.typed_input)
        if self.types and spec is not None and spec.type not in self.types:
            raise UnsupportedType(
                f"{self.name} version {node.version}: input {self.typed_input} of type {spec.type} is not supported; "
                f"supported: {', '.join(sorted(self.types))}. "
            )


OPS: OnDemand[Op] = OnDemand(MODULES, OTHERS)
"""Every builtin operator by its name in the schema, and every custom operator by its custom name."""


def _registrar(style: str) -> Callable[..., Any]:
    def register(
        name: str,
        *,
        inputs: int | str,
        outputs: int | str = 1,
        output_type: int | str | None = None,
        version: int = 1,
        types: str = "",
        typed_input: int = 0,
        shape: ShapeRule | None = None,
        stateful: bool = False,
        custom: bool = False,
        variables: bool = False,
        overwrites: bool = False,
        check: Check | None = None,
        body: Body | None = None,
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def add(run: Callable[..., Any]) -> Callable[..., Any]:
            accepted = frozenset(types.split())
            if OPS.registered(name) or not accepted <= DTYPES.keys():
                raise TypeError(f"operator {name}: registered twice, or with unknown types {accepted - DTYPES.keys()}")
            bodies = {} if body is None else {"cu": body, "cl": body}
            counts = Count.parse(inputs), Count.parse(outputs)
            kind = name, version, accepted, typed_input, shape, run, style
            OPS[name] = Op(*kind, stateful, custom, variables, bodies, overwrites, check, *counts, output_type)
            return run

        return add

    return register


function = _registrar("function")
view = _registrar("view")
alias = _registrar("alias")
kernel = _registrar("kernel")


def require(condition: object, message: str) -> None:
    """Raises OpError(message) unless condition holds."""
    if not condition:
        raise OpError(message)


def value(spec: TensorSpec | None) -> Array:
    """The value of a tensor that a shape depends on. Raises NeedsValue where it is not known yet."""
    if spec is None:
        raise OpError("a tensor that gives the output's shape is absent. ")
    if spec.data is None:
        raise NeedsValue(spec)
    return spec.data


def prepare(node: Node, inputs: Sequence[Array | None], outputs: Sequence[Array], runtime: Runtime) -> Step:
    """A node that `Op.require_valid` accepted, as a callable over fixed storage. Raises OpError where it cannot be."""
    op = runtime.ops[node.op]
    extra: tuple[Any, ...] = (runtime,) if op.stateful else ()
    if op.style == "kernel":
        batches = in_batches(node, inputs, outputs, prepare, runtime)
        if batches is not None:
            return batches
        with sharing(runtime.state):
            step: Step = op.run(node, tuple(inputs), tuple(outputs), *extra)
        return step
    if op.style in ("view", "alias"):
        x, y = inputs[0], outputs[0]
        assert x is not None
        try:
            moved = x.reshape(y.shape) if op.style == "alias" else op.run(node, x)
        except NeedsValue:  # the shape is known, but not yet where the elements come from
            return by_values(op.run, node, inputs, y)
        y = y.reshape(moved.shape)
        if op.style == "alias" and moved.ctypes.data == y.ctypes.data:
            return nothing
        if np.may_share_memory(moved, x) or moved.size == 0:
            return partial(setitem, y, ..., moved)  # half the time of np.copyto
        return lambda: copied(op.run(node, x), y)

    def call() -> None:
        results = op.run(node, *extra, *inputs)
        for out, result in zip(outputs, results if isinstance(results, tuple) else (results,), strict=True):
            out[...] = result

    return call


def nothing() -> None:
    """A step with nothing to do, such as that of an alias in its input's storage."""


def evaluate(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> tuple[Array, ...]:
    """The node's outputs in fresh arrays of whatever shape. For folding and for dynamic outputs."""
    op = runtime.ops[node.op]
    extra: tuple[Any, ...] = (runtime,) if op.stateful else ()
    op.require_valid(node)
    if op.style == "function":
        results = op.run(node, *extra, *inputs)
        results = results if isinstance(results, tuple) else (results,)
        return tuple(np.asarray(r, s.dtype) for r, s in zip(results, node.outputs, strict=True))
    outputs = tuple(np.zeros(spec.shape, spec.dtype) for spec in node.outputs)
    prepare(node, inputs, outputs, runtime)()
    return outputs


def output_shapes(node: Node, runtime: Runtime) -> Sequence[Shape] | None:
    """The shapes of the node's outputs, or None where they are known only at run time.

    Raises NeedsValue where a shape depends on an input's unknown value, OpError where the inputs do not fit.
    """
    op = runtime.ops[node.op]
    if op.style == "view" and op.shape is None:
        # np.empty is never touched, so that it costs address space and no memory.
        x = node.input(0)
        return [op.run(node, np.empty(x.shape, x.dtype)).shape]
    if op.style == "alias":
        return [op.run(node)]
    if op.shape is None:
        return None
    return op.shape(node, runtime) if op.stateful else op.shape(node)


def supported() -> Mapping[str, Op]:
    """Every registered operator, sorted by name."""
    return dict(sorted(OPS.items()))


def check_operators(model: Model, ops: Mapping[str, Op] = OPS) -> None:
    """Raises ValueError for a builtin operator, or a version of one, that is not among `ops`."""
    for op, version in model.builtins:
        if op not in ops or not 1 <= version <= ops[op].version:
            known = f"versions up to {ops[op].version} are supported" if op in ops else "it is not supported"
            raise ValueError(
                f"Didn't find op for builtin opcode '{op}' version '{version}'. "
                "An older version of this builtin might be supported. "
                "Are you using an old TFLite binary with a newer model?\n"
                f"Registration failed.\n({op}: {known})"
            )
