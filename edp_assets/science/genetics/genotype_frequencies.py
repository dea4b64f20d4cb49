"""Effect allele frequencies of a random sample of variants, over everybody in the genotype files.

What statistics of some of these people are held against, in `statistics_summary.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import polars as pl

from edp_assets.science.genetics.genotypes import open_genotypes
from edp_assets.science.genetics.statistics_summary import VARIANT

AUTOSOMES = frozenset(str(number) for number in range(1, 23))
"""X is left out: whether a file counts males' X once or twice decides its frequencies."""

_SCHEMA = {
    "chromosome": pl.String,
    "base_pair_location": pl.Int64,
    "effect_allele": pl.String,
    "other_allele": pl.String,
    "frequency": pl.Float64,
}


def draw_reference(paths: Iterable[Path], variants: int, seed: int) -> pl.DataFrame:
    """Return autosomal variants drawn at random, each with the frequency of its effect allele in the file's people.

    Args:
        paths: genotype files of one cohort.
        variants: how many to draw of all files together; all there are where they are fewer.
        seed: of the draw.

    Returns:
        chromosome, base_pair_location, effect_allele, other_allele, frequency; variants without a call are left out.
    """
    rng = np.random.default_rng(seed)
    files = []
    for path in paths:
        with open_genotypes(path) as genotypes:
            autosomal = genotypes.variants["chromosome"].is_in(list(AUTOSOMES)).arg_true()
        files.append((path, autosomal.to_numpy()))
    ends = np.cumsum([len(rows) for _, rows in files])
    total = int(ends[-1]) if len(ends) else 0
    chosen = np.sort(rng.choice(total, min(variants, total), replace=False))
    frames = [pl.DataFrame(schema=_SCHEMA)]
    for (path, rows), end in zip(files, ends, strict=True):
        mine = rows[chosen[(chosen >= end - len(rows)) & (chosen < end)] - (end - len(rows))]
        if len(mine):
            frames.append(_with_frequencies(path, mine))
    return pl.concat(frames).filter(pl.col("frequency").is_not_nan())


def _with_frequencies(path: Path, rows: np.ndarray) -> pl.DataFrame:
    frequencies = np.full(len(rows), np.nan)
    with open_genotypes(path) as genotypes:
        for place, row in enumerate(rows):
            dosages = genotypes.read(int(row), int(row) + 1)
            known = dosages[~np.isnan(dosages)]
            if len(known):
                frequencies[place] = known.mean(dtype=np.float64) / 2
        frame = genotypes.variants[rows.tolist()].select(VARIANT)
    return frame.with_columns(frequency=pl.Series(frequencies)).cast(_SCHEMA)
