"""Random numbers: the counter-based generators of Salmon et al. (2011), and the distributions drawn from them.

Seeded (seed, seed2) as TensorFlow's Philox, so that a seeded model gives TensorFlow Lite's very numbers; with both
zero the seed is the operating system's. The stream goes on from invoke to invoke.
"""

from __future__ import annotations

import secrets
from copy import copy

import numpy as np

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.registry import OpError, Runtime, function, require, value

_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)


def philox_4x32(key: tuple[int, int], counters: Array) -> Array:
    """Ten rounds over counters (n, 4) uint32: (n, 4) uint32."""
    c0, c1, c2, c3 = (counters[:, i].astype(np.uint64) for i in range(4))
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * np.uint64(0xD2511F53), c2 * np.uint64(0xCD9E8D57)
        c0, c1, c2, c3 = (p1 >> _32) ^ c1 ^ np.uint64(k0), p1 & _LOW, (p0 >> _32) ^ c3 ^ np.uint64(k1), p0 & _LOW
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)


def threefry_2x32(key: tuple[int, int], counters: Array) -> Array:
    """Twenty rounds over counters (n, 2) uint32: (n, 2) uint32."""
    keys = (key[0], key[1], key[0] ^ key[1] ^ 0x1BD11BDA)
    x0, x1 = counters[:, 0] + np.uint32(keys[0]), counters[:, 1] + np.uint32(keys[1])
    for group in range(5):
        for distance in ((13, 15, 26, 6), (17, 29, 16, 24))[group % 2]:
            x0 = x0 + x1
            x1 = (x1 << np.uint32(distance)) | (x1 >> np.uint32(32 - distance))
            x1 = x1 ^ x0
        x0 = x0 + np.uint32(keys[(group + 1) % 3])
        x1 = x1 + np.uint32((keys[(group + 2) % 3] + group + 1) & 0xFFFFFFFF)
    return np.stack([x0, x1], axis=1)


def _counters(start: int, count: int, words: int) -> Array:
    """The 32-bit words of the integers start, start + 1, …: (count, words), least significant first."""
    if (start & 0xFFFFFFFFFFFFFFFF) + count > 0xFFFFFFFFFFFFFFFF:
        numbers = [[(start + i) >> 32 * w & 0xFFFFFFFF for w in range(words)] for i in range(count)]
        return np.array(numbers, np.uint32).reshape(count, words)
    low = np.arange(count, dtype=np.uint64) + np.uint64(start & 0xFFFFFFFFFFFFFFFF)
    out = np.empty((count, words), np.uint32)
    out[:, 0], out[:, 1] = low & _LOW, low >> _32
    for w in range(2, words):
        out[:, w] = start >> 32 * w & 0xFFFFFFFF
    return out


