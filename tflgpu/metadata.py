"""What a model says about itself: TensorFlow Lite Metadata, labels and other associated files."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tflgpu.model import associated_files
from tflgpu.model.graph import Array, Model
from tflgpu.model.schema_metadata import METADATA_ENTRY, METADATA_IDENTIFIER
from tflgpu.model.verifier import Table, read_model

LABELS = ("TENSOR_AXIS_LABELS", "TENSOR_VALUE_LABELS")


@dataclass(frozen=True)
class AssociatedFile:
    """name: in the model's archive. type: as in the schema, e.g. "TENSOR_AXIS_LABELS". locale: e.g. "en-US", or ""."""

    name: str
    type: str = "UNKNOWN"
    locale: str = ""
    description: str = ""


@dataclass(frozen=True)
class ScoreCalibration:
    """calibrated = scale / (1 + exp(-(slope * g(score) + offset))), or default_score where a row is empty or below.

    transformation: g: IDENTITY, LOG or INVERSE_LOGISTIC. rows: scale, slope, offset and least score (or None), one row
    an index of the output; None for an empty one.
    """

    transformation: str
    default_score: float
    rows: tuple[tuple[float, float, float, float | None] | None, ...]

    def __call__(self, scores: Array) -> Array:
        """Calibrated scores (..., n) in float32. Raises ValueError where the last dimension is not that of the rows."""
        x = np.asarray(scores, np.float64)
        if x.ndim == 0 or x.shape[-1] != len(self.rows):
            raise ValueError(f"score calibration is for {len(self.rows)} scores, not for shape {list(x.shape)}")
        rows = [(0.0, 0.0, 0.0, np.inf) if row is None else row for row in self.rows]
        scale, slope, offset, least = np.array([[-np.inf if v is None else v for v in row] for row in rows]).T
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            g = x if self.transformation == "IDENTITY" else np.log(x)
            if self.transformation == "INVERSE_LOGISTIC":
                g = g - np.log1p(-x)
            calibrated = scale / (1 + np.exp(-(slope * g + offset)))
        return np.where(x > least, calibrated, self.default_score).astype(np.float32)


@dataclass(frozen=True)
class TensorMetadata:
    """What the metadata says of one input or output.

    content: "Image", "Feature", "BoundingBox", "Audio" or "". color_space: RGB, GRAYSCALE or "". mean, std: one, or one
    a channel; an input is (x - mean) / std of pixels from 0 to 255. box: type, coordinate type and order of bounding
    boxes. threshold: scores below it are of low confidence. tokenizer: its name and its files; pattern: what
    RegexTokenizer splits at.
    """

    name: str = ""
    description: str = ""
    content: str = ""
    color_space: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    min: tuple[float, ...] = ()
    max: tuple[float, ...] = ()
    sample_rate: int = 0
    box: tuple[str, str, tuple[int, ...]] | None = None
    threshold: float | None = None
    calibration: tuple[str, float] | None = None
    tokenizer: tuple[str, tuple[str, ...]] | None = None
    pattern: str = ""
    files: tuple[AssociatedFile, ...] = ()


@dataclass(frozen=True)
class Metadata:
    """What a model says about itself; empty where it says nothing.

    inputs, outputs: one an input and output of the main graph, in order. entries: the raw metadata by name.
    """

    name: str = ""
    description: str = ""
    version: str = ""
    author: str = ""
    license: str = ""
    inputs: tuple[TensorMetadata, ...] = ()
    outputs: tuple[TensorMetadata, ...] = ()
    files: tuple[str, ...] = ()
    entries: dict[str, bytes] = field(default_factory=dict)
    _content: memoryview = field(default=memoryview(b""), repr=False)

    def read(self, name: str) -> bytes:
        """An associated file. Raises ValueError, with the names that there are, where there is none of that name."""
        return associated_files.read(self._content, name)

    def labels(self, output: int | None = None, locale: str = "") -> list[str]:
        """The labels of an output; of the first that has some, unless told which. None: an empty list.

        locale: of the label file wanted, e.g. "de"; the first one unless there is one of that locale.
        """
        for tensor in self.outputs if output is None else self.outputs[output : output + 1]:
            files = sorted((f for f in tensor.files if f.type in LABELS), key=lambda f: f.locale != locale)
            if files:
                return parse_labels(self.read(files[0].name).decode("utf-8", "replace"))
        return []

    def calibration(self, output: int = 0) -> ScoreCalibration | None:
        """The score calibration of an output, if it has one. Raises ValueError for a file that cannot be read."""
        tensor = self.outputs[output]
        files = [f for f in tensor.files if f.type == "TENSOR_AXIS_SCORE_CALIBRATION"]
        if tensor.calibration is None or not files:
            return None
        try:
            lines = csv.reader(self.read(files[0].name).decode().splitlines())
            rows = [tuple(map(float, line)) if line and line[0].strip() else None for line in lines]
            return ScoreCalibration(*tensor.calibration, tuple(map(_sigmoid, rows)))
        except ValueError as error:
            raise ValueError(f"score calibration file {files[0].name!r}: {error}") from None


def _sigmoid(row: tuple[float, ...] | None) -> tuple[float, float, float, float | None] | None:
    if row is None:
        return None
    if len(row) not in (3, 4):
        raise ValueError(f"a line must have 0, 3 or 4 numbers, has {len(row)}")
    return row[0], row[1], row[2], row[3] if len(row) == 4 else None


