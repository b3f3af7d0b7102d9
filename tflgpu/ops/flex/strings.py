"""Strings: case, replacement, splitting, joining, lengths, numbers, hashes and Unicode."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

import numpy as np

from tflgpu.model.graph import Array, Node, Shape
from tflgpu.ops.flex.inputs import one_string
from tflgpu.ops.flex.node_def import MalformedNodeDef, attribute, choice
from tflgpu.ops.flex.regular_expressions import Substitution, compiled, replacement, substituted
from tflgpu.ops.indexing.farmhash import fingerprint64
from tflgpu.ops.registry import OpError, Runtime, function, require
from tflgpu.ops.shape_rules import broadcast, elements, same_as_input


def strings(shape: Shape, values: list[bytes]) -> Array:
    """An array of strings of a shape."""
    out = np.empty(len(values), object)
    out[:] = values
    return out.reshape(shape)


def _mapped(change: Callable[[bytes], bytes], x: Array) -> Array:
    return strings(x.shape, [change(bytes(text)) for text in x.reshape(-1)])


def _cased(ascii: Callable[[bytes], bytes], unicode: Callable[[str], str]) -> Callable[[Node, Array], Array]:
    """Strings in another case: of ASCII alone, or with encoding="utf-8" of all letters, one by one."""

    def run(node: Node, x: Array) -> Array:
        if choice(node, "encoding", ("", "utf-8")) == "":
            return _mapped(ascii, x)
        return _mapped(lambda text: unicode(text.decode("utf-8", "replace")).encode(), x)

    return run


for _name, _change in {"Lower": _cased(bytes.lower, str.lower), "Upper": _cased(bytes.upper, str.upper)}.items():
    _register = function(
        f"FlexString{_name}", inputs=1, types="STRING", shape=same_as_input, output_type="STRING", custom=True
    )
    _register(_change)


@function("FlexStringStrip", inputs=1, types="STRING", shape=same_as_input, output_type="STRING", custom=True)
def string_strip(node: Node, x: Array) -> Array:
    """Strings without white space around."""
    return _mapped(bytes.strip, x)


def _same(node: Node, runtime: Runtime) -> list[Shape]:
    return same_as_input(node)


@function(
    "FlexStaticRegexReplace", inputs=1, types="STRING", shape=_same, output_type="STRING", custom=True, stateful=True
)
def static_regex_replace(node: Node, runtime: Runtime, x: Array) -> Array:
    """Strings with what the pattern matches rewritten: the first match, or with replace_global all."""
    return _replaced(node, runtime, x, (attribute(node, "pattern", b""), attribute(node, "rewrite", b"")))


@function("FlexRegexReplace", inputs=3, types="STRING", shape=_same, output_type="STRING", custom=True, stateful=True)
def regex_replace(node: Node, runtime: Runtime, x: Array, pattern: Array, rewrite: Array) -> Array:
    """As FlexStaticRegexReplace, with the pattern and the rewrite as inputs."""
    return _replaced(node, runtime, x, (one_string(node, 1, pattern), one_string(node, 2, rewrite)))


def _replaced(node: Node, runtime: Runtime, x: Array, given: tuple[bytes, bytes]) -> Array:
    pattern, rewrite = compiled(given[0]), given[1]
    most = runtime.meter.most_nbytes // max(x.size, 1)
    by = replacement(rewrite, pattern.groups)
    how = Substitution(pattern, by, attribute(node, "replace_global", True), most)
    return _mapped(lambda text: substituted(text, how), x)


def _check_split(node: Node) -> None:
    require(len(node.input(0).shape) == 1, f"input must be a vector, got shape: {list(node.input(0).shape)}")
    require(node.input(1).type == "STRING", f"{node.input(1)} must be a STRING. ")


@function("FlexStringSplitV2", inputs=2, outputs=3, types="STRING", check=_check_split, custom=True)
def string_split_v2(node: Node, x: Array, separator: Array) -> tuple[Array, Array, Array]:
    """The pieces of x (n,) at a separator, white space where it is empty: a sparse tensor's indices, values, shape."""
    between, most = one_string(node, 1, separator), attribute(node, "maxsplit", -1)
    found = [_pieces(bytes(text), between, most) for text in x]
    rows = np.repeat(np.arange(len(found)), [len(pieces) for pieces in found])
    columns = [column for pieces in found for column in range(len(pieces))]
    indices = np.stack([rows, np.array(columns, np.int64)], axis=1).astype(np.int64).reshape(-1, 2)
    values = [piece for pieces in found for piece in pieces]
    shape = np.array([len(found), max(map(len, found), default=0)], np.int64)
    return indices, strings((len(values),), values), shape


