"""`edp gwas`: association of any phenotype table with any genotypes, no cohort folder needed.

What is read, tested and told in which order is decided here; who stands in it is `cohort.gwas_people`, the statistics
are `science.genetics.per_phenotype`, the files `storage.statistics_files`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from edp_assets.cohort.config import CHROMOSOMES, genotype_files
from edp_assets.cohort.gwas_people import People, Say, code_binary, join_people, tell_two_values
from edp_assets.cohort.phenotype_tables import read_phenotype_table
from edp_assets.science.genetics.blocks import ChromosomeBlocks, sample_places
from edp_assets.science.genetics.genotypes import GenotypeFile, open_genotypes
from edp_assets.science.genetics.loco import LocoFile, read_prediction_list
from edp_assets.science.genetics.per_phenotype import (
    BinaryModels,
    Group,
    QuantitativeModels,
    Tested,
    group_phenotypes,
)
from edp_assets.settings import AssociationSettings
from edp_assets.storage.statistics_files import StatisticsFiles, statistics_path

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
    people = join_people(first, table, asked.covariates, say)
    skipped = code_binary(people.Y, names, say) if asked.binary else {}
    if not asked.binary:
        tell_two_values(people.Y, names, say)
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
    people: People,
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


def _not_tested(chromosome: str, genotypes: GenotypeFile, people: People, predictions: _Predictions) -> str:
    """Return why a chromosome is not tested, with its variants counted; empty: it is."""
    n = int((genotypes.variants["chromosome"] == chromosome).sum())
    if chromosome == "X" and np.isnan(people.sex).all():
        return f"{n} variants skipped: no sex is known; give a covariate named sex, or SEX in the .fam or .psam"
    lacking = [file.path.name for file, _ in predictions.values() if chromosome not in file.chromosomes]
    return f"{n} variants skipped: {lacking[0]} has no predictions for it" if lacking else ""


def _predictions(asked: Asked, names: list[str], people: People, skipped: dict[int, str], say: Say) -> _Predictions:
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
    binary: bool, people: People, groups: list[Group], offsets: dict[int, NDArray[np.float64]] | None
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
    people: People,
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
