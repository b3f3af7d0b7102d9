"""The C structs that hold operators' options: one table by which they are written for a delegate and read by one.

Source of the facts: the declarations of TensorFlow Lite's `builtin_op_data.h`; members have only been added at the end.
"""

from __future__ import annotations

import ctypes as c
from types import SimpleNamespace
from typing import Any

from tflgpu.delegates.abi.structs import TYPE_CODES, TYPES
from tflgpu.model.graph import Options
from tflgpu.model.schema import ENUMS, OPTIONS_OF, TABLES, Field

# By operators, the members in the struct's order, under the schema's names, whose types they have. Where C differs:
# `:int` an int for a long; `:8` so many values without a count after them; `:20` with `#`, with one; `-` a member
# that the schema does not have. A vector without a note has room for 8 values and a count.
# fmt: off
_TABLE = {
    "CONV_2D": (
        "padding stride_w stride_h fused_activation_function dilation_w_factor dilation_h_factor quantized_bias_type"
    ),
    "CONV_3D CONV_3D_TRANSPOSE": (
        "padding stride_w stride_h stride_d dilation_w_factor dilation_h_factor dilation_d_factor "
        "fused_activation_function"
    ),
    "AVERAGE_POOL_2D L2_POOL_2D MAX_POOL_2D": (
        "padding stride_w stride_h filter_width filter_height fused_activation_function - - - -"
    ),
    "DEPTHWISE_CONV_2D": (
        "padding stride_w stride_h depth_multiplier fused_activation_function dilation_w_factor dilation_h_factor"
    ),
    "TRANSPOSE_CONV": "padding stride_w stride_h fused_activation_function quantized_bias_type",
    "FULLY_CONNECTED": (
        "fused_activation_function weights_format keep_num_dims asymmetric_quantize_inputs quantized_bias_type"
    ),
    "BATCH_MATMUL": "adj_x adj_y asymmetric_quantize_inputs",
    "SVDF": "rank fused_activation_function asymmetric_quantize_inputs",
    "RNN": "fused_activation_function asymmetric_quantize_inputs",
    "UNIDIRECTIONAL_SEQUENCE_RNN": "time_major fused_activation_function asymmetric_quantize_inputs",
    "BIDIRECTIONAL_SEQUENCE_RNN": "time_major fused_activation_function merge_outputs asymmetric_quantize_inputs",
    "LSTM": "fused_activation_function cell_clip proj_clip kernel_type asymmetric_quantize_inputs",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (
        "fused_activation_function cell_clip proj_clip time_major asymmetric_quantize_inputs diagonal_recurrent_tensors"
    ),
    "BIDIRECTIONAL_SEQUENCE_LSTM": (
        "fused_activation_function cell_clip proj_clip merge_outputs time_major asymmetric_quantize_inputs"
    ),
    "ADD SUB": "fused_activation_function pot_scale_int16",
    "MUL DIV L2_NORMALIZATION": "fused_activation_function",
    "CONCATENATION": "axis fused_activation_function",
    "SOFTMAX": "beta",
    "LOCAL_RESPONSE_NORMALIZATION": "radius bias alpha beta",
    "LEAKY_RELU": "alpha",
    "GELU": "approximate",
    "LSH_PROJECTION": "type",
    "SKIP_GRAM": "ngram_size max_skip_size include_all_ngrams",
    "EMBEDDING_LOOKUP_SPARSE": "combiner",
    "RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR": "align_corners half_pixel_centers",
    "RESHAPE": "new_shape",
    "SQUEEZE": "squeeze_dims",
    "SPACE_TO_DEPTH DEPTH_TO_SPACE": "block_size",
    "MIRROR_PAD": "mode",
    "CAST": "in_data_type out_data_type",
    "GATHER": "axis batch_dims",
    "MEAN SUM REDUCE_PROD REDUCE_MAX REDUCE_MIN REDUCE_ANY REDUCE_ALL": "keep_dims",
    "SPLIT SPLIT_V": "num_splits",
    "PACK": "values_count axis",
    "UNPACK": "num axis",
    "ONE_HOT": "axis",
    "STRIDED_SLICE": "begin_mask end_mask ellipsis_mask new_axis_mask shrink_axis_mask offset",
    "ARG_MAX ARG_MIN": "output_type",
    "SHAPE": "out_type",
    "UNIQUE": "idx_out_type",
    "SPARSE_TO_DENSE": "validate_indices",
    "REVERSE_SEQUENCE": "seq_dim batch_dim",
    "CUMSUM": "exclusive reverse",
    "FAKE_QUANT": "min max num_bits narrow_range",
    "BUCKETIZE": "boundaries",
    "IF": "then_subgraph_index else_subgraph_index",
    "WHILE": "cond_subgraph_index body_subgraph_index",
    "CALL_ONCE": "init_subgraph_index",
    "HASHTABLE": "table_id key_dtype value_dtype",
    "VAR_HANDLE": "container shared_name",
    "RANDOM_UNIFORM RANDOM_STANDARD_NORMAL MULTINOMIAL": "seed:int seed2:int",
    "REDUCE_WINDOW": "reduce_function",
    "STABLEHLO_SCATTER": (
        "indices_are_sorted update_window_dims inserted_window_dims scatter_dims_to_operand_dims index_vector_dim "
        "unique_indices update_computation_subgraph_index"
    ),
    "STABLEHLO_GATHER": (
        "offset_dims collapsed_slice_dims start_index_map index_vector_dim slice_sizes indices_are_sorted"
    ),
    "STABLEHLO_REDUCE_WINDOW": (
        "window_dimensions:8 window_strides:8 base_dilations:8 window_dilations:8 padding:16 body_subgraph_index"
    ),
    "STABLEHLO_PAD": "edge_padding_low:8 edge_padding_high:8 interior_padding:8",
    "STABLEHLO_RNG_BIT_GENERATOR": "algorithm",
    "STABLEHLO_COMPOSITE": "name decomposition_subgraph_index version composite_attributes",
    "STABLEHLO_CASE": "branch_subgraph_indices:20#",
}
# fmt: on

