"""The server: KServe's, with tensors that stay arrays, versions, limits, and an end that loses no request."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import anyio
import grpc
import orjson
from fastapi import FastAPI, HTTPException
from kserve.constants.constants import INFERENCE_CONTENT_LENGTH_HEADER
from kserve.errors import ModelNotFound
from kserve.protocol.dataplane import DataPlane
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
from kserve.protocol.grpc.servicer import InferenceServicer
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from kserve.protocol.rest.server import RESTServer, metrics_handler

from tflgpu import __version__
from tflgpu.model.graph import Array
from tflgpu.serving.batcher import BusyError
from tflgpu.serving.metrics import HELD_BYTES
from tflgpu.serving.protocol import InferenceRequest, from_grpc, from_rest, to_grpc, to_rest
from tflgpu.serving.repository import Repository, Served

logger = logging.getLogger("tflgpu.serve")

INFER = re.compile(r"/v2/models/(?P<name>[^/]+)(/versions/(?P<version>[^/]+))?/infer")


@dataclass(frozen=True)
class Limits:
    """What clients may ask for.

    body_bytes: of one request. held_bytes: of all requests that are being answered. connections: of HTTP, and calls of
    gRPC at a time. body_seconds: until a request's body is read. control: whether they may load and unload models.
    """

    body_bytes: int = 64 * 2**20
    held_bytes: int = 2**30
    connections: int = 1024
    body_seconds: float = 30
    control: bool = False


class TooLargeError(ValueError):
    """A request is larger than it may be."""


class Inference:
    """Answers requests of both protocols: finds the model, runs it, and holds the limits."""

    def __init__(self, repository: Repository, limits: Limits):
        self.repository, self.limits = repository, limits
        self._held = 0

    @contextlib.contextmanager
    def holding(self, nbytes: int) -> Iterator[None]:
        """While a request of so many bytes is answered. Raises TooLargeError, or BusyError beyond the limit of all."""
        if nbytes > self.limits.body_bytes:
            raise TooLargeError(f"the request is larger than {self.limits.body_bytes} bytes")
        if self._held + nbytes > self.limits.held_bytes:
            raise BusyError(f"requests of {self._held} bytes are being answered already")
        self._held += nbytes
        HELD_BYTES.set(self._held)
        try:
            yield
        finally:
            self._held -= nbytes
            HELD_BYTES.set(self._held)

    def model(self, name: str, version: str) -> Served:
        """Raises ModelNotFound where there is none of this name and version."""
        found = self.repository.get_model(name, version or "")
        if found is None:
            raise ModelNotFound(f"{name} version {version}" if version else name)
        return found

    async def run(self, model: Served, request: InferenceRequest) -> dict[str, Array]:
        """The model's outputs. Raises ValueError for what the model does not have or take, BusyError, RuntimeError."""
        unknown = request.outputs.keys() - model.output_names
        if unknown:
            raise ValueError(f"model {model.name!r} has no output {sorted(unknown)}, but {sorted(model.output_names)}")
        return await model(request.inputs)


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


class Rest(RESTServer):
    """KServe's HTTP server with the endpoints of version 2 of the protocol."""

    def __init__(self, plane: Plane, host: str, port: int, grace: int):
        super().__init__("", plane, ModelRepositoryExtension(plane.model_registry), port, grace_period=grace)
        self._inference: Inference = plane.inference
        self.config.host = host
        logging.getLogger("uvicorn.access").propagate = False  # a line a request costs more than it tells
        self.config.limit_concurrency = self._inference.limits.connections
        self._server.capture_signals = contextlib.nullcontext

    def create_application(self) -> None:
        """Called by `start`: requests for inference go past FastAPI, whose models would make objects of all numbers."""
        app = FastAPI(title="tflgpu", docs_url=None, redoc_url=None, openapi_url=None)
        self._add_exception_handlers(app)
        app.add_api_route("/metrics", metrics_handler)
        for path, endpoint in self._endpoints().items():
            app.add_api_route(path, endpoint)
        app.add_api_route("/v2/repository/index", self._index, methods=["POST"])
        app.add_api_route("/v2/repository/models/{name}/load", self._load, methods=["POST"])
        app.add_api_route("/v2/repository/models/{name}/unload", self._unload, methods=["POST"])
        self.config.app = _InferenceFirst(self._inference, app)

    def stop(self) -> None:
        """Accepts no more; `start` returns when what was accepted is answered."""
        self._server.should_exit = True

    def _endpoints(self) -> Mapping[str, Callable[..., Awaitable[Any]]]:
        return {
            "/": self.dataplane.live,
            "/v2": self._metadata,
            "/v2/health/live": self._live,
            "/v2/health/ready": self._ready,
            "/v2/models/{name}": self._model,
            "/v2/models/{name}/versions/{version}": self._model,
            "/v2/models/{name}/ready": self._model_ready,
            "/v2/models/{name}/versions/{version}/ready": self._model_ready,
        }

    async def _metadata(self) -> dict[str, Any]:
        return dict(self.dataplane.metadata())

    async def _live(self) -> dict[str, bool]:
        return {"live": True}

    async def _ready(self) -> dict[str, bool]:
        if not await self.dataplane.ready():
            raise HTTPException(503, "the server is stopping")
        return {"ready": True}

    async def _model(self, name: str, version: str = "") -> dict[str, Any]:
        return dict(await self.dataplane.described(name, version))

    async def _model_ready(self, name: str, version: str = "") -> dict[str, Any]:
        return {"name": name, "ready": self._inference.model(name, version).ready}

    async def _index(self) -> list[dict[str, str]]:
        models = {id(model): model for model in self._inference.repository.get_models().values()}
        return [{"name": m.name, "version": m.version, "state": "READY"} for m in models.values()]

    async def _load(self, name: str) -> dict[str, Any]:
        self._require_control()
        try:
            await self._inference.repository.load(name)
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        return {"name": name, "load": True}

    async def _unload(self, name: str) -> dict[str, Any]:
        self._require_control()
        try:
            await self._inference.repository.unload(name)
        except KeyError as error:
            raise ModelNotFound(name) from error
        return {"name": name, "unload": True}

    def _require_control(self) -> None:
        if not self._inference.limits.control:
            raise HTTPException(403, "this server's models are not its clients' to change; see --control")


