"""Reductions of a block by way of sub-groups, as on GPUs that have them; Intel's CPU runtime has them too."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from opencl_runtimes import require_intel
from oracle import assert_same, one_op, tflgpu_run

from tflgpu.delegation.discovery import load_delegate

cl = pytest.importorskip("pyopencl")
FLOAT = {"type": "FLOAT32", "shape": (3, 300)}
WEIGHTS = {"value": (np.arange(300) % 200 - 100).astype(np.int8).reshape(1, 300), "type": "INT8", "scale": 0.1}
MODELS = {
    "softmax": one_op("SOFTMAX", [FLOAT], [FLOAT], beta=1.0),
    "l2_normalization": one_op("L2_NORMALIZATION", [FLOAT], [FLOAT]),
    "quantize_rows": one_op(
        "FULLY_CONNECTED", [FLOAT, WEIGHTS, None], [{"type": "FLOAT32", "shape": (3, 1)}], version=3
    ),
}


@pytest.mark.parametrize("kernel", MODELS)
@pytest.mark.parametrize("standard", ["1.2", "3.0"])
def test_a_block_reduces_within_sub_groups_first(kernel: str, standard: str) -> None:
    from tflgpu.delegates.opencl.limits import SUBGROUPS

    options = {"device": require_intel(), "cache_dir": "none", "profile": "1", "require_full": "1"}
    delegate: Any = load_delegate("opencl", options)
    device = delegate.device
    device.limits = replace(device.limits.minus("vnni", "vnni_assembly"), cpu=False, vector=8)
    device.programs.options = [f"-cl-std=CL{standard}", SUBGROUPS]
    texts: list[str] = []
    make = device.kernel
    device.kernel = lambda text, name: texts.append(text) or make(text, name)
    x = np.random.default_rng(0).normal(size=(3, 300)).astype(np.float32)
    assert_same(tflgpu_run(MODELS[kernel], [x], [delegate]), tflgpu_run(MODELS[kernel], [x]), rtol=1e-5, atol=1e-6)
    assert kernel in device.times()
    assert any(int(width) > 1 for text in texts for width in re.findall(r"#define WIDTH (\d+)", text))


@pytest.mark.parametrize(
    ("kind", "version", "extensions", "wanted"),
    [
        ("GPU", "OpenCL 3.0 X", "cl_khr_subgroups", ["-cl-std=CL3.0", "-DSUBGROUPS"]),
        ("GPU", "OpenCL 2.1 X", "cl_khr_fp64 cl_khr_subgroups", ["-cl-std=CL2.0", "-DSUBGROUPS"]),
        ("GPU", "OpenCL 1.2 X", "cl_intel_subgroups", ["-cl-std=CL1.2", "-DSUBGROUPS"]),
        ("GPU", "OpenCL 3.0 X", "cl_khr_fp64", ["-cl-std=CL1.2"]),
        ("CPU", "OpenCL 3.0 X", "cl_intel_subgroups cl_khr_subgroups", ["-cl-std=CL1.2"]),
    ],
)
def test_kernels_are_compiled_for_sub_groups_where_a_gpu_has_them(
    kind: str, version: str, extensions: str, wanted: list[str]
) -> None:
    from tflgpu.delegates.opencl.limits import language

    device: Any = SimpleNamespace(type=getattr(cl.device_type, kind), version=version, extensions=extensions)
    assert language(device) == wanted
