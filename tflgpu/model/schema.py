"""The tables, unions and enums of TensorFlow Lite's schema, version 3d.

One description drives verifying, reading and writing. A table is a line of `name:type` in the order of its slots,
`=default` where the default is not zero, `@alignment` for bulk data, `-` for a field that is no longer read. A union
takes two slots, its type's and its value's. Source of the facts: TensorFlow Lite's schema.fbs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tflgpu.model.schema_litertlm import LITERTLM_ENUMS, LITERTLM_TABLES, LITERTLM_UNIONS
from tflgpu.model.schema_metadata import METADATA_ENUMS, METADATA_TABLES, METADATA_UNIONS
from tflgpu.model.schema_options import OPTIONS_WITH_FIELDS, OPTIONS_WITHOUT_FIELDS, SHARED_OPTIONS

IDENTIFIER = b"TFL3"
VERSION = 3

SCALARS = {
    "bool": "?",
    "byte": "b",
    "ubyte": "B",
    "short": "h",
    "ushort": "H",
    "int": "i",
    "uint": "I",
    "long": "q",
    "ulong": "Q",
    "float": "f",
    "double": "d",
}
"""The `struct` format of each scalar type."""

_OPERATORS = """
ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE EMBEDDING_LOOKUP FLOOR
FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOGISTIC
LSH_PROJECTION LSTM MAX_POOL_2D MUL RELU RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH
SVDF TANH CONCAT_EMBEDDINGS SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN
GATHER BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE UNIDIRECTIONAL_SEQUENCE_LSTM
STRIDED_SLICE BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM
CAST PRELU MAXIMUM ARG_MAX MINIMUM LESS NEG PADV2 GREATER GREATER_EQUAL LESS_EQUAL SELECT SLICE SIN
TRANSPOSE_CONV SPARSE_TO_DENSE TILE EXPAND_DIMS EQUAL NOT_EQUAL LOG SUM SQRT RSQRT SHAPE POW ARG_MIN
FAKE_QUANT REDUCE_PROD REDUCE_MAX PACK LOGICAL_OR ONE_HOT LOGICAL_AND LOGICAL_NOT UNPACK REDUCE_MIN FLOOR_DIV
REDUCE_ANY SQUARE ZEROS_LIKE FILL FLOOR_MOD RANGE RESIZE_NEAREST_NEIGHBOR LEAKY_RELU SQUARED_DIFFERENCE
MIRROR_PAD ABS SPLIT_V UNIQUE CEIL REVERSE_V2 ADD_N GATHER_ND COS WHERE RANK ELU REVERSE_SEQUENCE MATRIX_DIAG
QUANTIZE MATRIX_SET_DIAG ROUND HARD_SWISH IF WHILE NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND
SELECT_V2 DENSIFY SEGMENT_SUM BATCH_MATMUL PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO
RFFT2D CONV_3D IMAG REAL COMPLEX_ABS HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL
CONV_3D_TRANSPOSE VAR_HANDLE READ_VARIABLE ASSIGN_VARIABLE BROADCAST_ARGS RANDOM_STANDARD_NORMAL BUCKETIZE
RANDOM_UNIFORM MULTINOMIAL GELU DYNAMIC_UPDATE_SLICE RELU_0_TO_1 UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX
UNSORTED_SEGMENT_SUM ATAN2 UNSORTED_SEGMENT_MIN SIGN BITCAST BITWISE_XOR RIGHT_SHIFT STABLEHLO_LOGISTIC
STABLEHLO_ADD STABLEHLO_DIVIDE STABLEHLO_MULTIPLY STABLEHLO_MAXIMUM STABLEHLO_RESHAPE STABLEHLO_CLAMP
STABLEHLO_CONCATENATE STABLEHLO_BROADCAST_IN_DIM STABLEHLO_CONVOLUTION STABLEHLO_SLICE STABLEHLO_CUSTOM_CALL
STABLEHLO_REDUCE STABLEHLO_ABS STABLEHLO_AND STABLEHLO_COSINE STABLEHLO_EXPONENTIAL STABLEHLO_FLOOR
STABLEHLO_LOG STABLEHLO_MINIMUM STABLEHLO_NEGATE STABLEHLO_OR STABLEHLO_POWER STABLEHLO_REMAINDER
STABLEHLO_RSQRT STABLEHLO_SELECT STABLEHLO_SUBTRACT STABLEHLO_TANH STABLEHLO_SCATTER STABLEHLO_COMPARE
STABLEHLO_CONVERT STABLEHLO_DYNAMIC_SLICE STABLEHLO_DYNAMIC_UPDATE_SLICE STABLEHLO_PAD STABLEHLO_IOTA
STABLEHLO_DOT_GENERAL STABLEHLO_REDUCE_WINDOW STABLEHLO_SORT STABLEHLO_WHILE STABLEHLO_GATHER
STABLEHLO_TRANSPOSE DILATE STABLEHLO_RNG_BIT_GENERATOR REDUCE_WINDOW STABLEHLO_COMPOSITE STABLEHLO_SHIFT_LEFT
STABLEHLO_CBRT STABLEHLO_CASE
"""
BUILTIN_OPERATORS = _OPERATORS.split()
"""Names by number."""

_ENUMS = {
    "TensorType": (
        "byte",
        "FLOAT32 FLOAT16 INT32 UINT8 INT64 STRING BOOL INT16 COMPLEX64 INT8 FLOAT64 COMPLEX128 UINT64 "
        "RESOURCE VARIANT UINT32 UINT16 INT4 BFLOAT16 INT2 UINT4 FLOAT8_E4M3FN FLOAT8_E5M2",
    ),
    "DimensionType": ("byte", "DENSE SPARSE_CSR"),
    "StablehloPrecisionConfig": ("uint", "DEFAULT HIGH HIGHEST"),
    "StablehloComparisonDirection": (
        "uint",
        "STABLEHLO_COMPARISON_DIRECTION_EQ STABLEHLO_COMPARISON_DIRECTION_NE "
        "STABLEHLO_COMPARISON_DIRECTION_GE STABLEHLO_COMPARISON_DIRECTION_GT "
        "STABLEHLO_COMPARISON_DIRECTION_LE STABLEHLO_COMPARISON_DIRECTION_LT",
    ),
    "StablehloComparisonType": (
        "uint",
        "STABLEHLO_COMPARISON_TYPE_NOTYPE STABLEHLO_COMPARISON_TYPE_FLOAT "
        "STABLEHLO_COMPARISON_TYPE_FLOAT_TOTAL_ORDER STABLEHLO_COMPARISON_TYPE_SIGNED "
        "STABLEHLO_COMPARISON_TYPE_UNSIGNED",
    ),
    "RngAlgorithm": ("byte", "DEFAULT PHILOX THREEFRY"),
    "Padding": ("byte", "SAME VALID"),
    "ActivationFunctionType": ("byte", "NONE RELU RELU_N1_TO_1 RELU6 TANH SIGN_BIT"),
    "LSHProjectionType": ("byte", "UNKNOWN SPARSE DENSE"),
    "FullyConnectedOptionsWeightsFormat": ("byte", "DEFAULT SHUFFLED4x16INT8"),
    "LSTMKernelType": ("byte", "FULL BASIC"),
    "CombinerType": ("byte", "SUM MEAN SQRTN"),
    "MirrorPadMode": ("byte", "REFLECT SYMMETRIC"),
    "ReduceWindowFunction": ("int", "UNSUPPORTED ADD MUL MINIMUM MAXIMUM ALL ANY"),
    "CustomOptionsFormat": ("byte", "FLEXBUFFERS"),
    "BuiltinOperator": ("int", " ".join(BUILTIN_OPERATORS)),
    **METADATA_ENUMS,
    **LITERTLM_ENUMS,
}

_UNIONS = {
    "QuantizationDetails": """
        CustomQuantization BlockwiseQuantization MultiAxisQuantization
    """,
    "SparseIndexVector": """
        Int32Vector Uint16Vector Uint8Vector
    """,
    "BuiltinOptions": """
        Conv2DOptions DepthwiseConv2DOptions ConcatEmbeddingsOptions LSHProjectionOptions Pool2DOptions
        SVDFOptions RNNOptions FullyConnectedOptions SoftmaxOptions ConcatenationOptions AddOptions
        L2NormOptions LocalResponseNormalizationOptions LSTMOptions ResizeBilinearOptions CallOptions
        ReshapeOptions SkipGramOptions SpaceToDepthOptions EmbeddingLookupSparseOptions MulOptions PadOptions
        GatherOptions BatchToSpaceNDOptions SpaceToBatchNDOptions TransposeOptions ReducerOptions SubOptions
        DivOptions SqueezeOptions SequenceRNNOptions StridedSliceOptions ExpOptions TopKV2Options SplitOptions
        LogSoftmaxOptions CastOptions DequantizeOptions MaximumMinimumOptions ArgMaxOptions LessOptions
        NegOptions PadV2Options GreaterOptions GreaterEqualOptions LessEqualOptions SelectOptions SliceOptions
        TransposeConvOptions SparseToDenseOptions TileOptions ExpandDimsOptions EqualOptions NotEqualOptions
        ShapeOptions PowOptions ArgMinOptions FakeQuantOptions PackOptions LogicalOrOptions OneHotOptions
        LogicalAndOptions LogicalNotOptions UnpackOptions FloorDivOptions SquareOptions ZerosLikeOptions
        FillOptions BidirectionalSequenceLSTMOptions BidirectionalSequenceRNNOptions
        UnidirectionalSequenceLSTMOptions FloorModOptions RangeOptions ResizeNearestNeighborOptions
        LeakyReluOptions SquaredDifferenceOptions MirrorPadOptions AbsOptions SplitVOptions UniqueOptions
        ReverseV2Options AddNOptions GatherNdOptions CosOptions WhereOptions RankOptions ReverseSequenceOptions
        MatrixDiagOptions QuantizeOptions MatrixSetDiagOptions HardSwishOptions IfOptions WhileOptions
        DepthToSpaceOptions NonMaxSuppressionV4Options NonMaxSuppressionV5Options ScatterNdOptions
        SelectV2Options DensifyOptions SegmentSumOptions BatchMatMulOptions CumsumOptions CallOnceOptions
        BroadcastToOptions Rfft2dOptions Conv3DOptions HashtableOptions HashtableFindOptions
        HashtableImportOptions HashtableSizeOptions VarHandleOptions ReadVariableOptions AssignVariableOptions
        RandomOptions BucketizeOptions GeluOptions DynamicUpdateSliceOptions UnsortedSegmentProdOptions
        UnsortedSegmentMaxOptions UnsortedSegmentMinOptions UnsortedSegmentSumOptions ATan2Options SignOptions
        BitcastOptions BitwiseXorOptions RightShiftOptions
    """,
    "BuiltinOptions2": """
        StablehloConcatenateOptions StablehloBroadcastInDimOptions StablehloSliceOptions
        StablehloConvolutionOptions StablehloCustomCallOptions StablehloReduceOptions StablehloScatterOptions
        StablehloCompareOptions StablehloDynamicSliceOptions StablehloPadOptions StablehloIotaOptions
        StablehloDotGeneralOptions StablehloReduceWindowOptions StablehloSortOptions StablehloWhileOptions
        StablehloGatherOptions StablehloTransposeOptions DilateOptions StablehloRngBitGeneratorOptions
        ReduceWindowOptions StableHLOCompositeOptions StablehloShiftLeftOptions StablehloCaseOptions
    """,
    **METADATA_UNIONS,
    **LITERTLM_UNIONS,
}

# fmt: off
_TABLES = {
    "CustomQuantization": "custom:[ubyte]@16",
    "BlockwiseQuantization": "scales:int zero_points:int block_size:int",
    "MultiAxisQuantization": "scales:int zero_points:int block_size:int quantized_dimensions:[int]",
    "QuantizationParameters": (
        "min:[float] max:[float] scale:[float] zero_point:[long] details:QuantizationDetails quantized_dimension:int"
    ),
    "Int32Vector": "values:[int]@4",
    "Uint16Vector": "values:[ushort]@4",
    "Uint8Vector": "values:[ubyte]@4",
    "DimensionMetadata": (
        "format:DimensionType dense_size:int array_segments:SparseIndexVector array_indices:SparseIndexVector"
    ),
    "SparsityParameters": "traversal_order:[int] block_map:[int] dim_metadata:[DimensionMetadata]",
    "VariantSubType": "shape:[int] type:TensorType has_rank:bool",
    "Tensor": (
        "shape:[int] type:TensorType buffer:uint name:string quantization:QuantizationParameters is_variable:bool "
        "sparsity:SparsityParameters shape_signature:[int] has_rank:bool variant_tensors:[VariantSubType] "
        "external_buffer:uint"
    ),
    "OperatorCode": "deprecated_builtin_code:byte custom_code:string version:int=1 builtin_code:BuiltinOperator",
    "Operator": (
        "opcode_index:uint inputs:[int] outputs:[int] builtin_options:BuiltinOptions custom_options:[ubyte] "
        "custom_options_format:CustomOptionsFormat mutating_variable_inputs:[bool] intermediates:[int] "
        "large_custom_options_offset:ulong large_custom_options_size:ulong builtin_options_2:BuiltinOptions2 "
        "debug_metadata_index:int=-1"
    ),
    "SubGraph": (
        "tensors:[Tensor] inputs:[int] outputs:[int] operators:[Operator] name:string debug_metadata_index:int=-1"
    ),
    "Buffer": "data:[ubyte]@16 offset:ulong size:ulong",
    "ExternalBufferGroup": "name:string",
    "ExternalBuffer": "id:uint group:uint offset:ulong length:ulong packing:string",
    "Metadata": "name:string buffer:uint",
    "TensorMap": "name:string tensor_index:uint",
    "SignatureDef": "inputs:[TensorMap] outputs:[TensorMap] signature_key:string -:string subgraph_index:uint",
    "Model": (
        "version:uint operator_codes:[OperatorCode] subgraphs:[SubGraph] description:string buffers:[Buffer] "
        "metadata_buffer:[int] metadata:[Metadata] signature_defs:[SignatureDef] "
        "external_buffer_groups:[ExternalBufferGroup] external_buffers:[ExternalBuffer]"
    ),
    **METADATA_TABLES,
    **LITERTLM_TABLES,
    **OPTIONS_WITH_FIELDS,
    **dict.fromkeys(OPTIONS_WITHOUT_FIELDS.split(), ""),
}
# fmt: on


@dataclass(frozen=True)
class Enum:
    """A scalar whose values have names, numbered from 0."""

    base: str
    names: tuple[str, ...]
    numbers: Mapping[str, int]


@dataclass(frozen=True)
class Field:
    """One field of a table.

    kind: "scalar", "enum", "string", "table", "union" or "vector". type: its own, or that of its elements.
    slot: its index in the vtable; a union's type is in the slot before. align: of a vector's first element, in bytes.
    """

    name: str
    kind: str
    type: str
    slot: int
    default: Any = None
    align: int = 0


def _default(type_: str, text: str) -> Any:
    if type_ in ENUMS:
        return text or ENUMS[type_].names[0]
    if type_ == "bool":
        return text == "true"
    return float(text or 0) if type_ in ("float", "double") else int(text or 0)


def _fields(text: str) -> tuple[Field, ...]:
    fields = []
    slot = 0
    for word in text.split():
        name, _, rest = word.partition(":")
        rest, _, default = rest.partition("=")
        rest, _, align = rest.partition("@")
        type_ = rest.strip("[]")
        kind = next(
            (k for k, names in (("union", UNIONS), ("table", _TABLES), ("enum", ENUMS)) if type_ in names),
            "string" if type_ == "string" else "scalar",
        )
        kind = "vector" if rest.startswith("[") else kind
        slot += kind == "union"
        if name != "-":
            value = _default(type_, default) if kind in ("scalar", "enum") else None
            fields.append(Field(name, kind, type_, slot, value, int(align or 0)))
        slot += 1
    return tuple(fields)


ENUMS = {
    name: Enum(base, tuple(names.split()), {n: i for i, n in enumerate(names.split())})
    for name, (base, names) in _ENUMS.items()
}
UNIONS = {name: (None, *members.split()) for name, members in _UNIONS.items()}
"""The tables that a union may hold, by its type's number; 0 is none."""

TABLES = {name: _fields(text) for name, text in _TABLES.items()}


def _options_of() -> dict[str, str]:
    by_letters = {name.removesuffix("Options").lower(): name for name in TABLES if name.endswith("Options")}
    own = {op: by_letters.get(op.replace("_", "").lower()) for op in BUILTIN_OPERATORS}
    shared = {op: table for table, ops in SHARED_OPTIONS.items() for op in ops.split()}
    return {op: table for op, table in {**own, **shared}.items() if table}


OPTIONS_OF = _options_of()
"""The options table of each builtin operator that has one."""
