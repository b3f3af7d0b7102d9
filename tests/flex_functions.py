"""Functions of TensorFlow that its converter leaves to Flex operators, with inputs; for flex_against_tensorflow.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf


@dataclass(frozen=True)
class Function:
    """call: of tensors to tensors. inputs: arrays. open_dimensions: those of every input that are left unknown."""

    call: Callable[..., Any]
    inputs: tuple[np.ndarray, ...]
    open_dimensions: tuple[int, ...] = ()
    tolerance: float = 1e-5
    keeps_lists: bool = False

    def shape(self, x: np.ndarray) -> list[int | None]:
        return [None if i in self.open_dimensions else d for i, d in enumerate(x.shape)]


RNG = np.random.default_rng(0)


def f(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def u(*shape: int) -> np.ndarray:
    return RNG.uniform(size=shape).astype(np.float32)


def strings(*texts: str) -> np.ndarray:
    return np.array([text.encode() for text in texts], object)


def keras(*layers: Any, shape: tuple[int | None, ...]) -> Callable[..., Any]:
    return tf.keras.Sequential([tf.keras.Input(shape), *layers])


TEXTS = strings("Hello, World! <br /> it's", "  a  b c ", "", "Straße ÄÖ", "x" * 80, "1,2;3", "tab\tand\nline")
L = tf.keras.layers

FUNCTIONS: dict[str, Function] = {
    "erf": Function(tf.math.erf, (f(3, 50) * 2,)),
    "tan": Function(tf.math.tan, (f(3, 5),)),
    "atan": Function(tf.math.atan, (f(3, 5),)),
    "sinh": Function(tf.math.sinh, (f(3, 5),)),
    "cosh": Function(tf.math.cosh, (f(3, 5),)),
    "bitwise_and": Function(tf.bitwise.bitwise_and, (np.arange(8, dtype=np.int32), np.full(8, 5, np.int32))),
    "left_shift": Function(tf.bitwise.left_shift, (np.arange(8, dtype=np.int32), np.full(8, 3, np.int32))),
    "complex": Function(lambda x: tf.math.abs(tf.complex(x, x * 2)), (f(4),)),
    "float64": Function(lambda x: tf.cast(tf.cast(x, tf.float64) * 3.0, tf.float32), (f(4),)),
    "LSTM open batch": Function(keras(L.LSTM(3), shape=(6, 2)), (f(4, 6, 2),), (0,)),
    "LSTM open batch and time": Function(
        keras(L.LSTM(3, return_sequences=True), shape=(None, 2)), (f(4, 6, 2),), (0, 1)
    ),
    "GRU open batch": Function(keras(L.GRU(3, return_sequences=True), shape=(6, 2)), (f(4, 6, 2),), (0,)),
    "BiLSTM open batch": Function(
        keras(L.Bidirectional(L.LSTM(3, return_sequences=True)), shape=(6, 2)), (f(4, 6, 2),), (0,)
    ),
    "LSTM lists": Function(
        keras(L.LSTM(3, return_sequences=True, unroll=False), shape=(6, 2)), (f(4, 6, 2),), keeps_lists=True
    ),
    "lists that grow": Function(lambda x: grown(x), (f(5, 2),), keeps_lists=True),
    "ConvLSTM open batch": Function(keras(L.ConvLSTM2D(2, 3), shape=(4, 6, 6, 2)), (f(2, 4, 6, 6, 2),), (0,)),
    "MaxPooling3D": Function(keras(L.MaxPooling3D(2), shape=(4, 6, 6, 2)), (f(2, 4, 6, 6, 2),)),
    "max_pool3d same": Function(lambda x: tf.nn.max_pool3d(x, [2, 3, 2], [1, 2, 2], "SAME"), (f(2, 5, 7, 6, 2),)),
    "AveragePooling3D": Function(keras(L.AveragePooling3D(2), shape=(4, 6, 6, 2)), (f(2, 4, 6, 6, 2),)),
    "avg_pool3d same": Function(lambda x: tf.nn.avg_pool3d(x, [2, 3, 2], [1, 2, 2], "SAME"), (f(2, 5, 7, 6, 2),)),
    "max_pool_with_argmax": Function(lambda x: tf.nn.max_pool_with_argmax(x, 3, 2, "SAME"), (f(2, 7, 6, 2),)),
    "max_pool_with_argmax batch": Function(
        lambda x: tf.nn.max_pool_with_argmax(x, 2, 2, "VALID", include_batch_in_index=True), (f(2, 7, 6, 2),)
    ),
    "extract_patches": Function(
        lambda x: tf.image.extract_patches(x, [1, 3, 3, 1], [1, 2, 2, 1], [1, 1, 1, 1], "VALID"), (f(2, 8, 9, 2),)
    ),
    "extract_patches rates": Function(
        lambda x: tf.image.extract_patches(x, [1, 3, 2, 1], [1, 2, 1, 1], [1, 2, 3, 1], "SAME"), (f(2, 8, 9, 2),)
    ),
    "dilation2d": Function(
        lambda x: tf.nn.dilation2d(x, tf.constant(f(3, 2, 2)), [1, 2, 1, 1], "SAME", "NHWC", [1, 1, 2, 1]),
        (f(2, 8, 9, 2),),
    ),
    "bicubic": Function(lambda x: tf.image.resize(x, (13, 5), "bicubic"), (f(2, 7, 8, 3),)),
    "bicubic v1": Function(lambda x: tf.compat.v1.image.resize_bicubic(x, (13, 5)), (f(2, 7, 8, 3),)),
    "bicubic aligned": Function(
        lambda x: tf.compat.v1.image.resize_bicubic(x, (13, 5), align_corners=True), (f(2, 7, 8, 3),)
    ),
    "crop_and_resize": Function(
        lambda x, b, i: tf.image.crop_and_resize(x, b, i, (5, 4), extrapolation_value=7.0),
        (f(2, 7, 8, 3), RNG.uniform(-0.2, 1.2, (6, 4)).astype(np.float32), np.array([0, 1, 1, 0, 0, 1], np.int32)),
    ),
    "crop_and_resize nearest": Function(
        lambda x, b, i: tf.image.crop_and_resize(x, b, i, (1, 4), "nearest"),
        (f(2, 7, 8, 3), u(6, 4), np.array([0, 1, 1, 0, 0, 1], np.int32)),
    ),
    "rgb_to_hsv": Function(tf.image.rgb_to_hsv, (u(4, 5, 3),)),
    "hsv_to_rgb": Function(tf.image.hsv_to_rgb, (u(4, 5, 3),)),
    "adjust_contrast": Function(lambda x: tf.image.adjust_contrast(x, 1.7), (u(2, 4, 5, 3),)),
    "adjust_hue": Function(lambda x: tf.image.adjust_hue(x, 0.3), (u(2, 4, 5, 3),)),
    "adjust_saturation": Function(lambda x: tf.image.adjust_saturation(x, 1.5), (u(2, 4, 5, 3),)),
    "combined_nms": Function(
        lambda b, s: tf.image.combined_non_max_suppression(b, s, 4, 9, 0.3, 0.2), (u(2, 30, 1, 4), u(2, 30, 5))
    ),
    "combined_nms by class": Function(
        lambda b, s: tf.image.combined_non_max_suppression(b, s, 4, 50, 0.3, 0.2, True, False),
        (2 * u(2, 30, 5, 4), u(2, 30, 5)),
    ),
    "bincount": Function(
        lambda x: tf.math.bincount(x, minlength=6, maxlength=6, axis=-1), (RNG.integers(0, 9, (3, 7)).astype(np.int32),)
    ),
    "bincount binary": Function(
        lambda x: tf.math.bincount(x, minlength=6, maxlength=6, axis=-1, binary_output=True),
        (RNG.integers(0, 9, (3, 7)).astype(np.int32),),
    ),
    "bincount weights": Function(
        lambda x, w: tf.raw_ops.DenseBincount(input=x, size=6, weights=w),
        (RNG.integers(0, 9, 20).astype(np.int32), u(20)),
    ),
    "CategoryEncoding": Function(
        keras(L.CategoryEncoding(5, "count"), shape=(4,)), (np.array([[0, 1, 1, 4]], np.float32),)
    ),
    "unique_with_counts": Function(tf.unique_with_counts, (np.array([3, 1, 3, 3, 7, 1], np.int32),)),
    "in_top_k": Function(lambda t, x: tf.math.in_top_k(t, x, 2), (np.array([0, 4, 2], np.int32), f(3, 5))),
    "cumprod": Function(lambda x: tf.math.cumprod(x, 1, exclusive=True, reverse=True), (f(3, 5),)),
    "scatter_max": Function(lambda x: tf.tensor_scatter_nd_max(x, [[1], [3], [1]], tf.constant(f(3, 2))), (f(4, 2),)),
    "matrix inverse": Function(tf.linalg.inv, (f(2, 4, 4),), tolerance=1e-4),
    "cholesky": Function(lambda x: tf.linalg.cholesky(x @ tf.transpose(x) + tf.eye(4)), (f(4, 4),)),
    "qr": Function(lambda x: tf.linalg.qr(x), (f(2, 5, 3),)),
    "qr full": Function(lambda x: tf.linalg.qr(x, full_matrices=True), (f(2, 3, 5),)),
    "det": Function(tf.linalg.det, (f(2, 4, 4),)),
    "trace": Function(tf.linalg.trace, (f(2, 4, 5),)),
    "diagonals": Function(lambda x: tf.raw_ops.MatrixDiagPartV3(input=x, k=(-1, 2), padding_value=9.0), (f(2, 4, 5),)),
    "diagonals left": Function(
        lambda x: tf.raw_ops.MatrixDiagPartV3(input=x, k=(-2, 2), padding_value=0.0, align="LEFT_RIGHT"), (f(2, 5, 4),)
    ),
    "irfft": Function(lambda x: tf.signal.irfft(tf.complex(x, x * 0.5), [10]), (f(3, 6),)),
    "irfft odd": Function(lambda x: tf.signal.irfft(tf.complex(x, x * 0.5), [9]), (f(3, 6),)),
    "inverse_stft": Function(lambda x: tf.signal.inverse_stft(tf.complex(x, x * 0.5), 16, 8), (f(5, 9),)),
    "fft2d": Function(lambda x: tf.math.abs(tf.signal.fft2d(tf.complex(x, x))), (f(5, 6),)),
    "dct": Function(tf.signal.dct, (f(3, 8),)),
    "mfcc": Function(tf.signal.mfccs_from_log_mel_spectrograms, (f(3, 8),)),
    "split": Function(lambda x: tf.strings.split(x).to_tensor(), (TEXTS,)),
    "split at": Function(lambda x: tf.strings.split(x, " ", maxsplit=2).values, (TEXTS,)),
    "split sparse": Function(lambda x: tf.raw_ops.StringSplitV2(input=x, sep="", maxsplit=1), (TEXTS,)),
    "lower": Function(tf.strings.lower, (TEXTS,)),
    "lower utf8": Function(lambda x: tf.strings.lower(x, encoding="utf-8"), (TEXTS,)),
    "strip": Function(tf.strings.strip, (TEXTS,)),
    "regex punctuation": Function(
        lambda x: tf.strings.regex_replace(x, r'[!"#$%&()\*\+,-\./:;<=>?@\[\\\]^_`{|}~\']', ""), (TEXTS,)
    ),
    "regex groups": Function(lambda x: tf.strings.regex_replace(x, r"(\w+)\s*(\w?)", r"\2-\1"), (TEXTS,)),
    "regex empty": Function(lambda x: tf.strings.regex_replace(x, r"l*", "-"), (TEXTS,)),
    "regex first": Function(
        lambda x: tf.strings.regex_replace(x, r"[[:space:]]|.$", "_", replace_global=False), (TEXTS,)
    ),
    "join": Function(lambda x: tf.strings.join([x, "end", x], "|"), (TEXTS,)),
    "length": Function(lambda x: tf.strings.length(x, "UTF8_CHAR"), (TEXTS,)),
    "length bytes": Function(tf.strings.length, (TEXTS,)),
    "as_string": Function(lambda x: tf.strings.as_string(x), (f(5) * 1000,)),
    "as_string forms": Function(lambda x: tf.strings.as_string(x, 3, scientific=True, width=12, fill="0"), (f(5),)),
    "as_string shortest": Function(lambda x: tf.strings.as_string(x, shortest=True), (f(5) * 1e6,)),
    "as_string integers": Function(
        lambda x: tf.strings.as_string(x, width=6, fill=" "), (np.arange(-2, 3, dtype=np.int64),)
    ),
    "to_number": Function(tf.strings.to_number, (strings("1.5", "-2e3", "inf", "7", " 8 "),)),
    "to_number int": Function(lambda x: tf.strings.to_number(x, tf.int32), (strings("15", "-2", "007"),)),
    "hash": Function(lambda x: tf.strings.to_hash_bucket_fast(x, 1000), (TEXTS,)),
    "Hashing": Function(keras(L.Hashing(7), shape=(3,)), (np.array([[1, 2, 3]], np.float32),)),
    "unicode_decode": Function(lambda x: tf.strings.unicode_decode(x, "UTF-8").to_tensor(), (TEXTS,)),
    "format": Function(
        lambda x: tf.strings.format("x {} and {}", (x, x[0])), (np.arange(12, dtype=np.int32).reshape(3, 4),)
    ),
    "ragged": Function(lambda x: tf.RaggedTensor.from_row_splits(x, [0, 2, 2, 5]).to_tensor(-1.0), (f(5),)),
    "ragged rows": Function(
        lambda x: tf.RaggedTensor.from_value_rowids(x, [0, 0, 2, 3, 3], 5).to_tensor(0.0, shape=(4, 1, 2)),
        (f(5, 2),),
    ),
    "sparse matmul": Function(
        lambda b: tf.sparse.sparse_dense_matmul(tf.SparseTensor([[0, 1], [2, 0]], [2.0, 3.0], (3, 4)), b), (f(4, 5),)
    ),
    "segment mean": Function(lambda x: tf.sparse.segment_mean(x, [0, 2, 1, 3], [0, 0, 2, 2]), (f(4, 3),)),
    "segment sqrt": Function(lambda x: tf.sparse.segment_sqrt_n(x, [0, 2, 1, 3], [0, 0, 2, 2]), (f(4, 3),)),
    "random uniform": Function(lambda s: tf.random.stateless_uniform((7, 3), s), (np.array([5, -9], np.int32),)),
    "random normal": Function(lambda s: tf.random.stateless_normal((7, 3), s), (np.array([5, -9], np.int32),)),
    "ctc greedy": Function(lambda x: ctc(tf.nn.ctc_greedy_decoder(x, [6, 4], merge_repeated=True)), (f(6, 2, 4),)),
    "ctc greedy repeated": Function(
        lambda x: ctc(tf.nn.ctc_greedy_decoder(x, [6, 4], merge_repeated=False, blank_index=0)), (f(6, 2, 4),)
    ),
    "ctc beam": Function(
        lambda x: ctc(tf.nn.ctc_beam_search_decoder(x, [8, 6], beam_width=5, top_paths=3)), (f(8, 2, 5),)
    ),
    "decode_jpeg by TensorFlow": Function(
        tf.io.decode_jpeg, (np.array(tf.io.encode_jpeg(tf.zeros((8, 8, 3), tf.uint8)).numpy(), object),)
    ),
    "print": Function(lambda x: printed(x), (f(3),)),
}


def grown(x: Any) -> Any:
    """Rows pushed to a list and taken from it again, the last twice; a row of another list that was never written."""
    rows = tf.raw_ops.EmptyTensorList(element_shape=[2], max_num_elements=-1, element_dtype=tf.float32)
    for row in range(3):
        rows = tf.raw_ops.TensorListPushBack(input_handle=rows, tensor=x[row] * 2.0)
    rows, last = tf.raw_ops.TensorListPopBack(input_handle=rows, element_shape=[2], element_dtype=tf.float32)
    rows = tf.raw_ops.TensorListResize(input_handle=rows, size=4)
    item = tf.raw_ops.TensorListGetItem(input_handle=rows, index=3, element_shape=[2], element_dtype=tf.float32)
    stacked = tf.raw_ops.TensorListStack(input_handle=rows, element_shape=[2], element_dtype=tf.float32)
    return last, item, stacked, tf.raw_ops.TensorListLength(input_handle=rows)


def ctc(decoded: Any) -> tuple[Any, ...]:
    sparse, likelihood = decoded
    return (*(x for one in sparse for x in (one.indices, one.values, one.dense_shape)), likelihood)


def printed(x: Any) -> Any:
    tf.print("x is", x)
    return x + 1.0


def affine(interpolation: str, fill_mode: str) -> Function:
    def call(x: Any) -> Any:
        transforms = tf.constant(
            [[1.2, 0.3, -2, -0.2, 0.9, 1.5, 0.01, -0.02], [0.8, -0.4, 3.25, 0.5, 1.1, -4, 0.0, 0.0]], tf.float32
        )
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=x,
            transforms=transforms,
            output_shape=(9, 10),
            fill_value=0.5,
            interpolation=interpolation,
            fill_mode=fill_mode,
        )

    return Function(call, (f(2, 6, 7, 3),))


for _interpolation in ("NEAREST", "BILINEAR"):
    for _mode in ("CONSTANT", "REFLECT", "WRAP", "NEAREST"):
        FUNCTIONS[f"affine {_interpolation} {_mode}"] = affine(_interpolation, _mode)


def gradient(forward: Callable[..., Any], *shapes: tuple[int, ...]) -> Function:
    """The gradients of the sum of squares of forward's result by all its inputs."""

    def call(*xs: Any) -> Any:
        with tf.GradientTape() as tape:
            for x in xs:
                tape.watch(x)
            loss = tf.reduce_sum(tf.square(forward(*xs)))
        return tape.gradient(loss, xs)

    return Function(call, tuple(f(*shape) for shape in shapes), tolerance=1e-4)


