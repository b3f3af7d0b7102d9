"""The corpus, or the zoo, across TensorFlow Lite's C ABI: our delegates in its interpreters, native ones in ours.

    python ci/abi_corpus.py guest [--delegate opencl] [--options device=intel]
    python ci/abi_corpus.py host [--library PATH]
        [--peer tflite_runtime.interpreter] [--zoo] [--only REGEX] [--sample 0/4] [--results FILE] [--jobs 1]

guest: LiteRT, or another with its interface, with our delegate; beside it, our interpreter with that delegate.
host: our interpreter with a native delegate (XNNPACK out of the tflite-runtime wheel, or a library's); beside it, the
peer's interpreter with the same; where that refuses, its interpreter with the model in which our folding has made all
shapes constant. Each is judged by LiteRT's answers, as compare.py and zoo.py do, and beside the other.
Cases run in worker processes: a crash or a time-out is a verdict. Results are stored in a file; a second call resumes
from it. The corpus and the zoo are looked for in ../shared/corpus, beside the checkout. Verdicts:

    equal          LiteRT's answer, and at least one partition was the delegate's
    not delegated  LiteRT's answer; no partition was the delegate's
    refused alike  an error without the delegate too, or with a native one in its own runtime; of models that are to be
                   refused, any error
    as beside      not LiteRT's answer, but what the interpreter beside it gives
    as without     not LiteRT's answer, but what the same interpreter gives without the delegate
    refused, differs, crash, time-out   everything else: the exit status is 1
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from abi_case import CORPUS, Case, Outcome, load, records, run, same_bits, wrong
from abi_workers import BAD, collect
from static_model import static_model

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from abi.xnnpack import XnnPack, library

Made = Callable[[Case], tuple[Any, Any]]
"""Makes an interpreter of a case, and the delegate in it."""


def stages(arguments: argparse.Namespace) -> dict[str, Made]:
    """The interpreters that run a case, by name: the one in question, the one beside it, and the first without."""
    import tflgpu

    peer = importlib.import_module(arguments.peer)
    options = dict(pair.split("=", 1) for pair in arguments.options.split(",") if pair)

    def google(case: Case, delegates: list[Any], model: bytes | None = None) -> Any:
        kernels = getattr(peer.OpResolverType, arguments.resolver or case.resolver)
        return peer.Interpreter(
            model_content=model or case.model,
            experimental_delegates=delegates or None,
            experimental_op_resolver_type=kernels,
        )

    def static(case: Case, delegates: list[Any]) -> Any:
        return google(case, delegates, static_model(case.model, [x.shape for x in case.invokes[0]]))

    def ours(case: Case, delegates: list[Any]) -> Any:
        return tflgpu.Interpreter(model_content=case.model, experimental_delegates=delegates or None)

    def own_delegate() -> Any:
        return tflgpu.load_delegate(arguments.delegate, {"min_nodes_per_partition": "1", **options})

    def guest() -> Any:
        return tflgpu.as_tflite_delegate(Counted(own_delegate()))

    def native() -> Any:
        if arguments.library:
            return tflgpu.load_delegate(arguments.library, options)
        path = library()
        assert path is not None, "main() has looked for it"
        return XnnPack(path)

    def made(interpreter: Any, delegate: Any) -> Made:
        def make(case: Case) -> tuple[Any, Any]:
            delegates = [delegate()] if delegate else []
            return interpreter(case, delegates), delegates[0] if delegates else None

        return make

    if arguments.direction == "guest":
        return {"guest": made(google, guest), "beside": made(ours, own_delegate), "without": made(google, None)}
    return {
        "host": made(ours, native),
        "beside": made(google, native),
        "without": made(ours, None),
        "static": made(static, native),
    }


class Counted:
    """A delegate, and how many partitions it has compiled."""

    def __init__(self, delegate: Any):
        self._delegate = delegate
        self.partitions = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._delegate, name)

    def compile(self, partition: Any, tensors: Any) -> Any:
        self.partitions += 1
        return self._delegate.compile(partition, tensors)


def outcome(make: Made, case: Case) -> Outcome:
    try:
        interpreter, delegate = make(case)
        found = run(interpreter, case)
    except Exception as error:
        return Outcome(error=f"{type(error).__name__}: {error}".strip())
    # A guest has partitions in the bodies of loops too, which LiteRT does not list.
    partitions = max(found.partitions, getattr(getattr(delegate, "delegate", None), "partitions", 0))
    return Outcome(found.outputs, "", partitions, found.nodes, list(getattr(delegate, "left", ())))


def judged(case: Case, ran: Callable[[int], Outcome], host: bool) -> dict[str, Any]:
    """The verdict of a case; ran gives the outcome of a stage by its number, running it when it is first asked for.

    Where LiteRT does not take a delegate for shapes that it could have computed, it is given the model with these.
    """
    first = ran(0)
    row: dict[str, Any] = {"case": case.name, "ops": case.ops, "partitions": first.partitions, "nodes": first.nodes}
    row["text"] = first.error
    if case.refused:
        return {**row, "verdict": "refused alike" if first.error else "differs"}
    beside = ran(1)
    row |= {"beside": _beside(case, first, beside), "other": beside.error}
    if host and first.outputs is not None and beside.outputs is None and ran(3).outputs is not None:
        beside = ran(3)
        row["beside"] = f"{_beside(case, first, beside)} (static model)"
    if first.outputs is None:
        alike = (beside.error if host else "") or ran(2).error  # our delegate in both proves nothing
        return {**row, "verdict": "refused alike" if alike else "refused", "alike": alike}
    row["text"] = wrong(case, first.outputs)
    if not row["text"]:
        row["left"] = list(first.left) if first.nodes else ["the model has no nodes"]
        return {**row, "verdict": "equal" if first.partitions else "not delegated"}
    if beside.outputs is not None and not wrong(case, first.outputs, beside.outputs):
        return {**row, "verdict": "as beside"}
    plain = ran(2).outputs
    same = plain is not None and not wrong(case, first.outputs, plain)
    return {**row, "verdict": "as without" if same else "differs"}


def _beside(case: Case, first: Outcome, beside: Outcome) -> str:
    if first.outputs is None and beside.outputs is None:
        ours, theirs = ("".join(error.partition(": ")[2].split()) for error in (first.error, beside.error))
        return f"refused in {'the same' if ours == theirs else 'other' if theirs else 'no'} words"
    if first.outputs is None or beside.outputs is None:
        return f"refused {'in question' if first.outputs is None else 'beside'}"
    if same_bits(first.outputs, beside.outputs):
        return "same bits"
    return "differs" if wrong(case, first.outputs, beside.outputs) else "within tolerance"


def work(arguments: argparse.Namespace) -> None:
    """Answers requests, each a case's name and the stages that died of it, until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    made = stages(arguments)
    names = list(made)

    def say(what: dict[str, Any]) -> None:
        answers.write(json.dumps(what) + "\n")
        answers.flush()

    for line in sys.stdin:
        name, dead = json.loads(line)
        case = load(name)
        known: dict[int, Outcome] = {}

        def ran(number: int, dead: Any = dead, case: Case = case, known: dict[int, Outcome] = known) -> Outcome:
            stage = names[number]
            if stage in dead:
                return Outcome(error=dead[stage])
            if number not in known:
                say({"at": stage})
                known[number] = outcome(made[stage], case)
            return known[number]

        say(judged(case, ran, arguments.direction == "host"))


