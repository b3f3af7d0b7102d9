"""The planted faults: a text of a source file, replaced by another. They stand in the *.faults files beside this one.

FILE delegates/kernels/svdf.h        the file; `ON emulator` where CUDA's emulator is to run the cases
CASES ^SVDF                          a pattern of the kit's cases that should see the faults that follow

zero point                           a kind; then the text, which is there exactly once, and what replaces it
-((ACC_T)now - state_zero)
+((ACC_T)now)
= why no case can see it             only where none can
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from checkout import ROOT

KINDS = {
    "rounding": "a tie, a carry or a precision lost",
    "range": "a clamp, a saturation or an overflow forgotten",
    "edge": "off by one at the edge of an image, a row, a vector or a range",
    "nan": "NaN, infinities or equal values in the wrong order",
    "zero point": "a zero point, a scale or a sign forgotten",
    "operands": "operands, axes or strides swapped",
    "epilogue": "a fused step lost, twice, or in another order",
    "padding": "padding or dilation folded wrongly",
    "stale": "memory that another launch still needs, or that none has written",
    "barrier": "launches that do not wait for one another",
    "loop": "variables of loops swapped, lost or overwritten too early",
    "variable": "a state or a resource variable lost",
    "recurrent": "a clip, a gate, a projection or a row of a batch wrong",
    "bounds": "an index that is not checked, or checked wrongly",
    "batch": "the first row, image or matrix taken for all",
    "residency": "a tensor taken for current where it is not",
    "plan": "what was made for other shapes, kept",
}


@dataclass(frozen=True)
class Fault:
    """path: the file, from the repository's root. device: the OpenCL device that runs the cases, or "emulator".

    cases: a pattern of their names. survives: why none can see the fault; "" where one must.
    """

    kind: str
    path: str
    old: str
    new: str
    cases: str
    device: str
    survives: str

    @property
    def name(self) -> str:
        """The same as long as file and texts are."""
        digest = sha256("\0".join((self.path, self.old, self.new)).encode()).hexdigest()
        return f"{Path(self.path).name}-{digest[:6]}"

    def planted(self) -> str:
        """The file's text with the fault. Raises ValueError where the old text is not there exactly once."""
        text = (ROOT / self.path).read_text()
        if text.count(self.old) != 1:
            raise ValueError(f"{self.path} has {self.old!r} {text.count(self.old)} times")
        return text.replace(self.old, self.new)


@cache
def every() -> tuple[Fault, ...]:
    """All faults, in the order of their files."""
    tables = sorted(Path(__file__).parent.glob("*.faults"))
    return tuple(fault for table in tables for fault in read(table.read_text()))


def read(text: str) -> Iterator[Fault]:
    """The faults of a table. Raises ValueError for a kind that there is not."""
    path = cases = ""
    device = "intel"
    for block in text.split("\n\n"):
        lines = [line for line in block.split("\n") if line]
        head = [line for line in lines if line.startswith(("FILE ", "CASES "))]
        fault = [line for line in lines if line not in head]
        if fault and fault[0] in KINDS:
            yield _fault(fault, path, cases, device)
        elif fault:
            raise ValueError(f"{fault[0]!r} is no kind; there are {', '.join(KINDS)}")
        for line in head:
            name, _, value = line.partition(" ")
            if name == "FILE":
                path, _, on = value.partition(" ON ")
                device = on or "intel"
            else:
                cases = value


def _fault(lines: list[str], path: str, cases: str, device: str) -> Fault:
    old, new = ("\n".join(line[1:] for line in lines[1:] if line[0] == sign) for sign in "-+")
    why = " ".join(line[2:] for line in lines[1:] if line.startswith("= "))
    return Fault(lines[0], path, old, new, cases, device, why)
