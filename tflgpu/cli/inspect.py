"""`tflgpu inspect`: what is in a model, what running it takes, and where a delegate would run it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from tflgpu.cli.models import (
    DelegateOptions,
    Delegates,
    LimitOptions,
    ModelPath,
    Shapes,
    columns,
    console,
    loaded,
    opened,
    plain_errors,
    quantity,
    reshaped,
)
from tflgpu.debug import pass_in_words
from tflgpu.delegation.cost import estimate, macs
from tflgpu.delegation.delegate import Delegate, HasPasses
from tflgpu.delegation.report import DelegationReport
from tflgpu.interpreter import Interpreter
from tflgpu.memory import nbytes
from tflgpu.model.graph import Node, TensorSpec
from tflgpu.model.loader import load
from tflgpu.optional import offering
from tflgpu.runtime.graph_runner import GraphRunner


@plain_errors
def inspect(
    model: ModelPath,
    delegate: Delegates = None,
    delegate_option: DelegateOptions = None,
    limit: LimitOptions = None,
    shape: Shapes = None,
    nodes: Annotated[bool, typer.Option("--nodes/--no-nodes", help="List every node.")] = True,
    memory: Annotated[bool, typer.Option("--memory", help="List where each activation lies in the arena.")] = False,
    passes: Annotated[bool, typer.Option("--passes", help="Show what each pass of the delegate does.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="All of it as JSON.")] = False,
) -> None:
    """Show a model's inputs, outputs, signatures, nodes, memory, and with --delegate where each node runs."""
    delegates = loaded(delegate, delegate_option)
    if passes:
        show_passes(delegates)
    interpreter = opened(model, delegates, limit=limit)
    reshaped(interpreter, shape)
    refused = None
    try:
        interpreter.allocate_tensors()
    except RuntimeError as error:  # raised at the end: the model itself can be shown all the same
        refused = RuntimeError(f"{str(error).strip()} (--shape gives inputs other shapes)")
    facts = described(model, interpreter)
    if as_json:
        # Not rich: no wrapping, no colours in what programs read.
        typer.echo(json.dumps(facts, indent=2))
    else:
        show(model, interpreter, facts, nodes, memory, bool(delegate) and refused is None)
    if refused:
        raise refused


def show_passes(delegates: Sequence[Delegate]) -> None:
    """From now on each pass over a partition is printed. Raises ValueError where no delegate has passes."""
    watched = offering(delegates, HasPasses)
    if not watched:
        raise ValueError("--passes is for a delegate that has passes: name one with --delegate, e.g. cuda or opencl")
    for delegate in watched:
        delegate.watch_passes(lambda name, before, after: typer.echo("\n".join(pass_in_words(name, before, after))))


def show(
    model: Path, interpreter: Interpreter, facts: dict[str, Any], nodes: bool, memory: bool, delegation: bool
) -> None:
    console.print(Text(model.name, "bold"), f" {quantity(facts['bytes'])}  {facts['description']}")
    show_metadata(facts)
    for which in ("inputs", "outputs"):
        console.print(tensor_table(which, facts[which]))
    for key, signature in facts["signatures"].items():
        console.print(f"signature {key}: {', '.join(signature['inputs'])} -> {', '.join(signature['outputs'])}")
    for graph in facts["graphs"]:
        show_graph(graph, nodes)
    console.print(
        f"{facts['macs'] / 1e6:,.2f} million multiply-accumulates; constants {quantity(facts['constant_bytes'])}, "
        f"activations {quantity(facts['activation_bytes'])}, the CPU's arena {quantity(facts['arena_bytes'])}"
    )
    if memory:
        console.print(memory_table(facts))
    if delegation:
        show_delegation(interpreter.delegation_report())


