"""Tokens a second of a language model like SmolLM2-135M here beside LiteRT, in one process, alternating.

    python benchmarks/llm.py [--weights int8 int4] [--tokens 16] [--rounds 3] [--delegate opencl] [--device intel]
                             [--threads 2] [--length 512] [--repeated]

The model has seeded weights (examples/llm/transformer.py); both sides run the same file, signature `decode`, with the
best round counting. Ours keeps the caches on the device (`SignatureRunner.bind`); LiteRT's come back as arrays and are
given again, which its Python interface has no way around. The ratio counts: it is ours by LiteRT's.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from litert import machine

import tflgpu

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "llm"))
from transformer import Size, transformer

Decode = Callable[[int], None]
"""Makes the token at a position."""


def inputs(position: int) -> dict[str, Any]:
    """Token and position of a step."""
    return {"tokens": np.array([[position + 5]], np.int32), "input_pos": np.array([position], np.int32)}


def ours(model: bytes, size: Size, delegate: Any, threads: int) -> Decode:
    """By tflgpu, on the delegate."""
    interpreter = tflgpu.Interpreter(
        model_content=model, experimental_delegates=[delegate] if delegate else None, num_threads=threads
    )
    decode = interpreter.get_signature_runner("decode")
    decode.bind(**{name: name for name in size.caches})

    def step(position: int) -> None:
        decode(**inputs(position))

    return step


def litert(model: bytes, size: Size, threads: int) -> Decode:
    """By LiteRT with XNNPACK."""
    from ai_edge_litert.interpreter import Interpreter

    decode = Interpreter(model_content=model, num_threads=threads).get_signature_runner("decode")
    caches = {name: np.zeros(size.cache_shape, np.float32) for name in size.caches}

    def step(position: int) -> None:
        results = decode(**inputs(position), **caches)
        caches.update((name, results[name]) for name in size.caches)

    return step


def rates(sides: dict[str, Decode], tokens: int, rounds: int) -> dict[str, float]:
    """Tokens a second of each side's best round."""
    best = dict.fromkeys(sides, 0.0)
    for step in sides.values():
        step(0)
    for _ in range(rounds):
        for name, step in sides.items():
            began = time.perf_counter()
            for position in range(tokens):
                step(position)
            best[name] = max(best[name], tokens / (time.perf_counter() - began))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", nargs="+", default=["int8", "int4"])
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--delegate", default="opencl", help="none: the CPU executor")
    parser.add_argument("--device", default="intel")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--length", type=int, default=512, help="tokens that the caches hold")
    parser.add_argument("--repeated", action="store_true", help="caches repeated for all heads, as litert-torch does")
    given = parser.parse_args()
    size = Size(length=given.length, repeated=given.repeated)
    print(f"{machine()}, {given.threads} threads, caches of {size.length} tokens")
    print(f"{'weights':8} {'file MB':>8} {'device MB':>10} {'tflgpu tok/s':>13} {'LiteRT tok/s':>13} {'ratio':>6}")
    for weights in given.weights:
        model = transformer(size, weights)
        on = None if given.delegate == "none" else tflgpu.load_delegate(given.delegate, {"device": given.device})
        sides = {"ours": ours(model, size, on, given.threads), "LiteRT": litert(model, size, given.threads)}
        found = rates(sides, given.tokens, given.rounds)
        held = f"{on.memory().nbytes / 1e6:10.1f}" if on else f"{'-':>10}"
        ratio = found["ours"] / found["LiteRT"]
        print(f"{weights:8} {len(model) / 1e6:8.1f} {held} {found['ours']:13.1f} {found['LiteRT']:13.1f} {ratio:6.2f}")


if __name__ == "__main__":
    main()