def _pieces(text: bytes, separator: bytes, most: int) -> list[bytes]:
    if separator:
        return text.split(separator, most if most > 0 else -1)
    if most <= 0:
        return text.split()
    pieces = text.split(None, most)
    return [*pieces, b""] if len(pieces) == most else pieces  # the rest, empty as it is


def _join_shape(node: Node, runtime: Runtime) -> list[Shape]:
    for spec in node.inputs:
        require(spec is not None and spec.type == "STRING", f"{node.op}: {spec} must be a STRING. ")
    shapes = {spec.shape for spec in node.inputs if spec is not None and spec.shape != ()}
    require(len(shapes) <= 1, f"{node.op}: input shapes do not match: {' and '.join(map(str, sorted(shapes)))}. ")
    return [broadcast((), *shapes)]


@function(
    "FlexStringJoin", inputs="1+", types="STRING", shape=_join_shape, output_type="STRING", custom=True, stateful=True
)
def string_join(node: Node, runtime: Runtime, *inputs: Array) -> Array:
    """The inputs' strings, of one shape or scalars, one after the other with the separator between."""
    between = attribute(node, "separator", b"")
    count = elements(node.outputs[0].shape)
    nbytes = sum(sum(map(len, x.reshape(-1))) * (count if x.ndim == 0 else 1) for x in inputs)
    runtime.meter.reserve(nbytes + len(between) * len(inputs) * count, str(node.outputs[0]))
    rows = zip(*(np.broadcast_to(x, node.outputs[0].shape).reshape(-1) for x in inputs), strict=True)
    return strings(node.outputs[0].shape, [between.join(map(bytes, row)) for row in rows])


def _numbers(compute: Callable[[bytes], object], x: Array, node: Node) -> Array:
    found = [compute(bytes(text)) for text in x.reshape(-1)]
    return np.array(found, node.outputs[0].dtype).reshape(x.shape)


@function("FlexStringLength", inputs=1, types="STRING", shape=same_as_input, custom=True)
def string_length(node: Node, x: Array) -> Array:
    """The number of bytes, or with unit="UTF8_CHAR" of characters."""
    if choice(node, "unit", ("BYTE", "UTF8_CHAR")) == "BYTE":
        return _numbers(len, x, node)
    return _numbers(lambda text: sum(byte & 0xC0 != 0x80 for byte in text), x, node)


@function("FlexStringToHashBucketFast", inputs=1, types="STRING", shape=same_as_input, custom=True)
def string_to_hash_bucket_fast(node: Node, x: Array) -> Array:
    """FarmHash's fingerprint, modulo num_buckets."""
    buckets = attribute(node, "num_buckets", 1)
    require(buckets > 0, f"{node.op}: num_buckets is {buckets}. ")
    return _numbers(lambda text: fingerprint64(text) % buckets, x, node)


@function("FlexStringToNumber", inputs=1, types="STRING", shape=same_as_input, custom=True)
def string_to_number(node: Node, x: Array) -> Array:
    """The numbers that the strings spell. Raises OpError for one that spells none, or too large an integer."""
    dtype = node.outputs[0].dtype
    require(dtype.kind in "fiu", f"{node.outputs[0]} is no number. ")

    def number(text: bytes) -> object:
        try:
            if b"_" in text:
                raise ValueError
            found = np.asarray(float(text) if dtype.kind == "f" else int(text))
            if dtype.kind != "f":
                np.asarray(int(found), object).astype(dtype)
                info = np.iinfo(dtype)
                if not info.min <= int(text) <= info.max:
                    raise ValueError
            return found
        except (ValueError, OverflowError):
            raise OpError(
                f"StringToNumberOp could not correctly convert string: {text.decode('utf-8', 'replace')}"
            ) from None

    with np.errstate(over="ignore"):
        return _numbers(number, x, node)


