"""Checks a manifest of KServe offline: every field is one of the SDK's models, and the server takes its arguments.

python ci/check_manifest.py examples/scale/inferenceservice.yaml
"""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace
from typing import Any

import kubernetes.client
import typer
import yaml
from kserve import ApiClient

from tflgpu.cli.app import app

KSERVE = ApiClient()
KUBERNETES = kubernetes.client.ApiClient()

POD = {"containers", "volumes", "terminationGracePeriodSeconds"}
"""The fields of a predictor that are those of a pod."""


def checked(client: Any, given: Any, kind: str, where: str) -> None:
    """Raises ValueError where an object has a field that its kind has not, or lacks one that it must have."""
    try:
        read = client.deserialize(SimpleNamespace(data=json.dumps(given)), kind)
    except TypeError:  # later clients take the text and its content type
        read = client.deserialize(json.dumps(given), kind, "application/json")
    again = client.sanitize_for_serialization(read)
    if again != given:
        raise ValueError(f"{where}: {kind} has other fields: {given} is read as {again}")


def check(manifest: dict[str, Any]) -> None:
    """Raises ValueError, naming what is wrong."""
    spec = manifest["spec"]["predictor"]
    pod = {name: spec[name] for name in spec if name in POD}
    predictor = {name: spec[name] for name in spec if name not in POD}
    outer = {name: manifest[name] for name in manifest if name != "metadata"}
    checked(KSERVE, {**outer, "spec": {"predictor": predictor}}, "V1beta1InferenceService", "the manifest")
    checked(KUBERNETES, manifest["metadata"], "V1ObjectMeta", "metadata")
    checked(KUBERNETES, pod, "V1PodSpec", "spec.predictor")
    (container,) = spec["containers"]
    command = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
    command.make_context("serve", ["/", *container["args"][1:]])


if __name__ == "__main__":
    for path in sys.argv[1:]:
        with open(path) as file:
            check(yaml.safe_load(file))
        print(f"{path} is valid")
