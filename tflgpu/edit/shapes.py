"""Another batch size, an open one, or fixed shapes: constants that hold sizes are rewritten so that shapes follow."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tflgpu.edit.document import Document
from tflgpu.interpreter import Interpreter
from tflgpu.limits import UNTRUSTED
from tflgpu.model.graph import Array, Node, Shape, TensorSpec
from tflgpu.model.writer import Values
from tflgpu.shapes import infer_stage

PROBE = 3
"""The batch size with which an open one is followed; times the model's own."""


def pin(document: Document, shapes: Mapping[str, Sequence[int]]) -> list[str]:
    """Gives inputs fixed shapes, and all tensors those that follow; where empty, the inputs keep their present ones.

    Raises ValueError where an input is unknown, RuntimeError where the model cannot take the shapes.
    """
    given = {document.find(name): tuple(shape) for name, shape in shapes.items()}
    unknown = given.keys() - {*document.main["inputs"]}
    if unknown:
        raise ValueError(f"tensor {document.name(min(unknown))!r} is no input")
    interpreter = Interpreter(model_content=document.build(), limits=UNTRUSTED)
    for index, shape in given.items():
        interpreter.resize_tensor_input(index, shape)
    interpreter.allocate_tensors()
    for tensor, spec in zip(document.tensors, interpreter._graphs[0].specs, strict=True):
        tensor["shape"] = list(spec.shape)
        tensor.pop("shape_signature", None)
    return [f"input {document.name(i)!r} is fixed to {document.tensors[i]['shape']}" for i in document.main["inputs"]]


def set_batch(document: Document, size: int | None) -> list[str]:
    """Gives the first dimension of the inputs another size, or leaves it open (None). What was rewritten, a line each.

    Inputs whose first dimension is not that of the first input stay. Sizes in constants (RESHAPE, STRIDED_SLICE, SLICE,
    TRANSPOSE_CONV, BROADCAST_TO, FILL) follow, as do variable tensors and what is joined to an example. Raises
    ValueError where that cannot be done, naming the node.
    """
    batch = _Batch(document, size)
    for node in batch.interpreter._graphs[0].graph.nodes:
        if not batch.follow(node):
            batch.done.append(f"{node}: its shape is known only at run time; nothing after it was rewritten")
            break
    batch.write_shapes()
    return batch.done