_FROM_ONE = {"Padding", "MirrorPadMode", "RngAlgorithm"}
"""Enums that C numbers from 1, 0 standing for none."""

_SCALARS: dict[str, Any] = {"int": c.c_int, "uint": c.c_int, "long": c.c_int64, "bool": c.c_bool, "float": c.c_float}


class Member:
    """One of the schema's fields as a member, or as several members, of a C struct."""

    def __init__(self, field: Field, note: str):
        self.field, self.name = field, field.name
        self.vector = field.kind == "vector"
        self.counted = self.vector and (not note or note.endswith("#"))
        self.room = int(note.rstrip("#") or 8) if self.vector else 0
        self.type = "int" if note == "int" else field.type

    def declarations(self) -> list[tuple[str, Any]]:
        """The struct's members, by name and type."""
        if self.type == "float" and self.vector:
            return [(f"{self.name}_count", c.c_int), (self.name, c.c_void_p)]
        if self.type == "ubyte":
            return [(self.name, c.c_void_p), (f"{self.name}_count", c.c_size_t)]
        if self.type == "string":
            return [(self.name, c.c_char_p)]
        if not self.vector:
            return [(self.name, _SCALARS.get(self.type, c.c_int))]
        count = [(f"{self.name}_count", c.c_int)] if self.counted else []
        return [(self.name, _SCALARS[self.type] * self.room), *count]

    def write(self, params: c.Structure, value: Any, keep: list[Any]) -> None:
        """Sets the members; what a pointer among them points to goes into keep."""
        if self.type == "float" and self.vector:
            keep.append((c.c_float * len(value))(*value))
        elif self.type == "ubyte":
            keep.append(c.create_string_buffer(bytes(value), len(value)))
        elif self.vector:
            if len(value) > self.room:
                raise RuntimeError(f"{self.name} has {len(value)} values; TensorFlow Lite's struct holds {self.room}. ")
            getattr(params, self.name)[: len(value)] = [int(v) for v in value]
        else:
            setattr(params, self.name, self._code(value))
            return
        if self.type in ("float", "ubyte"):
            setattr(params, self.name, c.addressof(keep[-1]))
        if self.counted:
            setattr(params, f"{self.name}_count", len(value))

    def read(self, params: c.Structure, rank: int) -> Any:
        """The field's value, as the schema has it. rank: how many values a vector without a count has an axis."""
        value = getattr(params, self.name)
        if not self.vector:
            return self._named(value)
        count = getattr(params, f"{self.name}_count") if self.counted else rank * self.room // 8
        if self.type == "ubyte":
            return c.string_at(value, count) if value else b""
        if self.type == "float":
            return tuple((c.c_float * count).from_address(value)) if value else ()
        return tuple(value[: min(max(count, 0), self.room)])

    def _code(self, value: Any) -> Any:
        if self.type == "TensorType":
            return TYPE_CODES[value]
        if self.type in ENUMS:
            return ENUMS[self.type].numbers[value] + (self.type in _FROM_ONE)
        if self.type == "string":
            return value.encode() or None
        return value

    def _named(self, number: Any) -> Any:
        if self.type == "string":
            return (number or b"").decode("utf-8", "replace")
        if self.type != "TensorType" and self.type not in ENUMS:
            return number
        names = TYPES if self.type == "TensorType" else ENUMS[self.type].names
        index = max(number - (self.type in _FROM_ONE), 0)
        if index >= len(names):
            raise RuntimeError(f"{self.name} {number} has no meaning in this version. ")
        return "FLOAT32" if names[index] == "NOTYPE" else names[index]


