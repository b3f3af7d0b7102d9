"""Flex operators on strings, and the regular expressions that they take."""

from __future__ import annotations

import numpy as np
import pytest
from flex_models import model, run, strings
from oracle import tflgpu_run

import tflgpu
from tflgpu import Limits
from tflgpu.ops.flex.regular_expressions import compiled
from tflgpu.ops.registry import OpError

TEXTS = strings("Hello, World!", "  a  b c ", "", "Straße ÄÖ", b"\xff bad")


def test_case_and_white_space():
    (lower,) = run("StringLower", [TEXTS], "STRING")
    assert lower.tolist() == [b"hello, world!", b"  a  b c ", b"", "straße ÄÖ".encode(), b"\xff bad"]
    (lower,) = run("StringLower", [TEXTS[:4]], "STRING", encoding="utf-8")
    assert lower[3] == "straße äö".encode()
    (upper,) = run("StringUpper", [TEXTS[:2]], "STRING")
    assert upper.tolist() == [b"HELLO, WORLD!", b"  A  B C "]
    (stripped,) = run("StringStrip", [TEXTS[:2]], "STRING")
    assert stripped.tolist() == [b"Hello, World!", b"a  b c"]


def test_splits_are_sparse():
    indices, values, shape = run("StringSplitV2", [TEXTS[:3], strings("").reshape(())], "INT64 STRING INT64")
    assert values.tolist() == [b"Hello,", b"World!", b"a", b"b", b"c"] and shape.tolist() == [3, 3]
    assert indices.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1], [1, 2]]
    _, values, shape = run("StringSplitV2", [TEXTS[1:3], strings(" ").reshape(())], "INT64 STRING INT64", maxsplit=2)
    assert values.tolist() == [b"", b"", b"a  b c ", b""] and shape.tolist() == [2, 3]
    # White space that ends where the last split does leaves an empty rest, unlike Python's.
    _, values, _ = run("StringSplitV2", [strings("a b"), strings("").reshape(())], "INT64 STRING INT64", maxsplit=2)
    assert values.tolist() == [b"a", b"b", b""]


@pytest.mark.parametrize(
    "pattern, rewrite, text, want",
    [
        (r"[!,]", "", "Hello, World!", "Hello World"),
        (r"(\w+)\s*(\w?)", r"\2-\1", "ab c", "c-ab"),
        (r"l*", "-", "hello", "-h-e-o-"),  # no empty match right after another
        (r"[[:punct:]]|[[:space:]]", "_", "a,b c\vd", "a_b_c_d"),
        (r"\s", "_", "a\vb c", "a\vb_c"),  # \s of RE2 has no vertical tab
        (r"a$", "b", "a\na", "a\nb"),
        (r"a$", "b", "a\n", "a\n"),
        (r"ß.", "ss", "Straße", "Strass"),
        (r"<br ?/>", r"\\", "x<br />y<br/>", "x\\y\\"),
        (r"(?i)ABC{2}", "x", "abcc", "x"),
    ],
)
def test_regular_expressions_are_those_of_re2(pattern, rewrite, text, want):
    (got,) = run("StaticRegexReplace", [strings(text)], "STRING", pattern=pattern, rewrite=rewrite)
    assert got[0].decode() == want
    inputs = [strings(text), strings(pattern).reshape(()), strings(rewrite).reshape(())]
    assert run("RegexReplace", inputs, "STRING")[0][0].decode() == want


def test_only_the_first_match_is_replaced_where_the_attribute_says_so():
    (got,) = run("StaticRegexReplace", [strings("aaa")], "STRING", pattern="a", rewrite="b", replace_global=False)
    assert got[0] == b"baa"


@pytest.mark.parametrize(
    "pattern, reason",
    [
        (r"(a+)+b", "a repetition of more than single characters"),
        (r"(a|a)*b", "a repetition of more than single characters"),
        (r"a*" * 20, "20 unbounded repetitions"),
        (r"a?" * 20, "1,048,576 ways to match"),
        (r"(a|ab)" * 20, "1,048,576 ways to match"),
        (r"a{0,99}" * 3, "1,000,000 ways to match"),
        (r"(a)\1", "groupref"),
        (r"a(?=b)", "assert"),
        (r"\pL", "bad escape"),
        (r"(", "missing \\)"),
        (r"[[:what:]]", r"\[:what:\]"),
        (b"\xff", "decode"),
        (r"(" * 5000 + ")" * 5000, "."),
    ],
)
def test_patterns_that_could_run_for_ever_or_are_not_re2s_are_refused(pattern, reason):
    with pytest.raises(OpError, match=reason):
        compiled(pattern if isinstance(pattern, bytes) else pattern.encode())


