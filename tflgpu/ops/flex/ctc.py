"""Decoders of connectionist temporal classification: greedy, and by a beam of prefixes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappush, heapreplace

import numpy as np

from tflgpu.model.graph import Array, Node
from tflgpu.ops.flex.node_def import attribute
from tflgpu.ops.registry import OpError, Runtime, function, require

NEVER = -np.inf
PREFIX_NBYTES = 400
"""Memory of a prefix at most, with its entry in its parent's children."""


def _check(node: Node) -> None:
    x, lengths = node.input(0), node.input(1)
    require(len(x.shape) == 3 and x.shape[2] > 0, f"{x}: inputs (time, batch, classes) are wanted. ")
    require(lengths.type == "INT32" and lengths.shape == x.shape[1:2], f"{lengths} must be a length for each of {x}. ")


def _sparse(sequences: Sequence[Sequence[int]]) -> tuple[Array, Array, Array]:
    """The sequences as a sparse matrix: indices, values and shape."""
    at = [(row, column) for row, sequence in enumerate(sequences) for column in range(len(sequence))]
    indices = np.array(at, np.int64).reshape(-1, 2)
    values = np.array([label for sequence in sequences for label in sequence], np.int64)
    return indices, values, np.array([len(sequences), max(map(len, sequences), default=0)], np.int64)


def _require_lengths(x: Array, lengths: Array) -> None:
    if not ((lengths >= 0) & (lengths <= len(x))).all():
        raise OpError(f"sequence_length is not between 0 and {len(x)}: {lengths.tolist()}. ")


@function("FlexCTCGreedyDecoder", inputs=2, outputs=4, types="FLOAT32 FLOAT64", check=_check, custom=True)
def ctc_greedy_decoder(node: Node, x: Array, lengths: Array) -> tuple[Array, ...]:
    """The likeliest class of every step of x (time, batch, classes) without blanks: a sparse matrix, and (batch, 1) its
    negative logarithmic likelihood."""
    _require_lengths(x, lengths)
    classes = x.shape[2]
    blank = attribute(node, "blank_index", -1)
    require(-classes <= blank < classes, f"blank_index is {blank} with {classes} classes. ")
    blank, merges = blank % classes, attribute(node, "merge_repeated", False)
    best, likelihood = x.argmax(axis=2), np.zeros((x.shape[1], 1), x.dtype)
    sequences = []
    for b, length in enumerate(lengths.tolist()):
        steps = best[:length, b]
        likelihood[b, 0] = -x[:length, b].max(axis=1).sum(dtype=x.dtype) if length else 0
        fresh = steps != blank
        if merges:
            fresh[1:] &= steps[1:] != steps[:-1]
        sequences.append(steps[fresh].tolist())
    return (*_sparse(sequences), likelihood)


@dataclass(eq=False)
class _Prefix:
    """A sequence of labels, with the logarithmic probability that it ends in a blank, in its label, and of both."""

    label: int
    parent: _Prefix | None
    blank: float = NEVER
    ended: float = NEVER
    total: float = NEVER
    before: tuple[float, float] = (NEVER, NEVER)  # blank and total one step ago
    children: dict[int, _Prefix] = field(default_factory=dict)

    def labels(self, merged: bool) -> list[int]:
        found: list[int] = []
        previous, prefix = -1, self
        while prefix.parent is not None:
            if not merged or prefix.label != previous:
                found.append(prefix.label)
            previous, prefix = prefix.label, prefix.parent
        return found[::-1]