def _members(op: str, row: str) -> tuple[tuple[Member, ...], type[c.Structure]]:
    fields = {field.name: field for field in TABLES[OPTIONS_OF[op]]}
    members = []
    declarations: list[tuple[str, Any]] = []
    for word in row.split():
        name, _, note = word.partition(":")
        if name == "-":
            declarations.append((f"_{len(declarations)}", c.c_int))
            continue
        members.append(Member(fields[name], note))
        declarations += members[-1].declarations()
    return tuple(members), type(OPTIONS_OF[op].replace("Options", "Params"), (c.Structure,), {"_fields_": declarations})


PARAMS = {op: _members(op, row) for ops, row in _TABLE.items() for op in ops.split()}
"""By operator, the members of its struct and the struct, of the operators that have one."""


def write(op: str, options: Options) -> c.Structure | None:
    """An operator's options as its struct, which keeps what it points to; None for an operator that has none.

    Raises RuntimeError for options that the struct has no room for.
    """
    if op not in PARAMS:
        return None
    members, struct = PARAMS[op]
    params = struct()
    keep: list[Any] = []
    for member in members:
        member.write(params, getattr(options, member.name), keep)
    params._keep = keep
    return params


def read(op: str, address: int | None, rank: int = 0) -> Options:
    """The options in an operator's struct, by the schema's names; the schema's defaults for what is not in it.

    rank: of the operator's first input. Raises RuntimeError where the struct does not have what the operator needs.
    """
    table = OPTIONS_OF.get(op)
    fields = () if table is None else TABLES[table]
    values = {field.name: _default(field) for field in fields}
    if fields and (op not in PARAMS or not address):
        raise RuntimeError(f"TensorFlow Lite tells no delegate the options of {op}. ")
    if op in PARAMS and address:
        members, struct = PARAMS[op]
        params = struct.from_address(address)
        values.update((member.name, member.read(params, rank)) for member in members)
    return SimpleNamespace(**values)


def _default(field: Field) -> Any:
    if field.kind == "vector":
        return b"" if field.type == "ubyte" else ()
    return "" if field.kind == "string" else field.default