@dataclass
class _Batch:
    """One change of the batch size, on its way through the nodes.

    before, after: all tensors as inferred at the old and at the new size.
    """

    document: Document
    size: int | None
    done: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        inputs = self.document.main["inputs"]
        self.interpreter = Interpreter(model_content=self.document.build(), limits=UNTRUSTED)
        self.before = list(self.interpreter._graphs[0].graph.tensors)
        if not inputs or not self.before[inputs[0]].shape:
            raise ValueError("the model has no first input with a batch dimension")
        self.old = self.before[inputs[0]].shape[0]
        if self.old < 1:
            raise ValueError(f"the first input has a batch of {self.old}; pin its shape first")
        self.new = self.size or PROBE * self.old
        self.after = list(self.before)
        for index in inputs:
            shape = self.before[index].shape
            if shape[:1] == (self.old,):
                self.after[index] = replace(self.before[index], shape=(self.new, *shape[1:]))
        for spec in self.before:
            if spec.is_variable and spec.shape[:1] == (self.old,) and self.old != self.new:
                self.require_fixed(f"the variable {spec.name!r}")
                self.after[spec.index] = replace(spec, shape=(self.new, *spec.shape[1:]))

    def require_fixed(self, what: str) -> None:
        if self.size is None:
            raise ValueError(f"{what} holds a size, which an open batch would leave unknown: give the batch a number")

    def follow(self, node: Node) -> bool:
        """Rewrites what a node reads, and infers what it writes; False where that is known only at run time."""
        if infer_stage([node], self.before, self.interpreter._session).dynamic:
            return False
        rewrite = _REWRITES.get(node.op)
        if rewrite is not None and any(self.axis(s) is not None for s in (*node.inputs, *node.outputs) if s):
            node = rewrite(self, node)
        elif node.op in _SIZES and node.inputs:
            node = _sizes(self, node)
        try:
            return not infer_stage([node], self.after, self.interpreter._session).dynamic
        except RuntimeError as error:
            raise ValueError(f"a batch of {self.new}: {error}") from error

    def axis(self, spec: TensorSpec) -> int | None:
        """The dimension of a tensor that the batch size changes; None where none does, or it is not followed yet."""
        old, new = self.before[spec.index].shape, self.after[spec.index].shape
        changed = [i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b] if len(old) == len(new) else []
        return changed[0] if len(changed) == 1 else None

    def constant(self, spec: TensorSpec) -> Array | None:
        """The value that the file, or folding, gives a tensor at the old batch size, and still does at the new."""
        found = self.before[spec.index].data
        computed = self.after[spec.index].data
        same = found is not None and computed is not None and np.array_equal(found, computed)
        return found if same else None

    def put(self, node: Node, position: int, value: Array) -> Node:
        """Gives a node a constant of its own as an input, in the file too; the node with it."""
        spec = node.inputs[position]
        assert spec is not None
        old = self.before[spec.index].data
        assert old is not None
        if np.array_equal(old, value):
            return node
        index = self.document.constant(f"{spec.name}/batch", value, spec.type)
        made = replace(spec, index=index, shape=value.shape, data=value, shape_signature=None)
        self.before.append(replace(made, data=old, shape=old.shape))
        self.after.append(made)
        entry = self.entry(node)
        entry["inputs"] = [index if i == position else old for i, old in enumerate(entry["inputs"])]
        shown = (f"constant of shape {list(a.shape)}" if a.ndim > 1 else str(a.tolist()) for a in (old, value))
        self.done.append(f"{node}: {' -> '.join(shown)}")
        inputs = tuple(made if i == position else s for i, s in enumerate(node.inputs))
        return replace(node, inputs=inputs)

    def entry(self, node: Node) -> Values:
        return self.document.nodes[node.index]

    def write_shapes(self) -> None:
        """Puts the shapes that follow into the file's tensors."""
        for tensor, old, new in zip(self.document.tensors, self.before, self.after, strict=True):
            if len(old.shape) != len(new.shape) or old.shape == new.shape or self.document.buffers[tensor["buffer"]]:
                continue
            signature = list(tensor.get("shape_signature") or new.shape)
            changed = [i for i, (a, b) in enumerate(zip(old.shape, new.shape, strict=True)) if a != b]
            for i in changed:
                signature[i] = -1 if self.size is None else new.shape[i]
            tensor["shape"] = list(old.shape if self.size is None else new.shape)
            tensor.pop("shape_signature", None)
            if -1 in signature:
                tensor["shape_signature"] = signature
        inputs = (i for i in self.document.main["inputs"] if self.axis(self.after[i]) == 0)
        names = ", ".join(repr(self.document.name(i)) for i in inputs)
        self.done.insert(0, f"the batch of {names} was {self.old} and is {'open' if self.size is None else self.size}")


def _followed(batch: _Batch, node: Node) -> Shape | None:
    """The shape of a RESHAPE's output at the new size, -1 where it is open: the batch's dimension, wherever it is."""
    spec = node.input(0)
    axis = batch.axis(spec)
    old_in, old_out = batch.before[spec.index].shape, batch.before[node.outputs[0].index].shape
    if axis is None:
        return None
    outer = math.prod(old_in[:axis])
    fits = [j for j in range(len(old_out)) if math.prod(old_out[:j]) == outer and old_out[j] % batch.old == 0]
    if not fits:
        raise ValueError(f"{node}: the batch is inside a dimension of {list(old_out)}, made of {list(old_in)}")
    j = axis if axis in fits else fits[0]
    if batch.old == 1 and old_out[j] != 1 and 1 in old_out:
        raise ValueError(f"{node}: {list(old_in)} as {list(old_out)} may move the batch, as only one example allows")
    size = -1 if batch.size is None else old_out[j] // batch.old * batch.new
    return (*old_out[:j], size, *old_out[j + 1 :])


def _reshape(batch: _Batch, node: Node) -> Node:
    shape = _followed(batch, node)
    if shape is None:
        return node
    entry, given = batch.entry(node), node.optional(1)
    present = batch.constant(given) if given is not None else np.array(node.options.new_shape)
    if present is None or np.array_equal(np.where(present == -1, -1, shape), np.where(present == -1, -1, present)):
        return node  # computed from shapes, or with -1 where the batch is: it follows by itself
    if batch.document.options(entry).get("new_shape") is not None:
        batch.document.options(entry)["new_shape"] = list(shape)
    node = replace(node, options=type(node.options)(**{**vars(node.options), "new_shape": shape}))
    if given is None:
        batch.done.append(f"{node}: {list(shape)}")
        return node
    return batch.put(node, 1, np.array(shape, given.dtype))


