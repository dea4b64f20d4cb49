"""Genotypes in blocks of variants, from PLINK 1 .bed and PLINK 2 .pgen files (through Pgenlib) and BGEN.

Reading only: which variants are good enough is `variant_qc.py`, the text files beside them `plink_tables.py`, how a
BGEN is read `bgen_files.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from edp_assets.science.genetics.bgen_files import BgenFile, read_bgen_samples
from edp_assets.science.genetics.plink_tables import (
    GenotypeError,
    read_bim,
    read_fam,
    read_psam,
    read_pvar,
    read_sex_column,
)

__all__ = ["MISSING_CALL", "GenotypeError", "GenotypeFile", "open_genotypes", "read_sample_ids", "read_sexes"]

_BED_MAGIC = b"\x6c\x1b"
_PADDING_VARIANTS = 64  # whose unused bits are looked at
MISSING_CALL = -9
"""A missing hard call (Pgenlib's code, of dosages too)."""


class _Reader(Protocol):
    """What decodes one format; the indices it is given are inside the file."""

    def read(self, start: int, stop: int, samples: NDArray[np.int64] | None) -> NDArray[np.float32]:
        """As `GenotypeFile.read`."""

    def read_calls(self, start: int, stop: int, samples: NDArray[np.int64] | None) -> NDArray[Any]:
        """As `GenotypeFile.read_calls`."""

    def close(self) -> None:
        """Close the file."""


class GenotypeFile:
    """An open genotype file: `sample_ids`, `variants`, and blocks of dosages of the effect allele (0 to 2).

    Not to be shared between threads or processes: open it once in each. Memory is the variant table and the block
    asked for: 4 bytes a dosage. Haploid calls of a .bgen count 0 or 2, as PLINK's files hold them for males' X.

    Attributes:
        path: the .bed, .pgen or .bgen.
        sample_ids: IIDs in the file's order.
        variants: a row a variant, in the file's order: chromosome, base_pair_location, rsid, effect_allele (A1 of a
            .bim, ALT of a .pvar, the second of a .bgen: the allele that the matrices count), other_allele.
    """

    def __init__(self, path: Path, sample_ids: list[str], variants: pl.DataFrame, reader: _Reader) -> None:
        self.path = path
        self.sample_ids = sample_ids
        self.variants = variants
        self._reader = reader

    def __enter__(self) -> GenotypeFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; reading after that raises."""
        self._reader.close()

    @property
    def n_variants(self) -> int:
        """Number of variants in the file."""
        return self.variants.height

    def read(self, start: int, stop: int, samples: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Read variants `start` to `stop` (not included).

        Args:
            start: first variant, from 0.
            stop: one past the last variant.
            samples: (n_participants,) indices into `sample_ids`, in any order; None reads all in the file's order.

        Returns:
            (n_variants, n_participants) dosages of the effect allele, NaN where missing, in the order asked for.

        Raises:
            GenotypeError: indices outside the file, or contents that cannot be decoded.
        """
        return self._reader.read(start, stop, self._checked(start, stop, samples))

    def read_calls(self, start: int, stop: int, samples: NDArray[np.int64] | None = None) -> NDArray[Any]:
        """Read as `read`, but as int8 hard calls, `MISSING_CALL` where missing, from a .bed: a quarter of the memory.

        The other formats may hold dosages: float32, NaN where missing.
        """
        return self._reader.read_calls(start, stop, self._checked(start, stop, samples))

    def _checked(self, start: int, stop: int, samples: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
        if not 0 <= start <= stop <= self.n_variants:
            raise GenotypeError(f"{self.path}: asked for variants {start} to {stop} of {self.n_variants}")
        if samples is not None:
            samples = np.asarray(samples, dtype=np.int64)
            n = len(self.sample_ids)
            if samples.size == 0 or samples.min() < 0 or samples.max() >= n:
                raise GenotypeError(f"{self.path}: samples must be one or more indices from 0 to {n - 1}")
        return samples

    def read_rows(self, rows: NDArray[np.int64], samples: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Read one or more variants `rows`, ascending; neighbours are read together. Otherwise as `read`."""
        runs = np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)
        return np.concatenate([self.read(int(r[0]), int(r[-1]) + 1, samples) for r in runs])

    def blocks(
        self, size: int, samples: NDArray[np.int64] | None = None
    ) -> Iterator[tuple[int, int, NDArray[np.float32]]]:
        """Yield (start, stop, matrix) over all variants, `size` at a time; `samples` and the matrix as in `read`."""
        if size < 1:
            raise ValueError(f"size is the number of variants in a block: wanted 1 or more, found {size}")
        for start in range(0, self.n_variants, size):
            stop = min(start + size, self.n_variants)
            yield start, stop, self.read(start, stop, samples)


class _PlinkReader:
    """Dosages of a .bed or .pgen, through Pgenlib."""

    def __init__(self, path: Path, n_variants: int, n_samples: int) -> None:
        import pgenlib

        self._path, self._n_samples = path, n_samples
        self._subset: NDArray[np.uint32] | None = None
        try:
            self._pgen = pgenlib.PgenReader(str(path).encode(), raw_sample_ct=n_samples, variant_ct=n_variants)
        except RuntimeError as error:
            raise GenotypeError(
                f"{path} cannot be opened as genotypes of {n_samples} participants x {n_variants} variants: "
                f"{_text(error)}"
            ) from None

    def read(self, start: int, stop: int, samples: NDArray[np.int64] | None) -> NDArray[np.float32]:
        block = self._decode(start, stop, samples, np.float32)
        block[block == MISSING_CALL] = np.nan
        return block

    def read_calls(self, start: int, stop: int, samples: NDArray[np.int64] | None) -> NDArray[Any]:
        if self._path.suffix != ".bed":
            return self.read(start, stop, samples)
        return self._decode(start, stop, samples, np.int8)

    def _decode(
        self, start: int, stop: int, samples: NDArray[np.int64] | None, dtype: type[np.float32 | np.int8]
    ) -> NDArray[Any]:
        columns = self._choose(samples)
        n = self._n_samples if self._subset is None else len(self._subset)
        block = np.empty((stop - start, n), dtype=dtype)
        if start < stop:
            try:
                decode = self._pgen.read_range if dtype is np.int8 else self._pgen.read_dosages_range
                decode(start, stop, block)
            except RuntimeError as error:
                raise GenotypeError(
                    f"{self._path}: variants {start} to {stop} cannot be read: {_text(error)}"
                ) from None
        return block if columns is None else block[:, columns]

    def close(self) -> None:
        self._pgen.close()

    def _choose(self, samples: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
        """Tell Pgenlib whom to read, and return the columns that bring them into the order asked for (None: as is)."""
        if samples is None:
            subset, columns = None, None
        else:
            # Pgenlib takes strictly increasing indices only.
            increasing, columns = np.unique(samples, return_inverse=True)
            subset = increasing.astype(np.uint32)
            if np.array_equal(columns, np.arange(len(samples))):
                columns = None
        same = subset is self._subset or (
            subset is not None and self._subset is not None and np.array_equal(subset, self._subset)
        )
        if not same:
            self._pgen.change_sample_subset(subset)
            self._subset = subset
        return columns


def open_genotypes(path: Path) -> GenotypeFile:
    """Open a PLINK 1 .bed (with .bim and .fam beside it), a PLINK 2 .pgen (with .pvar and .psam) or a .bgen.

    A .bgen is of layout 2 (1.2 and 1.3): any compression and bit depth, phased or not; see `bgen_files.BgenFile`.

    Raises:
        GenotypeError: a file is missing, truncated, of another format, or does not fit the files beside it.
    """
    path = _existing(path)
    if path.suffix == ".bgen":
        file = BgenFile(path)
        return GenotypeFile(path, file.sample_ids, file.variants, file)
    if path.suffix == ".bed":
        variants, sample_ids = read_bim(path.with_suffix(".bim")), read_fam(path.with_suffix(".fam"))
        _check_bed(path, variants.height, len(sample_ids))
    else:
        variants, sample_ids = read_pvar(path.with_suffix(".pvar")), read_psam(path.with_suffix(".psam"))
    return GenotypeFile(path, sample_ids, variants, _PlinkReader(path, variants.height, len(sample_ids)))


def read_sample_ids(path: Path) -> list[str]:
    """Return the IIDs of a genotype file in its order, without reading its variants; raises as `open_genotypes`."""
    path = _existing(path)
    if path.suffix == ".bgen":
        return read_bgen_samples(path)
    return read_fam(path.with_suffix(".fam")) if path.suffix == ".bed" else read_psam(path.with_suffix(".psam"))


def read_sexes(path: Path) -> list[int | None]:
    """Return 1 for male, 0 for female and None for unknown, of the people of a genotype file in its order.

    From the SEX of its .fam or .psam (1 or M, 2 or F); a .bgen tells none.
    """
    path = _existing(path)
    if path.suffix == ".bgen":
        return [None] * len(read_sample_ids(path))
    return read_sex_column(path.with_suffix(".fam" if path.suffix == ".bed" else ".psam"))


def _existing(path: Path) -> Path:
    path = Path(path)
    if path.suffix not in {".bed", ".pgen", ".bgen"}:
        raise GenotypeError(f"{path}: wanted a .bed, .pgen or .bgen file, found {path.suffix or 'no suffix'}")
    if not path.is_file():
        raise GenotypeError(f"{path} is missing")
    return path


def _check_bed(path: Path, n_variants: int, n_samples: int) -> None:
    """Raise unless the file is a variant-major .bed of exactly this size."""
    with path.open("rb") as file:
        head = file.read(3)
    if head[:2] != _BED_MAGIC or len(head) < 3 or head[2] not in (0, 1):
        raise GenotypeError(f"{path} is not a PLINK 1 .bed: wanted first bytes 6c 1b 01, found {head.hex(' ')}")
    if head[2] == 0:
        raise GenotypeError(f"{path} is sample-major; rewrite it variant-major with plink1.9 --bfile ... --make-bed")
    expected, found = 3 + -(-n_samples // 4) * n_variants, path.stat().st_size
    if expected != found:
        what = "truncated" if found < expected else "too long"
        raise GenotypeError(
            f"{path} is {what}: {n_samples} participants in the .fam x {n_variants} variants in the .bim take "
            f"{expected} bytes, found {found}; the three files must come from one run of PLINK"
        )
    _check_padding(path, n_variants, n_samples)


def _check_padding(path: Path, n_variants: int, n_samples: int) -> None:
    """Raise where a .bed has calls after its last participant, in the byte that four of them share.

    Without that a .fam which lacks one to three people would pass: it takes as many bytes.
    """
    bytes_each, used = -(-n_samples // 4), n_samples % 4
    if not used or not n_variants:
        return
    rows = min(n_variants, _PADDING_VARIANTS)
    calls = np.fromfile(path, np.uint8, count=rows * bytes_each, offset=3).reshape(rows, bytes_each)
    if np.any(calls[:, -1] >> (2 * used)):
        raise GenotypeError(
            f"{path} has calls of more people than the {n_samples} participants in the .fam: wanted zeros after the "
            "last of them; the three files must come from one run of PLINK"
        )


def _text(error: Exception) -> str:
    """Return Pgenlib's message, which comes as bytes."""
    message = error.args[0] if error.args else error
    return (message.decode(errors="replace") if isinstance(message, bytes) else str(message)).strip()
