"""A depthwise convolution and the 1 x 1 convolution that alone reads it, as one kernel, or as two.

The product's blocks compute what they multiply as they go, so that nothing of the depthwise convolution is in memory.
Each block of columns does so anew: it is worth trying where that is not more work than the product itself, and where
the images are small, as they are but for a network's first layers. Tuning measures both; without it, one kernel is
taken where what it reads anew takes less time than the launch that it saves.
"""

from __future__ import annotations

from dataclasses import replace

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.fusion.steps import PassContext, Steps, Uses, with_ops
from tflgpu.delegates.launch import Launch, Op, Ref

MOST_PLACES = 32 * 28 * 28
"""Outputs a channel of a depthwise convolution, of all images, up to which it is tried."""

CYCLE_LOADS = 8
"""Loads of 16 bytes that a multiprocessor does in a cycle."""

LAUNCH = 3000
"""Cycles from the end of a kernel's last block to the first loads of the next one's, in a graph; roughly, by published
figures."""


def fuse_separable(steps: Steps, context: PassContext) -> Steps:
    """Products that can compute their depthwise convolution themselves have that among their variants."""
    if not context.limits.has("warps"):
        return steps
    uses = Uses(steps, context)
    ops: dict[int, Op | None] = {}
    for position, step in enumerate(steps):
        product = _product(step.op) if isinstance(step.op, Launch) else None
        x = product.inputs["x"] if product is not None else None
        if product is None or not isinstance(x, Ref) or not isinstance(step.op, Launch):
            continue
        maker = uses.makers.get(uses.root(x))
        depthwise = None if maker is None else steps[maker].op
        if not isinstance(depthwise, Launch) or depthwise.kernel != "depthwise.depthwise_strips":
            continue
        if not uses.used_once(x) or not _worth_trying(depthwise, product):
            continue
        ways = (step.op, *step.op.variants)
        fused = [way for one in ways if (way := _fused(one, depthwise)) is not None]
        if not fused:
            continue
        apart = [replace(way, before=(depthwise, *way.before), variants=()) for way in ways]
        anew = _reads_anew(depthwise, fused[0], context.limits)
        ways = (*fused, *apart) if anew < LAUNCH else (*apart, *fused)
        assert maker is not None
        ops |= {maker: None, position: replace(ways[0], variants=tuple(ways[1:]))}
    return with_ops(steps, ops)


def _product(launch: Launch) -> Launch | None:
    """The pointwise GEMM by constant weights that the launch begins with, else None."""
    first = launch.sequence[0]
    plain = first.name in ("gemm", "gemm_mma") and "POINTWISE" in first.defines
    return first if plain and not first.defines.keys() & {"UNSIGNED", "HYBRID"} else None


def _worth_trying(depthwise: Launch, product: Launch) -> bool:
    d = depthwise.defines
    m, n, _ = _sizes(product)
    blocks = -(-n // int(str(product.defines["BN"])))
    return m <= MOST_PLACES and int(str(d["KH"])) * int(str(d["KW"])) * blocks <= n


def _reads_anew(depthwise: Launch, fused: Launch, limits: DeviceLimits) -> int:
    """Cycles that a multiprocessor takes to load what blocks of columns but the first load, in sixteens of bytes."""
    (m, n, k), d = _sizes(fused), fused.defines
    blocks = -(-n // int(str(d["BN"]))) - 1
    each = 2 * int(str(d["KH"])) * int(str(d["KW"])) * m * k // (16 if "QUANTIZED" in d else 4)
    return blocks * each // (CYCLE_LOADS * limits.units)


def _sizes(product: Launch) -> tuple[int, int, int]:
    m, n, k = (product.sizes[name] for name in "mnk")
    assert isinstance(m, int) and isinstance(n, int) and isinstance(k, int)
    return m, n, k


def _fused(way: Launch, depthwise: Launch) -> Launch | None:
    """One way to compute the product, with the depthwise convolution inside; None where there is no such kernel."""
    product = _product(way)
    if product is None or way.sequence[1:] not in ((), (way,)) or "UNSIGNED" in depthwise.defines:
        return None
    words = "QUANTIZED" in product.defines or product.defines["LOAD"] == 4
    if depthwise.extra or not words or ("QUANTIZED" in product.defines) != ("QUANTIZED" in depthwise.defines):
        return None
    d = depthwise.defines
    image = {name: size for name, size in depthwise.sizes.items() if name in product.sizes}
    image |= {"kw": int(str(d["KW"])), "sw": int(str(d["SW"])), "dw": int(str(d["DW"]))}
    own = {f"dw_{name}": buffer for name, buffer in depthwise.inputs.items() if name != "x"}
    defines = {key: value for key, value in product.defines.items() if key != "POINTWISE"}
    defines |= {"SEPARABLE": 1, "KH": d["KH"], "KW": d["KW"], "DW_EPILOGUE": d.get("EPILOGUE", "")}
    fused = replace(
        product,
        inputs={**product.inputs, "x": depthwise.inputs["x"], **own},
        sizes={**product.sizes, **image},
        scalars={**product.scalars, **{f"dw_{name}": scalar for name, scalar in depthwise.scalars.items()}},
        defines=defines,
        variants=(),
    )
    return fused if product is way else replace(way, before=(fused,), variants=())
