"""Both interpreters for tests of what they do alike."""

import pytest

import tflgpu


@pytest.fixture(params=["tflgpu", "litert"])
def api(request):
    return tflgpu if request.param == "tflgpu" else pytest.importorskip("ai_edge_litert.interpreter")
