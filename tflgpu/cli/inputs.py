"""Inputs for a model: from files (arrays, pictures, sounds, text, raw bytes), or at random."""

from __future__ import annotations

import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from zipfile import BadZipFile

import numpy as np
import typer

import tflgpu
from tflgpu.images import FITS, SUFFIXES, image_input
from tflgpu.memory import nbytes
from tflgpu.metadata import Metadata, TensorMetadata
from tflgpu.model.graph import Array
from tflgpu.quantized import quantize
from tflgpu.values import at_random

Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        "-i",
        metavar="[NAME=]FILE",
        help=".npy, .npz, an image, .wav, .txt, or raw bytes; repeatable, in order.",
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Of the random inputs that stand in for those not given.")]
Mean = Annotated[str, typer.Option(help="Of an image's pixels, 0 to 255: one, or one a channel. Else the metadata's.")]
Std = Annotated[str, typer.Option(help="Of an image's pixels: one, or one a channel. Else the metadata's.")]
Fit = Annotated[str, typer.Option(help="How an image gets the input's size: resize, letterbox or crop.")]


@dataclass(frozen=True)
class ImageSettings:
    """What --mean, --std and --fit say; by default the metadata decides."""

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    fit: str = "resize"

    @classmethod
    def read(cls, mean: str, std: str, fit: str) -> ImageSettings:
        if fit not in FITS:
            raise ValueError(f"--fit takes {', '.join(FITS)}, not {fit!r}")
        return cls(_numbers(mean, "--mean"), _numbers(std, "--std"), fit)


def _numbers(text: str, option: str) -> tuple[float, ...] | None:
    try:
        return tuple(map(float, text.split(","))) if text else None
    except ValueError:
        raise ValueError(f"{option} takes 127.5 or 123.7,116.8,103.9, not {text!r}") from None


def inputs_for(
    interpreter: Any,
    given: Sequence[str] | None,
    seed: int,
    ranges: Mapping[str, Any] = {},
    images: ImageSettings | None = None,
    details: Sequence[Mapping[str, Any]] | None = None,
) -> list[Array]:
    """One array an input, in order: from the files given, by position or name, and random where none is.

    details: of the inputs, where they are not those of the main graph.
    """
    details = interpreter.get_input_details() if details is None else details
    names = [d["name"] for d in details]
    files = _files(given, names)
    unknown = (set(files) | set(ranges)) - set(names)
    if unknown:
        raise ValueError(f"no input {', '.join(sorted(unknown))}; the inputs are {names}")
    metadata = Metadata()
    if isinstance(interpreter, tflgpu.Interpreter):
        graph = interpreter._graphs[0]
        interpreter._meter.admit(graph.inputs)
        interpreter._meter.reserve(sum(map(nbytes, graph.inputs)), "what the model's inputs hold")
        metadata = interpreter.metadata if files else metadata
    generator = np.random.default_rng(seed)
    told = dict(zip(names, metadata.inputs, strict=False))
    arrays = []
    for d in details:
        if d["name"] in files:
            about = _About(told.get(d["name"], TensorMetadata()), metadata, images or ImageSettings())
            arrays.append(from_file(files[d["name"]], d, about))
        else:
            arrays.append(at_random(d, generator, ranges.get(d["name"])))
    return arrays


