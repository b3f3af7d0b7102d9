"""A batch job: a folder of images or Parquet files through a model, to a folder of Parquet files, shard by shard.

A shard's file appears whole or not at all, under a name that follows from the inputs. So a job that is stopped goes on
where it was, and a shard that two workers run is there once.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tflgpu.images import SUFFIXES
from tflgpu.serving.columns import array, table
from tflgpu.serving.predictor import Predictor

ABOUT = "_job.json"
"""What the job in a folder is; readers of Parquet leave out names that begin so."""

ROW_GROUP_BYTES = 2**26
"""Of results that are written at once."""


@dataclass(frozen=True)
class Shard:
    """What one file of results is made of: images, or row groups of one Parquet file.

    skip_unreadable: images that cannot be read are listed in a file beside the results, and not an error.
    """

    number: int
    files: tuple[str, ...]
    row_groups: tuple[int, ...]
    output: str
    skip_unreadable: bool = False

    @property
    def target(self) -> Path:
        return self._file("rows-{}.parquet")

    @property
    def without_rows(self) -> Path:
        """In place of the target where there are no rows: readers take the first file's columns for all."""
        return self._file("_no-rows-{}")

    @property
    def unreadable(self) -> Path:
        return self._file("_unreadable-{}.txt")

    @property
    def done(self) -> bool:
        return self.target.exists() or self.without_rows.exists()

    def _file(self, name: str) -> Path:
        return Path(self.output) / name.format(f"{self.number:05}")


def shards(source: Path, output: Path, images_a_shard: int, skip_unreadable: bool = False) -> list[Shard]:
    """The shards of a folder of images, or of Parquet files, without what is in the output.

    Raises ValueError where there are neither, or both, and for a file that is no Parquet.
    """
    files = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    files = [path for path in files if output not in path.parents]
    images = [str(path) for path in files if path.suffix.lower() in SUFFIXES]
    tables = [str(path) for path in files if path.suffix == ".parquet"]
    if bool(images) == bool(tables):
        raise ValueError(f"{source} must have images or Parquet files, and has {'both' if images else 'neither'}")
    chunks = [(tuple(images[i : i + images_a_shard]), ()) for i in range(0, len(images), images_a_shard)]
    groups = [((path,), (group,)) for path in tables for group in range(_row_groups(path))]
    return [Shard(i, *both, str(output), skip_unreadable) for i, both in enumerate(chunks or groups)]


def begin(predictor: Predictor, made: list[Shard], output: Path) -> list[Shard]:
    """The shards that are still to do; the folder is made if there is none.

    Raises ValueError where the folder has results of another model, other inputs or other options.
    """
    about = {"model": _digest(predictor), "options": _options(predictor), "shards": len(made), "inputs": _inputs(made)}
    output.mkdir(parents=True, exist_ok=True)
    known = output / ABOUT
    if known.exists():
        before = json.loads(known.read_text())
        differ = [name for name in about if before.get(name) != about[name]]
        if differ:
            raise ValueError(f"{output} has the results of a job with other {', '.join(differ)}: give another folder")
    elif any(output.glob("*.parquet")):
        raise ValueError(f"{output} has Parquet files that are not of a job: give another folder")
    else:
        _replace(known, json.dumps(about, indent=1).encode())
    return [shard for shard in made if not shard.done]


def run_shard(predictor: Predictor, shard: Shard) -> int:
    """Predicts a shard and writes its file, unless it is there; the number of its rows. Raises as the predictor."""
    if shard.done:
        return int(pq.read_metadata(shard.target).num_rows) if shard.target.exists() else 0
    temporary = _temporary(shard.target)
    rows, unreadable, writer = 0, list[str](), None
    try:
        for results in _joined(table(predictor(given)) for given in _batches(predictor, shard, unreadable)):
            writer = writer or pq.ParquetWriter(temporary, results.schema)
            writer.write_table(results)
            rows += results.num_rows
        if unreadable:
            _replace(shard.unreadable, "\n".join(unreadable).encode() + b"\n")
        if writer is not None:
            writer.close()
            os.replace(temporary, shard.target)
        else:
            _replace(shard.without_rows, b"")
    finally:
        temporary.unlink(missing_ok=True)
    return rows


def _joined(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The tables as few larger ones: each that is written is a row group."""
    waiting, nbytes = list[pa.Table](), 0
    for one in tables:
        waiting.append(one)
        nbytes += one.nbytes
        if nbytes >= ROW_GROUP_BYTES:
            yield pa.concat_tables(waiting)
            waiting, nbytes = [], 0
    if waiting:
        yield pa.concat_tables(waiting)


def _batches(predictor: Predictor, shard: Shard, unreadable: list[str]) -> Iterator[Mapping[str, Any]]:
    size = predictor.batch or max(predictor.rows.own, 1)
    if not shard.row_groups:
        for start in range(0, len(shard.files), size):
            yield from _images(predictor, shard, shard.files[start : start + size], unreadable)
        return
    inputs = predictor.rows.entry.inputs
    for batch in _record_batches(shard.files[0], shard.row_groups, size):
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        if predictor.preprocess is None:
            missing = [name for name in inputs if name not in columns]
            if missing:
                raise ValueError(f"{shard.files[0]} has no column {missing}, but {list(columns)}")
            kept = {name: columns[name] for name in predictor.keep if name in columns}
            yield kept | {name: array(columns[name], port) for name, port in inputs.items()}
        else:
            yield columns


def _record_batches(path: str, row_groups: Sequence[int], size: int) -> Iterator[Any]:
    with _naming(path):
        yield from pq.ParquetFile(path).iter_batches(size, row_groups=list(row_groups))


def _row_groups(path: str) -> int:
    with _naming(path):
        return int(pq.read_metadata(path).num_row_groups)


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Errors of a Parquet file with its name."""
    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path}: {error}") from error


def _images(predictor: Predictor, shard: Shard, paths: tuple[str, ...], unreadable: list[str]) -> Iterator[Any]:
    if predictor.preprocess is not None:
        yield {"path": np.array(paths, object)}
        return
    entry = predictor.rows.entry
    if len(entry.inputs) != 1:
        raise ValueError(
            f"images go to a model of one input, or through --preprocess; this one has {list(entry.inputs)}"
        )
    (name,) = entry.inputs
    read, pixels = [], []
    for path in paths:
        try:
            pixels.append(entry.picture(name, path)[0])
            read.append(path)
        except OSError as error:
            if not shard.skip_unreadable:
                raise ValueError(f"{path}: {error}") from error
            unreadable.append(path)
    if read:
        yield {"path": np.array(read, object), name: np.stack(pixels)}


def _digest(predictor: Predictor) -> str:
    content = predictor.model if isinstance(predictor.model, bytes) else Path(predictor.model).read_bytes()
    return hashlib.sha256(content).hexdigest()


def _options(predictor: Predictor) -> dict[str, str]:
    functions = {name: getattr(predictor, name) for name in ("preprocess", "postprocess")}
    names = {name: f"{one.__module__}:{one.__qualname__}" for name, one in functions.items() if one is not None}
    return names | {"signature": str(predictor.signature), "keep": ",".join(predictor.keep)}


def _inputs(made: list[Shard]) -> str:
    """A digest of the inputs' names and sizes, as they are divided."""
    listed = [([(path, os.stat(path).st_size) for path in shard.files], shard.row_groups) for shard in made]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()


def _replace(path: Path, content: bytes) -> None:
    temporary = _temporary(path)
    temporary.write_bytes(content)
    os.replace(temporary, path)


def _temporary(path: Path) -> Path:
    return path.with_name(f"._{path.name}.{uuid.uuid4().hex}")
