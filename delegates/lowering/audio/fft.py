"""RFFT2D and TensorFlow's other Fourier transforms; REAL, IMAG and COMPLEX_ABS. Complex numbers are pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.expression import IndexMap, Term, X, Y, call
from tflgpu.delegates.ir import Copy, Elementwise, Operand
from tflgpu.delegates.launch import Buffer, Launch, Lowered, Packed, Ref, Temp
from tflgpu.delegates.lowering.registry import bits_type, constant, lowers, require, size
from tflgpu.delegates.lowering.strided_index import index_map, standin
from tflgpu.model.graph import Array, Node
from tflgpu.ops.audio.fft import TRANSFORMS

LONGEST = 1 << 20
LOCAL_BYTES = 1 << 15
"""Local memory that every device has for a block."""
LARGEST_RADIX = 13
"""For a larger prime factor of the length the definition takes longer than Bluestein's convolution."""
_C_TYPES = {"FLOAT32": "float", "COMPLEX64": "float", "FLOAT64": "double", "COMPLEX128": "double"}


@dataclass(frozen=True)
class Plane:
    """Images of h rows of w numbers, complex ones where not real. type: of the tensor, as kernels call it."""

    buffer: Buffer
    type: str
    images: int
    h: int
    w: int
    real: bool = False


@dataclass(frozen=True)
class Lines:
    """The first `count` rows, or columns, of each image of a plane."""

    plane: Plane
    count: int
    columns: bool = False

    def sizes(self, name: str) -> dict[str, int]:
        """The location of element k of line r, in the sizes of fft.h."""
        step, stride = (1, self.plane.w) if self.columns else (self.plane.w, 1)
        fields = {"inner": self.count, "outer": self.plane.h * self.plane.w, "step": step, "stride": stride}
        return {f"{name}_{field}": value for field, value in fields.items()}


@lowers(*TRANSFORMS)
def fft(node: Node, limits: DeviceLimits) -> Lowered:
    """One launch for each dimension, the last dimension first; last where the result is real."""
    kind, x, out = TRANSFORMS[node.op], node.input(0), node.outputs[0]
    if kind.real:
        constant(node.input(1), "a size")
    require(limits.double or _C_TYPES[x.type] != "double", "a device without double precision")
    *heights, w = kind.lengths(node)
    h = heights[0] if heights else 1
    require(max(h, w) <= LONGEST, f"a spectrum of {h} x {w}")
    if not size(out):
        return []
    x_h = x.shape[-2] if heights else 1
    columns = w // 2 + 1 if kind.real else w
    seen_h, seen_w = min(h, x_h), min(x.shape[-1], columns if kind.inverse else w)
    images = size(out) // (h * out.shape[-1])
    source = Plane(Ref(x.index), _C_TYPES[x.type], images, x_h, x.shape[-1], kind.real and not kind.inverse)
    target = Plane(Ref(out.index), _C_TYPES[out.type], images, h, out.shape[-1], kind.real and kind.inverse)
    if h == 1:
        return [_launch(Lines(source, 1), Lines(target, 1), w, seen_w, kind.inverse, limits)]
    real = "double" if limits.double else "float"
    between_h, between_w = (h, seen_w) if kind.inverse else (seen_h, columns)
    z = Plane(Temp(images * between_h * between_w * 2 * _BYTES[real]), real, images, between_h, between_w)
    first, second = (source, z), (z, target)
    (a, b), (c, d) = (second, first) if kind.inverse else (first, second)
    along = _launch(Lines(a, between_h), Lines(b, between_h), w, seen_w, kind.inverse, limits)
    across = _launch(Lines(c, between_w, True), Lines(d, between_w, True), h, seen_h, kind.inverse, limits)
    return [across, along] if kind.inverse else [along, across]


_BYTES = {"float": 4, "double": 8}


