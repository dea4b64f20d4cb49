"""`import_ukb`: exports, genotypes, withdrawals and images in, a cohort folder out.

The order of the steps, and who is a participant, belong here; what becomes of each field is in its own module, the
files written in `folder`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from edp_assets.cohort.config import Cohort, genotype_files
from edp_assets.cohort.problems import CohortError, refused
from edp_assets.cohort.ukb.diagnoses import diagnoses
from edp_assets.cohort.ukb.exports import Export, ImportRefusedError, open_export
from edp_assets.cohort.ukb.fields import Fields, read_fields
from edp_assets.cohort.ukb.folder import (
    DICTIONARY,
    TABLES,
    TRAITS,
    Asked,
    existing_cohort,
    genotype_pattern,
    path_in,
    write_folder,
)
from edp_assets.cohort.ukb.images import find_scans
from edp_assets.cohort.ukb.people import SCALARS, participants
from edp_assets.cohort.ukb.report import Report, Taken
from edp_assets.cohort.ukb.traits import choose_traits, traits
from edp_assets.cohort.withdrawals import read_withdrawn_file

GENETIC_QC = {
    22006: "genetic ethnic grouping", 22019: "sex chromosome aneuploidy", 22020: "used in UK Biobank's components",
    22021: "kinship to others", 22027: "outliers of heterozygosity or missingness",
}  # fmt: skip
"""Fields by which studies choose people for GWAS."""


def import_ukb(asked: Asked, log: Callable[[str], None]) -> Report:
    """Write a cohort folder, or the tables of one again, from UK Biobank's exports.

    Tables whose content is the same are not touched, so that nothing made from them is out of date. Nothing is written
    before everything is read.

    Raises:
        ImportRefusedError: what cannot be used, or the folder is there (without `update`) or is not (with it).
    """
    report = Report()
    out = Path(asked.out).resolve()
    cohort = existing_cohort(out, asked)
    pattern = genotype_pattern(asked, cohort, out)
    exports = [open_export(path) for path in asked.tables]
    chosen = choose_traits(asked.traits, exports, report)
    withdrawn = _withdrawn(asked, cohort)
    scans = None
    if asked.images:
        log(f"looking through {len(asked.images)} folder(s) of images")
        scans = find_scans(asked.images, report, withdrawn)
        if not scans.height:
            told = "; ".join(report.left + report.to_do) or "no NIfTI file"
            raise ImportRefusedError(
                f"--images: wanted a mask of an organ and its images, matched by name, found none ({told}); "
                "name them as 1000123/fat.nii.gz, 1000123/water.nii.gz and 1000123/liver.nii.gz, say"
            )
    log("reading the people of the genotypes")
    genotyped = _genotyped(genotype_files(out, pattern), pattern, report)
    log(f"reading {len(exports)} table(s)")
    further = list(dict.fromkeys(key for each in chosen for key in each.keys))
    fields = read_fields(exports, SCALARS, further, log)
    eids = _people(exports, fields, genotyped, withdrawn, report)
    files: dict[str, pl.DataFrame] = {
        TABLES["participants"]: participants(fields, eids, report, _scanned(scans, out)),
        TABLES["diagnoses"]: diagnoses(fields, eids, set().union(*(e.fields for e in exports)), report),
    }
    if (found := traits(fields, chosen, eids, report)) is not None:
        files |= {TRAITS: found[0], DICTIONARY: found[1]}
    if scans is not None:
        files[TABLES["scans"]] = _scans(scans, eids, withdrawn, out, report)
    _tell_rest(exports, fields, report)
    log(f"writing to {out}")
    write_folder(asked, out, files, withdrawn, pattern, cohort, report)
    return report


def _scanned(scans: pl.DataFrame | None, out: Path) -> list[int]:
    """Return who has scans: without images those of the earlier import, whose table stays."""
    if scans is None:
        path = out / TABLES["scans"]
        if not path.exists():
            raise ImportRefusedError(
                f"{path}: wanted the scans of an earlier import, found no such file; give --images"
            )
        scans = pl.read_csv(path, columns=["eid"], infer_schema=False)
    return scans["eid"].cast(pl.Int64, strict=False).drop_nulls().unique().to_list()


def _withdrawn(asked: Asked, cohort: Cohort | None) -> frozenset[str]:
    path = asked.withdrawn or (None if cohort is None else cohort.withdrawn)
    if path is None:
        return frozenset()
    eids, problems = read_withdrawn_file(path, str(path))
    if refused(problems):
        raise CohortError(problems)
    return eids


def _genotyped(paths: dict[str, Path], pattern: str, report: Report) -> set[str]:
    """Return who is in every genotype file."""
    from edp_assets.science.genetics.genotypes import GenotypeError, read_sample_ids

    if not paths:
        raise ImportRefusedError(
            f"--genotypes: wanted files as {pattern}, {{chromosome}} being 1 to 22, X, Y or MT, found none; correct it"
        )
    everyone: set[str] = set()
    shared: set[str] | None = None
    for path in paths.values():
        try:
            ids = {eid for eid in read_sample_ids(path) if not eid.startswith("-")}
        except (GenotypeError, OSError) as error:
            raise ImportRefusedError(f"--genotypes: {error}") from None
        everyone |= ids
        shared = ids if shared is None else shared & ids
    genotyped = shared or set()
    if some := len(everyone) - len(genotyped):
        report.left.append(f"{some:,} people in some of the {len(paths)} genotype files, but not in all")
    return genotyped


def _people(
    exports: list[Export], fields: Fields, genotyped: set[str], withdrawn: frozenset[str], report: Report
) -> pl.Series:
    """Return the participants: people of the tables who are genotyped and have not withdrawn."""
    everyone = fields.people.select("eid", text=pl.col("eid").cast(pl.String))
    gone = pl.col("text").is_in(list(withdrawn))
    left = everyone.filter(~gone)
    people = left.join(pl.DataFrame({"text": list(genotyped)}, schema={"text": pl.String}), on="text", how="semi")
    if not people.height:
        raise ImportRefusedError(
            f"--genotypes: wanted people of the tables ({left.height:,} eids), found none of them among "
            f"{len(genotyped):,} genotyped; give genotypes and tables of one application (a bridge file maps one "
            "to another)"
        )
    report.taken.insert(0, Taken("eid", "people of the tables, genotyped, not withdrawn", "", people.height))
    for n, what in (
        (sum(export.no_eid for export in exports), "rows without an eid"),
        (sum(export.negative for export in exports), "rows with a negative eid, UK Biobank's mark of a withdrawal"),
        (fields.repeated, "rows that repeat an earlier row of their table"),
        (everyone.height - left.height, "people of the tables who withdrew"),
        (left.height - people.height, "people of the tables without genotypes"),
    ):
        if n:
            report.left.append(f"{n:,} {what}")
    return people["eid"].sort()


def _scans(scans: pl.DataFrame, eids: pl.Series, withdrawn: frozenset[str], out: Path, report: Report) -> pl.DataFrame:
    """Return the scans of participants, with paths as scans.csv names them."""
    known = scans["eid"].is_in(eids.cast(pl.String).to_list())
    gone = scans["eid"].is_in(list(withdrawn))
    for whose, what in ((gone, "who withdrew"), (~known & ~gone, "who are not in the tables, or not genotyped")):
        if n := int(whose.sum()):
            report.left.append(f"{n:,} scans of {scans.filter(whose)['eid'].n_unique():,} people {what}")
    scans = scans.filter(known)
    if not scans.height:
        raise ImportRefusedError(
            "--images: wanted scans of participants, found scans of others alone; give images and tables of one "
            "application"
        )
    for (organ,), rows in scans.group_by("organ", maintain_order=True):
        report.taken.append(Taken(f"scans of {organ}", "--images", "", rows["eid"].n_unique()))
    if later := scans.filter((pl.col("visit").cast(pl.Int64) > 2).any().over("eid", "organ")).height:
        report.guessed.append(
            f"{later:,} scans are of people with several visits, or with instance 3: the first is used"
        )
    paths = [name for name in scans.columns if name == "mask" or name.startswith("image_")]
    names = [pl.col(name).map_elements(lambda path: path_in(Path(path), out), return_dtype=pl.String) for name in paths]
    return scans.with_columns(names)


def _tell_rest(exports: list[Export], fields: Fields, report: Report) -> None:
    """Tell what became missing, the quality control of genotypes that is there, and how many columns were not used."""
    for number, tally in sorted(fields.tallies.items()):
        if tally.coded:
            report.left.append(f"{tally.coded:,} values of field {number} that say do not know or prefer not to answer")
        if tally.unreadable:
            report.left.append(
                f"{tally.unreadable:,} values of field {number} that are none of its: missing; the first: "
                f"{tally.example!r}"
            )
    present = set().union(*(export.fields for export in exports))
    if there := [f"{number} ({GENETIC_QC[number]})" for number in sorted(present & set(GENETIC_QC))]:
        report.left.append(
            f"quality control of people, not taken: {', '.join(there)}; leave people out of the genotype files by them"
        )
    used = {column for columns in fields.columns.values() for column in columns}
    total = sum(len(export.header) - 1 for export in exports)
    report.left.append(f"{total - len(used):,} of {total:,} columns are not used")
