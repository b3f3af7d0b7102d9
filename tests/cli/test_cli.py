"""The command line, on the digits models of examples/."""

import io
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from checkout import EXAMPLES

pytest.importorskip("typer")
from rich.console import Console
from typer.testing import CliRunner

import tflgpu
from tflgpu.cli.app import app
from tflgpu.cli.benchmark import Schedule, files, measured, value_ranges
from tflgpu.cli.models import console
from tflgpu.model.builder import ModelBuilder

DIGITS = EXAMPLES / "digits"
FLOAT32 = str(DIGITS / "digits_float32.tflite")
INT8 = str(DIGITS / "digits_int8.tflite")


def told(*arguments, status=0):
    console.width = 200  # tables do not wrap
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == status, result.output
    return result.output


def test_run_summarises_the_output():
    text = told("run", FLOAT32)
    assert "softmax" in text and "float32" in text and "[1, 10]" in text


def test_run_takes_files_and_saves_outputs(tmp_path):
    image = np.random.default_rng(0).random((1, 8, 8, 1), np.float32)
    np.save(tmp_path / "image.npy", image)
    np.savez(tmp_path / "both.npz", image=image, other=image)
    for given in ("image.npy", "both.npz"):
        told("run", FLOAT32, "--input", str(tmp_path / given), "--output", str(tmp_path / "out.npz"))
        (probabilities,) = np.load(tmp_path / "out.npz").values()
        assert probabilities.shape == (1, 10) and abs(probabilities.sum() - 1) < 1e-5


def test_run_takes_an_image(tmp_path):
    image = pytest.importorskip("PIL.Image")
    image.fromarray(np.eye(16, dtype=np.uint8) * 255).save(tmp_path / "image.png")
    for model in (FLOAT32, INT8):
        assert "[1, 10]" in told("run", model, "--input", f"image={tmp_path / 'image.png'}")


def test_the_same_seed_gives_the_same_outputs(tmp_path):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        told("run", INT8, "--seed", seed, "--output", str(tmp_path / f"{name}.npz"))
    a, b, c = (next(iter(np.load(tmp_path / f"{name}.npz").values())) for name in "abc")
    assert np.array_equal(a, b) and not np.array_equal(a, c)


def test_inspect_as_json_counts_what_is_in_the_model():
    facts = json.loads(told("inspect", FLOAT32, "--json"))
    assert facts["ops"]["CONV_2D"] == 3 and facts["ops"]["DEPTHWISE_CONV_2D"] == 2
    assert facts["inputs"][0]["shape"] == [1, 8, 8, 1] and facts["inputs"][0]["shape_signature"] == [-1, 8, 8, 1]
    # 64 output pixels: 9*16, then 9*16 + 16*32; 16 output pixels: 9*32 + 32*64; the dense layer.
    assert facts["macs"] == 64 * (9 * 16 + 9 * 16 + 16 * 32) + 16 * (9 * 32 + 32 * 64) + 640
    assert facts["signatures"] == {"classify": {"inputs": ["image"], "outputs": ["probabilities"]}}


def test_inspect_shows_every_node():
    text = told("inspect", INT8)
    assert text.count("CONV_2D") >= 5 and "million multiply-accumulates" in text


def test_inspect_shows_the_steps_before_and_after_each_pass_of_a_delegate():
    pytest.importorskip("pyopencl")
    text = told("inspect", FLOAT32, "--delegate", "opencl", "--passes", "--no-nodes")
    passes = re.findall(r"^(\w+): \d+ steps", text, re.M)
    assert passes[:3] == ["fold_conv_padding", "match_attention", "lower_nodes"] and passes[-1] == "join_launches"
    lowered = text[text.index("lower_nodes:") : text.index("copy_live_out_aliases:")]
    assert re.search(r"^  - \d+: %\d+ = CONV_2D\(", lowered, re.M)
    assert re.search(r"^  \+ \d+: %\d+ = \w+\.\w+\(", lowered, re.M)


