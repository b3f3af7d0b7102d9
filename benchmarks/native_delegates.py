"""What one call of a delegate's kernel costs across TensorFlow Lite's C ABI, in both directions.

    python benchmarks/native_delegates.py [--repeat N] [--json FILE]

Chains of element-wise nodes over a few floats, in which every other node is a partition of its own: what a longer chain
costs more than a shorter one, and more than without the delegate, is the cost of a call. Needs g++ and ai-edge-litert.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from litert import machine

import tflgpu
from tflgpu.delegation.delegate import Limits, Unsupported
from tflgpu.model.builder import ModelBuilder

ROOT = Path(__file__).parent.parent
SHORT, LONG = 8, 72
X = np.ones(16, np.float32)


class Adder:
    """A delegate of ours that runs ADD, in NumPy, or does nothing at all for it."""

    limits = Limits(min_nodes=1)

    def __init__(self, works: bool):
        self.name = "adder"
        self._works = works

    def check(self, node: Any) -> None:
        if node.op != "ADD":
            raise Unsupported("only ADD")

    def compile(self, partition: Any, tensors: Any) -> Any:
        (node,) = partition.nodes
        x, y, z = (tensors[s.index] for s in (*node.inputs, *node.outputs))
        if not self._works:
            return z.write
        return lambda: np.add(x.read(), y.read(), out=z.write())


def chain(pairs: int) -> bytes:
    """x -> ADD -> ABS -> ADD -> ABS …"""
    m = ModelBuilder()
    g = m.graph()
    x = value = g.input("x", "FLOAT32", [16])
    for i in range(pairs):
        added, absolute = (g.tensor(f"{name}{i}", "FLOAT32", [16]) for name in ("a", "b"))
        g.node("ADD", [value, x], [added])
        g.node("ABS", [added], [absolute])
        value = absolute
    g.outputs(value)
    return m.build()


def microseconds(module: Any, pairs: int, delegates: list[Any], repeat: int) -> float:
    """The least time of an invoke."""
    kernels = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    it = module.Interpreter(
        model_content=chain(pairs), experimental_delegates=delegates or None, experimental_op_resolver_type=kernels
    )
    it.allocate_tensors()
    it.set_tensor(0, X)
    names = [d["op_name"] for d in it._get_ops_details()]
    assert names.count("DELEGATE") == (pairs if delegates else 0), names
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        it.invoke()
        times.append(time.perf_counter() - start)
    return min(times) * 1e6


def a_call(module: Any, make: Any, repeat: int) -> tuple[float, float]:
    """Microseconds of an ADD in the delegate, and of one without it."""
    found = []
    for delegates in ([make()], []):
        short, long = (microseconds(module, pairs, delegates, repeat) for pairs in (SHORT, LONG))
        found.append((long - short) / (LONG - SHORT))
    return found[0], found[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=2000)
    parser.add_argument("--json", type=Path, help="where the figures go too")
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests"))
    from abi_libraries import compiled
    from ai_edge_litert import interpreter as google

    library = str(compiled("adder"))
    rows = [
        ("native ADD in our interpreter", tflgpu, lambda: tflgpu.load_delegate(library)),
        ("the same, left in its own buffers", tflgpu, lambda: tflgpu.load_delegate(library, {"handles": 1})),
        ("native ADD in LiteRT", google, lambda: google.load_delegate(library)),
        ("NumPy ADD of ours in LiteRT", google, lambda: tflgpu.as_tflite_delegate(Adder(works=True))),
        (
            "a partition of ours that does nothing, in LiteRT",
            google,
            lambda: tflgpu.as_tflite_delegate(Adder(works=False)),
        ),
    ]
    found: list[dict[str, Any]] = []
    print(f"{'us for ADD and ABS':46}{'delegated':>10}{'without':>10}")
    for name, module, make in rows:
        delegated, without = a_call(module, make, arguments.repeat)
        found.append({"what": name, "delegated": round(delegated, 3), "without": round(without, 3)})
        print(f"{name:46}{delegated:10.2f}{without:10.2f}")
    if arguments.json:
        about = {"command": " ".join(["python", *sys.argv]), "machine": machine(), "date": f"{date.today()}"}
        arguments.json.write_text(json.dumps({**about, "microseconds for ADD and ABS": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
