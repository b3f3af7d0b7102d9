"""Functions that TensorFlow's converter leaves to Flex operators, run by tflgpu and by TensorFlow itself.

ci/flex.sh makes an environment with TensorFlow and runs this there; the suite needs no TensorFlow.

    python tests/flex_against_tensorflow.py [PART OF A NAME …]

prints the Flex operators of every function's model and the largest difference, and exits with 1 where a result differs
by more than the function's tolerance, or where tflgpu does not run it.
"""

from __future__ import annotations

import inspect
import os
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from flex_functions import FUNCTIONS, Function
from flex_models import run

import tflgpu
from tflgpu.conformance.reference import answer
from tflgpu.model.loader import load
from tflgpu.ops.flex.elementwise import BINARY, FLOATS, GRADIENTS, GRADIENTS_OF_RESULTS, UNARY


def converted(function: Function) -> tuple[bytes, list[np.ndarray]]:
    """The function as a .tflite model, and what TensorFlow answers."""
    specs = [tf.TensorSpec(function.shape(x), tf.as_dtype(x.dtype), f"x{i}") for i, x in enumerate(function.inputs)]
    module = tf.Module()
    module.call = tf.function(lambda *xs: tf.nest.flatten(function.call(*xs)), input_signature=specs)
    concrete = module.call.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    if function.keeps_lists:
        converter._experimental_lower_tensor_list_ops = False
    answers = concrete(*map(tf.constant, function.inputs))
    return converter.convert(), [found.numpy() for found in answers]


