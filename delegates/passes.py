"""A partition's way from nodes to launches: the passes in their order, each a function from steps to steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tflgpu.debug import PROGRAMS, enabled, pass_in_words, say
from tflgpu.delegates.fusion.describe import described
from tflgpu.delegates.fusion.fold_conv_padding import fold_conv_padding
from tflgpu.delegates.fusion.fuse_elementwise import fuse_elementwise
from tflgpu.delegates.fusion.fuse_epilogues import fuse_epilogues
from tflgpu.delegates.fusion.fuse_lookups import fuse_lookups
from tflgpu.delegates.fusion.fuse_row_chains import fuse_row_chains
from tflgpu.delegates.fusion.fuse_separable import fuse_separable
from tflgpu.delegates.fusion.join_launches import join_launches
from tflgpu.delegates.fusion.join_small_launches import join_small_launches
from tflgpu.delegates.fusion.lower_nodes import copy_live_out_aliases, lower_nodes
from tflgpu.delegates.fusion.match_attention import match_attention
from tflgpu.delegates.fusion.render_steps import render_steps
from tflgpu.delegates.fusion.steps import Pass, PassContext, Steps
from tflgpu.delegates.fusion.update_in_place import update_in_place
from tflgpu.delegates.fusion.vectorize_rows import vectorize_rows

PASSES: tuple[Pass, ...] = (
    fold_conv_padding,
    match_attention,
    lower_nodes,
    copy_live_out_aliases,
    update_in_place,
    fuse_row_chains,
    fuse_elementwise,
    fuse_lookups,
    fuse_epilogues,
    join_small_launches,
    vectorize_rows,
    render_steps,
    fuse_separable,
)
"""From nodes to launches and loops of them."""

LAST_PASSES: tuple[Pass, ...] = (join_launches,)
"""Those that ask which launches share memory: from launches and loops to launches alone."""

SUBGRAPH_PASSES: tuple[Pass, ...] = (fuse_elementwise, fuse_lookups, fuse_epilogues, render_steps)
"""For the graphs of WHILE and IF, whose nodes are lowered one by one."""

Watch = Callable[[str, Sequence[str], Sequence[str]], None]
"""Is told of each pass: its name, the steps before and the steps after it, in words."""


def run_passes(passes: Sequence[Pass], steps: Steps, context: PassContext, watch: Watch | None = None) -> Steps:
    """The steps after all of the passes."""
    watch = watch or (_say if enabled(PROGRAMS) else None)
    for one in passes:
        before, steps = steps, one(steps, context)
        if watch is not None:
            watch(one.__name__, described(before), described(steps))
    return steps


def _say(name: str, before: Sequence[str], after: Sequence[str]) -> None:
    say(PROGRAMS, "\n".join(pass_in_words(name, before, after)))
