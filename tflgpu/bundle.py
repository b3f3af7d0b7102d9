"""Bundles of a language model: .litertlm files of LiteRT-LM and .task archives of MediaPipe.

    opened = tflgpu.bundle.open_bundle("model.litertlm")
    interpreter = tflgpu.Interpreter(model_content=opened.model().content)

What is not compressed in a bundle, as its models are not, is a view of the mapped file. A bundle is untrusted input:
whatever its bytes, the outcome is a Bundle or a ValueError that says what is wrong.
"""

from __future__ import annotations

import mmap
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tflgpu.model.associated_files import MOST_BYTES, archive_of
from tflgpu.model.verifier import Table, read_model
from tflgpu.model.writer import serialize

MAGIC = b"LITERTLM"
VERSION = 1
"""The major version of .litertlm files that is read."""

HEADER = 32
"""Bytes before the header's FlatBuffer: magic, three numbers of the version, padding, where the FlatBuffer ends."""

BLOCK = 1 << 14
"""Sections begin at multiples of so many bytes."""

LOCAL_HEADER = struct.Struct("<4s22xHH")
"""Of a file in a ZIP archive: its signature, and how long its name and its extra field are."""

TASK_TYPES = {
    "TF_LITE_PREFILL_DECODE": "TFLiteModel",
    "TOKENIZER_MODEL": "SP_Tokenizer",
    "METADATA": "LlmMetadataProto",
}
"""The types of the files in a .task archive whose names say it; others that end in .tflite are models."""


@dataclass(frozen=True, eq=False)
class Section:
    """One section of a bundle. type: as .litertlm has it: "TFLiteModel", "SP_Tokenizer", "HF_Tokenizer_Zlib", ...

    name: a .task archive's name of the file, else the number of the section. metadata: what the header says of it, such
    as "model_type". nbytes: of its content.
    """

    name: str
    type: str
    metadata: Mapping[str, Any]
    nbytes: int
    _read: Callable[[], memoryview] = field(repr=False)

    @property
    def content(self) -> memoryview:
        """Its bytes: a view of the file, or unpacked where they are compressed. Raises ValueError for broken ones."""
        return self._read()


