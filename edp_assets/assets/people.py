"""Who stands in an association: unrelated people with phenotype, genotype and covariates; and their genotypes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from edp_assets.assets import ancestry, cohort
from edp_assets.assets.encoders import matrix
from edp_assets.assets.genotype_blocks import usable_blocks
from edp_assets.assets.stage import Stage, StageRun
from edp_assets.storage.lake import Exclusion

RELATED = "related to another person of the association"
"""Why a relative is left out; to whom they are related, the table `relatives` tells."""


@dataclass(frozen=True)
class Sample:
    """The people of one association.

    Attributes:
        people: one row a participant, in the order of every array; `sex` among its columns.
        covariates: (n_participants, n_covariates) orthonormal, with the intercept.
        excluded: who was left out, and why.
        notes: covariates that the cohort lacks, and whether its genotype PCs are computed.
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


ENROLLED: dict[str, Stage] = {
    "participants": cohort.participants,
    "genotype_pcs": ancestry.genotype_pcs,
    "relatives": ancestry.relatives,
}
"""The inputs of `Enrolled`, as a stage of associations names them."""


@dataclass(frozen=True)
class Enrolled:
    """The whole cohort, as associations see it: the tables of these names."""

    participants: pl.DataFrame
    genotype_pcs: pl.DataFrame
    relatives: pl.DataFrame

    def covariates(self) -> pl.DataFrame:
        """Return the participants; where they have no genotype PC, with those computed."""
        computed = [name for name in ancestry.PCS if self.genotype_pcs[name].null_count() < self.genotype_pcs.height]
        others = self.participants.drop(computed)
        return others.join(self.genotype_pcs.select("eid", *computed), on="eid", how="left", maintain_order="left")

    def without_relatives(self, people: pl.DataFrame) -> pl.DataFrame:
        """Return the people less those who are to be left out for a relative among them."""
        return without_relatives(people, self.relatives)


def without_relatives(people: pl.DataFrame, relatives: pl.DataFrame) -> pl.DataFrame:
    """Return the people (eid among the columns) less those who are to be left out for a relative among them."""
    of_here = relatives.filter("left_out").join(people, left_on="relative", right_on="eid", how="semi")
    return people.join(of_here, on="eid", how="anti", maintain_order="left")


def genotyped_sample(run: StageRun, people: pl.DataFrame, enrolled: Enrolled, stage: str, organ: str | None) -> Sample:
    """Return those of the people who have a genotype and every covariate, unrelated, counting the others by reason.

    A covariate that the cohort lacks altogether is left out of the model and named in `notes`; so is it told whether
    the genotype PCs are computed ones.
    """
    from edp_assets.science.genetics.covariates import covariate_basis
    from edp_assets.science.genetics.genotypes import read_sample_ids

    settings, participants = run.workspace.settings.association, enrolled.covariates()
    genotyped = pl.DataFrame({"eid": read_sample_ids(next(iter(run.workspace.cohort.genotype_paths().values())))})
    columns = {"age_squared": "age"}
    needed = list(dict.fromkeys(columns.get(name, name) for name in settings.covariates))
    present = [name for name in needed if participants[name].null_count() < participants.height]
    columns_of = participants.select("eid", *present, *({"sex"} - set(present)))  # X is counted by sex
    joined = people.sort("eid").join(columns_of, on="eid", maintain_order="left")
    with_genotype = joined.join(genotyped, on="eid", how="semi", maintain_order="left")
    with_covariates = with_genotype.drop_nulls(present)
    # In the genotypes' order, in which they are read fastest.
    complete = genotyped.join(enrolled.without_relatives(with_covariates), on="eid", maintain_order="left")
    excluded = [
        *(Exclusion(eid, organ, stage, "no genotype") for eid in _difference(joined, with_genotype)),
        *(Exclusion(eid, organ, stage, "missing covariate") for eid in _difference(with_genotype, with_covariates)),
        *(Exclusion(eid, organ, stage, RELATED) for eid in _difference(with_covariates, complete)),
    ]
    names = [name for name in settings.covariates if columns.get(name, name) in present]
    basis = covariate_basis(_design(complete, names), complete.height)
    if complete.height <= basis.shape[1] + 1:
        raise ValueError(
            f"{stage}: {complete.height} people have phenotype, genotype and covariates, fewer than {basis.shape[1]} "
            f"covariates need; {len(excluded)} were left out ({dict(Counter(e.reason for e in excluded))})."
        )
    notes = {}
    if lacking := [name for name in needed if name not in present]:
        notes["covariates_lacking"] = ", ".join(lacking)
    if enrolled.genotype_pcs.height:
        notes["genotype_pcs"] = "computed from the genotypes"
    return Sample(complete, basis, excluded, notes)


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
