"""A native delegate that people use: XNNPACK out of the tflite-runtime wheel.

The library is only opened; tflite_runtime itself, which needs NumPy 1, is not imported.
"""

from __future__ import annotations

import ctypes
import importlib.util
from pathlib import Path

QS8, QU8, DYNAMIC_FULLY_CONNECTED = 1, 2, 8


def library() -> Path | None:
    """tflite_runtime's native module, which exports TfLiteXNNPackDelegateCreate; None where it is not installed."""
    spec = importlib.util.find_spec("tflite_runtime")
    folders = [] if spec is None else [Path(p) for p in spec.submodule_search_locations or ()]
    found = [path for folder in folders for path in folder.glob("_pywrap_tensorflow_interpreter_wrapper*.so")]
    return found[0] if found else None


class XnnPack:
    """What the library's TfLiteXNNPackDelegateCreate makes, with one thread."""

    def __init__(self, path: Path):
        self._library = ctypes.CDLL(str(path))
        self._library.TfLiteXNNPackDelegateCreate.restype = ctypes.c_void_p
        self._library.TfLiteXNNPackDelegateCreate.argtypes = [ctypes.c_void_p]
        self._library.TfLiteXNNPackDelegateDelete.argtypes = [ctypes.c_void_p]
        options = (ctypes.c_uint32 * 64)(1, QS8 | QU8 | DYNAMIC_FULLY_CONNECTED)  # threads, flags, and what came later
        self._pointer = self._library.TfLiteXNNPackDelegateCreate(ctypes.addressof(options))

    def _get_native_delegate_pointer(self) -> int:
        assert self._pointer
        pointer: int = self._pointer
        return pointer

    def __del__(self) -> None:
        if hasattr(self, "_pointer"):
            self._library.TfLiteXNNPackDelegateDelete(self._pointer)
