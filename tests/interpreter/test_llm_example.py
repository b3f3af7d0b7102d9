"""The example that generates text with a language model, on a bundle that the project's builders make."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from devices import opencl
from opencl_runtimes import require_intel

from tflgpu.bundle import litertlm, read_bundle
from tflgpu.interpreter import Interpreter

EXAMPLE = Path(__file__).parents[2] / "examples" / "llm"
sys.path.insert(0, str(EXAMPLE))
from generate import LanguageModel, greedy, streamed, top_p  # noqa: E402  of the example
from transformer import Size, transformer  # noqa: E402

SIZE = Size(vocabulary=96, width=64, layers=2, heads=4, kv_heads=2, hidden=64, length=24)
PROMPT = [5, 9, 2, 41, 7, 7, 60, 3]


def model(prefill: tuple[int, ...] = (4, 2), delegates: list[object] | None = None) -> LanguageModel:
    bundle = read_bundle(litertlm([("TFLiteModel", transformer(SIZE, "float32", prefill), {})]))
    return LanguageModel(Interpreter(model_content=bundle.model().content, experimental_delegates=delegates))


def test_prompts_are_read_in_steps_of_any_size_and_on_devices_with_the_same_result() -> None:
    want = list(model(()).continued(PROMPT, greedy, 8))
    assert len(want) == 8
    assert list(model().continued(PROMPT, greedy, 8)) == want
    assert list(model(delegates=[opencl(require_intel())]).continued(PROMPT, greedy, 8)) == want


def test_a_model_begins_anew_with_each_prompt_and_ends_where_its_caches_are_full() -> None:
    one = model()
    first = list(one.continued(PROMPT, greedy, 100))
    assert len(first) == SIZE.length - len(PROMPT) + 1
    assert list(one.continued(PROMPT, greedy, 100)) == first
    with pytest.raises(ValueError, match="1 to 24 tokens, not 25"):
        next(one.continued([1] * 25, greedy, 1))


def test_top_p_draws_from_the_fewest_tokens_that_have_the_probability() -> None:
    logits = np.log(np.array([0.05, 0.5, 0.15, 0.3], np.float32))
    random = np.random.default_rng(0)
    drawn = [top_p(0.7, 1.0, random)(logits) for _ in range(2000)]
    assert set(drawn) == {1, 3}
    assert abs(drawn.count(1) / 2000 - 0.5 / 0.8) < 0.04
    assert {top_p(1.0, 1.0, random)(logits) for _ in range(500)} == {0, 1, 2, 3}
    assert {top_p(0.0, 1.0, random)(logits) for _ in range(50)} == {1} == {greedy(logits)}


def test_text_is_streamed_once_its_characters_are_whole() -> None:
    pieces = [b"a", "é".encode()[:1], "é".encode()[1:], b"b"]
    text = list(streamed(iter(range(4)), lambda tokens: b"".join(pieces[i] for i in tokens).decode(errors="replace")))
    assert text == ["a", "é", "b"]


def test_the_programs_make_a_bundle_and_generate_from_it(tmp_path: Path) -> None:
    bundle = str(tmp_path / "small.litertlm")
    subprocess.run([sys.executable, str(EXAMPLE / "make_bundle.py"), bundle], check=True)
    command = [sys.executable, str(EXAMPLE / "generate.py"), bundle, "--prompt", "1 2 3", "--tokens", "5"]
    outputs = [
        subprocess.run([*command, *more], check=True, capture_output=True, text=True).stdout.split()
        for more in ([], ["--top-p", "0.9", "--seed", "1"])
    ]
    assert [len(words) for words in outputs] == [5, 5]
    stopped = subprocess.run([*command, "--stop", outputs[0][2]], check=True, capture_output=True, text=True).stdout
    assert stopped.split() == outputs[0][: outputs[0].index(outputs[0][2])]


def test_without_a_model_it_makes_one() -> None:
    command = [sys.executable, str(EXAMPLE / "generate.py"), "--tokens", "5"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert len(said.split()) == 5 and all(0 <= int(token) < 512 for token in said.split())