def test_passes_are_those_of_a_delegate():
    assert "--passes is for a delegate that has passes" in told("inspect", FLOAT32, "--passes", status=1)


def test_compile_fills_the_cache_of_a_delegate(tmp_path):
    pytest.importorskip("pyopencl")
    options = {"cache_dir": str(tmp_path / "cache")}
    named = ("--delegate", "opencl", "--delegate-option", f"cache_dir={options['cache_dir']}")
    assert "opencl delegate: 10 nodes delegated out of 10" in told("compile", FLOAT32, *named)
    delegate, told_of = tflgpu.load_delegate("opencl", options), []
    delegate.watch_kernels(lambda done, of: told_of.append((done, of)))
    files = set(os.listdir(options["cache_dir"]))
    tflgpu.Interpreter(FLOAT32, experimental_delegates=[delegate]).allocate_tensors()
    assert set(os.listdir(options["cache_dir"])) == files
    assert told_of == [(done, len(told_of) - 1) for done in range(len(told_of))] and len(told_of) > 1


def test_compile_wants_a_delegate_that_compiles():
    assert "name a delegate that has kernels" in told("compile", FLOAT32, status=1)


def test_which_kernel_is_being_compiled_is_written_over_and_cleared(monkeypatch):
    from tflgpu.cli import models

    terminal = io.StringIO()
    monkeypatch.setattr(models, "errors", Console(file=terminal, force_terminal=True))
    models.show_kernels(1, 2)
    models.show_kernels(2, 2)
    assert terminal.getvalue().split("\r") == [f"{'compiling kernels 2 of 2':40}", 40 * " ", ""]


def test_inspect_shows_where_activations_lie():
    plan = json.loads(told("inspect", FLOAT32, "--json"))["memory_plan"]
    inside = [where for where in plan if where["offset"] is not None]
    assert len(inside) >= 8 and all(where["offset"] % 64 == 0 for where in inside)
    assert "memory plan" in told("inspect", FLOAT32, "--memory")


def test_compare_shows_every_node():
    pytest.importorskip("ai_edge_litert")
    text = told("compare", INT8, "--nodes")
    assert "0 CONV_2D, tensor" in text and "9 SOFTMAX, tensor" in text


def test_benchmark_takes_the_flags_of_benchmark_model(tmp_path):
    csv, trace = tmp_path / "profile.csv", tmp_path / "trace.json"
    text = told(
        "benchmark", FLOAT32, "--num_runs=3", "--min_secs=0", "--warmup_min_secs=0", "--num_threads=1",
        "--input_layer=image", "--input_layer_shape=2,8,8,1", "--input_layer_value_range=image,0,1",
        "--enable_op_profiling", f"--profiling_output_csv_file={csv}", f"--trace={trace}",
    )  # fmt: skip
    assert "3 runs" in text and "99th percentile" in text and "3 CONV_2D" in text
    assert len(csv.read_text().splitlines()) == 1 + 10
    events = json.loads(trace.read_text())["traceEvents"]
    assert len(events) == 30 and {e["cat"] for e in events} >= {"CONV_2D", "SOFTMAX"}


def test_compare_with_litert():
    pytest.importorskip("ai_edge_litert")
    assert "equal" in told("compare", INT8)
    assert "differs" not in told("compare", FLOAT32, "--against", "litert")


def test_compare_names_the_first_node_that_differs():
    pytest.importorskip("ai_edge_litert")
    # No float agrees within nothing at all with one summed in another order.
    text = told("compare", FLOAT32, "--rtol", "0", "--atol", "0", status=1)
    assert re.search(r"first diverging node: \d+ (DEPTHWISE_)?CONV_2D, output tensor \d+: largest difference", text)


