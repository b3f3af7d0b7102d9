"""The models that a server has: files of a folder, by name and version, which may change while it runs."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Protocol

from kserve import ModelRepository
from kserve.model import InferenceModel

from tflgpu.delegation.delegate import Delegate
from tflgpu.delegation.discovery import load_delegate
from tflgpu.limits import UNTRUSTED, read_limits
from tflgpu.model.graph import Array
from tflgpu.model.loader import load
from tflgpu.optional import offers
from tflgpu.serving.batcher import Batcher, BusyError
from tflgpu.serving.entry_point import Arrays, Port
from tflgpu.serving.metrics import ModelMetrics
from tflgpu.serving.predictor import Predictor
from tflgpu.serving.protocol import datatype
from tflgpu.serving.rows import Rows

logger = logging.getLogger("tflgpu.serve")

SETTINGS = "config.json"
"""In a model's folder: the fields of Settings that differ from the server's."""


@dataclass(frozen=True)
class Settings:
    """How a model is served.

    delegate, options: as for `load_delegate`. devices: values of the option `device`, each with so many instances.
    batch: rows that one invoke takes at most. max_delay_ms: that a request waits for others while an instance is free.
    max_queue: requests that may wait; more are refused. replicas: the least and the most on Ray Serve, each with these
    instances, num_cpus and num_gpus; none: the instances run in the server. limits: of each interpreter, by their names
    in tflgpu.limits.Limits; those for untrusted files otherwise.
    """

    delegate: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    devices: Sequence[str] = ()
    instances: int = 1
    batch: int = 1
    max_delay_ms: float = 0
    max_queue: int = 1024
    num_threads: int | None = None
    replicas: Sequence[int] = ()
    num_cpus: float = 1
    num_gpus: float = 0
    limits: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.instances < 1 or self.batch < 1 or self.max_delay_ms < 0 or self.max_queue < 1:
            raise ValueError("instances, batch and max_queue are at least 1, max_delay_ms at least 0")
        if self.replicas and (len(self.replicas) != 2 or not 0 < self.replicas[0] <= self.replicas[1]):
            raise ValueError(f"replicas are the least and the most, not {self.replicas}")

    def changed_by(self, file: Path) -> Settings:
        """With what a config.json says. Raises ValueError for what is none, or names no field."""
        try:
            given = json.loads(file.read_text())
            unknown = given.keys() - {one.name for one in fields(self)}
            if unknown:
                raise ValueError(f"no setting {', '.join(sorted(unknown))}")
            return replace(self, **given)
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(f"{file}: {error}") from error

    def predictors(self, content: bytes, signature: str | None) -> list[Predictor]:
        """One for each instance; those of one device share its delegate, and so its constants."""
        found = []
        for device in self.devices or (None,):
            delegate: Delegate | None = None
            if self.delegate is not None:
                own = {} if device is None else {"device": device}
                delegate = load_delegate(self.delegate, {**self.options, **own})
            limits = read_limits(self.limits, UNTRUSTED)
            one = Predictor(content, delegate, {}, signature, self.batch, num_threads=self.num_threads, limits=limits)
            found += [replace(one) for _ in range(self.instances)]
        return found


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
        """
        async with self._lock:
            found, errors = await asyncio.to_thread(self._files), list[str]()
            for key, (file, settings, stamp) in found.items():
                if key in self._loaded and self._loaded[key][0] == stamp:
                    continue
                try:
                    served = await asyncio.to_thread(_served, *key, file, settings)
                except (ValueError, RuntimeError, OSError, MemoryError) as error:
                    errors.append(f"{key[0]} version {key[1]}: {error}")
                    continue
                self._retire(self._loaded.get(key))
                self._loaded[key] = stamp, served
                logger.info("serving %s version %s of %s", *key, file)
            for key in self._loaded.keys() - found.keys():
                self._retire(self._loaded.pop(key))
            self.models = _by_name(served for _, served in self._loaded.values())
            return errors

    async def load(self, name: str) -> None:
        """Loads a model of the folder, anew if it has changed. Raises ValueError, naming why not."""
        self._unloaded.discard(name)
        errors = [error for error in await self.refresh() if error.startswith(f"{name} version")]
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
        for loaded in self._loaded.values():
            self._retire(loaded)
        await asyncio.gather(*self._closing)

    def _retire(self, loaded: tuple[object, list[Served]] | None) -> None:
        for served in loaded[1] if loaded else ():
            task = asyncio.get_running_loop().create_task(served.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def _files(self) -> dict[tuple[str, str], tuple[Path, Settings, object]]:
        """Name and version -> the file, its settings, and what changes when these do."""
        if self._source.is_file():
            return {(self._source.stem, "1"): (self._source, self._settings, _stamp(self._source))}
        found: dict[tuple[str, str], tuple[Path, Settings, object]] = {}
        for path in sorted(self._source.iterdir()):
            config = path / SETTINGS
            settings = self._settings.changed_by(config) if config.is_file() else self._settings
            files = [("1", path)] if path.suffix == ".tflite" and path.is_file() else []
            if path.is_dir():
                files = [(one.parent.name, one) for one in path.glob("*/*.tflite") if one.parent.name.isdecimal()]
            name = path.stem if path.is_file() else path.name
            for version, file in files:
                if (name, version) in found:
                    raise ValueError(f"{name} version {version} is both {found[name, version][0]} and {file}")
                if name not in self._unloaded:
                    found[name, version] = file, settings, (_stamp(file), settings)
        return found


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
