"""`check_cohort`: every problem of a cohort folder at once, across all its files.

What is wrong within one table is told by its reader; what only two files together show belongs here.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from edp_assets.cohort.config import CHROMOSOMES, FILE, Cohort, did_you_mean, parse_cohort
from edp_assets.cohort.factors import factor_problems
from edp_assets.cohort.kinship import kinship_needed, read_kinship
from edp_assets.cohort.label_sets import choose_labels, read_label_sets
from edp_assets.cohort.labels import case_table, choose_codes, roll_up
from edp_assets.cohort.phecodes import read_phecode_map
from edp_assets.cohort.problems import Problem, format_problems, refused
from edp_assets.cohort.scan_files import check_scan_files
from edp_assets.cohort.scans import read_scan_rows
from edp_assets.cohort.tables import read_diagnoses, read_participants
from edp_assets.cohort.traits import read_trait_dictionary, read_traits

__all__ = ["check_cohort", "format_problems", "refused"]


def check_cohort(
    cohort_folder: Path, *, deep: bool, workers: int = 2, log: Callable[[str], None] | None = None
) -> list[Problem]:
    """Return every problem of a cohort folder; none is the end of the check.

    Args:
        cohort_folder: the folder with `cohort.toml`.
        deep: also read every mask and image in full (`edp check`); else tables and genotype sizes only, which a run
            checks before it starts.
        workers: scans read at once.
        log: takes progress lines; they hold counts, no ids.
    """
    say = log or (lambda _: None)
    cohort, problems = parse_cohort(Path(cohort_folder))
    if cohort is None:
        return problems
    say(f"reading the tables of {cohort.name}")
    participants = read_participants(cohort)
    # Where the participants cannot be read nobody is called unknown: that would be one mistake told many times.
    known = set(participants.table["eid"]) if participants.table.height else None
    diagnoses = read_diagnoses(cohort, known)
    scans = read_scan_rows(cohort, known)
    labels = read_label_sets(cohort, known)
    traits = read_traits(cohort)
    for read in (
        participants,
        diagnoses,
        scans,
        labels,
        read_trait_dictionary(cohort),
        traits,
        read_kinship(cohort, known),
    ):
        problems += read.problems
    problems += kinship_needed(cohort, participants.table.height)
    problems += _check_traits(cohort, traits.table["eid"], known)
    problems += read_phecode_map(cohort)[1]
    if known is not None:
        problems += factor_problems(cohort, participants.table, traits.table)
    problems += _check_codes(cohort, diagnoses.table, labels.table, scans.table)
    problems += _check_genes(cohort)
    say("opening the genotypes")
    problems += _check_genotypes(cohort, participants.table["eid"], scans.table["eid"])
    problems += _check_engine(cohort)
    if deep:
        say(f"reading the images of {scans.table.height} scans")
        problems += check_scan_files(cohort, scans.table, workers, say)
    return problems


def _check_codes(cohort: Cohort, diagnoses: pl.DataFrame, labels: pl.DataFrame, scans: pl.DataFrame) -> list[Problem]:
    settings, imaged = cohort.settings.labels, scans["eid"]
    codes, problems = choose_codes(case_table(diagnoses, settings.level), imaged, settings)
    keys, found_of_sets = choose_labels(labels, imaged, settings)
    problems += found_of_sets
    nowhere = diagnoses.filter(roll_up(diagnoses["icd10"], settings.level).is_null())
    if nowhere.height:
        wanted = f"codes that stand in a {settings.level} of WHO's ICD-10"
        found = f"{nowhere['icd10'].n_unique()} codes ({nowhere.height} rows) that do not; first: {nowhere['icd10'][0]}"
        remedy = "nothing, if it is meant: they count for no code"
        problems.append(Problem("note", cohort.label(cohort.diagnoses), "", wanted, found, remedy))
    for where, named in cohort.settings.named_codes.items():
        for code in sorted(set(named) - {*codes, *keys}):
            found, wanted = f"{code!r}{did_you_mean(code, [*codes, *keys])}", "codes that are studied"
            remedy = "write the code as it is studied (K76, medication.metformin), or remove it"
            problems.append(Problem("refused", FILE, where, wanted, found, remedy))
    return problems


def _check_traits(cohort: Cohort, eids: pl.Series, known: set[str] | None) -> list[Problem]:
    others = 0 if known is None else len(set(eids) - known)
    if cohort.traits is None or not others:
        return []
    found, wanted = (
        f"{others} of {eids.len()} people are no participants",
        f"people of {cohort.label(cohort.participants)}",
    )
    remedy = "nothing, if it is meant: they are left out"
    return [Problem("note", cohort.label(cohort.traits), "", wanted, found, remedy)]


def _check_genes(cohort: Cohort) -> list[Problem]:
    """Open what says which gene a variant goes to: the variant-to-gene table, and the gene table."""
    from edp_assets.science.genetics.genes import read_genes
    from edp_assets.science.genetics.open_targets import TABLE_COLUMNS, check_table, same_build

    path, problems = cohort.variant_to_gene, []
    if path is None:
        until = "genes are the nearest ones alone" if cohort.gene_table else "no variant is mapped to a gene"
        found, remedy = "none in cohort.toml", f'add variant_to_gene = "..."; until then {until}'
        problems.append(Problem("note", "cohort.toml", "[cohort]", "a variant-to-gene table", found, remedy))

    def read_variant_to_gene(path: Path) -> None:
        layout = check_table(path, cohort.credible_sets)
        same_build(path, layout, cohort.settings.genes.build, cohort.genome_build)

    readers: list[tuple[Path | None, Callable[[Path], object], tuple[str, ...]]] = [
        (path, read_variant_to_gene, tuple(TABLE_COLUMNS)),
        (cohort.gene_table, read_genes, ("gene", "chromosome", "start", "end")),
    ]
    for file, read, columns in readers:
        try:
            if file is not None:
                read(file)
        except (ValueError, OSError, RuntimeError, pl.exceptions.PolarsError) as error:
            found = str(error).replace(f"{cohort.folder}/", "").splitlines()[0]
            wanted, remedy = (
                f"a table with the columns {', '.join(columns)}",
                "correct the file, or its name in cohort.toml",
            )
            problems.append(Problem("refused", cohort.label(file or cohort.folder), "", wanted, found, remedy))
    return problems


def _check_genotypes(cohort: Cohort, participants: pl.Series, imaged: pl.Series) -> list[Problem]:
    """Open every genotype file and compare its people with the participants."""
    from edp_assets.science.genetics.genotypes import GenotypeError, open_genotypes

    paths = cohort.genotype_paths()
    problems: list[Problem] = []
    if not paths:
        remedy = "put the files there, or correct [genotypes] path"
        wanted = "a genotype file for each {chromosome}: 1 to 22, X, Y, MT"
        return [Problem("refused", cohort.genotypes, "", wanted, "none of these files is there", remedy)]
    if absent := [c for c in CHROMOSOMES[:22] if "all" not in paths and c not in paths]:
        found, remedy = f"no file for {', '.join(absent)}", "nothing, if it is meant: they are left out of associations"
        problems.append(Problem("note", cohort.genotypes, "", "chromosomes 1 to 22", found, remedy))
    samples: dict[str, set[str]] = {}
    for chromosome, path in paths.items():
        file = cohort.label(path)
        try:
            with open_genotypes(path) as genotypes:
                samples[file] = set(genotypes.sample_ids)
                problems += _check_variants(file, chromosome, genotypes.variants)
                problems += _check_build(file, genotypes.variants, cohort.genome_build)
        except (GenotypeError, OSError) as error:
            found = str(error).replace(f"{cohort.folder}/", "")
            wanted, remedy = "a whole genotype file and the files beside it", "copy or write the files again"
            problems.append(Problem("refused", file, "", wanted, found, remedy))
    if samples and participants.len():
        problems += _check_people(cohort, samples, participants, imaged)
    return problems


def _check_engine(cohort: Cohort) -> list[Problem]:
    """Tell what would stop regenie after hours of training, where associations are to be made by it."""
    if cohort.settings.gwas.engine != "regenie":
        return []
    from edp_assets.engines.regenie import check_filters, find_regenie, step1_file, testable
    from edp_assets.engines.steps import EngineError
    from edp_assets.science.genetics.regenie_files import read_people

    paths = cohort.genotype_paths()
    attempts: list[Callable[[], object]] = [
        lambda: find_regenie(cohort.regenie),
        lambda: check_filters(cohort.settings.association),
        lambda: testable(paths),
        lambda: [read_people(path) for path in {step1_file(paths, cohort.step1_genotypes), *paths.values()}],
    ]
    problems = []
    for attempt in attempts:
        try:
            attempt()
        except (EngineError, ValueError, OSError) as error:
            found = str(error).replace(f"{cohort.folder}/", "")
            remedy = 'mend it, or take engine = "projection"'
            problems.append(Problem("refused", FILE, "[gwas] engine", "what regenie needs", found, remedy))
    return problems


def _check_variants(file: str, chromosome: str, variants: pl.DataFrame) -> list[Problem]:
    """Tell of a file without the variants that its name promises, and of variants that stand in it twice."""
    from edp_assets.science.genetics.variant_qc import repeats

    present = variants["chromosome"].unique().sort().to_list()
    studied = [each for each in present if each in (CHROMOSOMES if chromosome == "all" else (chromosome,))]
    if not studied:
        wanted = "variants of 1 to 22, X, Y, MT" if chromosome == "all" else f"variants of chromosome {chromosome}"
        found = f"{variants.height} variants, of {', '.join(map(repr, present[:5])) or 'no chromosome'}"
        remedy = "write the chromosomes as 1, 01 or chr1, X or 23; or correct [genotypes] path"
        return [Problem("refused", file, "", wanted, found, remedy)]
    if repeated := int(repeats(variants).sum()):
        found, wanted = f"{repeated} variants that repeat an earlier one", "each position and pair of alleles once"
        remedy = "nothing, if it is meant: associations take the first, and count the others as left out"
        return [Problem("note", file, "", wanted, found, remedy)]
    return []


def _check_build(file: str, variants: pl.DataFrame, build: str) -> list[Problem]:
    """Tell of positions that the stated genome build does not have."""
    from edp_assets.science.genetics.builds import CHROMOSOME_LENGTHS, beyond_chromosome_ends

    beyond = beyond_chromosome_ends(variants, build)
    if not beyond.height:
        return []
    chromosome, position, length = beyond.select("chromosome", "base_pair_location", "length").row(0)
    found = (
        f"{beyond.height} of {variants.height} variants beyond the end of their chromosome, the first on {chromosome} "
        f"at {position} (it ends at {length})"
    )
    others = [other for other in CHROMOSOME_LENGTHS if not beyond_chromosome_ends(variants, other).height]
    fits = f"which {' and '.join(others)} would have" if others else "which no build known here has"
    remedy = f"correct genome_build, or the positions, {fits}"
    return [Problem("refused", file, "", f"positions of {build}, the genome_build of {FILE}", found, remedy)]


def _check_people(
    cohort: Cohort, samples: dict[str, set[str]], participants: pl.Series, imaged: pl.Series
) -> list[Problem]:
    table = cohort.label(cohort.participants)
    genotyped = set.intersection(*samples.values())
    without = [eid for eid in participants if eid not in genotyped]
    extra = set.union(*samples.values()) - set(participants)
    problems: list[Problem] = []
    if len(without) == participants.len():
        found = f"none of the {len(without)} participants among {len(genotyped)} genotyped"
        wanted, remedy = "eids that are the IIDs of the genotype files", "give both files the ids of one application"
        return [Problem("refused", table, "", wanted, found, remedy)]
    differ = [file for file, ids in samples.items() if ids != genotyped]
    in_which = f" in each of the {len(samples)} files" if differ else ""
    wanted = "participants whom the genotype files hold"
    remedy = "add their genotypes, or remove the rows; until then associations leave them out"
    found = f"no genotypes{in_which} ({len(without)} of {participants.len()} participants)"
    problems += [Problem("excluded", table, f"eid {eid}", wanted, found, remedy) for eid in without]
    if n := len(set(imaged) & set(without)):
        found, wanted = f"{n} of {imaged.n_unique()} people with scans have no genotypes", "genotypes of those scanned"
        remedy = "nothing: they train the encoders, and associations leave them out"
        problems.append(Problem("note", cohort.label(cohort.scans), "", wanted, found, remedy))
    if extra:
        found = f"{len(extra)} genotyped people who are no participants"
        wanted, remedy = f"people of {table}", "nothing, if it is meant: they are left out"
        problems.append(Problem("note", next(iter(samples)), "", wanted, found, remedy))
    return problems
