"""Two models side by side: which nodes match, what the metrics say, and who is to blame."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from checkout import EXAMPLES

import tflgpu
from tflgpu.comparison.measure import Measure, missed, read_metrics
from tflgpu.comparison.models import Comparison, compare_models
from tflgpu.comparison.page import clipped, page
from tflgpu.model.builder import ModelBuilder

FLOAT32, INT8 = (EXAMPLES / "digits" / f"digits_{kind}.tflite" for kind in ("float32", "int8"))


def chain(quantized: bool, coarse: str = "") -> tflgpu.Interpreter:
    """ABS, RELU, MAXIMUM of x, in float32 or in int8 between QUANTIZE and DEQUANTIZE; coarse: has large steps."""
    m = ModelBuilder()
    g = m.graph()

    def tensor(name: str) -> int:
        if not quantized:
            return g.tensor(name, "FLOAT32", [8])
        return g.tensor(name, "INT8", [8], scale=0.5 if name == coarse else 1 / 64, zero_point=0)

    x = value = g.input("x", "FLOAT32", [8])
    if quantized:
        value = g.tensor("qx", "INT8", [8], scale=1 / 64, zero_point=0)
        g.node("QUANTIZE", [x], [value])
    for op, name in (("ABS", "abs"), ("RELU", "relu"), ("MAXIMUM", "max")):
        made = tensor(name)
        g.node(op, [value] if op != "MAXIMUM" else [value, value], [made], version=2 if quantized else 1)
        value = made
    if quantized:
        y = g.tensor("y", "FLOAT32", [8])
        g.node("DEQUANTIZE", [value], [y], version=2)
        value = y
    g.outputs(value)
    return tflgpu.Interpreter(model_content=m.build(), experimental_preserve_all_tensors=True)


def compared(a: tflgpu.Interpreter, b: tflgpu.Interpreter, examples: int = 2) -> Comparison:
    generator = np.random.default_rng(0)
    return compare_models(a, b, lambda _: [generator.uniform(-1, 1, 8).astype(np.float32)], examples)


def test_nodes_match_past_quantize_and_dequantize():
    found = compared(chain(False), chain(True))
    assert [(n.a.op, n.b.op) for n in found.nodes] == [("ABS", "ABS"), ("RELU", "RELU"), ("MAXIMUM", "MAXIMUM")]
    assert found.unmatched == (0, 2) and all(n.measure.steps <= 0.5 for n in found.nodes[:2])


def test_the_node_that_adds_most_noise_is_first():
    m = compared(chain(False), chain(True, coarse="abs")).by_guilt
    assert m[0].b.op == "ABS" and m[0].measure.snr < 30 and m[0].added > 10 * m[1].added


def test_a_model_against_itself_has_no_noise():
    found = compared(chain(False), chain(False))
    assert all(n.measure.snr == math.inf and n.added == 0 for n in found.nodes)


def test_the_metrics_are_what_their_names_say():
    measure = Measure(step=0.5)
    measure.add(np.array([[3.0, 4.0], [1.0, 0.0]]), np.array([[3.0, 5.0], [0.0, 1.0]]))
    assert measure.snr == pytest.approx(10 * math.log10(26 / 3)) and measure.max_error == 1 and measure.steps == 2
    assert measure.cosine == pytest.approx(29 / math.sqrt(26) / math.sqrt(35)) and measure.top1 == 0.5
    assert missed(measure, {"snr": 9, "steps": 1, "top1": 0.6}) == [
        "steps 2, at most 1 is wanted",
        "top1 0.5, at least 0.6 is wanted",
    ]
    lost = Measure()
    lost.add(np.array([1.0, np.inf]), np.array([np.nan, np.inf]))
    assert lost.snr == -math.inf and missed(lost, {"snr": 0, "max-error": 9})[0].startswith("snr -inf")
    with pytest.raises(ValueError, match="--metric takes snr, cosine, top1, max-error, steps, not 'psnr'"):
        read_metrics({"psnr": "3"})


def test_values_beyond_what_a_tensor_can_hold_are_counted_and_said():
    a, b = chain(False), chain(True)
    found = compare_models(a, b, lambda _: [np.array([3, -3, 1, 0, 0, 0, 0, 0], np.float32)], 1)
    assert found.most_clipped is not None and found.most_clipped.measure.clipped == 0.25
    said = "25% of the values of node 1 ABS are beyond what its output can hold: the inputs are unlike those"
    assert clipped(found).startswith(said) and said in page("a", "b", found)
    assert clipped(compared(a, b)) == "" and compared(a, a).outputs["max"].clipped is None


def test_random_pictures_are_smooth():
    pytest.importorskip("typer")
    from tflgpu.cli.compare_models import picture

    values = picture((2, 64, 48, 3), np.random.default_rng(0))
    assert values.shape == (2, 64, 48, 3) and 0 <= values.min() < 0.1 and 0.9 < values.max() <= 1
    assert np.abs(np.diff(values, axis=1)).mean() < 0.1 and np.abs(np.diff(values, axis=2)).mean() < 0.1


def test_models_that_do_not_correspond_are_refused():
    m = ModelBuilder()
    g = m.graph()
    g.outputs(g.input("x", "FLOAT32", [2, 4]))
    other = tflgpu.Interpreter(model_content=m.build(), experimental_preserve_all_tensors=True)
    with pytest.raises(ValueError, match=r"input 'x': the models take \[8\] and \[2, 4\]"):
        compared(chain(False), other)


def test_the_page_has_every_node_and_plots():
    text = page("a.tflite", "<b>", compared(chain(False), chain(True)))
    assert "&lt;b&gt; against a.tflite" in text and text.count("<figure>") == 4 and text.count('class="line"') == 1
    assert all(f">{n} {op}</td>" in text for n, op in ((1, "ABS"), (2, "RELU"), (3, "MAXIMUM")))


def test_the_command_compares_files_and_judges_by_metrics(tmp_path: Path):
    pytest.importorskip("typer")
    from typer.testing import CliRunner

    from tflgpu.cli.app import app

    def told(*arguments: str, status: int = 0) -> str:
        result = CliRunner().invoke(app, ["compare", *arguments])
        assert result.exit_code == status, result.output
        return result.output

    text = told(str(FLOAT32), str(INT8), "--samples", "2", "--metric", "cosine=0.9", "--html", str(tmp_path / "p.html"))
    assert "9 SOFTMAX" in text and "10 nodes match; 0 of the first" in text and (tmp_path / "p.html").exists()
    assert "snr" in told(str(FLOAT32), str(INT8), "--samples", "1", "--metric", "snr=90", status=1)
    assert "--html is for two models" in told(str(INT8), "--html", "x", status=1)
    pytest.importorskip("ai_edge_litert")
    assert "differs" in told(str(INT8), "--against", "litert", status=1)
    assert "close" in told(str(INT8), "--against", "litert", "--tolerance-steps", "1")
    assert "1.0" in told(str(INT8), "--against", "litert", "--metric", "steps=1")
