"""What a native delegate is shown here and in LiteRT, word by word; options through their C structs and back."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from abi.abi_libraries import compiled
from checkout import TESTS

import tflgpu
from tflgpu.delegates.abi import builtin_data, structs
from tflgpu.delegates.abi.builtin_data import PARAMS
from tflgpu.delegates.abi.variadic import formatted
from tflgpu.model.builder import ModelBuilder
from tflgpu.model.graph import Options
from tflgpu.model.schema import BUILTIN_OPERATORS, ENUMS, OPTIONS_OF, TABLES, Field

POINTERS = ("VAR_HANDLE", "BUCKETIZE", "STABLEHLO_COMPOSITE")
SIZES = ";".join(
    f"{BUILTIN_OPERATORS.index(op)}:{ctypes.sizeof(struct)}" for op, (_, struct) in PARAMS.items() if op not in POINTERS
)


def some_value(field: Field, seed: int) -> Any:
    """A value for a field, seldom its default."""
    if field.kind == "enum":
        names = [n for n in ENUMS[field.type].names if n != "UNSUPPORTED"]
        return names[seed % len(names)]
    if field.kind == "vector":
        return bytes(range(seed)) if field.type == "ubyte" else tuple(range(seed, seed + 3))
    if field.kind == "string":
        return f"name {seed}"
    return {"bool": seed % 2 == 1, "float": seed * 0.25}.get(field.type, seed)


def options(op: str, seed: int) -> Options:
    return Options(**{f.name: some_value(f, seed + i) for i, f in enumerate(TABLES[OPTIONS_OF[op]])})


@pytest.mark.parametrize("op", sorted(PARAMS))
@pytest.mark.parametrize("seed", [1, 2, 5])
def test_options_come_back_from_their_struct(op: str, seed: int) -> None:
    given = options(op, seed)
    if op == "STABLEHLO_REDUCE_WINDOW":
        given.padding = tuple(range(6))
    params = builtin_data.write(op, given)
    assert params is not None
    got = builtin_data.read(op, ctypes.addressof(params), rank=3)
    carried = {member.name for member in PARAMS[op][0]}
    assert {name: getattr(got, name) for name in carried} == {name: getattr(given, name) for name in carried}


def test_operators_whose_options_the_c_api_does_not_pass_are_refused() -> None:
    with pytest.raises(RuntimeError, match="TensorFlow Lite tells no delegate the options of STABLEHLO_IOTA"):
        builtin_data.read("STABLEHLO_IOTA", None)
    assert vars(builtin_data.read("EXP", None)) == {}


def test_more_dimensions_than_a_struct_holds_are_refused() -> None:
    with pytest.raises(RuntimeError, match="new_shape has 9 values"):
        builtin_data.write("RESHAPE", Options(new_shape=(1,) * 9))


def test_int_arrays_hold_their_values() -> None:
    for values in ([], [7], [3, -1, 2**31 - 1]):
        address = structs.int_array(values)
        assert structs.ints(address) == values
        structs.free(address)
    assert structs.ints(None) == []


def test_messages_are_formatted_like_printf() -> None:
    words = [2**64 - 7, ord("Z"), 255, 1234567890123]
    text = formatted("%d %c %#x|%lld|%5.2f %% %g", (*words, 3.14159, 2.5, *[0.0] * 6, *[0] * 24))
    assert text == "-7 Z 0xff|1234567890123| 3.14 % 2.5"
    assert formatted("%s %u", (0, 3, 0, 0, *[0.0] * 8, *[0] * 24)) == "(null) 3"
    assert formatted("%s of %d", ()) == "%s of %d"
    name = ctypes.create_string_buffer(b"abcdef")
    assert formatted("%.*s|%-4s|", (3, ctypes.addressof(name), 0, 0, *[0.0] * 8, *[0] * 24)) == "abc|(null)|"


@pytest.mark.parametrize("machine", ["aarch64", "arm64"])
def test_elsewhere_than_on_x86_64_messages_are_shown_unfilled(machine: str) -> None:
    """As where variadic arguments are passed in another way: the callback takes the text, and no more."""
    script = f"""
import platform, sys
sys.path.insert(0, {str(TESTS)!r})
platform.machine = lambda: {machine!r}
import tflgpu
from abi.adder import interpreter
from sample_models import MIXED
try:
    interpreter(tflgpu, MIXED, {{"fail_init": 1}})
