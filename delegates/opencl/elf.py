"""Libraries for x86-64 Linux that are made when they are needed: the names of others, and at most one function."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence

PAGE = 4096

BRIEF_SLEEP = bytes.fromhex(
    "0f3148c1e2204809d04989c0"  # r8 = rdtsc
    "4c3b05e5ffffff722e"  #       if r8 < busy_until, the 8 bytes before this function: go to sleep
    "b8180000000f05"  #           sched_yield
    "0f3148c1e2204809d04989c1"  # r9 = rax = rdtsc
    "4c29c0483de09304007235"  #   if it took fewer than 300,000 cycles: return
    "4981c100a3e1114c890db7ffffff"  # busy_until = r9 + 300,000,000 cycles
    "eb25"  #                     return
    "4883ec1848c704240000000048c7442408a0860100"  # sleep: {0 s, 100,000 ns}
    "4889e731f6b8230000000f054883c418"  # nanosleep
    "31c0c3"  #                   return 0
)
"""A `sched_yield` for threads that wait in a loop of it, as those of TBB do when they have no work.

Linux takes a yield for the end of a time slice. Where every processor has other threads to run, a hundred of them,
after which TBB's thread would sleep, take longer than any model, and the thread is not there when there is work. So,
once a yield has taken long, further ones are sleeps of a tenth of a millisecond, for a tenth of a second or less. Where
processors are free it yields.
"""


def library(needs: Sequence[str], name: str = "", function: bytes = b"") -> bytes:
    """An ELF file with the paths of other libraries, which are searched in this order, after the function of that name.

    Before the function, in memory that it may write to, are eight bytes of zeros.
    """
    symbol_name, names, offsets = 1, b"\0" + name.encode() + b"\0", []
    for path in needs:
        offsets.append(len(names))
        names += os.fsencode(path) + b"\0"
    header_size, program_size, programs = 64, 56, 4
    dynamic_at = header_size + programs * program_size
    symbols_at = dynamic_at + 16 * (len(needs) + 6)
    defined = struct.pack("<IBBHQQ", symbol_name, 0x12, 0, 1, PAGE, len(function))  # a global function
    symbols = bytes(24) + defined * bool(name)
    hash_at = symbols_at + len(symbols)
    count = len(symbols) // 24
    table = struct.pack(f"<{3 + count}I", 1, count, count - 1, *[0] * count)  # of one chain, from the last symbol on
    names_at = hash_at + len(table)
    needed, hashes, strtab, symtab, strsz, syment = 1, 4, 5, 6, 10, 11
    tags = [(needed, offset) for offset in offsets] + [(hashes, hash_at), (strtab, names_at), (symtab, symbols_at)]
    tags += [(strsz, len(names)), (syment, 24), (0, 0)]
    load, dynamic, stack, execute, write, read = 1, 2, 0x6474E551, 1, 2, 4
    segments = [
        (load, read | write, 0, PAGE, PAGE),
        (load, read | execute, PAGE, len(function), PAGE),
        (dynamic, read | write, dynamic_at, symbols_at - dynamic_at, 8),
        (stack, read | write, 0, 0, 16),  # not executable: it else makes every stack so
    ]
    if not function:
        del segments[1]
    identity = b"\x7fELF" + bytes([2, 1, 1]).ljust(12, b"\0")  # 64 bits, least byte first, version 1
    shared, x86_64 = 3, 62
    counts = header_size, program_size, len(segments), 64, 0, 0
    header = struct.pack("<HHIQQQIHHHHHH", shared, x86_64, 1, 0, header_size, 0, 0, *counts)
    rows = [struct.pack("<IIQQQQQQ", kind, flags, at, at, at, n, n, step) for kind, flags, at, n, step in segments]
    listed = b"".join([identity, header, *rows]).ljust(dynamic_at, b"\0")
    body = b"".join([listed, *(struct.pack("<QQ", *tag) for tag in tags), symbols, table, names])
    if len(body) > PAGE - 8:
        raise OSError(f"the paths of {len(needs)} libraries are too long for one page")
    return body.ljust(PAGE, b"\0") + function
