"""The attributes of Flex operators: as TensorFlow's converter writes them, and damaged."""

from __future__ import annotations

import numpy as np
import pytest
from flex_models import model, options
from oracle import one_op

import tflgpu
from tflgpu.model.graph import Node, Options
from tflgpu.ops.flex.node_def import DataType, MalformedNodeDef, attribute, attributes, integers

# TensorListReserve and MaxPool3D as TensorFlow 2.21 wrote them.
RESERVE = (
    b"\x11TensorListReserve\x00\x7f\x12\x11TensorListReserve\x1a\x00\x1a\x00*\x10\n\nshape_type\x12\x020\x03*\x13\n\r"
    b"element_dtype\x12\x020\x012?\n#sequential_1/lstm_1/TensorArrayV2_1\x12\x18__inference_function_678\x00\x02\x94"
    b"\x82\x14\x14\x04(\x01"
)
MAX_POOL = (
    b"\tMaxPool3D\x00m\x12\tMaxPool3D\x1a\x00*\x16\n\x0bdata_format\x12\x07\x12\x05NDHWC*\x12\n\x05ksize\x12\t\n\x07"
    b"\x1a\x05\x01\x02\x02\x02\x01*\x14\n\x07strides\x12\t\n\x07\x1a\x05\x01\x02\x02\x02\x01*\x11\n\x07padding\x12\x06"
    b"\x12\x04SAME*\x07\n\x01T\x12\x020\x012\x00\x00\x02zp\x14\x14\x04(\x01"
)


def node(content: bytes) -> Node:
    return Node(0, "FlexAny", 1, Options(), (), (), is_custom=True, custom_options=content)


def test_what_the_converter_wrote_is_read():
    assert attributes(node(RESERVE)) == {"shape_type": "INT32", "element_dtype": "FLOAT32"}
    found = attributes(node(MAX_POOL))
    assert found["padding"] == b"SAME" and integers(node(MAX_POOL), "ksize") == (1, 2, 2, 2, 1)
    assert isinstance(found["T"], DataType) and found["T"] == "FLOAT32"


def test_every_kind_of_attribute_is_read():
    given = {
        "flag": True,
        "count": -7,
        "share": 0.25,
        "text": b"\xff\x00",
        "type": DataType("INT64"),
        "shape": (-1, 3),
        "sizes": [1, -2],
        "shares": [0.5, 1.5],
        "texts": [b"a", b""],
        "types": [DataType("STRING")],
        "none": [],
    }
    assert attributes(node(options("Any", given))) == given
    assert attribute(node(b""), "count", 3) == 3


@pytest.mark.parametrize("whole", [RESERVE, MAX_POOL])
def test_damaged_bytes_are_attributes_or_a_value_error(whole):
    rng = np.random.default_rng(0)
    damaged = [whole[:n] for n in range(1, len(whole))]
    for at in rng.integers(0, len(whole), 300):
        damaged.append(whole[:at] + bytes([rng.integers(256)]) + whole[at + 1 :])
    refused = 0
    for content in damaged:
        try:
            attributes(node(content))
        except MalformedNodeDef as error:
            refused += 1
            assert isinstance(error, ValueError) and "FlexAny" in str(error)
    assert refused > len(whole) // 2


def test_an_error_names_the_node_and_the_attribute():
    x = np.zeros((1, 2, 2, 2, 1), np.float32)
    data = model("MaxPool3D", [x], "FLOAT32", ksize=[1, 2, 2, 2, 1], strides=[1, 1, 1, 1, 1], padding="ROUND")
    with pytest.raises(
        ValueError, match=r"padding is b'ROUND', not one of VALID, SAME.*\(FlexMaxPool3D\) failed to pre"
    ):
        tflgpu.Interpreter(model_content=data).allocate_tensors()
    data = model("MaxPool3D", [x], "FLOAT32", ksize="large", padding="SAME")
    with pytest.raises(ValueError, match="ksize is b'large', not a list of integers"):
        tflgpu.Interpreter(model_content=data).allocate_tensors()
    bad = one_op("FlexErf", [{"type": "FLOAT32", "shape": [2]}], [{"type": "INT32", "shape": [2]}], custom=b"")
    with pytest.raises(RuntimeError, match="of one type, not FLOAT32 and INT32"):
        tflgpu.Interpreter(model_content=bad).allocate_tensors()
