"""Every call that the CUDA device makes of CuPy exists there and takes these arguments, as far as no GPU is needed."""

from __future__ import annotations

import inspect
import re
import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from devices import require_emulator
from loop_models import large
from nvrtc import ARCHITECTURES
from oracle import one_op

import tflgpu
from tflgpu.delegates.cache import NOWHERE
from tflgpu.delegates.cuda.compiler import GRID_WIDE, Compiler, header_folders
from tflgpu.delegates.cuda.cublas import DEFAULT_ALGORITHM, F16, F32, FUNCTIONS, I8, KINDS, functions
from tflgpu.delegates.cuda.device import CudaDevice
from tflgpu.delegates.emulator.device import Emulator
from tflgpu.delegates.gpu import GpuDelegate
from tflgpu.delegation.delegate import Limits

cupy = pytest.importorskip("cupy", reason="pip install cupy-cuda12x: its signatures need no GPU")

Call = tuple[str, tuple[Any, ...], dict[str, Any]]

MADE_BY = {
    "cupy.cuda.Stream()": "cupy.cuda.Stream",
    "cupy.cuda.Device()": "cupy.cuda.Device",
    "cupy.cuda.Stream().end_capture()": "cupy.cuda.Graph",
    "cupy.RawModule()": "cupy.RawModule",
    "cupy.RawModule().get_function()": "cupy.RawKernel",
    "cupy.RawModule().get_function().kernel": "cupy.cuda.Function",
}
"""The class of what a call returns."""

OURS = {"cupy.cuda.cublas", "cupy.cuda.cublas.functions"}
"""The stand-in's own: where there is CuPy, its functions are found by the module's file."""


class Recorder:
    """A proxy of an object that notes its calls and of what they return, by their path in CuPy."""

    def __init__(self, target: Any, path: str, calls: list[Call]):
        self.__dict__.update(target=target, path=path, calls=calls)

    def __getattr__(self, name: str) -> Any:
        value, path = getattr(self.target, name), f"{self.path}.{name}"
        if isinstance(value, type) and issubclass(value, BaseException):
            self.calls.append((path, (), {}))
            return value
        if callable(value) or isinstance(value, (SimpleNamespace, Recorder)):
            return Recorder(value, path, self.calls)
        self.calls.append((path, (), {}))
        return value

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        self.calls.append((f"{self.path}()", args, keywords))
        plain = [a.target if isinstance(a, Recorder) else a for a in args]
        made = self.target(*plain, **{k: v.target if isinstance(v, Recorder) else v for k, v in keywords.items()})
        return Recorder(made, f"{self.path}()", self.calls) if f"{self.path}()" in MADE_BY else made

    def __enter__(self) -> Any:
        return self.target.__enter__()

    def __exit__(self, *error: object) -> None:
        self.target.__exit__(*error)


def calls_of_a_session() -> list[Call]:
    """What a device asks of CuPy while it is made, runs models, binds arrays, and fails."""
    calls: list[Call] = []
    device = CudaDevice(Recorder(Emulator(), "cupy", calls), precision="fp16")
    device.autotune()
    delegate = GpuDelegate("cuda", device, Limits())
    spec = {"type": "FLOAT32", "shape": [4, 8]}
    weights = np.ones((5, 8), np.float32)
    options = {"fused_activation_function": "NONE"}
    model = one_op("FULLY_CONNECTED", [spec, weights, None], [{"type": "FLOAT32", "shape": [4, 5]}], **options)
    interpreter = tflgpu.Interpreter(model_content=model, experimental_delegates=[delegate])
    interpreter.allocate_tensors()
    interpreter.invoke()
    shared = tflgpu.Interpreter(model_content=large(), experimental_delegates=[delegate])
    shared.allocate_tensors()
    shared.invoke()
    x = device.host_array((4, 8), np.float32)
    assert x is not None
    array = SimpleNamespace(__cuda_array_interface__=cuda_interface(x))
    if x.ctypes.data % 16 == 0:
        interpreter.bind_input(interpreter.get_input_details()[0]["index"], array)
        interpreter.invoke()
    with pytest.raises(MemoryError):
        device.allocate(1 << 60)
    return calls


def cuda_interface(x: Any) -> dict[str, Any]:
    return {**x.__array_interface__, "version": 3}


@pytest.fixture(scope="module")
def calls() -> list[Call]:
    require_emulator()
    return calls_of_a_session()


def real(path: str) -> Any:
    """What a recorded path is in CuPy."""
    if path in MADE_BY:
        return resolve(MADE_BY[path]).__call__
    for made, name in sorted(MADE_BY.items(), key=lambda item: -len(item[0])):
        if path.startswith(made + "."):
            return resolve(name + path[len(made) :])
    return resolve(path)


def resolve(path: str) -> Any:
    found: Any = cupy
    for name in path.split(".")[1:]:
        if isinstance(found, type) and re.search(rf"~{found.__name__}\.{name} \(", found.__doc__ or ""):
            return None  # an attribute of its instances, as its documentation says
        found = getattr(found, name)
    return found


def parameters(function: Any) -> list[str] | None:
    """Names of the parameters, of Cython functions by their docstrings; None where neither tells."""
    try:
        listed = list(inspect.signature(function).parameters)
        if not {"args", "kwargs"} <= set(listed):
            return listed
    except (TypeError, ValueError):
        pass
    text = re.search(r"^\w[\w.]*\(([^)]*)\)", (function.__doc__ or "").replace("()", ""), re.M)
    if text is None or "*args" in text[1]:
        return None
    return [
        re.split(r"[ =]", argument.split("=")[0].strip())[-1] for argument in text[1].split(",") if argument.strip()
    ]