class _InferenceFirst:
    """An ASGI application that answers requests for inference, and leaves all others to another one."""

    def __init__(self, inference: Inference, others: Callable[..., Awaitable[None]]):
        self._inference, self._others = inference, others

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        match = scope["type"] == "http" and scope["method"] == "POST" and INFER.fullmatch(scope["path"])
        if not match:
            await self._others(scope, receive, send)
            return
        status, body, json_length = await self._answer(match["name"], match["version"] or "", scope, receive)
        headers = [(b"content-type", b"application/json" if json_length is None else b"application/octet-stream")]
        headers.append((b"content-length", b"%d" % len(body)))
        if json_length is not None:
            headers.append((INFERENCE_CONTENT_LENGTH_HEADER.encode(), b"%d" % json_length))
        if status == 413:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, name: str, version: str, scope: Any, receive: Any) -> tuple[int, bytes, int | None]:
        """Status, body, and the length of its JSON."""
        headers = dict(scope["headers"])
        try:
            model = self._inference.model(name, version)
            declared = int(headers.get(b"content-length", b"0"))
            if b"transfer-encoding" in headers:  # its size is known when it has come
                declared = self._inference.limits.body_bytes
            with self._inference.holding(declared):
                body = await self._body(receive, declared)
                if headers.get(b"content-encoding", b"identity") != b"identity":
                    raise ValueError("compressed requests are not supported")
                length = headers.get(INFERENCE_CONTENT_LENGTH_HEADER.encode())
                request = from_rest(body, None if length is None else length.decode("latin-1"))
                results = await self._inference.run(model, request)
            return 200, *to_rest(request, about(model), results)
        except Exception as error:
            if isinstance(error, TooLargeError | BusyError):
                await self._discard(receive)  # who is still sending reads no answer
            return _status(error), orjson.dumps({"error": _told(error)}), None

    async def _discard(self, receive: Any) -> None:
        with anyio.move_on_after(self._inference.limits.body_seconds):
            while (await receive()).get("more_body"):
                pass

    async def _body(self, receive: Any, declared: int) -> bytes:
        """The request's body. Raises TooLargeError, TimeoutError, ValueError where the client is gone."""
        chunks, size, more = [], 0, True
        with anyio.fail_after(self._inference.limits.body_seconds):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ValueError("the client is gone")
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
                if size > declared:
                    raise TooLargeError(f"the request is larger than {declared} bytes")
                more = message.get("more_body", False)
        return b"".join(chunks)


