"""A batch job's shards on a cluster of Ray."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tflgpu.serving.job import Shard, run_shard
from tflgpu.serving.predictor import Predictor


class ShardRunner:
    """What an actor of Ray Data holds: a predictor, and the shards by their positions."""

    def __init__(self, predictor: Predictor, shards: Sequence[Shard]):
        self._predictor = predictor
        self._shards = shards

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        return {"rows": np.array([run_shard(self._predictor, self._shards[i]) for i in batch["id"]])}


def run_on_ray(
    predictor: Predictor, shards: Sequence[Shard], address: str, workers: int, num_gpus: float = 0
) -> Iterator[int]:
    """The rows of each shard, as it is done, by as many actors. address: a cluster's, or "local" for one of its own.

    The model, inputs and output must be under the same paths on all nodes. num_gpus: of each actor; Ray gives it
    devices of its own, which CUDA then numbers from 0. What a lost actor or node was at runs again elsewhere.
    """
    import ray

    ray.init(address, ignore_reinit_error=True, log_to_driver=False)
    numbers = ray.data.from_items([{"id": i} for i in range(len(shards))], override_num_blocks=len(shards))
    done = numbers.map_batches(
        ShardRunner,
        fn_constructor_args=(predictor, list(shards)),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_gpus=num_gpus or None,
        num_cpus=None if num_gpus else 1,
    )
    for row in done.iter_rows():
        yield int(row["rows"])
