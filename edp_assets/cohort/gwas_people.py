"""Who stands in `edp gwas`: people joined over genotypes, phenotypes and covariates, every mismatch counted and told.

The tables are read by `phenotype_tables.py`; a cohort folder's people are the business of its assets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from edp_assets.cohort.phenotype_tables import PhenotypeTable, PhenotypeTableError, read_phenotype_table
from edp_assets.science.genetics.covariates import indicator_columns
from edp_assets.science.genetics.genotypes import read_sample_ids, read_sexes
from edp_assets.science.genetics.per_phenotype import shared_columns

Say = Callable[[str], None]


@dataclass
class People:
    """The people of an association, in the order of the first genotype file.

    Attributes:
        fids: families, as the phenotypes' table has them.
        iids: who they are.
        Y: (n_participants, n_phenotypes), NaN where missing.
        X: (n_participants, n_columns) covariates from `per_phenotype.shared_columns`.
        sex: (n_participants,) 1 male, 0 female, NaN unknown.
    """

    fids: list[str]
    iids: list[str]
    Y: NDArray[np.float64]
    X: NDArray[np.float64]
    sex: NDArray[np.float64]

    def only(self, chosen: NDArray[np.bool_]) -> People:
        """Return those chosen, (n_participants,)."""
        places = np.flatnonzero(chosen)
        return People(
            [self.fids[i] for i in places],
            [self.iids[i] for i in places],
            self.Y[chosen],
            self.X[chosen],
            self.sex[chosen],
        )


def join_people(genotypes: Path, table: PhenotypeTable, covariates_path: Path, say: Say) -> People:
    """Return who has genotypes, a row of phenotypes and every covariate, telling who has not.

    Args:
        genotypes: the first genotype file.
        table: the phenotypes.
        covariates_path: table of covariates; a column of texts is categories.
        say: takes what is told.

    Raises:
        PhenotypeTableError: the covariates cannot be read, or nobody is in all three.
    """
    genotyped, sexes = read_sample_ids(genotypes), read_sexes(genotypes)
    covariates = read_phenotype_table(covariates_path, text=True)
    for each in (table, covariates):
        if each.missing_codes:
            say(f"{each.path}: {each.missing_codes} values of -9 are taken for missing (write -9.0 for the number)")
    file = pl.DataFrame({"IID": genotyped, "sex of file": pl.Series(sexes, dtype=pl.Float64)})
    joined = file.join(table.frame.select("IID", row="FID"), on="IID", how="left", maintain_order="left")
    complete = covariates.frame.drop_nulls(covariates.columns)
    has_row = joined["row"].is_not_null()
    in_covariates = joined["IID"].is_in(covariates.frame["IID"].implode())
    kept = has_row & joined["IID"].is_in(complete["IID"].implode())
    strangers = table.frame.filter(~pl.col("IID").is_in(file["IID"].implode()))["IID"]
    for who, why in (
        (strangers, f"of {table.path} are not in the genotypes"),
        (joined.filter(~has_row)["IID"], f"of the genotypes are not in {table.path}"),
        (joined.filter(has_row & ~in_covariates)["IID"], f"have no row in {covariates_path}"),
        (joined.filter(has_row & in_covariates & ~kept)["IID"], "have a covariate missing"),
    ):
        if len(who):
            say(f"{len(who)} people {why} (first: {who[0]}): left out")
    people = joined.filter(kept)
    if not people.height:
        raise PhenotypeTableError(
            f"nobody has genotypes, a row in {table.path} and every covariate of {covariates_path}: people are "
            f"joined by IID; the genotypes begin with {', '.join(genotyped[:2])}, the phenotypes with "
            f"{', '.join(table.frame['IID'][:2])}, the covariates with {', '.join(covariates.frame['IID'][:2])}"
        )
    say(f"{people.height} people have genotypes, a row of phenotypes and every covariate")
    values = people.select("IID").join(complete, on="IID", how="left", maintain_order="left")
    columns: list[NDArray[np.float64]] = []
    for name in covariates.columns:
        if values[name].dtype == pl.String:
            columns.append(indicator_columns(values[name].to_list()))
            say(f"covariate {name}: {columns[-1].shape[1] + 1} categories")
        else:
            columns.append(values[name].to_numpy())
    Y = people.select("IID").join(table.frame, on="IID", how="left", maintain_order="left").select(table.columns)
    sex = _sex(values, people["sex of file"].to_numpy(), say)
    matrix = Y.with_columns(pl.all().fill_null(float("nan"))).to_numpy().astype(np.float64)
    return People(people["row"].to_list(), people["IID"].to_list(), matrix, shared_columns(columns, people.height), sex)


def _sex(covariates: pl.DataFrame, of_file: NDArray[np.float64], say: Say) -> NDArray[np.float64]:
    """Return 1 male, 0 female, NaN unknown: from a covariate named sex, else from the .fam or .psam."""
    name = next((name for name in covariates.columns if name.lower() == "sex"), None)
    if name is None or covariates[name].dtype == pl.String:
        return of_file
    values = covariates[name].to_numpy()
    if np.isin(values, (0, 1)).all():
        return values.astype(np.float64)
    if np.isin(values, (1, 2)).all():
        say(f"covariate {name}: taken as PLINK's 1 male, 2 female")
        return np.where(values == 1, 1.0, 0.0)
    say(f"covariate {name}: neither 0 and 1 nor 1 and 2, so the sex of the genotype files counts on X")
    return of_file


def code_binary(Y: NDArray[np.float64], names: list[str], say: Say) -> dict[int, str]:
    """Bring cases and controls to 1 and 0 in place, and return which phenotypes are not of two values."""
    skipped, recoded = {}, []
    for column, name in enumerate(names):
        values = np.unique(Y[~np.isnan(Y[:, column]), column])
        if np.isin(values, (1, 2)).all() and 2 in values:
            Y[:, column] -= 1
            recoded.append(name)
        elif not np.isin(values, (0, 1)).all():
            shown = ", ".join(f"{value:g}" for value in values[:5])
            skipped[column] = (
                f"not binary: wanted 0 and 1 (or 1 and 2), found {shown}{', ...' if len(values) > 5 else ''}; "
                "missing is NA"
            )
            Y[:, column] = np.nan
    if recoded:
        say(f"{_some(recoded)}: of 1 and 2, taken as PLINK's 1 control, 2 case")
    return skipped


def tell_two_values(Y: NDArray[np.float64], names: list[str], say: Say) -> None:
    """Tell which phenotypes look like cases and controls; they are quantitative unless asked otherwise."""
    two = [
        name
        for name, y in zip(names, (y[~np.isnan(y)] for y in Y.T), strict=True)
        if len(np.unique(y[:1000])) == 2 and len(np.unique(y)) == 2
    ]
    if two:
        say(f"{_some(two)}: of two values, treated as quantitative; --binary tests cases against controls")


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