def metadata_of(model: Model) -> Metadata:
    """What a model says about itself. Raises ValueError for metadata or an archive that is malformed."""
    content = model.content
    files = tuple(associated_files.names(content))
    entries = dict(model.metadata)
    raw = entries.get(METADATA_ENTRY)
    main = model.graphs[0]
    counts = len(main.inputs), len(main.outputs)
    if not raw:
        empty = tuple((TensorMetadata(),) * count for count in counts)
        return Metadata(inputs=empty[0], outputs=empty[1], files=files, entries=entries, _content=content)
    table = read_model(raw, "ModelMetadata", METADATA_IDENTIFIER)
    graphs = table.subgraph_metadata or ()
    sides = (graphs[0].input_tensor_metadata, graphs[0].output_tensor_metadata) if graphs else ((), ())
    read = [[_tensor(t) for t in side or ()] for side in sides]
    padded = [tuple((*s, *[TensorMetadata()] * count)[:count]) for s, count in zip(read, counts, strict=True)]
    name, description, version, author, license_ = (
        text or "" for text in (table.name, table.description, table.version, table.author, table.license)
    )
    return Metadata(name, description, version, author, license_, padded[0], padded[1], files, entries, content)


def _tensor(table: Table) -> TensorMetadata:
    units = {unit.options_type: unit.options for unit in table.process_units or () if unit.options is not None}
    content = table.content.content_properties if table.content else Table()
    kind = (table.content.content_properties_type or "") if table.content and content is not None else ""
    normalization, stats = units.get("NormalizationOptions"), table.stats
    threshold, calibration = units.get("ScoreThresholdingOptions"), units.get("ScoreCalibrationOptions")
    files = tuple(_file(f) for f in table.associated_files or ())
    return TensorMetadata(
        name=table.name or "",
        description=table.description or "",
        content=kind.removesuffix("Properties"),
        color_space=str(content.color_space) if kind == "ImageProperties" else "",
        mean=_floats(normalization and normalization.mean),
        std=_floats(normalization and normalization.std),
        min=_floats(stats and stats.min),
        max=_floats(stats and stats.max),
        sample_rate=content.sample_rate if kind == "AudioProperties" else 0,
        box=(content.type, content.coordinate_type, content.index or ()) if kind == "BoundingBoxProperties" else None,
        threshold=threshold and threshold.global_score_threshold,
        calibration=calibration and (calibration.score_transformation, calibration.default_score),
        pattern=next((u.delim_regex_pattern or "" for n, u in units.items() if n == "RegexTokenizerOptions"), ""),
        tokenizer=next((_tokenizer(name, unit) for name, unit in units.items() if "Tokenizer" in name), None),
        files=files,
    )


def _tokenizer(name: str, table: Table) -> tuple[str, tuple[str, ...]]:
    files = [*(vars(table).get("sentencePiece_model") or ()), *(table.vocab_file or ())]
    return name.removesuffix("Options"), tuple(file.name or "" for file in files)


def _file(table: Table) -> AssociatedFile:
    return AssociatedFile(table.name or "", str(table.type), table.locale or "", table.description or "")


def _floats(values: Any) -> tuple[float, ...]:
    return () if values is None else tuple(map(float, values))


class HasMetadata(Protocol):
    """An Interpreter, or what else has a model's metadata."""

    @property
    def metadata(self) -> Metadata: ...


def labels(source: HasMetadata | str | Path, output: int | None = None, locale: str = "") -> list[str]:
    """The labels of an interpreter's model, or of a file: a model, or text with a label a line.

    output: whose; the first output that has labels unless given. Raises ValueError where there are none.
    """
    if isinstance(source, str | Path):
        path = Path(source)
        if path.suffix != ".tflite":
            return parse_labels(path.read_text("utf-8"))
        from tflgpu.model.loader import load

        found = metadata_of(load(path)).labels(output, locale)
    else:
        found = source.metadata.labels(output, locale)
    if not found:
        which = "no output of the model" if output is None else f"output {output} of the model"
        raise ValueError(f"{which} has labels in its metadata; give labels() a file with one a line")
    return found


def parse_labels(text: str) -> list[str]:
    """One label a line, or, where every line begins with its index, as in "3  tench", the labels by index."""
    lines = [line.strip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    numbered = [re.match(r"(\d+)[\s:,]+(.+)", line) for line in lines if line]
    if not lines or not all(numbered):
        return lines
    by_index = {int(m[1]): m[2] for m in numbered if m}
    if max(by_index) >= 8 * len(by_index) + 1000:  # numbers, but not indices
        return lines
    return [by_index.get(i, "") for i in range(max(by_index) + 1)]


@dataclass(frozen=True)
class Scored:
    """One of the best: its index, its score, and its label, which is its index as text where there is none."""

    index: int
    score: float
    label: str


def top_k(scores: Array, k: int = 5, labels: Sequence[str] = ()) -> list[Scored]:
    """The k highest of scores (n,) or (1, ..., n), best first; equal ones by index, NaN last.

    Raises ValueError for scores of more than one example, and for k below 1.
    """
    values = np.asarray(scores)
    if values.ndim == 0 or values.size != values.shape[-1] or values.dtype.kind not in "fiub":
        raise ValueError(
            f"top_k takes the scores of one example, (n,) or (1, n), not {values.dtype} {list(values.shape)}"
        )
    if k < 1:
        raise ValueError(f"k must be 1 or more, is {k}")
    flat = values.reshape(-1)
    keys = np.where(np.isnan(flat), -np.inf, flat) if flat.dtype.kind == "f" else flat.astype(np.int64)
    best = np.argsort(-keys, kind="stable")[:k]
    return [Scored(int(i), float(flat[i]), labels[i] if i < len(labels) else str(i)) for i in best.tolist()]
