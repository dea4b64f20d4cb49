"""The folder that an import writes: its files' names, cohort.toml, and putting in place what differs.

Nothing is read from exports here, nor decided about people.
"""

from __future__ import annotations

import filecmp
import json
import os
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from edp_assets.cohort.config import FILE, Cohort, load_cohort
from edp_assets.cohort.ukb.exports import ImportRefusedError
from edp_assets.cohort.ukb.report import Report
from edp_assets.settings.organs import ORGANS

REPORT = "import_report.md"
TABLES = {"participants": "participants.csv", "diagnoses": "diagnoses.csv", "scans": "scans.csv"}
TRAITS, DICTIONARY, WITHDRAWN = "traits.parquet", "traits_dictionary.csv", "withdrawn.csv"


@dataclass(frozen=True)
class Asked:
    """What an import is asked for.

    Attributes:
        tables: exports of fields, of one application.
        out: the cohort folder.
        genotypes: file, or pattern with {chromosome}; None on update: as cohort.toml has it.
        images: folders of NIfTI; none on update: scans.csv stays.
        withdrawn: eids, one a line; None on update: withdrawn.csv stays.
        variant_to_gene: table or folder as Open Targets has it.
        kinship: UK Biobank's ukb_rel.dat.
        traits: further fields.
        update: whether a cohort folder is there whose tables are to be written again.
    """

    tables: tuple[Path, ...]
    out: Path
    genotypes: str | None = None
    images: tuple[Path, ...] = ()
    withdrawn: Path | None = None
    variant_to_gene: Path | None = None
    kinship: Path | None = None
    traits: tuple[str, ...] = ()
    update: bool = False


def existing_cohort(out: Path, asked: Asked) -> Cohort | None:
    """Return the cohort that is to be updated; None where a new one is to be written."""
    names = [FILE, REPORT, *TABLES.values(), TRAITS, DICTIONARY, WITHDRAWN]
    there = [name for name in names if (out / name).exists()]
    if not asked.update:
        if there:
            remedy = "add --update to write its tables again" if FILE in there else "remove them"
            raise ImportRefusedError(
                f"{out}: wanted a folder without a cohort, found {', '.join(there)}; {remedy}, or give another --out"
            )
        for given, option in ((asked.genotypes, "--genotypes"), (asked.images, "--images")):
            if not given:
                raise ImportRefusedError(f"{option}: wanted for a new cohort folder, found none; give it")
        return None
    if FILE not in there:
        raise ImportRefusedError(f"{out}: wanted a cohort folder to update, found no {FILE}; leave out --update")
    cohort = load_cohort(out)
    for key, name in TABLES.items():
        if getattr(cohort, key) != out / name:
            raise ImportRefusedError(
                f"{out / FILE}: wanted {key} = {name!r}, as an import writes it, found "
                f"{cohort.label(getattr(cohort, key))!r}; "
                "import into another folder"
            )
    return cohort


def genotype_pattern(asked: Asked, cohort: Cohort | None, out: Path) -> str:
    """Return the genotypes as cohort.toml names them; on update they, and the other files, stay as they are named."""
    given = None if asked.genotypes is None else path_in(Path(asked.genotypes), out)
    if cohort is None:
        assert given is not None  # noqa: S101  # `existing_cohort` has seen to it
        return given
    pairs: list[tuple[str, str | None, str | None]] = [
        ("--genotypes", given, cohort.genotypes),
        ("--withdrawn", None if asked.withdrawn is None else WITHDRAWN, path_in(cohort.withdrawn, out) or WITHDRAWN),
        ("--variant-to-gene", path_in(asked.variant_to_gene, out), path_in(cohort.variant_to_gene, out)),
        ("--kinship", path_in(asked.kinship, out), path_in(cohort.kinship, out)),
    ]
    for option, wanted, stands in pairs:
        if wanted is not None and wanted != stands and (out / wanted) != (out / (stands or "")):
            raise ImportRefusedError(
                f"{option}: wanted what {FILE} names ({stands or 'none'}), found {wanted}; an update leaves "
                f"{FILE} as it is: "
                "edit it"
            )
    return cohort.genotypes


def path_in(path: Path | None, out: Path) -> str | None:
    """Return a path as cohort.toml names it: relative inside the folder, else absolute."""
    if path is None:
        return None
    absolute = Path(os.path.abspath(path))
    return str(absolute.relative_to(out)) if absolute.is_relative_to(out) else str(absolute)


