"""A BGEN layout 2 writer by the format's specification, sharing nothing with the library that reads."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow

COMPRESSIONS = {"none": 0, "zlib": 1, "zstd": 2}


@dataclass(frozen=True)
class Variant:
    """One variant; probabilities as integers of `bits` bits that sum to no more than 2^bits - 1.

    Attributes:
        stored: a participant's stored integers. Unphased diploid: (AA, AB); phased diploid: the first allele of either
            haplotype; haploid: (A,).
        ploidy: (n_participants,) 1 or 2.
        missing: (n_participants,) bool.
    """

    stored: Sequence[Sequence[int]]
    ploidy: np.ndarray
    missing: np.ndarray
    bits: int = 8
    phased: bool = False
    chromosome: str = "01"
    position: int = 100
    rsid: str = "rs1"
    alleles: tuple[str, ...] = ("G", "A")

    @property
    def dosage(self) -> np.ndarray:
        """Dosage of the second allele, 0 to 2 for haploid calls too, NaN where missing."""
        top = 2**self.bits - 1
        found = []
        for values, ploidy in zip(self.stored, self.ploidy, strict=True):
            p = [value / top for value in values]
            if ploidy == 1:
                found.append(2 * (1 - p[0]))
            else:
                found.append(2 - p[0] - p[1] if self.phased else 2 - 2 * p[0] - p[1])
        return np.where(self.missing, np.nan, found)

    def block(self) -> bytes:
        """Return the genotype block, not compressed."""
        text, n = 0, 0
        for values in self.stored:
            for value in values:
                text |= int(value) << (n * self.bits)  # least significant bit first
                n += 1
        ploidy = (self.ploidy + 128 * self.missing).astype(np.uint8).tobytes()
        head = struct.pack("<IHBB", len(self.ploidy), len(self.alleles), self.ploidy.min(), self.ploidy.max())
        return head + ploidy + bytes([self.phased, self.bits]) + text.to_bytes(-(-n * self.bits // 8), "little")

    def record(self, compression: str) -> bytes:
        """Return the variant as it stands in the file."""
        head = b"".join(_text(each, "<H") for each in ("id", self.rsid, self.chromosome))
        head += struct.pack("<IH", self.position, len(self.alleles)) + b"".join(_text(a, "<I") for a in self.alleles)
        block = self.block()
        if compression == "none":
            return head + struct.pack("<I", len(block)) + block
        packed = zlib.compress(block) if compression == "zlib" else pyarrow.Codec("zstd").compress(block, asbytes=True)
        return head + struct.pack("<II", len(packed) + 4, len(block)) + packed


def hard_calls(G: np.ndarray, **keywords: object) -> list[Variant]:
    """Return diploid variants of copies of the second allele (n_variants, n_participants), NaN missing."""
    stored = {0: (255, 0), 1: (0, 255), 2: (0, 0)}
    keywords = {"alleles": ("G", "A"), "chromosome": "1"} | keywords
    return [
        Variant([stored[int(g)] for g in np.nan_to_num(row)], np.full(len(row), 2), np.isnan(row), position=100 * i,
                rsid=f"rs{i}", **keywords)  # type: ignore[arg-type]
        for i, row in enumerate(G)
    ]  # fmt: skip


def write_bgen(
    path: Path,
    variants: Sequence[Variant],
    sample_ids: Sequence[str] | None,
    compression: str = "zlib",
    *,
    n_samples: int | None = None,
    layout: int = 2,
) -> Path:
    """Write a .bgen; `n_samples` is what the head tells where that is to be wrong, sample_ids None: no such block."""
    n = n_samples if n_samples is not None else len(variants[0].ploidy)
    flags = COMPRESSIONS[compression] | layout << 2 | (sample_ids is not None) << 31
    header = struct.pack("<III4sI", 20, len(variants), n, b"bgen", flags)
    samples = b""
    if sample_ids is not None:
        ids = b"".join(_text(each, "<H") for each in sample_ids)
        samples = struct.pack("<II", len(ids) + 8, len(sample_ids)) + ids
    path.write_bytes(
        struct.pack("<I", len(header) + len(samples)) + header + samples
        + b"".join(variant.record(compression) for variant in variants)
    )  # fmt: skip
    return path


def _text(text: str, width: str) -> bytes:
    return struct.pack(width, len(text)) + text.encode()
