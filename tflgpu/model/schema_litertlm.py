"""The tables of a .litertlm file's header (version 1): part of `schema.py`, in the same notation."""

from __future__ import annotations

LITERTLM_ENUMS = {
    "AnySectionDataType": (
        "ubyte",
        "NONE GenericBinaryData Deprecated TFLiteModel SP_Tokenizer LlmMetadataProto HF_Tokenizer_Zlib TFLiteWeights "
        "EmbeddingMetadataProto ExecutorMetadataProto TtsMetadataProto AsrMetadataProto",
    ),
}

LITERTLM_UNIONS = {"VData": "UInt8 Int8 UInt16 Int16 UInt32 Int32 Float32 Bool StringValue UInt64 Int64 Double"}

LITERTLM_TABLES = {
    "UInt8": "value:ubyte",
    "Int8": "value:byte",
    "UInt16": "value:ushort",
    "Int16": "value:short",
    "UInt32": "value:uint",
    "Int32": "value:int",
    "Float32": "value:float",
    "Bool": "value:bool",
    "StringValue": "value:string",
    "UInt64": "value:ulong",
    "Int64": "value:long",
    "Double": "value:double",
    "KeyValuePair": "key:string value:VData",
    "SystemMetadata": "entries:[KeyValuePair]",
    "SectionObject": (
        "items:[KeyValuePair] begin_offset:ulong end_offset:ulong data_type:AnySectionDataType"
    ),
    "SectionMetadata": "objects:[SectionObject]",
    "LiteRTLMMetaData": "system_metadata:SystemMetadata section_metadata:SectionMetadata",
}  # fmt: skip
