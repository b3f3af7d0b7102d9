"""The examples of one machine and of many, as they are run by hand: Ray, the server, and its client."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys

import pytest
from checkout import ROOT

pytest.importorskip("sklearn", reason="pip install 'tflgpu[examples]', whose digits are classified")
EXAMPLES = ROOT / "examples" / "scale"


def said_by(*command: object) -> str:
    environment = {**os.environ, "PYTHON": sys.executable, "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run([*map(str, command)], env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="pip install 'tflgpu[ray]'")
def test_a_folder_of_images_is_classified_on_ray():
    right, count = map(
        int, re.findall(r"(\d+) of (\d+) digits are right", said_by(sys.executable, EXAMPLES / "images_on_ray.py"))[0]
    )
    assert right > 0.95 * count > 0


@pytest.mark.skipif(importlib.util.find_spec("kserve") is None, reason="pip install 'tflgpu[serve]'")
def test_two_models_are_served_to_a_client():
    shares = re.findall(r"(\d+\.\d)% of \d+ digits are right", said_by("bash", EXAMPLES / "serve.sh"))
    assert len(shares) == 2 and min(map(float, shares)) > 95