class Generator:
    """A Philox stream at a 128-bit counter."""

    def __init__(self, seed: int, seed2: int):
        if seed == 0 and seed2 == 0:
            seed, seed2 = secrets.randbits(64), secrets.randbits(64)
        self._key = (seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF)
        self._counter = (seed2 & 0xFFFFFFFFFFFFFFFF) << 64

    @staticmethod
    def at(key: int, counter: int) -> Generator:
        """The stream of a 64-bit key at a 128-bit counter."""
        found = Generator(1, 0)
        found._key, found._counter = (key & 0xFFFFFFFF, key >> 32), counter
        return found

    def draw(self, words: int) -> Array:
        """(words,) uint32, in groups of four: the rest of the last group is dropped."""
        groups = -(-words // 4)
        drawn = philox_4x32(self._key, _counters(self._counter, groups, 4))
        self.skip(groups)
        return drawn.ravel()[:words]

    def skip(self, groups: int) -> None:
        self._counter = (self._counter + groups) % 2**128


def generator_key(node: Node) -> tuple[object, ...]:
    """By what the state has the generator of a node."""
    return ("generator", node.op, *((spec.index, spec.name) for spec in node.outputs[:1]))


def _generator(node: Node, runtime: Runtime) -> Generator:
    key = generator_key(node)
    if key not in runtime.state:
        # TensorFlow Lite keeps the seeds in 32 bits, whatever the model says.
        seed, seed2 = np.array([node.options.seed, node.options.seed2], np.int64).astype(np.int32).tolist()
        runtime.state[key] = Generator(seed, seed2)
    found: Generator = runtime.state[key]
    return found


def unit_float(bits: Array) -> Array:
    """uint32 -> float32 in [0, 1): the low 23 bits as a mantissa."""
    return ((bits & np.uint32(0x7FFFFF)) | np.uint32(0x3F800000)).view(np.float32) - np.float32(1)


def unit_double(high: Array, low: Array) -> Array:
    """Two uint32 -> float64 in [0, 1): 52 bits as a mantissa."""
    mantissa = ((high.astype(np.uint64) & np.uint64(0xFFFFF)) << _32) | low.astype(np.uint64)
    return (mantissa | np.uint64(1023 << 52)).view(np.float64) - 1.0


def _given_shape(node: Node, runtime: Runtime) -> list[Shape]:
    spec = node.input(0)
    require(spec.type == "INT32" and len(spec.shape) == 1, f"{node.op} takes its shape as a vector of INT32. ")
    require(node.outputs[0].type == "FLOAT32", f"Unsupported output datatype for {node.op}: {node.outputs[0].type}")
    return [tuple(int(d) for d in value(spec))]


@function("RANDOM_UNIFORM", inputs=1, types="INT32", shape=_given_shape, stateful=True)
def random_uniform(node: Node, runtime: Runtime, shape: Array) -> Array:
    """float32 in [0, 1)."""
    size = tuple(int(d) for d in shape)
    return unit_float(_generator(node, runtime).draw(int(np.prod(size)))).reshape(size)


@function("RANDOM_STANDARD_NORMAL", inputs=1, types="INT32", shape=_given_shape, stateful=True)
def random_standard_normal(node: Node, runtime: Runtime, shape: Array) -> Array:
    """float32 of mean 0 and variance 1, by Box and Muller."""
    size = tuple(int(d) for d in shape)
    n = int(np.prod(size))
    return normal_floats(_generator(node, runtime).draw(-(-n // 4) * 4))[:n].reshape(size)


def normal_floats(bits: Array) -> Array:
    """uint32 (n,), n even -> float32 (n,) of mean 0 and variance 1, two of each pair."""
    pairs = bits.reshape(-1, 2)
    radius = np.sqrt(np.float32(-2) * np.log(np.maximum(unit_float(pairs[:, 0]), np.float32(1e-7))))
    angle = np.float32(2 * np.pi) * unit_float(pairs[:, 1])
    return np.stack([np.sin(angle) * radius, np.cos(angle) * radius], axis=1).ravel()


def _sample_shape(node: Node, runtime: Runtime) -> list[Shape]:
    logits, samples = node.input(0), node.input(1)
    require(len(logits.shape) == 2 and logits.shape[1] > 0, f"MULTINOMIAL's logits must be 2-D, not {logits}. ")
    require(samples.type == "INT32" and samples.shape == (), "MULTINOMIAL's num_samples must be an INT32 scalar. ")
    count = int(value(samples))
    require(count >= 0, f"num_samples >= 0 was not true: {count}. ")
    return [(logits.shape[0], count)]


@function("MULTINOMIAL", inputs=2, types="FLOAT32", shape=_sample_shape, stateful=True)
def multinomial(node: Node, runtime: Runtime, logits: Array, samples: Array) -> Array:
    """Classes (batch, samples) drawn with the probabilities softmax(logits); a logit that is not finite has none."""
    count, batch = int(samples), logits.shape[0]
    generator = _generator(node, runtime)
    bits = copy(generator).draw(-(-batch * count // 2) * 4).reshape(-1, 2)[: batch * count]
    # TensorFlow skips a fixed number of groups a call, so that calls do not depend on how many another drew.
    generator.skip(batch * ((count + 3) // 4 * 4) * 2 * 256)
    uniform = unit_double(bits[:, 0], bits[:, 1]).reshape(batch, count)
    out = np.empty((batch, count), node.outputs[0].dtype)
    for row, x in enumerate(logits):
        finite = np.isfinite(x)
        top = np.float64(x[finite].max(initial=np.finfo(np.float32).min))
        mass = np.cumsum(np.where(finite, np.exp(np.where(finite, x, 0).astype(np.float64) - top), 0.0))
        out[row] = np.searchsorted(mass, uniform[row] * mass[-1], side="right")
    return out


def _declared(node: Node, runtime: Runtime) -> list[Shape]:
    state, drawn = node.input(0), node.outputs[1]
    allowed = (2,) if node.options.algorithm == "THREEFRY" else (2, 3)
    require(len(state.shape) == 1 and state.shape[0] in allowed, f"the initial state of {node.op} cannot be {state}. ")
    require(drawn.type in ("INT32", "INT64", "UINT32", "UINT64"), f"Unsupported output data type: {drawn.type}")
    return [state.shape, drawn.shape]


@function("STABLEHLO_RNG_BIT_GENERATOR", inputs=1, outputs=2, types="UINT64", shape=_declared, stateful=True)
def stablehlo_rng_bit_generator(node: Node, runtime: Runtime, state: Array) -> tuple[Array, Array]:
    """The next state, and random bits of the output's type, from a state of key, counter (and more counter)."""
    key = (int(state[0]) & 0xFFFFFFFF, int(state[0]) >> 32)
    spec = node.outputs[1]
    words = int(np.prod(spec.shape)) * spec.dtype.itemsize // 4
    counter = int(state[1])
    if node.options.algorithm == "THREEFRY":
        groups = -(-words // 2)
        bits = threefry_2x32(key, _counters(counter, groups, 2))
    elif node.options.algorithm in ("PHILOX", "DEFAULT"):
        groups = -(-words // 4)
        # Upstream counts in the low 64 bits only; the high ones are the state's third word, or its key.
        counters = np.empty((groups, 4), np.uint32)
        counters[:, :2] = _counters(counter, groups, 2)
        high = int(state[2] if len(state) == 3 else state[0])
        counters[:, 2], counters[:, 3] = high & 0xFFFFFFFF, high >> 32
        bits = philox_4x32(key, counters)
    else:
        raise OpError(f"Unknown RNG algorithm: {node.options.algorithm}")
    after = state.copy()
    after[1] = np.uint64((counter + groups) % 2**64)
    return after, np.ascontiguousarray(bits.ravel()[:words]).view(spec.dtype).reshape(spec.shape)
