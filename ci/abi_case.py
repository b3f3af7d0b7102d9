"""One model of the corpus or the zoo with LiteRT's answers: run by interpreters, judged, and compared between them."""

from __future__ import annotations

import functools
import importlib.util
import io
import json
import zipfile
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

CORPUS = Path(__file__).parent.parent.parent / "shared" / "corpus"
_TOLERANCE = Namespace(atol=1e-4, rtol=1e-4, near=1e-5)
"""compare.py's own defaults."""

Array = Any


@dataclass(frozen=True)
class Case:
    """invokes: the inputs of each invoke in a row. wanted: its outputs. judge: (number of an output, got, want) -> what
    is wrong with it. refused: whether an error is the right answer."""

    name: str
    ops: list[str]
    model: bytes
    resolver: str
    resize: Sequence[Sequence[int] | None]
    invokes: list[list[Array]]
    wanted: list[list[Array]]
    judge: Callable[[int, Array, Array], str]
    refused: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of a case: outputs, flat over the invokes, or an error; left: why the delegate left nodes."""

    outputs: list[Array] | None = None
    error: str = ""
    partitions: int = 0
    nodes: int = 0
    left: Sequence[str] = ()


@functools.cache
def script(name: str) -> ModuleType:
    """A program of the corpus, as a module."""
    spec = importlib.util.spec_from_file_location(name, CORPUS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def records(zoo: bool) -> dict[str, dict[str, Any]]:
    """What is told of every case, by its name."""
    if zoo:
        rows = json.loads((CORPUS / "zoo" / "manifest.json").read_text())
        return {f"zoo/{row['name']}": row for row in rows if row.get("litert_runs")}
    lines = (CORPUS / "ops" / "manifest.jsonl").read_text().splitlines()
    return {f"{row['group']}/{row['case']}": row for row in map(json.loads, lines)}


def load(name: str) -> Case:
    """The case of a name."""
    return _zoo_case(name) if name.startswith("zoo/") else _corpus_case(name)


def _zoo_case(name: str) -> Case:
    record = records(True)[name]
    stem = record["name"]
    models, golden = (zipfile.ZipFile(CORPUS / "zoo" / f"{kind}.zip") for kind in ("models", "golden"))
    known = np.load(io.BytesIO(golden.read(f"{stem}.npz")), allow_pickle=True)
    suffixes = ["", *(f"_s{invoke}" for invoke in range(1, 8) if f"out_0_s{invoke}" in known.files)]
    invokes = [script("zoo").inputs(known, suffix) for suffix in suffixes]
    count = sum(f"out_{i}" in known.files for i in range(64))
    wanted = [[known[f"out_{i}{suffix}"] for i in range(count)] for suffix in suffixes]
    tolerance = 1e-3 if record["kind"] in ("fp32", "fp16w", "fp32++sparse") else 2e-2

    def judge(number: int, got: Array, want: Array) -> str:
        good, figure = script("zoo").judge(got, want, tolerance)
        return "" if good else f"off by {figure:.3g}"

    model = models.read(f"{stem}.tflite")
    resize = [list(x.shape) for x in invokes[0]]
    return Case(name, [], model, record["golden"]["from"].split()[0], resize, invokes, wanted, judge)


def _corpus_case(name: str) -> Case:
    compare, record = script("compare"), records(False)[name]
    ops = sorted({op.split("@")[0] for op in record["ops"]})
    model = compare.member(compare.HERE, record, ".tflite")
    refused = record["group"] in ("invalid", "rejected")
    inputs: list[Array] = []
    wanted: list[Array] = []
    if not refused or record.get("has_inputs"):
        known = np.load(io.BytesIO(compare.member(compare.HERE, record, ".npz")), allow_pickle=True)
        inputs = [known[f"in_{i}"] for i in range(len(record["input_shapes"]))]
        wanted = [] if refused else [known[f"out_{i}"] for i in range(len(record["output_shapes"]))]
    resize = [list(x.shape) for x in inputs] if refused else record.get("resize") or []
    for i, type in enumerate(record.get("input_dtypes") or []):
        if type == "bfloat16" and inputs:
            import ml_dtypes

            inputs[i] = inputs[i].view(ml_dtypes.bfloat16)

    def judge(number: int, got: Array, want: Array) -> str:
        if got is None:
            return "" if str(number) in record.get("get_error", {}) else "no value"
        type, step = record["output_dtypes"][number], record["dequant_step"][number]
        found: str = compare.compare_one(got, want, type, record["random"], step, _TOLERANCE)[1]
        return found

    resolver = record.get("resolver", "BUILTIN_REF")
    return Case(name, ops, model, resolver, resize, [inputs], [wanted], judge, refused)


def run(interpreter: Any, case: Case) -> Outcome:
    """The case in an interpreter that was made of its model; what it raises is the outcome's error."""
    for detail, shape in zip(interpreter.get_input_details(), case.resize, strict=False):
        if shape is not None and list(detail["shape"]) != list(shape):
            interpreter.resize_tensor_input(detail["index"], shape)
    interpreter.allocate_tensors()
    outputs = []
    for values in case.invokes:
        details = interpreter.get_input_details()
        if not values and details:
            values = [_zeros(detail) for detail in details]
        for detail, value in zip(details, values, strict=True):
            interpreter.set_tensor(detail["index"], value)
        interpreter.invoke()
        outputs += [_value(interpreter, detail) for detail in interpreter.get_output_details()]
    names = [detail["op_name"] for detail in interpreter._get_ops_details()]
    partitions = names.count("DELEGATE")
    return Outcome(outputs, partitions=partitions, nodes=len(names) - partitions)


def _zeros(detail: dict[str, Any]) -> Array:
    type = np.dtype(detail["dtype"])
    return (
        np.full(tuple(detail["shape"]), b"", object) if type.kind in "SUO" else np.zeros(tuple(detail["shape"]), type)
    )


def _value(interpreter: Any, detail: dict[str, Any]) -> Array | None:
    try:
        return np.asarray(interpreter.get_tensor(detail["index"]))
    except ValueError:  # LiteRT does not hand out an empty dynamic tensor
        return None


def wrong(case: Case, outputs: Sequence[Array | None], wanted: Sequence[Array] | None = None) -> str:
    """What is wrong with outputs, beside LiteRT's answers or others; nothing where they agree."""
    count = len(case.wanted[0])
    want = [y for invoke in case.wanted for y in invoke] if wanted is None else wanted
    if len(outputs) != len(want):
        return f"{len(outputs)} outputs, not {len(want)}"
    for i, (got, right) in enumerate(zip(outputs, want, strict=True)):
        if got is None and right is None:
            continue
        if right is not None and getattr(right.dtype, "name", "") == "bfloat16":
            right = right.view(np.uint16)
        text = case.judge(i % count, got, right)
        if text:
            return f"output {i % count}: {text}"
    return ""


def same_bits(a: Sequence[Array | None], b: Sequence[Array | None]) -> bool:
    """Whether two interpreters gave the same to the bit, a NaN being a NaN."""
    return len(a) == len(b) and all(map(_same, a, b))


def _same(a: Array | None, b: Array | None) -> bool:
    if a is None or b is None or a.dtype != b.dtype or a.shape != b.shape:
        return a is b
    if a.dtype == object:
        return bool(np.array_equal(a, b))
    if a.dtype.kind in "fc" or a.dtype.name == "bfloat16":
        return bool(np.all((a == b) | ((a != a) & (b != b))))
    return a.tobytes() == b.tobytes()
