"""TensorFlow's file of sorted keys and values (LevelDB's), in which its checkpoints lie; read and written whole."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

import numpy as np

from tflgpu.ops.flex.node_def import varint

MAGIC = struct.pack("<Q", 0xDB4775248B80FB57)
FOOTER = 48
"""Bytes at the end of the file: where its index lies, padded, and MAGIC."""

_POLYNOMIAL, _LANE = 0x82F63B78, 1024
_RAW, _SNAPPY = 0, 1


def _crc_table() -> list[int]:
    table = []
    for crc in range(256):
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
        table.append(crc)
    return table


_CRC = _crc_table()
_CRC_ARRAY = np.array(_CRC, np.uint32)


def _after_zeros() -> list[list[int]]:
    """By each byte of a state, what `_LANE` bytes of zeros make of it."""
    states = (np.uint32(1) << np.arange(32, dtype=np.uint32)).astype(np.uint32)
    for _ in range(_LANE):
        states = states >> np.uint32(8) ^ _CRC_ARRAY[states & np.uint32(255)]
    bits = states.tolist()
    return [[_xor(bits[8 * k + i] for i in range(8) if byte >> i & 1) for byte in range(256)] for k in range(4)]


def _xor(values: Iterator[int]) -> int:
    total = 0
    for value in values:
        total ^= value
    return total


def crc32c(data: bytes) -> int:
    """Castagnoli's checksum: of long data in lanes, which are joined."""
    crc, lanes = 0xFFFFFFFF, len(data) // _LANE
    if lanes > 8:
        columns = np.frombuffer(data, np.uint8, lanes * _LANE).reshape(lanes, _LANE).T
        states = np.zeros(lanes, np.uint32)
        for column in columns:
            states = states >> np.uint32(8) ^ _CRC_ARRAY[(states ^ column) & np.uint32(255)]
        tables = _after_zeros()
        for state in states.tolist():
            crc = state ^ _xor(tables[k][crc >> 8 * k & 255] for k in range(4))
        data = data[lanes * _LANE :]
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def _masked(data: bytes) -> bytes:
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def encoded(number: int) -> bytes:
    """A varint."""
    out = bytearray()
    number &= (1 << 64) - 1
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def written(entries: Mapping[bytes, bytes]) -> bytes:
    """The file of these keys and values, a block for each."""
    file, index = bytearray(), dict[bytes, bytes]()
    for key, value in sorted(entries.items()):
        index[key] = _append(file, _block({key: value}))
    meta = _append(file, _block({}))
    footer = meta + _append(file, _block(index))
    return bytes(file) + footer.ljust(FOOTER - len(MAGIC), b"\0") + MAGIC


def _block(entries: Mapping[bytes, bytes]) -> bytes:
    """Keys whole: every entry is a restart point."""
    out, starts = bytearray(), []
    for key, value in entries.items():
        starts.append(len(out))
        out += encoded(0) + encoded(len(key)) + encoded(len(value)) + key + value
    starts = starts or [0]
    return bytes(out) + struct.pack(f"<{len(starts)}I", *starts) + struct.pack("<I", len(starts))


def _append(file: bytearray, block: bytes) -> bytes:
    """Adds a block to the file. Returns where it lies."""
    handle = encoded(len(file)) + encoded(len(block))
    contents = block + bytes([_RAW])
    file += contents + _masked(contents)
    return handle


def is_table(tail: bytes) -> bool:
    """Whether a file that ends in these bytes is such a table."""
    return tail.endswith(MAGIC)


def read(file: bytes, most: int) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of a file whose blocks have at most so many bytes. Raises ValueError where it is damaged."""
    if len(file) < FOOTER or not is_table(file):
        raise ValueError("it is no checkpoint")
    footer = file[-FOOTER:]
    at = 0
    for _ in range(2):  # over the meta index
        _, at = varint(footer, at)
    for _, handle in _entries(_contents(file, footer[at:], most)):
        yield from _entries(_contents(file, handle, most))


def _contents(file: bytes, handle: bytes, most: int) -> bytes:
    start, at = varint(handle, 0)
    size, _ = varint(handle, at)
    end = start + size + 5
    if end > len(file) - FOOTER:
        raise ValueError(f"a block at byte {start} has {size} bytes, the file {len(file)}")
    block, kind = file[start : end - 5], file[end - 5]
    if _masked(file[start : end - 4]) != file[end - 4 : end]:
        raise ValueError(f"the checksum of the block at byte {start} is wrong")
    if kind == _SNAPPY:
        return uncompressed(block, most)
    if kind != _RAW:
        raise ValueError(f"a block is compressed by method {kind}")
    return block


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    if len(block) < 4:
        raise ValueError(f"a block of {len(block)} bytes")
    end = len(block) - 4 - 4 * struct.unpack("<I", block[-4:])[0]
    at, key = 0, b""
    while at < end:
        shared, at = varint(block, at)
        fresh, at = varint(block, at)
        nbytes, at = varint(block, at)
        if shared > len(key) or at + fresh + nbytes > end:
            raise ValueError(f"an entry at byte {at} of a block of {len(block)}")
        key = key[:shared] + block[at : at + fresh]
        at += fresh
        yield key, block[at : at + nbytes]
        at += nbytes


def uncompressed(data: bytes, most: int) -> bytes:
    """What Snappy compressed, of at most so many bytes. Raises ValueError where it is damaged."""
    size, at = varint(data, 0)
    if size > most:
        raise ValueError(f"a block of {size:,} bytes, more than {most:,}")
    out = bytearray()
    while at < len(data) and len(out) <= size:
        tag = data[at]
        kind, six = tag & 3, tag >> 2
        if kind == 0:  # a literal, whose length may follow
            extra = max(0, six - 59)
            length = 1 + (int.from_bytes(data[at + 1 : at + 1 + extra], "little") if extra else six)
            at += 1 + extra
            out += data[at : at + length]
            at += length
            continue
        extra = (1, 2, 4)[kind - 1]
        length = (six & 7) + 4 if kind == 1 else six + 1
        offset = int.from_bytes(data[at + 1 : at + 1 + extra], "little") | (tag >> 5 << 8 if kind == 1 else 0)
        at += 1 + extra
        if not 0 < offset <= len(out):
            raise ValueError("compressed data repeat what is not there")
        out += (bytes(out[-offset:]) * -(-length // offset))[:length]
    if len(out) != size or at != len(data):
        raise ValueError(f"compressed data of {size:,} bytes are damaged")
    return bytes(out)
