"""What an interpreter is given, checked with TensorFlow Lite's texts."""

from __future__ import annotations

import enum
import mmap
import os

from tflgpu.model.graph import Array
from tflgpu.runtime.threads import usable_processors

ModelContent = bytes | bytearray | memoryview | mmap.mmap | Array


@enum.unique
class OpResolverType(enum.Enum):
    """Which kernels TensorFlow Lite would use. All are one here: the reference's integers, at full speed."""

    AUTO = 0
    BUILTIN = 1
    BUILTIN_REF = 2
    BUILTIN_WITHOUT_DEFAULT_DELEGATES = 3


def _is_op_resolver_type(given: object) -> bool:
    """Whether it is a member of OpResolverType, or of the enum of that name in one of TensorFlow Lite's modules."""
    return (
        isinstance(given, enum.Enum)
        and type(given).__name__ == OpResolverType.__name__
        and given.name in OpResolverType.__members__
    )


def check_arguments(resolver: object, num_threads: object) -> None:
    """Raises ValueError for what is no op resolver type or no number of threads; None is one."""
    if not _is_op_resolver_type(resolver):
        raise ValueError(f"Unrecognized passed in op resolver type: {resolver}")
    if num_threads is not None:
        if not isinstance(num_threads, int):
            raise ValueError("type of num_threads should be int")
        if num_threads < 1:
            raise ValueError("num_threads should >= 1")


def checked_content(path: str | os.PathLike[str] | None, content: ModelContent | None) -> ModelContent | None:
    """The content; None where there is but a path. Raises ValueError unless there is exactly one of them."""
    has_content = content is not None and len(content) > 0  # an array of several has no truth value
    if path and has_content:
        raise ValueError("Can't both provide `model_path` and `model_content`")
    if not path and not has_content:
        raise ValueError("`model_path` or `model_content` must be specified.")
    return content if has_content else None


def threads_of(num_threads: int | None) -> int:
    """So many as may run: 1 unless given, and no more than the processors that the process may use."""
    return 1 if num_threads is None or num_threads == 1 else min(num_threads, usable_processors())