except RuntimeError as error:
    print(error)
"""
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert told.returncode == 0, told.stderr[-2000:]
    assert "no room for %d nodes\n" in told.stdout


def test_variadic_arguments_are_looked_for_only_where_they_are_known_to_be() -> None:
    assert structs.variadic("nt", "AMD64") == structs.variadic("posix", "aarch64") == ()
    assert len(structs.variadic("posix", "x86_64")) == 36


def small_models() -> dict[str, Callable[[ModelBuilder, Any], None]]:
    """Nodes that between them have every kind of member, tensor and constant."""

    def conv(m: ModelBuilder, g: Any) -> None:
        x = g.input("x", "INT8", [1, 5, 7, 3], scale=0.5, zero_point=3, shape_signature=[-1, 5, 7, 3])
        scales = [0.25, 0.5]
        w = g.constant("w", np.ones((2, 3, 3, 3), np.int8), scale=scales, zero_point=[0, 0], axis=0)
        y = g.tensor("y", "INT8", [1, 5, 7, 2], scale=1.5, zero_point=-2)
        fields = {"padding": "SAME", "stride_w": 1, "stride_h": 1, "fused_activation_function": "RELU6"}
        bias = g.constant("bias", np.zeros(2, np.int32), scale=[0.125, 0.25], zero_point=[0, 0], axis=0)
        g.node("CONV_2D", [x, w, bias], [y], version=3, **fields)
        z = g.tensor("z", "INT8", [1, 3, 4, 2], scale=1.5, zero_point=-2)
        g.node(
            "MAX_POOL_2D", [y], [z], version=2, padding="VALID", stride_w=2, stride_h=2, filter_width=1, filter_height=1
        )
        g.outputs(z)

    def shapes(m: ModelBuilder, g: Any) -> None:
        x = g.input("x", "FLOAT32", [2, 3])
        y, z, s = (g.tensor(n, "FLOAT32", shape) for n, shape in (("y", [3, 2]), ("z", [3, 2]), ("s", [3])))
        g.node("RESHAPE", [x, g.constant("shape", np.int32([3, 2]))], [y], new_shape=[3, 2])
        g.node("GELU", [y], [z], approximate=True)
        fields = {"begin_mask": 1, "end_mask": 1, "shrink_axis_mask": 2, "offset": True}
        window = [g.constant(f"w{i}", np.int32(value)) for i, value in enumerate(([0, 1], [3, 1], [1, 1]))]
        g.node("STRIDED_SLICE", [y, *window], [s], version=8, **fields)
        g.outputs(z, s)

    def custom(m: ModelBuilder, g: Any) -> None:
        x, y = g.input("x", "FLOAT32", [3]), g.tensor("y", "FLOAT32", [3])
        g.custom("Whatever", [x], [y], options=b"\x01\x02\x03")
        g.outputs(y)
        m.metadata("witnessed", b"seventeen bytes..")

    def narrow(m: ModelBuilder, g: Any) -> None:
        x = g.input("x", "FLOAT32", [2, 4])
        w = g.constant("w", np.arange(-6, 6, dtype=np.int8).reshape(3, 4), type="INT4", scale=[0.5], zero_point=[0])
        y = g.tensor("y", "FLOAT32", [2, 3])
        g.node("FULLY_CONNECTED", [x, w, None], [y], version=9, asymmetric_quantize_inputs=True, keep_num_dims=True)
        g.outputs(y)

    return {"conv": conv, "shapes": shapes, "custom": custom, "narrow": narrow}


@pytest.mark.parametrize("name", small_models())
def test_a_delegate_is_shown_the_same_graph_as_in_litert(name: str, tmp_path: Path) -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    model = ModelBuilder()
    small_models()[name](model, model.graph())
    data = model.build()
    library = str(compiled("witness"))
    told = []
    for module in (litert, tflgpu):
        path = tmp_path / f"{module.__name__}.txt"
        delegate = module.load_delegate(library, {"path": str(path), "sizes": SIZES})
        kernels = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        made = {"model_content": data, "experimental_op_resolver_type": kernels}
        module.Interpreter(**made, experimental_delegates=[delegate])
        told.append(path.read_text().splitlines())
    assert told[1] == told[0]
