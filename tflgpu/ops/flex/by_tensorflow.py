"""Flex operators that tflgpu does not have, run by TensorFlow itself where it is installed (the extra `flex`).

A model may be hostile: of what touches more than its inputs and outputs, TensorFlow runs nothing but random numbers.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tflgpu.model.graph import Array, Node, TensorSpec
from tflgpu.ops.flex.node_def import DataType, attributes
from tflgpu.ops.registry import OPS, Op, OpError, Runtime, require

_RANDOM = re.compile(
    "Multinomial|(Parameterized)?TruncatedNormal|Random(Gamma|PoissonV2|Shuffle|StandardNormal|Uniform(Int)?)"
    "|StatelessRandomGetAlg"
)
"""Stateful operators that are run."""

_OUTSIDE = re.compile("Abort|Dataset|Debug|File|ImmutableConst|Proto|PyFunc|Vocab")
"""In the names of those that TensorFlow calls stateless, and that read files, write to addresses or run programs."""


def provide(name: str) -> bool:
    """Registers the operator Flex… where TensorFlow is installed and has it. Returns whether it did.

    Raises OpError for one that touches more than its inputs and outputs.
    """
    definition = None if importlib.util.find_spec("tensorflow") is None else _definition(name)
    if definition is None:
        return False
    pure = not definition.is_stateful and not _OUTSIDE.search(name)
    require(
        pure or _RANDOM.fullmatch(definition.name),
        f"{name} touches more than its inputs and outputs: TensorFlow could run it, but not for a model, which may be "
        f"hostile. Write it in Python: tflgpu.custom_op({name!r}, …). ",
    )
    OPS[name] = Op(name, 1, frozenset(), 0, None, _run, "function", stateful=True, custom=True)
    return True


def _definition(name: str) -> Any:
    """TensorFlow's OpDef of the operator Flex…, or None where it has none."""
    importlib.import_module("tensorflow")  # which fills the registry
    return importlib.import_module("tensorflow.python.framework.op_def_registry").get(name.removeprefix("Flex"))


def _run(node: Node, runtime: Runtime, *inputs: Array | None) -> tuple[Array, ...]:
    """What TensorFlow's eager operator answers."""
    tf: Any = importlib.import_module("tensorflow")
    name = node.op.removeprefix("Flex")
    given = {key: _attribute(tf, value) for key, value in attributes(node).items()}
    tensors = [_tensor(tf, spec, x) for spec, x in zip(node.inputs, inputs, strict=True)]
    definition = _definition(node.op)
    arguments = dict(_grouped(definition.input_arg, given, tensors))
    inferred = {field for arg in definition.input_arg for field in _inferred(arg)}
    arguments |= {key: v for key, v in given.items() if key not in inferred and not key.startswith("_")}
    try:
        results = getattr(tf.raw_ops, name)(**arguments)
    except Exception as error:  # whatever TensorFlow raises
        raise OpError(f"TensorFlow's {name}: {str(error).strip()} ") from error
    found = tf.nest.flatten(results) if node.outputs else []
    require(len(found) == len(node.outputs), f"TensorFlow's {name} gave {len(found)} outputs. ")
    return tuple(_array(spec, one) for spec, one in zip(node.outputs, found, strict=True))


def _inferred(argument: Any) -> Sequence[str]:
    """The attributes that TensorFlow takes from the inputs."""
    return argument.type_attr, argument.number_attr, argument.type_list_attr


def _grouped(arguments: Any, given: Mapping[str, Any], tensors: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """The tensors by the names of the operator's arguments, some of which are lists."""
    at = 0
    for argument in arguments:
        if argument.number_attr or argument.type_list_attr:
            wanted = given.get(argument.number_attr or argument.type_list_attr, 0)
            count = wanted if isinstance(wanted, int) else len(wanted)
            yield argument.name, list(tensors[at : at + count])
            at += count
        else:
            require(at < len(tensors), f"input {argument.name} is missing. ")
            yield argument.name, tensors[at]
            at += 1


def _attribute(tf: Any, value: Any) -> Any:
    if isinstance(value, DataType):
        return tf.as_dtype(value.lower())
    if isinstance(value, list):
        return [_attribute(tf, entry) for entry in value]
    return tf.TensorShape([None if d < 0 else d for d in value]) if isinstance(value, tuple) else value


def _tensor(tf: Any, spec: TensorSpec | None, x: Array | None) -> Any:
    if spec is None or x is None or spec.type in ("RESOURCE", "VARIANT"):
        raise OpError(f"TensorFlow cannot be given {spec or 'an absent tensor'}. ")
    if spec.type == "BFLOAT16":
        return tf.bitcast(tf.constant(x), tf.bfloat16)
    return tf.constant(x.tolist() if x.dtype == object else x, tf.as_dtype(spec.type.lower()), x.shape)


def _array(spec: TensorSpec, result: Any) -> Array:
    require(result.dtype.name.upper() == spec.type, f"TensorFlow gave {result.dtype.name} for {spec}. ")
    found = np.asarray(result.numpy())
    return found.view(np.uint16) if spec.type == "BFLOAT16" else found