def summary(rows: list[dict[str, Any]]) -> str:
    """Counts by verdict and by what came beside it, and the reasons of the verdicts, alike ones together."""
    lines = [f"{len(rows)} cases"]
    besides = Counter((row["verdict"], row.get("beside", "")) for row in rows)
    for verdict, count in Counter(row["verdict"] for row in rows).most_common():
        beside = ", ".join(f"{n} {b or 'alone'}" for (v, b), n in besides.most_common() if v == verdict)
        lines.append(f"{verdict:14}{count:6}   beside: {beside}")
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        said = row.get("left") if row["verdict"] == "not delegated" else [row["text"]] if row["text"] else []
        for text in said or ["no reason given"] if row["verdict"] != "equal" else []:
            reasons[row["verdict"]][_alike(text)] += 1
        if row.get("beside") == "refused beside":
            reasons["beside"][_alike(row["other"]) or "no reason given"] += 1
    for verdict, counts in reasons.items():
        lines += ["", verdict, *(f"{n:6}  {text}" for text, n in counts.most_common(25))]
    return "\n".join(lines)


def table(rows: list[dict[str, Any]]) -> str:
    """A line for every case."""
    cells = [(row["case"], row["verdict"], row.get("beside", ""), f"{row['partitions']}") for row in rows]
    lines = [" | ".join(row) for row in [("case", "verdict", "beside", "partitions"), ("---",) * 4, *cells]]
    return "\n".join(f"| {line} |" for line in lines)


