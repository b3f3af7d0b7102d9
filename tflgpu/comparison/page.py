"""A comparison of two models as one HTML page with all that it needs inside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from string import Template

from tflgpu.comparison.measure import Measure
from tflgpu.comparison.models import ComparedNode, Comparison
from tflgpu.conformance.html_style import PAGE, STYLE

WORST = 6
"""Nodes of which values are plotted."""
NOTABLE = 0.005
"""The share of clipped values from which on it is said."""
CEILING_DB = 120.0
"""A signal-to-noise ratio that is drawn as if nothing differed."""

PLOT_STYLE = """
svg .line { fill: none; stroke: var(--some); stroke-width: 1.5; } svg .axis { stroke: var(--line); }
svg .dot { fill: var(--some); } svg .worst { fill: var(--bad); } svg text { fill: var(--soft); font-size: 11px; }
.plots { display: flex; flex-wrap: wrap; gap: 18px; } figure { margin: 0; } figcaption { font-size: 13px; }
.wide svg { min-width: 640px; } .wide td, .wide th { white-space: nowrap; }
"""


def page(a: str, b: str, comparison: Comparison) -> str:
    """The page of models `a` and `b`, by their names."""
    worst = comparison.by_guilt[:WORST]
    plots = [(name, m) for name, m in comparison.outputs.items()] + [(n.name, n.measure) for n in worst]
    sections = {
        "Outputs": _wide(_table([_cells(name, "", m) for name, m in comparison.outputs.items()], "output")),
        "Signal-to-noise ratio, node by node": _wide(_line(comparison.nodes, worst)),
        "Values, as they are in the first model and in the second": _plots(plots),
        "Nodes, by the noise that they add": _wide(_table([_node(n) for n in comparison.by_guilt], "node")),
    }
    left = comparison.unmatched
    note = f"{comparison.examples} examples; {len(comparison.nodes)} nodes match, {left[0]} and {left[1]} do not"
    notes = "".join(f"<p>{escape(text)}</p>" for text in (note, clipped(comparison)) if text)
    body = "".join(f"<section><h2>{escape(title)}</h2>{content}</section>" for title, content in sections.items())
    return Template(PAGE).substitute(
        title=escape(f"{b} against {a}"), style=STYLE + PLOT_STYLE, script="", body=notes + body
    )


def cells(measure: Measure) -> list[str]:
    """SNR, cosine, largest error, that in steps, share of clipped values, top-1 agreement, as text."""
    steps, clipped, top1 = measure.steps, measure.clipped, measure.top1
    return [
        f"{measure.snr:.1f}",
        f"{measure.cosine:.5f}",
        f"{measure.max_error:.4g}",
        "" if steps is None else f"{steps:.1f}",
        "" if clipped is None else f"{clipped:.1%}",
        "" if top1 is None else f"{top1:.1%}",
    ]


HEADINGS = ("SNR\n(dB)", "cosine", "largest\nerror", "in\nsteps", "clipped", "top-1\nagrees")


def clipped(comparison: Comparison) -> str:
    """What to think of values that the second model's tensors cannot hold; empty where there are none, or few."""
    node = comparison.most_clipped
    share = node.measure.clipped if node is not None else None
    if node is None or share is None or share < NOTABLE:
        return ""
    return (
        f"{share:.0%} of the values of node {node.name} are beyond what its output can hold: the inputs are unlike "
        "those of the calibration, or it saw too few"
    )


def _cells(name: str, added: str, measure: Measure, tensor: str = "") -> list[str]:
    return [name, added, *cells(measure), tensor]


def _node(node: ComparedNode) -> list[str]:
    return _cells(node.name, f"{node.added:.2e}", node.measure, node.b.outputs[0].name)


def _table(rows: Sequence[Sequence[str]], first: str) -> str:
    head = "".join(f"<th>{escape(h)}</th>" for h in (first, "added noise", *HEADINGS, ""))
    body = "".join("<tr>" + "".join(f'<td class="number">{escape(c)}</td>' for c in row) + "</tr>" for row in rows)
    return f'<table class="list"><tr>{head}</tr>{body}</table>'


def _wide(content: str) -> str:
    return f'<div class="wide">{content}</div>'


def _line(nodes: Sequence[ComparedNode], worst: Sequence[ComparedNode]) -> str:
    """The ratio of each node in the model's order, the worst marked."""
    if not nodes:
        return "<p>No node matches.</p>"
    width, height, left = 1000, 220, 40
    ratios = [min(max(n.measure.snr, 0.0), CEILING_DB) for n in nodes]
    top = max(20.0, math.ceil(max(ratios) / 20) * 20)
    x = [left + (width - left - 10) * (i + 0.5) / len(nodes) for i in range(len(nodes))]
    y = [height - 20 - (height - 30) * r / top for r in ratios]
    grid = "".join(
        f'<line class="axis" x1="{left}" x2="{width}" y1="{at:.1f}" y2="{at:.1f}"/>'
        f'<text x="{left - 6}" y="{at + 4:.1f}" text-anchor="end">{level:.0f}</text>'
        for level in range(0, int(top) + 1, 20)
        if (at := height - 20 - (height - 30) * level / top) is not None
    )
    marked = {n.b.index for n in worst}
    dots = "".join(
        f'<circle class="{"worst" if n.b.index in marked else "dot"}" cx="{a:.1f}" cy="{b:.1f}" r="3">'
        f"<title>{escape(n.name)}: {n.measure.snr:.1f} dB</title></circle>"
        for n, a, b in zip(nodes, x, y, strict=True)
    )
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    return (
        f'<svg viewBox="0 0 {width} {height}" width="100%" role="img" aria-label="SNR in dB by node">{grid}'
        f'<polyline class="line" points="{points}"/>{dots}</svg>'
    )


def _plots(measured: Sequence[tuple[str, Measure]]) -> str:
    return f'<div class="plots">{"".join(_scatter(name, m) for name, m in measured if m.points)}</div>'


def _scatter(name: str, measure: Measure) -> str:
    """Values of the second model by those of the first: on the diagonal where they are equal."""
    size = 220
    numbers = [value for point in measure.points for value in point]
    low, high = min(numbers), max(numbers)
    span = (high - low) or 1.0

    def at(value: float) -> float:
        return 4 + (size - 8) * (value - low) / span

    dots = "".join(f'<circle class="dot" cx="{at(a):.1f}" cy="{size - at(b):.1f}" r="1.6"/>' for a, b in measure.points)
    return (
        f'<figure><svg viewBox="0 0 {size} {size}" width="{size}" height="{size}">'
        f'<line class="axis" x1="4" y1="{size - 4}" x2="{size - 4}" y2="4"/>{dots}</svg>'
        f"<figcaption>{escape(name)}<br>{low:.3g} to {high:.3g}</figcaption></figure>"
    )
