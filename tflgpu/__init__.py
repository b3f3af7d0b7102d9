"""TensorFlow Lite models from Python, on the CPU and the GPU: a drop-in for `tf.lite.Interpreter`."""

import importlib
from typing import TYPE_CHECKING, Any

from tflgpu.arguments import OpResolverType
from tflgpu.custom_ops_interpreter import InterpreterWithCustomOps
from tflgpu.delegation.delegate import Delegate, Unsupported
from tflgpu.delegation.discovery import as_tflite_delegate, load_delegate
from tflgpu.interpreter import Interpreter, SignatureRunner
from tflgpu.limits import Limits
from tflgpu.ops.custom.custom import custom_op

if TYPE_CHECKING:
    from tflgpu.compiled_model import CompiledModel
    from tflgpu.images import image_input
    from tflgpu.metadata import labels, top_k
    from tflgpu.quantized import dequantize, quantize
    from tflgpu.serving.predictor import Predictor

__all__ = [
    "CompiledModel",
    "Delegate",
    "Interpreter",
    "InterpreterWithCustomOps",
    "Limits",
    "OpResolverType",
    "Predictor",
    "SignatureRunner",
    "Unsupported",
    "as_tflite_delegate",
    "custom_op",
    "dequantize",
    "image_input",
    "labels",
    "load_delegate",
    "quantize",
    "top_k",
]
__version__ = "0.1.0"

_IMPORTED_WHEN_USED = {
    "CompiledModel": "tflgpu.compiled_model",
    "Predictor": "tflgpu.serving.predictor",
    "dequantize": "tflgpu.quantized",
    "image_input": "tflgpu.images",
    "labels": "tflgpu.metadata",
    "quantize": "tflgpu.quantized",
    "top_k": "tflgpu.metadata",
}


def __getattr__(name: str) -> Any:
    if name not in _IMPORTED_WHEN_USED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(_IMPORTED_WHEN_USED[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
