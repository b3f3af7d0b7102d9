"""Runs what preparation returned: a loop over callables."""

from __future__ import annotations

from collections.abc import Sequence
from operator import length_hint

from tflgpu.limits import LimitExceeded
from tflgpu.runtime.segment import Segment
from tflgpu.shapes import failed


class Executor:
    """Runs a graph for one set of input shapes: its first segment, and those that follow nodes of dynamic shapes.

    inputs_nbytes: what the graph's inputs hold. segments: those of the last run, in order, as far as it came; before
    any run, the first alone. stopped: why the present run is to end, if it is.
    """

    def __init__(self, first: Segment, inputs_nbytes: int, stopped: Sequence[str]):
        self._stopped = stopped
        self.first = first
        self._inputs_nbytes = inputs_nbytes
        self.segments = [first]

    @property
    def nbytes(self) -> int:
        """Bytes that the inputs and the first segment hold, on devices too."""
        return self._inputs_nbytes + self.first.nbytes

    def run(self) -> Segment:
        """Runs every step. Returns the last segment, whose storage has the outputs."""
        segment, stopped = self.first, self._stopped
        if stopped:
            raise LimitExceeded(f"{stopped[0]} ")
        if segment.following is not None:
            del self.segments[1:]
        while True:
            steps = iter(segment.steps)
            try:
                for step in steps:
                    if stopped:
                        raise LimitExceeded(f"{stopped[0]} ")
                    step()
            except Exception as error:
                if length_hint(steps) == len(segment.made_by):
                    raise  # before the first node's
                raise failed(segment.made_by[-1 - length_hint(steps)], "invoke", error) from error
            if segment.following is None:
                return segment
            for tensor in segment.brought_back:
                tensor.read()
            segment = segment.following.run()
            self.segments.append(segment)
