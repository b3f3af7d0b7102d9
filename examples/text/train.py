"""Makes lines.tflite with NumPy: in which language is a line written? Learnt from this repository's own files.

    examples/run.sh text/train.py

A naive Bayes classifier as a model: each word has a row of the logarithms of its frequency in each class, a GATHER
takes the rows of a line's words, a SUM adds them, and SOFTMAX makes likelihoods. The vocabulary and how words are
split are metadata, so that `tflgpu run` takes a .txt file.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
from classify import MODEL

from tflgpu.edit.describe import attach, put_labels, put_metadata
from tflgpu.edit.document import Document
from tflgpu.model.builder import ModelBuilder

ROOT = Path(__file__).parent.parent.parent
PATTERN = r"([A-Za-z]+|[^A-Za-z\s])|\s+"
"""What tokens are split at. The group makes words and signs themselves tokens."""

FILES = {
    "English": ["docs/*.md", "*.md"],
    "Python": ["tflgpu/**/*.py"],
    "C": ["delegates/kernels/*.h", "kernels_cuda/*.cu*", "kernels_cl/*.cl*"],
    "shell": ["ci/*.sh", "examples/**/*.sh"],
    "TOML": ["pyproject.toml", "examples/**/*.toml"],
}
LABELS = tuple(FILES)
VOCABULARY = 1000
WORDS = 64
"""Of a line, at most."""


def lines(label: str) -> list[str]:
    """Lines of at least three words or signs; of Markdown only those of paragraphs."""
    found: list[str] = []
    for pattern in FILES[label]:
        for path in sorted(ROOT.glob(pattern)):
            text = path.read_text()
            if label == "English":
                text = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
                text = re.sub(r"^[|#-].*$|`[^`\n]*`", "", text, flags=re.M)
            found += [line for line in text.splitlines() if len(line.split()) >= 3]
    return found


def log_frequencies(training: dict[str, list[str]], words: list[str]) -> np.ndarray:
    """(words, classes): the logarithm of how frequent each word is in each class, as if each were there once more."""
    numbers = {word: i for i, word in enumerate(words)}
    counts = np.ones((len(words), len(LABELS)))
    for column, label in enumerate(LABELS):
        for line in training[label]:
            for word in re.split(PATTERN, line):
                if word in numbers:
                    counts[numbers[word], column] += 1
    return np.log(counts / counts.sum(0)).astype(np.float32)


def model(rows: np.ndarray, words: list[str]) -> bytes:
    """Numbers of words [1, 64], 0 for none, to the likelihoods [1, 5] of LABELS."""
    m = ModelBuilder("tells what a line is written in")
    g = m.graph()
    ids = g.input("ids", "INT32", [1, WORDS])
    gathered = g.tensor("gathered", "FLOAT32", [1, WORDS, len(LABELS)])
    g.node("GATHER", [g.constant("rows", rows), ids], [gathered], axis=0)
    summed, likely = (g.tensor(name, "FLOAT32", [1, len(LABELS)]) for name in ("summed", "likely"))
    g.node("SUM", [gathered, g.constant("axes", np.array([1], np.int32))], [summed])
    g.node("SOFTMAX", [summed], [likely], beta=1.0)
    g.outputs(likely)
    document = Document(m.build())
    vocabulary = {"name": "words.txt", "type": "VOCABULARY"}
    tokenizer = {"delim_regex_pattern": PATTERN, "vocab_file": [vocabulary]}
    unit = {"options_type": "RegexTokenizerOptions", "options": tokenizer}
    about = {"subgraph_metadata": [{"input_tensor_metadata": [{"name": "ids", "process_units": [unit]}]}]}
    put_metadata(document, json.dumps(about))
    put_labels(document, "labels.txt", "\n".join(LABELS).encode())
    attach(document, "words.txt", "".join(f"{word} {i}\n" for i, word in enumerate(words)).encode())
    return document.build()


def main() -> None:
    rng = np.random.default_rng(7)
    training, held_out = {}, {}
    for label in LABELS:
        every = lines(label)
        order = rng.permutation(len(every))
        training[label] = [every[i] for i in order[len(every) // 5 :][:2000]]
        held_out[label] = [every[i] for i in order[: len(every) // 5][:200]]
    counts = Counter(
        word
        for some in training.values()
        for line in some
        for word in re.split(PATTERN, line)
        if word and not word.isspace()
    )
    words = ["<PAD>", "<UNKNOWN>", *(word for word, _ in counts.most_common(VOCABULARY - 2))]
    rows = log_frequencies(training, words)
    rows[:2] = 0  # neither says anything
    MODEL.write_bytes(model(rows, words))
    print(f"{MODEL.name}: {MODEL.stat().st_size:,} bytes")
    from classify import Classifier

    classify = Classifier(MODEL)
    for label, some in held_out.items():
        right = sum(classify(line)[0].label == label for line in some)
        print(f"{label}: {right} of {len(some)} lines that it was not made from are right")


if __name__ == "__main__":
    main()
