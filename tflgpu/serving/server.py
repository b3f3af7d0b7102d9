"""The server from its start to its end, which loses no request that it accepted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from dataclasses import dataclass

from tflgpu.serving.inference import Inference, Plane, ServerLimits
from tflgpu.serving.repository import Repository
from tflgpu.serving.rest import Rest
from tflgpu.serving.rpc import grpc_server

logger = logging.getLogger("tflgpu.serve")


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


async def serve(repository: Repository, limits: ServerLimits, ports: Ports, poll: float = 0) -> None:
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
    logger.info("listening at http://%s:%d%s", ports.host, ports.http, f", gRPC at :{ports.grpc}" if ports.grpc else "")
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