@pytest.mark.parametrize(
    "arguments, text",
    [
        (("run", FLOAT32, "-d", "nonesuch"), "nonesuch"),
        (("run", FLOAT32, "-i", "wrong=x.npy"), "no input wrong"),
        (("run", FLOAT32, "-i", "no_such_file.npy"), "no_such_file.npy"),
        (("compare", FLOAT32, "--against", "magic"), "--against takes cpu"),
        (("benchmark", FLOAT32, "--input_layer=x", "--input_layer_shape=1"), "no input 'x'"),
        (("benchmark", FLOAT32, "--input_layer_shape=1:2"), "has 2 shapes for the inputs ['image']"),
        (("benchmark", FLOAT32, "--input_layer_shape=1,a"), "takes sizes such as 1,224,224,3, not '1,a'"),
        (("benchmark", FLOAT32, "--input_layer_value_range=image,1"), "takes name,low,high, not 'image,1'"),
        (("benchmark", FLOAT32, "--input_layer_value_range=image,2,1"), "2 is above 1"),
        (("benchmark", FLOAT32, "--input_layer_value_range=x,1,2"), "no input x"),
        (("run", FLOAT32, "-o", "device=1"), "name one with --delegate"),
    ],
)
def test_errors_are_one_message(arguments, text):
    output = told(*arguments, status=1)
    assert "error:" in output and text in output and "Traceback" not in output


def test_inputs_that_cannot_be_read_are_named_with_their_file(tmp_path):
    np.savez(tmp_path / "none.npz")
    np.save(tmp_path / "objects.npy", np.array([None]), allow_pickle=True)
    for name in ("text.npy", "text.npz", "text.png", "six.raw", "six.txt"):
        (tmp_path / name).write_text("hello\n")
    for name, text in (
        ("none.npz", "no arrays"),
        ("objects.npy", "allow_pickle=False"),
        ("text.npy", "not a file that NumPy has saved"),
        ("text.npz", "not a file that NumPy has saved"),
        ("text.png", "cannot identify image file"),
        ("six.raw", "raw bytes must be 64, are 6"),
        ("six.txt", "text needs a tokenizer, and the metadata has none"),
    ):
        output = told("run", INT8, "-i", str(tmp_path / name), status=1)
        assert "error: input 'image', which takes int8 [1, 8, 8, 1], from" in output and name in output, output
        assert text in output, output


def test_a_shape_that_a_model_cannot_take_is_said_beside_the_nodes_words(tmp_path):
    np.save(tmp_path / "flat.npy", np.zeros((2, 3), np.int8))
    output = told("run", INT8, "-i", str(tmp_path / "flat.npy"), status=1)
    assert "(CONV_2D) failed to prepare" in output
    assert "resized: 'image' from [1, 8, 8, 1] to [2, 3]" in output


def test_a_file_may_have_a_sign_of_equality_in_its_name_and_the_saved_one_is_named(tmp_path):
    np.save(tmp_path / "a=b.npy", np.zeros((1, 8, 8, 1), np.int8))
    text = told("run", INT8, "-i", str(tmp_path / "a=b.npy"), "--output", str(tmp_path / "out"))
    assert (tmp_path / "out.npz").exists() and "out.npz" in text


def test_names_in_a_model_are_no_markup(tmp_path):
    m = ModelBuilder()
    g = m.graph(name="[/main]")
    x = g.input("[red]x[/]:zzz:", "FLOAT32", [1])
    y = g.tensor("y[/b]", "FLOAT32", [1])
    g.node("ABS", [x], [y])
    g.outputs(y)
    path = tmp_path / "named.tflite"
    path.write_bytes(m.build())
    assert "[red]x[/]:zzz:" in told("inspect", str(path)) and "y[/b]" in told("run", str(path))


def test_benchmark_takes_its_model_as_benchmark_model_does():
    fast = ("--num_runs=1", "--min_secs=0", "--warmup_min_secs=0")
    assert "1 runs" in told("benchmark", f"--graph={INT8}", *fast)
    assert "given once" in told("benchmark", *fast, status=1)


