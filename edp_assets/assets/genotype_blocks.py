"""The variants of a chromosome that an association may test, of the cohort's genotype files.

Who stands in the association is `people.py`; reading in blocks and its filters are `science/genetics/blocks.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl

from edp_assets.assets.stage import StageRun


def usable_blocks(
    run: StageRun, people: pl.DataFrame, chromosome: str, metadata: dict[str, Any]
) -> Iterator[tuple[pl.DataFrame, np.ndarray]]:
    """Yield the usable variants of a chromosome in blocks; the arguments and blocks are those of `Sample.blocks`."""
    from edp_assets.science.genetics import blocks
    from edp_assets.science.genetics.genotypes import open_genotypes

    settings = run.workspace.settings.association
    paths = run.workspace.cohort.genotype_paths()
    male = (people["sex"] == 1).fill_null(value=False).to_numpy()
    with open_genotypes(paths["all"] if "all" in paths else paths[chromosome]) as genotypes:
        samples = blocks.sample_places(genotypes.sample_ids, people["eid"].to_list(), chromosome)
        build, most = run.workspace.cohort.genome_build, settings.block_variants
        of_chromosome = blocks.ChromosomeBlocks(genotypes, chromosome, samples, male, build, most)
        yield from blocks.usable_blocks(of_chromosome, male, settings, metadata)
        if chromosome == "X" and male.any():
            metadata["males_x"] = of_chromosome.males_x.told()