def _format(node: Node) -> Callable[[object], str]:
    """How AsString writes one number."""
    type = node.input(0).type
    if type == "BOOL":
        return lambda value: "true" if value else "false"
    if type == "STRING":
        return lambda value: bytes(value).decode("utf-8", "surrogateescape")  # type: ignore[call-overload]
    precision, width = attribute(node, "precision", -1), attribute(node, "width", -1)
    scientific, shortest = attribute(node, "scientific", False), attribute(node, "shortest", False)
    fill = attribute(node, "fill", b"").decode("latin-1")
    if not (precision <= 99 and width <= 99 and fill in ("", " ", "-", "+", "0", "#")) or (scientific and shortest):
        raise MalformedNodeDef(f"{node.op}: precision {precision}, width {width}, fill {fill!r} cannot be. ")
    real = type in ("FLOAT32", "FLOAT64", "FLOAT16")
    require(real or not (scientific or shortest), f"{node.op}: scientific and shortest are for floats. ")
    kind = ("e" if scientific else "g" if shortest else "f") if real else "d"
    form = f"%{fill}{width if width > -1 else ''}{f'.{precision}' if precision > -1 and real else ''}{kind}"
    return lambda value: form % (value,)


@function("FlexAsString", inputs=1, shape=same_as_input, output_type="STRING", custom=True)
def as_string(node: Node, x: Array) -> Array:
    """The numbers as C's printf writes them by the attributes."""
    require(x.dtype.kind in "fiubO", f"{node.op} does not take {node.input(0)}. ")
    write = _format(node)
    values = x.reshape(-1).tolist()
    return strings(x.shape, [write(value).encode("utf-8", "surrogateescape") for value in values])


@function("FlexUnicodeDecode", inputs=1, outputs=2, types="STRING", custom=True)
def unicode_decode(node: Node, x: Array) -> tuple[Array, Array]:
    """(row splits (n + 1,), Unicode) of the strings, whatever their shape."""
    encoding = choice(node, "input_encoding", ("UTF-8", "UTF-16-BE", "UTF-32-BE", "US-ASCII", "ISO-8859-1"))
    errors = choice(node, "errors", ("replace", "strict", "ignore"))
    stand_in, controls = (
        attribute(node, "replacement_char", 0xFFFD),
        attribute(node, "replace_control_characters", False),
    )
    found: list[int] = []
    splits = [0]
    for text in x.reshape(-1):
        try:
            points = bytes(text).decode(encoding, "strict" if errors == "strict" else "surrogateescape")
        except UnicodeDecodeError as error:
            raise OpError(f"Invalid formatting on input string: {error}. ") from error
        for point in map(ord, points):
            escaped = 0xDC80 <= point <= 0xDCFF
            if escaped and errors == "ignore":
                continue
            replaced = escaped or (controls and (point < 32 or point == 127))
            found.append(stand_in if replaced else point)
        splits.append(len(found))
    return np.array(splits, node.outputs[0].dtype), np.array(found, np.int32)


def _no_outputs(node: Node, runtime: Runtime) -> list[Shape]:
    return []


@function("FlexStringFormat", inputs="0+", shape=lambda node: [()], output_type="STRING", custom=True)
def string_format(node: Node, *inputs: Array) -> Array:
    """The template with each placeholder replaced by an input, long ones shortened to `summarize` at both ends."""
    template, mark = attribute(node, "template", b"%s"), attribute(node, "placeholder", b"%s")
    texts = template.split(mark) if mark else [template]
    require(len(texts) == len(inputs) + 1, f"num placeholders in template and num inputs must match: {len(inputs)}. ")
    shown = map(partial(_summary, most=attribute(node, "summarize", 3)), inputs)
    out = texts[0] + b"".join(x.encode() + text for x, text in zip(shown, texts[1:], strict=True))
    return strings((), [out])


def _summary(x: Array, most: int) -> str:
    if x.ndim:
        shortened = 0 <= 2 * most < len(x)
        shown = [*range(most), *range(len(x) - most, len(x))] if shortened else range(len(x))
        entries = [_summary(x[i, ...], most) for i in shown]
        if shortened:
            entries.insert(most, "...")
        return "[" + (" " if x.ndim == 1 else "\n ").join(entries) + "]"
    value = x.item()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, bool):
        return "1" if value else "0"
    return f"{value:g}" if isinstance(value, float) else str(value)


@function("FlexPrintV2", inputs=1, outputs=0, types="STRING", shape=_no_outputs, custom=True, stateful=True)
def print_v2(node: Node, runtime: Runtime, x: Array) -> tuple[Array, ...]:
    """Writes a string to stderr or stdout; files, which the attribute may name too, are not written."""
    where = choice(node, "output_stream", ("stderr", "stdout", "log(info)", "log(warning)", "log(error)"))
    end = attribute(node, "end", b"\n")
    text = one_string(node, 0, x) + end
    print(text.decode("utf-8", "replace"), end="", file=sys.stdout if where == "stdout" else sys.stderr)
    return ()
