"""Models of the conformance kit's cases with a few things changed by the schema: what ci/fuzz.py runs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from tflgpu.conformance.cases import GRAPHS, every
from tflgpu.model.graph import Array
from tflgpu.model.schema import ENUMS, SCALARS, TABLES, UNIONS, Field
from tflgpu.model.verifier import read_model
from tflgpu.model.writer import Values, serialize, values_of

NUMBERS = (0, 1, 2, 3, 4, 5, 7, 8, 16, 100, 127, 128, 255, 256, 1000, 65535, 2**24, 2**31 - 1, 2**31, 2**32, 2**63 - 1)
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-30, 1e30, -1e30, float("inf"), float("nan"))


def as_list(array: Array) -> bytes | list[Any]:
    """A vector of numbers as something of which one can be changed."""
    return array.tobytes() if array.dtype == np.uint8 else array.tolist()


@cache
def seed_model(name: str) -> bytes:
    return (every().get(name) or GRAPHS[name]).sample().model


def tables_in(values: Values, name: str) -> Iterator[tuple[Values, str]]:
    """The table and all that it refers to, with the names of their types."""
    yield values, name
    for field in TABLES[name]:
        value = values.get(field.name)
        if value is None:
            continue
        if field.kind == "union":
            yield from tables_in(value[1], value[0])
        elif field.kind == "table":
            yield from tables_in(value, field.type)
        elif field.kind == "vector" and field.type in TABLES:
            for one in value:
                yield from tables_in(one, field.type)


class Mutator:
    """Changes to the values of one model. rng: decides all."""

    def __init__(self, rng: random.Random, other: Values):
        self._rng, self._other = rng, other

    def change(self, model: Values) -> None:
        """Changes one field of one table."""
        tables = [(values, name) for values, name in tables_in(model, "Model") if TABLES[name]]
        kinds = sorted({name for _, name in tables})
        kind = self._rng.choice([*kinds, "Tensor", "Operator", "Buffer"])
        candidates = [values for values, name in tables if name == kind]
        if candidates:
            self._change(self._rng.choice(candidates), self._rng.choice(TABLES[kind]))

    def _change(self, values: Values, field: Field) -> None:
        rng, old = self._rng, values.get(field.name)
        if old is not None and rng.random() < 0.05:
            del values[field.name]
        elif field.kind in ("scalar", "enum"):
            values[field.name] = self._number(field.type, old)
        elif field.kind == "union":
            names = [name for name in UNIONS[field.type] if name in TABLES]
            values[field.name] = (rng.choice(names), {})
        elif field.kind == "vector" and field.type in TABLES:
            self._tables(values, field, list(old or ()))
        elif field.kind == "vector":
            self._vector(values, field, old)

    def _number(self, type_: str, old: Any) -> Any:
        rng = self._rng
        if type_ in ENUMS:
            return rng.choice([*ENUMS[type_].numbers, 100])
        letter = SCALARS[type_]
        if letter in "fd":
            return rng.choice(FLOATS)
        if letter == "?":
            return not old
        info = np.iinfo(np.dtype(letter))
        near = [old + by for by in (-1, 1) if isinstance(old, int)]
        fitting = [n for n in (*NUMBERS, *(-n for n in NUMBERS), *near, *near) if info.min <= n <= info.max]
        return rng.choice(fitting)

    def _tables(self, values: Values, field: Field, old: list[Values]) -> None:
        """Removes, repeats or exchanges an element, or takes one of another model."""
        rng = self._rng
        elsewhere = [one for one, name in tables_in(self._other, "Model") if name == field.type]
        at = rng.randrange(len(old)) if old else 0
        act = rng.randrange(4)
        if act == 0 and old:
            del old[at]
        elif act == 1 and old:
            old.insert(rng.randrange(len(old) + 1), old[at])
        elif act == 2 and old:
            other = rng.randrange(len(old))
            old[at], old[other] = old[other], old[at]
        elif elsewhere:
            old[at : at + 1] = [rng.choice(elsewhere)]
        values[field.name] = old

    def _vector(self, values: Values, field: Field, old: Any) -> None:
        rng = self._rng
        if isinstance(old, bytes):
            values[field.name] = self._bytes(old)
            return
        found = list(old or ())
        at = rng.randrange(len(found)) if found else 0
        if found and rng.random() < 0.2:
            del found[at]
        elif found and rng.random() < 0.8:
            found[at] = self._number(field.type, found[at])
        else:
            found.insert(at, self._number(field.type, None))
        values[field.name] = found

    def _bytes(self, old: bytes) -> bytes:
        rng, data = self._rng, bytearray(old)
        if len(data) >= 4 and rng.random() < 0.6:
            at = rng.randrange(len(data) // 4) * 4
            number = rng.choice([n for n in NUMBERS if n < 2**31]) * rng.choice((1, 1, -1))
            data[at : at + 4] = number.to_bytes(4, "little", signed=True)
        elif data and rng.random() < 0.6:
            data[rng.randrange(len(data))] = rng.randrange(256)
        elif rng.random() < 0.5:
            del data[rng.randrange(len(data) + 1) :]
        else:
            data += bytes(rng.randrange(1, 65))
        return bytes(data)


def mutant(seed: str, names: list[str]) -> tuple[str, Values | bytes]:
    """The case that it is made of, and the model: its values, or bytes where these were changed."""
    rng = random.Random(seed)
    name, other = rng.choice(names), rng.choice(names)
    if rng.random() < 0.1:
        content = bytearray(seed_model(name))
        for _ in range(rng.randrange(1, 5)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        return name, bytes(content)
    model, donor = (values_of(read_model(seed_model(one)), "Model", as_list) for one in (name, other))
    mutator = Mutator(rng, donor)
    for _ in range(rng.choice((1, 1, 2, 2, 3, 4))):
        mutator.change(model)
    return name, model


def content_of(model: Values | bytes) -> bytes:
    """The file; nothing where the writer has no way to write it."""
    try:
        return model if isinstance(model, bytes) else serialize(model)
    except (OverflowError, TypeError, ValueError, KeyError, AttributeError):
        return b""