def test_what_cannot_be_prepared_is_shown_all_the_same_and_may_be_given_a_shape(tmp_path):
    m = ModelBuilder()
    g = m.graph()
    x = g.input("x", "FLOAT32", [1, 2])
    y = g.tensor("y", "FLOAT32", [2, 3])
    g.node("RESHAPE", [x, g.constant("shape", np.array([2, 3], np.int32))], [y])
    g.outputs(y)
    path = tmp_path / "six.tflite"
    path.write_bytes(m.build())
    text = told("inspect", str(path), status=1)
    assert "1 RESHAPE" in text and "error:" in text and "failed to prepare" in text and "--shape" in text
    assert "error:" not in told("inspect", str(path), "--shape", "x=1,6")
    assert "[2, 3]" in told("run", str(path), "--shape", "x=6")
    told("compare", str(path), "--against", "cpu", "--shape", "x=6")
    assert "no input 'z'" in told("run", str(path), "-s", "z=6", status=1)
    assert "not 'a'" in told("run", str(path), "-s", "x=a", status=1)


def test_the_version_is_told():
    assert told("--version") == f"tflgpu {tflgpu.__version__}\n"


def test_doctor_says_what_is_there():
    text = told("doctor")
    assert "numpy" in text and "opencl" in text and "cuda" in text


@pytest.mark.parametrize("command", ["run", "inspect", "benchmark", "compare"])
def test_limits_of_commands_are_refused_by_name_and_can_be_lifted(command):
    arguments = [
        command,
        FLOAT32,
        *(["--num_runs", "1", "--min_secs", "0", "--warmup_min_secs", "0"] * (command == "benchmark")),
    ]
    arguments += ["--against", "cpu"] * (command == "compare")
    assert "limits.tensor_elements = 10" in told(*arguments, "--limit", "tensor_elements=10", status=1)
    assert "no limit 'hours'" in told(*arguments, "--limit", "hours=1", status=1)
    told(*arguments, "--limit", "memory_bytes=none", "--limit", "seconds=100")


def test_benchmark_takes_booleans_with_values_names_with_colons_files_and_signatures(tmp_path):
    x = np.zeros((1, 8, 8, 1), np.float32)
    x.tofile(tmp_path / "x.raw")
    quick = ("--num_runs=2", "--min_secs=0", "--warmup_min_secs=0")
    text = told(
        "benchmark", FLOAT32, *quick, "--enable_op_profiling=false", "--use_xnnpack=true", "--use_gpu=false",
        f"--input_layer_value_files=image:{tmp_path / 'x.raw'}", "--verbose=true",
        "--report_peak_memory_footprint=true",
    )  # fmt: skip
    assert "2 runs" in text and "runs a second" in text and "peak memory" in text and "ten slowest" not in text
    assert "ten slowest" in told("benchmark", FLOAT32, *quick, "--enable_op_profiling=true")
    assert "2 runs" in told("benchmark", FLOAT32, *quick, "--signature_to_run_for=classify")
    assert value_ranges("serving_x:0,-1,2e1:b,0,1") == {"serving_x:0": (-1, 20), "b": (0, 1)}
    assert files("a:0:f.raw,a:g.raw", ["a:0", "a"]) == ["a:0=f.raw", "a=g.raw"]
    assert files(r"a\:0:f.raw", ["a:0", "a"]) == ["a:0=f.raw"]


def test_benchmark_has_rows_for_the_kernels_of_the_best_gpu():
    pytest.importorskip("pyopencl")
    text = told("benchmark", FLOAT32, "--num_runs=2", "--min_secs=0", "--use_gpu=true", "--enable_op_profiling=true")
    assert "10 nodes delegated out of 10" in text and "kernels on the device" in text and "softmax: 9 SOFTMAX" in text


