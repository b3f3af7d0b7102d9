"""RNN, UNIDIRECTIONAL_SEQUENCE_RNN and BIDIRECTIONAL_SEQUENCE_RNN."""

from __future__ import annotations

from collections.abc import Sequence

from tflgpu.delegates.device import DeviceLimits
from tflgpu.delegates.launch import Lowered, Temp
from tflgpu.delegates.lowering.recurrent.linear import Accumulation, inputs_of_all_times, weights_of
from tflgpu.delegates.lowering.recurrent.sequence import ACTIVATIONS, UPSTREAM_TANH, Time, checked, emit, state, time_of
from tflgpu.delegates.lowering.registry import constant, lowers, require
from tflgpu.model.graph import Node, TensorSpec


@lowers("RNN", "UNIDIRECTIONAL_SEQUENCE_RNN", variables=True)
def rnn(node: Node, limits: DeviceLimits) -> Lowered:
    """A layer over a sequence, or over one step."""
    x = node.input(0)
    over = time_of(x, node.op == "RNN" or bool(node.options.time_major))
    return checked(_layer(node, 1, [(x, node.input(1))], over, (node.outputs[0], 0), limits))


@lowers("BIDIRECTIONAL_SEQUENCE_RNN", variables=True)
def bidirectional_rnn(node: Node, limits: DeviceLimits) -> Lowered:
    """A layer forward and one backward in time."""
    x, aux = node.input(0), node.optional(9)
    over = time_of(x, bool(node.options.time_major))
    aux_weights = node.optional(10), node.optional(11)
    require((aux_weights[0] is None) == (aux_weights[1] is None), "auxiliary weights of one direction")
    linked = aux_weights[0] is not None
    require(not linked or aux is not None, "auxiliary weights without an input")
    require(aux is None or linked or aux.shape == x.shape, "an auxiliary input of another shape")
    merged = len(node.outputs) == 1
    n = node.input(1).shape[0]
    targets = [(node.outputs[0], 0), (node.outputs[0], n) if merged else (node.outputs[1], 0)]
    launches: Lowered = []
    for first, extra, (out, column), back in zip((1, 5), aux_weights, targets, (False, True), strict=True):
        # Upstream's batch-major loop gives the backward layer the input all the same.
        seen = aux if back and aux is not None and not linked and over.major else x
        sources = [(seen, node.input(first))]
        if aux is not None and extra is not None:
            sources.append((aux, extra))
        launches += _layer(node, first, sources, over, (out, column), limits, back)
    # Upstream's hybrid time-major loop runs the whole sequence once for each time, states carried on.
    repeats = over.steps if over.major and node.input(1).type != "FLOAT32" else 1
    return checked(launches * repeats)


def _layer(
    node: Node,
    first: int,
    sources: Sequence[tuple[TensorSpec, TensorSpec]],
    over: Time,
    target: tuple[TensorSpec, int],
    limits: DeviceLimits,
    reverse: bool = False,
) -> Lowered:
    """h = activation(W x + R h + bias), and y = h, at each time step. sources: inputs and their weights."""
    recurrent, bias = node.input(first + 1), node.input(first + 2)
    n, asymmetric = recurrent.shape[0], bool(node.options.asymmetric_quantize_inputs)
    hidden = state(node.input(first + 3), over.n_batch * n)
    name = node.options.fused_activation_function
    require(name in ACTIVATIONS, f"the activation {name}")
    hybrid = recurrent.type != "FLOAT32"
    weighted = [(x, weights_of([w])) for x, w in sources]
    before, launches = inputs_of_all_times(weighted, constant(bias, "a bias"), over, asymmetric, limits)
    step = Accumulation.of(hidden, over.n_batch, weights_of([recurrent]), asymmetric, limits)
    total = Temp(4 * over.n_batch * n)
    act = UPSTREAM_TANH if hybrid and name == "TANH" else ACTIVATIONS[name]
    out, column = target
    output_at = over.row_step_and_offset(out.shape[-1], column, reverse)
    steps = step.launches(before, *over.row_step_and_offset(n, 0, reverse), total)
    steps.append(emit(total, hidden, out, over.n_batch * n, n, output_at, "f32", "f32", act))
    return [*launches, *over.walk(steps, step.gemm.macs, limits)]
