"""Writes docs/operators.md from the registry: which operators there are, up to which version, with which types.

python docs/make_operators.py           writes the page
python docs/make_operators.py --check   exits with 1 where the page is not what the code says
"""

from __future__ import annotations

import sys
from pathlib import Path

from tflgpu.graph import DTYPES
from tflgpu.ops.registry import OPS, Op
from tflgpu.schema import BUILTIN_OPERATORS

PAGE = Path(__file__).parent / "operators.md"

HEAD = """# Operators

Made by `python docs/make_operators.py` from the registry of the CPU executor; CI fails where it is stale.
`types` are those that an operator's main input may have: a model with another is refused with an error that names the
operator, its version and this list. Versions go from 1 to the one shown. Which of these a delegate takes depends on
shapes and parameters besides: `tflgpu inspect MODEL --delegate NAME` gives the reason for every node that it does not.
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


def main() -> int:
    if sys.argv[1:] == ["--check"]:
        if not PAGE.exists() or PAGE.read_text() != page():
            print(f"{PAGE.name} is stale: python docs/make_operators.py", file=sys.stderr)
            return 1
        return 0
    PAGE.write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
