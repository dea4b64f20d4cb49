"""`edp gwas`: association of any phenotype table with any genotypes, no cohort folder needed.

Who stands in it and what is told is decided here; the tables are read by `cohort.phenotype_tables`, the statistics are
`science.genetics.per_phenotype`, the files `storage.statistics_files`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from edp_assets.cohort.config import CHROMOSOMES, genotype_files
from edp_assets.cohort.phenotype_tables import PhenotypeTable, read_phenotype_table
from edp_assets.science.genetics.blocks import ChromosomeBlocks, sample_places
from edp_assets.science.genetics.covariates import indicator_columns
from edp_assets.science.genetics.genotypes import GenotypeFile, open_genotypes, read_sample_ids, read_sexes
from edp_assets.science.genetics.loco import LocoFile, read_prediction_list
from edp_assets.science.genetics.per_phenotype import (
    BinaryModels,
    Group,
    QuantitativeModels,
    Tested,
    group_phenotypes,
    shared_columns,
)
from edp_assets.settings import AssociationSettings
from edp_assets.storage.statistics_files import StatisticsFiles, statistics_path

Say = Callable[[str], None]

_Models = QuantitativeModels | BinaryModels
_Predictions = dict[int, tuple[LocoFile, NDArray[np.int64]]]
"""Of each phenotype by its column: the file, and the people's places in it."""

_TELL_EVERY = 30.0  # seconds between lines of progress within a chromosome


class GwasError(ValueError):
    """Nothing can be associated of what was asked."""


@dataclass(frozen=True)
class Asked:
    """What `edp gwas` is to do.

    Attributes:
        genotypes: a .bed, .pgen or .bgen, or a pattern with {chromosome}.
        phenotypes: table of `read_phenotype_table`.
        covariates: the same; columns of texts are categories.
        out: folder of the files.
        binary: the phenotypes are cases and controls.
        predictions: regenie step 1's _pred.list; None: none.
        build: genome build, for X's pseudo-autosomal regions.
        settings: the filters.
    """

    genotypes: str
    phenotypes: Path
    covariates: Path
    out: Path
    binary: bool = False
    predictions: Path | None = None
    build: str = "GRCh37"
    settings: AssociationSettings = field(default_factory=AssociationSettings)


@dataclass
class _People:
    """The people of an association in the genotypes' order: (n_participants, ...) arrays."""

    fids: list[str]
    iids: list[str]
    Y: NDArray[np.float64]
    X: NDArray[np.float64]
    sex: NDArray[np.float64]  # 1 male, 0 female, NaN unknown

    def only(self, chosen: NDArray[np.bool_]) -> _People:
        places = np.flatnonzero(chosen)
        return _People(
            [self.fids[i] for i in places],
            [self.iids[i] for i in places],
            self.Y[chosen],
            self.X[chosen],
            self.sex[chosen],
        )


def associate(asked: Asked, say: Say = lambda _: None) -> dict[str, Path]:
    """Associate every phenotype of a table, each over the people who have it, and return their files.

    The genotypes are read once for all phenotypes.

    Raises:
        GwasError: no genotypes, nobody in all tables, or no phenotype that can be associated.
        PhenotypeTableError, GenotypeError, LocoError: a file cannot be read as what it should be.
    """
    from threadpoolctl import threadpool_limits

    # Threads share out the people; a matrix product so narrow is slower with two of its own.
    with threadpool_limits(limits=1, user_api="blas"):
        return _associate(asked, say)


def _associate(asked: Asked, say: Say) -> dict[str, Path]:
    paths = genotype_files(Path(), asked.genotypes)
    if not paths:
        raise GwasError(f"{asked.genotypes}: no such file for any of the chromosomes {', '.join(CHROMOSOMES)}")
    first = next(iter(paths.values()))
    table = read_phenotype_table(asked.phenotypes, text=False)
    names = table.columns
    if not names:
        raise GwasError(f"{asked.phenotypes}: no phenotype; wanted a column of each after FID and IID")
    people = _join(read_sample_ids(first), read_sexes(first), table, asked, say)
    skipped = _code_binary(people.Y, names, say) if asked.binary else {}
    if not asked.binary:
        _tell_two_values(people.Y, names, say)
    predictions = _predictions(asked, names, people, skipped, say)
    groups, others = group_phenotypes(people.Y, people.X, binary=asked.binary)
    skipped = others | skipped
    # Only the people of some phenotype are read.
    used = np.any([group.member for group in groups], axis=0) if groups else np.zeros(len(people.iids), bool)
    people = people.only(used)
    groups = [Group(group.member[used], group.phenotypes, group.coordinates) for group in groups]
    predictions = {column: (file, place[used]) for column, (file, place) in predictions.items()}
    models = None
    if groups and not predictions:
        models = _models(asked.binary, people, groups, None)
        if isinstance(models, BinaryModels):
            skipped |= models.skipped
            groups = models.groups
    _tell_skipped(skipped, names, asked, say)
    if not groups:
        raise GwasError(f"none of the {len(names)} phenotypes can be associated: the lines above say why of each")
    return _write(asked, paths, names, people, groups, models, predictions, say)