def _alike(text: str) -> str:
    """A text without what differs between like ones: numbers, and the end."""
    return re.sub(r"-?\d[\d.e+-]*", "N", text.replace("\n", " "))[:140]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("direction", choices=["guest", "host"])
    parser.add_argument("--delegate", default="opencl", help="of ours, for guest")
    parser.add_argument("--library", default="", help="of a native delegate, for host; default XNNPACK")
    parser.add_argument("--options", default="", help="of the delegate: name=value,…")
    parser.add_argument("--peer", default="ai_edge_litert.interpreter", help="the module of the other interpreter")
    parser.add_argument("--resolver", default="", help="of the peer, such as AUTO; default that of LiteRT's answer")
    parser.add_argument("--zoo", action="store_true", help="whole models instead of the corpus")
    parser.add_argument("--only", default="", help="cases whose group/name matches this regular expression")
    parser.add_argument("--sample", default="0/1", help="every n-th case, from the i-th: i/n")
    parser.add_argument("--results", type=Path, help="lines of JSON; default build/abi-…")
    parser.add_argument("--table", type=Path, help="where a line for every case goes, in Markdown")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=60)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments)
        return 0
    # A case without its delegate would be refused on both sides, and alike.
    if arguments.direction == "host" and not arguments.library and library() is None:
        parser.error("no XNNPACK to load: pip install tflite-runtime==2.14.0 (Python 3.11 or older), or --library")
    if arguments.direction == "host" and arguments.library and not Path(arguments.library).exists():
        parser.error(f"{arguments.library} is not there")
    if not CORPUS.exists():
        parser.error(f"the corpus is not beside this checkout: {CORPUS}")
    names = [name for name in records(arguments.zoo) if re.search(arguments.only, name)]
    first, step = map(int, arguments.sample.split("/"))
    names = names[first::step]
    kind = "zoo" if arguments.zoo else "corpus"
    peer = arguments.peer.split(".")[0]
    which = arguments.delegate if arguments.direction == "guest" else Path(arguments.library).stem or "xnnpack"
    arguments.results = arguments.results or Path("build") / f"abi-{arguments.direction}-{which}-{peer}-{kind}.jsonl"
    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    arguments.results.touch()
    known = {row["case"]: row for row in map(json.loads, arguments.results.read_text().splitlines())}
    collect([name for name in names if name not in known], arguments)
    rows = {row["case"]: row for row in map(json.loads, arguments.results.read_text().splitlines())}
    chosen = [rows[name] for name in names]
    print(summary(chosen))
    if arguments.table:
        arguments.table.write_text(table(chosen) + "\n")
    return 1 if any(row["verdict"] in BAD for row in chosen) else 0


if __name__ == "__main__":
    sys.exit(main())
