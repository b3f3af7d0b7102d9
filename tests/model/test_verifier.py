"""Broken files end in ValueError, whatever is broken in them: never in another exception, a hang or much memory."""

from __future__ import annotations

import struct

import flatbuffers
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_models import rich, small

from tflgpu.model.graph import Model
from tflgpu.model.loader import load
from tflgpu.model.schema import ENUMS, OPTIONS_OF, TABLES, UNIONS
from tflgpu.model.schema_litertlm import LITERTLM_ENUMS, LITERTLM_TABLES, LITERTLM_UNIONS
from tflgpu.model.schema_metadata import METADATA_ENUMS, METADATA_TABLES, METADATA_UNIONS
from tflgpu.model.verifier import INVALID, read_model

SMALL, RICH = small(), rich()


def outcome(data: bytes) -> str:
    try:
        assert isinstance(load(content=data), Model)
    except (ValueError, RuntimeError) as error:
        return str(error)
    return ""


def test_every_truncation_is_refused():
    for length in range(1, len(SMALL)):
        assert outcome(SMALL[:length]), f"accepted {length} of {len(SMALL)} bytes"


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_every_flipped_byte_gives_a_model_or_an_error(flip):
    for i in range(len(SMALL)):
        broken = bytearray(SMALL)
        broken[i] ^= flip
        outcome(bytes(broken))


@pytest.mark.parametrize("word", [0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_every_overwritten_word_gives_a_model_or_an_error(word):
    for i in range(0, len(SMALL) - 3, 4):
        outcome(SMALL[:i] + struct.pack("<I", word) + SMALL[i + 4 :])


_EDITS = st.lists(
    st.tuples(st.integers(0, len(RICH) - 9), st.integers(1, 8), st.integers(0, 2**64 - 1)), min_size=1, max_size=6
)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(_EDITS, min_size=20, max_size=20))
def test_edited_models_give_a_model_or_an_error(batch):
    for edits in batch:
        broken = bytearray(RICH)
        for offset, width, value in edits:
            broken[offset : offset + width] = value.to_bytes(8, "little")[:width]
        outcome(bytes(broken))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.binary(max_size=200))
def test_noise_after_an_identifier_is_refused(noise):
    assert outcome(b"\x10\0\0\0TFL3" + noise)


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"x", "the identifier at byte 4 must be b'TFL3'"),
        (b"\0\0\0\0TFL9" + bytes(60), "found b'TFL9' in 68 bytes"),
        (b"\0\0\0\0TFL3" + bytes(60), "offset at byte 0 must lead into the 68 bytes, is 0"),
        (b"\xff\0\0\0TFL3" + bytes(60), "offset at byte 0 must lead into the 68 bytes, is 255"),
        (b"\x0a\0\0\0TFL3" + bytes(60), "table at byte 10 must be aligned to 4"),
        (b"\x08\0\0\0TFL3\xff\0\0\0" + bytes(60), "vtable of a Model at byte -247"),
    ],
)
def test_the_error_says_what_is_wrong(data, detail):
    assert outcome(data).startswith(INVALID)
    assert detail in outcome(data)


def test_the_error_says_where():
    offset = SMALL.index(b"ADD" if b"ADD" in SMALL else b"x\0\0\0") - 4
    broken = SMALL[:offset] + b"\xff\xff\0\0" + SMALL[offset + 4 :]
    assert "Model.subgraphs[0].tensors[0].name: vector at byte" in outcome(broken)


def _graphs_that_share(tensors: int, graphs: int) -> bytes:
    """A small file that names one graph many times."""
    b = flatbuffers.Builder(0)
    b.StartObject(len(TABLES["Tensor"]))
    tensor = b.EndObject()
    b.StartVector(4, tensors, 4)
    for _ in range(tensors):
        b.PrependUOffsetTRelative(tensor)
    vector = b.EndVector()
    b.StartObject(6)
    b.PrependUOffsetTRelativeSlot(0, vector, 0)
    graph = b.EndObject()
    b.StartVector(4, graphs, 4)
    for _ in range(graphs):
        b.PrependUOffsetTRelative(graph)
    vector = b.EndVector()
    b.StartObject(10)
    b.PrependUint32Slot(0, 3, 0)
    b.PrependUOffsetTRelativeSlot(2, vector, 0)
    b.Finish(b.EndObject(), file_identifier=b"TFL3")
    return bytes(b.Output())


def test_a_file_cannot_unfold_into_more_than_it_holds():
    assert "times the file" in outcome(_graphs_that_share(3000, 3000))


def test_bulk_data_are_views_of_the_file():
    content = np.frombuffer(RICH, np.uint8)
    buffers = [b.data for b in read_model(RICH).buffers if b.data is not None and b.data.size]
    assert buffers and all(np.shares_memory(data, content) and not data.flags.writeable for data in buffers)


@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_any_bytes_like_object_can_be_read(make):
    model = load(content=make(RICH))
    assert not any(t.data.flags.writeable for g in model.graphs for t in g.tensors if t.data is not None)


def test_the_schema_is_litert_s():
    """Against the classes that Google generates: every table, field, default, enum and union of models' schema."""
    theirs, others = pytest.importorskip("ai_edge_litert.schema_py_generated"), METADATA_ENUMS | LITERTLM_ENUMS
    others |= METADATA_UNIONS | LITERTLM_UNIONS | METADATA_TABLES | LITERTLM_TABLES
    for name, enum in ((name, enum) for name, enum in ENUMS.items() if name not in others):
        assert [getattr(getattr(theirs, name), n) for n in enum.names] == list(range(len(enum.names)))
    for name, members in ((name, members) for name, members in UNIONS.items() if name not in others):
        assert [getattr(getattr(theirs, name), m) for m in members[1:]] == list(range(1, len(members)))
    for name, fields in ((name, fields) for name, fields in TABLES.items() if name not in others):
        values = {k.lower(): v for k, v in vars(getattr(theirs, name + "T")()).items()}
        for field in fields:
            default = ENUMS[field.type].numbers[field.default] if field.kind == "enum" else field.default
            assert values[field.name.replace("_", "")] == default, (name, field)
    assert set(OPTIONS_OF.values()) <= set(TABLES)
