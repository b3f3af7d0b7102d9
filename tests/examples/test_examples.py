"""The examples run, on the models that lie beside them, and find what is there."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def example(monkeypatch):
    """Imports a program of a folder of examples, with the modules beside it."""
    before = set(sys.modules)

    def load(folder, name):
        monkeypatch.syspath_prepend(str(EXAMPLES / folder))
        return importlib.import_module(name)

    yield load
    for name in set(sys.modules) - before:  # folders have modules of the same names
        if str(EXAMPLES) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.fixture(params=[None, "opencl"])
def on(request):
    """The arguments for a device."""
    if request.param is None:
        return []
    pytest.importorskip("pyopencl")
    return ["--delegate", request.param]


def test_a_picture_of_a_seven_is_a_seven(example, on, capsys):
    pytest.importorskip("PIL")
    example("digits", "picture").main(on)
    told = capsys.readouterr().out
    assert re.match(r" 99.6%  seven\n", told)
    assert "10 nodes delegated out of 10" in told or not on


def test_a_folder_of_pictures_goes_to_a_table(example, tmp_path, capsys):
    pytest.importorskip("sklearn")
    output = tmp_path / "labels.csv"
    example("digits", "folder").main(["--output", str(output)])
    assert "356 of 360 held-out digits are right" in capsys.readouterr().out
    assert output.read_text().splitlines()[0] == "000_7.png,seven,0.9961"


def test_digits_in_a_scene_get_boxes(example, on, tmp_path, capsys):
    pytest.importorskip("sklearn")
    output = tmp_path / "boxes.png"
    boxes = example("detection", "boxes")
    boxes.main(["--output", str(output), *on])
    labels = [line.split()[1] for line in capsys.readouterr().out.splitlines()[:-1]]
    _, truth = boxes.held_out_scene(0)
    names = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    assert sorted(labels) == sorted(names[d.label] for d in truth)
    assert np.asarray(boxes.Image.open(output)).shape == (512, 512, 3)


def test_boxes_of_a_letterboxed_picture_are_in_pixels_of_the_picture(example):
    pytest.importorskip("sklearn")
    boxes = example("detection", "boxes")
    detect = boxes.Detector(boxes.MODEL)
    picture, _ = boxes.held_out_scene(0)
    # Its middle half: the model sees it at its own size, with black above and below.
    strip = picture.crop((0, 128, 512, 384))
    whole = {box.label: box for box in detect(picture) if box.top > 128 and box.bottom < 384}
    found = {box.label: box for box in detect(strip)}
    assert "four" in whole and whole.keys() <= found.keys()
    for label, box in whole.items():
        np.testing.assert_allclose(found[label][2:], np.subtract(box[2:], [0, 128, 0, 128]), atol=2)


def test_a_film_is_read_frame_by_frame(example, tmp_path, capsys):
    pytest.importorskip("sklearn")
    camera = example("detection", "camera")
    film = tmp_path / "film.gif"
    camera.main(["--frames", "4", "--output", str(film)])
    assert re.match(r"4 frames, \d+ a second\n4 frames in ", capsys.readouterr().out)
    camera.main([str(film), "--frames", "3"])
    assert capsys.readouterr().out.startswith("3 frames, ")


def test_the_keywords_of_a_recording_are_heard_and_no_other_word(example, on, tmp_path, capsys):
    spot = example("keywords", "spot")
    sound = tmp_path / "words.wav"
    spot.main(["--save", str(sound), *on])
    told = capsys.readouterr().out
    spoken = re.findall(r"(\w+) at [\d.]+ s", told)
    heard = re.findall(r"^ *[\d.]+ s  (\w+)", told, re.M)
    assert heard == [word for word in spoken if word in ("ai", "ou", "ie", "ua")]
    assert "6 nodes delegated out of 8" in told or not on
    spot.main([str(sound)])
    assert re.findall(r"^ *[\d.]+ s  (\w+)", capsys.readouterr().out, re.M) == heard


def test_lines_are_told_apart(example, on, capsys):
    classify = example("text", "classify")
    classify.main([*classify.SOME, *on])
    labels = [line.split()[1] for line in capsys.readouterr().out.splitlines()]
    assert labels == ["English", "Python", "C", "shell", "TOML"]


@pytest.mark.parametrize("name", ["first_steps", "why_it_differs"])
def test_a_notebook_holds_what_it_says(name, monkeypatch):
    """Its cells, one after another; ci/docs.sh executes them in a kernel."""
    pytest.importorskip("sklearn")
    pytest.importorskip("pyopencl")
    monkeypatch.chdir(EXAMPLES / "notebooks")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "data", raising=False)
    cells = json.loads(Path(f"{name}.ipynb").read_text())["cells"]
    names: dict[str, object] = {}
    for cell in cells:
        if cell["cell_type"] != "markdown":
            exec("".join(cell["source"]), names)
    found = {"first_steps": "same", "why_it_differs": "worst"}
    assert names[found[name]]