class _Beam:
    """The likeliest prefixes, at most `width` of them.

    leaves: a heap of their totals, the lowest first; which of two equal ones came first; and the prefixes.
    """

    def __init__(self, width: int):
        self.width = width
        self.leaves = [(0.0, 0, _Prefix(-1, None, blank=0.0, total=0.0))]
        self.prefixes = self.pushed = 1  # that were ever made; that became leaves in this step

    def best(self) -> list[_Prefix]:
        """All of them, the likeliest first."""
        return [leaf for *_, leaf in sorted(self.leaves, key=lambda entry: (-entry[0], entry[1]))]

    def _admits(self, total: float) -> bool:
        return total > NEVER and (len(self.leaves) < self.width or total > self.leaves[0][0])

    def step(self, logits: Array) -> None:
        """One step of time; the last class is the blank."""
        scores = logits - (logits.max() + np.log(np.exp(logits - logits.max()).sum()))
        log_p = scores.tolist()
        branches = self.best()
        for leaf in branches:
            leaf.before = leaf.blank, leaf.total
        for leaf in branches:
            parent = leaf.parent
            if parent is not None:
                if parent.total > NEVER:
                    same = leaf.label == parent.label
                    leaf.ended = _either(leaf.ended, parent.before[0 if same else 1])
                leaf.ended += log_p[leaf.label]
            leaf.blank = leaf.before[1] + log_p[-1]
            leaf.total = _either(leaf.blank, leaf.ended)
        self.leaves = [(leaf.total, order, leaf) for order, leaf in enumerate(branches)]
        self.pushed = len(branches)
        heapify(self.leaves)
        for leaf in branches:
            if self._admits(leaf.before[1]):
                self._grow(leaf, log_p)

    def _grow(self, leaf: _Prefix, log_p: Sequence[float]) -> None:
        for label in range(len(log_p) - 1):
            child = leaf.children.get(label)
            if child is not None and child.total > NEVER:
                continue
            total = log_p[label] + leaf.before[0 if label == leaf.label else 1]
            if not self._admits(total):
                if child is not None:
                    child.before = NEVER, NEVER
                continue
            if child is None:
                child = leaf.children[label] = _Prefix(label, leaf)
                self.prefixes += 1
            child.blank, child.ended, child.total = NEVER, total, total
            self._push(child)

    def _push(self, leaf: _Prefix) -> None:
        self.pushed += 1
        entry = leaf.total, self.pushed, leaf
        if len(self.leaves) < self.width:
            heappush(self.leaves, entry)
            return
        *_, lowest = heapreplace(self.leaves, entry)
        lowest.blank = lowest.ended = lowest.total = NEVER


def _either(a: float, b: float) -> float:
    return float(np.logaddexp(a, b)) if max(a, b) > NEVER else NEVER


@function(
    "FlexCTCBeamSearchDecoder",
    inputs=2,
    outputs="4+",
    types="FLOAT32 FLOAT64",
    check=_check,
    custom=True,
    stateful=True,
)
def ctc_beam_search_decoder(node: Node, runtime: Runtime, x: Array, lengths: Array) -> tuple[Array, ...]:
    """The likeliest sequences of x (time, batch, classes): sparse matrices' indices, values, shapes; likelihoods."""
    _require_lengths(x, lengths)
    width, paths = attribute(node, "beam_width", 1), attribute(node, "top_paths", 1)
    require(0 < paths <= width and len(node.outputs) == 3 * paths + 1, f"{node.op}: {paths} paths of {width}. ")
    merged = attribute(node, "merge_repeated", True)
    likelihood = np.zeros((x.shape[1], paths), x.dtype)
    sequences: list[list[list[int]]] = [[] for _ in range(paths)]
    for b, length in enumerate(lengths.tolist()):
        beam = _Beam(width)
        for t in range(length):
            runtime.meter.check()
            most = beam.prefixes + len(beam.leaves) * x.shape[2]
            runtime.meter.reserve(PREFIX_NBYTES * most, f"{node}, a beam of {width:,} prefixes,")
            beam.step(x[t, b].astype(np.float64))
        best = beam.best()[:paths]
        require(len(best) == paths, f"Less leaves in the beam search than requested: {len(best)} of {paths}. ")
        for path, leaf in enumerate(best):
            sequences[path].append(leaf.labels(merged))
            likelihood[b, path] = leaf.total
    found = [_sparse(one) for one in sequences]
    return (*(array for kind in zip(*found, strict=True) for array in kind), likelihood)
