"""Draws the pictures of docs/concepts.md and docs/scale.md, docs/pictures/*.svg.

python docs/make_pictures.py           writes them
python docs/make_pictures.py --check   exits with 1 where one is not what this program draws
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path

FOLDER = Path(__file__).parent / "pictures"
WIDTH = 480
"""In pixels: narrow, so that letters can still be read where a telephone shows the picture at 350."""

FILLS = {"cpu": "#dbeafe", "device": "#fed7aa", "data": "#f3f4f6", "current": "#bbf7d0", "stale": "#ffffff"}
STYLE = "text{font:15px sans-serif;fill:#111827} .small{font-size:13px;fill:#374151} .mono{font:14px monospace}"


class Picture:
    """An SVG picture on white, which dark pages show as it is."""

    def __init__(self, title: str, height: int):
        self.title, self.height = title, height
        self.shapes: list[str] = []

    def text(self, x: float, y: float, text: str, kind: str = "", anchor: str = "middle") -> None:
        self.shapes.append(f'<text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>')

    def box(self, at: tuple[float, float, float, float], fill: str, lines: Sequence[str], kind: str = "") -> None:
        """A box at (x, y, width, height) with lines of text in its middle; those after the first are small."""
        x, y, width, height = at
        self.shapes.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="6" fill="{FILLS[fill]}" '
            'stroke="#6b7280"/>'
        )
        top = y + height / 2 - 9 * (len(lines) - 1) + 5
        for number, line in enumerate(lines):
            self.text(x + width / 2, top + 18 * number, line, kind or ("small" if number else ""))

    def arrow(self, start: tuple[float, float], end: tuple[float, float], label: str = "") -> None:
        """From start to end; the label is to the right of its middle."""
        (x1, y1), (x2, y2) = start, end
        line = f'x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"'
        self.shapes.append(f'<line {line} stroke="#374151" stroke-width="1.5" marker-end="url(#tip)"/>')
        if label:
            self.text((x1 + x2) / 2 + 10, (y1 + y2) / 2 + 4, label, "small", "start")

    def svg(self) -> str:
        """The file's text."""
        tip = (
            '<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
            'orient="auto"><path d="M0 0L8 4L0 8z" fill="#374151"/></marker>'
        )
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" width="{WIDTH}" '
            f'height="{self.height}" role="img"><title>{escape(self.title)}</title><style>{STYLE}</style>'
            f'<defs>{tip}</defs><rect width="100%" height="100%" rx="8" fill="#ffffff"/>'
        )
        return "\n".join([head, *self.shapes, "</svg>"]) + "\n"


def life() -> Picture:
    """One life of a model: what each call does, and what it leaves."""
    steps = [
        ("data", "model.tflite", "untrusted bytes", "Interpreter(path): every offset and size is checked"),
        ("data", "Model", "graphs of nodes; constants are views of the file", "infer_shapes, from the inputs' shapes"),
        ("data", "Graph", "every shape that is known before it runs", "partition, by what delegates take"),
        ("data", "partitions", "groups of nodes, each for one location", "prepare: storage, arena, programs"),
        ("data", "Executor", "a list of callables", "invoke: one after another"),
        ("current", "outputs", "on the host", ""),
    ]
    p = Picture("One life of a model", 580)
    for number, (fill, name, what, then) in enumerate(steps):
        y = 20 + number * 98
        p.box((60, y, 360, 52), fill, [name, what])
        if then:
            p.arrow((90, y + 52), (90, y + 96), then)
    return p


def partitions() -> Picture:
    """A graph of seven nodes in three partitions, and what crosses between them."""
    rows = [
        ("device", ["0  CONV_2D", "1  ADD", "2  RELU"], "partition 0 on opencl: one kernel launch"),
        ("cpu", ["3  WHERE"], "partition 1 on CPU: its output's size is known only at run time"),
        ("device", ["4  GATHER_ND", "5  FULLY_CONNECTED", "6  SOFTMAX"], "partition 2 on opencl"),
    ]
    p = Picture("Partitions of a graph", 508)
    p.box((150, 14, 180, 30), "data", ["input, on the host"], "small")
    y = 74
    for fill, nodes, told in rows:
        p.arrow((240, y - 30), (240, y - 2), "copied to the device" if fill == "device" else "copied to the host")
        height = 28 * len(nodes) + 34
        p.box((14, y, 452, height), fill, [])
        for number, node in enumerate(nodes):
            p.box((130, y + 8 + 28 * number, 220, 23), "stale", [node], "mono")
        p.text(240, y + height - 9, told, "small")
        y += height + 30
    p.arrow((240, y - 30), (240, y - 2), "copied to the host")
    p.box((150, y, 180, 30), "data", ["output, on the host"], "small")
    return p


