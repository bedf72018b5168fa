"""A file in chunks that its content delimits, so that two versions of it have most of them in common.

A chunk ends where a hash of its last 32 bytes has a certain form (content-defined chunking: Muthitacharoen, Chen and
Mazieres, SOSP 2001; gear hash: Xia et al., 2014), wherever in the file that is. What is inserted or left out therefore
changes the chunks there, and no others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CHUNK = np.dtype([("size", "<u4"), ("digest", "<u8")])
"""A chunk's bytes, and the begin of their SHA-256. Whoever puts a file together compares the whole of it, too."""

_BITS = 10  # of the hash, zero at the end of a chunk: 1 kB on average; an image's descriptors take some 30 kB
_LARGEST = 8 << _BITS
_WINDOW = 32
_BLOCK = 4 << 20
_GEAR = np.frombuffer(b"".join(hashlib.sha256(bytes([value])).digest()[:4] for value in range(256)), "<u4")


def chunks_of(path: Path) -> NDArray[np.void]:
    """The chunks (C,) of a file in order, of type ``CHUNK``."""
    return np.concatenate([np.empty(0, CHUNK), *chunks_in_turn(path)])


def chunks_in_turn(path: Path) -> Iterator[NDArray[np.void]]:
    """The same, some thousands at a time."""
    rest = b""
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            rest += block
            ends = list(_ends(rest))
            yield _described(rest, ends)
            rest = rest[ends[-1] if ends else 0 :]
    if rest:
        yield _described(rest, [len(rest)])


def _described(data: bytes, ends: Sequence[int]) -> NDArray[np.void]:
    parts = [data[begin:end] for begin, end in pairwise([0, *ends])]
    return np.array([(len(part), int.from_bytes(hashlib.sha256(part).digest()[:8], "little")) for part in parts], CHUNK)


def _ends(data: bytes) -> Iterator[int]:
    """Where chunks of data that begins with one end; the last one may go on beyond the data."""
    hashes = _GEAR[np.frombuffer(data, np.uint8)]
    for width in (1, 2, 4, 8, 16):  # doubles the number of bytes that each hash is of, to ``_WINDOW``
        before = hashes.copy()
        hashes[width:] += before[:-width] << np.uint32(width)
    begin = 0
    for end in (np.flatnonzero(hashes >> np.uint32(32 - _BITS) == 0) + 1).tolist():
        if end - begin < _WINDOW:  # its hash is of bytes of another chunk, too
            continue
        while end - begin > _LARGEST:
            begin += _LARGEST
            yield begin
        yield end
        begin = end
    while len(data) - begin > _LARGEST:
        begin += _LARGEST
        yield begin
