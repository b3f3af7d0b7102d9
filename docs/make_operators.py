"""Writes docs/operators.md from the registry, and README's table of how many operators take each element type.

python docs/make_operators.py           writes the page
python docs/make_operators.py --check   exits with 1 where the page is not what the code says
"""

from __future__ import annotations

import sys
from pathlib import Path

from tflgpu.delegates import gpu as gpu  # which registers every lowering
from tflgpu.delegates.lowering.registry import LOWERINGS
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


FLEX = """TensorFlow's own operators, which its converter leaves in a model with `SELECT_TF_OPS`, run natively, and
those of `devices` on OpenCL and CUDA too; `ci/flex.sh` holds their results to TensorFlow's. Any other one is run by
TensorFlow, where that is installed: `pip install 'tflgpu[flex]'`. A regular expression is matched by Python's `re`, and
refused where that might take exponential time. `FlexSave` writes over no file but a checkpoint, and takes no name that
is a constant of the model.
"""


def page() -> str:
    """The page's text."""
    builtin = {name: op for name, op in sorted(OPS.items()) if name in BUILTIN_OPERATORS}
    others = {name: op for name, op in sorted(OPS.items()) if name not in BUILTIN_OPERATORS}
    flex = {name: op for name, op in others.items() if name.startswith("Flex")}
    custom = {name: op for name, op in others.items() if name not in flex}
    tables = [f"## {len(builtin)} builtin operators", *_table(builtin)]
    tables += [f"## {len(custom)} custom operators", *_table(custom), f"## {len(flex)} Flex operators", "", FLEX]
    return HEAD + "\n" + "\n".join([*tables, *_flex_table(flex)]) + "\n"


def _table(ops: dict[str, Op]) -> list[str]:
    rows = [
        f"| {name} | {op.version} | {_types(op)} | {op.run.__module__.removeprefix('tflgpu.')} |"
        for name, op in ops.items()
    ]
    return ["", "| operator | version | types | in |", "|---|---|---|---|", *rows, ""]


def _flex_table(ops: dict[str, Op]) -> list[str]:
    rows = []
    for name, op in ops.items():
        module, devices = op.run.__module__.removeprefix("tflgpu."), "yes" if _on_devices(name) else ""
        rows.append(f"| {name} | {_types(op)} | {devices} | {module} |")
    return ["| operator | types | devices | in |", "|---|---|---|---|", *rows, "| any other | any | | TensorFlow |"]


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