def residency() -> Picture:
    """Where one tensor's value is current after each event."""
    events = [
        ("set_tensor writes", "", (True, False)),
        ("a kernel reads", "copies to the device", (True, True)),
        ("a kernel reads again", "copies nothing", (True, True)),
        ("a kernel writes", "", (False, True)),
        ("a CPU node or get_tensor reads", "copies to the host", (True, True)),
        ("a CPU node writes", "", (True, False)),
    ]
    p = Picture("Where a tensor's value is current", 60 + 52 * len(events))
    p.text(340, 28, "host")
    p.text(430, 28, "device")
    for number, (what, copies, current) in enumerate(events):
        y = 42 + 52 * number
        p.text(14, y + (18 if copies else 26), what, "", "start")
        if copies:
            p.text(14, y + 36, copies, "small", "start")
        for x, fresh in zip((300, 390), current, strict=True):
            p.box((x, y, 80, 42), "current" if fresh else "stale", ["current" if fresh else "stale"], "small")
    return p


def node_to_kernel() -> Picture:
    """The stages between a node and its kernel launch, with what ADD and RELU are at each."""
    steps = [
        ("nodes", ["3 ADD(x, y) -> s", "4 RELU(s) -> z"], "lowering, or Unsupported with a reason"),
        ("IR", ["Elementwise(x + y) -> s", "Elementwise(max(s, 0)) -> z"], "passes: fusion, aliases, memory"),
        ("IR", ["Elementwise(max(x + y, 0)) -> z"], "render: the expression as text in C"),
        (
            "launch",
            ["kernel, inputs, outputs,", "sizes and scalars by name"],
            "compiler: OpenCL, NVRTC or the emulator",
        ),
        ("call", ["a callable that enqueues", "the compiled kernel"], ""),
    ]
    p = Picture("From a node to a kernel", 486)
    y = 14.0
    for name, lines, then in steps:
        height = 22 * len(lines) + 20
        p.text(14, y + height / 2 + 5, name, "", "start")
        p.box((90, y, 376, height), "device" if name in ("launch", "call") else "data", lines, "mono")
        if then:
            p.arrow((120, y + height), (120, y + height + 38), then)
        y += height + 40
    return p


def rows_of(title: str, rows: Sequence[Sequence[tuple[str, list[str]]]]) -> Picture:
    """Rows of boxes that share the width; arrows lead from row to row at the boxes of the one that has more."""
    p = Picture(title, 100 * len(rows) - 10)
    above: list[float] = []
    for number, row in enumerate(rows):
        y, step = 14 + 100 * number, (WIDTH - 14) / len(row)
        middles = [7 + step * (i + 0.5) for i in range(len(row))]
        for middle, (fill, lines) in zip(middles, row, strict=True):
            p.box((middle - step / 2 + 7, y, step - 14, 62), fill, lines)
        for x in max(above, middles, key=len) if above else ():
            p.arrow((x, y - 38), (x, y - 2))
        above = middles
    return p


def server() -> Picture:
    """Who talks to whom in tflgpu serve."""
    rows = [
        [("data", ["client", "REST"]), ("data", ["client", "gRPC"])],
        [("cpu", ["HTTP", "limits; JSON"]), ("cpu", ["gRPC", "limits; protobuf"])],
        [("cpu", ["batcher of a version of a model", "a queue; rows that wait together run together"])],
        [
            ("device", ["instance", "thread, interpreter", "device 0"]),
            ("device", ["instance", "thread, interpreter", "device 1"]),
        ],
    ]
    return rows_of("Clients, a server's one event loop, and its instances", rows)


def batch() -> Picture:
    """Who reads and writes what in tflgpu batch."""
    rows = [
        [("data", ["storage", "images, or row groups of Parquet"])],
        [("cpu", ["tflgpu batch", "which shards are not written yet?"])],
        [
            ("device", ["worker", "process, Predictor", "device 0"]),
            ("device", ["worker", "process, Predictor", "device 1"]),
        ],
        [("data", ["storage", "rows-N.parquet, each whole or not there"])],
    ]
    return rows_of("A batch job and its workers", rows)


PICTURES = {
    "life": life,
    "partitions": partitions,
    "residency": residency,
    "node_to_kernel": node_to_kernel,
    "server": server,
    "batch": batch,
}


def main() -> int:
    drawn = {FOLDER / f"{name}.svg": draw().svg() for name, draw in PICTURES.items()}
    if sys.argv[1:] == ["--check"]:
        stale = [path.name for path, text in drawn.items() if not path.exists() or path.read_text() != text]
        if stale:
            print(f"stale: {', '.join(stale)}; run python docs/make_pictures.py", file=sys.stderr)
        return bool(stale)
    FOLDER.mkdir(exist_ok=True)
    for path, text in drawn.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
