"""`cohort.toml`: where a cohort's files lie and the settings it overrides.

Only the configuration belongs here; whether the files that it names are there and sound, `tables` and `check` tell.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from edp_assets.cohort.problems import CohortError, Problem
from edp_assets.settings import EncoderName, OrganSettings, Settings

FILE = "cohort.toml"
GENOME_BUILDS = ("GRCh37", "GRCh38", "NCBI36")
"""NCBI36 beside the two of today: public HapMap data, for one, is still on build 36."""

BUILD_ALIASES = {
    "hg18": "NCBI36",
    "grch36": "NCBI36",
    "b36": "NCBI36",
    "hg19": "GRCh37",
    "b37": "GRCh37",
    "hg38": "GRCh38",
}
CHROMOSOMES = (*(str(i) for i in range(1, 23)), "X", "Y", "MT")
GENOTYPE_FORMATS = (".bed", ".pgen", ".bgen")
REQUIRED = ("name", "genome_build", "participants", "diagnoses", "scans")
OPTIONAL = (
    "withdrawn", "traits", "trait_dictionary", "phecode_map", "phecode_definitions", "phecode_exclusions",
    "variant_to_gene", "credible_sets", "gene_table",
)  # fmt: skip


@dataclass(frozen=True)
class Cohort:
    """A cohort folder as `cohort.toml` describes it; paths are absolute.

    Attributes:
        folder: the folder that holds `cohort.toml`.
        name: what people call the cohort.
        genome_build: GRCh37, GRCh38 or NCBI36.
        participants: table, `schema.PARTICIPANTS`.
        diagnoses: table, `schema.DIAGNOSES`.
        scans: table, `schema.SCANS`.
        withdrawn: eids, one a line; None: nobody withdrew.
        traits: table for the PheWAS: eid and one column a trait; None: phecodes alone.
        trait_dictionary: table, `schema.TRAIT_DICTIONARY`.
        phecode_map: published map of ICD-10 to phecodes, see `cohort.phecodes`; None: no phecodes.
        phecode_definitions: published table of phecodes, for those the map says too little of.
        phecode_exclusions: published pairs of phecodes; None: the map's exclusion ranges.
        variant_to_gene: table, `schema.VARIANT_TO_GENE`, or one as Open Targets publishes it; None: no genes.
        credible_sets: Open Targets' credible sets, which its L2G needs; None: no L2G.
        gene_table: table, `schema.GENES`; None: no variant goes to its nearest gene.
        genotypes: genotype file as written, `{chromosome}` standing for 1 to 22, X, Y, MT.
        kinship: table of related pairs, see `cohort.kinship`; None: computed.
        settings: every setting of a run.
        synthetic: nobody in it is real: the paper's own numbers do not stand beside its results.
    """

    folder: Path
    name: str
    genome_build: str
    participants: Path
    diagnoses: Path
    scans: Path
    withdrawn: Path | None
    traits: Path | None
    trait_dictionary: Path | None
    phecode_map: Path | None
    phecode_definitions: Path | None
    phecode_exclusions: Path | None
    variant_to_gene: Path | None
    credible_sets: Path | None
    gene_table: Path | None
    genotypes: str
    kinship: Path | None
    settings: Settings
    synthetic: bool = False

    @property
    def imagenet_weights(self) -> Path | None:
        """The baseline's weights, where the settings name a file: relative to the folder."""
        weights = self.settings.imagenet.weights
        return None if weights is None else self.folder / weights

    @property
    def label_tables(self) -> dict[str, Path]:
        """The tables of the label sets, by the set's name: relative to the folder."""
        return {name: self.folder / chosen.table for name, chosen in self.settings.labels.sets.items()}

    @property
    def step1_genotypes(self) -> Path | None:
        """The one genotype file of regenie's step 1, where the settings name one: relative to the folder."""
        named = self.settings.gwas.regenie.step1_genotypes
        return None if named is None else self.folder / named

    @property
    def regenie(self) -> str | None:
        """What the settings name as the regenie to run: a name on PATH, or a path, relative to the folder."""
        named = self.settings.gwas.regenie.path
        return str(self.folder / Path(named).expanduser()) if named and "/" in named else named

    @property
    def genes_unknown(self) -> str:
        """Why nobody knows which gene a variant is of; empty where a table tells, by score or by distance."""
        tables = self.variant_to_gene, self.gene_table
        return "no variant_to_gene in cohort.toml: genes are not known" if tables == (None, None) else ""

    def genotype_paths(self) -> dict[str, Path]:
        """Return the genotype files by chromosome, in natural order: 1 to 22, X, Y, MT.

        A pattern gives the files that exist; one file is `{"all": path}`, whether it exists or not.
        """
        return genotype_files(self.folder, self.genotypes)

    def label(self, path: Path) -> str:
        """Return the path as people read it: relative to the folder where it lies inside."""
        return str(path.relative_to(self.folder)) if path.is_relative_to(self.folder) else str(path)


