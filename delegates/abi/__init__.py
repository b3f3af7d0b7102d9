"""TensorFlow Lite's C ABI in ctypes: native delegates in our interpreter, and our delegates in Google's."""

from tflgpu.delegates.abi.guest import Guest, as_guest
from tflgpu.delegates.abi.host import NativeDelegate, borrow, load

__all__ = ["Guest", "NativeDelegate", "as_guest", "borrow", "load"]
