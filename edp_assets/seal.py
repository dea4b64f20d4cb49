"""A seal: checksums that a file carries in itself, so that a flipped byte anywhere in it is noticed.

A format puts a `BLANK` seal into its head (a Parquet footer, a safetensors header); `seal` then writes the CRC-32 of
the rest of the file and of the head into it, in place. Which formats, and where their heads lie, is not known here.
"""

from __future__ import annotations

import os
import re
import zlib
from pathlib import Path
from typing import BinaryIO

BLANK = "edp-seal:00000000:00000000"
KEY = "edp_seal"
"""What a head calls its seal: beside the seal's own first letters it tells that there was one."""
_SEAL = re.compile(rb"edp-seal:([0-9a-f]{8}):([0-9a-f]{8})")
_BLOCK = 1 << 20


class SealError(ValueError):
    """A file's content is not what its seal says."""


def seal(path: Path, first: int, last: int) -> None:
    """Fill in the blank seal that lies within the bytes from `first` to `last`, and flush the file to the disk."""
    with path.open("r+b") as file:
        body = body_checksum(file, first, last)
        file.seek(first)
        head = file.read(last - first)
        at = head.index(BLANK.encode())
        filled = f"{BLANK[:9]}{body:08x}:00000000".encode()
        sealed = head[:at] + filled + head[at + len(filled) :]
        checksum = zlib.crc32(sealed)
        file.seek(first + at)
        file.write(filled[:-8] + f"{checksum:08x}".encode())
        file.flush()
        os.fsync(file.fileno())


def check_head(head: bytes) -> int | None:
    """Return what the head says of the rest of the file: its checksum; None for a head without a seal.

    Raises:
        SealError: the head is not as it was sealed.
    """
    found = _SEAL.search(head)
    if found is None:
        if KEY.encode() in head or BLANK[:9].encode() in head:
            raise SealError("its seal is damaged")
        return None
    at = found.start(2)
    if zlib.crc32(head[:at] + b"00000000" + head[at + 8 :]) != int(found[2], 16):
        raise SealError("the checksum of its head does not fit")
    return int(found[1], 16)


def body_checksum(file: BinaryIO, first: int, last: int) -> int:
    """Return the CRC-32 of all of a file but the bytes from `first` to `last`; memory is bounded."""
    checksum = 0
    file.seek(0)
    left = first
    while left > 0 and (block := file.read(min(_BLOCK, left))):
        checksum, left = zlib.crc32(block, checksum), left - len(block)
    file.seek(last)
    while block := file.read(_BLOCK):
        checksum = zlib.crc32(block, checksum)
    return checksum


def check_body(file: BinaryIO, first: int, last: int, wanted: int) -> None:
    """Raise SealError where a file, but for its head, is not as it was sealed."""
    if body_checksum(file, first, last) != wanted:
        raise SealError("the checksum of its content does not fit")
