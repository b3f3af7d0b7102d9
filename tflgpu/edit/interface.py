"""What a model shows to its callers: outputs, inputs, signatures, fixed shapes, real or quantized ends."""

from __future__ import annotations

from collections.abc import Sequence

from tflgpu.edit.document import Document
from tflgpu.model.writer import Values


def expose(document: Document, tensors: Sequence[str]) -> list[str]:
    """Makes tensors of the main graph, by name or number, further outputs. What was done, a line each."""
    done = []
    for name in tensors:
        index = document.find(name)
        if index in document.main["outputs"]:
            raise ValueError(f"tensor {name!r} is an output already")
        document.main["outputs"] = [*document.main["outputs"], index]
        for signature in _of_main(document):
            entries = signature.setdefault("outputs", [])
            taken = {entry["name"] for entry in entries}
            own = document.name(index)
            entries.append({"name": f"{own}#{index}" if own in taken else own, "tensor_index": index})
        done.append(f"tensor {index} {document.name(index)!r} is output {len(document.main['outputs']) - 1}")
    return done


def cut(document: Document, inputs: Sequence[str], outputs: Sequence[str]) -> list[str]:
    """Leaves what computes `outputs` from `inputs`, tensors by name or number; where empty, the model's own.

    Raises ValueError where an output needs an input of the model that is not among `inputs`.
    """
    main = document.main
    starts = [document.find(name) for name in inputs] or list(main["inputs"])
    ends = [document.find(name) for name in outputs] or list(main["outputs"])
    constant = [document.name(i) for i in starts if document.is_constant(i)]
    if constant:
        raise ValueError(f"tensor {constant[0]!r} is a constant and cannot be an input")
    before = len(document.nodes)
    # What makes an input goes; then nothing but the inputs' own producers keeps the rest alive.
    main["operators"] = [node for node in document.nodes if not set(node.get("outputs", ())) & set(starts)]
    main["outputs"], main["inputs"] = ends, starts
    document.values["signature_defs"] = [s for s in document.signatures() if s.get("subgraph_index", 0) != 0]
    _check_produced(document)
    document.without_unused()
    return [f"{len(document.nodes)} of {before} nodes left; the signatures of the main graph are gone"]


def _check_produced(document: Document) -> None:
    needed = document.needed()
    made = {*document.main["inputs"], *(i for node in needed for i in node.get("outputs", ()))}
    read = {i for node in needed for i in node.get("inputs", ()) if i >= 0} | set(document.main["outputs"])
    for index in sorted(read - made):
        variable = document.tensors[index].get("is_variable")
        if not (document.is_constant(index) or variable or 0 in document.tensors[index].get("shape", ())):
            raise ValueError(f"the outputs need tensor {index} {document.name(index)!r} too: name it as an input")


def drop_signature(document: Document, key: str) -> list[str]:
    signature = _signature(document, key)
    document.values["signature_defs"] = [s for s in document.signatures() if s is not signature]
    return [f"signature {key!r} is gone"]


def rename_signature(document: Document, old: str, new: str) -> list[str]:
    if any(s["signature_key"] == new for s in document.signatures()):
        raise ValueError(f"there is a signature {new!r} already")
    _signature(document, old)["signature_key"] = new
    return [f"signature {old!r} is {new!r} now"]


def _signature(document: Document, key: str) -> Values:
    for signature in document.signatures():
        if signature.get("signature_key") == key:
            return signature
    known = ", ".join(str(s.get("signature_key")) for s in document.signatures())
    raise ValueError(f"no signature {key!r}; the model has {known or 'none'}")


def _of_main(document: Document) -> list[Values]:
    return [s for s in document.signatures() if s.get("subgraph_index", 0) == 0]


def quantized_ends(document: Document) -> list[str]:
    """Makes quantized values the inputs and outputs where a QUANTIZE or DEQUANTIZE alone is between. Lines as `expose`.

    A float input that something else reads too stays, and so does a float output that is read.
    """
    done = []
    main = document.main
    for node in list(document.nodes):
        op = document.op(node)
        if op not in ("QUANTIZE", "DEQUANTIZE") or not node.get("inputs") or not node.get("outputs"):
            continue
        (read, *_), (made, *_) = node["inputs"], node["outputs"]
        readers = [n for n in document.nodes if read in n.get("inputs", ())]
        real_first = document.tensors[read].get("type", "FLOAT32") == "FLOAT32"
        if op == "QUANTIZE" and read in main["inputs"] and real_first and len(readers) == 1:
            swaps = read not in main["outputs"] and made not in main["inputs"]
            old, new, side = read, made, "inputs"
        elif op == "DEQUANTIZE" and made in main["outputs"]:
            swaps = not any(made in n.get("inputs", ()) for n in document.nodes) and not document.is_constant(read)
            swaps &= bool(document.tensors[read].get("quantization", {}).get("scale") is not None)
            old, new, side = made, read, "outputs"
        else:
            continue
        if swaps:
            _swap(document, old, new, side)
            document.main["operators"] = [n for n in document.nodes if n is not node]
            done.append(f"{op} is gone: {side[:-1]} {document.name(new)!r} is {document.tensors[new].get('type')}")
    return done


def _swap(document: Document, old: int, new: int, side: str) -> None:
    document.main[side] = [new if i == old else i for i in document.main[side]]
    for signature in _of_main(document):
        for entry in signature.get(side, ()):
            if entry["tensor_index"] == old:
                entry["tensor_index"] = new
