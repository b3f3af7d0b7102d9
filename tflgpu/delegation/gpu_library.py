"""TensorFlow Lite's GPU delegate, asked for by its library's name as programs do: which delegate here that is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tflgpu.delegation.delegate import Delegate
from tflgpu.delegation.options import Option, boolean, count, read_options

Make = Callable[[str, Mapping[str, Any]], Delegate]
BEST_FIRST = ("cuda", "opencl")

_WITHOUT_EFFECT = Option(None, str, "taken, and without effect here")
OPTIONS: Mapping[str, Option] = {
    **dict.fromkeys(("precision_loss_allowed", "is_precision_loss_allowed"), Option(False, boolean, "precision=fp16")),
    **dict.fromkeys(("cache_directory", "serialization_dir"), Option("", str, "as cache_dir")),
    "max_delegated_partitions": Option(0, count, "as max_partitions"),
    **dict.fromkeys(
        (
            "inference_preference",
            "inference_priority1",
            "inference_priority2",
            "inference_priority3",
            "experimental_flags",
            "model_token",
        ),
        _WITHOUT_EFFECT,
    ),
}


def load(name: str, given: Mapping[str, Any], make: Make) -> Delegate:
    """The best GPU delegate that can be made, with these options in its own words. Raises ValueError, with the reason
    of each, where there is none.
    """
    read = read_options(name, given, OPTIONS)
    options: dict[str, Any] = {"max_partitions": read["max_delegated_partitions"]}
    folder = read["cache_directory"] or read["serialization_dir"]
    if folder:
        options["cache_dir"] = folder
    lossy = read["precision_loss_allowed"] or read["is_precision_loss_allowed"]
    # What is allowed to lose precision need not: a device without float16 does not.
    precisions = ("fp16", "fp32") if lossy else ("fp32",)
    return best(make, [{**options, "precision": precision} for precision in precisions], f" from {name}")


def best(
    make: Callable[[str, Mapping[str, Any]], Delegate], wanted: Sequence[Mapping[str, Any]], of: str = ""
) -> Delegate:
    """The best GPU delegate that can be made with the first of these options that it takes.

    Raises ValueError, with the reason of each, where there is none.
    """
    reasons = []
    for delegate in BEST_FIRST:
        for options in wanted:
            try:
                return make(delegate, options)
            except (OSError, ValueError) as error:
                reasons.append(str(error))
    raise ValueError(f"Failed to load delegate{of}\n" + "\n".join(dict.fromkeys(reasons)))
