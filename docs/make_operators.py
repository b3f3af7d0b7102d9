"""Writes docs/operators.md and docs/flex.md from the registry, and README's counts of operators by element type.

python docs/make_operators.py           writes the pages
python docs/make_operators.py --check   exits with 1 where they are not what the code says
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tflgpu.delegates import gpu as gpu  # which registers every lowering
from tflgpu.delegates.lowering.registry import LOWERINGS
from tflgpu.model.graph import DTYPES
from tflgpu.model.schema import BUILTIN_OPERATORS
from tflgpu.ops.registry import OPS, Op

PAGE = Path(__file__).parent / "operators.md"
FLEX_PAGE = PAGE.with_name("flex.md")
SURVEY = PAGE.with_name("flex_survey.json")
"""Functions of TensorFlow, each with the Flex operators that the converter leaves: "" for none, null where it fails."""

README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- made by docs/make_operators.py -->\n", "<!-- until here -->\n"

HEAD = """# Operators

Made by `python docs/make_operators.py` from the registry of the CPU executor; CI fails where it is stale.
`types` are those that an operator's main input may have: a model with another is refused with an error that names the
operator, its version and this list. Versions go from 1 to the one shown. What a delegate takes also depends on shapes
and options: `tflgpu inspect MODEL --delegate NAME` gives the reason for every node that it does not take.
"""


FLEX_HEAD = """# Flex operators

TensorFlow's own operators, which its converter leaves in a model with `SELECT_TF_OPS`. Made by
`python docs/make_operators.py`; `ci/flex.sh` holds results to TensorFlow's.

- Those of [the second table](#operators) run natively: no TensorFlow is needed. Those of `devices` run on OpenCL and
  CUDA too, the rest on the CPU beside a delegate's partitions.
- Any other one is run by TensorFlow, where that is installed (`pip install 'tflgpu[flex]'`), unless it touches more
  than its inputs and outputs: a model reads no file and starts no program.
- What neither has is named in the error; [`tflgpu.custom_op`](delegates.md#custom-operators) takes it from you.

A regular expression is matched by Python's `re`, and refused where that might take exponential time. `FlexSave` writes
over no file but a checkpoint; it and `FlexRestore` take only names that the caller gives, none that the model has as a
constant or computes.
"""


def page() -> str:
    """The page's text."""
    builtin = {name: op for name, op in sorted(OPS.items()) if name in BUILTIN_OPERATORS}
    custom = {n: op for n, op in sorted(OPS.items()) if n not in BUILTIN_OPERATORS and not n.startswith("Flex")}
    tables = ["## Builtin operators", "", f"{len(builtin)} of them.", *_table(builtin)]
    tables += ["## Custom operators", "", f"{len(custom)} of them.", *_table(custom)]
    return HEAD + "\n" + "\n".join(tables) + "\nTensorFlow's own operators have [a page](flex.md) of their own.\n"


def flex_page() -> str:
    """The page of Flex operators."""
    survey: dict[str, str | None] = json.loads(SURVEY.read_text())
    builtin = [name for name, ops in survey.items() if ops == ""]
    unconverted = [name for name, ops in survey.items() if ops is None]
    leaving = {name: ops.split() for name, ops in survey.items() if ops}
    native = sum(all(op in OPS for op in ops) for ops in leaving.values())
    flex = {name: op for name, op in sorted(OPS.items()) if name.startswith("Flex")}
    lines = [
        FLEX_HEAD,
        f"## {len(survey)} functions",
        "",
        f"What TensorFlow 2.21's converter makes of them. {len(leaving)} leave Flex operators; tflgpu runs {native} of "
        "these natively:",
        "",
        "| function | operators | run by |",
        "|---|---|---|",
        *(f"| {name} | {' '.join(ops)} | {_run_by(ops)} |" for name, ops in leaving.items()),
        "",
        f"{len(builtin)} become builtin operators: {', '.join(builtin)}.",
        "",
        f"{len(unconverted)} were not converted, with `SELECT_TF_OPS` neither: {', '.join(unconverted)}.",
        "",
        "## Operators",
        "",
        f"{len(flex)} run natively.",
        "",
        "| operator | types | devices | in |",
        "|---|---|---|---|",
        *(_flex_row(name, op) for name, op in flex.items()),
    ]
    return "\n".join(lines) + "\n"


def _flex_row(name: str, op: Op) -> str:
    devices = "yes" if _on_devices(name) else ""
    return f"| {name} | {_types(op)} | {devices} | {op.run.__module__.removeprefix('tflgpu.')} |"


def _run_by(ops: list[str]) -> str:
    if not all(op in OPS for op in ops):
        return "TensorFlow"
    return "CPU and devices" if all(map(_on_devices, ops)) else "CPU"


def _table(ops: dict[str, Op]) -> list[str]:
    rows = [
        f"| {name} | {op.version} | {_types(op)} | {op.run.__module__.removeprefix('tflgpu.')} |"
        for name, op in ops.items()
    ]
    return ["", "| operator | version | types | in |", "|---|---|---|---|", *rows, ""]


def _on_devices(name: str) -> bool:
    return name in LOWERINGS or OPS[name].style in ("view", "alias") or bool(OPS[name].bodies)


def _types(op: Op) -> str:
    if not op.types:
        return "any" if op.typed_input == 0 else ""
    which = "" if op.typed_input == 0 else f" (input {op.typed_input})"
    return " ".join(t.lower() for t in DTYPES if t in op.types) + which


def readme() -> str:
    """README's text with its table as it should be."""
    before, _, rest = README.read_text().partition(BEGIN)
    return before + BEGIN + _counts() + END + rest.partition(END)[2]


def _counts() -> str:
    """How many builtin operators take each element type at their main input."""
    builtin = [op for name, op in OPS.items() if name in BUILTIN_OPERATORS]
    counts = {t: sum(not op.types or t in op.types for op in builtin) for t in DTYPES}
    shown = [(t.lower(), str(n)) for t, n in sorted(counts.items(), key=lambda item: -item[1])]
    rows = [shown[i : i + 8] for i in range(0, len(shown), 8)]
    tables = []
    for row in rows:
        names, numbers = zip(*row, strict=True)
        tables.append(f"| {' | '.join(names)} |\n|{'---|' * len(row)}\n| {' | '.join(numbers)} |\n")
    return "\n".join(tables)


def main() -> int:
    pages = {PAGE: page(), FLEX_PAGE: flex_page(), README: readme()}
    if sys.argv[1:] == ["--check"]:
        stale = [path.name for path, text in pages.items() if not path.exists() or path.read_text() != text]
        if stale:
            print(f"stale: {', '.join(stale)}; run python docs/make_operators.py", file=sys.stderr)
        return bool(stale)
    for path, text in pages.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
