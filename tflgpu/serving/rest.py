"""The HTTP server: KServe's, with requests for inference whose tensors stay arrays."""

from __future__ import annotations

import contextlib
import logging
import re
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
import orjson
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from kserve.constants.constants import INFERENCE_CONTENT_LENGTH_HEADER
from kserve.errors import ModelNotFound
from kserve.protocol.model_repository_extension import ModelRepositoryExtension
from kserve.protocol.rest.server import RESTServer, metrics_handler
from starlette.exceptions import HTTPException as StarletteHTTPException
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tflgpu.serving.inference import Inference, Plane, about, apart, status_of, told
from tflgpu.serving.protocol import from_rest, to_rest

LENGTH = INFERENCE_CONTENT_LENGTH_HEADER.encode()
INFER = re.compile(r"/v2/models/(?P<name>[^/]+)(/versions/(?P<version>[^/]+))?/infer")


class Rest(RESTServer):
    """KServe's HTTP server with the endpoints of version 2 of the protocol."""

    def __init__(self, plane: Plane, host: str, port: int, grace: int):
        super().__init__("", plane, ModelRepositoryExtension(plane.model_registry), port, grace_period=grace)
        self._inference: Inference = plane.inference
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._socket = socket.create_server((host, port), family=family, backlog=2048)
        except OSError as error:
            raise OSError(f"cannot listen at {host}:{port}: {error}") from error
        logging.getLogger("uvicorn.access").propagate = False  # a line a request costs more than it tells
        self.config.limit_concurrency = self._inference.limits.connections
        seconds = self._inference.limits.client_seconds
        self.config.http = type("Impatient", (_Impatient,), {"seconds": seconds})
        self._server.capture_signals = contextlib.nullcontext

    async def start(self) -> None:
        """Serves until `stop`."""
        self.create_application()
        await self._server.serve(sockets=[self._socket])

    def create_application(self) -> None:
        """Requests for inference go past FastAPI, whose models would make objects of all numbers."""
        app = FastAPI(title="tflgpu", docs_url=None, redoc_url=None, openapi_url=None)
        self._add_exception_handlers(app)
        app.add_exception_handler(ModelNotFound, _told)  # KServe's logs a traceback for each
        app.add_exception_handler(StarletteHTTPException, _told)  # FastAPI's is not the protocol's
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


async def _told(_: Request, error: Exception) -> JSONResponse:
    """The protocol's error."""
    if isinstance(error, StarletteHTTPException):
        status, reason = error.status_code, error.detail
    else:
        status, reason = status_of(error)[0], told(error)
    return JSONResponse({"error": reason}, status)


class _InferenceFirst:
    """An ASGI application that answers requests for inference, and leaves all others to another one."""

    def __init__(self, inference: Inference, others: Callable[..., Awaitable[None]]):
        self._inference, self._others = inference, others

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        match = scope["type"] == "http" and scope["method"] == "POST" and INFER.fullmatch(scope["path"])
        if not match:
            await self._others(scope, receive, send)
            return
        with self._inference.holding() as hold:
            status, body, json_length = await self._answer(match, scope, receive, hold)
            headers = [(b"content-type", b"application/json" if json_length is None else b"application/octet-stream")]
            headers.append((b"content-length", b"%d" % len(body)))
            if json_length is not None:
                headers.append((LENGTH, b"%d" % json_length))
            if status in (408, 413):
                headers.append((b"connection", b"close"))
            with anyio.fail_after(self._inference.limits.client_seconds):
                await send({"type": "http.response.start", "status": status, "headers": headers})
                await send({"type": "http.response.body", "body": body})

    async def _answer(
        self, match: re.Match[str], scope: Any, receive: Any, hold: Callable[[int], None]
    ) -> tuple[int, bytes, int | None]:
        """Status, body, and the length of its JSON where binary data follows."""
        body, asked_for = None, (match["name"], match["version"] or "")
        try:
            self._inference.model(*asked_for)
            headers = dict(scope["headers"])
            if headers.get(b"content-encoding", b"identity") != b"identity":
                raise ValueError("compressed requests are not supported")
            self._inference.check_size(int(headers.get(b"content-length", b"0")))
            body = await self._body(receive, hold)
            read = body
            length = headers[LENGTH].decode("latin-1") if LENGTH in headers else None
            hold(7 * min(int(length), len(body)) if length and length.isdecimal() else 7 * len(body))
            request = await apart(len(body), lambda: from_rest(read, length))
            model, results = await self._inference.run(*asked_for, request)
            size = sum(x.nbytes for x in results.values())
            return 200, *await apart(size, lambda: to_rest(request, about(model), results))
        except Exception as error:
            if body is None and not isinstance(error, TimeoutError):
                await self._discard(receive)  # who is still sending reads no answer
            return status_of(error)[0], orjson.dumps({"error": told(error)}), None

    async def _discard(self, receive: Any) -> None:
        with anyio.move_on_after(self._inference.limits.client_seconds):
            while (await receive()).get("more_body"):
                pass

    async def _body(self, receive: Any, hold: Callable[[int], None]) -> bytes:
        """The request's body. Raises TooLargeError, TimeoutError, ValueError where the client is gone."""
        chunks, size, more = [], 0, True
        with anyio.fail_after(self._inference.limits.client_seconds):
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ValueError("the client is gone")
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
                self._inference.check_size(size)
                hold(len(chunks[-1]))
                more = message.get("more_body", False)
        return b"".join(chunks)


class _Impatient(HttpToolsProtocol):
    """A connection that is closed when a request, or the next one, is not there in time, and when its head is too long.

    A body that an endpoint reads has a second more, in which that tells the client.
    """

    seconds: float = 30
    head_bytes: int = 2**16

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._head_nbytes = 0
        self._deadline = self.loop.call_later(self.seconds, transport.close)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_nbytes = 0
        self._expect(self.seconds)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._count(name + value)

    def on_headers_complete(self) -> None:
        self._expect(self.seconds + 1)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._deadline.cancel()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete:  # and none is at work that came early
            self._expect(self.seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        super().connection_lost(exc)

    def _expect(self, seconds: float) -> None:
        self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, self.transport.close)

    def _count(self, read: bytes) -> None:
        self._head_nbytes += len(read)
        if self._head_nbytes > self.head_bytes:
            self.transport.close()
            raise ValueError("the head of a request is too long")  # which the parser tells as a bad request
