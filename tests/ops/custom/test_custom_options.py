"""Reading the flexbuffer options of custom operators, whole and damaged."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from flatbuffers import flexbuffers

from tflgpu.ops.custom_options import integer, integers, read, real
from tflgpu.ops.registry import OpError

VALUES = {
    "count": 3,
    "scale": 1.5,
    "on": True,
    "mode": "bilinear",
    "sizes": [5, 7, -2],
    "pair": [1, 2],
    "flags": [True, False],
    "mixed": [1, "a"],
}


def node(content):
    return SimpleNamespace(op="Custom", custom_options=content)


def test_plain_values_are_read():
    assert read(node(bytes(flexbuffers.Dumps(VALUES)))) == VALUES


def test_no_options_are_an_empty_map():
    assert read(node(b"")) == {}


def test_what_is_nested_is_left_out():
    content = bytes(flexbuffers.Dumps({"map": {"a": 1}, "vectors": [1, [2, [3]]]}))
    assert read(node(content)) == {"map": None, "vectors": [1, None]}


@pytest.mark.parametrize("content", [b"\x00", b"\xff" * 3, b"not a flexbuffer", bytes(flexbuffers.Dumps([1, 2]))])
def test_what_is_no_map_is_an_operators_error(content):
    with pytest.raises(OpError, match="not a flexbuffer map"):
        read(node(content))


def test_damaged_bytes_are_an_operators_error_or_other_values():
    whole = bytes(flexbuffers.Dumps(VALUES))
    rng = np.random.default_rng(0)
    for _ in range(1500):
        damaged = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            damaged[rng.integers(len(damaged))] = rng.integers(256)
        try:
            read(node(bytes(damaged)))
        except OpError:
            continue


def test_numbers_are_converted_and_anything_else_is_refused():
    options = {"count": 3, "whole": 4.0, "on": True, "name": "x", "nan": float("nan"), "sizes": [1, 2.0]}
    assert integer(options, "count") == 3 and integer(options, "whole") == 4 and integer(options, "absent", 7) == 7
    assert real(options, "count") == 3.0 and integers(options, "sizes") == [1, 2] and integers(options, "absent") == []
    for read_as, key in ((integer, "name"), (integer, "nan"), (real, "sizes"), (integers, "count")):
        with pytest.raises(OpError, match=key):
            read_as(options, key)