def _write(
    asked: Asked,
    paths: dict[str, Path],
    names: list[str],
    people: _People,
    groups: list[Group],
    models: _Models | None,
    predictions: _Predictions,
    say: Say,
) -> dict[str, Path]:
    """Test every variant and write the files; models is None where each chromosome has its own predictions."""
    columns = [column for group in groups for column in group.phenotypes]
    constants = {names[column]: _constants(people.Y[:, column], asked.binary) for column in columns}
    left_out: dict[int, Counter[str]] = {column: Counter() for column in columns}
    with StatisticsFiles(asked.out, constants) as files:
        for chromosome, genotypes in _chromosomes(paths):
            if why := _not_tested(chromosome, genotypes, people, predictions):
                say(f"chromosome {chromosome}: {why}")
                continue
            if models is None or predictions:
                offsets = {
                    column: _offsets(*predictions[column], chromosome, people.Y[:, column]) for column in columns
                }
                models = _models(asked.binary, people, groups, offsets)
                for column, reason in models.skipped.items():
                    raise GwasError(f"{names[column]}, chromosome {chromosome}, with its predictions: {reason}")
            for variants, tested in _tested(models, genotypes, chromosome, people, asked, say):
                for column, association in tested.associations.items():
                    found = variants.filter(pl.Series(tested.keep)).with_columns(
                        effect_allele_frequency=pl.Series(tested.frequency[tested.keep]),
                        beta=pl.Series(association.beta),
                        standard_error=pl.Series(association.standard_error),
                        neg_log_10_p_value=pl.Series(association.neg_log_10_p_value),
                    )
                    testable = found.filter(pl.col("neg_log_10_p_value").is_finite())
                    left_out[column].update(tested.left_out)
                    left_out[column]["explained by covariates"] += found.height - testable.height
                    files.add(names[column], testable)
    for column in columns:
        name = names[column]
        reasons = ", ".join(f"{reason} {n}" for reason, n in left_out[column].items() if n)
        who = ", ".join(f"{n} {what}" for what, n in constants[name].items() if what != "n")
        say(
            f"{name}: {constants[name]['n']} people{f' ({who})' if who else ''}, {files.rows[name]} variants"
            f"{f' (left out: {reasons})' if reasons else ''}: {files.paths[name]}"
        )
    return files.paths


def _not_tested(chromosome: str, genotypes: GenotypeFile, people: _People, predictions: _Predictions) -> str:
    """Return why a chromosome is not tested, with its variants counted; empty: it is."""
    n = int((genotypes.variants["chromosome"] == chromosome).sum())
    if chromosome == "X" and np.isnan(people.sex).all():
        return f"{n} variants skipped: no sex is known; give a covariate named sex, or SEX in the .fam or .psam"
    lacking = [file.path.name for file, _ in predictions.values() if chromosome not in file.chromosomes]
    return f"{n} variants skipped: {lacking[0]} has no predictions for it" if lacking else ""