def test_benchmark_as_json_has_every_time():
    facts = json.loads(told("benchmark", FLOAT32, "--num_runs=3", "--min_secs=0", "--warmup_min_secs=0", "--json"))
    assert len(facts["times_ms"]) == facts["runs"] == 3 and facts["milliseconds"]["least"] == min(facts["times_ms"])


def test_an_interrupt_keeps_what_benchmark_measured():
    times = []

    def work():
        times.append(0)
        if len(times) > 4:
            raise KeyboardInterrupt

    assert len(measured(work, Schedule(1, 0, 9, 0), Schedule(9, 0, 9, 0), lambda: None)) == 3


def test_benchmark_shows_the_kernels_of_a_delegate_and_the_nodes_that_they_join(tmp_path):
    pytest.importorskip("pyopencl")
    csv, trace = tmp_path / "profile.csv", tmp_path / "trace.json"
    quick = ("--num_runs=2", "--min_secs=0", "--warmup_min_secs=0", "-d", "opencl", "--enable_op_profiling")
    text = told("benchmark", FLOAT32, *quick, f"--profiling_output_csv_file={csv}", f"--trace={trace}")
    assert "kernels on the device" in text and "softmax: 9 SOFTMAX" in text
    nodes = {
        name
        for row in csv.read_text().splitlines()
        if ",kernel,2," in row
        for name in re.findall(r"\d+ [A-Z_0-9]+", row)
    }
    assert {int(name.split()[0]) for name in nodes} == set(range(10))
    events = json.loads(trace.read_text())["traceEvents"]
    assert sum(event["name"] == "softmax: 9 SOFTMAX" and event["dur"] > 0 for event in events) == 2
    kernels = json.loads(told("benchmark", FLOAT32, *quick, "--json"))["kernels"]
    assert {"name": "softmax", "nodes": ["9 SOFTMAX"], "runs": 2} in [
        {k: x[k] for k in ("name", "nodes", "runs")} for x in kernels
    ]


def test_inspect_shows_metadata_and_groups_what_runs_where(tmp_path):
    told("edit", INT8, str(tmp_path / "m.tflite"), "--labels", str(EXAMPLES / "digits" / "run.sh"))
    text = told("inspect", str(tmp_path / "m.tflite"))
    assert "metadata of output 0: name 9/softmax, files run.sh (TENSOR_AXIS_LABELS)" in text
    assert "(quantized + 128)" in text and "#0 int8[1,8,8,1]" in text
    pytest.importorskip("pyopencl")
    text = told("inspect", INT8, "-d", "opencl", "-o", "skip_ops=SOFTMAX,CONV_2D", "--no-nodes")
    assert re.search(r"│ CPU +│ 3 CONV_2D +│ opencl: the options leave CONV_2D to the CPU +│", text)


@pytest.mark.parametrize("command", ["run", "inspect", "edit", "benchmark", "compare", "conformance"])
def test_help_never_cuts_the_name_of_an_option(command):
    text = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "60"}).output
    assert "…" not in text and "--help" in text


def test_output_that_is_no_terminal_is_never_cut():
    script = f"from tflgpu.cli import main; import sys; sys.argv = ['tflgpu', 'inspect', {INT8!r}]; main()"
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment).stdout
    assert "…" not in shown and "#8 int32[32]" in shown


def test_doctor_as_json_says_what_the_tables_say():
    facts = json.loads(told("doctor", "--json"))
    assert facts["tflgpu"] == tflgpu.__version__ and {"cuda", "opencl"} <= {d["name"] for d in facts["delegates"]}
    assert next(p for p in facts["packages"] if p["name"] == "numpy")["version"] == np.__version__


def test_doctor_needs_no_extra():
    script = "import sys; sys.modules['rich'] = sys.modules['typer'] = None; sys.argv = ['tflgpu', 'doctor']; "
    run = [sys.executable, "-c", script + "from tflgpu.cli import main; main()"]
    shown = subprocess.run(run, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert "numpy " in shown.stdout and "delegate opencl: " in shown.stdout
