"""Writes the synthetic cohort as a cohort folder, whole or not at all.

What the folder holds is drawn by the modules beside this one.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from edp_assets.cohort.synthetic.genes import score_genes
from edp_assets.cohort.synthetic.genotypes import (
    draw_admixture,
    draw_chromosomes,
    principal_components,
    thin,
    write_plink,
)
from edp_assets.cohort.synthetic.images import Sitter, scan_paths, write_images
from edp_assets.cohort.synthetic.labels import CODES, draw_cases, write_down, write_medication
from edp_assets.cohort.synthetic.people import add_components, draw_eids, draw_people
from edp_assets.cohort.synthetic.phenome import draw_phenome, phecode_map, phenome_truth
from edp_assets.cohort.synthetic.traits import NULL_CHROMOSOMES, ORGANS, PLANTED, TRAITS, draw_sizes, draw_traits

logger = logging.getLogger(__name__)

LEAST_PARTICIPANTS = 50
"""Fewer have no ten genotype components to speak of."""
TRUTH = "truth.json"

COHORT_TOML = """\
# A synthetic cohort: no real person is in it. The planted truth is in truth.json.
[cohort]
name = "synthetic-{seed}"
synthetic = true
genome_build = "GRCh37"
participants = "participants.csv"
diagnoses = "diagnoses.csv"
scans = "scans.csv"
withdrawn = "withdrawn.csv"
traits = "traits.parquet"
trait_dictionary = "traits_dictionary.csv"
phecode_map = "phecode_map.csv"
variant_to_gene = "variant_to_gene.parquet"

[genotypes]
path = "genotypes/chr{{chromosome}}.bed"

[labels]
codes = {codes}
level = 3
min_cases = {min_cases}
[labels.sets.medication]
table = "medication.csv"
labels = ["metformin"]
# A cohort of 1,200 has few cases: the paper's 2% of them would be one.
[few_shot]
codes = {few_shot}
fraction = 0.2

