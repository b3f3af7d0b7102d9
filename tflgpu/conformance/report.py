"""What a run found, summed up and written as JSON, JUnit XML and one HTML page."""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

import tflgpu
from tflgpu.conformance import catalog, html, levels, verdicts
from tflgpu.conformance.runner import counts
from tflgpu.conformance.settings import Settings
from tflgpu.conformance.verdicts import Result, Summary

ROUNDING = {
    "reference": "integers equal those of LiteRT's reference resolver, which rounds twice (gemmlowp)",
    "one-step": "8- and 16-bit results may differ by 1 from the reference's",
}


def summary(
    results: Sequence[Result],
    settings: Settings,
    seconds: float,
    quick: bool,
    cases: str | None,
    devices: Iterable[str] = (),
) -> Summary:
    """What a run found. devices: what the delegate says of the device, and its driver, on which it ran."""
    families: dict[str, list[Result]] = {}
    reasons: dict[str, int] = {}
    for result in results:
        families.setdefault(_family(result), []).append(result)
        if result.verdict == verdicts.NOT_DELEGATED:
            reasons[result.why] = reasons.get(result.why, 0) + 1
    level, why = levels.level(results, cases is None, settings.precision)
    return Summary(
        delegate=settings.delegate,
        options=settings.options,
        precision=settings.precision,
        rounding=ROUNDING[settings.rounding],
        reference=settings.reference,
        level=level,
        level_reason=f"by the quick cases; {why}" if quick else why,
        seconds=round(seconds, 1),
        counts=counts(results),
        families={family: counts(found) for family, found in families.items()},
        reasons=dict(sorted(reasons.items(), key=lambda item: -item[1])),
        cases=cases or "all",
        quick=quick,
        made=time.strftime("%Y-%m-%d %H:%M:%S"),
        versions={
            **({"device": "; ".join(sorted(devices))} if devices else {}),
            "tflgpu": tflgpu.__version__,
            "numpy": np.__version__,
            "python": sys.version.split()[0],
            "platform": platform.platform(),
        },
    )


def _family(result: Result) -> str:
    """Its own, or what its name tells where its process died."""
    case = None if result.family else catalog.found(result.name)
    return result.family or (case.family if case is not None else "contract")


def write(whole: Summary, results: Sequence[Result], folder: Path) -> list[Path]:
    """Writes report.json, report.xml (JUnit) and report.html; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    content: dict[str, Any] = {**asdict(whole), "results": [result.as_dict() for result in results]}
    files = [folder / "report.json", folder / "report.xml", folder / "report.html"]
    files[0].write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    files[1].write_text(junit(whole, results), encoding="utf-8")
    files[2].write_text(html.page(whole, results), encoding="utf-8")
    return files


def junit(whole: Summary, results: Sequence[Result]) -> str:
    """The results as JUnit XML: a suite a family, what is not delegated as skipped."""
    root = ElementTree.Element("testsuites", name=f"tflgpu conformance of {whole.delegate}", time=str(whole.seconds))
    suites: dict[str, ElementTree.Element] = {}
    for result in results:
        family = _family(result)
        if family not in suites:
            found = whole.families[family]
            failures = found.get(verdicts.FAILED, 0)
            suites[family] = ElementTree.SubElement(
                root,
                "testsuite",
                name=family,
                tests=str(sum(found.values())),
                failures=str(failures),
                errors=str(sum(found.get(v, 0) for v in verdicts.BAD) - failures),
                skipped=str(found.get(verdicts.NOT_DELEGATED, 0)),
            )
        case = ElementTree.SubElement(
            suites[family],
            "testcase",
            classname=f"{whole.delegate}.{family}",
            name=result.name,
            time=f"{result.elapsed_ms / 1e3:.4f}",
        )
        if result.verdict == verdicts.NOT_DELEGATED:
            ElementTree.SubElement(case, "skipped", message=_printable(result.why))
        elif result.bad:
            kind = "failure" if result.verdict == verdicts.FAILED else "error"
            told = ElementTree.SubElement(case, kind, type=result.verdict, message=_printable(result.why))
            told.text = _printable(f"{result.why}\nreproducer: {result.reproducer or 'none'}")
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _printable(text: str) -> str:
    """Without the control characters that XML has no way to write."""
    return "".join(c if c in "\n\t" or ord(c) >= 32 else "?" for c in text)
