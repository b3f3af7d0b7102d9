"""Text as the numbers of its words, by the tokenizer that a model's metadata names."""

from __future__ import annotations

import re

from tflgpu.metadata import Metadata, TensorMetadata


def regex_tokens(text: str, metadata: Metadata, tensor: TensorMetadata) -> list[int]:
    """The words between matches of the tokenizer's pattern, by the vocabulary's numbers, after <START>.

    An unknown word is <UNKNOWN>, as in MediaPipe and the Task Library. Raises ValueError for another tokenizer.
    """
    assert tensor.tokenizer is not None
    name, files = tensor.tokenizer
    if name != "RegexTokenizer" or not files:
        raise ValueError(f"the model reads tokens of {name}; only RegexTokenizer is known: give the ids as .npy")
    numbers: dict[str, int] = {}
    for line in metadata.read(files[0]).decode("utf-8", "replace").splitlines():
        word, _, number = line.rpartition(" ")
        if word and number.isdigit():
            numbers[word] = int(number)
    try:
        words = [word for word in re.split(tensor.pattern, text) if word]
    except re.error as error:
        raise ValueError(f"the tokenizer's pattern {tensor.pattern!r}: {error}") from None
    unknown = numbers.get("<UNKNOWN>", 0)
    start = [numbers["<START>"]] if "<START>" in numbers else []
    return start + [numbers.get(word, unknown) for word in words]