def write_folder(
    asked: Asked,
    out: Path,
    files: dict[str, pl.DataFrame],
    withdrawn: frozenset[str],
    pattern: str,
    cohort: Cohort | None,
    report: Report,
) -> None:
    """Write all files beside their places, then put in place those that differ from what is there."""
    out.mkdir(parents=True, exist_ok=True)
    pending: dict[str, Path] = {}
    try:
        for name, frame in files.items():
            pending[name] = out / f".{name}.{os.getpid()}.tmp"
            frame.write_parquet(pending[name]) if name.endswith(".parquet") else frame.write_csv(pending[name])
        texts = {}
        if asked.withdrawn is not None or cohort is None:
            texts[WITHDRAWN] = "".join(f"{eid}\n" for eid in sorted(withdrawn))
        if cohort is None:
            texts[FILE] = _toml(asked, out, files[TABLES["scans"]], pattern, report)
        else:
            _tell_update(cohort, files, report)
        for name, text in texts.items():
            pending[name] = out / f".{name}.{os.getpid()}.tmp"
            pending[name].write_text(text)
        same = [name for name, path in pending.items() if _equal(path, out / name)]
        if cohort is not None:
            changed = [name for name in pending if name not in same]
            report.to_do.append(
                f"changed: {', '.join(changed) or 'nothing'}; as before, and left untouched: "
                f"{', '.join(same) or 'nothing'}; "
                + ("`edp refresh` rebuilds what depends on it" if changed else "there is nothing to rebuild")
            )
        pending[REPORT] = out / f".{REPORT}.{os.getpid()}.tmp"
        pending[REPORT].write_text(report.markdown("Import from UK Biobank"))
        for name, path in pending.items():
            if name not in same:
                path.replace(out / name)
    finally:
        for path in pending.values():
            path.unlink(missing_ok=True)


def _equal(new: Path, old: Path) -> bool:
    return old.exists() and filecmp.cmp(new, old, shallow=False)


def _tell_update(cohort: Cohort, files: dict[str, pl.DataFrame], report: Report) -> None:
    """Tell what cohort.toml, which an update leaves as it is, has to name for the new tables to count."""
    if TABLES["scans"] in files:
        for organ in sorted(set(files[TABLES["scans"]]["organ"]) - set(cohort.settings.organs)):
            report.to_do.append(f"scans of {organ} count once {FILE} has a section [organs.{organ}]")
    if TRAITS in files and cohort.traits is None:
        report.to_do.append(f'traits count once {FILE} has traits = "{TRAITS}", trait_dictionary = "{DICTIONARY}"')
    if cohort.withdrawn is None:
        report.to_do.append(f'the withdrawn are left out of images too once {FILE} has withdrawn = "{WITHDRAWN}"')


def _toml(asked: Asked, out: Path, scans: pl.DataFrame, pattern: str, report: Report) -> str:
    """Return cohort.toml of a new folder."""
    named = {"participants": TABLES["participants"], "diagnoses": TABLES["diagnoses"], "scans": TABLES["scans"]}
    named["withdrawn"] = WITHDRAWN
    if asked.traits:
        named |= {"traits": TRAITS, "trait_dictionary": DICTIONARY}
    if asked.variant_to_gene is not None:
        named["variant_to_gene"] = path_in(asked.variant_to_gene, out) or ""
    else:
        report.missing.append("a variant-to-gene table (--variant-to-gene): variants are mapped to no gene")
    report.guessed.append(
        f"genome_build is GRCh37, that of UK Biobank's array and imputed genotypes of 2018: for others correct {FILE}"
    )
    lines = [
        f"# Made by `edp import-ukb` from {', '.join(path.name for path in asked.tables)}; {REPORT} tells what "
        "was taken,",
        "# missed and guessed. It is yours to edit: `edp import-ukb --update` writes the tables again, and not "
        "this file.",
        "[cohort]",
        f"name = {json.dumps(out.name)}",
        'genome_build = "GRCh37"',
        *(f"{key} = {json.dumps(value)}" for key, value in named.items()),
        "[genotypes]",
        f"path = {json.dumps(pattern)}",
    ]
    if asked.kinship is not None:
        lines.append(f"kinship = {json.dumps(path_in(asked.kinship, out))}")
    elif (n := report.taken[0].people) > 100_000:
        report.to_do.append(
            f"{n:,} participants need a table of relatives: give --kinship ukb_rel.dat, or [genotypes] kinship"
        )
    lines += ["[labels]", "min_cases = 20"]
    lines += [f"[organs.{organ}]" for organ in ORGANS if organ in set(scans["organ"])]
    return "\n".join(lines) + "\n"
