"""Generates text with a language model, token by token, from a .litertlm or .task bundle or a .tflite file.

    python examples/llm/generate.py [MODEL] [--prompt "Once upon a time"] [--delegate opencl] [--device intel]
                                    [--tokens 64] [--top-p 0.9] [--temperature 0.7] [--seed 0] [--stop ID ...]

The model has signatures `prefill_N` and `decode` as litert-torch exports them: `tokens`, `input_pos` and caches, which
stay on the device. Without --top-p the most probable token is taken each time. The bundle's tokenizer is read by the
package sentencepiece or tokenizers; without one the prompt is numbers of tokens, and so is what is printed. Without
MODEL it is the small one of make_bundle.py, whose tokens mean nothing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from make_bundle import small

import tflgpu
from tflgpu.bundle import Bundle, open_bundle, read_bundle

Choose = Callable[[npt.NDArray[np.float32]], int]
"""The next token, by the logits (vocabulary) of all tokens."""


def greedy(logits: npt.NDArray[np.float32]) -> int:
    """The most probable token."""
    return int(logits.argmax())


def top_p(p: float, temperature: float, random: np.random.Generator) -> Choose:
    """One of the most probable tokens that together have at least the probability p, drawn by theirs."""

    def choose(logits: npt.NDArray[np.float32]) -> int:
        scaled = (logits - logits.max()).astype(np.float64) / temperature
        order = np.argsort(-scaled, kind="stable")
        probabilities = np.exp(scaled[order])
        probabilities /= probabilities.sum()
        count = int(np.searchsorted(probabilities.cumsum(), p)) + 1
        kept = probabilities[:count] / probabilities[:count].sum()
        return int(order[random.choice(len(kept), p=kept)])

    return choose


class LanguageModel:
    """A model that continues a sequence of tokens. length: how many its caches hold."""

    def __init__(self, interpreter: tflgpu.Interpreter):
        runners = {key: interpreter.get_signature_runner(key) for key in interpreter.get_signature_list()}
        self._decode = runners["decode"]
        details = self._decode.get_input_details()
        self._caches = sorted(name for name in details if name.startswith("kv_cache"))
        self.length = int(details[self._caches[0]]["shape"][1])
        self._prefill = {
            int(runner.get_input_details()["tokens"]["shape"][1]): runner
            for key, runner in runners.items()
            if key.startswith("prefill")
        }
        for runner in (self._decode, *self._prefill.values()):
            runner.bind(**{name: name for name in self._caches})

    def continued(self, prompt: Sequence[int], choose: Choose, most: int) -> Iterator[int]:
        """The tokens after the prompt, each as soon as it is known; at most so many, or as the caches hold."""
        if not 0 < len(prompt) <= self.length:
            raise ValueError(f"a prompt has 1 to {self.length} tokens, not {len(prompt)}")
        for cache in self._caches:
            self._decode.set_state(cache, np.zeros_like(self._decode.get_state(cache)))
        position = self._read(prompt[:-1])
        token = prompt[-1]
        for at in range(position, min(position + most, self.length)):
            token = choose(self._step(token, at)["logits"].ravel())
            yield token

    def _read(self, tokens: Sequence[int]) -> int:
        """Fills the caches, in the largest steps that there are; the number of tokens in them."""
        position = 0
        while position < len(tokens):
            size = max((n for n in self._prefill if n <= len(tokens) - position), default=1)
            some = np.array([tokens[position : position + size]], np.int32)
            if size in self._prefill:
                self._prefill[size](tokens=some, input_pos=np.arange(position, position + size, dtype=np.int32))
            else:
                self._step(tokens[position], position)
            position += size
        return position

    def _step(self, token: int, position: int) -> dict[str, Any]:
        return self._decode(tokens=np.array([[token]], np.int32), input_pos=np.array([position], np.int32))


class Numbers:
    """Stands for a tokenizer where there is none: tokens are written as their numbers."""

    def encode(self, text: str) -> list[int]:
        return [int(word) for word in text.split()]

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(f"{token} " for token in tokens)


def tokenizer_of(bundle: Bundle | None) -> Any:
    """The bundle's tokenizer: `encode` and `decode`."""
    found = None if bundle is None else bundle.tokenizer
    if found is None:
        return Numbers()
    library, content = found
    if library == "sentencepiece":
        from sentencepiece import SentencePieceProcessor

        return SentencePieceProcessor(model_proto=content)
    from tokenizers import Tokenizer

    return _FromTokenizers(Tokenizer.from_str(content.decode()))


class _FromTokenizers:
    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer

    def encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text).ids)

    def decode(self, tokens: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(tokens)))


def opened(path: str | None) -> tuple[Any, Bundle | None]:
    """The model in a file, and the bundle if it is one; None: the small one of make_bundle.py."""
    if path is not None and path.endswith(".tflite"):
        return Path(path).read_bytes(), None
    bundle = read_bundle(small()) if path is None else open_bundle(path)
    return bundle.model().content, bundle


def streamed(tokens: Iterator[int], decode: Callable[[Sequence[int]], str]) -> Iterator[str]:
    """The text of the tokens, each piece once it is whole: a character may take several tokens."""
    known, told = list[int](), ""
    for token in tokens:
        known.append(token)
        text = decode(known)
        if not text.endswith("\N{REPLACEMENT CHARACTER}"):
            yield text[len(told) :]
            told = text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--prompt", default="1 2 3")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--top-p", type=float)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--stop", type=int, nargs="*", default=())
    parser.add_argument("--delegate")
    parser.add_argument("--device")
    given = parser.parse_args()
    content, bundle = opened(given.model)
    options = {"device": given.device} if given.device else {}
    delegates = [tflgpu.load_delegate(given.delegate, options)] if given.delegate else None
    model = LanguageModel(tflgpu.Interpreter(model_content=content, experimental_delegates=delegates))
    random = np.random.default_rng(given.seed)
    choose = greedy if given.top_p is None else top_p(given.top_p, given.temperature, random)
    tokenizer = tokenizer_of(bundle)
    tokens = model.continued(tokenizer.encode(given.prompt), choose, given.tokens)
    until = takewhile(lambda token: token not in given.stop, tokens)
    for piece in streamed(until, tokenizer.decode):
        sys.stdout.write(piece)
        sys.stdout.flush()
    print()


if __name__ == "__main__":
    main()
