"""For CPUs: element-wise kernels and copies as loops over rows of vectors, without a division for every element."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Launch, Ref

SMALL = 2048
"""Elements below which a second work-item costs more than it saves."""

FUNCTIONS = r"exp|expm1|log|sqrt|tanh|sin|cos|fabs|floor|ceil|rint|trunc"
HEXADECIMAL = re.compile(r"0x[0-9a-f.]+p[+-]?\d+f?")
WORDS = r"(?!.*f64)(?:[\s\d.f+\-*/(),=;<>?:]|\b(?:v\d+|t\d+|f32|clamp_f32|INFINITY{})\b)*"
ON_VECTORS = re.compile(WORDS.format(""))
"""What means the same of vectors as of floats: arithmetic, clamps, and choices by comparisons, but no functions."""
WITH_FUNCTIONS = re.compile(WORDS.format("|" + FUNCTIONS))


def on_vectors(text: str) -> str:
    """C of floats as C of vectors of them: declarations, casts and clamps."""
    return re.sub(r"\bf32\b", "VF", text).replace("clamp_f32", "clamp_v")


TERM = re.compile(r"\bi\b(?: / (\d+))?(?: % (\d+))?( \* )?")


@dataclass(frozen=True)
class Rows:
    """`rows` rows of `c` elements, which `items` work-items share, and of which the last takes the rest of n."""

    n: int
    rows: int
    items: int
    c: int

    @property
    def sizes(self) -> dict[str, int]:
        return {"n": self.n, "rows": self.rows, "items": self.items, "c": self.c}


def in_rows(
    groups: list[list[Any]],
    chains: Mapping[tuple[int, int], Any],
    root: Callable[[int], int],
    limits: DeviceLimits,
) -> None:
    """Puts loops over rows in place of launches of `groups` where there are such.

    chains: the fuse.Chain of each element-wise launch, by group and place. root: whose storage a tensor shares.
    """
    if not limits.cpu:
        return
    for g, group in enumerate(groups):
        for s, step in enumerate(group):
            if not isinstance(step, Launch):
                continue
            if step.kernel == "movement.move":
                group[s] = _moved(step, limits) or step
            elif step.stem in ("elementwise", "chain") and (g, s) in chains:
                read = {root(buffer.tensor) for buffer in step.reads if isinstance(buffer, Ref)}
                # Elements that two vectors compute must not change between them.
                in_place = root(chains[g, s].out.tensor) in read
                group[s] = step if in_place else _computed(chains[g, s], limits) or step


def _computed(chain: Any, limits: DeviceLimits) -> Launch | None:
    if chain.out_type != "f32" or any(kind != "f32" for _, kind, _ in chain.inputs):
        return None
    # PoCL 3.0's functions on vectors are other ones than on floats.
    allowed = WITH_FUNCTIONS if limits.vector >= 16 else ON_VECTORS
    if not allowed.fullmatch(HEXADECIMAL.sub("", " ".join([*chain.steps, chain.expression]))):
        return None
    split = _split(chain.n, [at for _, _, at in chain.inputs], limits)
    lanes = 0 if split is None else _lanes(split, limits)
    if split is None or not lanes:
        return None
    places = [by_rows(at, split.c) for _, _, at in chain.inputs]
    loads = [
        f"VF v{k} = {f'VLOAD(x{k} + {row} + k)' if across else f'x{k}[{row}]'};"
        for k, (row, across) in enumerate(places)
    ]
    defines = {
        "VW": lanes,
        "INPUTS": "".join(f"IN(f32) x{k}, " for k in range(len(places))),
        "LOADS": " ".join(loads),
        "STEPS": on_vectors(" ".join(chain.steps)),
        "EXPR": f"(VF)({on_vectors(chain.expression)})",
        "OUT_T": "f32",
    }
    inputs = {f"x{k}": buffer for k, (buffer, _, _) in enumerate(chain.inputs)}
    outputs = {"out": chain.out}
    return Launch("rows.element_rows", (split.items,), (1,), inputs, outputs, split.sizes, defines=defines)


WORD = {"u8": "uchar", "u16": "ushort", "u32": "uint", "u64": "ulong"}


def _moved(launch: Launch, limits: DeviceLimits) -> Launch | None:
    x_at, out_at = str(launch.defines["X_AT"]), str(launch.defines["OUT_AT"])
    n = launch.sizes["n"]
    assert isinstance(n, int)
    split = _split(n, [x_at, out_at], limits)
    lanes = 0 if split is None else _lanes(split, limits, 8 if launch.defines["T"] == "u64" else 4)
    if split is None or not lanes:
        return None
    (x_row, across), (out_row, filled) = by_rows(x_at, split.c), by_rows(out_at, split.c)
    if not filled:
        return None
    defines: dict[str, object] = {"T": WORD[str(launch.defines["T"])], "X_ROW": x_row, "OUT_ROW": out_row}
    defines |= {"LANES": lanes, "GET": f"vload{lanes}", "PUT": f"vstore{lanes}"} | ({} if across else {"SCALAR": 1})
    sizes = {**split.sizes, "x_start": launch.sizes["x_start"], "out_start": launch.sizes["out_start"]}
    return Launch("rows.move_rows", (split.items,), (1,), launch.inputs, launch.outputs, sizes, defines=defines)


def _lanes(split: Rows, limits: DeviceLimits, nbytes: int = 4) -> int:
    """As many of elements of up to nbytes as the narrowest row has and a vector holds; 0 where that is too few."""
    most = min(split.c, split.n - (split.rows - 1) * split.c, limits.vector * 4 // nbytes)
    return next((lanes for lanes in (16, 8, 4) if lanes <= most), 0)


def _split(n: int, indices: Sequence[str], limits: DeviceLimits) -> Rows | None:
    """Rows in which every index only counts on or stands still; None where there are none."""
    terms = [(int(by or 1), int(of or 0)) for at in indices for by, of, _ in TERM.findall(at)]
    sizes = {by for by, _ in terms if by > 1} | {of for by, of in terms if by == 1 and of}
    most = limits.units * 4
    if not n:
        return None
    if not sizes and any(by_rows(at, 1) is None for at in indices):
        return None
    if not sizes:
        # Chunks as even as whole vectors allow.
        items = max(1, min(most, n // SMALL))
        c = (-(-n // items) + 15) // 16 * 16
        return Rows(n, max(n // c, 1), max(n // c, 1), c)
    c = min(sizes)
    if c < 4 or n % c or any(size % c for size in sizes) or any(by_rows(at, c) is None for at in indices):
        return None
    rows = n // c
    return Rows(n, rows, max(1, min(most, rows, n // SMALL)), c)


def by_rows(at: str, c: int) -> Any:
    """C for where an index stands at the start of row r, and whether it counts on from there; None where neither."""
    across: list[bool] = []

    def of_row(found: re.Match[str]) -> str:
        by, of, times = int(found[1] or 1), int(found[2] or 0), found[3]
        if by == 1:
            across.append(times is None)
            row = "0" if of == c else f"r * {c}" if not of else f"r % {of // c} * {c}"
        else:
            row = "r" if by == c else f"r / {by // c}"
            row += f" % {of}" if of else ""
        return row + (times or "")

    text = TERM.sub(of_row, at)
    return None if across and across != [True] else (text, bool(across))