def of_tflgpu(model: bytes, inputs: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    """The outputs, by the order of their names where the model has a signature: others may lie in another order."""
    interpreter = tflgpu.Interpreter(model_content=model)
    if interpreter.get_signature_list():
        outputs = interpreter.get_signature_runner()(**{f"x{i}": x for i, x in enumerate(inputs)})
        return [outputs[name] for name in sorted(outputs, key=lambda name: int(name.rpartition("_")[2]))]
    return answer(interpreter, inputs)


def difference(got: np.ndarray, want: np.ndarray) -> float:
    """The largest difference, relative where the value is above 1; infinite where types or shapes differ."""
    want = np.asarray(want)
    if got.shape != want.shape or got.dtype != want.dtype:
        print(f"    {got.dtype} {got.shape}, TensorFlow {want.dtype} {want.shape}")
        return np.inf
    if want.dtype.kind in "OSU":
        return 0.0 if got.tolist() == want.tolist() else np.inf
    if want.dtype.kind in "biu":
        return 0.0 if (got == want).all() else np.inf
    same = (got == want) | (np.isnan(got) & np.isnan(want))
    with np.errstate(all="ignore"):
        far = np.abs(got - want) / np.maximum(1, np.abs(want))
    return float(np.where(same, 0, far).max(initial=0))


class Variables(tf.Module):
    """Variables that are saved and restored as in TensorFlow's tutorial on training on a device."""

    def __init__(self):
        rng = np.random.default_rng(1)
        self.w = tf.Variable(np.round(rng.normal(size=(300, 70))).astype(np.float32), name="w")
        self.b = tf.Variable(np.arange(-3, 4, dtype=np.int64), name="b")

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
    def save(self, path):
        tf.raw_ops.Save(filename=path, tensor_names=["w", "b"], data=[self.w, self.b])
        return {"path": path}

    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
    def restore(self, path):
        self.w.assign(tf.raw_ops.Restore(file_pattern=path, tensor_name="w", dt=tf.float32))
        self.b.assign(tf.raw_ops.Restore(file_pattern=path, tensor_name="b", dt=tf.int64))
        return {"w": self.w, "b": self.b}

    @tf.function(input_signature=[tf.TensorSpec([300, 70])])
    def train(self, g):
        self.w.assign_sub(0.1 * g)
        return {"w": self.w}


def element_wise() -> int:
    """Holds every element-wise operator, of every type, to TensorFlow's; the converter leaves few of them as Flex."""
    wrong = 0
    tables = {**{op: t for op, (_, t) in UNARY.items()}, **{op: t for op, (_, t) in BINARY.items()}}
    tables |= dict.fromkeys((*GRADIENTS, *GRADIENTS_OF_RESULTS), FLOATS)
    for op, types in tables.items():
        theirs = getattr(tf.raw_ops, op)
        for type in types.split():
            inputs = [some(type, seed) for seed in range(1 if op in UNARY else 2)]
            try:
                want = theirs(**dict(zip(inspect.signature(theirs).parameters, map(tf.constant, inputs), strict=False)))
            except (tf.errors.InvalidArgumentError, tf.errors.NotFoundError, tf.errors.UnimplementedError):
                continue  # TensorFlow has it not of this type
            far = difference(run(op, inputs, type)[0], want.numpy())
            if not far <= {"FLOAT16": 2e-3}.get(type, 1e-5):
                wrong += 1
                print(f"WRONG {op} of {type}: {far:.2g}")
    print(f"{'WRONG' if wrong else 'ok   '} {len(tables)} element-wise operators")
    return wrong


def some(type: str, seed: int) -> np.ndarray:
    """Values of an element type: integers around 0, none of them 0; floats around 0."""
    rng, dtype = np.random.default_rng(seed), np.dtype(type.lower())
    if dtype.kind in "iu":
        low = 0 if dtype.kind == "u" else -9
        return np.where((x := rng.integers(low, 9, 40)) == 0, 1, x).astype(dtype)
    x = rng.normal(size=40)
    return (x + 1j * rng.normal(size=40) if dtype.kind == "c" else x).astype(dtype)


def checkpoints(folder: str) -> int:
    """Whether each of the two reads what the other has written, and tflgpu what it has itself, after training."""
    module = Variables()
    first = module.w.numpy()
    tf.saved_model.save(module, folder + "/saved", {n: getattr(module, n) for n in ("save", "restore", "train")})
    converter = tf.lite.TFLiteConverter.from_saved_model(folder + "/saved")
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    converter.experimental_enable_resource_variables = True
    interpreter = tflgpu.Interpreter(model_content=converter.convert())
    trained = interpreter.get_signature_runner("train")(g=np.ones((300, 70), np.float32))["w"]
    ours, theirs = (np.array(f"{folder}/{name}", object) for name in ("ours", "theirs"))
    interpreter.get_signature_runner("save")(path=ours)
    module.save(theirs.item())
    again = interpreter.get_signature_runner("restore")(path=theirs)
    back = interpreter.get_signature_runner("restore")(path=ours)
    read = module.restore(ours.item())
    fine = all(
        np.array_equal(a, b)
        for a, b in (
            (again["w"], first),
            (back["w"], trained),
            (read["w"], trained),
            (read["b"], back["b"]),
        )
    )
    print(f"{'ok   ' if fine else 'WRONG'} checkpoints")
    return int(not fine)


def refused() -> int:
    """How many operators TensorFlow would run for a model that touch files, addresses or programs."""
    wrong = 0
    for op in ("WriteFile", "ReadFile", "MatchingFiles", "SaveV2", "PyFunc", "PyFuncStateless", "DebugIdentity"):
        try:
            run(op, [np.array(["/tmp/x"], object)], "STRING")
            wrong += 1
            print(f"WRONG {op} is run")
        except RuntimeError as error:
            wrong += "touches more than its inputs and outputs" not in str(error)
    print(f"{'WRONG' if wrong else 'ok   '} operators that touch files are refused")
    return wrong


def flex_operators(model: bytes) -> list[str]:
    graphs = load(content=model).graphs
    return sorted({node.op for graph in graphs for node in graph.nodes if node.op.startswith("Flex")})


def main(words: list[str]) -> int:
    wrong = 0
    for name, function in FUNCTIONS.items():
        if words and not any(word in name for word in words):
            continue
        try:
            model, want = converted(function)
        except Exception as error:
            print(f"{name}: TensorFlow does not convert it: {str(error)[:150]!r}")
            continue
        try:
            got = of_tflgpu(model, function.inputs)
            far = max(difference(g, w) for g, w in zip(got, want, strict=True))
            said = f"{far:.2g}"
        except Exception as error:
            far, said = np.inf, f"{type(error).__name__}: {str(error)[:300]}"
        fine = far <= function.tolerance
        wrong += not fine
        print(f"{'ok   ' if fine else 'WRONG'} {name}: {said}  {' '.join(flex_operators(model))}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        wrong += 0 if words else checkpoints(folder) + element_wise() + refused()
    print(f"{wrong} wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