def _files(given: Sequence[str] | None, names: Sequence[str]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for position, text in enumerate(given or ()):
        name, sign, path = text.partition("=")
        if not sign or (name not in names and Path(text).exists()):
            if position >= len(names):
                raise ValueError(f"the inputs of the model are {list(names)}; {text!r} is one too many")
            name, path = names[position], text
        files[name] = Path(path)
    return files


@dataclass(frozen=True)
class _About:
    """What is known of an input besides its details."""

    tensor: TensorMetadata
    model: Metadata
    images: ImageSettings


def from_file(path: Path, details: Mapping[str, Any], about: _About) -> Array:
    """An input's value: .npy; .npz, by the input's name or its only array; an image; .wav; .txt; or raw bytes.

    Raises ValueError, naming the input and the file, for what cannot be read.
    """
    try:
        return _read(path, details, about)
    except (OSError, ValueError, EOFError, BadZipFile, wave.Error) as error:
        takes = f"{np.dtype(details['dtype']).name} {list(map(int, details['shape']))}"
        raise ValueError(f"input {details['name']!r}, which takes {takes}, from {path}: {error}") from error


def _read(path: Path, details: Mapping[str, Any], about: _About) -> Array:
    suffix = path.suffix.lower()
    if suffix in (".npy", ".npz"):
        return _saved(path, details)
    if suffix in SUFFIXES:
        settings = about.images
        return image_input(path, details, about.tensor, mean=settings.mean, std=settings.std, fit=settings.fit)
    if suffix == ".wav":
        return sound(path, details, about.tensor.sample_rate)
    if suffix == ".txt" and (np.dtype(details["dtype"]).kind == "S" or about.tensor.tokenizer):
        return _text(path.read_text("utf-8"), details, about)
    content = path.read_bytes()
    wanted = int(np.prod(details["shape"], dtype=np.int64)) * np.dtype(details["dtype"]).itemsize
    if len(content) != wanted:
        if suffix == ".txt":
            raise ValueError("text needs a tokenizer, and the metadata has none: give the tokens' numbers as .npy")
        raise ValueError(f"raw bytes must be {wanted}, are {len(content)}")
    return np.frombuffer(content, details["dtype"]).reshape(details["shape"])


def _saved(path: Path, details: Mapping[str, Any]) -> Array:
    with path.open("rb") as file:
        if file.read(4) not in (b"\x93NUM", b"PK\3\4", b"PK\5\6"):
            raise ValueError("not a file that NumPy has saved")
    if path.suffix == ".npy":
        return np.asarray(np.load(path, allow_pickle=False))
    with np.load(path, allow_pickle=False) as arrays:
        if details["name"] not in arrays.files and len(arrays.files) != 1:
            raise ValueError(f"has {arrays.files or 'no arrays'}, none of that name")
        return np.asarray(arrays[details["name"] if details["name"] in arrays.files else arrays.files[0]])


def sound(path: Path, details: Mapping[str, Any], rate: int = 0) -> Array:
    """A .wav file's samples, channels averaged, in [-1, 1), quantized where the input is; int16 as they are.

    rate: in Hz, that of the model, to which the samples are interpolated linearly; 0: the file's. An input of a fixed
    length gets the first samples, or zeros after the last. Raises ValueError for what is no PCM of 8, 16, 24, 32 bits.
    """
    with wave.open(str(path)) as file:
        width, channels, own = file.getsampwidth(), file.getnchannels(), file.getframerate()
        raw = np.frombuffer(file.readframes(file.getnframes()), np.uint8)
    if width == 1:
        whole = (raw.astype(np.float64) - 128) / 128
    elif width in (2, 3, 4):
        padded = np.zeros((raw.size // width, 4), np.uint8)
        padded[:, 4 - width :] = raw.reshape(-1, width)
        whole = padded.view("<i4").ravel() / 2.0**31
    else:
        raise ValueError(f"samples of {width} bytes; PCM of 1 to 4 is read")
    samples = whole.reshape(-1, channels).mean(axis=1)
    if rate and rate != own and samples.size:
        count = max(1, round(samples.size * rate / own))
        samples = np.interp(np.arange(count) * own / rate, np.arange(samples.size), samples)
    shape, open_ = _length(details, samples.size)
    length = shape[open_]
    samples = np.pad(samples[:length], (0, max(0, length - samples.size)))
    if details["dtype"] is np.int16 and not details["quantization"][0]:
        return np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16).reshape(shape)
    return quantize(samples.astype(np.float32), details).reshape(shape)


def _length(details: Mapping[str, Any], count: int) -> tuple[list[int], int]:
    """(the shape of an input for `count` values, its one dimension that is not 1)."""
    shape, signature = list(map(int, details["shape"])), list(map(int, details["shape_signature"]))
    free = [i for i, d in enumerate(signature) if d == -1]
    long = [i for i, d in enumerate(shape) if d > 1] or free[-1:]
    if len(long) != 1:
        raise ValueError("a sequence needs an input with one dimension that is not 1")
    if long[0] in free:
        shape[long[0]] = count
    return shape, long[0]


def _text(text: str, details: Mapping[str, Any], about: _About) -> Array:
    """A string a line; or, where the metadata names a tokenizer, the text's tokens."""
    if np.dtype(details["dtype"]).kind == "S":
        lines = [line.encode() for line in text.splitlines()]
        rank = len(details["shape"])
        return np.array(lines, object).reshape([*[1] * (rank - 1), len(lines)] if rank else [])
    from tflgpu.cli.tokens import regex_tokens

    ids = regex_tokens(text, about.model, about.tensor)
    shape, axis = _length(details, len(ids))
    pad = np.zeros(max(0, shape[axis] - len(ids)), np.int64)
    return np.concatenate([np.array(ids, np.int64), pad])[: shape[axis]].reshape(shape).astype(details["dtype"])


def resized(interpreter: Any, arrays: Sequence[Array]) -> list[str]:
    """What `feed` gives another shape, in words."""
    pairs = zip(interpreter.get_input_details(), arrays, strict=True)
    return [
        f"{d['name']!r} from {list(map(int, d['shape']))} to {list(a.shape)}"
        for d, a in pairs
        if tuple(d["shape"]) != a.shape
    ]


def feed(interpreter: Any, arrays: Sequence[Array]) -> None:
    """Resizes where shapes differ, allocates, and sets the inputs."""
    for details, array in zip(interpreter.get_input_details(), arrays, strict=True):
        if tuple(details["shape"]) != array.shape:
            interpreter.resize_tensor_input(details["index"], array.shape)
    interpreter.allocate_tensors()
    for details, array in zip(interpreter.get_input_details(), arrays, strict=True):
        interpreter.set_tensor(details["index"], array)
