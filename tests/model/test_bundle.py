"""Bundles of language models open without copies; broken and hostile ones are refused with the reason."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from oracle import one_op

from tflgpu.bundle import BLOCK, HEADER, Bundle, litertlm, open_bundle, read_bundle
from tflgpu.interpreter import Interpreter
from tflgpu.model.associated_files import MOST_BYTES

MODEL = one_op("ABS", [{"type": "FLOAT32", "shape": [3]}], [{"type": "FLOAT32", "shape": [3]}])
OTHER = one_op("NEG", [{"type": "FLOAT32", "shape": [3]}], [{"type": "FLOAT32", "shape": [3]}])
JSON = b'{"model": "..."}' * 50
ZLIB = len(JSON).to_bytes(8, "little") + zlib.compress(JSON)
LITERTLM = litertlm(
    [
        ("LlmMetadataProto", b"\x28\x80\x04", {}),
        ("HF_Tokenizer_Zlib", ZLIB, {}),
        ("TFLiteModel", MODEL, {"model_type": "tf_lite_prefill_decode"}),
        ("TFLiteModel", OTHER, {"model_type": "tf_lite_embedder"}),
    ]
)


def archive(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name, content in files.items():
            made.writestr(zipfile.ZipInfo(name), content, method)
    return out.getvalue()


TASK = {"TF_LITE_PREFILL_DECODE": MODEL, "TOKENIZER_MODEL": b"sp", "METADATA": b"", "vision.tflite": OTHER}


def negated(model: memoryview) -> list[float]:
    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.array([1, -2, 3], np.float32))
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).tolist()


@pytest.mark.parametrize("content", [LITERTLM, archive(TASK)], ids=["litertlm", "task"])
def test_models_run_where_they_are(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "bundle").write_bytes(content)
    for opened in (open_bundle(tmp_path / "bundle"), read_bundle(content)):
        assert negated(opened.model().content) == [1, 2, 3]
        assert negated(opened.model(other_name(opened)).content) == [-1, 2, -3]
        assert opened.tokenizer == (("tokenizers", JSON) if opened.version else ("sentencepiece", b"sp"))
        assert opened.of_type("LlmMetadataProto")
    whole = np.frombuffer(content, np.uint8)
    assert np.shares_memory(np.frombuffer(read_bundle(content).model().content, np.uint8), whole)


def other_name(opened: Bundle) -> str:
    return "tf_lite_embedder" if opened.version else "vision.tflite"


def test_what_is_compressed_is_unpacked() -> None:
    opened = read_bundle(archive(TASK, zipfile.ZIP_DEFLATED))
    assert negated(opened.model().content) == [1, 2, 3]


def test_a_model_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(ValueError, match=r"0 models tf_lite_audio; its models: 2 \(tf_lite_prefill_decode\), 3"):
        read_bundle(LITERTLM).model("tf_lite_audio")


def cut(content: bytes, at: int, value: bytes) -> bytes:
    return content[:at] + value + content[at + len(value) :]


def moved(field: int, value: int) -> bytes:
    """The .litertlm file, one of its sections' offsets replaced."""
    return LITERTLM.replace(struct.pack("<Q", field), struct.pack("<Q", value), 1)


def renamed(name: str) -> bytes:
    return archive({"x" * len(name): b"1234"}).replace(b"x" * len(name), name.encode())


def bomb() -> bytes:
    deep = archive({"METADATA": bytes(1 << 20)}, zipfile.ZIP_DEFLATED)
    return deep.replace(struct.pack("<I", 1 << 20), struct.pack("<I", MOST_BYTES + 1))