{organs}
# Small enough for two cores; the paper's recipe is the default.
[encoders.mae]
size = "tiny"
decoder_width = 64
decoder_depth = 1
decoder_heads = 4
epochs = 3
warmup_epochs = 0.5
batch_size = 128
learning_rate = 2e-3
checkpoint_seconds = 20
[encoders.video_mae]
size = "tiny"
decoder_width = 64
decoder_depth = 1
decoder_heads = 4
epochs = 4
warmup_epochs = 0.5
batch_size = 32
learning_rate = 8e-3
checkpoint_seconds = 20
# The control that learning must beat, through to genes.
[encoders.untrained]
[evidence]
scans = 1200
unadjusted_codes = {unadjusted}
"""
ORGAN_TOML = """\
[organs.{organ}]
channels = ["fat", "water"]
patch = 6
resolution = 48
patch_video = 6
resolution_video = 48
adjust_for = {adjust_for}
"""
# The first components of the kidneys' and the heart's embeddings are their size, which would decide every cluster.
ADJUST_FOR = {"kidneys": ["embedding_pc1", "embedding_pc2"], "heart": ["embedding_pc1", "embedding_pc2"]}

FEW_SHOT, UNADJUSTED = ("K76",), ("N18", "I50")
"""Codes of which more is made, where the cohort is large enough for them to be studied."""
MIN_CASES, MIN_CASES_OF_FEW, FEW_IMAGED = 20, 10, 600
"""Least cases of a studied code, among the imaged; of a cohort of so few people a code of fewer is studied."""


@dataclass(frozen=True)
class Population:
    """Everybody's draw, in the order of the genotypes.

    `people` has participants.csv's columns, `variants` those of `genotypes.Chromosome` for all chromosomes; `traits`
    and `sizes` hold (n_participants,) values by name.
    """

    people: pl.DataFrame
    variants: pl.DataFrame
    traits: dict[str, NDArray[np.float64]]
    sizes: dict[str, NDArray[np.float64]]


def _generator(seed: int, stage: int) -> np.random.Generator:
    """Return the generator of one stage (1 is the chromosomes', 9 the scans'), so that no stage shifts another."""
    return np.random.default_rng([seed, stage])


def write_cohort(
    folder: Path,
    *,
    seed: int = 0,
    participants: int = 3000,
    imaged: int = 1200,
    log: Callable[[str], None] | None = None,
    workers: int = 2,
) -> None:
    """Write a synthetic cohort folder: tables, genotypes, scans, and its truth.

    The same seed gives the same bytes, whatever `workers`. All is written beside `folder` first and moved there at the
    end, so `folder` is whole or absent; an older synthetic cohort there is replaced.

    Args:
        folder: Where to.
        seed: Of everything drawn, 0 or more.
        participants: People genotyped, with covariates and diagnoses.
        imaged: How many of them, at random, have scans of liver, kidneys and heart.
        log: Takes lines of progress; default: this module's logger.
        workers: Processes that write scans.

    Raises:
        ValueError: When the numbers make no cohort, or `folder` holds something that is no synthetic cohort.
    """
    folder = Path(folder).absolute()
    if participants < LEAST_PARTICIPANTS or not 1 <= imaged <= participants or seed < 0:
        raise ValueError(
            f"a synthetic cohort needs seed >= 0, participants >= {LEAST_PARTICIPANTS} and 1 <= imaged <= participants;"
            f" found seed={seed}, participants={participants}, imaged={imaged}"
        )
    if folder.exists() and not (folder.is_dir() and ((folder / TRUTH).exists() or not any(folder.iterdir()))):
        raise ValueError(f"{folder} exists and is no synthetic cohort (no {TRUTH}); choose another folder or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial, old = (folder.parent / f".{folder.name}.{word}" for word in ("partial", "old"))
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir()
    try:
        # One thread: sums in one order on any number of cores.
        with threadpool_limits(1):
            _write(partial, seed, participants, imaged, log or logger.info, workers)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if folder.exists():
        os.replace(folder, old)
    os.replace(partial, folder)
    shutil.rmtree(old, ignore_errors=True)


def _write(folder: Path, seed: int, participants: int, imaged: int, log: Callable[[str], None], workers: int) -> None:
    """Draw and write everything into an empty folder."""
    population = _draw_population(folder, seed, participants, log)
    rng = _generator(seed, 5)
    scanned = rng.permutation(participants)[:imaged]
    _write_tables(folder, seed, population, scanned)
    log(f"tables: {participants:,} participants, {imaged:,} of them to be imaged")
    eids = population.people["eid"].to_list()
    sitters = [
        Sitter(
            int(i),
            eids[i],
            {name: float(values[i]) for name, values in population.traits.items()},
            {organ: float(values[i]) for organ, values in population.sizes.items()},
        )
        for i in scanned
    ]
    write_images(folder, seed, sitters, workers=workers, log=log)


def _draw_population(folder: Path, seed: int, participants: int, log: Callable[[str], None]) -> Population:
    """Draw genotypes (written as they come), covariates and traits of everybody."""
    rng = _generator(seed, 2)
    people = draw_people(rng, draw_eids(rng, participants))
    admixture = draw_admixture(rng, participants)
    (folder / "genotypes").mkdir()
    maps, thinned, causal = [], [], {}
    for chromosome in draw_chromosomes(seed, admixture):
        write_plink(folder / "genotypes" / f"chr{chromosome.number}", chromosome, people)
        maps.append(chromosome.variants)
        thinned.append(thin(chromosome))
        for row, gene in enumerate(chromosome.variants["planted"]):
            if gene is not None:
                causal[gene] = chromosome.complete[row]
    variants = pl.concat(maps)
    log(f"genotypes: {variants.height:,} variants on {len(maps)} chromosomes, {participants:,} participants")
    people = add_components(people, principal_components(np.concatenate(thinned)))
    age, sex, bmi = (people[name].to_numpy().astype(np.float64) for name in ("age", "sex", "bmi"))
    dosages = np.stack([causal[planted.gene] for planted in PLANTED])
    traits = draw_traits(_generator(seed, 3), dosages, age=age, sex=sex, bmi=bmi, ancestry=admixture[:, 0])
    sizes = draw_sizes(_generator(seed, 4), traits, sex=sex, bmi=bmi)
    return Population(people, variants, traits, sizes)


def _write_tables(folder: Path, seed: int, population: Population, scanned: NDArray[np.int64]) -> None:
    """Write every table, the configuration and the truth."""
    people, variants = population.people, population.variants
    eids = people["eid"].to_list()
    rng = _generator(seed, 6)
    # As in life, the tables are in another order than the genotypes.
    people[rng.permutation(people.height)].write_csv(folder / "participants.csv")
    causes = {
        **population.traits,
        **{name: people[name].to_numpy().astype(np.float64) for name in ("age", "sex", "bmi")},
    }
    cases = draw_cases(rng, causes)
    write_down(rng, eids, cases).write_csv(folder / "diagnoses.csv")
    write_medication(_generator(seed, 8), eids, cases).write_csv(folder / "medication.csv")
    traits, dictionary = draw_phenome(_generator(seed, 10), eids, causes)
    traits.write_parquet(folder / "traits.parquet")
    dictionary.write_csv(folder / "traits_dictionary.csv")
    phecode_map(CODES).write_csv(folder / "phecode_map.csv")
    scans = [{"eid": eids[i], "organ": organ, **scan_paths(organ, eids[i])} for i in scanned for organ in ORGANS]
    pl.DataFrame(scans).write_csv(folder / "scans.csv")
    unscanned = np.setdiff1d(np.arange(people.height), scanned)
    leavers = [eids[int(rng.choice(group))] for group in (scanned, unscanned) if group.size]
    (folder / "withdrawn.csv").write_text("".join(f"{eid}\n" for eid in leavers))
    score_genes(_generator(seed, 7), variants).write_parquet(folder / "variant_to_gene.parquet")
    sizes = {f"log_size_{organ}": values for organ, values in population.sizes.items()}
    pl.DataFrame({"eid": eids, **population.traits, **sizes}).write_parquet(folder / "truth_traits.parquet")
    codes = json.dumps([code.icd10 for code in CODES])
    organs = "\n".join(
        ORGAN_TOML.format(organ=organ, adjust_for=json.dumps(ADJUST_FOR.get(organ, []))) for organ in ORGANS
    )
    min_cases = MIN_CASES_OF_FEW if len(scanned) < FEW_IMAGED else MIN_CASES
    # One of the imaged withdraws, who may be a case.
    studied = {code for code, has in cases.items() if has[scanned].sum() > min_cases}
    named = {"few_shot": FEW_SHOT, "unadjusted": UNADJUSTED}
    asked = {name: json.dumps([code for code in some if code in studied]) for name, some in named.items()}
    text = COHORT_TOML.format(seed=seed, codes=codes, organs=organs, min_cases=min_cases, **asked)
    (folder / "cohort.toml").write_text(text)
    drawn = {"seed": seed, "participants": people.height, "imaged": len(scanned)}
    (folder / TRUTH).write_text(json.dumps({**_truth(variants), **drawn}, indent=2) + "\n")


def _truth(variants: pl.DataFrame) -> dict[str, object]:
    """Return what is planted: the contract's keys, each variant's counted allele, and what each code weighs."""
    rows = {row["planted"]: row for row in variants.filter(pl.col("planted").is_not_null()).iter_rows(named=True)}
    traits = {trait.name: trait for trait in TRAITS}
    planted = [
        {
            "rsid": rows[p.gene]["rsid"],
            "chromosome": str(p.chromosome),
            "base_pair_location": rows[p.gene]["base_pair_location"],
            "effect_allele": rows[p.gene]["a1"],
            "other_allele": rows[p.gene]["a2"],
            "gene": p.gene,
            "gene_id": p.gene_id,
            "organ": traits[p.trait].organ,
            "icd10": traits[p.trait].icd10,
            "trait": p.trait,
            "variance_explained": p.variance_explained,
        }
        for p in PLANTED
    ]
    liabilities = {code.icd10: code.weights for code in CODES}
    nulls = [str(c) for c in NULL_CHROMOSOMES]
    return {"variants": planted, "null_chromosomes": nulls, "liabilities": liabilities, "phenome": phenome_truth()}
