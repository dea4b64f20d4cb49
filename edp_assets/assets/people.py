"""Who stands in an association: people with phenotype, genotype and covariates, and the genotypes in their order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from edp_assets.assets.encoders import matrix
from edp_assets.assets.stage import StageRun
from edp_assets.storage.lake import Exclusion

VARIANT = ["chromosome", "base_pair_location", "effect_allele", "other_allele", "rsid"]


@dataclass(frozen=True)
class Sample:
    """The people of one association.

    Attributes:
        people: one row a participant, in the order of every array.
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
        return cls(association_basis.select("eid"), matrix(association_basis, "covariates"))

    def blocks(
        self, run: StageRun, chromosome: str, metadata: dict[str, Any]
    ) -> Iterator[tuple[pl.DataFrame, np.ndarray]]:
        """Yield the usable variants of a chromosome in blocks.

        A block is the variants' table, with the effect allele's frequency among these people, and their genotypes
        (n_variants, n_participants).

        Adds to `metadata` how many variants were read and left out, by reason.
        """
        from edp_assets.science.genetics.genotypes import open_genotypes
        from edp_assets.science.genetics.variant_qc import keep_variants, variant_stats

        settings = run.workspace.settings.association
        paths = run.workspace.cohort.genotype_paths()
        left_out: Counter[str] = Counter()
        with open_genotypes(paths["all"] if "all" in paths else paths[chromosome]) as genotypes:
            place = {eid: i for i, eid in enumerate(genotypes.sample_ids)}
            missing = [eid for eid in self.people["eid"] if eid not in place]
            if missing:
                raise ValueError(
                    f"chromosome {chromosome}: {len(missing)} of {self.people.height} people of the association are "
                    f"not in its genotype file (first: {missing[0]}). All chromosomes must hold the same people."
                )
            samples = np.array([place[eid] for eid in self.people["eid"]], dtype=np.int64)
            rows = np.flatnonzero((genotypes.variants["chromosome"] == chromosome).to_numpy())
            # A sorted file holds a chromosome in one stretch; read no more than that stretch.
            first, last = (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 0)
            for start in range(first, last, settings.block_variants):
                stop = min(start + settings.block_variants, last)
                block = genotypes.read(start, stop, samples)
                variants = genotypes.variants.slice(start, stop - start).select(VARIANT)
                stats = variant_stats(block)
                keep, reasons = keep_variants(stats, settings.min_maf, settings.min_mac, settings.max_missing)
                left_out.update(reasons)
                keep &= (variants["chromosome"] == chromosome).to_numpy()
                variants = variants.with_columns(effect_allele_frequency=pl.Series(stats.effect_allele_frequency))
                if keep.any():
                    yield variants.filter(pl.Series(keep)), block[keep]
            metadata["variants_read"] = len(rows)
            metadata["variants_left_out"] = {reason: n for reason, n in left_out.items() if n}


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
    joined = people.sort("eid").join(participants.select("eid", *present), on="eid", maintain_order="left")
    with_genotype = joined.join(genotyped, on="eid", how="semi", maintain_order="left")
    complete = with_genotype.drop_nulls(present)
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
