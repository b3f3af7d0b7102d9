"""Writes a .litertlm bundle of a small transformer with seeded weights, which speaks no language.

python examples/llm/make_bundle.py BUNDLE.litertlm [--weights int4|int8|float32]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from transformer import Size, transformer

from tflgpu.bundle import litertlm

SMALL = Size(vocabulary=512, width=64, layers=2, heads=4, kv_heads=2, hidden=128, length=64)


def small(weights: str = "int4") -> bytes:
    """The bundle."""
    model = transformer(SMALL, weights, prefill=(16, 4))
    return litertlm([("TFLiteModel", model, {"model_type": "tf_lite_prefill_decode"})])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--weights", choices=("int4", "int8", "float32"), default="int4")
    given = parser.parse_args()
    given.bundle.write_bytes(small(given.weights))


if __name__ == "__main__":
    main()