def _strided_slice(batch: _Batch, node: Node) -> Node:
    axis = batch.axis(node.input(0))
    spec = batch.before[node.input(0).index]
    begin, end, strides = (batch.constant(node.input(i)) for i in (1, 2, 3))
    options = node.options
    if axis is None or begin is None or end is None or strides is None or axis >= begin.size:
        return node
    if options.ellipsis_mask or options.new_axis_mask:
        raise ValueError(f"{node}: a slice with an ellipsis or new dimensions is not followed")
    whole = options.end_mask >> axis & 1 or end[axis] >= spec.shape[axis]
    from_start = options.begin_mask >> axis & 1 or begin[axis] == 0
    if options.shrink_axis_mask >> axis & 1 or strides[axis] != 1 or not (whole and from_start):
        raise ValueError(f"{node}: it takes some examples of the batch alone: [{begin[axis]}:{end[axis]}]")
    masks = {name: getattr(options, name) | 1 << axis for name in ("begin_mask", "end_mask")}
    if any(getattr(options, name) != mask for name, mask in masks.items()):
        batch.document.options(batch.entry(node)).update(masks)
        batch.done.append(f"{node}: takes the whole batch")
    return replace(node, options=type(options)(**{**vars(options), **masks}))


def _slice(batch: _Batch, node: Node) -> Node:
    axis = batch.axis(node.input(0))
    begin, size = batch.constant(node.input(1)), batch.constant(node.input(2))
    if axis is None or begin is None or size is None or size[axis] == -1:
        return node
    if begin[axis] or size[axis] != batch.before[node.input(0).index].shape[axis]:
        raise ValueError(f"{node}: it takes some examples of the batch alone")
    return batch.put(node, 2, np.where(np.arange(size.size) == axis, -1, size).astype(size.dtype))


def _joined(batch: _Batch, node: Node) -> Node:
    """Repeats constants that are joined to, or computed with, something of the new batch size."""
    axes = {axis for spec in node.inputs if spec and (axis := batch.axis(spec)) is not None}
    rank = max(len(batch.before[spec.index].shape) for spec in node.inputs if spec)
    for position, spec in enumerate(node.inputs):
        value = batch.constant(spec) if spec is not None and len(axes) == 1 else None
        (axis,) = axes if len(axes) == 1 else (0,)
        if value is None or value.ndim != rank or value.shape[axis] != batch.old:
            continue
        if node.op != "CONCATENATION" and batch.old == 1:
            continue  # broadcast
        batch.require_fixed(f"{node}: its input {spec.name!r}" if spec else str(node))
        if batch.new % batch.old:
            raise ValueError(f"{node}: a constant of {batch.old} examples cannot be made one of {batch.new}")
        node = batch.put(node, position, np.concatenate([value] * (batch.new // batch.old), axis))
    return node


def _sizes(batch: _Batch, node: Node) -> Node:
    """An operator whose input is its output's shape, in which the first size is the batch's."""
    position = _SIZES[node.op]
    spec = node.inputs[position]
    shape = None if spec is None else batch.constant(spec)
    other = any(batch.axis(s) == 0 for s in node.inputs if s)
    if shape is None or shape.size < 2 or shape[0] != batch.old or not (other or node.op == "FILL"):
        return node
    if node.op == "FILL" and batch.old == 1 and batch.size is None:
        return node  # it may broadcast
    batch.require_fixed(f"{node}: its shape")
    return batch.put(node, position, np.array([batch.new, *shape[1:]], shape.dtype))


_SIZES = {"TRANSPOSE_CONV": 0, "BROADCAST_TO": 1, "FILL": 0}
"""Operators of which an input is the output's shape, and its position."""

_REWRITES: Mapping[str, Callable[[_Batch, Node], Node]] = {
    "RESHAPE": _reshape,
    "STRIDED_SLICE": _strided_slice,
    "SLICE": _slice,
    **dict.fromkeys(("CONCATENATION", "ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SELECT_V2"), _joined),
}
