"""Hard calls of chosen variants, two bits each in a scratch file: what is read many times over, as ancestry asks for.

Which variants are chosen is `ancestry_variants.py`; what is made of them is `ancestry.py` and `kinship.py`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

MISSING = 3
"""Code of a missing call; 0, 1, 2 are copies of the effect allele."""

BLOCK_BYTES = 1 << 28
"""Most bytes of a decoded block: 1,400 variants of 45,714 people."""

_PLACES = np.array([0, 2, 4, 6], np.uint8)
_CODES_OF_BYTE = ((np.arange(256, dtype=np.uint8)[:, None] >> _PLACES) & 3).astype(np.intp)  # (256, 4)


class HardCalls:
    """Genotypes (n_variants, n_participants) at two bits a call; a context, whose scratch file goes with it.

    Attributes:
        n_variants: rows.
        n_participants: columns.
    """

    def __init__(
        self, blocks: Iterable[NDArray[np.floating[Any]]], n_participants: int, folder: Path | None = None
    ) -> None:
        """Pack blocks of dosages (n_variants, n_participants), NaN where missing, each rounded to the nearest call.

        Args:
            blocks: in the order of the variants.
            n_participants: columns of every block.
            folder: where the scratch file lies, which has no name; None: the system's.
        """
        self.n_participants, self.n_variants = n_participants, 0
        self._width = -(-n_participants // 4)
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 closed by close()
        for block in blocks:
            self._file.write(_pack(block).tobytes())
            self.n_variants += len(block)
        self._file.flush()
        shape = (self.n_variants, self._width)
        # An empty file cannot be mapped.
        self._packed = np.memmap(self._file, np.uint8, "r", shape=shape) if self.n_variants else np.empty(shape, "u1")

    def __enter__(self) -> HardCalls:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the scratch file back."""
        self._packed = np.empty((0, self._width), np.uint8)
        self._file.close()

    def blocks(self, block_bytes: int = BLOCK_BYTES) -> Iterator[slice]:
        """Yield stretches of variants whose decoded block has at most so many bytes (one variant at least)."""
        size = max(1, block_bytes // (16 * self._width))
        for start in range(0, self.n_variants, size):
            yield slice(start, min(start + size, self.n_variants))

    def decode(self, variants: slice, values: ArrayLike, first: int = 0) -> NDArray[np.float32]:
        """Return calls as numbers, without a copy of the calls in between.

        Args:
            variants: a stretch, from `blocks`.
            values: (4,) or (n_variants, 4) what 0, 1, 2 copies and a missing call become.
            first: the first participant wanted; a multiple of 4.

        Returns:
            (n_variants, n_participants - first) float32.
        """
        packed = self._packed[variants, first // 4 :]
        # Four calls share a byte, so that one look-up of 16 bytes (a complex128) decodes them.
        table = np.asarray(values, np.float32)[..., _CODES_OF_BYTE]
        tables = np.ascontiguousarray(table).view(np.complex128)[..., 0]
        if tables.ndim == 1:
            found = tables[packed]
        else:
            found = np.empty(packed.shape, np.complex128)
            for row, (codes, meaning) in enumerate(zip(packed, tables, strict=True)):
                np.take(meaning, codes, out=found[row], mode="clip")
        return found.view(np.float32)[:, : self.n_participants - first]

    def codes(self, variants: slice) -> NDArray[np.uint8]:
        """Return (n_variants, n_participants) of 0, 1, 2 and MISSING."""
        packed: NDArray[np.uint8] = self._packed[variants]
        codes: NDArray[np.uint8] = (packed[:, :, None] >> _PLACES) & np.uint8(3)
        return codes.reshape(len(packed), -1)[:, : self.n_participants]


def _pack(block: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    m, n = block.shape
    codes = np.full((m, -(-n // 4) * 4), MISSING, np.uint8)
    codes[:, :n] = np.where(np.isnan(block), MISSING, np.rint(np.nan_to_num(block)))
    return np.bitwise_or.reduce(codes.reshape(m, -1, 4) << _PLACES, axis=2)
