"""A model's instances as replicas of Ray Serve, on any node of a cluster, as many as the load asks for."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

from ray import serve
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.serve.exceptions import BackPressureError

from tflgpu.model.graph import Array
from tflgpu.serving.batcher import Batcher, BusyError
from tflgpu.serving.entry_point import Arrays
from tflgpu.serving.metrics import ModelMetrics
from tflgpu.serving.predictor import Predictor

ATTEMPTS = 4
"""How often a request may lose its replica, before that is its error."""


class Replica:
    """What runs on Ray: the model's instances in one process, with their batches."""

    def __init__(self, name: str, content: bytes, signature: str | None, settings: Any):
        metrics = ModelMetrics(name, "")
        predictors = settings.predictors(content, signature)
        self._batcher = Batcher(predictors, settings.max_delay_ms / 1e3, settings.max_queue, metrics)
        self._batcher.prepare()

    async def predict(self, arrays: Arrays) -> dict[str, Array]:
        return await self._batcher.predict(arrays)


class Replicas:
    """An application of Ray Serve of its own, asked as a Batcher is. A request whose replica dies is sent to another.

    model: opened here to check requests, on the CPU.
    """

    def __init__(self, name: str, content: bytes, signature: str | None, settings: Any, model: Predictor):
        self._name = f"{name}-{uuid.uuid4().hex[:8]}"
        self._arguments = name, content, signature, settings
        self._model = model
        self._handle: Any = None

    def prepare(self) -> None:
        """Starts the least replicas. Raises RuntimeError where they do not start."""
        settings = self._arguments[3]
        least, most = settings.replicas
        at_once = 2 * settings.batch * settings.instances * max(len(settings.devices), 1)
        deployment = serve.deployment(
            max_ongoing_requests=at_once,
            max_queued_requests=settings.max_queue,
            autoscaling_config={"min_replicas": least, "max_replicas": most, "target_ongoing_requests": at_once / 2},
            ray_actor_options={"num_cpus": settings.num_cpus, "num_gpus": settings.num_gpus},
        )(Replica)
        self._handle = serve.run(deployment.bind(*self._arguments), name=self._name, route_prefix=None)

    async def predict(self, arrays: Arrays) -> dict[str, Array]:
        """As `Batcher.predict`."""
        rows = self._model.rows
        rows.check(arrays, rows.divisible)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                results: dict[str, Array] = await self._handle.predict.remote(arrays)
                return results
            except BackPressureError as error:
                raise BusyError("as many requests as may wait do so already") from error
            except RayTaskError as error:
                raise error.cause from error
            except RayActorError as error:
                if attempt == ATTEMPTS:
                    raise RuntimeError(f"the request's replica died, {attempt} times") from error
            except RayError as error:
                raise RuntimeError(str(error)) from error
        raise AssertionError

    async def close(self) -> None:
        """Ends the replicas, after what they were asked."""
        await asyncio.to_thread(serve.delete, self._name)
