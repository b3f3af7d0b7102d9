"""The gRPC service: KServe's, with versions, limits, and tensors that stay arrays."""

from __future__ import annotations

from typing import Any

import anyio
import grpc
from kserve.errors import ModelNotFound
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
from kserve.protocol.grpc.servicer import InferenceServicer
from kserve.protocol.model_repository_extension import ModelRepositoryExtension

from tflgpu.serving.inference import Plane, about, apart, status_of, told
from tflgpu.serving.protocol import from_grpc, to_grpc


class Servicer(InferenceServicer):
    """The gRPC service."""

    def __init__(self, plane: Plane):
        super().__init__(plane, ModelRepositoryExtension(plane.model_registry))
        self._plane, self._inference = plane, plane.inference

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        try:
            with self._inference.holding() as hold:
                size = request.ByteSize()
                hold(8 * size - 7 * sum(map(len, request.raw_input_contents)))  # all others become objects
                asked = await apart(size, lambda: from_grpc(request))
                model, results = await self._inference.run(request.model_name, request.model_version, asked)
                size = sum(x.nbytes for x in results.values())
                return await apart(size, lambda: to_grpc(asked, about(model), results))
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


class _Impatient(grpc.aio.ServerInterceptor):
    """Ends calls whose request is not there in time: each is taken as a stream of one, and so can be waited for."""

    def __init__(self, seconds: float):
        self._seconds = seconds

    async def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = await continuation(details)
        if handler is None:
            return None

        async def answer(requests: Any, context: Any) -> Any:
            try:
                with anyio.fail_after(self._seconds):
                    request = await anext(aiter(requests))
            except StopAsyncIteration:
                await _abort(context, ValueError("the call has no request"))
            except TimeoutError:
                await _abort(context, TimeoutError(f"the request took longer than {self._seconds} seconds"))
            return await handler.unary_unary(request, context)

        return grpc.stream_unary_rpc_method_handler(answer, handler.request_deserializer, handler.response_serializer)


async def _abort(context: Any, error: Exception) -> None:
    await context.abort(status_of(error)[1], told(error))


def grpc_server(plane: Plane, host: str, port: int) -> tuple[Any, int]:
    """A gRPC server, to be started, and its port."""
    limits = plane.inference.limits
    sizes = [(f"grpc.max_{way}_message_length", limits.body_bytes) for way in ("receive", "send")]
    options = [*sizes, ("grpc.so_reuseport", 0)]
    server = grpc.aio.server(
        options=options, maximum_concurrent_rpcs=limits.connections, interceptors=[_Impatient(limits.client_seconds)]
    )
    add_GRPCInferenceServiceServicer_to_server(Servicer(plane), server)
    return server, server.add_insecure_port(f"{host}:{port}")
