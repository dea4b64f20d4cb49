"""Who stands in an association: people with phenotype, genotype and covariates, and the genotypes in their order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from edp_assets.assets.encoders import matrix
from edp_assets.assets.genotype_blocks import usable_blocks
from edp_assets.assets.stage import StageRun
from edp_assets.storage.lake import Exclusion


@dataclass(frozen=True)
class Sample:
    """The people of one association.

    Attributes:
        people: one row a participant, in the order of every array; `sex` among its columns.
        covariates: (n_participants, n_covariates) orthonormal, with the intercept.
        excluded: who was left out, and why.
        notes: covariates that the cohort lacks.
    """

    people: pl.DataFrame
    covariates: np.ndarray
    excluded: list[Exclusion] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of_basis(cls, association_basis: pl.DataFrame) -> Sample:
        """Return the sample that a stored association basis is of."""
        return cls(association_basis.select("eid", "sex"), matrix(association_basis, "covariates"))

    def blocks(
        self, run: StageRun, chromosome: str, metadata: dict[str, Any]
    ) -> Iterator[tuple[pl.DataFrame, np.ndarray]]:
        """Return the usable variants of a chromosome in blocks.

        A block is the variants' table, with the effect allele's frequency among these people, and their genotypes
        (n_variants, n_participants), males' X counted 0 or 2.

        Adds to `metadata` how many variants were read and left out, by reason, over the chromosomes so far.
        """
        return usable_blocks(run, self.people, chromosome, metadata)


def genotyped_sample(
    run: StageRun, people: pl.DataFrame, participants: pl.DataFrame, stage: str, organ: str | None
) -> Sample:
    """Return those of the people who have a genotype and every covariate, counting the others by reason.

    A covariate that the cohort lacks altogether is left out of the model and named in `notes`.
    """
    from edp_assets.science.genetics.covariates import covariate_basis
    from edp_assets.science.genetics.genotypes import read_sample_ids

    cohort, settings = run.workspace.cohort, run.workspace.settings.association
    genotyped = pl.DataFrame({"eid": read_sample_ids(next(iter(cohort.genotype_paths().values())))})
    columns = {"age_squared": "age"}
    needed = list(dict.fromkeys(columns.get(name, name) for name in settings.covariates))
    present = [name for name in needed if participants[name].null_count() < participants.height]
    columns_of = participants.select("eid", *present, *({"sex"} - set(present)))  # X is counted by sex
    joined = people.sort("eid").join(columns_of, on="eid", maintain_order="left")
    with_genotype = joined.join(genotyped, on="eid", how="semi", maintain_order="left")
    # In the genotypes' order, in which they are read fastest.
    complete = genotyped.join(with_genotype.drop_nulls(present), on="eid", maintain_order="left")
    excluded = [
        *(Exclusion(eid, organ, stage, "no genotype") for eid in _difference(joined, with_genotype)),
        *(Exclusion(eid, organ, stage, "missing covariate") for eid in _difference(with_genotype, complete)),
    ]
    names = [name for name in settings.covariates if columns.get(name, name) in present]
    basis = covariate_basis(_design(complete, names), complete.height)
    if complete.height <= basis.shape[1] + 1:
        raise ValueError(
            f"{stage}: {complete.height} people have phenotype, genotype and covariates, fewer than {basis.shape[1]} "
            f"covariates need; {len(excluded)} were left out ({dict(Counter(e.reason for e in excluded))})."
        )
    lacking = [name for name in needed if name not in present]
    return Sample(complete, basis, excluded, {"covariates_lacking": ", ".join(lacking)} if lacking else {})


def _difference(before: pl.DataFrame, after: pl.DataFrame) -> list[str]:
    return before.join(after, on="eid", how="anti")["eid"].to_list()


def _design(people: pl.DataFrame, names: list[str]) -> list[np.ndarray]:
    """Return the covariates' columns: age squared about the mean, a 0/1 column a level of a category."""
    from edp_assets.science.genetics.covariates import indicator_columns

    columns: list[np.ndarray] = []
    for name in names:
        if name == "age_squared":
            age = people["age"].to_numpy()
            columns.append((age - age.mean()) ** 2)
        elif people[name].dtype == pl.String:
            columns += list(indicator_columns(people[name].to_list()).T)
        else:
            columns.append(people[name].to_numpy().astype(float))
    return columns
