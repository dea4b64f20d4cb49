"""Linkage disequilibrium: squared correlations of genotypes between one variant and others, in a sample of people."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from edp_assets.science.genetics.genotypes import GenotypeFile
from edp_assets.science.genetics.variant_qc import centre

AT_ONCE = 256
"""Variants whose genotypes are held at once: 47 MB of 45,714 people."""

VARIANT_KEY = ["chromosome", "base_pair_location", "effect_allele", "other_allele"]


def squared_correlations(lead: NDArray[np.floating[Any]], G: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return r^2 of one variant's dosages with those of others; missing calls count as the variant's mean.

    Args:
        lead: (n_participants,) dosages, NaN where missing.
        G: (n_variants, n_participants) likewise.

    Returns:
        (n_variants,); NaN where either does not vary.
    """
    x, X = centre(np.atleast_2d(lead))[0][0].astype(np.float64), centre(G)[0]
    products = X @ x.astype(X.dtype)
    squares = np.einsum("ij,ij->i", X, X, dtype=np.float64) * (x @ x)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(squares > 0, np.square(products.astype(np.float64)) / squares, np.nan)


class Linkage:
    """r^2 between rows of a table of variants, from open genotype files, in the people given.

    Rows that the files do not hold have NaN with every other. Genotypes are read when asked for, AT_ONCE at a time.
    """

    def __init__(self, variants: pl.DataFrame, files: dict[str, GenotypeFile], people: list[str]) -> None:
        """Find the rows in the files.

        Args:
            variants: VARIANT_KEY and rsid among the columns; rows are told by their number.
            files: open files by chromosome, or one file under "all".
            people: IIDs, each of them in every file.
        """
        self._files, self._people = files, people
        self._samples: dict[int, NDArray[np.int64]] = {}
        key = [*VARIANT_KEY, "rsid"]
        rows = variants.select(key).with_row_index("row")
        self._place: dict[int, tuple[GenotypeFile, int]] = {}
        chosen = [(file, None if name == "all" else name) for name, file in files.items()]
        for file, chromosome in chosen:
            wanted = rows if chromosome is None else rows.filter(chromosome=chromosome)
            if wanted.height:
                held = file.variants.select(key).with_row_index("index")
                both = wanted.join(held, on=key, nulls_equal=True).unique("row", keep="first", maintain_order=True)
                self._place |= {row: (file, index) for row, index in both.select("row", "index").iter_rows()}

    def __call__(self, lead: int, others: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return (n_others,) r^2 of the row `lead` with the rows `others`."""
        r2 = np.full(len(others), np.nan)
        if lead not in self._place:
            return r2
        file, index = self._place[lead]
        x = self._read(file, [index])[0]
        there = [i for i, row in enumerate(others) if self._place.get(int(row), (None,))[0] is file]
        for start in range(0, len(there), AT_ONCE):
            some = there[start : start + AT_ONCE]
            r2[some] = squared_correlations(x, self._read(file, [self._place[int(others[i])][1] for i in some]))
        return r2

    def _read(self, file: GenotypeFile, indices: list[int]) -> NDArray[np.float32]:
        """Return (n_indices, n_participants) dosages, runs of neighbours read together."""
        if id(file) not in self._samples:
            place = {eid: i for i, eid in enumerate(file.sample_ids)}
            self._samples[id(file)] = np.array([place[eid] for eid in self._people], dtype=np.int64)
        samples, order = self._samples[id(file)], np.argsort(indices, kind="stable")
        block = file.read_rows(np.asarray(indices)[order], samples)
        found = np.empty_like(block)
        found[order] = block
        return found
