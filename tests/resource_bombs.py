"""Small models that ask for much: a line of JSON for each, with the error in which it ends, CPU time and peak memory.

usage: python tests/resource_bombs.py [WORD OF A NAME [DELEGATE]]
"""

from __future__ import annotations

import json
import os
import resource
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import tflgpu
from tflgpu.limits import UNTRUSTED
from tflgpu.model.builder import GraphBuilder, ModelBuilder

F = "FLOAT32"
BOMBS: dict[str, Callable[[], bytes]] = {}


def bomb(make: Callable[[], bytes]) -> Callable[[], bytes]:
    BOMBS[make.__name__] = make
    return make


def one(op: str, inputs: Callable[[GraphBuilder], list[int]], shape: list[int], **options: object) -> bytes:
    m = ModelBuilder()
    g = m.graph()
    y = g.tensor("y", F, shape)
    g.node(op, inputs(g), [y], **options)
    g.outputs(y)
    return m.build()


def ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int32)


@bomb
def tile() -> bytes:
    return one("TILE", lambda g: [g.input("x", F, [1, 1]), g.constant("n", ints(1 << 15, 1 << 15))], [1, 1])


@bomb
def tile_of_a_constant() -> bytes:
    return one(
        "TILE",
        lambda g: [g.constant("x", np.ones((1, 1), np.float32)), g.constant("n", ints(1 << 15, 1 << 15))],
        [1, 1],
    )


@bomb
def broadcast_to() -> bytes:
    return one("BROADCAST_TO", lambda g: [g.input("x", F, [1]), g.constant("s", ints(1 << 20, 1 << 20))], [1])


@bomb
def fill_near_2_to_31() -> bytes:
    return one("FILL", lambda g: [g.constant("n", ints(2**31 - 1)), g.constant("v", np.float32(1))], [1])


@bomb
def fill_by_a_shape_known_only_at_run_time() -> bytes:
    return one("FILL", lambda g: [g.input("n", "INT32", [2]), g.constant("v", np.float32(1))], [1, 1])


@bomb
def range_near_2_to_31() -> bytes:
    m = ModelBuilder()
    g = m.graph()
    y = g.tensor("y", "INT32", [1])
    g.node("RANGE", [g.constant(n, np.int32(v)) for n, v in (("a", 0), ("b", 2**31 - 1), ("c", 1))], [y])
    g.outputs(y)
    return m.build()


@bomb
def a_shape_near_2_to_63() -> bytes:
    return one("RESHAPE", lambda g: [g.input("x", F, [2**31 - 1, 2**30]), g.constant("s", ints(-1))], [1], new_shape=())


@bomb
def inputs_near_2_to_31() -> bytes:
    return one("NEG", lambda g: [g.input("x", F, [2**31 - 1])], [2**31 - 1])


@bomb
def many_outputs_each_below_the_limit() -> bytes:
    m = ModelBuilder()
    g = m.graph()
    outputs = []
    for k in range(40):
        outputs.append(g.tensor(f"y{k}", F, [1]))
        g.node("FILL", [g.constant(f"n{k}", ints(1 << 26)), g.constant(f"v{k}", np.float32(k))], [outputs[-1]])
    g.outputs(*outputs)
    return m.build()


def branches(levels: int, twice: bool, make: Callable[[GraphBuilder, int], int]) -> bytes:
    """Graphs in each of which IF runs the next; in the last of them `make` makes the output."""
    m = ModelBuilder()
    for k in range(levels):
        g = m.graph(f"g{k}")
        c, x = g.input("c", "BOOL", [1]), g.input("x", F, [1])
        if k == levels - 1:
            g.outputs(make(g, x))
            continue
        for _ in range(1 + twice):
            y = g.tensor("y", F, [1])
            g.node("IF", [c, c, x], [y], then_subgraph_index=k + 1, else_subgraph_index=k + 1)
            x = y
        g.outputs(x)
    return m.build()


def negated(g: GraphBuilder, x: int) -> int:
    y = g.tensor("y", F, [1])
    g.node("NEG", [x], [y])
    return y


@bomb
def branches_that_double_with_each_level() -> bytes:
    return branches(30, True, negated)


@bomb
def shapes_that_double_with_each_level() -> bytes:
    """Each graph calls the next one with 2 n elements, and with 2 n + 1."""
    m, levels = ModelBuilder(), 14
    for k in range(levels):
        g = m.graph(f"g{k}")
        c, x = g.input("c", "BOOL", [1]), g.input("x", F, [1])
        made = []
        for more in (0, 1) if k < levels - 1 else ():
            wide, y = g.tensor("wide", F, [1]), g.tensor("y", F, [1])
            others = [g.constant("one", np.ones(1, np.float32))] * more
            g.node("CONCATENATION", [x, x, *others], [wide], axis=0, fused_activation_function="NONE")
            g.node("IF", [c, c, wide], [y], then_subgraph_index=k + 1, else_subgraph_index=k + 1)
            made.append(y)
        y = g.tensor("sum", F, [1])
        if made:
            g.node("ADD", made, [y], fused_activation_function="NONE")
        else:
            g.node("REDUCE_MAX", [x, g.constant("axis", ints(0))], [y], keep_dims=True)
        g.outputs(y)
    return m.build()


