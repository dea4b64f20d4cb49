"""Ancestry and relatedness of the cohort: the variants they are of, related pairs, genotype PCs where it brings none.

Who stands in an association, given these, is decided in `people.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from edp_assets.assets import cohort
from edp_assets.assets.stage import StageRun, stage
from edp_assets.cohort.kinship import kinship_needed, read_kinship
from edp_assets.cohort.problems import CohortError
from edp_assets.cohort.tables import read_scans
from edp_assets.science.genetics.ancestry_variants import EXAMINED
from edp_assets.storage.lake import Stored
from edp_assets.storage.schemas import empty

PCS = [f"pc{i}" for i in range(1, 11)]

_BLOCK_FLOATS = 1 << 25


@stage(
    "ancestry_variants",
    group="cohort",
    dimensions=(),
    table="ancestry_variants",
    inputs={"participants": cohort.participants},
    settings=(
        *(f"ancestry.{name}" for name in ("min_maf", "max_missing", "prune_r2", "prune_window", "people", "seed")),
        "ancestry.max_kinship",
        "association.covariates",
    ),
    files=("genotypes", "kinship"),
    kinds={"pgenlib", "parquet"},
)
def ancestry_variants(run: StageRun, participants: pl.DataFrame) -> Stored:
    """Common, well called autosomal variants outside long-range LD, and which of them are nearly independent."""
    settings = run.workspace.settings.ancestry
    computed = run.workspace.cohort.kinship is None and settings.max_kinship is not None
    if (why := _no_pcs(run, participants)) and not computed:
        return Stored(empty("ancestry_variants"), metadata={"skipped": f"{why}; no kinship is computed"})
    people = _genotyped(run, participants)
    chosen = np.random.default_rng(settings.seed).permutation(len(people))[: settings.people]
    people = [people[i] for i in np.sort(chosen)]
    counts, frames = {"people": len(people), "examined": 0}, [empty("ancestry_variants")]
    for of_chromosome in candidates(run):
        counts["examined"] += of_chromosome.height
        frames.append(_choose(run, of_chromosome, people).select(frames[0].columns))
    frame = pl.concat(frames)
    return Stored(frame, metadata={**counts, "variants": frame.height, "independent": int(frame["independent"].sum())})


@stage(
    "relatives",
    group="cohort",
    dimensions=(),
    table="relatives",
    inputs={"participants": cohort.participants, "ancestry_variants": ancestry_variants},
    settings=("ancestry.max_kinship",),
    files=("genotypes", "kinship", "scans", "withdrawn"),
    code_version="2",
)
def relatives(run: StageRun, participants: pl.DataFrame, ancestry_variants: pl.DataFrame) -> Stored:
    """Related pairs, and who of them is left out of associations: few people, those without a scan first."""
    from edp_assets.science.genetics.kinship import choose_left_out

    folder, cutoff = run.workspace.cohort, run.workspace.settings.ancestry.max_kinship
    if cutoff is None:
        return Stored(empty("relatives"), metadata={"skipped": "[ancestry] max_kinship leaves nobody out"})
    if folder.kinship is not None:
        table = read_kinship(folder, set(participants["eid"])).require()
        pairs = table.filter(pl.col("kinship") >= cutoff)
        told: dict[str, float | str] = {"kinship": folder.label(folder.kinship)}
    else:
        pairs, told = _computed(run, _genotyped(run, participants), ancestry_variants, cutoff)
    imaged = read_scans(folder, set(participants["eid"])).table["eid"]
    left_out = choose_left_out(pairs.select("eid", "relative").rows(), frozenset(imaged))
    swapped = pairs.select(eid="relative", relative="eid", kinship="kinship")
    frame = pl.concat([pairs.select(swapped.columns), swapped]).sort("eid", "relative")
    frame = frame.with_columns(left_out=pl.col("eid").is_in(list(left_out)))
    return Stored(frame, metadata={"pairs": pairs.height, "left_out": len(left_out), **told})


@stage(
    "genotype_pcs",
    group="cohort",
    dimensions=(),
    table="genotype_pcs",
    inputs={"participants": cohort.participants, "ancestry_variants": ancestry_variants, "relatives": relatives},
    settings=("ancestry.pcs", "ancestry.seed", "association.covariates"),
    files=("genotypes",),
)
def genotype_pcs(
    run: StageRun, participants: pl.DataFrame, ancestry_variants: pl.DataFrame, relatives: pl.DataFrame
) -> Stored:
    """Genotype PCs of the unrelated, the others projected on them; empty where participants has PCs of its own."""
    from edp_assets.science.genetics.ancestry import principal_components
    from edp_assets.science.genetics.hard_calls import HardCalls

    if why := _no_pcs(run, participants):
        return Stored(empty("genotype_pcs"), metadata={"skipped": why})
    settings, people = run.workspace.settings.ancestry, _genotyped(run, participants)
    left_out = relatives.filter("left_out")["eid"]
    among = ~pl.Series(people).is_in(left_out.implode()).to_numpy()
    blocks = dosages(run, ancestry_variants.filter("independent"), people)
    with HardCalls(blocks, len(people), run.workspace.home.root) as calls:
        found = principal_components(calls, settings.pcs, seed=settings.seed, among=among)
    scores = {name: found.scores[:, i] if i < settings.pcs else None for i, name in enumerate(PCS)}
    metadata = {
        "computed_of": int(among.sum()),
        "projected": int((~among).sum()),
        "variants": calls.n_variants,
        "eigenvalues": ", ".join(f"{value:.4g}" for value in found.eigenvalues),
        "passes": found.passes,
        "converged": found.converged,
    }
    return Stored(pl.DataFrame({"eid": people, **scores}), metadata=metadata)


def _choose(run: StageRun, of_chromosome: pl.DataFrame, people: list[str]) -> pl.DataFrame:
    """Return those of a chromosome's candidates that are common and well called, with `independent`."""
    from edp_assets.science.genetics.ancestry_variants import prune, well_called

    settings, good = run.workspace.settings.ancestry, []

    def blocks() -> Iterator[NDArray[np.float32]]:
        for block in dosages(run, of_chromosome, people):
            good.append(well_called(block, settings.min_maf, settings.max_missing))
            yield block[good[-1]]

    independent = prune(blocks(), settings.prune_r2, settings.prune_window)
    return of_chromosome.filter(pl.Series(np.concatenate(good))).with_columns(independent=pl.Series(independent))