def test_rewrites_name_groups_that_there_are():
    with pytest.raises(RuntimeError, match="Invalid rewrite pattern"):
        run("StaticRegexReplace", [strings("a")], "STRING", pattern="(a)", rewrite=r"\2")


def test_strings_that_grow_beyond_the_limit():
    data = model("StaticRegexReplace", [strings("a" * 1000)], "STRING", pattern="a", rewrite="b" * 10000)
    interpreter = tflgpu.Interpreter(model_content=data, limits=Limits(memory_bytes=1 << 20))
    with pytest.raises(RuntimeError, match="longer than 1,048,576"):
        interpreter.allocate_tensors()
        interpreter.set_tensor(0, strings("a" * 1000))
        interpreter.invoke()
    data = model("StringJoin", [np.full(1000, b"", object), (strings("x" * 10000).reshape(()),)], "STRING", N=2)
    interpreter = tflgpu.Interpreter(model_content=data, limits=Limits(memory_bytes=1 << 20))
    interpreter.allocate_tensors()
    with pytest.raises(RuntimeError, match=r"needs 10,000,000 bytes"):
        interpreter.invoke()


def test_joins_lengths_and_hashes():
    (joined,) = run("StringJoin", [TEXTS[:2], (strings("|").reshape(()),)], "STRING", N=2, separator="-")
    assert joined.tolist() == [b"Hello, World!-|", b"  a  b c -|"]
    assert run("StringLength", [TEXTS], "INT32")[0].tolist() == [13, 9, 0, 12, 5]
    assert run("StringLength", [TEXTS[:4]], "INT32", unit="UTF8_CHAR")[0].tolist() == [13, 9, 0, 9]
    # FarmHash's Fingerprint64 of "" and of "a", modulo 2**62.
    (hashed,) = run("StringToHashBucketFast", [strings("", "a")], "INT64", num_buckets=2**62)
    assert hashed.tolist() == [0x9AE16A3B2F90404F % 2**62, 12917804110809363939 % 2**62]


@pytest.mark.parametrize(
    "values, attributes, want",
    [
        (np.array([1.5, -1000], np.float32), {}, ["1.500000", "-1000.000000"]),
        (np.array([1.5], np.float32), {"precision": 2, "width": 9, "fill": "0"}, ["000001.50"]),
        (np.array([1.5e10], np.float32), {"scientific": True, "precision": 1}, ["1.5e+10"]),
        (np.array([0.5, 1e20], np.float32), {"shortest": True}, ["0.5", "1e+20"]),
        (np.array([7, -7], np.int64), {"width": 4, "fill": " "}, ["   7", "  -7"]),
        (np.array([True, False]), {}, ["true", "false"]),
    ],
)
def test_numbers_are_written_as_printf_writes_them(values, attributes, want):
    assert [text.decode() for text in run("AsString", [values], "STRING", **attributes)[0]] == want


def test_numbers_are_read():
    assert run("StringToNumber", [strings("1.5", " -2e3 ", "inf")], "FLOAT32")[0].tolist() == [1.5, -2000, np.inf]
    assert run("StringToNumber", [strings("12", "-3")], "INT32")[0].tolist() == [12, -3]
    for text, type in (("x", "FLOAT32"), ("1_0", "FLOAT32"), ("3000000000", "INT32"), ("1.5", "INT32")):
        with pytest.raises(RuntimeError, match="could not correctly convert string"):
            run("StringToNumber", [strings(text)], type)


def test_code_points():
    splits, points = run("UnicodeDecode", [TEXTS], "INT64 INT32", input_encoding="UTF-8")
    assert splits.tolist() == [0, 13, 22, 22, 31, 36]
    assert points[22:31].tolist() == list(map(ord, "Straße ÄÖ")) and points[31] == 0xFFFD
    with pytest.raises(RuntimeError, match="Invalid formatting"):
        run("UnicodeDecode", [TEXTS], "INT64 INT32", input_encoding="UTF-8", errors="strict")


def test_texts_are_formatted_and_printed(capfd):
    x = np.arange(10, dtype=np.int32)
    (text,) = run(
        "StringFormat", [x, np.array([[1.5, 2]], np.float32)], "STRING", template="x {} y {}!", placeholder="{}"
    )
    assert text.item() == b"x [0 1 2 ... 7 8 9] y [[1.5 2]]!"
    (listed,) = run("StringFormat", [strings("a", "b")], "STRING", template="{}", placeholder="{}")
    assert listed.item() == b"[a b]"
    text = strings(text.item()).reshape(())
    tflgpu_run(model("PrintV2", [text], ""), [text])
    tflgpu_run(model("PrintV2", [(text,)], "", output_stream="stdout", end="\n\n"), [])
    told = capfd.readouterr()
    assert told.err.endswith(text.item().decode() + "\n") and told.out == text.item().decode() + "\n\n"
