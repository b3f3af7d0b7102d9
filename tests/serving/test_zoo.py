"""Rows of whole models in batches, against the same rows one by one. TFLGPU_ZOO=all takes every model of the corpus."""

from __future__ import annotations

import io
import json
import os
import zipfile
from typing import Any

import numpy as np
import pytest
from checkout import CORPUS

import tflgpu

ZOO = CORPUS / "zoo"
SAMPLE = (
    "coral_keras_lstm_mnist_ptq",  # keeps state
    "ddsp_extract_features_micro",  # has no batch
    "litert_q_einsum",  # has a batch of eight
    "lyra_quantizer",  # has signatures alone
    "mlperf_kws_ref_model",
    "oww_melspectrogram",
    "tfls_movie_review",
)
ROWS = 6

pytestmark = pytest.mark.skipif(not ZOO.exists(), reason="the corpus is not beside this checkout (../shared/corpus)")


def chosen() -> list[str]:
    if not ZOO.exists():
        return []
    names = [model["name"] for model in json.loads((ZOO / "manifest.json").read_text())]
    return names if os.environ.get("TFLGPU_ZOO") == "all" else [name for name in names if name in SAMPLE]


def rows_for(model: bytes, name: str) -> dict[str, Any]:
    """Rows like the recorded inputs, each moved along its last axis and so unlike the others."""
    entry = tflgpu.Predictor(model).open()
    with zipfile.ZipFile(ZOO / "golden.zip") as golden:
        if f"{name}.npz" not in golden.namelist():
            recorded = {n: np.zeros(port.own, port.dtype) for n, port in entry.inputs.items()}
        else:
            arrays = np.load(io.BytesIO(golden.read(f"{name}.npz")), allow_pickle=True)
            recorded = {n: arrays[f"in_{i}"] for i, n in enumerate(entry.inputs)}
    return {n: np.stack([np.roll(x, 3 * row, -1) for row in range(ROWS)]) for n, x in recorded.items()}


def joined(results: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: np.stack([result[name] for result in results]) for name in results[0]}


@pytest.mark.parametrize("name", chosen())
def test_rows_in_batches_equal_rows_one_by_one(name):
    with zipfile.ZipFile(ZOO / "models.zip") as models:
        model = models.read(f"{name}.tflite")
    whole = rows_for(model, name)
    entry = tflgpu.Predictor(model).open()
    wanted = joined([entry.invoke({n: x[row] for n, x in whole.items()}) for row in range(ROWS)])
    predictor = tflgpu.Predictor(model)
    own = predictor.rows.own
    for got in (predictor(whole), batches(tflgpu.Predictor(model), whole, own)):
        for output, value in wanted.items():
            np.testing.assert_array_equal(got[output].reshape(value.shape), value, output)
    resized = tflgpu.Predictor(model, batch=4 * max(own, 1))
    for got in [batches(resized, whole, own)] + [batches(resized, whole, own)] * (not entry.stateful):
        for output, value in wanted.items():
            close = {"rtol": 2e-2, "atol": 2e-2 * np.abs(value).max(initial=0)} if value.dtype.kind == "f" else {}
            compare = np.testing.assert_allclose if close else np.testing.assert_array_equal
            compare(got[output].reshape(value.shape), value, err_msg=output, **close)


def batches(predictor: tflgpu.Predictor, whole: dict[str, Any], own: int) -> dict[str, Any]:
    """The results of whole inputs as rows of one batch, where the model has one."""
    if not own:
        return predictor(whole)
    return predictor({name: x.reshape(-1, *x.shape[2:]) for name, x in whole.items()})
