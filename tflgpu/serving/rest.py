"""The HTTP server: KServe's, with requests for inference whose tensors stay arrays."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
import orjson
from fastapi import FastAPI, HTTPException
from kserve.constants.constants import INFERENCE_CONTENT_LENGTH_HEADER
from kserve.errors import ModelNotFound
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from kserve.protocol.rest.server import RESTServer, metrics_handler

from tflgpu.serving.batcher import BusyError
from tflgpu.serving.inference import Inference, Plane, TooLargeError, about, status_of, told
from tflgpu.serving.protocol import from_rest, to_rest

INFER = re.compile(r"/v2/models/(?P<name>[^/]+)(/versions/(?P<version>[^/]+))?/infer")


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
            return status_of(error)[0], orjson.dumps({"error": told(error)}), None

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