def genotype_files(folder: Path, pattern: str) -> dict[str, Path]:
    """Return the genotype files that a path names, as `Cohort.genotype_paths`; relative to the folder."""
    if "{chromosome}" not in pattern:
        return {"all": folder / pattern}
    paths = {c: folder / pattern.replace("{chromosome}", c) for c in CHROMOSOMES}
    return {chromosome: path for chromosome, path in paths.items() if path.exists()}


def load_cohort(folder: Path) -> Cohort:
    """Read `cohort.toml` in `folder`.

    Raises:
        CohortError: with every wrong or missing key at once.
    """
    cohort, problems = parse_cohort(folder)
    if cohort is None or problems:
        raise CohortError(problems)
    return cohort


def parse_cohort(folder: Path) -> tuple[Cohort | None, list[Problem]]:
    """Read `cohort.toml` as far as it goes, for a check that goes on after a wrong key.

    Returns:
        The cohort, its wrong settings at their defaults, and every problem; None where a file's name is missing.
    """
    folder = Path(folder).resolve()
    document, problems = _parse_toml(folder)
    if document is None:
        return None, problems
    settings = _settings(document, problems)
    section = _table(document, "cohort", problems)
    _unknown_keys(section, (*REQUIRED, *OPTIONAL, "synthetic"), "[cohort]", problems)
    if not isinstance(synthetic := section.get("synthetic", False), bool):
        wanted, remedy = "true or false", "write synthetic = true where nobody in the cohort is real, else leave it out"
        problems.append(_problem("[cohort] synthetic", wanted, repr(synthetic), remedy))
    values: dict[str, str | None] = {}
    for key in (*REQUIRED, *OPTIONAL):
        values[key] = _text(section, key, "[cohort]", problems, required=key in REQUIRED)
    build = values["genome_build"]
    if build is not None and build not in GENOME_BUILDS:
        meant = BUILD_ALIASES.get(build.lower()) or next((b for b in GENOME_BUILDS if b.lower() == build.lower()), None)
        remedy = f'write genome_build = "{meant}"' if meant else "write the build of the genotype positions"
        problems.append(_problem("[cohort] genome_build", " or ".join(GENOME_BUILDS), repr(build), remedy))
    genotypes, kinship = _genotypes(document, problems)
    paths = {key: folder / value for key, value in values.items() if value is not None}
    if genotypes is None or any(key not in paths for key in ("participants", "diagnoses", "scans")):
        return None, problems
    cohort = Cohort(
        folder=folder,
        name=values["name"] or folder.name,
        genome_build=build or "",
        participants=paths["participants"],
        diagnoses=paths["diagnoses"],
        scans=paths["scans"],
        withdrawn=paths.get("withdrawn"),
        traits=paths.get("traits"),
        trait_dictionary=paths.get("trait_dictionary"),
        phecode_map=paths.get("phecode_map"),
        phecode_definitions=paths.get("phecode_definitions"),
        phecode_exclusions=paths.get("phecode_exclusions"),
        variant_to_gene=paths.get("variant_to_gene"),
        credible_sets=paths.get("credible_sets"),
        gene_table=paths.get("gene_table"),
        genotypes=genotypes,
        kinship=None if kinship is None else folder / kinship,
        settings=settings,
        # Synthetic cohorts of before there was the key lie beside their truth.
        synthetic=synthetic is True or (folder / "truth.json").exists(),
    )
    return cohort, problems


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ", did you mean ...?" where a known name is close, else the empty string."""
    by_folded = {each.casefold(): each for each in known}
    close = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.6)
    return f', did you mean "{by_folded[close[0]]}"?' if close else ""


def _parse_toml(folder: Path) -> tuple[dict[str, Any] | None, list[Problem]]:
    path = folder / FILE
    wanted = f"a folder with a {FILE}, in TOML"
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig")), []
    except OSError as error:
        found = f"{path}: {error.strerror or error}"
        return None, [
            _problem("", wanted, found, "give the folder that holds cohort.toml, or write one (see README.md)")
        ]
    except UnicodeDecodeError as error:
        return None, [_problem("", wanted, f"not UTF-8 text: {error}", "save the file as UTF-8")]
    except tomllib.TOMLDecodeError as error:
        return None, [_problem("", wanted, str(error), "correct the file at that place; text values stand in quotes")]


def _settings(document: dict[str, Any], problems: list[Problem]) -> Settings:
    """Build the settings section by section, so that each wrong one is told; wrong sections keep their defaults."""
    fields = Settings.model_fields
    encoders: dict[str, Any] = {name: fields[name].annotation for name in get_args(EncoderName)}
    sections: dict[str, Any] = {
        name: field.annotation
        for name, field in fields.items()
        if name not in encoders and name not in ("organs", "encoders")
    }
    _unknown_keys(
        document, ("cohort", "genotypes", "organs", "encoders", *sections), "cohort.toml, at its top", problems
    )

    good: dict[str, Any] = {}
    for name, model in sections.items():
        if name in document:
            piece = _section(document, name, f"[{name}]", model, problems)
            if _valid({name: piece}, f"[{name}]", problems):
                good[name] = piece
    for group, names in (("organs", None), ("encoders", encoders)):
        for name in _table(document, group, problems):
            title = f"[{group}.{name}]"
            if names is None and not re.fullmatch(r"[A-Za-z0-9_-]+", name):
                problems.append(_problem(title, "an organ named by letters, digits, _ and -", repr(name), "rename it"))
                continue
            if names is not None and name not in names:
                remedy = "correct the name, or remove the section"
                wanted = f"an encoder with settings: {', '.join(sorted(names))}"
                problems.append(_problem(title, wanted, repr(name) + did_you_mean(name, names), remedy))
                continue
            piece = _section(document[group], name, title, OrganSettings if names is None else names[name], problems)
            if _valid({group: {name: piece}}, title, problems):
                good.setdefault(group, {})[name] = piece
    if not document.get("organs"):
        remedy = "add one section an organ that has scans, for example [organs.liver]"
        problems.append(_problem("", "at least one section [organs.<organ>]", "none", remedy))
    if _valid(good, "", problems, wanted="sections that agree"):
        return Settings.from_toml(good)
    # What contradicts another section is [gwas], whose defaults contradict none.
    return Settings.from_toml({name: piece for name, piece in good.items() if name != "gwas"})


def _section(
    parent: Mapping[str, Any], name: str, title: str, model: type[BaseModel], problems: list[Problem]
) -> dict[str, Any]:
    values = _table(parent, name, problems, title)
    fields = [field.alias or key for key, field in model.model_fields.items()]
    _unknown_keys(values, fields, title, problems)
    return {key: value for key, value in values.items() if key in fields}


def _valid(
    piece: dict[str, Any],
    title: str,
    problems: list[Problem],
    wanted: str = "values as edp_assets/settings describes them",
) -> bool:
    try:
        Settings.from_toml(piece)
    except ValueError as error:
        found = str(error).removeprefix("cohort.toml: ")
        problems.append(_problem(title, wanted, found, "correct the values"))
        return False
    return True


def _genotypes(document: dict[str, Any], problems: list[Problem]) -> tuple[str | None, str | None]:
    section = _table(document, "genotypes", problems)
    _unknown_keys(section, ("path", "kinship"), "[genotypes]", problems)
    kinship = _text(section, "kinship", "[genotypes]", problems, required=False)
    path = _text(section, "path", "[genotypes]", problems, required=True)
    if path is None:
        return None, kinship
    where = "[genotypes] path"
    braces = sorted(set(re.findall(r"\{[^}]*\}?", path)) - {"{chromosome}"})
    if braces:
        wanted = "one file, or {chromosome} where the files' names differ"
        problems.append(_problem(where, wanted, f"{braces[0]} in {path!r}", "write {chromosome} in its place"))
    if Path(path).suffix not in GENOTYPE_FORMATS:
        remedy = "name the file with its ending (the .bim/.fam, .pvar/.psam or .sample beside it are found by it)"
        problems.append(_problem(where, f"a file ending in {', '.join(GENOTYPE_FORMATS)}", repr(path), remedy))
    return path, kinship


def _table(parent: Mapping[str, Any], name: str, problems: list[Problem], title: str = "") -> dict[str, Any]:
    value = parent.get(name, {})
    if isinstance(value, dict):
        return value
    title = title or f"[{name}]"
    problems.append(_problem(title, f"a section {title}", f"{name} = {value!r}", f"write {title} on a line of its own"))
    return {}


def _text(section: dict[str, Any], key: str, title: str, problems: list[Problem], *, required: bool) -> str | None:
    value = section.get(key)
    if isinstance(value, str) and value.strip():
        return value.strip()
    if value is None and not required:
        return None
    found = "no such key" if value is None else repr(value)
    problems.append(
        _problem(f"{title} {key}", f"{key} = a text in quotes", found, f'write {key} = "..." under {title}')
    )
    return None


def _unknown_keys(values: Mapping[str, Any], known: Iterable[str], title: str, problems: list[Problem]) -> None:
    known = tuple(known)
    for key in values:
        if key not in known:
            found = f'unknown "{key}"{did_you_mean(key, known)}'
            wanted = f"only: {', '.join(known)}"
            problems.append(_problem(title, wanted, found, "correct the name, or remove it"))


def _problem(where: str, wanted: str, found: str, remedy: str) -> Problem:
    return Problem("refused", FILE, where, wanted, found, remedy)
