"""Writes docs/operators.md from the registry, and README's table of how many operators take each element type.

python docs/make_operators.py           writes the page
python docs/make_operators.py --check   exits with 1 where the page is not what the code says
"""

from __future__ import annotations

import sys
from pathlib import Path

from tflgpu.model.graph import DTYPES
from tflgpu.model.schema import BUILTIN_OPERATORS
from tflgpu.ops.registry import OPS, Op

PAGE = Path(__file__).parent / "operators.md"
README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- made by docs/make_operators.py -->\n", "<!-- until here -->\n"

HEAD = """# Operators

Made by `python docs/make_operators.py` from the registry of the CPU executor; CI fails where it is stale.
`types` are those that an operator's main input may have: a model with another is refused with an error that names the
operator, its version and this list. Versions go from 1 to the one shown. What a delegate takes also depends on shapes
and options: `tflgpu inspect MODEL --delegate NAME` gives the reason for every node that it does not take.
"""


def page() -> str:
    """The page's text."""
    builtin = {name: op for name, op in sorted(OPS.items()) if name in BUILTIN_OPERATORS}
    custom = {name: op for name, op in sorted(OPS.items()) if name not in BUILTIN_OPERATORS}
    tables = [f"## {len(builtin)} builtin operators", *_table(builtin), f"## {len(custom)} custom operators"]
    return HEAD + "\n" + "\n".join([*tables, *_table(custom)]) + "\n"


def _table(ops: dict[str, Op]) -> list[str]:
    rows = [
        f"| {name} | {op.version} | {_types(op)} | {op.run.__module__.removeprefix('tflgpu.')} |"
        for name, op in ops.items()
    ]
    return ["", "| operator | version | types | in |", "|---|---|---|---|", *rows, ""]


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
    pages = {PAGE: page(), README: readme()}
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
