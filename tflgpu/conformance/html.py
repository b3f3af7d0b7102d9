"""A run as one HTML page with all that it needs inside."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from string import Template

from tflgpu.conformance import levels, verdicts
from tflgpu.conformance.html_style import PAGE, SCRIPT, STYLE
from tflgpu.conformance.verdicts import Result, Summary

CLASSES = {
    verdicts.PASSED: "ok",
    verdicts.RELAXED: "relaxed",
    verdicts.NOT_DELEGATED: "left",
    verdicts.FAILED: "bad",
    verdicts.ERROR: "bad",
    verdicts.CRASHED: "bad",
    verdicts.TIMED_OUT: "bad",
    verdicts.INVALID: "bad",
}
_LEVEL_CLASSES = {"none": "bad", "partial": "left", "not judged": "left"}
TYPES = ("float32", "float16", "int8", "uint8", "int16", "int32", "int64", "uint32", "bool")
WHOLE = ("contract", "graphs", "random")
SHOWN = 500
BARS = 12
ABSURD = 1e4
LEVELS = (
    " ".join((levels.__doc__ or "").partition("\n\n")[2].split())
    .replace("in FLOAT", f"of the float core ({', '.join(levels.FLOAT)})")
    .replace("of INTEGER", f"of the integer core ({', '.join(levels.INTEGER)})")
)
"""The rule of each level, in words."""


def page(whole: Summary, results: Sequence[Result]) -> str:
    """The page."""
    wrong = [result for result in results if result.bad]
    sections = [
        _tiles(whole),
        _section("Failures", _failures(wrong), f"{len(wrong)} cases") if wrong else "",
        _section("Operators and types", _matrix(results), "passed of delegated, and how many stayed on the CPU"),
        _section("Contracts, graphs, random graphs", _wholes(results)),
        _section("Not delegated", _reasons(whole), "the delegate's own reasons"),
        _section("Worst errors", _errors(results), "in ULP of what is allowed, by operator; floats only"),
        _section("Time", _times(results), "median of an invoke, against the CPU") if _timed(results) else "",
        _section("Levels", f"<p>{escape(LEVELS)}</p>"),
        _section("About this run", _about(whole)),
    ]
    return Template(PAGE).substitute(
        title=escape(f"Conformance of {whole.delegate}"),
        style=STYLE,
        script=SCRIPT,
        body="\n".join(filter(None, sections)),
    )


def _section(title: str, body: str, note: str = "") -> str:
    small = f" <small>{escape(note)}</small>" if note else ""
    return f"<section><h2>{escape(title)}{small}</h2>\n{body}</section>"


def _tiles(whole: Summary) -> str:
    total = sum(whole.counts.values())
    wrong = sum(whole.counts.get(v, 0) for v in verdicts.BAD)
    tiles = [
        ("level", whole.level, _LEVEL_CLASSES.get(whole.level.split(" at ")[0], "ok")),
        ("cases", f"{total:,}", ""),
        ("passed", f"{whole.counts.get(verdicts.PASSED, 0):,}", "ok"),
        ("not delegated", f"{whole.counts.get(verdicts.NOT_DELEGATED, 0):,}", "left"),
        ("wrong", f"{wrong:,}", "bad" if wrong else "ok"),
        ("seconds", f"{whole.seconds:,.0f}", ""),
    ]
    if whole.counts.get(verdicts.RELAXED):
        tiles.insert(3, (f"only at {whole.precision}", f"{whole.counts[verdicts.RELAXED]:,}", "relaxed"))
    shown = "".join(f'<div class="tile {c}"><b>{escape(v)}</b><span>{escape(k)}</span></div>' for k, v, c in tiles)
    segments = [(CLASSES[v], whole.counts.get(v, 0)) for v in verdicts.VERDICTS]
    bar = "".join(f'<i class="{c}" style="flex:{n}"></i>' for c, n in segments if n)
    return (
        f'<div class="tiles">{shown}</div><div class="bar">{bar}</div><p class="why">{escape(whole.level_reason)}</p>'
    )


def _failures(wrong: Sequence[Result]) -> str:
    rows = "".join(
        f'<tr><td><span class="tag bad">{escape(r.verdict)}</span></td><td><code>{escape(r.name)}</code>'
        f"<div>{escape(r.why)}</div>{_reproducer(r)}</td></tr>"
        for r in wrong[:SHOWN]
    )
    return f'<table class="list">{rows}</table>'


def _reproducer(result: Result) -> str:
    return f"<div><small>{escape(result.reproducer)}</small></div>" if result.reproducer else ""


def _matrix(results: Sequence[Result]) -> str:
    cells: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        if result.family not in WHOLE and result.op not in ("CONTRACT", "GRAPH", "RANDOM"):
            cells.setdefault((result.op, result.type), []).append(result)
    types = [t for t in TYPES if any(key[1] == t for key in cells)]
    types += sorted({key[1] for key in cells} - set(types))
    head = "".join(f"<th>{escape(t)}</th>" for t in types)
    rows = []
    for op in sorted({key[0] for key in cells}):
        shown = "".join(_cell(cells.get((op, t), [])) for t in types)
        rows.append(f'<tr data-name="{escape(op.lower())}"><th>{escape(op)}</th>{shown}</tr>')
    return (
        '<input id="filter" placeholder="filter operators" aria-label="filter operators">'
        f'<div class="wide"><table class="matrix"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cell(found: Sequence[Result]) -> str:
    if not found:
        return "<td></td>"
    passed = sum(r.verdict == verdicts.PASSED for r in found)
    relaxed = sum(r.verdict == verdicts.RELAXED for r in found)
    left = [r for r in found if r.verdict == verdicts.NOT_DELEGATED]
    wrong = [r for r in found if r.bad]
    kind = "bad" if wrong else "relaxed" if relaxed else "ok" if passed and not left else "some" if passed else "left"
    text = f"{passed + relaxed}/{len(found) - len(left)}" if len(left) < len(found) else "none"
    hint = [f"{len(found)} cases: {passed} passed"]
    hint += [f"{len(wrong)} wrong: {wrong[0].name}"] if wrong else []
    hint += [f"{len(left)} not delegated: {left[0].why}"] if left else []
    more = f"<sub>+{len(left)}</sub>" if left and len(left) < len(found) else ""
    return f'<td class="{kind}" title="{escape(chr(10).join(hint))}">{text}{more}</td>'


def _wholes(results: Iterable[Result]) -> str:
    rows = []
    for result in results:
        if result.op in ("CONTRACT", "GRAPH") or (result.op == "RANDOM" and result.bad):
            delegated = "" if result.op == "CONTRACT" else f"{result.delegated} of {result.nodes} nodes"
            said = delegated if result.verdict == verdicts.PASSED else escape(result.why)
            name = result.name.partition("[")[2].rstrip("]") if result.op != "RANDOM" else result.name
            rows.append(
                f'<tr><td><span class="tag {CLASSES[result.verdict]}">{escape(result.verdict)}</span></td>'
                f"<td>{escape(name)}</td><td><small>{said}</small></td></tr>"
            )
    return f'<table class="list">{"".join(rows)}</table>'


def _reasons(whole: Summary) -> str:
    if not whole.reasons:
        return "<p>Everything was delegated.</p>"
    rows = "".join(
        f'<tr><td class="number">{count}</td><td>{escape(why)}</td></tr>'
        for why, count in list(whole.reasons.items())[:100]
    )
    return f'<table class="list">{rows}</table>'


def _errors(results: Sequence[Result]) -> str:
    by_op: dict[str, list[Result]] = {}
    for result in results:
        if result.ulps is not None and result.bound and result.family != "random":
            by_op.setdefault(result.op, []).append(result)
    if not by_op:
        return "<p>No case had a float that may be off.</p>"
    rows = []
    for op, found in sorted(by_op.items(), key=lambda item: -max(_share(r) for r in item[1])):
        worst = max(found, key=_share)
        rows.append(
            f"<tr><th>{escape(op)}</th><td>{_histogram([_share(r) for r in found])}</td>"
            f'<td class="number">{_of_bound(worst)}</td>'
            f"<td><code>{escape(worst.name)}</code></td></tr>"
        )
    head = "<tr><th></th><th>cases by share of what is allowed, 0 to 1</th><th>worst</th><th></th></tr>"
    return f'<div class="wide"><table class="list">{head}{"".join(rows)}</table></div>'


def _of_bound(result: Result) -> str:
    """The worst distance and its bound; beyond ABSURD times the bound a number would say nothing."""
    assert result.ulps is not None
    if _share(result) > ABSURD:
        return f"another value; {result.bound:.3g} allowed"
    return f"{result.ulps:.3g} of {result.bound:.3g}"


def _share(result: Result) -> float:
    """The worst distance as a share of the bound."""
    assert result.ulps is not None and result.bound
    return min(result.ulps / result.bound, 1e6)


def _histogram(shares: Sequence[float]) -> str:
    """Bars of how many cases have which share of the bound; the last is beyond it."""
    bins = [0] * (BARS + 1)
    for share in shares:
        bins[min(int(share * BARS), BARS)] += 1
    tallest = max(bins)
    bars = "".join(
        f'<rect x="{k * 9}" width="8" y="{24 - h:.1f}" height="{h:.1f}" class="{"over" if k == BARS else "in"}"/>'
        for k, n in enumerate(bins)
        if (h := 24 * math.log1p(n) / math.log1p(tallest))
    )
    title = ", ".join(f"{k / BARS:.2f}: {n}" for k, n in enumerate(bins) if n)
    width = 9 * (BARS + 1)
    return f'<svg viewBox="0 0 {width} 24" width="{width}" height="24"><title>{title}</title>{bars}</svg>'


def _timed(results: Iterable[Result]) -> list[Result]:
    return [result for result in results if result.cpu_ms and result.delegate_ms]


def _times(results: Sequence[Result]) -> str:
    timed = sorted(_timed(results), key=lambda r: -(r.delegate_ms or 0) / (r.cpu_ms or 1))
    rows = "".join(
        f'<tr><td><code>{escape(r.name)}</code></td><td class="number">{r.delegate_ms:.3f} ms</td>'
        f'<td class="number">{r.cpu_ms:.3f} ms</td>'
        f'<td class="number">{(r.cpu_ms or 0) / (r.delegate_ms or 1):.2f}x</td></tr>'
        for r in timed[:SHOWN]
    )
    head = "<tr><th>slowest against the CPU first</th><th>delegate</th><th>CPU</th><th>speed</th></tr>"
    return f'<div class="wide"><table class="list">{head}{rows}</table></div>'


def _about(whole: Summary) -> str:
    facts = {
        "delegate": whole.delegate + "".join(f" {k}={v}" for k, v in whole.options.items()),
        "cases": whole.cases + (" (quick)" if whole.quick else ""),
        "precision": whole.precision,
        "rounding": whole.rounding,
        "reference": "tflgpu's CPU kernels" if whole.reference == "cpu" else "LiteRT's reference resolver",
        "made": whole.made,
        **whole.versions,
    }
    rows = "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in facts.items())
    return f'<table class="list facts">{rows}</table>'
