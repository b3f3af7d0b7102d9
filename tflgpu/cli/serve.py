"""`tflgpu serve`: models by the Open Inference Protocol, REST and gRPC."""

from __future__ import annotations

import asyncio
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from tflgpu.cli.models import LimitOptions, Threads, key_values, plain_errors


@plain_errors
def serve(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL_OR_FOLDER", exists=True, help="A file, or a folder of NAME.tflite or NAME/VERSION/*.tflite."
        ),
    ],
    host: Annotated[str, typer.Option(help="The address to listen at; 0.0.0.0 for all.")] = "127.0.0.1",
    http_port: Annotated[int, typer.Option(help="The port of REST, and of /metrics.")] = 8080,
    grpc_port: Annotated[int, typer.Option(help="The port of gRPC; 0 for none.")] = 8081,
    batch: Annotated[int, typer.Option(min=1, help="Rows that one invoke takes at most.")] = 1,
    max_delay_ms: Annotated[
        float, typer.Option(min=0, help="That a request waits for others while an instance is free.")
    ] = 0,
    max_queue: Annotated[int, typer.Option(min=1, help="Requests that may wait, of each model.")] = 1024,
    instances: Annotated[int, typer.Option(min=1, help="Interpreters of each model on each device.")] = 1,
    device: Annotated[list[str] | None, typer.Option(metavar="DEVICE", help="Of the delegate; repeatable.")] = None,
    delegate: Annotated[str | None, typer.Option("--delegate", "-d", help="opencl, cuda or another.")] = None,
    delegate_option: Annotated[
        list[str] | None, typer.Option("--delegate-option", "-o", metavar="KEY=VALUE", help="Repeatable.")
    ] = None,
    num_threads: Threads = None,
    ray: Annotated[str | None, typer.Option(help="Run the models on Ray Serve: a cluster's address, or local.")] = None,
    replicas: Annotated[str, typer.Option(help="Of each model on Ray: a number, or LEAST:MOST by the load.")] = "1",
    num_cpus: Annotated[float, typer.Option(min=0, help="CPUs of each replica on Ray.")] = 1,
    num_gpus: Annotated[float, typer.Option(min=0, help="GPUs of each replica on Ray.")] = 0,
    limit: LimitOptions = None,
    poll: Annotated[float, typer.Option(min=0, help="Seconds between looks for changed models; 0 only on SIGHUP.")] = 0,
    control: Annotated[bool, typer.Option(help="Let clients load and unload models of the folder.")] = False,
    max_body_mib: Annotated[int, typer.Option(min=1, help="MiB of one request.")] = 64,
    max_held_mib: Annotated[int, typer.Option(min=1, help="MiB of all requests that are being answered.")] = 1024,
    connections: Annotated[int, typer.Option(min=1, help="Connections of HTTP, and calls of gRPC, at a time.")] = 1024,
    client_seconds: Annotated[float, typer.Option(min=0.1, help="That a client may take to ask, and to be told.")] = 30,
    grace: Annotated[int, typer.Option(min=0, help="Seconds to answer what was accepted, on SIGTERM.")] = 30,
    drain: Annotated[float, typer.Option(min=0, help="Seconds between the end of readiness and of listening.")] = 0,
) -> None:
    """Serve models to clients of KServe's and Triton's protocol until SIGTERM."""
    arguments, sys.argv[1:] = sys.argv[1:], []  # KServe reads them for options of its own when it is imported
    try:
        import uvloop

        from tflgpu.serving.inference import ServerLimits
        from tflgpu.serving.repository import Repository
        from tflgpu.serving.server import Ports
        from tflgpu.serving.server import serve as run
        from tflgpu.serving.settings import Settings
    except ModuleNotFoundError as missing:
        raise ValueError(f"tflgpu serve needs {missing.name}: pip install 'tflgpu[serve]'") from missing
    finally:
        sys.argv[1:] = arguments
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    options = key_values(delegate_option, "--delegate-option")
    settings = Settings(delegate, options, device or [], instances, batch, max_delay_ms, max_queue, num_threads)
    settings = replace(settings, limits=key_values(limit, "--limit"))
    if ray is not None:
        settings = replace(settings, replicas=_least_and_most(replicas), num_cpus=num_cpus, num_gpus=num_gpus)
        _connect(ray)
    limits = ServerLimits(max_body_mib * 2**20, max_held_mib * 2**20, connections, client_seconds, control)
    ports = Ports(host, http_port, grpc_port, grace, drain)

    async def main() -> None:
        await run(Repository(source.absolute(), settings), limits, ports, poll)

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(main())


def _least_and_most(text: str) -> tuple[int, int]:
    least, sign, most = text.partition(":")
    try:
        return int(least), int(most if sign else least)
    except ValueError:
        raise ValueError(f"--replicas takes a number, or LEAST:MOST, not {text!r}") from None


def _connect(address: str) -> None:
    try:
        import ray.serve
    except ModuleNotFoundError as missing:
        raise ValueError(f"--ray needs {missing.name}: pip install 'tflgpu[serve,ray]'") from missing
    ray.init(address, log_to_driver=False, include_dashboard=False if address == "local" else None)
    ray.serve.start(proxy_location="Disabled")  # clients come through this server alone
