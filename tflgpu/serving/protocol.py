"""The Open Inference Protocol's tensors, of JSON with binary data and of gRPC, as arrays and back.

KServe's own requests turn each binary value into a Python object and back. These keep arrays.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.infer_type import deserialize_bytes_tensor, get_content, serialize_byte_tensor

from tflgpu.model.graph import Array
from tflgpu.serving.entry_point import Port

DTYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype(bool),
    **{f"{sign}INT{bits}": np.dtype(f"{sign.lower()}int{bits}") for sign in ("", "U") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"float{bits}") for bits in (16, 32, 64)},
    "BYTES": np.dtype(object),
}
NAMES = {dtype: name for name, dtype in DTYPES.items()} | {np.dtype(np.bytes_): "BYTES"}

MAX_RANK = 32
"""More dimensions than any operator takes; their number of values would be a number without bound."""


@dataclass(frozen=True)
class InferenceRequest:
    """What a client asks for. outputs: names, each with whether its data is to be binary; empty for all of them."""

    id: str
    inputs: Mapping[str, Array]
    outputs: Mapping[str, bool]
    binary: bool = False


def datatype(port: Port) -> str:
    """The protocol's name of a tensor's type. Raises ValueError where it has none."""
    if port.dtype not in NAMES:
        raise ValueError(f"the Open Inference Protocol has no type for {port.name!r}, which is {port.dtype.name}")
    return NAMES[port.dtype]


def _name_of(x: Array) -> str:
    return "BYTES" if x.dtype.kind in "SUO" else NAMES[x.dtype]


def array(name: str, datatype: Any, shape: Any, data: Any = None, raw: bytes | None = None) -> Array:
    """A tensor's value. data: numbers, nested or not; raw: its bytes. Raises ValueError where they do not fit."""
    dtype = DTYPES.get(datatype) if isinstance(datatype, str) else None
    if dtype is None:
        raise ValueError(f"input {name!r} has no datatype of the protocol: {datatype!r}")
    if not isinstance(shape, list) or any(type(d) is not int or d < 0 for d in shape):
        raise ValueError(f"input {name!r} has a shape that is no list of sizes: {shape!r}")
    if len(shape) > MAX_RANK:
        raise ValueError(f"input {name!r} has {len(shape)} dimensions, more than {MAX_RANK}")
    values = _numbers(name, dtype, data) if raw is None else _bytes(name, dtype, raw)
    if values.size != math.prod(shape):
        raise ValueError(f"input {name!r} has {values.size} values, not {math.prod(shape)} for the shape {shape}")
    return values.reshape(shape)


def _bytes(name: str, dtype: np.dtype[Any], raw: bytes) -> Array:
    if dtype.kind == "O":
        try:
            return deserialize_bytes_tensor(raw)
        except struct.error as error:
            raise ValueError(f"input {name!r} has BYTES whose lengths exceed its {len(raw)} bytes") from error
    if len(raw) % dtype.itemsize:
        raise ValueError(f"input {name!r} has {len(raw)} bytes, which are no whole number of {dtype.name}")
    values = np.frombuffer(raw, dtype)
    if dtype.kind == "b" and values.view(np.uint8).max(initial=0) > 1:
        raise ValueError(f"input {name!r} is BOOL, of bytes that are neither 0 nor 1")
    return values


def _numbers(name: str, dtype: np.dtype[Any], data: Any) -> Array:
    try:
        given = np.array(data if isinstance(data, list) else None, object if dtype.kind == "O" else None)
        flat = given.reshape(-1)
        if dtype.kind == "O":
            return _strings(flat)
        fits = {"b": "b", "i": "iu", "u": "iu", "f": "fiu"}[dtype.kind]
        if flat.size and (flat.dtype.kind not in fits or dtype == np.float16):
            raise ValueError(f"{flat.dtype.name} in JSON" if dtype != np.float16 else "FP16 must be binary data")
        if dtype.kind in "iu" and flat.size and not _within(flat, np.iinfo(dtype)):
            raise ValueError(f"numbers beyond {dtype.name}")
        with np.errstate(over="ignore"):
            values = flat.astype(dtype)
        if dtype.kind == "f" and (np.isfinite(flat) > np.isfinite(values)).any():
            raise ValueError(f"numbers beyond {dtype.name}")
        return values
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"input {name!r} has data that is not {NAMES[dtype]}: {error}") from error


def _strings(flat: Array) -> Array:
    encoded = np.empty(flat.size, object)
    for i, item in enumerate(flat):
        if not isinstance(item, str | bytes):
            raise ValueError(f"{type(item).__name__} is no string")
        encoded[i] = item.encode() if isinstance(item, str) else item
    return encoded


def _within(values: Array, limits: Any) -> bool:
    return limits.min <= int(values.min()) and int(values.max()) <= limits.max


