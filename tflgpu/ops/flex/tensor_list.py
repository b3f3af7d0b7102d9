"""Lists of tensors, as Keras's recurrent layers with an open batch keep them: a VARIANT tensor holds a TensorList.

A list is a value: what writes to it makes another one, which shares the elements that did not change.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tflgpu.model.graph import DTYPES, Array, Node, Shape, TensorSpec
from tflgpu.ops.flex.inputs import one_integer
from tflgpu.ops.flex.node_def import attribute, element_type
from tflgpu.ops.registry import OpError, Runtime, function, require, value

PartialShape = tuple[int, ...] | None
"""-1 for a size that is not known; None where the rank is not."""


@dataclass(frozen=True, eq=False, slots=True)
class TensorList:
    """elements: a vector of arrays, None where nothing was written, of a type in the schema's words."""

    elements: Array
    type: str
    shape: PartialShape


def _of_list(node: Node, runtime: Runtime) -> list[Shape]:
    return [()]


def _list(node: Node, given: Array) -> TensorList:
    found = given.reshape(-1)[0] if given.size == 1 else None
    if not isinstance(found, TensorList):
        raise OpError(f"{node.input(0)} holds no list of tensors. ")
    return found


def _partial(node: Node, given: Array) -> PartialShape:
    """A shape as a tensor gives it: a vector, or the scalar -1 where not even the rank is known."""
    require(given.ndim < 2 and given.dtype.kind == "i", f"{node.op}: an element's shape is a vector of integers. ")
    sizes = tuple(int(d) for d in given.reshape(-1))
    require(all(d >= -1 for d in sizes), f"{node.op}: an element's shape is {list(sizes)}. ")
    if given.ndim == 0:
        require(sizes == (-1,), f"{node.op}: an element's shape is {sizes[0]}. ")
        return None
    return sizes


def _merged(node: Node, a: PartialShape, b: PartialShape) -> PartialShape:
    """The shape that both describe. Raises OpError where they contradict one another."""
    if a is None or b is None:
        return b if a is None else a
    fits = len(a) == len(b) and all(x == y or -1 in (x, y) for x, y in zip(a, b, strict=True))
    require(fits, f"{node.op}: tried to merge the shapes {list(a)} and {list(b)} of a list's elements. ")
    return tuple(max(x, y) for x, y in zip(a, b, strict=True))


def _element_shape(node: Node, of: TensorList, given: Array) -> Shape:
    """The shape of an element, by the list, by what the node is given, and by the elements that were written."""
    shape = _merged(node, of.shape, _partial(node, given))
    for element in of.elements:
        shape = shape if element is None else _merged(node, shape, element.shape)
    if shape is None or -1 in shape:
        raise OpError(f"{node.op}: the shape of an element that was never written is not known. ")
    return shape


def _empty(runtime: Runtime, count: int, what: str) -> Array:
    """A counted vector for so many elements."""
    require(count >= 0, f"{what}: a list of {count} tensors. ")
    runtime.meter.reserve(8 * count, f"the list of {what}")
    elements = np.full(count, None, object)
    runtime.meter.hold(elements)
    return elements


def _copied(runtime: Runtime, element: Array, what: str) -> Array:
    runtime.meter.reserve(element.nbytes, f"an element of {what}")
    copy = element.copy()
    runtime.meter.hold(copy)
    return copy


def _resized(runtime: Runtime, of: TensorList, count: int, what: str) -> TensorList:
    elements = _empty(runtime, count, what)
    common = min(count, len(of.elements))
    elements[:common] = of.elements[:common]
    return replace(of, elements=elements)


def _made(node: Node) -> str:
    """The element type of the list that a node makes."""
    type = element_type(node, "element_dtype")
    require(type not in ("VARIANT", "RESOURCE"), f"{node.op}: lists of {type} are not supported. ")
    return type


@function("FlexTensorListReserve", inputs=2, types="INT32 INT64", shape=_of_list, custom=True, stateful=True)
def reserve(node: Node, runtime: Runtime, shape: Array, count: Array) -> TensorList:
    """A list of so many tensors that are yet to be written."""
    return TensorList(_empty(runtime, one_integer(node, 1, count), str(node)), _made(node), _partial(node, shape))


@function("FlexEmptyTensorList", inputs=2, types="INT32 INT64", shape=_of_list, custom=True, stateful=True)
def empty(node: Node, runtime: Runtime, shape: Array, most: Array) -> TensorList:
    """A list of no tensors."""
    return TensorList(_empty(runtime, 0, str(node)), _made(node), _partial(node, shape))


@function("FlexTensorListFromTensor", inputs=2, shape=_of_list, custom=True, stateful=True)
def from_tensor(node: Node, runtime: Runtime, x: Array, shape: Array) -> TensorList:
    """A list of x's entries along its first dimension."""
    require(x.ndim > 0, f"{node.input(0)}: a list is made of a vector or more. ")
    given = _merged(node, _partial(node, shape), x.shape[1:])
    elements = _empty(runtime, len(x), str(node))
    copy = _copied(runtime, x, str(node))
    for i in range(len(x)):
        elements[i] = copy[i, ...]
    return TensorList(elements, node.input(0).type, given)


