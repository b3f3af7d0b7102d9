"""What a model says about itself, changed: metadata and attached files, put in or taken out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tflgpu.edit.document import Document
from tflgpu.model.schema import TABLES, UNIONS
from tflgpu.model.schema_metadata import METADATA_ENTRY, METADATA_IDENTIFIER
from tflgpu.model.verifier import read_model
from tflgpu.model.writer import Values, serialize, values_of

STRIPPED = (METADATA_ENTRY, "CONVERSION_METADATA")


def strip_metadata(document: Document) -> list[str]:
    """Takes out metadata, what the converter wrote of itself, and attached files; other entries stay."""
    entries = document.values.get("metadata") or []
    gone = [entry["name"] for entry in entries if entry.get("name") in STRIPPED]
    document.values["metadata"] = [entry for entry in entries if entry.get("name") not in STRIPPED]
    names = [*gone, *document.files]
    document.files = {}
    document.without_unused_buffers()
    return [f"{', '.join(names) or 'nothing'} taken out"]


def put_metadata(document: Document, text: str) -> list[str]:
    """Puts in the metadata that a JSON text says, by the schema's names, as flatc writes it. Raises ValueError.

    {"name": …, "subgraph_metadata": [{"input_tensor_metadata": [{"process_units": [{"options_type":
    "NormalizationOptions", "options": {"mean": [127.5], "std": [127.5]}}]}]}]}
    """
    try:
        values = _from_json(json.loads(text), "ModelMetadata")
        _write(document, values)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"the metadata do not fit the schema: {error}") from None
    return [f"metadata of {len(text)} characters put in"]


def put_labels(document: Document, name: str, content: bytes, output: int = 0) -> list[str]:
    """Attaches a file of labels, one a line, to an output."""
    raw = _entry(document)
    values = values_of(read_model(raw, "ModelMetadata", METADATA_IDENTIFIER), "ModelMetadata") if raw else {}
    graphs = values.setdefault("subgraph_metadata", [{}])
    graph = graphs[0]
    for key, side in (("input_tensor_metadata", "inputs"), ("output_tensor_metadata", "outputs")):
        tensors = graph.setdefault(key, [])
        while len(tensors) < len(document.main[side]):
            tensors.append({"name": document.name(document.main[side][len(tensors)])})
    tensor = graph["output_tensor_metadata"][output]
    others = [file for file in tensor.get("associated_files") or [] if file.get("name") != name]
    tensor["associated_files"] = [{"name": name, "type": "TENSOR_AXIS_LABELS"}, *others]
    _write(document, values)
    document.files[name] = content
    shown = document.name(document.main["outputs"][output])
    return [f"labels in {name}, {len(content.splitlines())} lines, for output {shown!r}"]


def attach(document: Document, name: str, content: bytes) -> list[str]:
    document.files[name] = content
    return [f"{name}, {len(content):,} bytes, attached"]


def _entry(document: Document) -> bytes:
    for entry in document.values.get("metadata") or ():
        if entry.get("name") == METADATA_ENTRY:
            return bytes(document.buffers[entry["buffer"]].get("data", b""))
    return b""


def _write(document: Document, values: Values) -> None:
    content = serialize({"min_parser_version": "1.0.0", **values}, "ModelMetadata", METADATA_IDENTIFIER)
    read_model(content, "ModelMetadata", METADATA_IDENTIFIER)
    entries = [e for e in document.values.get("metadata") or [] if e.get("name") != METADATA_ENTRY]
    document.buffers.append({"data": content})
    document.values["metadata"] = [*entries, {"name": METADATA_ENTRY, "buffer": len(document.buffers) - 1}]
    document.without_unused_buffers()


def _from_json(given: Mapping[str, Any], name: str) -> Values:
    """A table's values of JSON, where a union's type is in a field of its own."""
    values: Values = {}
    for field in TABLES[name]:
        value = given.get(field.name)
        if value is None:
            continue
        if field.kind == "union":
            member = given[f"{field.name}_type"]
            if member not in UNIONS[field.type]:
                known = ", ".join(map(str, UNIONS[field.type][1:]))
                raise ValueError(f"{name}.{field.name}_type {member!r} is none of {known}")
            values[field.name] = (member, _from_json(value, member))
        elif field.kind == "table":
            values[field.name] = _from_json(value, field.type)
        elif field.kind == "vector" and field.type in TABLES:
            values[field.name] = [_from_json(element, field.type) for element in value]
        else:
            values[field.name] = value
    names = {f.name for f in TABLES[name]} | {f"{f.name}_type" for f in TABLES[name] if f.kind == "union"}
    unknown = given.keys() - names
    if unknown:
        raise ValueError(f"{name} has no field {', '.join(sorted(unknown))}; it has: {', '.join(sorted(names))}")
    return values