def _no_pcs(run: StageRun, participants: pl.DataFrame) -> str | None:
    """Return why no genotype PCs are computed; None where they are."""
    if not set(PCS) & set(run.workspace.settings.association.covariates):
        return "no genotype PC is among the covariates"
    present = [name for name in PCS if participants[name].null_count() < participants.height]
    return f"participants has {', '.join(present)}" if present else None


def _computed(
    run: StageRun, people: list[str], ancestry_variants: pl.DataFrame, cutoff: float
) -> tuple[pl.DataFrame, dict[str, float | str]]:
    """Return the related pairs by the genotypes, and what is told of them."""
    from edp_assets.science.genetics.ancestry_variants import OF_KINSHIP, evenly_spaced
    from edp_assets.science.genetics.hard_calls import HardCalls
    from edp_assets.science.genetics.kinship import kinship_by_chance, related_pairs

    if problems := kinship_needed(run.workspace.cohort, len(people)):
        raise CohortError(problems)
    variants = ancestry_variants[evenly_spaced(ancestry_variants.height, OF_KINSHIP)]
    with HardCalls(dosages(run, variants, people), len(people), run.workspace.home.root) as calls:
        chance = kinship_by_chance(calls)
        # Of few variants even strangers look related: those who might are not left out, and the cutoff is told.
        used = chance.beyond(cutoff)
        found = related_pairs(calls, used)
    ids = np.array(people)
    frame = pl.DataFrame({"eid": ids[found.first], "relative": ids[found.second], "kinship": found.kinship})
    told: dict[str, float | str] = {"variants": variants.height}
    if used > cutoff:
        told["cutoff"] = (
            f"{used:.4f}: of so few variants {chance.expected(cutoff):.1f} pairs reach {cutoff:g} by chance"
        )
    return frame, told


def _genotyped(run: StageRun, participants: pl.DataFrame) -> list[str]:
    """Return the participants who have genotypes, in the order of participants."""
    from edp_assets.science.genetics.genotypes import read_sample_ids

    there = set(read_sample_ids(next(iter(run.workspace.cohort.genotype_paths().values()))))
    return [eid for eid in participants["eid"] if eid in there]


def candidates(run: StageRun, most: int = EXAMINED) -> Iterator[pl.DataFrame]:
    """Yield each autosome's variants outside long-range LD, each once, with their `row`; `most` of them at most."""
    from edp_assets.science.genetics.ancestry_variants import AUTOSOMES, evenly_spaced, outside_long_range_ld
    from edp_assets.science.genetics.genotypes import open_genotypes
    from edp_assets.science.genetics.variant_qc import repeats

    parts = []
    for name, path in run.workspace.cohort.genotype_paths().items():
        if name == "all" or name in AUTOSOMES:
            with open_genotypes(path) as genotypes:
                variants = genotypes.variants
            usable = outside_long_range_ld(variants, run.workspace.cohort.genome_build) & ~repeats(variants)
            if name != "all":
                usable &= variants["chromosome"] == name
            parts.append(variants.with_columns(row=pl.int_range(pl.len())).filter(usable))
    everything = pl.concat(parts) if parts else empty("ancestry_variants")
    everything = everything[evenly_spaced(everything.height, most)]
    yield from everything.partition_by("chromosome", maintain_order=True)


def dosages(run: StageRun, variants: pl.DataFrame, people: list[str]) -> Iterator[NDArray[np.float32]]:
    """Yield the dosages of variants, by their `row`, in their order, (n_variants, n_participants), in blocks."""
    from edp_assets.science.genetics.blocks import sample_places
    from edp_assets.science.genetics.genotypes import open_genotypes

    paths = run.workspace.cohort.genotype_paths()
    size = min(run.workspace.settings.association.block_variants, -(-_BLOCK_FLOATS // len(people)))
    # Of one file's variants several chromosomes are read with it open once.
    for part in variants.partition_by("chromosome", maintain_order=True) if "all" not in paths else [variants]:
        if part.height:
            name = "all" if "all" in paths else part["chromosome"][0]
            with open_genotypes(paths[name]) as genotypes:
                samples = sample_places(genotypes.sample_ids, people, name)
                rows = part["row"].to_numpy().astype(np.int64)
                for start in range(0, len(rows), size):
                    yield genotypes.read_rows(rows[start : start + size], samples)
