"""The variants of a chromosome that an association may test, of the cohort's genotype files.

Who stands in the association is `people.py`; reading in blocks and its filters are `science/genetics/blocks.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from edp_assets.assets.stage import StageRun

if TYPE_CHECKING:
    from edp_assets.science.genetics.blocks import ChromosomeBlocks
    from edp_assets.science.genetics.variant_qc import VariantStats


def usable_calls(
    run: StageRun, people: pl.DataFrame, chromosome: str, metadata: dict[str, Any]
) -> Iterator[tuple[pl.DataFrame, np.ndarray, VariantStats]]:
    """Yield the usable variants of a chromosome as `science.genetics.blocks.usable_calls` does.

    Variants that `metadata` counts as read already are passed over.
    """
    from edp_assets.science.genetics import blocks

    settings = run.workspace.settings.association
    with _opened(run, people, chromosome, hard_calls=True) as (of_chromosome, male):
        yield from blocks.usable_calls(of_chromosome.after(metadata.get("variants_read", 0)), male, settings, metadata)
        if chromosome == "X" and male.any():
            metadata["males_x"] = of_chromosome.males_x.told()


def usable_blocks(
    run: StageRun, people: pl.DataFrame, chromosome: str, metadata: dict[str, Any]
) -> Iterator[tuple[pl.DataFrame, np.ndarray]]:
    """Yield the usable variants of a chromosome in blocks; the arguments and blocks are those of `Sample.blocks`."""
    from edp_assets.science.genetics import blocks

    settings = run.workspace.settings.association
    with _opened(run, people, chromosome) as (of_chromosome, male):
        for variants, dosages, _ in blocks.usable_calls(of_chromosome, male, settings, metadata):
            if variants.height:
                yield variants, dosages
        if chromosome == "X" and male.any():
            metadata["males_x"] = of_chromosome.males_x.told()


@contextmanager
def _opened(
    run: StageRun, people: pl.DataFrame, chromosome: str, *, hard_calls: bool = False
) -> Iterator[tuple[ChromosomeBlocks, np.ndarray]]:
    """Open a chromosome of the cohort's genotypes for these people; who is male beside it."""
    from edp_assets.science.genetics import blocks
    from edp_assets.science.genetics.genotypes import open_genotypes

    paths = run.workspace.cohort.genotype_paths()
    male = (people["sex"] == 1).fill_null(value=False).to_numpy()
    with open_genotypes(paths["all"] if "all" in paths else paths[chromosome]) as genotypes:
        samples = blocks.sample_places(genotypes.sample_ids, people["eid"].to_list(), chromosome)
        build, most = run.workspace.cohort.genome_build, run.workspace.settings.association.block_variants
        yield blocks.ChromosomeBlocks(genotypes, chromosome, samples, male, build, most, hard_calls=hard_calls), male
