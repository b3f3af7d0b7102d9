"""What a server counts and times, for Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_MODEL = ["model", "version"]
_SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)

REQUESTS = Counter("tflgpu_requests", "Inference requests, by how they ended.", [*_MODEL, "outcome"])
REQUEST_SECONDS = Histogram(
    "tflgpu_request_seconds", "From a request that is read to its results.", _MODEL, buckets=_SECONDS
)
QUEUE_SECONDS = Histogram("tflgpu_queue_seconds", "That a request waits for an instance.", _MODEL, buckets=_SECONDS)
INVOKE_SECONDS = Histogram("tflgpu_invoke_seconds", "That an instance runs a batch.", _MODEL, buckets=_SECONDS)
BATCH_ROWS = Histogram("tflgpu_batch_rows", "Rows of a batch.", _MODEL, buckets=[2**i for i in range(11)])
QUEUED = Gauge("tflgpu_queued_requests", "Requests that wait for an instance.", _MODEL)
HELD_BYTES = Gauge("tflgpu_request_bytes", "Bytes of the requests that are being answered.")
DEVICE_BYTES = Gauge("tflgpu_device_memory_bytes", "What a model's delegate holds on a device.", [*_MODEL, "device"])
ARENA_BYTES = Gauge("tflgpu_arena_bytes", "Memory of the host for activations, of all instances.", _MODEL)


class ModelMetrics:
    """The metrics of one version of one model."""

    def __init__(self, model: str, version: str):
        self._labels = model, version
        (
            self.request_seconds,
            self.queue_seconds,
            self.invoke_seconds,
            self.batch_rows,
            self.queued,
            self.arena_bytes,
        ) = (
            metric.labels(model, version)
            for metric in (REQUEST_SECONDS, QUEUE_SECONDS, INVOKE_SECONDS, BATCH_ROWS, QUEUED, ARENA_BYTES)
        )
        self._outcomes = {name: REQUESTS.labels(model, version, name) for name in ("ok", "refused", "busy", "failed")}

    def ended(self, outcome: str, seconds: float) -> None:
        """Counts a request. outcome: ok, refused (a bad request), busy (too many) or failed (in the model)."""
        self._outcomes[outcome].inc()
        self.request_seconds.observe(seconds)

    def device_bytes(self, device: str, nbytes: int) -> None:
        """What the delegate holds on a device now."""
        DEVICE_BYTES.labels(*self._labels, device).set(nbytes)
