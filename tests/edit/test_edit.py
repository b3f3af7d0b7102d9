"""Edited models: what changes, what stays, and that they compute what their originals do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from checkout import EXAMPLES
from sample_models import rich, small

import tflgpu
from tflgpu.edit import describe, interface, shapes
from tflgpu.edit.compare import compare
from tflgpu.edit.document import Document
from tflgpu.model.associated_files import appended
from tflgpu.model.builder import ModelBuilder
from tflgpu.model.graph import Array
from tflgpu.model.loader import load

DIGITS = (EXAMPLES / "digits" / "digits_float32.tflite").read_bytes()


GENERATOR = np.random.default_rng(0)


def at_random(details: dict) -> Array:
    return (GENERATOR.normal(size=details["shape"]) * 9).astype(details["dtype"])


def edited(original: bytes, change: Callable[[Document], list[str]], examples: int = 1) -> bytes:
    """The model that a change makes, whose outputs are those of the original."""
    document = Document(original)
    change(document)
    made = document.build()
    found = compare(original, document, made, at_random, examples)
    assert found and all(one.agrees and one.largest is not None for one in found), list(map(str, found))
    return made


def one_example() -> bytes:
    """Sizes in constants of every kind: RESHAPE, STRIDED_SLICE, SLICE, CONCATENATION, TRANSPOSE, TRANSPOSE_CONV."""
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", "FLOAT32", [1, 2, 2, 3])
    flat, cls, both = (g.tensor(n, "FLOAT32", s) for n, s in (("a", [1, 4, 3]), ("b", [1, 5, 3]), ("c", [1, 4, 3])))
    g.node("RESHAPE", [x, g.constant("to", np.array([1, 4, 3], np.int32))], [flat], new_shape=[1, 4, 3])
    token = g.constant("token", np.ones((1, 1, 3), np.float32))
    g.node("CONCATENATION", [flat, token], [cls], axis=1)
    i32 = [g.constant(f"i{n}", np.array(v, np.int32)) for n, v in enumerate(([0, 1, 0], [1, 5, 3], [1, 1, 1]))]
    g.node("STRIDED_SLICE", [cls, *i32], [both])
    sizes = g.constant("sizes", np.array([1, 4, 2], np.int32))
    sliced, image = g.tensor("d", "FLOAT32", [1, 4, 2]), g.tensor("e", "FLOAT32", [1, 2, 2, 2])
    g.node("SLICE", [both, g.constant("zero", np.zeros(3, np.int32)), sizes], [sliced])
    g.node("RESHAPE", [sliced, g.constant("to2", np.array([1, 2, 2, 2], np.int32))], [image])
    transposed, y = g.tensor("f", "FLOAT32", [2, 1, 2, 2]), g.tensor("y", "FLOAT32", [2, 4])
    g.node("TRANSPOSE", [image, g.constant("p", np.array([1, 0, 2, 3], np.int32))], [transposed])
    g.node("RESHAPE", [transposed, g.constant("to3", np.array([2, 4], np.int32))], [y])
    up = g.tensor("up", "FLOAT32", [1, 4, 4, 1])
    kernel = g.constant("w", np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2))
    out = g.constant("out", np.array([1, 4, 4, 1], np.int32))
    g.node("TRANSPOSE_CONV", [out, kernel, image], [up], padding="SAME", stride_h=2, stride_w=2)
    g.outputs(y, up)
    m.signature("run", g, {"x": x}, {"y": y, "up": up})
    return m.build()


def test_a_file_that_is_read_and_written_is_the_same_to_the_loader():
    for original in (rich(), rich(external=True), appended(small(), {"a.txt": b"a"})):
        before, after = Document(original), Document(Document(original).build())
        assert str(before.values) == str(after.values) and before.files == after.files
        assert load(content=after.build()).metadata == load(content=original).metadata


def test_another_batch_size_reaches_the_sizes_in_constants():
    document = Document(one_example())
    done = shapes.set_batch(document, 3)
    made = document.build()
    y, up = compare(one_example(), document, made, at_random, 3)
    # The examples of y are one after the other in its second dimension.
    assert (y.shape, y.agrees, up.shape, up.agrees) == ((2, 12), True, (3, 4, 4, 1), True)
    assert "node 0 RESHAPE: [1, 4, 3] -> [3, 4, 3]" in done and "node 2 STRIDED_SLICE: takes the whole batch" in done
    assert [t.shape for t in load(content=made).graphs[0].tensors[:1]] == [(3, 2, 2, 3)]


def test_an_open_batch_takes_any_size():
    made = edited(DIGITS, lambda d: shapes.set_batch(d, None), shapes.PROBE)
    runner = tflgpu.Interpreter(model_content=made).get_signature_runner()
    original = tflgpu.Interpreter(model_content=DIGITS).get_signature_runner()
    x = np.random.default_rng(0).random((5, 8, 8, 1), np.float32)
    got = runner(image=x)["probabilities"]
    np.testing.assert_allclose(got, [original(image=one[None])["probabilities"][0] for one in x], rtol=1e-5)


@pytest.mark.parametrize("size", [None, 2])
def test_a_batch_that_cannot_change_is_refused_with_the_node(size: int | None):
    m = ModelBuilder()
    g = m.graph()
    slices = [g.tensor("a", "FLOAT32", [3])]
    g.node("UNPACK", [g.input("x", "FLOAT32", [1, 3])], slices, num=1, axis=0)
    g.outputs(*slices)
    with pytest.raises(ValueError, match=r"a batch of \d: UNPACK .*Node number 0 \(UNPACK\) failed to prepare"):
        shapes.set_batch(Document(m.build()), size)
    with pytest.raises(ValueError, match="node 1 CONCATENATION: its input 'token' holds a size"):
        shapes.set_batch(Document(one_example()), None)


def test_a_reshape_that_moves_the_batch_is_refused_and_an_output_that_lacks_it_differs():
    m = ModelBuilder()
    g = m.graph()
    first, y = g.tensor("first", "FLOAT32", [4, 1, 3]), g.tensor("y", "FLOAT32", [1, 3])
    x = g.input("x", "FLOAT32", [1, 4, 3])
    g.node("RESHAPE", [x, g.constant("to", np.array([4, 1, 3], np.int32))], [first])
    g.node("GATHER", [first, g.constant("one", np.array(0, np.int32))], [y], axis=0)
    g.outputs(y)
    with pytest.raises(ValueError, match=r"node 0 RESHAPE: \[1, 4, 3\] as \[4, 1, 3\] may move the batch"):
        shapes.set_batch(Document(m.build()), 2)
    wrong = Document(m.build())
    wrong.tensors[2]["shape"], wrong.buffers[1]["data"] = [2, 4, 3], np.array([8, 1, 3], np.int32).view(np.uint8)
    assert not compare(m.build(), wrong, wrong.build(), at_random, 2)[0].agrees


def test_pinned_shapes_are_fixed_everywhere():
    made = load(content=edited(DIGITS, lambda d: shapes.pin(d, {"image": [2, 8, 8, 1]})))
    specs = made.graphs[0].tensors
    assert all(spec.shape_signature is None for spec in specs)
    assert [specs[i].shape for i in made.graphs[0].outputs] == [(2, 10)]


def test_an_inner_tensor_becomes_an_output_and_a_result_of_the_signature():
    made = edited(one_example(), lambda d: interface.expose(d, ["b"]))
    runner = tflgpu.Interpreter(model_content=made).get_signature_runner()
    assert runner(x=np.zeros((1, 2, 2, 3), np.float32))["b"].shape == (1, 5, 3)
    with pytest.raises(ValueError, match="no tensor 'imag'.*did you mean 'image'"):
        interface.expose(Document(DIGITS), ["imag"])


def test_a_cut_keeps_what_is_between_and_nothing_else():
    made = load(content=edited(one_example(), lambda d: interface.cut(d, ["b"], ["e"])))
    assert [node.op for node in made.graphs[0].nodes] == ["STRIDED_SLICE", "SLICE", "RESHAPE"]
    assert not made.signatures and len(made.graphs[0].tensors) == 10
    with pytest.raises(ValueError, match=r"the outputs need tensor 0 'x' too"):
        interface.cut(Document(one_example()), ["d"], ["b"])


def quantized() -> bytes:
    m = ModelBuilder()
    g = m.graph()
    x, y = (g.tensor(n, "FLOAT32", [4]) for n in "xy")
    qx, qy = (g.tensor(n, "INT8", [4], scale=0.1, zero_point=3) for n in ("qx", "qy"))
    g.interface["inputs"].append(x)
    g.node("QUANTIZE", [x], [qx])
    g.node("MAXIMUM", [qx, qx], [qy])
    g.node("DEQUANTIZE", [qy], [y], version=2)
    g.outputs(y)
    m.signature("run", g, {"in": x}, {"out": y})
    return m.build()


def test_quantized_ends_take_and_give_quantized_values():
    made = load(content=edited(quantized(), interface.quantized_ends))
    (graph,) = made.graphs
    assert [node.op for node in graph.nodes] == ["MAXIMUM"]
    assert [graph.tensors[i].type for i in (*graph.inputs, *graph.outputs)] == ["INT8", "INT8"]
    assert made.signatures["run"].inputs == {"in": graph.inputs[0]}


def test_signatures_are_renamed_and_dropped():
    assert list(load(content=edited(DIGITS, lambda d: interface.rename_signature(d, "classify", "a"))).signatures) == [
        "a"
    ]
    assert not load(content=edited(DIGITS, lambda d: interface.drop_signature(d, "classify"))).signatures
    with pytest.raises(ValueError, match="no signature 'x'; the model has classify"):
        interface.drop_signature(Document(DIGITS), "x")


def test_metadata_are_put_in_and_taken_out():
    unit = {"options_type": "NormalizationOptions", "options": {"mean": [1.5], "std": [2.0]}}
    text = json.dumps({"name": "n", "subgraph_metadata": [{"input_tensor_metadata": [{"process_units": [unit]}]}]})

    def put(document: Document) -> list[str]:
        return describe.put_metadata(document, text) + describe.put_labels(document, "l.txt", b"zero\none")

    found = tflgpu.Interpreter(model_content=(made := edited(DIGITS, put))).metadata
    assert (found.name, found.inputs[0].mean, found.labels()) == ("n", (1.5,), ["zero", "one"])
    bare = tflgpu.Interpreter(model_content=edited(made, describe.strip_metadata)).metadata
    assert (bare.name, bare.files, bare.entries) == ("", (), {})
    with pytest.raises(ValueError, match="ModelMetadata has no field x"):
        describe.put_metadata(Document(DIGITS), '{"x": 1}')


def test_a_model_without_inputs_is_edited_too():
    m = ModelBuilder()
    g = m.graph()
    y = g.tensor("y", "FLOAT32", [2])
    g.node("ABS", [g.constant("c", np.float32([1, -2]))], [y])
    g.outputs(y)
    edited(m.build(), lambda d: interface.cut(d, [], []))
    with pytest.raises(ValueError, match="no first input with a batch dimension"):
        shapes.set_batch(Document(m.build()), 2)


def test_a_difference_from_the_original_is_seen():
    document = Document(quantized())
    document.tensors[2]["quantization"]["scale"] = np.array([0.2], np.float32)
    assert not compare(quantized(), document, document.build(), at_random)[0].agrees


def test_the_command_writes_what_agrees_and_refuses_to_overwrite(tmp_path: Path):
    pytest.importorskip("typer")
    from typer.testing import CliRunner

    from tflgpu.cli.app import app

    model, out = tmp_path / "model.tflite", tmp_path / "out.tflite"
    model.write_bytes(DIGITS)

    def told(*arguments: str, status: int = 0) -> str:
        result = CliRunner().invoke(app, ["edit", str(model), *arguments])
        assert result.exit_code == status, result.output
        return result.output

    assert "(4, 10)" in told(str(out), "--batch", "4").replace("[", "(").replace("]", ")") and out.exists()
    assert "write to another file" in told(str(model), "--batch", "4", status=1)
    assert "--batch takes a number of 1 or more, or open, not '0'" in told(str(out), "--batch", "0", status=1)
    assert "say what to change" in told(str(out), status=1)
