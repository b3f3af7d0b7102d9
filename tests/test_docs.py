"""Pages that a command makes are what it makes now; what they show runs, exists, and leads somewhere."""

import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import tflgpu
from tflgpu.edit.describe import put_labels
from tflgpu.edit.document import Document
from tflgpu.model.builder import ModelBuilder

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]


def blocks(language, *pages):
    """(page and line, text) of every fenced block of a language, in all pages unless told which."""
    found = []
    for page in pages or PAGES:
        text = page.read_text()
        for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.M | re.S):
            where = f"{page.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 2}"
            found.append(pytest.param(match[1], id=where))
    return found


@pytest.mark.parametrize("program", ["make_operators.py", "make_pictures.py", "make_plots.py"])
def test_what_programs_make_is_fresh(program):
    subprocess.run([sys.executable, str(ROOT / "docs" / program), "--check"], check=True)


def test_every_page_is_in_the_sites_navigation_once():
    named = re.findall(r"^ +- .*: ([\w/]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M)
    assert sorted(named) == sorted(str(p.relative_to(ROOT / "docs")) for p in (ROOT / "docs").rglob("*.md"))


def picture_model():
    """An image of 224 x 224 to ten numbers."""
    m = ModelBuilder()
    g = m.graph()
    x = g.input("image", "FLOAT32", [1, 224, 224, 3])
    pooled = g.tensor("pooled", "FLOAT32", [1, 1, 1, 3])
    y = g.tensor("scores", "FLOAT32", [1, 1, 1, 3])
    g.node(
        "AVERAGE_POOL_2D", [x], [pooled], padding="VALID", filter_height=224, filter_width=224, stride_h=1, stride_w=1
    )
    g.node("SOFTMAX", [pooled], [y], beta=1.0)
    g.outputs(y)
    m.signature("serving_default", g, inputs={"image": x}, outputs={"scores": y})
    return m.build()


@pytest.mark.parametrize("snippet", blocks("python"))
def test_snippets_run(snippet, tmp_path, monkeypatch):
    if "import cupy" in snippet or "cupy.empty" in snippet:
        pytest.skip("needs a GPU")
    if 'load_delegate("cuda"' in snippet:
        snippet = re.sub(r'load_delegate\("cuda".*?\}\)', 'load_delegate("opencl")', snippet)  # the same interface
    if "opencl" in snippet:
        pytest.importorskip("pyopencl")
    if "ai_edge_litert" in snippet:
        pytest.importorskip("ai_edge_litert")
    snippet = "\n".join(line for line in snippet.splitlines() if "tensorflow." not in line)
    document = Document(picture_model())
    put_labels(document, "labels.txt", b"cat\ndog\nbird")
    (tmp_path / "model.tflite").write_bytes(document.build())
    if "cat.jpg" in snippet:
        pytest.importorskip("PIL.Image").new("RGB", (30, 20)).save(tmp_path / "cat.jpg")
    if "hands.task" in snippet:
        with zipfile.ZipFile(tmp_path / "hands.task", "w") as bundle:
            bundle.writestr("hand_landmarks_detector.tflite", document.build())
    monkeypatch.chdir(tmp_path)
    known = dict(tflgpu.ops.registry.OPS)
    try:
        exec(snippet, {"tflgpu": tflgpu, "np": np, "image": np.zeros((1, 224, 224, 3), np.float32)})
    finally:
        tflgpu.ops.registry.OPS.clear()
        tflgpu.ops.registry.OPS.update(known)


@pytest.mark.parametrize("text", blocks("sh"))
def test_commands_and_their_options_exist(text):
    typer = pytest.importorskip("typer")
    from tflgpu.cli.app import app
    from tflgpu.cli.exec import option_parser

    commands = typer.main.get_command(app).commands
    for line in text.splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["examples/run.sh"]:
            program = (ROOT / "examples" / words[1]).read_text()
            unknown = [word for word in words[2:] if word.startswith("-") and f'"{word}"' not in program]
            assert not unknown, line
        if words[:1] != ["tflgpu"]:
            continue
        known = {option for p in commands[words[1]].params for option in (*p.opts, *p.secondary_opts)}
        if words[1] == "exec":
            known = {str(name) for option in option_parser().option_list for name in str(option).split("/")}
        unknown = {word.partition("=")[0] for word in words[2:] if word.startswith("-")} - known
        assert not unknown, line


STARTS = [line for block in blocks("sh", ROOT / "docs" / "index.md") for line in block.values[0].splitlines()]


@pytest.mark.parametrize("line", [line for line in STARTS if "examples/" in line])
def test_commands_of_the_start_page_run(line, monkeypatch):
    pytest.importorskip("PIL.Image")
    if "opencl" in line:
        pytest.importorskip("pyopencl")
    from typer.testing import CliRunner

    from tflgpu.cli.app import app

    monkeypatch.chdir(ROOT)
    ran = CliRunner().invoke(app, shlex.split(line)[1:])
    assert ran.exit_code == 0, ran.output
    assert "seven" in ran.output or "--input" not in line
    assert "10 nodes delegated out of 10" in ran.output or "inspect" not in line or "opencl" not in line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_named_files_exist(page):
    text = page.read_text()
    for target in re.findall(r"\]\((?!https?:)([^)#]*)(#[^)]*)?\)", text):
        other = page.parent / target[0] if target[0] else page
        assert other.exists(), target
        anchors = {
            "#" + re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-")
            for title in (re.findall(r"^#+ (.*)$", other.read_text(), re.M) if other.suffix == ".md" else ())
        }
        assert not target[1] or target[1] in anchors, target
    for name in re.findall(r"`((?:tflgpu|delegates|kernels\w*|tests|ci|benchmarks|docs|examples)/[\w./]+)`", text):
        assert "/stem." in name or (ROOT / name).exists(), name
