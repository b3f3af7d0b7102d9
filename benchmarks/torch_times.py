"""Latencies of the architectures in PyTorch on the same GPU, with CUDA graphs, copies to and from the host included."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from architectures import Network
from timing import measured


def of_torch(network: Network, precision: str, ways: Sequence[str], on_gpu: bool, seconds: float) -> dict[str, Any]:
    """The network in these ways: "eager", "graph" (CUDA) and "compiled"; what does not run says why.

    Convolutions are chosen by cuDNN's heuristics: its search takes seconds a network.
    """
    import torch
    from torch_models import TorchNetwork

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
    device = "cuda" if on_gpu else "cpu"
    module = TorchNetwork(network).to(device).eval()
    dtype = torch.float16 if precision == "fp16" else torch.float32
    module = module.to(dtype)
    host = torch.randn(network.input.shape, dtype=dtype)
    host = host.pin_memory() if on_gpu else host
    x = host.to(device)
    results: dict[str, Any] = {}
    with torch.inference_mode():
        back = module(x).to("cpu")
        back = back.pin_memory() if on_gpu else back

        def around(forward: Callable[[], Any]) -> Callable[[], None]:
            def run() -> None:
                x.copy_(host, non_blocking=True)
                back.copy_(forward(), non_blocking=True)
                if on_gpu:
                    torch.cuda.synchronize()

            return run

        makers = {"eager": lambda torch, module, x: lambda: module(x), "graph": _graphed, "compiled": _compiled}
        for name in ways:
            try:
                results[name] = measured(around(makers[name](torch, module, x)), seconds)
            except Exception as error:  # no Triton, no compiler, an operation that cannot be captured
                results[name] = {"error": str(error).splitlines()[0][:200]}
    return results


def _graphed(torch: Any, module: Any, x: Any) -> Callable[[], Any]:
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            module(x)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = module(x)

    def forward() -> Any:
        graph.replay()
        return out

    return forward


def _compiled(torch: Any, module: Any, x: Any) -> Callable[[], Any]:
    compiled = torch.compile(module)
    compiled(x)
    return lambda: compiled(x)
