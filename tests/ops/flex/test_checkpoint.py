"""Save and Restore: TensorFlow's checkpoints, hostile names, damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from flex_models import model, strings
from oracle import tflgpu_run

from tflgpu.model.builder import ModelBuilder
from tflgpu.ops.flex import sorted_table
from tflgpu.ops.flex.checkpoint import checkpoint, restored
from tflgpu.ops.flex.node_def import DataType

MOST = 1 << 30
TENSORS = {
    b"w": ("FLOAT32", np.arange(12, dtype=np.float32).reshape(3, 4) / 7),
    b"n\x00\xff": ("INT64", np.array([-1, 2**40, -(2**62)])),
    b"i": ("INT8", np.array([[-128, 127]], np.int8)),
    b"h": ("FLOAT16", np.array(1.5, np.float16)),
    b"s": ("STRING", strings("a", b"\xff\x00")),
    b"b": ("BOOL", np.array([True, False])),
    b"c": ("COMPLEX64", np.array([1 + 2j], np.complex64)),
    b"e": ("FLOAT64", np.zeros((0, 3))),
}


def path_of(path: Path):
    return strings(str(path)).reshape(())


def save(path: Path, *tensors):
    names = strings(*"ab"[: len(tensors)])
    return tflgpu_run(model("Save", [path_of(path), (names,), *tensors], ""), [path_of(path), *tensors])


def restore(path: Path, name: str, type: str = "FLOAT32"):
    inputs = [path_of(path), (strings(name).reshape(()),)]
    return tflgpu_run(model("Restore", inputs, type, dt=DataType(type)), [path_of(path)])[0]


def test_what_is_saved_is_restored(tmp_path):
    a, b = np.arange(6, dtype=np.float32).reshape(2, 3), np.array([-3], np.int64)
    save(tmp_path / "checkpoint", a, b)
    np.testing.assert_array_equal(restore(tmp_path / "checkpoint", "a"), a)
    np.testing.assert_array_equal(restore(tmp_path / "checkpoint", "b", "INT64"), b)
    save(tmp_path / "checkpoint", a + 1)
    np.testing.assert_array_equal(restore(tmp_path / "checkpoint", "a"), a + 1)
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint"]


def test_tensors_of_every_type_are_kept():
    file = checkpoint(TENSORS)
    for name, (type, x) in TENSORS.items():
        got = restored(file, name, type, MOST)
        assert got.dtype == x.dtype and got.shape == x.shape and got.tolist() == x.tolist()


def test_the_checksum_is_castagnolis_in_lanes_too():
    assert sorted_table.crc32c(b"123456789") == 0xE3069283
    rng = np.random.default_rng(0)
    data = rng.integers(0, 256, 20_000, np.uint8).tobytes()
    bytewise = 0xFFFFFFFF
    for byte in data:
        bytewise = bytewise >> 8 ^ sorted_table._CRC[(bytewise ^ byte) & 255]
    assert sorted_table.crc32c(data) == bytewise ^ 0xFFFFFFFF


def test_compressed_blocks_are_read():
    # A literal of four bytes, a copy of six from four back, a literal whose length follows, a copy by two bytes.
    data = b"\x4c" + b"\x0cabcd" + b"\x09\x04" + b"\xf0\x3b" + b"x" * 60 + b"\x16\x3c\x00"
    assert sorted_table.uncompressed(data, MOST) == b"abcdabcdab" + b"x" * 60 + b"x" * 6
    for wrong in (data[:-1], data[:30], b"\x4d" + data[1:], b"\x04\x09\x04", b"\xff\xff\xff\xff\x7f"):
        with pytest.raises(ValueError, match="damaged|repeat|bytes, more than|cut"):
            sorted_table.uncompressed(wrong, MOST)


def test_damaged_checkpoints_are_refused(tmp_path):
    file = checkpoint(TENSORS)
    rng = np.random.default_rng(0)
    refused = 0
    for at in rng.integers(0, len(file), 100):
        damaged = file[:at] + bytes([file[at] ^ 1 << rng.integers(8)]) + file[at + 1 :]
        for name, (type, x) in TENSORS.items():
            try:
                assert restored(damaged, name, type, MOST).tolist() == x.tolist()
            except ValueError:
                refused += 1
    assert refused > 300
    (tmp_path / "cut").write_bytes(file[:-1])
    with pytest.raises(RuntimeError, match="cannot be read: it is no checkpoint"):
        restore(tmp_path / "cut", "w")
    (tmp_path / "whole").write_bytes(file)
    for name, type, reason in (("v", "FLOAT32", "Key v not found"), ("w", "INT32", "of type FLOAT32, not INT32")):
        with pytest.raises(RuntimeError, match=reason):
            restore(tmp_path / "whole", name, type)
    with pytest.raises(RuntimeError, match="No such file"):
        restore(tmp_path / "none", "w")


def test_what_is_no_checkpoint_is_not_written_over(tmp_path):
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(RuntimeError, match="is there and is no checkpoint"):
        save(tmp_path / "notes", np.zeros(2, np.float32))
    assert (tmp_path / "notes").read_text() == "mine"
    with pytest.raises(RuntimeError, match="cannot be written"):
        save(tmp_path / "no folder" / "x", np.zeros(2, np.float32))


def test_a_model_does_not_name_the_file_itself(tmp_path):
    x, name = np.zeros(2, np.float32), (path_of(tmp_path / "hostile"),)
    with pytest.raises(RuntimeError, match="the model itself names the file"):
        tflgpu_run(model("Save", [name, (strings("a"),), x], ""), [x])
    with pytest.raises(RuntimeError, match="the model itself names the file"):
        tflgpu_run(model("Restore", [name, (strings("a").reshape(()),)], "FLOAT32", dt=DataType("FLOAT32")), [])
    m = ModelBuilder()
    g = m.graph()
    named = g.constant("named", strings(str(tmp_path / "hostile")))
    computed = g.tensor("computed", "STRING", [1])
    g.custom("FlexStringLower", [named], [computed])
    g.custom("FlexSave", [computed, g.constant("names", strings("a")), g.input("x", "FLOAT32", [2])], [])
    g.outputs(computed)
    with pytest.raises(RuntimeError, match="the model itself names the file"):
        tflgpu_run(m.build(), [x])
    assert not list(tmp_path.iterdir())