_STATUS = (
    (TooLargeError, 413, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (BusyError, 503, grpc.StatusCode.UNAVAILABLE),
    (ModelNotFound, 404, grpc.StatusCode.NOT_FOUND),
    (ValueError, 400, grpc.StatusCode.INVALID_ARGUMENT),
    (TimeoutError, 408, grpc.StatusCode.DEADLINE_EXCEEDED),
    (RuntimeError, 500, grpc.StatusCode.INTERNAL),
    (MemoryError, 503, grpc.StatusCode.RESOURCE_EXHAUSTED),
)


def _status(error: Exception) -> int:
    return next((status for kind, status, _ in _STATUS if isinstance(error, kind)), 500)


def _told(error: Exception) -> str:
    """What a client is told; of an error that is not expected, no more than that there was one."""
    if any(isinstance(error, kind) for kind, _, _ in _STATUS):
        return str(error).strip() or type(error).__name__
    logger.error("a request failed", exc_info=error)
    return "internal error"


class Servicer(InferenceServicer):
    """The gRPC service."""

    def __init__(self, plane: Plane):
        super().__init__(plane, ModelRepositoryExtension(plane.model_registry))
        self._plane, self._inference = plane, plane.inference

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        try:
            model = self._inference.model(request.model_name, request.model_version)
            with self._inference.holding(request.ByteSize()):
                asked = from_grpc(request)
                return to_grpc(asked, about(model), await self._inference.run(model, asked))
        except Exception as error:
            await _abort(context, error)

    async def ModelMetadata(self, request: Any, context: Any) -> Any:
        try:
            return pb.ModelMetadataResponse(**await self._plane.described(request.name, request.version))
        except ModelNotFound as error:
            await _abort(context, error)

    async def ModelReady(self, request: Any, context: Any) -> Any:
        found = self._inference.repository.get_model(request.name, request.version)
        return pb.ModelReadyResponse(ready=found is not None and found.ready)

    async def RepositoryModelLoad(self, request: Any, context: Any) -> Any:
        await self._changed(context, self._inference.repository.load(request.model_name))
        return pb.RepositoryModelLoadResponse(model_name=request.model_name, isLoaded=True)

    async def RepositoryModelUnload(self, request: Any, context: Any) -> Any:
        await self._changed(context, self._inference.repository.unload(request.model_name))
        return pb.RepositoryModelUnloadResponse(model_name=request.model_name, isUnloaded=True)

    async def _changed(self, context: Any, change: Any) -> None:
        if not self._inference.limits.control:
            change.close()
            await context.abort(
                grpc.StatusCode.PERMISSION_DENIED, "this server's models are not its clients' to change"
            )
        try:
            await change
        except (ValueError, KeyError) as error:
            await _abort(context, ModelNotFound(error.args[0]) if isinstance(error, KeyError) else error)


async def _abort(context: Any, error: Exception) -> None:
    status = next((status for kind, _, status in _STATUS if isinstance(error, kind)), grpc.StatusCode.INTERNAL)
    await context.abort(status, _told(error))


def grpc_server(plane: Plane, host: str, port: int) -> tuple[Any, int]:
    """A gRPC server, to be started, and its port."""
    limits = plane.inference.limits
    sizes = [(f"grpc.max_{way}_message_length", limits.body_bytes) for way in ("receive", "send")]
    options = [*sizes, ("grpc.so_reuseport", 0)]
    server = grpc.aio.server(options=options, maximum_concurrent_rpcs=limits.connections)
    add_GRPCInferenceServiceServicer_to_server(Servicer(plane), server)
    return server, server.add_insecure_port(f"{host}:{port}")


@dataclass(frozen=True)
class Ports:
    """Where the server listens. grpc: 0 for none. grace: seconds that what was accepted has when it ends.

    drain: seconds between the end of readiness and that of listening, for load balancers to notice.
    """

    host: str = "127.0.0.1"
    http: int = 8080
    grpc: int = 8081
    grace: int = 30
    drain: float = 0


async def serve(repository: Repository, limits: Limits, ports: Ports, poll: float = 0) -> None:
    """Serves until SIGTERM or SIGINT; SIGHUP, and `poll` seconds, load what has changed.

    Raises ValueError where a model cannot be served at the start, OSError where a port is not free.
    """
    errors = await repository.refresh()
    if errors or not repository.models:
        raise ValueError("\n".join(errors) or "there are no models to serve: NAME.tflite, or NAME/VERSION/*.tflite")
    plane = Plane(Inference(repository, limits))
    rest = Rest(plane, ports.host, ports.http, ports.grace)
    stop, reload = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number, event in ((signal.SIGTERM, stop), (signal.SIGINT, stop), (signal.SIGHUP, reload)):
        loop.add_signal_handler(number, event.set)
    calls = None
    if ports.grpc:
        calls, _ = grpc_server(plane, ports.host, ports.grpc)
        await calls.start()
    tasks = [loop.create_task(rest.start()), loop.create_task(_refresh(repository, reload, poll))]
    await asyncio.wait([loop.create_task(stop.wait()), tasks[0]], return_when=asyncio.FIRST_COMPLETED)
    plane.stopping = True
    await asyncio.sleep(ports.drain)
    rest.stop()
    tasks[1].cancel()
    await asyncio.gather(tasks[0], calls.stop(ports.grace) if calls else asyncio.sleep(0))
    await repository.close()


async def _refresh(repository: Repository, reload: asyncio.Event, poll: float) -> None:
    while True:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(reload.wait(), poll or None)
        reload.clear()
        try:
            errors = await repository.refresh()
        except (ValueError, OSError) as failure:
            errors = [str(failure)]
        for told in errors:
            logger.error("%s; what was served before is served still", told)
        for model in set(repository.models.values()):
            model.measure_memory()