def show_metadata(facts: dict[str, Any]) -> None:
    """What the model says about itself, in a few lines; nothing where it says nothing."""
    about = facts["about"]
    for key in ("malformed", "name", "description", "version", "author", "license"):
        if about.get(key):
            console.print(f"{key}: {about[key]}", highlight=False)
    for side in ("inputs", "outputs"):
        for number, tensor in enumerate(about.get(side, ())):
            files = ", ".join(f"{file['name']} ({file['type']})" for file in tensor["files"])
            said = {**tensor, "files": files}
            told = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in said.items() if value)
            if told:
                console.print(f"metadata of {side[:-1]} {number}: {told}", highlight=False)
    if facts["metadata"]:
        entries = ", ".join(f"{name} ({quantity(size)})" for name, size in facts["metadata"].items())
        console.print(f"metadata entries: {entries}", highlight=False)
    if about.get("files"):
        console.print(f"attached files: {', '.join(about['files'])}", highlight=False)


def show_delegation(report: DelegationReport) -> None:
    """A line a delegate, then one for all nodes that run at one location for one reason."""
    for line in report.splitlines():
        if not line.startswith(("partition ", "node ")):
            console.print(line, highlight=False)
    table = columns("runs on", "nodes", "why not on a delegate")
    for where, why, ops in report.grouped():
        table.add_row(where, ", ".join(f"{count} {op}" for op, count in ops.items()), "; ".join(why))
    console.print(table)
    for row in (row for row in report.partitions if row.delegate_us is not None):
        console.print(
            f"partition {row.partition} on {row.runs_on}: {len(row.nodes)} nodes, reads {quantity(row.bytes_read)}, "
            f"writes {quantity(row.bytes_written)}; by the cost model {row.delegate_us:,.0f} us, "
            f"{row.cpu_us or 0:,.0f} on the CPU",
            highlight=False,
        )


def described(path: Path, interpreter: Interpreter) -> dict[str, Any]:
    """Everything that `inspect` shows, as data."""
    model = load(path=path)
    graphs = [described_graph(graph) for graph in interpreter._graphs]
    main = interpreter._graphs[0]
    ready = [graph.executor.first for graph in interpreter._graphs if graph.executor is not None]
    return {
        "path": str(path),
        "bytes": path.stat().st_size,
        "description": model.description,
        "inputs": [described_tensor(main.specs[i]) for i in main.graph.inputs],
        "outputs": [described_tensor(main.specs[i]) for i in main.graph.outputs],
        "signatures": interpreter.get_signature_list(),
        "about": described_metadata(interpreter),
        "metadata": {name: len(content) for name, content in model.metadata.items()},
        "graphs": graphs,
        "ops": dict(Counter(n["op"] for g in graphs for n in g["nodes"]).most_common()),
        "macs": sum(g["macs"] for g in graphs),
        "constant_bytes": sum(g["constant_bytes"] for g in graphs),
        "activation_bytes": sum(g["activation_bytes"] for g in graphs),
        "arena_bytes": sum(segment.arena_nbytes for segment in ready),
        "memory_plan": [where for graph in interpreter._graphs for where in described_memory(graph)],
        "delegated": [
            {
                "delegate": partition.owner.name,
                "nodes": [n.index for n in partition.nodes],
                **asdict(estimate(partition.nodes, partition.inputs | partition.outputs)),
            }
            for partition in main.partitions
            if partition.owner is not None
        ],
    }


def described_metadata(interpreter: Interpreter) -> dict[str, Any]:
    """What the model says about itself; only "malformed", with the reason, where that cannot be read."""
    try:
        told = interpreter.metadata
    except ValueError as error:
        return {"malformed": str(error)}
    texts = {name: getattr(told, name) for name in ("name", "description", "version", "author", "license")}
    sides = {"inputs": [asdict(t) for t in told.inputs], "outputs": [asdict(t) for t in told.outputs]}
    return {**texts, **sides, "files": list(told.files)}


