"""What a model says about itself, and inputs and outputs that follow it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from metadata_models import described

import tflgpu
from tflgpu.images import placement
from tflgpu.metadata import parse_labels
from tflgpu.model.builder import ModelBuilder


def test_metadata_are_read_with_their_files():
    found = tflgpu.Interpreter(model_content=described()).metadata
    assert (found.name, found.inputs[0].content, found.inputs[0].color_space) == ("colours", "Image", "RGB")
    assert (found.inputs[0].mean, found.inputs[0].std) == ((10, 20, 30), (2,))
    assert found.labels() == ["red", "green", "blue"] and found.labels(0, "de") == ["rot"]
    with pytest.raises(ValueError, match=r"no file 'x' along; it has: c.csv, de.txt, en.txt"):
        found.read("x")


def test_scores_are_calibrated_row_by_row():
    calibration = tflgpu.Interpreter(model_content=described()).metadata.calibration()
    x = np.array([0.25, 0.5, 0.8])
    g = np.log(0.25 / 0.75)
    np.testing.assert_allclose(calibration(x), [1 / (1 + np.exp(-(2 * g + 0.5))), -1, -1], rtol=1e-6)


def test_a_model_without_metadata_has_empty_ones(tmp_path: Path):
    m = ModelBuilder()
    g = m.graph()
    g.outputs(g.input("x", "FLOAT32", [1]))
    interpreter = tflgpu.Interpreter(model_content=m.build())
    assert interpreter.metadata.name == "" and len(interpreter.metadata.inputs) == 1
    with pytest.raises(ValueError, match="no output of the model has labels"):
        tflgpu.labels(interpreter)
    (tmp_path / "labels.txt").write_text("0  tench\n2  shark\n")
    assert tflgpu.labels(tmp_path / "labels.txt") == ["tench", "", "shark"]


def test_a_damaged_archive_or_table_is_a_value_error():
    whole = described()
    at = whole.index(b"PK\1\2")
    broken = whole[:at] + b"PK\0\0" + whole[at + 4 :]
    with pytest.raises(ValueError, match="archive after the model cannot be read"):
        _ = tflgpu.Interpreter(model_content=broken).metadata
    with pytest.raises(ValueError, match="score calibration file 'c.csv': a line must have 0, 3 or 4 numbers"):
        tflgpu.Interpreter(model_content=described(**{"c.csv": b"1,2\n"})).metadata.calibration()


def test_numbers_that_are_no_indices_stay_labels():
    assert parse_labels("1\n2\n") == ["1", "2"] and parse_labels("100000 a\n") == ["100000 a"]


def test_top_k_breaks_ties_by_index_and_puts_nan_last():
    best = tflgpu.top_k(np.array([[0.5, np.nan, 2, 2]], np.float32), 4, ["a", "b"])
    assert [(s.index, s.label) for s in best] == [(2, "2"), (3, "3"), (0, "a"), (1, "b")]
    assert tflgpu.top_k(np.array([0, 255], np.uint8), 1)[0].index == 1
    with pytest.raises(ValueError, match="one example"):
        tflgpu.top_k(np.zeros((2, 3)))


@pytest.mark.parametrize("arguments", [{"scale": 0.5, "zero_point": 3}, {"scale": [0.5, 0.25], "axis": 1}])
def test_quantize_and_dequantize_are_the_operators(arguments):
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", "FLOAT32", [3, 2])
    q = g.tensor("q", "INT8", [3, 2], **arguments)
    y = g.tensor("y", "FLOAT32", [3, 2])
    g.node("QUANTIZE", [x], [q])
    g.node("DEQUANTIZE", [q], [y], version=2)
    g.outputs(q, y)
    interpreter = tflgpu.Interpreter(model_content=m.build())
    interpreter.allocate_tensors()
    real = np.array([[0.25, -0.25], [1e9, -1e9], [0.125, np.nan]], np.float32)
    interpreter.set_tensor(x, real)
    interpreter.invoke()
    details = interpreter.get_output_details()[0]
    np.testing.assert_array_equal(tflgpu.quantize(real, details), interpreter.get_tensor(q))
    np.testing.assert_array_equal(tflgpu.dequantize(interpreter.get_tensor(q), details), interpreter.get_tensor(y))


def test_a_picture_follows_the_metadata_or_what_is_given():
    pytest.importorskip("PIL")
    interpreter = tflgpu.Interpreter(model_content=described())
    details, metadata = interpreter.get_input_details()[0], interpreter.metadata.inputs[0]
    pixel = np.array([[[12, 24, 36]]], np.uint8)
    assert tflgpu.image_input(pixel, details, metadata).ravel().tolist() == [1, 2, 3]
    assert tflgpu.image_input(pixel, details, metadata, mean=[0], std=[12]).ravel().tolist() == [1, 2, 3]
    np.testing.assert_allclose(tflgpu.image_input(pixel, details).ravel(), np.array([12, 24, 36]) / np.float32(255))
    with pytest.raises(ValueError, match="mean has 2 numbers for 3 channels"):
        tflgpu.image_input(pixel, details, mean=[1, 2])


def test_a_letterboxed_picture_has_black_beside_it_and_a_cropped_one_loses_its_sides():
    pytest.importorskip("PIL")
    details = {**tflgpu.Interpreter(model_content=described()).get_input_details()[0], "shape": [1, 4, 4, 1]}
    details["dtype"] = np.uint8
    wide = np.full((2, 4), 9, np.uint8)
    boxed = tflgpu.image_input(wide, details, fit="letterbox")[0, :, :, 0]
    assert boxed.tolist() == [[0] * 4, [9] * 4, [9] * 4, [0] * 4]
    assert (tflgpu.image_input(wide, details, fit="crop") == 9).all()
    assert placement((4, 2), (4, 4), "letterbox") == (0, 1, 4, 2) and placement((4, 2), (4, 4), "crop") == (-2, 0, 8, 4)


def test_the_delegation_report_has_rows_and_renders_as_a_table():
    interpreter = tflgpu.Interpreter(model_content=described())
    interpreter.allocate_tensors()
    report = interpreter.delegation_report()
    assert [(row.node, row.op, row.runs_on) for row in report.rows] == [(0, "ABS", "CPU")]
    assert [partition.nodes for partition in report.partitions] == [(0,)]
    assert "<td>0 ABS</td><td>CPU</td>" in report._repr_html_() and report.grouped() == [("CPU", (), {"ABS": 1})]