def _launch(x: Lines, out: Lines, length: int, seen: int, inverse: bool, limits: DeviceLimits) -> Launch:
    """The transforms of lines of `length` numbers in the time domain; x has `seen` of them, or of their spectrum."""
    real = "double" if limits.double else "float"
    x_real, out_real, rows = x.plane.real, out.plane.real, x.plane.images * x.count
    plan = Plan.of(length, paired=(x_real or out_real) and length % 2 == 0)
    nbytes = 4 * plan.points * _BYTES[real]
    local = not limits.cpu and nbytes <= LOCAL_BYTES
    lanes = min(limits.vector * 4 // _BYTES[real], 1 << (rows - 1).bit_length()) if limits.cpu else 1
    threads = 1 if limits.cpu else min(limits.max_block, max(32, 1 << (plan.points // 4).bit_length()))
    blocks = -(-rows // lanes) if local else min(-(-rows // lanes), limits.units * 4)
    outputs = length // 2 + 1 if x_real else plan.n if out_real else length
    defines = {"REAL": real, "X_T": x.plane.type, "OUT_T": out.plane.type, "LANES": lanes, "THREADS": threads}
    defines |= {name: 1 for name, given in (("X_REAL", x_real), ("OUT_REAL", out_real), ("INVERSE", inverse)) if given}
    return Launch(
        "fft.fft",
        (blocks * threads,),
        (threads,),
        inputs={"x": x.plane.buffer, "tables": Packed(lambda: plan.tables().astype(f"f{_BYTES[real]}"))},
        outputs={"scratch": Temp(16 if local else blocks * lanes * nbytes), "out": out.plane.buffer},
        sizes={"rows": rows, "blocks": blocks, "outputs": outputs, "seen": seen, **x.sizes("x"), **out.sizes("out")},
        defines=defines | plan.defines | ({} if local else {"SCRATCH": 1}) | ({"CPU": 1} if limits.cpu else {}),
        stage="none",
        single=limits.cpu,
    )


@dataclass(frozen=True)
class Plan:
    """The transform of a row of `length` numbers: passes over `points` complex numbers, of which `n` are given.

    n: half of length where pairs of real numbers are taken for complex ones. points: n, or the length of Bluestein's
    convolution where n has a large prime factor.
    """

    length: int
    n: int
    points: int

    @classmethod
    def of(cls, length: int, paired: bool) -> Plan:
        n = length // 2 if paired else length
        chirp = max(_radices(n), default=1) > LARGEST_RADIX
        return cls(length, n, 1 << (2 * n - 2).bit_length() if chirp else n)

    @property
    def defines(self) -> dict[str, object]:
        """The macros of fft.h for this plan."""
        found: dict[str, object] = {"LENGTH": self.length, "N": self.n, "POINTS": self.points}
        found["PASSES"], found["RESULT"] = self._passes("a", "b")
        if self.points != self.n:
            other = "b" if found["RESULT"] == "a" else "a"
            found["PASSES_BACK"], found["RESULT_BACK"] = self._passes(str(found["RESULT"]), other)
            found["CHIRP"] = 1
        return found

    def _passes(self, source: str, target: str) -> tuple[str, str]:
        """The passes in C, and the buffer that has the result."""
        text, s = [], 1
        for radix in _radices(self.points):
            text.append(f"PASS4({source}, {target}, {s})" if radix == 4 else f"PASS({source}, {target}, {radix}, {s})")
            source, target, s = target, source, s * radix
        return " ".join(text), source

    def tables(self) -> Array:
        """The roots of unity that fft.h asks for, as complex128."""
        found = [np.exp(-2j * np.pi * np.arange(self.points) / self.points)]
        if 2 * self.n == self.length:
            found.append(np.exp(-2j * np.pi * np.arange(self.n + 1) / self.length))
        if self.points != self.n:
            k = np.arange(self.n)
            chirp = np.exp(-1j * np.pi * (k * k % (2 * self.n)) / self.n)
            convolved = np.zeros(self.points, np.complex128)
            convolved[: self.n] = chirp.conj()
            convolved[self.points - self.n + 1 :] = chirp[:0:-1].conj()
            found += [chirp, np.fft.fft(convolved) / self.points]
        return np.concatenate(found).view(np.float64)


def _radices(n: int) -> list[int]:
    """The prime factors of n, pairs of twos as fours, which come last."""
    found = []
    for radix in (4, 2, *range(3, math.isqrt(n) + 1, 2)):
        while n % radix == 0:
            found.append(radix)
            n //= radix
    return sorted(found + [n] * (n > 1), key=lambda radix: (radix == 4, radix))


@lowers("REAL", "IMAG")
def component(node: Node, limits: DeviceLimits) -> Lowered:
    """Every other number of the pairs."""
    x, out = node.input(0), node.outputs[0]
    pairs = standin((*x.shape, 2), out.dtype)
    at = index_map(pairs[..., int(node.op == "IMAG")], pairs)
    return [Copy(Ref(x.index), Ref(out.index), size(out), bits_type(out), at)]


@lowers("COMPLEX_ABS")
def magnitude(node: Node, limits: DeviceLimits) -> Lowered:
    """The square root of the sum of both squares."""
    x, out = node.input(0), node.outputs[0]
    require(x.type != "COMPLEX128" or limits.double, "a device without double precision")
    kind = "f64" if x.type == "COMPLEX128" else "f32"
    components = (Operand(Ref(x.index), kind, IndexMap(start, (Term(stride=2),))) for start in (0, 1))
    return [Elementwise(tuple(components), call("hypot", X, Y), Ref(out.index), kind, size(out))]
