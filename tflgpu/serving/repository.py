"""The models that a server has: files of a folder, by name and version, which may change while it runs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from kserve import ModelRepository
from kserve.model import InferenceModel

from tflgpu.model.graph import Array
from tflgpu.model.loader import load
from tflgpu.optional import offers
from tflgpu.serving.batcher import Batcher, BusyError
from tflgpu.serving.entry_point import Arrays, Port
from tflgpu.serving.metrics import ModelMetrics
from tflgpu.serving.predictor import Predictor
from tflgpu.serving.protocol import datatype
from tflgpu.serving.rows import Rows
from tflgpu.serving.settings import Settings

logger = logging.getLogger("tflgpu.serve")

SETTINGS = "config.json"
"""In a model's folder: the fields of Settings that differ from the server's."""


class ReportsMemory(Protocol):
    """A delegate that tells how much of its device's memory it holds."""

    def memory(self) -> Any:
        """A report with `device` and `nbytes`."""


class Runs(Protocol):
    """Instances of a model, wherever they are: a Batcher or Replicas."""

    def prepare(self) -> None: ...

    async def predict(self, arrays: Arrays) -> dict[str, Array]: ...

    async def close(self) -> None: ...


def _described(port: Port, rows: Rows) -> dict[str, Any]:
    shape = [-1, *port.shape[1:]] if rows.divisible else [*port.shape]
    return {"name": port.name, "datatype": datatype(port), "shape": shape}


class Served(InferenceModel):
    """One signature of one version of a model, answering requests."""

    def __init__(self, name: str, version: str, content: bytes, signature: str | None, settings: Settings):
        super().__init__(name)
        self.version = version
        self._metrics = ModelMetrics(name, version)
        self._predictors = settings.predictors(content, signature)
        self._runs: Runs
        if settings.replicas:
            from tflgpu.serving.replicas import Replicas

            self._predictors = [Predictor(content, signature=signature, batch=settings.batch)]  # to describe the model
            self._runs = Replicas(f"{name}-{version}", content, signature, settings, self._predictors[0])
        else:
            delay = settings.max_delay_ms / 1e3
            self._runs = Batcher(self._predictors, delay, settings.max_queue, self._metrics)

    def load(self) -> bool:
        """Opens and warms every instance. Raises ValueError or RuntimeError where the model cannot be used."""
        rows = self._predictors[0].rows
        inputs, outputs = rows.entry.inputs, rows.entry.outputs
        self._inputs, self._outputs = ([_described(p, rows) for p in ports.values()] for ports in (inputs, outputs))
        self.output_names = frozenset(outputs)
        self._runs.prepare()
        self.ready = True
        self.measure_memory()
        return True

    def get_input_types(self) -> list[dict[str, Any]]:
        return self._inputs

    def get_output_types(self) -> list[dict[str, Any]]:
        return self._outputs

    async def __call__(self, arrays: Arrays, headers: Any = None, verb: Any = None) -> dict[str, Array]:
        """The outputs. Raises as `Batcher.predict`; counts how it ended."""
        start, outcome = time.perf_counter(), "failed"
        try:
            results = await self._runs.predict(arrays)
            outcome = "ok"
            return results
        except ValueError:
            outcome = "refused"
            raise
        except BusyError:
            outcome = "busy"
            raise
        finally:
            self._metrics.ended(outcome, time.perf_counter() - start)

    def measure_memory(self) -> None:
        """Tells the metrics what the delegates hold on their devices, where they say so."""
        for delegate in {id(p.delegate): p.delegate for p in self._predictors}.values():
            if offers(delegate, ReportsMemory):
                report = delegate.memory()
                self._metrics.device_bytes(report.device, report.nbytes)

    async def close(self) -> None:
        """Answers what it was asked, and then lets go of its instances."""
        await self._runs.close()


Found = tuple[Path, Settings, object]
"""A model's file, its settings, and what changes when these do."""


