"""What `tflgpu run` reads: sounds, text, pictures by the model's metadata; and what it says of outputs."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from checkout import EXAMPLES

pytest.importorskip("typer")
from typer.testing import CliRunner

import tflgpu
from tflgpu.cli.app import app
from tflgpu.cli.inputs import sound
from tflgpu.cli.tokens import regex_tokens
from tflgpu.metadata import Metadata, TensorMetadata
from tflgpu.model.associated_files import appended

INT8 = str(EXAMPLES / "digits" / "digits_int8.tflite")


def told(*arguments: str, status: int = 0) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == status, result.output
    return result.output


def details(dtype: type, shape: list[int], signature: list[int] | None = None) -> dict[str, object]:
    empty = {"scales": np.array([], np.float32), "zero_points": np.array([], np.int32), "quantized_dimension": 0}
    shapes = {"shape": np.array(shape), "shape_signature": np.array(signature or shape)}
    return {"name": "x", "dtype": dtype, "quantization": (0.0, 0), "quantization_parameters": empty, **shapes}


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_a_sound_of_any_width_is_between_minus_one_and_one(tmp_path: Path, width: int) -> None:
    steps = np.array([0, 64, -64, 127], np.int64)
    raw = (steps + 128).astype(np.uint8).tobytes() if width == 1 else b""
    if width > 1:
        raw = b"".join(int(s << 8 * (width - 1)).to_bytes(width, "little", signed=True) for s in steps)
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, width, 8000, 0, "NONE", ""))
        file.writeframes(raw)
    fixed = sound(tmp_path / "a.wav", details(np.float32, [1, 6]))
    assert fixed.tolist() == [[0, 0.5, -0.5, 127 / 128, 0, 0]]
    assert sound(tmp_path / "a.wav", details(np.float32, [1, 1], [1, -1])).shape == (1, 4)
    assert sound(tmp_path / "a.wav", details(np.float32, [1, 1], [1, -1]), 16000).shape == (1, 8)
    assert sound(tmp_path / "a.wav", details(np.int16, [2])).tolist() == [0, 16384]


def test_text_becomes_the_numbers_of_its_words() -> None:
    content = memoryview(appended(b"", {"vocab.txt": b"<PAD> 0\n<START> 1\n<UNKNOWN> 2\na 3\nb 4\n"}))
    model = Metadata(_content=content)
    tensor = TensorMetadata(tokenizer=("RegexTokenizer", ("vocab.txt",)), pattern=r"[^\w']+")
    assert regex_tokens("a, b! c", model, tensor) == [1, 3, 4, 2]
    with pytest.raises(ValueError, match="tokens of BertTokenizer; only RegexTokenizer"):
        regex_tokens("a", model, TensorMetadata(tokenizer=("BertTokenizer", ("vocab.txt",))))


def test_run_shows_the_best_labels_the_time_and_what_it_resized(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("\n".join(f"digit {i}" for i in range(10)))
    np.save(tmp_path / "x.npy", np.zeros((2, 8, 8, 1), np.int8))
    text = told("run", INT8, "--labels", str(tmp_path / "labels.txt"), "-k", "2")
    assert text.count("digit") == 2 and "one invoke took" in text
    assert "resized 'image' from [1, 8, 8, 1] to [2, 8, 8, 1]" in told("run", INT8, "-i", str(tmp_path / "x.npy"))


def test_run_takes_a_signature_by_its_names(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.full((1, 8, 8, 1), 5, np.int8))
    told("run", INT8, "--signature", "classify", "-i", f"image={tmp_path}/x.npy", "--output", f"{tmp_path}/y.npz")
    runner = tflgpu.Interpreter(INT8).get_signature_runner("classify")
    expected = runner(image=np.full((1, 8, 8, 1), 5, np.int8))["probabilities"]
    np.testing.assert_array_equal(np.load(tmp_path / "y.npz")["probabilities"], expected)
    assert "no signature 'x'; the model has classify" in told("run", INT8, "--signature", "x", status=1)


def test_wrong_settings_of_images_are_told() -> None:
    assert "--fit takes resize, letterbox, crop, not 'x'" in told("run", INT8, "--fit", "x", status=1)
    assert "--mean takes 127.5 or 123.7,116.8,103.9, not 'a'" in told("run", INT8, "--mean", "a", status=1)
