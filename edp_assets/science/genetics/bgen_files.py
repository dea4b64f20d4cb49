"""BGEN 1.2 and 1.3 files (layout 2), through the library bgen: their variants, their sample ids, dosages in blocks.

What is common to all formats is `genotypes.py`; the .sample file beside a .bgen is read by `plink_tables.py`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from edp_assets.science.genetics.plink_tables import GenotypeError, normalise_chromosome, read_sample, unique_iids

if TYPE_CHECKING:
    from bgen import BgenReader
    from bgen.reader import BgenVar

_RAW = {
    "chromosome": pl.String, "base_pair_location": pl.Int64, "rsid": pl.String, "n_alleles": pl.Int64,
    "other_allele": pl.String, "effect_allele": pl.String,
}  # fmt: skip
_INDEX_QUERY = (
    "SELECT chromosome, position, rsid, number_of_alleles, allele1, allele2 FROM Variant ORDER BY file_start_position"
)
_ROWS_AT_ONCE = 65536  # of the variant table, as Python objects on their way to polars

_Row = tuple[str, int, str, int, str, str | None]


class BgenFile:
    """An open .bgen: `sample_ids`, `variants`, and dosages of the second allele.

    The second allele is counted, as UK Biobank's files and plink2's ref-first have the reference first: it is the ALT
    of a .pvar of the same data, and the ALLELE1 of regenie with --ref-first. (A .bim may count either.)

    bgenix's index, NAME.bgen.bgi, is used where it stands beside the file; else every variant's head is walked over
    once on opening (about 30 us each), and variants are read in the file's order: asking for earlier ones starts again.
    In memory are the variant table, the block asked for and one variant.

    Attributes:
        path: the .bgen.
        sample_ids: as `read_bgen_samples`.
        variants: as `genotypes.GenotypeFile.variants`.
    """

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            GenotypeError: truncated or damaged, of another layout, with variants of more than two alleles, without
                sample ids, or with an index or .sample of another file.
        """
        self.path = path
        self._index = path.with_name(path.name + ".bgi")
        self._indexed = self._index.exists()
        self._reader, self._closed = _open(path), False
        try:
            self.sample_ids = _sample_ids(path, self._reader)
            self.variants = self._read_variants()
            self._restart()
            if self.variants.height:
                self.read(0, 1, None)  # shows genotypes of another number of participants now, not hours later
        except BaseException:
            self._reader.close()
            raise

    def read(self, start: int, stop: int, samples: NDArray[np.int64] | None) -> NDArray[np.float32]:
        """Return variants `start` to `stop` (not included) of the samples in the order asked for; None: all.

        Returns:
            (n_variants, n_participants) dosages of the second allele, 0 to 2, NaN where missing. A haploid call, as of
            a male's X, counts 0 or 2. Where probabilities sum to more than 1 the last one is taken as 0.
        """
        n = len(self.sample_ids) if samples is None else len(samples)
        block = np.empty((stop - start, n), dtype=np.float32)
        try:
            for row, variant in enumerate(self._walk(start, stop)):
                dosage, ploidy = variant.alt_dosage, variant.ploidy
                if ploidy.max() > 2:
                    raise GenotypeError(
                        f"{self.path}: variant {start + row} ({variant.rsid}) has calls of ploidy {ploidy.max()}: "
                        "wanted haploid and diploid ones"
                    )
                if ploidy.min() < 2:
                    dosage = np.where(ploidy == 1, 2 * dosage, np.where(ploidy == 0, np.float32(np.nan), dosage))
                block[row] = dosage if samples is None else dosage[samples]
        except (ValueError, IndexError, StopIteration) as error:
            if isinstance(error, GenotypeError):
                raise
            raise GenotypeError(
                f"{self.path}: variants {start} to {stop} cannot be read as genotypes of {len(self.sample_ids)} "
                f"participants: {error}; the file is damaged, copy it again"
            ) from None
        return block

    read_calls = read  # it holds probabilities: dosages are all there is

    def close(self) -> None:
        """Close the file; reading after that raises."""
        self._closed = True
        self._reader.close()

    def _walk(self, start: int, stop: int) -> Iterator[BgenVar]:
        """Yield variants: by the index, or going on from the last one read."""
        if self._closed:
            raise GenotypeError(f"{self.path} is closed: open it again to read on")
        if self._indexed:
            yield from (self._reader[i] for i in range(start, stop))
            return
        if start < self._next:
            self._restart()
        while self._next < stop:
            variant = next(self._heads, None)
            if variant is None:
                raise ValueError(f"it ends after {self._next} variants")
            self._next += 1
            if self._next > start:
                yield variant

    def _restart(self) -> None:
        self._reader.close()
        self._reader = _open(self.path)
        self._heads, self._next = iter(self._reader), 0

    def _read_variants(self) -> pl.DataFrame:
        n = self._reader.header.nvariants
        raw = _table(self._rows_of_index() if self._indexed else self._rows_of_file())
        if raw.height != n:
            what, remedy = ("truncated" if raw.height < n else "damaged"), "copy or write it again"
            if self._indexed:
                raise self._index_of_another(f"it lists {raw.height} variants, the file {n}")
            raise GenotypeError(f"{self.path} is {what}: its head tells of {n} variants, found {raw.height}; {remedy}")
        several = raw.filter(pl.col("n_alleles") != 2)
        if several.height:
            first = several.row(0, named=True)
            raise GenotypeError(
                f"{self.path}: {several.height} of {n} variants have not two alleles, the first is {first['rsid']} at "
                f"{first['chromosome']}:{first['base_pair_location']} with {first['n_alleles']}; split them with "
                "bcftools norm -m- or leave them out with qctool -excl-rsids"
            )
        return raw.select(
            normalise_chromosome(pl.col("chromosome")).alias("chromosome"),
            "base_pair_location",
            pl.when(~pl.col("rsid").is_in([".", ""])).then(pl.col("rsid")).alias("rsid"),
            "effect_allele",
            "other_allele",
        )

    def _rows_of_file(self) -> Iterator[_Row]:
        n, end = self._reader.header.nvariants, self._reader.header.offset + 4
        size = self.path.stat().st_size
        try:
            # One more than the head tells of, to notice a file that holds more.
            for variant in islice(self._reader, n + 1):
                alleles, end = variant.alleles, variant.next_variant_offset
                second = alleles[1] if len(alleles) > 1 else None
                yield variant.chrom, variant.pos, variant.rsid, len(alleles), alleles[0], second
        except (ValueError, IndexError) as error:
            raise GenotypeError(f"{self.path} is truncated or damaged: {error}; copy or write it again") from None
        if end > size:
            raise GenotypeError(
                f"{self.path} is truncated: its last variant ends at byte {end}, found {size}; copy or write it again"
            )

    def _rows_of_index(self) -> Iterator[_Row]:
        try:
            with closing(sqlite3.connect(f"{self._index.resolve().as_uri()}?mode=ro", uri=True)) as index:
                query = "SELECT min(file_start_position), max(file_start_position + size_in_bytes) FROM Variant"
                start, end = index.execute(query).fetchone()
                size, first = self.path.stat().st_size, self._reader.header.offset + 4
                if end is not None and end > size:
                    raise GenotypeError(
                        f"{self.path} is truncated: by its index {self._index.name} it has {end} bytes, found {size}; "
                        "copy it again, or remove an index that is of another file"
                    )
                if end is not None and (start, end) != (first, size):
                    raise self._index_of_another(f"it covers bytes {start} to {end}, the variants {first} to {size}")
                yield from index.execute(_INDEX_QUERY)
        except sqlite3.Error as error:
            raise self._index_of_another(str(error)) from None

    def _index_of_another(self, found: str) -> GenotypeError:
        return GenotypeError(
            f"{self._index} does not fit {self.path.name}: {found}; remove it, or make it again with "
            f"bgenix -g {self.path.name} -index -clobber"
        )


