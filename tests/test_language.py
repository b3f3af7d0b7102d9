"""The project's words are the field's: what a stranger would not understand is refused, with what to say instead."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
SUFFIXES = {".py", ".md", ".cl", ".clh", ".cu", ".cuh", ".h", ".toml", ".sh"}

RESULTS = ("benchmarks/results/",)
"""Only the words of EVERYWHERE are refused here: results name kernels as they were called when measured."""


class Word(NamedTuple):
    """pattern: what is refused. say: what to say. unless: phrases in which the word has its usual sense.

    terms_of: the files and folders in which the word is a term.
    """

    pattern: str
    say: str
    unless: str = r"(?!)"
    terms_of: tuple[str, ...] = ()


EVERYWHERE = [
    Word(r"CodeMap|PairMap|all_codes\(dtype|codes_step|pairs_step|CodesProduct|QuickHybrid", "the name's successor"),
    Word(
        r"scaled_code|BYTE_TABLES|LAST_TABLE|all_blocks_meet|BARRIER_OF_ALL|lanes_of\b|(all|means)_codes",
        "the name's successor",
    ),
    Word(r"\bbyte tables?\b", "8-bit lookup tables"),
    Word(r"\bkept[ _]plans?\b", "plan cache"),
    Word(r"\bpatches of (the )?image|\bimage rows\b", "im2col, row-parallel image kernel"),
    Word(r"\bquantized codes?\b", "quantized values"),
    Word(r"\brows? of places\b", "rows of output pixels"),
]

IN_OUR_TEXTS = [
    Word(
        r"\bcodes?\b|\b_?codes?_|_codes?\b",
        "quantized value, or int8 value",
        r"(custom|operator|builtin|error|exit|vector|NEON|C\+\+|code_only|one|machine)[ _-]?codes?|opcode|code_only"
        r"|\b(f_code|co_code|_code\()|\.code\(\)|status_code|</?code\b|^code \{|\b[Tt]he code\b",
        ("tflgpu/exec/", "tests/cli/test_exec.py", "docs/compatibility.md", "delegates/emulator/"),  # of programs
    ),
    Word(
        r"\bmatrix products?\b|\bproducts? of (matrices|rows)\b|_product_with\b|\bproduct_with\b",
        "GEMM",
        "dot product of rows",
    ),
    Word(r"\b[Pp]atch(es)?\b|\bPATCHES\b", "im2col", terms_of=("tflgpu/exec/",)),
    Word(
        r"\bplaces?\b|_places?\b",
        "location, offset, index or output pixel",
        r"\b[Ii]n[ _](its |their )?place\b|_in_place|runs? in its place"
        r"|\b(read|write)\(place\)|, where place$|; place is \"host\"",
        ("tflgpu/memory.py", "docs/delegates.md", "delegates/abi/"),
    ),
    Word(
        r"\bparts?\b|_parts?\b|\bPart\b",
        "slice, term or partition",
        r"(real|imaginary) part|(positive|negative|band|diag)_part|: part of|are part of the interface|\.parts\b"
        r"|\"2 parts of\"",
    ),
    Word(r"\bhalves\b", "float16, or ties", r"signed[ _]halves|which halves|moves halves"),
    Word(r"\bbehind\b", "after", "stayed behind"),
    Word(
        r"\b(last|next|each|every|one|first|a) turns?\b|\bturn by turn\b|\bturns\b(?! an? )|\bin[ _]turn\b"
        r"|\bgo(es)? round\b",
        "iteration, spin",
    ),
    Word(r"\b(that )?only running( it)?( can)? tells?\b|\bonly by running\b", "known only at run time"),
    Word(r"\bto be had\b", "available"),
    Word(r"\bstands? (before|in front of|beside|between|above|below) ", "is, or precedes"),
    Word(r"\bdoes not stand\b|\bcompilers? stands?\b", "support"),
    Word(r"\bone[ -]code\b", "one step, or differs by 1", r"\"one-code\""),
    Word(r"\bstretch(es)?\b", "split-K, row span", r"stretch_dim"),
    Word(r"\bwiring\b", "definitions and uses"),
    Word(r"\btold_plainly\b", "plain_errors"),
    Word(r"\bin a circle\b", "in a cycle"),
    Word(r"\bteams?\b", "persistent kernel"),
    Word(
        r"\bturned\b(?! (on|off|into)\b)",
        "transposed, reversed or rotated",
        terms_of=("tests/ops/custom/", "tflgpu/conformance/cases/indexing.py"),  # names of cases, which are their seeds
    ),
    Word(r"\blies? over\b", "overlaps"),
    Word(r"\bas (it|they) lies?\b", "as stored, in place"),
    Word(r"\bshared out\b", "divided among"),
    Word(r"\bspeaks? of\b", "names"),
    Word(r"\bwhat becomes of\b", "the result of"),
    Word(r"\btaken off\b", "subtracted"),
]


def tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a checkout of git")
    return [name for name in listed.stdout.splitlines() if Path(name).suffix in SUFFIXES and name != OWN]


OWN = str(Path(__file__).relative_to(ROOT))


def refused(line: str, word: Word) -> str | None:
    """The private word that a line has, or None."""
    found = re.search(word.pattern, re.sub(word.unless, "", line))
    return found.group() if found else None


def private_words(name: str, words: list[Word]) -> list[str]:
    """file:line, the word and what to say, for every private word of a file."""
    path = ROOT / name
    if path.is_symlink() or not path.is_file():
        return []
    text = path.read_text()
    suspects = [word for word in words if not name.startswith(word.terms_of) and re.search(word.pattern, text)]
    return [
        f"{name}:{number}: {found!r}: say {word.say}"
        for number, line in enumerate(text.splitlines() if suspects else (), 1)
        for word in suspects
        if (found := refused(line, word))
    ]


def test_the_code_speaks_the_language_of_the_field() -> None:
    found = [told for name in tracked() for told in private_words(name, EVERYWHERE)]
    found += [told for name in tracked() if not name.startswith(RESULTS) for told in private_words(name, IN_OUR_TEXTS)]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("line", "private"),
    [
        ("# int8 codes below zero", True),
        ("raise OpError(error_code)", False),
        ("operator_codes = raw.operator_codes", False),
        ("the place of a pixel", True),
        ("x is clamped in place", False),
        ("one row behind the other", True),
        ("known only by running it", True),
        ("the imaginary part of x", False),
        ("the first part of x", True),
        ("iterations are told by turns", True),
        ("kernels that compilers stand", True),
        ("off by one code", True),
    ],
)
def test_a_word_is_refused_in_its_private_sense_alone(line: str, private: bool) -> None:
    assert any(refused(line, word) for word in IN_OUR_TEXTS) == private
