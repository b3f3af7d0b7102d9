"""An interpreter with operators of its own."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, MutableMapping, Sequence
from typing import Any

from tflgpu.interpreter import Interpreter
from tflgpu.ops.registry import OPS, Op

CustomOpRegisterer = Callable[[MutableMapping[str, Op]], None]


class InterpreterWithCustomOps(Interpreter):
    """An Interpreter with custom operators of its own.

    custom_op_registerers: functions that put operators into the mapping they are given, by custom name; or the
    `Op`s that `tflgpu.custom_op` returns. An operator for every interpreter is registered by `custom_op` alone.
    """

    def __init__(self, custom_op_registerers: Sequence[CustomOpRegisterer | Op] | None = None, **arguments: Any):
        own: dict[str, Op] = {}
        for registerer in custom_op_registerers or ():
            if isinstance(registerer, Op):
                own[registerer.name] = registerer
            elif callable(registerer):
                registerer(own)
            else:
                raise ValueError(f"Custom ops must be given as functions or Op, not {type(registerer).__name__}")
        super().__init__(**arguments, _ops=ChainMap(own, OPS))
