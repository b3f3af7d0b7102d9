"""Writes the table of docs/support.md: which operators the delegates take, by the element type of their main input.

python docs/make_support.py           writes it; needs pyopencl with a device, and a C++ compiler for CUDA's emulator
python docs/make_support.py --check   exits with 1 where the page is not what the conformance kit's cases say

Each case of `tflgpu conformance` is a model of one operator; the delegates are asked whether they take its node, and
nothing is run.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from pathlib import Path

import tflgpu
from tflgpu.conformance.cases import every
from tflgpu.delegates.gpu import GpuDelegate
from tflgpu.model.graph import Node
from tflgpu.model.loader import load

PAGE = Path(__file__).parent / "support.md"
BEGIN, END = "<!-- made by docs/make_support.py -->\n", "<!-- until here -->\n"
DEVICES = {"OpenCL": ("opencl", {}), "CUDA": ("cuda", {"device": "emulator"})}

Counts = dict[tuple[str, str], list[int]]
"""For each operator and type [cases whose node is taken, all cases]; the type in lower case."""


def counted(device: str) -> Counts:
    """How many cases of each operator and type a delegate takes."""
    delegate = tflgpu.load_delegate(*DEVICES[device])
    counts: Counts = defaultdict(lambda: [0, 0])
    for case in every().values():
        content = case.sample().model
        interpreter = tflgpu.Interpreter(model_content=content)
        interpreter.allocate_tensors()
        asked = delegate.attach(load(content=content), 1)  # its nodes may name graphs of the model
        nodes = [n for p in interpreter._graphs[0].partitions for n in p.nodes if n.op == case.op]
        count = counts[case.op, case.type.lower()]
        count[0] += all(_takes(asked, node) for node in nodes)
        count[1] += 1
    return counts


def _takes(delegate: GpuDelegate, node: Node) -> bool:
    try:
        delegate.check(node)
    except tflgpu.Unsupported:
        return False
    return True


def table(counts: Counts) -> str:
    """A row an operator: the types of which every case is taken, some are, and none."""
    common = [t for t, _ in Counter(t for _, t in counts).most_common()]
    rows = ["| operator | taken | some cases taken | on the CPU |", "|---|---|---|---|"]
    for op in sorted({op for op, _ in counts}):
        groups: dict[str, list[str]] = {"all": [], "some": [], "none": []}
        for type in (t for t in common if (op, t) in counts):
            taken, of = counts[op, type]
            groups["all" if taken == of else "some" if taken else "none"].append(type)
        rows.append(f"| {op} | {' | '.join(' '.join(types) for types in groups.values())} |")
    return "\n".join(rows) + "\n"


def page(counts: Counts) -> str:
    """The page's text with its table as it should be."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    return before + BEGIN + table(counts) + END + rest.partition(END)[2]


def main() -> int:
    counts = counted("OpenCL")
    if sys.argv[1:] == ["--check"]:
        if PAGE.read_text() != page(counts):
            print(f"stale: {PAGE.name}; run python docs/make_support.py", file=sys.stderr)
            return 1
        return 0
    if counts != counted("CUDA"):
        raise SystemExit("OpenCL and CUDA take other cases: the page says that they do not")
    PAGE.write_text(page(counts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
