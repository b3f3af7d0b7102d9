"""Requests of both protocols: which model answers them, within which limits, and what an error is to a client."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
from kserve.errors import ModelNotFound
from kserve.protocol.dataplane import DataPlane

from tflgpu import __version__
from tflgpu.model.graph import Array
from tflgpu.serving.batcher import BusyError
from tflgpu.serving.metrics import HELD_BYTES
from tflgpu.serving.protocol import InferenceRequest
from tflgpu.serving.repository import Repository, Served

logger = logging.getLogger("tflgpu.serve")

Result = TypeVar("Result")


@dataclass(frozen=True)
class ServerLimits:
    """What clients may ask for.

    body_bytes: of one request. held_bytes: of all requests that are being answered; JSON and gRPC's contents, whose
    numbers become objects, count eightfold. connections: of HTTP, and calls of gRPC at a time. client_seconds: until
    the head of a request of HTTP is there, then its body, and until its answer is taken; until the request of a call of
    gRPC is there. control: whether they may load and unload models.
    """

    body_bytes: int = 64 * 2**20
    held_bytes: int = 2**30
    connections: int = 1024
    client_seconds: float = 30
    control: bool = False


class TooLargeError(ValueError):
    """A request is larger than it may be."""


class Inference:
    """Answers requests of both protocols: finds the model, runs it, and holds the limits."""

    def __init__(self, repository: Repository, limits: ServerLimits):
        self.repository, self.limits = repository, limits
        self._held = 0

    @contextlib.contextmanager
    def holding(self) -> Iterator[Callable[[int], None]]:
        """While a request is answered: what is called with the numbers of bytes that are held for it, as they come.

        That raises BusyError beyond the limit of all requests.
        """
        own = 0

        def hold(nbytes: int) -> None:
            nonlocal own
            if self._held + nbytes > self.limits.held_bytes:
                raise BusyError(f"requests of {self._held} bytes are being answered already")
            own += nbytes
            self._held += nbytes
            HELD_BYTES.set(self._held)

        try:
            yield hold
        finally:
            self._held -= own
            HELD_BYTES.set(self._held)

    def check_size(self, nbytes: int) -> None:
        """Raises TooLargeError for a request of so many bytes."""
        if nbytes > self.limits.body_bytes:
            raise TooLargeError(f"the request is larger than {self.limits.body_bytes} bytes")

    def model(self, name: str, version: str) -> Served:
        """Raises ModelNotFound where there is none of this name and version."""
        found = self.repository.get_model(name, version or "")
        if found is None:
            raise ModelNotFound(f"{name} version {version}" if version else name)
        return found

    async def run(self, name: str, version: str, request: InferenceRequest) -> tuple[Served, dict[str, Array]]:
        """The model and its outputs. It is looked up when the request is complete: a former one answers no more.

        Raises ModelNotFound, ValueError for what the model does not have or take, BusyError, RuntimeError.
        """
        model = self.model(name, version)
        unknown = request.outputs.keys() - model.output_names
        if unknown:
            raise ValueError(f"model {model.name!r} has no output {sorted(unknown)}, but {sorted(model.output_names)}")
        return model, await model(request.inputs)


SMALL = 2**20
"""Bytes of a request that is read where it arrives; larger ones are read in a thread, so that others go on."""


async def apart(nbytes: int, call: Callable[[], Result]) -> Result:
    """What the call returns, made in a thread where it has many bytes to go through."""
    return call() if nbytes <= SMALL else await asyncio.to_thread(call)


def about(model: Served) -> dict[str, str]:
    return {"model_name": model.name, "model_version": model.version}


class Plane(DataPlane):
    """KServe's view of the models, with versions, and readiness that ends before the server does."""

    def __init__(self, inference: Inference):
        super().__init__(inference.repository)
        self._server_name, self._server_version = "tflgpu", __version__
        self.inference = inference
        self.stopping = False

    def metadata(self) -> dict[str, Any]:
        return {**super().metadata(), "extensions": ["binary_tensor_data", "model_repository"]}

    async def ready(self) -> bool:
        return not self.stopping

    async def described(self, name: str, version: str) -> dict[str, Any]:
        """The metadata of a model. Raises ModelNotFound."""
        model = self.inference.model(name, version)
        known = await self.model_metadata(f"{model.name}/{model.version}")
        versions = self.inference.repository.versions(model.name)
        return {**known, "name": model.name, "versions": versions, "platform": "tflgpu_tflite"}


STATUS = (
    (TooLargeError, 413, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (BusyError, 503, grpc.StatusCode.UNAVAILABLE),
    (ModelNotFound, 404, grpc.StatusCode.NOT_FOUND),
    (ValueError, 400, grpc.StatusCode.INVALID_ARGUMENT),
    (TimeoutError, 408, grpc.StatusCode.DEADLINE_EXCEEDED),
    (RuntimeError, 500, grpc.StatusCode.INTERNAL),
    (MemoryError, 503, grpc.StatusCode.RESOURCE_EXHAUSTED),
)


TOLD = 1000
"""gRPC's clients take a few kilobytes of trailing metadata, and an error may repeat a request's names."""


def status_of(error: Exception) -> tuple[int, grpc.StatusCode]:
    """HTTP's and gRPC's."""
    known = ((http, rpc) for kind, http, rpc in STATUS if isinstance(error, kind))
    return next(known, (500, grpc.StatusCode.INTERNAL))


def told(error: Exception) -> str:
    """What a client is told, at most TOLD characters; of an unexpected error, no more than that there was one."""
    if any(isinstance(error, kind) for kind, _, _ in STATUS):
        return str(error).strip()[:TOLD] or type(error).__name__
    logger.error("a request failed", exc_info=error)
    return "internal error"
