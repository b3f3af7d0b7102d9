"""CONV_2D and DEPTHWISE_CONV_2D of float32 with 8- and 4-bit filters, held to LiteRT's reference resolver."""

from __future__ import annotations

import pytest
from conv_layers import geometry_of, layer, same


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("channels", [(3, 4), (17, 5), (32, 8)])
@pytest.mark.parametrize("kernel", [1, 3])
def test_hybrid_conv_follows_the_reference(per_channel, channels, kernel):
    """5 channels and weights of -128 meet the x86 dot product that takes them for +128 against negative codes."""
    g = geometry_of(6, 7, kernel, kernel, 1, 1, "SAME", "RELU")
    same(*layer("CONV_2D", g, "FLOAT32", "INT8", "FLOAT32", channels, per_channel=per_channel, version=5), atol=1e-4)


@pytest.mark.parametrize("multiplier", [1, 2])
def test_hybrid_depthwise_follows_the_reference(multiplier):
    g = geometry_of(6, 7, 3, 2, 2, 1, "SAME", "RELU6")
    model = layer(
        "DEPTHWISE_CONV_2D",
        g,
        "FLOAT32",
        "INT8",
        "FLOAT32",
        (4, 4 * multiplier),
        depth_multiplier=multiplier,
        version=6,
    )
    same(*model, atol=1e-4)


@pytest.mark.parametrize(("filter_type", "version"), [("UINT8", 2), ("INT4", 5), ("INT8", 6)])
@pytest.mark.parametrize("groups", [1, 2])
def test_hybrid_conv_of_other_filters_follows_the_reference(filter_type, version, groups):
    per_channel = filter_type != "UINT8"
    if groups > 1 and not per_channel:
        return
    g = geometry_of(6, 7, 3, 3, 1, 2, "SAME")
    more = {"per_channel": per_channel, "groups": groups, "version": version}
    same(*layer("CONV_2D", g, "FLOAT32", filter_type, "FLOAT32", (4, 6), **more), atol=1e-4)