def from_rest(body: bytes, json_length: str | None) -> InferenceRequest:
    """A request's body: JSON, followed by binary data where the header says how long the JSON is.

    Raises ValueError for anything else.
    """
    try:
        length = len(body) if json_length is None else int(json_length)
        if not 0 <= length <= len(body):
            raise ValueError(f"the JSON cannot have {length} of {len(body)} bytes")
        asked = orjson.loads(memoryview(body)[:length])
        if not isinstance(asked, dict):
            raise ValueError("it is no JSON object")
        inputs, start = {}, length
        for tensor in _tensors(asked.get("inputs"), "inputs"):
            parameters = _object(tensor.get("parameters"))
            size = parameters.get("binary_data_size")
            raw = None
            if size is not None:
                if type(size) is not int or not 0 <= size <= len(body) - start:
                    raise ValueError(f"binary_data_size {size!r} of input {tensor['name']!r} exceeds the body")
                raw, start = body[start : start + size], start + size
            if "shared_memory_region" in parameters:
                raise ValueError("shared memory is not supported")
            inputs[tensor["name"]] = array(
                tensor["name"], tensor.get("datatype"), tensor.get("shape"), tensor.get("data"), raw
            )
        if start != len(body):
            raise ValueError(f"{len(body) - start} bytes of binary data belong to no input")
        binary = bool(_object(asked.get("parameters")).get("binary_data_output", False))
        outputs = {
            tensor["name"]: bool(_object(tensor.get("parameters")).get("binary_data", binary))
            for tensor in _tensors(asked.get("outputs") or [], "outputs")
        }
        return InferenceRequest(str(asked.get("id") or ""), inputs, outputs, binary)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"the request is no JSON: {error}") from error


def _tensors(listed: Any, what: str) -> Iterable[dict[str, Any]]:
    if not isinstance(listed, list) or not all(isinstance(t, dict) and isinstance(t.get("name"), str) for t in listed):
        raise ValueError(f"{what!r} is no list of tensors with names")
    if len({t["name"] for t in listed}) < len(listed):
        raise ValueError(f"{what!r} has a name twice")
    return listed


def _object(given: Any) -> dict[str, Any]:
    if given is not None and not isinstance(given, dict):
        raise ValueError(f"parameters are an object, not {given!r}")
    return given or {}


def to_rest(
    request: InferenceRequest, about: Mapping[str, str], results: Mapping[str, Array]
) -> tuple[bytes, int | None]:
    """The response's body, and the length of its JSON where binary data follows.

    Raises ValueError for values that JSON cannot hold: they are to be asked for as binary data.
    """
    described, raws = [], []
    for name, binary in (request.outputs or dict.fromkeys(results, request.binary)).items():
        x = results[name]
        tensor: dict[str, Any] = {"name": name, "datatype": _name_of(x), "shape": list(x.shape)}
        if binary:
            raws.append(_raw(x))
            tensor["parameters"] = {"binary_data_size": len(raws[-1])}
        else:
            tensor["data"] = _json_data(name, x)
        described.append(tensor)
    body = orjson.dumps({**about, "id": request.id, "outputs": described}, option=orjson.OPT_SERIALIZE_NUMPY)
    return b"".join([body, *raws]), len(body) if raws else None


def _json_data(name: str, x: Array) -> Any:
    if x.dtype.kind in "SUO":
        try:
            return [bytes(item).decode() for item in x.reshape(-1)]
        except UnicodeDecodeError as error:
            raise ValueError(f"output {name!r} has bytes that are not UTF-8: ask for binary data") from error
    if x.dtype == np.float16 or (x.dtype.kind == "f" and not np.isfinite(x).all()):
        raise ValueError(f"output {name!r} has values that JSON cannot hold: ask for binary data")
    return np.ascontiguousarray(x).reshape(-1)


def _raw(x: Array) -> bytes:
    if x.dtype.kind in "SUO":
        return bytes(serialize_byte_tensor(x.astype(object)).item()) if x.size else b""
    return x.tobytes()


def from_grpc(message: Any) -> InferenceRequest:
    """A ModelInferRequest. Raises ValueError where its tensors do not fit."""
    raws: Sequence[bytes] = message.raw_input_contents
    if raws and len(raws) != len(message.inputs):
        raise ValueError(f"{len(raws)} raw_input_contents for {len(message.inputs)} inputs")
    inputs: dict[str, Array] = {}
    for i, tensor in enumerate(message.inputs):
        if tensor.name in inputs:
            raise ValueError(f"'inputs' has {tensor.name!r} twice")
        if raws and tensor.HasField("contents"):
            raise ValueError(f"input {tensor.name!r} has contents beside raw_input_contents")
        data = None if raws or tensor.datatype not in DTYPES else get_content(tensor.datatype, tensor.contents)
        raw = raws[i] if raws else None
        inputs[tensor.name] = array(tensor.name, tensor.datatype, list(tensor.shape), data, raw)
    return InferenceRequest(message.id, inputs, {tensor.name: True for tensor in message.outputs}, True)


def to_grpc(request: InferenceRequest, about: Mapping[str, str], results: Mapping[str, Array]) -> Any:
    """The ModelInferResponse, whose outputs are raw."""
    names = list(request.outputs or results)
    outputs = [{"name": n, "datatype": _name_of(results[n]), "shape": results[n].shape} for n in names]
    return pb.ModelInferResponse(
        id=request.id, outputs=outputs, raw_output_contents=[_raw(results[n]) for n in names], **about
    )
