"""TensorFlow Lite models from Python, on the CPU and the GPU: a drop-in for `tf.lite.Interpreter`."""

from tflgpu.compiled_model import CompiledModel
from tflgpu.delegation.delegate import Delegate, Unsupported
from tflgpu.delegation.discovery import as_tflite_delegate, load_delegate
from tflgpu.interpreter import Interpreter, InterpreterWithCustomOps, OpResolverType, SignatureRunner
from tflgpu.limits import Limits
from tflgpu.ops.custom.custom import custom_op
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
    "load_delegate",
]
__version__ = "0.1.0"
