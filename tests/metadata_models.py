"""A model that says what it is."""

from __future__ import annotations

from tflgpu.model.associated_files import appended
from tflgpu.model.builder import ModelBuilder
from tflgpu.model.schema_metadata import METADATA_ENTRY, METADATA_IDENTIFIER
from tflgpu.model.writer import serialize


def described(**files: bytes) -> bytes:
    """A classifier of one pixel's channels that normalizes, is calibrated, and has labels in two languages."""
    m = ModelBuilder()
    g = m.graph()
    y = g.tensor("y", "FLOAT32", [1, 1, 1, 3])
    g.node("ABS", [g.input("x", "FLOAT32", [1, 1, 1, 3])], [y])
    g.outputs(y)
    image = ("ImageProperties", {"color_space": "RGB"})
    normalization = ("NormalizationOptions", {"mean": [10.0, 20.0, 30.0], "std": [2.0]})
    calibration = ("ScoreCalibrationOptions", {"score_transformation": "INVERSE_LOGISTIC", "default_score": -1.0})
    x = {"name": "image", "content": {"content_properties": image}, "process_units": [{"options": normalization}]}
    kinds = {"en.txt": "TENSOR_AXIS_LABELS", "de.txt": "TENSOR_AXIS_LABELS", "c.csv": "TENSOR_AXIS_SCORE_CALIBRATION"}
    attached = [{"name": name, "type": kind, "locale": name[:2]} for name, kind in kinds.items()]
    out = {"name": "score", "process_units": [{"options": calibration}], "associated_files": attached}
    graph = {"input_tensor_metadata": [x], "output_tensor_metadata": [out]}
    content = serialize({"name": "colours", "subgraph_metadata": [graph]}, "ModelMetadata", METADATA_IDENTIFIER)
    m.metadata(METADATA_ENTRY, content)
    given = {"en.txt": b"red\ngreen\nblue\n", "de.txt": b"rot\n", "c.csv": b"1,2,0.5\n\n1,1,0,0.9\n"}
    return appended(m.build(), given | files)