def overlapping() -> bytes:
    """Two entries of the directory that both name the same 4000 bytes."""
    content = archive({"a": bytes(4000), "b": b""})
    at = content.rindex(b"PK\1\2")
    sizes = struct.pack("<II", 4000, 4000)
    return cut(cut(content, at + 20, sizes), at + 42, struct.pack("<I", 0))


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"\0" * 100, "neither a .litertlm file nor a .task archive"),
    "short": (lambda: LITERTLM[: HEADER - 1], "header has 32 bytes, the file 31"),
    "version": (lambda: cut(LITERTLM, 8, b"\2"), "version 2.0.0 of .litertlm; 1 is read"),
    "header beyond": (lambda: cut(LITERTLM, 24, b"\xff" * 8), "header ends at byte 18446744073709551615"),
    "header inside": (lambda: cut(LITERTLM, 24, struct.pack("<Q", 3)), "header ends at byte 3 of"),
    "root": (lambda: cut(LITERTLM, HEADER, b"\xff\xff\xff\x7f"), "LiteRTLMMetaData: offset at byte 0 must lead into"),
    "section beyond": (lambda: moved(4 * BLOCK + len(OTHER), 1 << 40), r"section 3 is bytes \d+ to 1099511627776"),
    "section in the header": (lambda: moved(4 * BLOCK, 0), "section 3 is bytes 0 to"),
    "section backwards": (lambda: moved(4 * BLOCK + len(OTHER), 2 * BLOCK), "section 3 is bytes 65536 to 32768"),
    "cut": (lambda: LITERTLM[:-1], "section 3 is bytes"),
    "archive cut": (lambda: archive(TASK)[:-30], "archive .* cannot be read"),
    "parent": (lambda: renamed("../etc/x"), "'../etc/x' of the archive: the name leads out of it"),
    "absolute": (lambda: renamed("/etc/xy"), "the name leads out of it"),
    "backslash": (lambda: renamed("a\\b"), "the name leads out of it"),
    "drive": (lambda: renamed("c:x"), "the name leads out of it"),
    "zero byte": (lambda: renamed("a\0b"), "the name leads out of it"),
    "bomb": (bomb, r"'METADATA' of the archive: it has 268,435,457 bytes; at most 268,435,456"),
    "overlap": (overlapping, "the files of the archive overlap"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_bundles_are_refused(case: str) -> None:
    make, reason = HOSTILE[case]
    with pytest.raises(ValueError, match=reason):
        read_bundle(make())


def test_a_file_that_is_longer_than_it_says_is_not_unpacked_further() -> None:
    content = archive({"METADATA": bytes(1 << 20)}, zipfile.ZIP_DEFLATED)
    (section,) = read_bundle(content.replace(struct.pack("<I", 1 << 20), struct.pack("<I", 10))).sections
    with pytest.raises(ValueError, match="does not unpack to the 10 bytes"):
        _ = section.content


def test_a_tokenizer_that_is_larger_than_it_says_is_refused() -> None:
    for size, reason in ((1 << 60, "at most 268,435,456 are unpacked"), (10, "does not unpack to the 10 bytes")):
        broken = litertlm([("HF_Tokenizer_Zlib", size.to_bytes(8, "little") + zlib.compress(JSON), {})])
        with pytest.raises(ValueError, match=reason):
            _ = read_bundle(broken).tokenizer


def test_a_file_that_is_not_where_the_directory_says_is_refused() -> None:
    content = archive({"METADATA": b"12345678"})
    at = content.rindex(b"PK\1\2")
    (section,) = read_bundle(cut(content, at + 42, struct.pack("<I", 4))).sections
    with pytest.raises(ValueError, match="is not where its directory says"):
        _ = section.content


@pytest.mark.parametrize("content", [LITERTLM, archive(TASK)], ids=["litertlm", "task"])
def test_any_damage_is_a_value_error(content: bytes) -> None:
    random = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(content)
        for at in random.integers(0, 600 if content is LITERTLM else len(content), 3):
            damaged[at] = random.integers(256)
        try:
            opened = read_bundle(bytes(damaged))
            for section in opened.sections:
                _ = section.content
            _ = opened.tokenizer
        except ValueError:
            continue