@dataclass(frozen=True, eq=False)
class Bundle:
    """What a bundle holds. version: three numbers, of a .litertlm file. metadata: the header's of the whole."""

    sections: Sequence[Section]
    version: tuple[int, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def of_type(self, type: str) -> list[Section]:
        """The sections of a type, in their order."""
        return [section for section in self.sections if section.type == type]

    def model(self, model_type: str | None = None) -> Section:
        """The model of that type in its metadata, or whose name in the archive it is; None: the only model, or the one
        that prefills and decodes. Raises ValueError, with the models that there are, where there is none or several."""
        models = self.of_type("TFLiteModel")
        wanted = [m for m in models if model_type in (None, m.name, m.metadata.get("model_type"))]
        if model_type is None and len(wanted) > 1:
            wanted = [m for m in models if "prefill_decode" in f"{m.name} {m.metadata.get('model_type')}".lower()]
        if len(wanted) != 1:
            known = ", ".join(f"{m.name} ({m.metadata.get('model_type', 'no model_type')})" for m in models)
            raise ValueError(f"the bundle has {len(wanted)} models {model_type or ''}; its models: {known or 'none'}")
        return wanted[0]

    @property
    def tokenizer(self) -> tuple[str, bytes] | None:
        """Which library's tokenizer the bundle has, "sentencepiece" or "tokenizers", and its file; None: none."""
        for section in self.of_type("SP_Tokenizer"):
            return "sentencepiece", bytes(section.content)
        for section in self.of_type("HF_Tokenizer_Zlib"):
            return "tokenizers", _inflated(section)
        return None


def open_bundle(path: str | os.PathLike[str]) -> Bundle:
    """The bundle in a file, which is mapped. Raises ValueError where it is none, OSError where it cannot be opened."""
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise ValueError(f"{os.fspath(path)!r} is empty")
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        return read_bundle(mapped)
    except ValueError as error:
        raise ValueError(f"{error} (in {os.fspath(path)!r})") from None


def read_bundle(content: Any) -> Bundle:
    """The bundle in a bytes-like object, which is kept alive. Raises ValueError where it is none."""
    view = memoryview(content).cast("B").toreadonly()
    if bytes(view[:8]) == MAGIC:
        return _litertlm(view)
    if bytes(view[:4]) == b"PK\3\4":
        return _task(view)
    raise ValueError(f"neither a .litertlm file nor a .task archive: it begins with {bytes(view[:8])!r}")


def litertlm(sections: Sequence[tuple[str, bytes, Mapping[str, str]]]) -> bytes:
    """A .litertlm file of these sections: the type of each, its content, its metadata. The bytes are deterministic."""
    header, objects = b"", list[dict[str, Any]]()
    for _ in range(2):  # the header's length does not depend on the offsets that it has
        offset, objects = HEADER + len(header), []
        for type, content, metadata in sections:
            begin = -(-offset // BLOCK) * BLOCK
            offset = begin + len(content)
            items = [{"key": key, "value": ("StringValue", {"value": value})} for key, value in metadata.items()]
            objects.append({"items": items, "begin_offset": begin, "end_offset": offset, "data_type": type})
        header = serialize({"section_metadata": {"objects": objects}}, "LiteRTLMMetaData", b"")
    out = bytearray(MAGIC + struct.pack("<4IQ", VERSION, 0, 0, 0, HEADER + len(header)) + header)
    for one, (_, content, _) in zip(objects, sections, strict=True):
        out += bytes(one["begin_offset"] - len(out)) + content
    return bytes(out)


def _litertlm(view: memoryview) -> Bundle:
    if len(view) < HEADER:
        raise ValueError(f"the .litertlm header has {HEADER} bytes, the file {len(view)}")
    version, end = struct.unpack_from("<3I", view, 8), struct.unpack_from("<Q", view, 24)[0]
    if version[0] != VERSION:
        raise ValueError(f"version {'.'.join(map(str, version))} of .litertlm; {VERSION} is read")
    if not HEADER < end <= len(view):
        raise ValueError(f"the .litertlm header ends at byte {end} of {len(view)}")
    root = read_model(view[HEADER:end], "LiteRTLMMetaData", b"")
    objects = (root.section_metadata and root.section_metadata.objects) or ()
    sections = [_section(number, one, end, view) for number, one in enumerate(objects)]
    return Bundle(sections, version, _values(root.system_metadata and root.system_metadata.entries))


def _section(number: int, raw: Table, header_end: int, view: memoryview) -> Section:
    begin, end = raw.begin_offset, raw.end_offset
    if not header_end <= begin <= end <= len(view):
        raise ValueError(f"section {number} is bytes {begin} to {end} of {len(view)}, after a header of {header_end}")
    return Section(str(number), str(raw.data_type), _values(raw.items), end - begin, lambda: view[begin:end])


def _values(pairs: Sequence[Table] | None) -> dict[str, Any]:
    return {pair.key or "": pair.value and pair.value.value for pair in pairs or ()}


def _task(view: memoryview) -> Bundle:
    files = archive_of(view).infolist()
    for file in files:
        _check(file)
    if sum(file.compress_size for file in files) > len(view):
        raise ValueError(f"the files of the archive overlap: together they have more than its {len(view)} bytes")
    if len({file.filename for file in files}) < len(files):
        raise ValueError("two files of the archive have one name")
    return Bundle([_file(file, view) for file in files])


def _check(file: zipfile.ZipInfo) -> None:
    """Raises ValueError for a file that is none of a bundle's."""
    name, size, stored = file.filename, file.file_size, file.compress_type == zipfile.ZIP_STORED
    wrong = ""
    if name.startswith("/") or "\\" in name or ":" in name or ".." in name.split("/") or name != file.orig_filename:
        wrong = "the name leads out of it"
    elif file.flag_bits & 1:
        wrong = "it is encrypted"
    elif not stored and file.compress_type != zipfile.ZIP_DEFLATED:
        wrong = f"it is compressed by method {file.compress_type}"
    elif stored and file.compress_size != size:
        wrong = f"it is stored, {size} bytes in {file.compress_size}"
    elif not stored and size > MOST_BYTES:
        wrong = f"it has {size:,} bytes; at most {MOST_BYTES:,} are unpacked"
    if wrong:
        raise ValueError(f"file {name!r} of the archive: {wrong}")


def _file(file: zipfile.ZipInfo, view: memoryview) -> Section:
    known = "TFLiteModel" if file.filename.lower().endswith(".tflite") else "GenericBinaryData"
    name = file.filename

    def read() -> memoryview:
        stored = _stored(file, view)
        if file.compress_type == zipfile.ZIP_STORED:
            return stored
        return memoryview(_decompressed(stored, file.file_size, -zlib.MAX_WBITS, f"file {name!r} of the archive"))

    return Section(name, TASK_TYPES.get(name, known), {}, file.file_size, read)


def _stored(file: zipfile.ZipInfo, view: memoryview) -> memoryview:
    """The file's bytes as they are in the archive."""
    start = file.header_offset
    inside = 0 <= start <= len(view) - LOCAL_HEADER.size
    signature, *lengths = LOCAL_HEADER.unpack_from(view, start) if inside else (b"", 0, 0)
    start += LOCAL_HEADER.size + sum(lengths)
    if signature != b"PK\3\4" or start + file.compress_size > len(view):
        raise ValueError(f"file {file.filename!r} of the archive is not where its directory says")
    return view[start : start + file.compress_size]


def _inflated(section: Section) -> bytes:
    """The file of a section that has its size, of 8 bytes, before zlib's bytes."""
    content = section.content
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or size > MOST_BYTES:
        raise ValueError(f"section {section.name} has {size:,} bytes; at most {MOST_BYTES:,} are unpacked")
    return _decompressed(content[8:], size, zlib.MAX_WBITS, f"section {section.name}")


def _decompressed(content: memoryview, size: int, window: int, what: str) -> bytes:
    """Exactly `size` bytes, and no more than that is ever unpacked. Raises ValueError where there are others."""
    unpacker = zlib.decompressobj(window)
    try:
        found = unpacker.decompress(content, size + 1)
    except zlib.error as error:
        raise ValueError(f"{what} cannot be unpacked: {error}") from None
    if len(found) != size or not unpacker.eof:
        raise ValueError(f"{what} does not unpack to the {size:,} bytes that it says")
    return found