def _require_fit(node: Node, of: TensorList, item: TensorSpec) -> None:
    require(of.type == item.type, f"{node.op}: {item} does not fit a list of {of.type}. ")
    _merged(node, of.shape, item.shape)


@function("FlexTensorListSetItem", inputs=3, types="VARIANT", shape=_of_list, custom=True, stateful=True)
def set_item(node: Node, runtime: Runtime, given: Array, index: Array, item: Array) -> TensorList:
    """The list with item at an index."""
    of, at = _list(node, given), one_integer(node, 1, index)
    count = len(of.elements)
    _require_fit(node, of, node.input(2))
    if at >= count and attribute(node, "resize_if_index_out_of_bounds", False):
        changed = _resized(runtime, of, at + 1, str(node))
    else:
        require(0 <= at < count, f"Trying to modify element {at} in a list with {count} elements. ")
        changed = _resized(runtime, of, count, str(node))
    changed.elements[at] = _copied(runtime, item, str(node))
    return changed


def _given_shape(node: Node) -> Shape | None:
    """The element's shape that the node's last input says, or None where it has sizes that only the list knows."""
    given = _partial(node, value(node.inputs[-1]))
    return None if given is None or -1 in given else given


def _get_shape(node: Node, runtime: Runtime) -> list[Shape] | None:
    shape = _given_shape(node)
    return None if shape is None else [shape]


@function("FlexTensorListGetItem", inputs=3, types="VARIANT", shape=_get_shape, custom=True, stateful=True)
def get_item(node: Node, runtime: Runtime, given: Array, index: Array, shape: Array) -> Array:
    """The element at an index; zeros where nothing was written."""
    of, at = _list(node, given), one_integer(node, 1, index)
    require(of.type == node.outputs[0].type, f"{node.op}: a list of {of.type} does not fit {node.outputs[0]}. ")
    count = len(of.elements)
    require(0 <= at < count, f"Trying to access element {at} in a list with {count} elements. ")
    element = of.elements[at]
    if element is None:
        return _zeros(node, runtime, _element_shape(node, of, shape))
    _merged(node, element.shape, _partial(node, shape))
    return element


def _zeros(node: Node, runtime: Runtime, shape: Shape) -> Array:
    dtype = DTYPES[node.outputs[0].type]
    nbytes = dtype.itemsize
    for d in shape:
        nbytes *= d
    runtime.meter.reserve(nbytes, str(node))
    return np.full(shape, b"" if dtype.kind == "O" else 0, dtype)


def _stack_shape(node: Node, runtime: Runtime) -> list[Shape] | None:
    count, shape = attribute(node, "num_elements", -1), _given_shape(node)
    return None if count < 0 or shape is None else [(count, *shape)]


@function("FlexTensorListStack", inputs=2, types="VARIANT", shape=_stack_shape, custom=True, stateful=True)
def stack(node: Node, runtime: Runtime, given: Array, shape: Array) -> Array:
    """The elements along a new first dimension; zeros where nothing was written."""
    of, wanted = _list(node, given), attribute(node, "num_elements", -1)
    require(of.type == node.outputs[0].type, f"{node.op}: a list of {of.type} does not fit {node.outputs[0]}. ")
    count = len(of.elements)
    require(wanted in (-1, count), f"Operation expected a list with {wanted} elements but got {count} elements. ")
    out = _zeros(node, runtime, (count, *_element_shape(node, of, shape)))
    for i, element in enumerate(of.elements):
        if element is not None:
            out[i] = element
    return out


@function("FlexTensorListLength", inputs=1, types="VARIANT", shape=_of_list, custom=True, stateful=True)
def length(node: Node, runtime: Runtime, given: Array) -> Array:
    """How many elements the list has."""
    return np.array(len(_list(node, given).elements), np.int32)


@function("FlexTensorListResize", inputs=2, types="VARIANT", shape=_of_list, custom=True, stateful=True)
def resize(node: Node, runtime: Runtime, given: Array, count: Array) -> TensorList:
    """The list with its first so many elements, or further ones that are yet to be written."""
    return _resized(runtime, _list(node, given), one_integer(node, 1, count), str(node))


@function("FlexTensorListPushBack", inputs=2, types="VARIANT", shape=_of_list, custom=True, stateful=True)
def push_back(node: Node, runtime: Runtime, given: Array, item: Array) -> TensorList:
    """The list with item as a further element."""
    of = _list(node, given)
    _require_fit(node, of, node.input(1))
    longer = _resized(runtime, of, len(of.elements) + 1, str(node))
    longer.elements[-1] = _copied(runtime, item, str(node))
    return longer


@function("FlexTensorListPopBack", inputs=2, outputs=2, types="VARIANT", custom=True, stateful=True)
def pop_back(node: Node, runtime: Runtime, given: Array, shape: Array) -> tuple[TensorList, Array]:
    """The list without its last element, and that element."""
    of = _list(node, given)
    require(of.type == node.outputs[1].type, f"{node.op}: a list of {of.type} does not fit {node.outputs[1]}. ")
    require(len(of.elements) > 0, "Trying to pop from an empty list. ")
    last = of.elements[-1]
    if last is None:
        last = _zeros(node, runtime, _element_shape(node, of, shape))
    return _resized(runtime, of, len(of.elements) - 1, str(node)), last