def read_bgen_samples(path: Path) -> list[str]:
    """Return the sample ids of a .bgen in its order, without walking over its variants.

    They are the .sample file's beside it (its ID_2) where there is one, else the file's own. Own ids that are all of
    the form A_A, as PLINK 1.9 and regenie paste FID and IID that are the same, are taken as A.

    Raises:
        GenotypeError: no ids at all, repeated ids, or a .sample of another number of participants.
    """
    reader = _open(path)
    try:
        return _sample_ids(path, reader)
    finally:
        reader.close()


def _open(path: Path) -> BgenReader:
    from bgen import BgenReader

    try:
        reader = BgenReader(str(path), delay_parsing=True)
    except (ValueError, sqlite3.Error, UnicodeDecodeError) as error:
        raise GenotypeError(f"{path} cannot be opened as a BGEN: {error}; copy or write it again") from None
    if reader.header.layout != 2:
        reader.close()
        raise GenotypeError(
            f"{path} is a BGEN 1.1 (layout 1): wanted 1.2 or 1.3; rewrite it with qctool -g {path.name} -og new.bgen"
        )
    return reader


def _sample_ids(path: Path, reader: BgenReader) -> list[str]:
    beside, n = path.with_suffix(".sample"), reader.header.nsamples
    if beside.exists():
        ids = read_sample(beside)
        if len(ids) != n:
            raise GenotypeError(
                f"{path} holds genotypes of {n} participants, {beside.name} beside it lists {len(ids)}: wanted the "
                "same, in one order; take the .sample that came with this file"
            )
        return ids
    if not reader.header.has_sample_ids:
        raise GenotypeError(f"{path} holds no sample ids: wanted {beside.name} beside it; copy its .sample there")
    ids = reader.samples
    halves = [each.split("_") for each in ids]
    if all(len(half) == 2 and half[0] == half[1] for half in halves):
        ids = [half[1] for half in halves]
    return unique_iids(pl.Series(ids, dtype=pl.String), path)


def _table(rows: Iterable[_Row]) -> pl.DataFrame:
    """Return the rows as columns, some thousands at a time."""
    source = iter(rows)
    parts = [pl.DataFrame(schema=_RAW)]
    for first in source:
        part = [first, *islice(source, _ROWS_AT_ONCE - 1)]
        parts.append(pl.DataFrame(part, schema=_RAW, orient="row"))
    return pl.concat(parts)