@bomb
def branches_nested_1000_deep() -> bytes:
    return branches(1000, False, negated)


@bomb
def constants_computed_in_40_branches() -> bytes:
    m = ModelBuilder()
    g = m.graph()
    c, outputs = g.input("c", "BOOL", [1]), []
    for k in range(1, 41):
        outputs.append(g.tensor("o", F, [1]))
        g.node("IF", [c], outputs[-1:], then_subgraph_index=k, else_subgraph_index=k)
    g.outputs(*outputs)
    for k in range(1, 41):
        s = m.graph(f"s{k}")
        f, r = s.tensor("f", F, [1]), s.tensor("r", F, [1])
        s.node("FILL", [s.constant("n", ints((1 << 26) - 2)), s.constant("v", np.float32(k))], [f])
        s.node("REDUCE_MAX", [f, s.constant("a", ints(0))], [r], keep_dims=True)
        s.outputs(r)
    return m.build()


def loops(levels: int, twice: bool = False) -> bytes:
    """Loops that never end, in one another."""
    m = ModelBuilder()
    for k in range(levels):
        g = m.graph(f"body{k}") if k else m.graph()
        x = g.input("x", "INT32", [])
        for _ in range(1 + twice):
            y = g.tensor("y", "INT32", [])
            if k == levels - 1:
                g.node("ADD", [x, g.constant("one", np.int32(1))], [y])
            else:
                g.node("WHILE", [x], [y], cond_subgraph_index=levels, body_subgraph_index=k + 1)
            x = y
        g.outputs(x)
    c = m.graph("cond")
    c.input("i", "INT32", [])
    c.outputs(c.constant("true", np.array(True)))
    return m.build()


@bomb
def a_loop_without_end() -> bytes:
    return loops(2)


@bomb
def a_loop_without_end_and_without_nodes() -> bytes:
    m = ModelBuilder()
    g = m.graph()
    x, y = g.input("x", "INT32", []), g.tensor("y", "INT32", [])
    g.node("WHILE", [x], [y], cond_subgraph_index=1, body_subgraph_index=2)
    g.outputs(y)
    c = m.graph("cond")
    c.input("i", "INT32", [])
    c.outputs(c.constant("true", np.array(True)))
    b = m.graph("body")
    b.outputs(b.input("i", "INT32", []))
    return m.build()


@bomb
def loops_nested_20_deep_that_double_with_each_level() -> bytes:
    return loops(20, twice=True)


@bomb
def a_million_subgraphs() -> bytes:
    """One table, named a million times in the vector of subgraphs."""
    content = bytearray(one("NEG", lambda g: [g.input("x", F, [1])], [1]))
    root = struct.unpack_from("<I", content, 0)[0]
    vtable = root - struct.unpack_from("<i", content, root)[0]
    field = root + struct.unpack_from("<H", content, vtable + 4 + 2 * 2)[0]
    vector = field + struct.unpack_from("<I", content, field)[0]
    graph = vector + 4 + struct.unpack_from("<I", content, vector + 4)[0]
    content += bytes(-len(content) % 4)
    count = 10**6
    # Offsets lead forwards alone: a copy of the model comes after the vector, and of it the table is taken.
    offsets = len(content) + 4 + 4 * count + graph - (len(content) + 4) - 4 * np.arange(count, dtype=np.int64)
    struct.pack_into("<I", content, field, len(content) - field)
    return bytes(content) + struct.pack("<I", count) + offsets.astype("<u4").tobytes() + bytes(content)


def ended(content: bytes, delegates: list[tflgpu.Delegate]) -> str:
    """The error in which it ends, "" for none."""
    try:
        interpreter = tflgpu.Interpreter(model_content=content, experimental_delegates=delegates, limits=UNTRUSTED)
        interpreter.allocate_tensors()
        for details in interpreter.get_input_details():
            value = np.full(details["shape"], 1 << 20 if details["name"] == "n" else 1, details["dtype"])
            interpreter.set_tensor(details["index"], value)
        interpreter.invoke()
    except (ValueError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _peak_kb() -> int:
    """The most memory that was resident. getrusage has that of the process which began this one, too."""
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


def main(word: str = "", delegate: str = "") -> None:
    resource.setrlimit(resource.RLIMIT_AS, (20 << 30, 20 << 30))
    options = {"device": "intel", "min_nodes_per_partition": "1"}
    delegates = [tflgpu.load_delegate(delegate, options)] if delegate else []
    for name, make in BOMBS.items():
        if word not in name:
            continue
        content = make()
        start = time.process_time()
        error = ended(content, delegates)
        seconds = round(time.process_time() - start, 2)
        peak = _peak_kb() >> 10
        print(json.dumps({"name": name, "error": error[:200], "seconds": seconds, "peak_mb": peak}), flush=True)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
