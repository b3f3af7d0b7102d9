"""Pages that a command makes are what it makes now; what they show runs, exists, and leads somewhere."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tflgpu
from tflgpu.edit.describe import put_labels
from tflgpu.edit.document import Document
from tflgpu.model.builder import ModelBuilder

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]


def blocks(language):
    """(page and line, text) of every fenced block of a language."""
    found = []
    for page in PAGES:
        text = page.read_text()
        for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.M | re.S):
            where = f"{page.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 2}"
            found.append(pytest.param(match[1], id=where))
    return found


def test_operators_page_is_fresh():
    subprocess.run([sys.executable, str(ROOT / "docs" / "make_operators.py"), "--check"], check=True)


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
        if words[:1] != ["tflgpu"]:
            continue
        known = {option for parameter in commands[words[1]].params for option in parameter.opts}
        if words[1] == "exec":
            known = {str(name) for option in option_parser().option_list for name in str(option).split("/")}
        unknown = {word.partition("=")[0] for word in words[2:] if word.startswith("-")} - known
        assert not unknown, line


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