def _join(genotyped: list[str], sexes: list[int | None], table: PhenotypeTable, asked: Asked, say: Say) -> _People:
    """Return who has genotypes, a row of phenotypes and every covariate, telling who has not."""
    covariates = read_phenotype_table(asked.covariates, text=True)
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
        (strangers, f"of {asked.phenotypes} are not in the genotypes"),
        (joined.filter(~has_row)["IID"], f"of the genotypes are not in {asked.phenotypes}"),
        (joined.filter(has_row & ~in_covariates)["IID"], f"have no row in {asked.covariates}"),
        (joined.filter(has_row & in_covariates & ~kept)["IID"], "have a covariate missing"),
    ):
        if len(who):
            say(f"{len(who)} people {why} (first: {who[0]}): left out")
    people = joined.filter(kept)
    if not people.height:
        raise GwasError(
            f"nobody has genotypes, a row in {asked.phenotypes} and every covariate of {asked.covariates}: people are "
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
    return _People(
        people["row"].to_list(), people["IID"].to_list(), matrix, shared_columns(columns, people.height), sex
    )


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


def _code_binary(Y: NDArray[np.float64], names: list[str], say: Say) -> dict[int, str]:
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


def _tell_two_values(Y: NDArray[np.float64], names: list[str], say: Say) -> None:
    two = [
        name
        for name, y in zip(names, (y[~np.isnan(y)] for y in Y.T), strict=True)
        if len(np.unique(y[:1000])) == 2 and len(np.unique(y)) == 2
    ]
    if two:
        say(f"{_some(two)}: of two values, treated as quantitative; --binary tests cases against controls")


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _predictions(asked: Asked, names: list[str], people: _People, skipped: dict[int, str], say: Say) -> _Predictions:
    """Return each phenotype's predictions and people's places in them; who has none is left out of that phenotype."""
    if asked.predictions is None:
        return {}
    listed = read_prediction_list(asked.predictions)
    found = {}
    for column, name in enumerate(names):
        if name not in listed:
            skipped[column] = f"no line in {asked.predictions}"
            people.Y[:, column] = np.nan
            continue
        file = LocoFile(listed[name])
        places = file.places(people.fids, people.iids)
        without = (places < 0) & ~np.isnan(people.Y[:, column])
        if without.any():
            first = people.iids[int(without.argmax())]
            say(f"{name}: {int(without.sum())} people have no prediction in {file.path} (first: {first}): left out")
            people.Y[without, column] = np.nan
        found[column] = file, places
    return found


def _offsets(file: LocoFile, places: NDArray[np.int64], chromosome: str, y: NDArray[np.float64]) -> NDArray[np.float64]:
    offsets = file.offsets(chromosome, places)
    gaps = ~np.isfinite(offsets) & ~np.isnan(y)
    if gaps.any():
        raise GwasError(
            f"{file.path}, chromosome {chromosome}: {int(gaps.sum())} people who have the phenotype have no number; "
            "set their phenotype to NA, or run regenie step 1 again"
        )
    return offsets


def _models(
    binary: bool, people: _People, groups: list[Group], offsets: dict[int, NDArray[np.float64]] | None
) -> _Models:
    make = BinaryModels if binary else QuantitativeModels
    return make(people.Y, people.X, groups, people.sex == 1, offsets)


def _tell_skipped(skipped: dict[int, str], names: list[str], asked: Asked, say: Say) -> None:
    for column in sorted(skipped):
        older = statistics_path(asked.out, names[column])
        stays = f" ({older}, of an earlier run, stays as it is)" if older.exists() else ""
        say(f"{names[column]}: skipped: {skipped[column]}{stays}")


def _constants(y: NDArray[np.float64], binary: bool) -> dict[str, int]:
    n = int(np.count_nonzero(~np.isnan(y)))
    cases = int(np.nansum(y)) if binary else 0
    return {"n": n, "cases": cases, "controls": n - cases} if binary else {"n": n}


def _chromosomes(paths: dict[str, Path]) -> Iterator[tuple[str, GenotypeFile]]:
    """Yield every chromosome in natural order, then other contigs, with its open file."""
    with ExitStack() as stack:
        if "all" in paths:
            genotypes = stack.enter_context(open_genotypes(paths["all"]))
            present = genotypes.variants["chromosome"].unique(maintain_order=True).to_list()
            known = [chromosome for chromosome in CHROMOSOMES if chromosome in present]
            for chromosome in [*known, *(c for c in present if c not in CHROMOSOMES)]:
                yield chromosome, genotypes
            return
    for chromosome, path in paths.items():
        with open_genotypes(path) as genotypes:
            yield chromosome, genotypes


def _tested(
    models: _Models,
    genotypes: GenotypeFile,
    chromosome: str,
    people: _People,
    asked: Asked,
    say: Say,
) -> Iterator[tuple[pl.DataFrame, Tested]]:
    """Yield each block's variants and what each group has of them, telling of the chromosome at its end."""
    started = told = time.monotonic()
    samples = sample_places(genotypes.sample_ids, people.iids, chromosome)
    male = people.sex == 1
    blocks = ChromosomeBlocks(
        genotypes, chromosome, samples, male, asked.build, asked.settings.block_variants, hard_calls=True
    )
    read = 0
    for block in blocks:
        for tested in models.test(block, asked.settings):
            yield block.variants, tested
        read += block.variants.height
        if time.monotonic() - told > _TELL_EVERY:
            told = time.monotonic()
            say(f"chromosome {chromosome}: {read} of {blocks.n_variants} variants, {told - started:.0f} s")
    others = len(genotypes.variants) - blocks.n_variants
    x = ""
    if chromosome == "X":
        unknown = int(np.isnan(people.sex).sum())
        x = f"; males' X {blocks.males_x.told()}; pseudo-autosomal regions of {asked.build}"
        x += f"; {unknown} people of unknown sex counted as females" if unknown else ""
    say(f"chromosome {chromosome}: {read} variants, {time.monotonic() - started:.1f} s{x}")
    if "{chromosome}" in asked.genotypes and others:
        say(f"chromosome {chromosome}: {others} variants of other chromosomes in {genotypes.path.name} left out")