def of_cublas(path: str) -> bool:
    """Whether a path is in the module that CuPy imports only where cuBLAS is installed; a test of its own has it."""
    return path.startswith("cupy.cuda.cublas")


def test_what_the_device_uses_is_in_cupy(calls: list[Call]) -> None:
    for path in sorted({path.removesuffix("()") for path, _, _ in calls}):
        if not of_cublas(path):
            real(path)


def test_every_call_fits_cupys_parameters(calls: list[Call]) -> None:
    checked = set()
    for path, args, keywords in calls:
        if not path.endswith("()") or of_cublas(path):
            continue
        function: Callable[..., Any] = real(path.removesuffix("()"))
        known = parameters(function.__init__ if isinstance(function, type) else function) or parameters(function)
        if known is None:
            continue
        known = [name for name in known if name not in ("self", "*", "/")]
        assert len(args) <= len(known), f"{path} takes {known}, not {len(args)} arguments"
        assert set(keywords) <= set(known), f"{path} takes {known}, not {sorted(keywords)}"
        checked.add(path)
    assert {"cupy.cuda.runtime.memcpyAsync()", "cupy.RawModule()", "cupy.cuda.Stream()"} <= checked
    assert "cupy.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor()" in checked


def test_cublas_has_what_is_called_with_as_many_parameters(calls: list[Call]) -> None:
    try:
        binding = cupy.cuda.cublas
    except ImportError as error:
        pytest.skip(f"cuBLAS is not installed: {str(error).splitlines()[0]}")
    for path in sorted({path.removesuffix("()") for path, _, _ in calls if of_cublas(path)} - OURS):
        real(path)
    found = functions(binding)
    assert found.keys() == FUNCTIONS.keys()
    known = parameters(binding.gemmStridedBatchedEx)
    assert known is not None and len(known) == len(FUNCTIONS["cublasGemmStridedBatchedEx"])
    kinds = {"fp32": "32F", "tf32": "32F_FAST_TF32", "fp16": "32F_FAST_16F", "half": "32F", "int8": "32I"}
    for arithmetic, (_, _, compute) in KINDS.items():
        assert compute == getattr(binding, f"CUBLAS_COMPUTE_{kinds[arithmetic]}")
    assert (binding.CUBLAS_OP_N, binding.CUBLAS_OP_T, binding.CUBLAS_GEMM_DEFAULT) == (0, 1, DEFAULT_ALGORITHM)
    runtime = cupy.cuda.runtime
    assert (F32, F16, I8) == (runtime.CUDA_R_32F, runtime.CUDA_R_16F, runtime.CUDA_R_8I)


class Loaded:
    """What stands for a module, for which a driver is needed."""

    def __init__(self, path: str, enable_cooperative_groups: bool):
        self.path, self.cooperative = path, enable_cooperative_groups

    def get_function(self, name: str) -> Loaded:
        return self

    def compile(self) -> None:
        """It is."""


@pytest.fixture
def compile_for(monkeypatch: Any) -> Callable[..., Any]:
    """Makes CuPy with its NVRTC and without a driver, for a compute capability."""
    try:
        cupy.cuda.nvrtc.getVersion()
    except Exception as error:
        pytest.skip(f"CuPy finds no NVRTC: {error}")

    def made(architecture: int) -> Any:
        option = f"-arch=sm_{architecture}", "cubin"
        monkeypatch.setattr(cupy.cuda.compiler, "_get_arch_for_options_for_nvrtc", lambda arch=None: option)
        device = SimpleNamespace(compute_capability=str(architecture))
        names = {name: getattr(cupy.cuda, name) for name in ("nvrtc", "compiler", "get_cuda_path")}
        return SimpleNamespace(RawModule=Loaded, cuda=SimpleNamespace(Device=lambda: device, **names))

    return made


TWICE = 'extern "C" __global__ void twice(float* x) { x[threadIdx.x] *= 2; }'


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_file_of_a_program_is_as_long_as_its_elf_headers_say(architecture: int, compile_for: Any) -> None:
    compiler = Compiler(compile_for(architecture), NOWHERE)  # whose end is that of its files
    program = Path(compiler.function(TWICE, "twice").path).read_bytes()
    assert program[:4] == b"\x7fELF"
    segments, sections = struct.unpack_from("<QQ", program, 32)
    segment_bytes, segment_count, section_bytes, section_count = struct.unpack_from("<4H", program, 54)
    assert segment_count and section_count
    ends = segments + segment_bytes * segment_count, sections + section_bytes * section_count
    assert max(ends) == len(program)


def test_cupys_nvrtc_makes_programs_and_the_headers_of_tensor_cores_are_found(compile_for: Any) -> None:
    cuda, without_driver = cupy.cuda, compile_for(90)
    found = Compiler(without_driver, NOWHERE)
    if list(header_folders(without_driver)) != [""]:
        assert found.find_headers() == "" or "cannot open" in found.find_headers()
    text = TWICE
    assert not found.function(text, "twice").cooperative
    assert found.function(f"#define {GRID_WIDE} 1\n{text}", "twice").cooperative
    with pytest.raises(cuda.compiler.CompileException, match="error"):
        found.function("broken(", "broken")
