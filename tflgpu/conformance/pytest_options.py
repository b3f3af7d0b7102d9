"""The options of `pytest --pyargs tflgpu.conformance`, as a plugin: a conftest's come too late for that command."""

from __future__ import annotations

from pathlib import Path

import pytest

ROUNDINGS = ("reference", "one-step", "one-code")
"""The last is what one-step was called once."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance", "conformance of a delegate (tflgpu)")
    group.addoption("--delegate", help="A name, a library's path, or module:callable.")
    group.addoption("--delegate-option", action="append", default=[], metavar="KEY=VALUE", help="Repeatable.")
    group.addoption("--quick", action="store_true", help="The edges of every operator and type.")
    group.addoption("--precision", default="fp32", choices=("fp32", "tf32", "fp16"))
    group.addoption("--rounding", default="reference", choices=ROUNDINGS, metavar="{reference,one-step}")
    group.addoption("--tolerances", type=Path, help="A JSON file of wider bounds, with reasons.")
    group.addoption("--case-timeout", type=float, default=60.0, help="Seconds that one case may take.")
    group.addoption("--reproducers", default="", help="The folder for models that fail.")