def described_memory(graph: GraphRunner) -> list[dict[str, Any]]:
    """The memory of the tensors that a graph's nodes write: an offset in its arena, or their own (offset None)."""
    if graph.executor is None:
        return []
    first = graph.executor.first
    offsets = first.arena_offsets
    constant = {spec.index for spec in graph.specs if spec.data is not None}
    return [
        {"graph": graph.graph.name, "tensor": i, "offset": offsets.get(i), "bytes": tensor.host.nbytes}
        for i, tensor in sorted(first.storage.items(), key=lambda item: (offsets.get(item[0], -1), item[0]))
        if i not in constant
    ]


def memory_table(facts: dict[str, Any]) -> Table:
    table = columns("graph", "tensor", "offset in the arena", "bytes", title="memory plan")
    for where in facts["memory_plan"]:
        offset = "own" if where["offset"] is None else f"{where['offset']:,}"
        table.add_row(where["graph"], str(where["tensor"]), offset, f"{where['bytes']:,}")
    return table


def described_graph(graph: GraphRunner) -> dict[str, Any]:
    specs = graph.specs
    constants = [base for base in graph.graph.tensors if base.data is not None]
    made = {spec.index for node in graph.graph.nodes for spec in node.outputs}
    return {
        "name": graph.graph.name,
        "nodes": [described_node(node, specs) for node in graph.graph.nodes],
        "macs": sum(macs(node, specs) for node in graph.graph.nodes),
        "constant_bytes": sum(spec.data.nbytes for spec in constants if spec.data is not None),
        "activation_bytes": sum(nbytes(specs[i]) for i in made | set(graph.graph.inputs)),
    }


def described_node(node: Node, specs: list[TensorSpec]) -> dict[str, Any]:
    return {
        "index": node.index,
        "op": node.op,
        "version": node.version,
        "inputs": [None if s is None else described_tensor(specs[s.index]) for s in node.inputs],
        "outputs": [described_tensor(specs[s.index]) for s in node.outputs],
        "options": {k: str(v) for k, v in vars(node.options).items()},
        "macs": macs(node, specs),
    }


def described_tensor(spec: TensorSpec) -> dict[str, Any]:
    found: dict[str, Any] = {"index": spec.index, "name": spec.name, "type": spec.type, "shape": list(spec.shape)}
    if spec.shape_signature is not None:
        found["shape_signature"] = list(spec.shape_signature)
    if spec.quantization is not None:
        q = spec.quantization
        found["quantization"] = (
            f"{len(q.scale)} scales on axis {q.axis}"
            if q.per_channel
            else f"{spec.scale:.6g} * ({_shifted(spec.zero_point)})"
        )
    return found


def _shifted(zero_point: int) -> str:
    if zero_point == 0:
        return "quantized"
    return f"quantized {'+' if zero_point < 0 else '-'} {abs(zero_point)}"


def tensor_table(title: str, tensors: list[dict[str, Any]]) -> Table:
    table = columns("index", "name", "type", "shape", "signature", "quantization", title=title)
    for t in tensors:
        signature = str(t.get("shape_signature", ""))
        table.add_row(str(t["index"]), t["name"], t["type"], str(t["shape"]), signature, t.get("quantization", ""))
    return table


def show_graph(graph: dict[str, Any], nodes: bool) -> None:
    histogram = Counter(node["op"] for node in graph["nodes"]).most_common()
    console.print(
        f"graph {graph['name']!r}: {len(graph['nodes'])} nodes; " + ", ".join(f"{n} {op}" for op, n in histogram)
    )
    if not nodes:
        return
    table = columns("node", "op", "version", "inputs", "outputs", "MACs")
    for node in graph["nodes"]:
        table.add_row(
            str(node["index"]),
            node["op"],
            str(node["version"]),
            ", ".join("-" if t is None else _short(t) for t in node["inputs"]),
            ", ".join(map(_short, node["outputs"])),
            f"{node['macs']:,}" if node["macs"] else "",
        )
    console.print(table)


def _short(tensor: dict[str, Any]) -> str:
    return f"#{tensor['index']} {tensor['type'].lower()}{tensor['shape']}".replace(", ", ",")
