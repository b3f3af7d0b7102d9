"""The model of cost: the delegate's own of its GEMMs, floors of bytes and launches of all else."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from architectures import ARCHITECTURES, Network
from cost import CARDS, GemmSizes, card_of, cost, kernels, limits_of, modelled, seconds
from models import tflite

from tflgpu.delegates.lowering.gemm.block_sizes import cycles, tiles_of

CARD = CARDS["H200"]


def test_a_gemm_takes_the_cycles_by_which_the_delegate_chose_it() -> None:
    net = Network((1, 28, 28, 64))
    net.conv(net.input, 128)
    (kernel,) = kernels(tflite(net), "fp32", CARD)
    assert kernel.nbytes == 4 * (28 * 28 * (64 + 128) + 64 * 128 + 128)
    g = GemmSizes(28 * 28, 128, 64, int8=False)
    own = cycles(g, tiles_of(kernel.macros), kernel.grid[2], limits_of(CARD, "fp32"))
    assert seconds(kernel, CARD) == pytest.approx(own / CARD.clock + CARD.gap)


def test_a_launch_takes_at_least_the_time_of_its_bytes() -> None:
    net = Network((64, 56, 56, 64))
    net.unary("LOGISTIC", net.input)
    (kernel,) = kernels(tflite(net), "fp32", CARD)
    assert kernel.nbytes == 2 * 4 * 64 * 56 * 56 * 64
    assert seconds(kernel, CARD) == pytest.approx(kernel.nbytes / CARD.memory + CARD.gap)
    assert seconds(replace(kernel, nbytes=8), CARD) < 20e-6


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_an_invoke_is_its_launches_its_copies_and_the_host(kind: str) -> None:
    network = ARCHITECTURES["mobilenet_v2"](1, 32)
    data = tflite(network, kind)
    found = modelled(data, network, "fp32", "H200")
    run = kernels(data, "fp32", CARD)
    assert found.launches == len(run) and found.card == pytest.approx(sum(seconds(one, CARD) for one in run))
    assert found.ms > cost(run, 0, CARD).ms > found.card * 1e3
    assert modelled(data, network, "fp32", "A100").card > found.card


def test_cards_are_known_by_the_names_that_drivers_say() -> None:
    assert card_of("NVIDIA H200 (compute capability 9.0)") == "H200"
    assert card_of("NVIDIA H100 80GB HBM3") == "H100"
    assert card_of("emulator on x86_64") == ""