class Repository(ModelRepository):
    """The models of a file, or of a folder: NAME.tflite, and NAME/VERSION/*.tflite with NAME/config.json.

    A model is served by its name in the version of the greatest number, by name and version in every version, and each
    of several signatures as NAME.SIGNATURE.
    """

    def __init__(self, source: Path, settings: Settings):
        super().__init__(str(source))
        self._source, self._settings = source, settings
        self._loaded: dict[tuple[str, str], tuple[object, list[Served]]] = {}
        self._unloaded: set[str] = set()
        self._lock = asyncio.Lock()
        self._closing: set[asyncio.Task[None]] = set()

    def get_model(self, name: str, version: str = "") -> Served | None:
        """The model of this name, in this version or its latest."""
        found: Served | None = self.models.get(f"{name}/{version}" if version else name)
        return found

    def versions(self, name: str) -> list[str]:
        return [key.partition("/")[2] for key in self.models if key.partition("/")[0] == name and "/" in key]

    async def refresh(self) -> list[str]:
        """Loads what is new or has changed and drops what is gone, while requests go on; the errors, if any.

        A model that cannot be loaded stays as it was. Requests that a former version has accepted are answered by it.
        Raises OSError where the folder cannot be read.
        """
        async with self._lock:
            found, failed = await asyncio.to_thread(self._files)
            errors = [f"{name}: {error}" for name, error in failed.items()]
            for key, (file, settings, stamp) in found.items():
                if key in self._loaded and self._loaded[key][0] == stamp:
                    continue
                try:
                    self._check_names(key[0], served := await asyncio.to_thread(_served, *key, file, settings))
                except (ValueError, RuntimeError, OSError, MemoryError) as error:
                    errors.append(f"{key[0]} version {key[1]}: {error}")
                    continue
                self._replace(key, (stamp, served))
                logger.info("serving %s version %s of %s", *key, file)
            for key in self._loaded.keys() - found.keys():
                if key[0] not in failed:
                    self._replace(key, None)
            return errors

    async def load(self, name: str) -> None:
        """Loads a model of the folder, anew if it has changed. Raises ValueError, naming why not."""
        self._unloaded.discard(name)
        errors = [error for error in await self.refresh() if error.startswith((f"{name} version", f"{name}:"))]
        if errors or name not in self.models:
            raise ValueError("; ".join(errors) or f"there is no model {name!r} in {self._source}")

    async def unload(self, name: str) -> None:
        """Serves a model no more, until it is loaded again. Raises KeyError where it is not served."""
        if name not in {key[0] for key in self._loaded}:
            raise KeyError(name)
        self._unloaded.add(name)
        await self.refresh()

    async def close(self) -> None:
        """Answers what was asked of all models, and lets go of them."""
        for key in list(self._loaded):
            self._replace(key, None)
        await asyncio.gather(*self._closing)

    def _check_names(self, name: str, group: Sequence[Served]) -> None:
        """Raises ValueError, and lets go of the models, where another model's signatures have their names."""
        others = {served.name for key, (_, group) in self._loaded.items() if key[0] != name for served in group}
        taken = sorted(others & {served.name for served in group})
        if taken:
            self._retire(group)
            raise ValueError(f"another model is served as {', '.join(taken)}")

    def _replace(self, key: tuple[str, str], loaded: tuple[object, list[Served]] | None) -> None:
        """Serves these, or none, in place of the former ones, which close when nobody can ask them any more."""
        former = self._loaded.pop(key, None)
        if loaded is not None:
            self._loaded[key] = loaded
        self.models = _by_name(served for _, served in self._loaded.values())
        self._retire(former[1] if former else ())

    def _retire(self, group: Sequence[Served]) -> None:
        for served in group:
            task = asyncio.get_running_loop().create_task(served.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _files(self) -> tuple[dict[tuple[str, str], Found], dict[str, str]]:
        """What there is by name and version, and what is wrong by name."""
        if self._source.is_file():
            return {(self._source.stem, "1"): (self._source, self._settings, _stamp(self._source))}, {}
        found, failed = dict[tuple[str, str], Found](), dict[str, str]()
        for path in sorted(self._source.iterdir()):
            name = path.stem if path.is_file() else path.name
            if name in self._unloaded:
                continue
            try:
                for version, one in _versions(path, self._settings):
                    if (name, version) in found:
                        raise ValueError(f"version {version} is both {found[name, version][0]} and {one[0]}")
                    found[name, version] = one
            except (ValueError, OSError) as error:
                failed[name] = str(error)
        return {key: one for key, one in found.items() if key[0] not in failed}, failed


def _versions(path: Path, server: Settings) -> list[tuple[str, Found]]:
    """The versions of a model that is a file or a folder. Raises ValueError or OSError where its settings are wrong."""
    if path.is_file():
        return [("1", (path, server, (_stamp(path), server)))] if path.suffix == ".tflite" else []
    files = [file for file in path.glob("*/*.tflite") if file.parent.name.isdecimal()]
    settings = server.changed_by(path / SETTINGS) if files and (path / SETTINGS).is_file() else server
    return [(file.parent.name, (file, settings, (_stamp(file), settings))) for file in files]


def _stamp(file: Path) -> object:
    told = file.stat()
    return str(file), told.st_mtime_ns, told.st_size, told.st_ino


def _served(name: str, version: str, file: Path, settings: Settings) -> list[Served]:
    content = file.read_bytes()  # not mapped: who writes to the file changes no model that is served
    signatures = sorted(load(content=content).signatures)
    keys: list[str | None] = [None, *signatures] if len(signatures) > 1 else [None]
    found = []
    for key in keys:
        served = Served(f"{name}.{key}" if key else name, version, content, key, settings)
        served.load()
        found.append(served)
    return found


def _by_name(groups: Any) -> dict[str, Served]:
    every = sorted((served for group in groups for served in group), key=lambda served: int(served.version))
    latest = {served.name: served for served in every}
    return latest | {f"{served.name}/{served.version}": served for served in every}
