"""What gpu.py measured: one file of JSON and its tables in Markdown, written anew after every model."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

WAYS = ("set_tensor", "pinned", "bound")
"""How an input gets to the GPU: copied into the interpreter's array first; from there, as PyTorch copies its own; not
at all, since it is on the GPU."""


class Results:
    """The results of one device and day; what earlier phases have written is read first."""

    def __init__(self, folder: Path, device: str):
        date = datetime.date.today().isoformat()
        stem = re.sub(r"\W+", "-", device.split(" (")[0]).strip("-").lower() + f"-{date}"
        self._file = folder / f"{stem}.json"
        self._found: dict[str, Any] = {"device": device, "date": date, "ceilings": {}, "models": {}}
        folder.mkdir(parents=True, exist_ok=True)
        if self._file.exists():
            self._found |= json.loads(self._file.read_text())

    def of(self, model: str, batch: int, kind: str, precision: str) -> dict[str, Any]:
        """The entry of a model, to which measurements are added."""
        name = f"{model}, batch {batch}, {kind if precision == 'fp32' else f'{kind} {precision}'}"
        entry: dict[str, Any] = self._found["models"].setdefault(name, {})
        return entry

    @property
    def device(self) -> str:
        return str(self._found["device"])

    def ceilings(self, found: Mapping[str, Any]) -> None:
        self._found["ceilings"] = dict(found)

    def write(self) -> None:
        for path, text in ((self._file, json.dumps(self._found, indent=1) + "\n"), (self._table, self.table())):
            beside = path.with_suffix(".new")
            beside.write_text(text)
            beside.replace(path)

    @property
    def _table(self) -> Path:
        return self._file.with_suffix(".md")

    @property
    def failed(self) -> list[str]:
        """Models of which something went wrong."""
        return [name for name, entry in self._found["models"].items() if "error" in json.dumps(entry.get("tflgpu", {}))]

    def table(self) -> str:
        """The results as Markdown."""
        columns = [*WAYS, "modelled", "tuned", "PyTorch eager", "graph", "TFLOP/s", "of the card's", "difference"]
        rows = [f"| model | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
        rows += [self._row(name, entry) for name, entry in self._found["models"].items()]
        ceilings = {name: value for name, value in self._found["ceilings"].items() if name != "error"}
        reaches = ", ".join(f"{name} {value:.3g}" for name, value in ceilings.items())
        head = (
            f"{self._found['device']}, {self._found['date']}, milliseconds; modelled: benchmarks/cost.py, not measured."
        )
        return "\n".join([head, f"The card reaches {reaches or '-'}.", "", *rows, "", *self._kernels(), ""])

    def _row(self, name: str, entry: Mapping[str, Any]) -> str:
        ours, torch = entry.get("tflgpu", {}), entry.get("torch", {})
        times = [ours.get(way, {}).get("median_ms") for way in WAYS]
        times += [entry.get("modelled", {}).get("ms"), entry.get("tuned", {}).get("pinned", {}).get("median_ms")]
        times += [torch.get(way, {}).get("median_ms") for way in ("eager", "graph")]
        cells = [f"{t:.3f}" if t else "-" for t in times]
        got = self._achieved(name, entry)
        cells += [f"{got['flop_per_s'] / 1e12:.2f}" if got else "-"]
        cells += [f"{got['of_ceiling']:.0%}" if "of_ceiling" in got else "-"]
        cells += [f"{ours['difference']:.1e}" if "difference" in ours else str(ours.get("error", "-"))[:60]]
        return f"| {name} | {' | '.join(cells)} |"

    def _achieved(self, name: str, entry: Mapping[str, Any]) -> dict[str, float]:
        """FLOP/s of a model's GEMMs over its whole latency, and what that is of the card's for their type, if known."""
        took = entry.get("tflgpu", {}).get("pinned", {}).get("median_ms")
        if took is None:
            return {}
        rate = 2 * entry["multiplications"] / took * 1e3
        kind = name.split(", ")[-1].split()[-1].replace("float32", "fp32")
        ceiling = self._found["ceilings"].get(f"{kind}_flop_per_s")
        return {"flop_per_s": rate} | ({"of_ceiling": rate / ceiling} if ceiling else {})

    def _kernels(self) -> list[str]:
        """The kernels of each model that was profiled, the slowest first: time, and bytes given a second."""
        rows = ["| model | kernel | launches | ms | GB/s | of a copy |", "|---|---|---|---|---|---|"]
        copy = self._found["ceilings"].get("bytes_per_s")
        for model, entry in self._found["models"].items():
            for name, of in sorted(entry.get("kernels", {}).items(), key=lambda item: -item[1]["ms"]):
                share = f"{of['bytes_per_s'] / copy:.0%}" if copy else "-"
                cells = [model, name, f"{of['launches']:g}", f"{of['ms']:.4f}", f"{of['bytes_per_s'] / 1e9:.0f}", share]
                rows.append(f"| {' | '.join(cells)} |")
        return rows
