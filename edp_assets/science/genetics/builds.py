"""Genome builds: how long their chromosomes are, and whether positions can be of a build.

The pseudo-autosomal regions of X are in `sex_chromosomes.py`.
"""

from __future__ import annotations

import polars as pl

_NAMES = (*(str(n) for n in range(1, 23)), "X", "Y")

CHROMOSOME_LENGTHS = {
    build: dict(zip(_NAMES, lengths, strict=True))
    for build, lengths in {
        "NCBI36": (
            247249719, 242951149, 199501827, 191273063, 180857866, 170899992, 158821424, 146274826, 140273252,
            135374737, 134452384, 132349534, 114142980, 106368585, 100338915, 88827254, 78774742, 76117153, 63811651,
            62435964, 46944323, 49691432, 154913754, 57772954,
        ),
        "GRCh37": (
            249250621, 243199373, 198022430, 191154276, 180915260, 171115067, 159138663, 146364022, 141213431,
            135534747, 135006516, 133851895, 115169878, 107349540, 102531392, 90354753, 81195210, 78077248, 59128983,
            63025520, 48129895, 51304566, 155270560, 59373566,
        ),
        "GRCh38": (
            248956422, 242193529, 198295559, 190214555, 181538259, 170805979, 159345973, 145138636, 138394717,
            133797422, 135086622, 133275309, 114364328, 107043718, 101991189, 90338345, 83257441, 80373285, 58617616,
            64444167, 46709983, 50818468, 156040895, 57227415,
        ),
    }.items()
}  # fmt: skip
"""Base pairs of chromosomes 1 to 22, X and Y in each build (the assemblies' own reports)."""


def beyond_chromosome_ends(variants: pl.DataFrame, build: str) -> pl.DataFrame:
    """Return the variants whose position lies beyond the end of their chromosome, which cannot be of the build.

    None does not prove the build: most positions of one build exist in every other.

    Args:
        variants: chromosome (1 to 22, X, Y; others are passed over) and base_pair_location among the columns.
        build: one of CHROMOSOME_LENGTHS.

    Returns:
        Their rows, with `length` of the chromosome in base pairs.

    Raises:
        ValueError: a build of no known lengths.
    """
    if build not in CHROMOSOME_LENGTHS:
        raise ValueError(f"genome build: wanted one of {', '.join(CHROMOSOME_LENGTHS)}, found {build!r}")
    length = pl.col("chromosome").replace_strict(CHROMOSOME_LENGTHS[build], default=None, return_dtype=pl.Int64)
    return variants.with_columns(length=length).filter(pl.col("base_pair_location") > pl.col("length"))