_N = tf.nn
FUNCTIONS |= {
    "grad dense": gradient(lambda x, w: _N.relu(x @ w), (3, 4), (4, 5)),
    "grad relu6": gradient(lambda x: _N.relu6(x * 4), (3, 4)),
    "grad elu": gradient(_N.elu, (3, 4)),
    "grad selu": gradient(_N.selu, (3, 4)),
    "grad leaky": gradient(lambda x: _N.leaky_relu(x, 0.3), (3, 4)),
    "grad softplus": gradient(_N.softplus, (3, 4)),
    "grad tanh": gradient(tf.tanh, (3, 4)),
    "grad sigmoid": gradient(tf.sigmoid, (3, 4)),
    "grad sqrt": gradient(lambda x: tf.sqrt(tf.abs(x) + 1), (3, 4)),
    "grad rsqrt": gradient(lambda x: tf.math.rsqrt(tf.abs(x) + 1), (3, 4)),
    "grad conv2d": gradient(lambda x, w: _N.relu(_N.conv2d(x, w, 1, "SAME")), (2, 6, 7, 3), (3, 3, 3, 4)),
    "grad conv stride maxpool": gradient(
        lambda x, w: _N.max_pool2d(_N.conv2d(x, w, 2, "VALID"), 2, 2, "VALID"), (2, 9, 11, 3), (3, 2, 3, 4)
    ),
    "grad depthwise": gradient(
        lambda x, w: _N.depthwise_conv2d(x, w, [1, 1, 1, 1], "SAME"), (2, 6, 7, 3), (3, 3, 3, 2)
    ),
    "grad avgpool": gradient(lambda x: _N.avg_pool2d(x, 3, 2, "SAME"), (2, 6, 7, 3)),
    "grad bias": gradient(lambda x, b: _N.bias_add(x, b), (2, 6, 7, 3), (3,)),
    "grad softmax": gradient(lambda x: _N.softmax_cross_entropy_with_logits(tf.one_hot([1, 0, 2], 4), x), (3, 4)),
    "grad sparse softmax": gradient(lambda x: _N.sparse_softmax_cross_entropy_with_logits([1, 0, 2], x), (3, 4)),
}
