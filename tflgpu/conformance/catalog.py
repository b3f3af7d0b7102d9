"""Every case that there is, by name: of operators, of graphs, of the contract, and of random graphs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from tflgpu.conformance import contract, promises, random_graphs
from tflgpu.conformance.cases import GRAPHS, every
from tflgpu.conformance.cases.case import Case
from tflgpu.conformance.guards import Watched
from tflgpu.conformance.judge import judged
from tflgpu.conformance.settings import Settings
from tflgpu.conformance.verdicts import Result

RANDOM_GRAPHS, QUICK_RANDOM_GRAPHS = 120, 4
QUICK_TYPES = ("float32", "int8", "int32")
"""Those that a quick run has of operators that have them; each costs a GPU's delegate programs to compile."""
PLACED, SPECIAL = "every position]", "special]"
EDGES = (SPECIAL, "every value]", "ties]")
"""How the names of cases end that have a type's edges; PLACED: special values in every position."""


def names(pattern: str | None = None, quick: bool = False, seed: int = 0) -> list[str]:
    """Names in the order in which they run: contracts first, since what breaks one makes numbers moot.

    quick: only some of each operator and main type. seed: of the random graphs.
    """
    found = [*promises.NAMES, *GRAPHS, *(_quick() if quick else every())]
    count = QUICK_RANDOM_GRAPHS if quick else RANDOM_GRAPHS
    found += [random_graphs.name_of(seed * 100_000 + number) for number in range(count)]
    if not pattern:
        return found
    search = _searching(pattern)
    chosen = [name for name in found if search(name)]
    # A random graph may be asked for by its whole name, whether or not this run would have it.
    return chosen or ([pattern] if random_graphs.parsed(pattern) is not None else [])


def _searching(pattern: str) -> Callable[[str], bool]:
    try:
        search = re.compile(pattern).search
    except re.error:
        search = re.compile(re.escape(pattern)).search
    return lambda name: pattern in name or search(name) is not None


def _quick() -> Iterator[str]:
    """Of each operator and main type: the first case, the first with special values in every position, and the first
    with other edges of the type."""
    kinds: dict[str, dict[str, list[str]]] = {}
    for case in every().values():
        kinds.setdefault(case.op, {}).setdefault(case.type, []).append(case.name)
    for of_op in kinds.values():
        main = [type for type in of_op if type in QUICK_TYPES] or list(of_op)
        for type in main:
            placed = [name for name in of_op[type] if name.endswith(PLACED)][:1]
            ends = EDGES[1:] if placed else EDGES
            yield from dict.fromkeys([of_op[type][0], *placed, *[n for n in of_op[type] if n.endswith(ends)][:1]])


def found(name: str) -> Case | None:
    """The case of that name, None for a contract or where there is none."""
    case = every().get(name) or GRAPHS.get(name)
    if case is None and (wanted := random_graphs.parsed(name)) is not None:
        case = random_graphs.case(*wanted)
    return case


def run(name: str, delegate: Watched, settings: Settings) -> Result:
    """The result of one case by its name. Raises ValueError for a name that there is not."""
    if name in promises.NAMES:
        return contract.judged(name, delegate, settings)
    case = found(name)
    if case is None:
        raise ValueError(f"there is no case {name}")
    return judged(case, delegate, settings)
