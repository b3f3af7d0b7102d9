"""BATCH_MATMUL against LiteRT's reference resolver."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from oracle import assert_same, litert, one_op, tflgpu_run

F = np.float32
Shape = tuple[int, ...]

SHAPES: list[tuple[Shape, Shape]] = [
    ((3, 4), (4, 5)),
    ((2, 3, 4), (4, 5)),
    ((3, 4), (2, 4, 5)),
    ((2, 3, 4), (1, 4, 5)),
    ((1, 3, 4), (2, 4, 5)),
    ((2, 1, 3, 4), (1, 3, 4, 5)),
    ((2, 3, 1, 3, 4), (2, 1, 2, 4, 5)),
]
ADJOINTS = [(False, False), (True, False), (False, True), (True, True)]


def swapped(shape: Shape, adjoint: bool) -> Shape:
    return (*shape[:-2], shape[-1], shape[-2]) if adjoint else shape


def model(
    types: tuple[str, str, str],
    shapes: tuple[Shape, Shape],
    adjoint: tuple[bool, bool] = (False, False),
    constant: np.ndarray | None = None,
    zeros: tuple[int, int, int] = (0, 0, 0),
    version: int = 4,
    y_scale: float = 0.05,
    **options: Any,
) -> bytes:
    left, right = (swapped(s, a) for s, a in zip(shapes, adjoint, strict=True))
    batches = np.broadcast_shapes(shapes[0][:-2], shapes[1][:-2])

    def spec(type: str, scale: Any, zero: int) -> dict[str, Any]:
        return (
            {"type": type}
            if type.startswith("FLOAT") or type == "INT32"
            else {"type": type, "scale": scale, "zero_point": zero}
        )

    right_spec: dict[str, Any] = {**spec(types[1], F(0.02), zeros[1]), "shape": right}
    if constant is not None:
        right_spec = {**right_spec, "value": constant}
        del right_spec["shape"]
    output = {**spec(types[2], F(y_scale), zeros[2]), "shape": (*batches, shapes[0][-2], shapes[1][-1])}
    inputs = [{**spec(types[0], F(0.03), zeros[0]), "shape": left}, right_spec]
    return one_op("BATCH_MATMUL", inputs, [output], version=version, adj_x=adjoint[0], adj_y=adjoint[1], **options)


def values(random: np.random.Generator, type: str, shape: Shape) -> np.ndarray:
    if type == "FLOAT32":
        return random.standard_normal(shape).astype(F)
    limits = np.iinfo(type.lower())
    return random.integers(limits.min, limits.max + 1, shape).astype(type.lower())


def same(data: bytes, *inputs: np.ndarray, **tolerance: float) -> None:
    assert_same(tflgpu_run(data, inputs), litert(data, inputs), **tolerance)


@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("adjoint", ADJOINTS)
@pytest.mark.parametrize(
    "types", [("FLOAT32", "FLOAT32", "FLOAT32"), ("INT8", "INT8", "INT8"), ("INT8", "INT8", "INT32")]
)
def test_batch_matmul_broadcasts_over_leading_dimensions(
    shapes: tuple[Shape, Shape], adjoint: tuple[bool, bool], types: tuple[str, str, str]
) -> None:
    random = np.random.default_rng(1)
    zeros = (5, -3, 7) if types[2] == "INT8" else (5, -3, 0)
    data = model(types, shapes, adjoint, zeros=zeros)
    x, y = (values(random, t, swapped(s, a)) for t, s, a in zip(types[:2], shapes, adjoint, strict=True))
    # The order of a float sum is the BLAS's own.
    same(data, x, y, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("types", [("INT16", "INT16", "INT16"), ("INT16", "INT8", "INT16")])
@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_int16_gemms_are_exact_in_64_bits(types: tuple[str, str, str], adjoint: tuple[bool, bool]) -> None:
    random = np.random.default_rng(2)
    shapes = ((2, 3, 300), (2, 300, 5))
    data = model(types, shapes, adjoint, y_scale=5.0)
    same(data, *(values(random, t, swapped(s, a)) for t, s, a in zip(types[:2], shapes, adjoint, strict=True)))


@pytest.mark.parametrize("shapes", [((3, 101, 7), (7, 203)), ((70, 1, 17, 5), (3, 5, 19)), ((1, 600, 4), (2, 4, 31))])
@pytest.mark.parametrize("types", [("INT8", "INT8", "INT8"), ("INT16", "INT16", "INT16"), ("INT8", "INT8", "INT32")])
def test_large_gemms_are_computed_block_by_block_with_the_same_result(
    shapes: tuple[Shape, Shape], types: tuple[str, str, str]
) -> None:
    random = np.random.default_rng(6)
    data = model(types, shapes, zeros=(5, -3, 7) if types[2] == "INT8" else (0, 0, 0), y_scale=2.0)
    same(data, *(values(random, t, s) for t, s in zip(types[:2], shapes, strict=True)))


@pytest.mark.parametrize("types", [("INT8", "INT8", "INT8"), ("INT8", "INT8", "INT32")])
def test_long_int8_dot_products_are_summed_in_exact_pieces(types: tuple[str, str, str]) -> None:
    shapes = ((2, 3, 3001), (3001, 2))
    data = model(types, shapes, zeros=(-128, 127, 1) if types[2] == "INT8" else (0, 0, 0), y_scale=9.0)
    same(data, np.full(shapes[0], 127, np.int8), np.full(shapes[1], -128, np.int8))


@pytest.mark.parametrize(
    ("shapes", "asymmetric"),
    # With a fifth dimension of weights, upstream reads sums of rows that it never computed.
    [(s, asymmetric) for s in SHAPES for asymmetric in (False, True) if not (asymmetric and len(s[1]) == 5)],
)
@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_hybrid_gemms_follow_the_reference_even_to_its_wrong_scales(
    shapes: tuple[Shape, Shape], adjoint: tuple[bool, bool], asymmetric: bool
) -> None:
    random = np.random.default_rng(3)
    weights = values(random, "INT8", swapped(shapes[1], adjoint[1]))
    types = ("FLOAT32", "INT8", "FLOAT32")
    data = model(types, shapes, adjoint, constant=weights, asymmetric_quantize_inputs=asymmetric)
    same(data, values(random, "FLOAT32", swapped(shapes[0], adjoint[0])), rtol=0, atol=0)


@pytest.mark.parametrize("adjoint", [False, True])
def test_hybrid_weights_may_have_a_scale_for_each_column(adjoint: bool) -> None:
    random = np.random.default_rng(4)
    shapes = ((2, 3, 4), (4, 5))
    weights = values(random, "INT8", swapped(shapes[1], adjoint))
    scales = {"scale": (random.random(5) * 0.1).astype(F), "axis": 0 if adjoint else 1}
    data = one_op(
        "BATCH_MATMUL",
        [{"type": "FLOAT32", "shape": shapes[0]}, {"type": "INT8", "value": weights, **scales}],
        [{"type": "FLOAT32", "shape": (2, 3, 5)}],
        version=4,
        adj_y=adjoint,
    )
    same(data, values(random, "FLOAT32", shapes[0]), rtol=0, atol=0)


def test_a_resized_input_gives_a_resized_result() -> None:
    data = model(("FLOAT32", "FLOAT32", "FLOAT32"), ((2, 3, 4), (1, 4, 5)))
    random = np.random.default_rng(5)
    x, y = values(random, "FLOAT32", (7, 1, 4)), values(random, "FLOAT32", (7, 4, 5))
    same(data, x, y, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shapes", [((0, 3, 4), (4, 5)), ((3, 0), (0, 5)), ((2, 0, 4), (4, 5))])
def test_empty_matrices_are_multiplied_too(shapes: tuple[Shape, Shape]) -> None:
    data = model(("FLOAT32", "FLOAT32", "FLOAT32"), shapes)
    got = tflgpu_run(data, [np.zeros(s, F) for s in shapes])
    assert_same(got, [np.zeros(shapes[0], F) @ np.zeros(shapes[1], F)])


@pytest.mark.parametrize(
    ("types", "shapes", "words"),
    [
        (("INT8", "FLOAT32", "INT8"), ((2, 3), (3, 2)), "not supported"),
        (("FLOAT32", "FLOAT32", "FLOAT32"), ((2, 3), (4, 2)), "3 != 4"),
        (("UINT8", "UINT8", "UINT8"), ((2, 3), (3, 2)), "UINT8 is not supported"),
    ],
)
def test_what_does_not_fit_is_refused_when_tensors_are_allocated(
    types: tuple[str, str, str], shapes: tuple[Shape, Shape], words: str
) -> None:
    from tflgpu import Interpreter

    with pytest.raises(RuntimeError, match=words):
        Interpreter(model_content=model(types, shapes)).allocate_tensors()
