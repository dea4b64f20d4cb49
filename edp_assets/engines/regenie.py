"""regenie as an engine of association: found on the machine, told what to do, run, resumed after a kill, read.

regenie (Mbatchou et al. 2021) fits a whole-genome regression to each phenotype (step 1) and tests every variant against
what it leaves, predictions of the variant's own chromosome left out (step 2). Options are those of its docs/options.md.
Its files are in `science/genetics/regenie_files.py`; what the assets ask of it in `assets/regenie.py`.
"""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from glob import escape
from pathlib import Path

import polars as pl

from edp_assets.engines.steps import EngineError, Steps, Tell
from edp_assets.science.genetics.regenie_files import (
    own_sample,
    read_people,
    read_step2,
    write_keep,
    write_sample,
    write_table,
)
from edp_assets.settings import AssociationSettings, RegenieSettings
from edp_assets.settings.association import MIN_CASES

log = logging.getLogger(__name__)

OLDEST = (3, 0)
"""The version whose options and columns these are: earlier ones lack N, EXTRA or split results otherwise."""

CHROMOSOMES = (*(str(i) for i in range(1, 23)), "X")
"""What regenie knows: it takes 23, X, XY, PAR1 and PAR2 as one chromosome, has none for MT, and takes Y for X."""

BLOCK_SECONDS = 10.0
"""Least time between two of regenie's lines on its blocks that are passed on: it writes one a block, thousands."""


@dataclass(frozen=True)
class Regenie:
    """An installed regenie: its path and what `--version` says, such as `v3.4.1.gz`."""

    path: Path
    version: str

    @property
    def compresses(self) -> bool:
        """Whether it was built with Boost's iostreams, which --gz needs: its version then ends in .gz."""
        return self.version.endswith(".gz")


@dataclass(frozen=True)
class Trial:
    """One association that regenie is to run: phenotypes of the same kind in the same people.

    Attributes:
        genotypes: chromosome -> .bed, .pgen or .bgen; or one file under "all".
        phenotypes: IID, then a column of numbers a phenotype, NaN or null missing; binary: 0 and 1.
        covariates: IID, then columns of numbers without gaps, without the intercept, which regenie adds.
        binary: whether the phenotypes are binary.
        step1_genotypes: the file of step 1, such as the genotyped variants; None: the one of `genotypes`.
        min_mac: least minor allele count (--minMAC).
        min_info: least imputation info, IMPUTE's of a .bgen, MaCH's of a .pgen (--minINFO); 0: not asked.
    """

    genotypes: Mapping[str, Path]
    phenotypes: pl.DataFrame
    covariates: pl.DataFrame
    binary: bool = False
    step1_genotypes: Path | None = None
    min_mac: float = 5
    min_info: float = 0


@dataclass(frozen=True)
class Result:
    """One phenotype's statistics.

    Attributes:
        phenotype: its name.
        frames: its rows, chromosome after chromosome, the columns of `read_step2`.
        counts: those of `read_step2`, complete once `frames` has been read; and `low_mac_or_info`, the variants that
            regenie's log says it left out of a phenotype, which are no rows of its files (mean over phenotypes).
    """

    phenotype: str
    frames: Iterator[pl.DataFrame]
    counts: dict[str, int]


def find_regenie(path: str | Path | None = None) -> Regenie:
    """Return the regenie at `path`, else the one on PATH, once it has told its version.

    Raises:
        EngineError: it is not there, does not run, or is older than OLDEST.
    """
    found = shutil.which(str(path or "regenie"))
    if found is None:
        looked = f"{path} is not an executable file" if path else "no `regenie` is on PATH"
        raise EngineError(
            f"wanted regenie {_dotted(OLDEST)} or later: {looked}. Install it (github.com/rgcgithub/regenie "
            "or conda's package regenie) and put it on PATH, or name it in [gwas.regenie] path; or leave [gwas] "
            'engine = "projection", which needs no other program.'
        )
    try:
        done = subprocess.run(  # noqa: S603
            [found, "--version"], capture_output=True, text=True, errors="replace", timeout=60, check=False
        )
        said = (done.stdout + done.stderr).strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        said = str(error)
    match = re.search(r"v?(\d+)\.(\d+)[\w.]*", said)
    if match is None:
        raise EngineError(f"{found} --version: wanted regenie's version, such as v3.4.1, found {said[:200]!r}")
    if (int(match[1]), int(match[2])) < OLDEST:
        raise EngineError(f"{found} is regenie {match[0]}: wanted {_dotted(OLDEST)} or later; install a later one")
    return Regenie(Path(found).absolute(), match[0])


def associate(
    regenie: Regenie,
    trial: Trial,
    settings: RegenieSettings,
    folder: Path,
    tell: Tell = log.info,
) -> list[Result]:
    """Run both steps, as far as `folder` does not hold their results already, and hand over every phenotype's.

    Step 1, and step 2 of each chromosome, are skipped where their outputs are whole and were made from the same inputs:
    phenotypes, covariates, genotype files (sizes and times), options, version.

    Args:
        regenie: from `find_regenie`.
        trial: what is associated with what.
        settings: block sizes, threads, tests.
        folder: where regenie works; what is left of it by a kill is gone on with. `steps.clean` empties it.
        tell: is given lines of progress: what is done, and regenie's own.

    Returns:
        What every phenotype has, in the order of the columns; regenie has ended when the call returns.

    Raises:
        EngineError: regenie failed (the message has the end of its log), or step 1 has no single file.
        ValueError: people, phenotypes or chromosomes that regenie cannot take.
    """
    folder = folder.absolute()
    if re.search(r"\s", str(folder)):
        raise ValueError(
            f"{folder}: regenie's list of predictions takes no white space in a path; work in another folder"
        )
    tested, left_out = testable(trial.genotypes)
    if left_out:
        tell(f"regenie has no chromosome {', '.join(left_out)}: left out")
    first = step1_file(trial.genotypes, trial.step1_genotypes)
    folder.mkdir(parents=True, exist_ok=True)
    files = {c: trial.genotypes.get("all") or trial.genotypes[c] for c in tested}
    people = _people(trial, [first, *files.values()])
    made_from = [regenie.version, _write_inputs(folder, people, trial)]
    steps = Steps("regenie", regenie.path, folder, _calm(tell))
    names = trial.phenotypes.columns[1:]
    paths = dict.fromkeys([first, *files.values()])
    sources = {path: _genotype_arguments(path, folder / f"{k}.sample") for k, path in enumerate(paths)}
    arguments = step1_arguments(sources[first], folder, trial, settings)
    suffix = ".gz" if regenie.compresses else ""
    fit = steps.run(
        "step1",
        arguments,
        _running(regenie, settings) + (_low_memory(folder) if settings.low_memory else []),
        ["step1_pred.list", *(f"step1_{k}.loco{suffix}" for k in range(1, len(names) + 1))],
        [*made_from, *_stamps(first)],
    )
    for chromosome, path in files.items():
        steps.run(
            f"chr{chromosome}",
            step2_arguments(sources[path], chromosome, folder, trial, settings),
            ["--bsize", str(settings.step2_block_size), *_running(regenie, settings)],
            [f"chr{chromosome}_Y{k}.regenie{suffix}" for k in range(1, len(names) + 1)],
            [*made_from, *_stamps(path), fit],
        )
    ignored = sum(_ignored(steps.log(f"chr{chromosome}")) for chromosome in tested) // len(names)
    results = []
    for k, name in enumerate(names, 1):
        counts = {"low_mac_or_info": ignored}
        parts = [folder / f"chr{chromosome}_Y{k}.regenie{suffix}" for chromosome in tested]
        results.append(Result(name, _frames(parts, counts), counts))
    return results


def _frames(parts: list[Path], counts: dict[str, int]) -> Iterator[pl.DataFrame]:
    for part in parts:
        yield from read_step2(part, counts)


def testable(genotypes: Mapping[str, Path]) -> tuple[list[str], list[str]]:
    """Return the chromosomes that regenie can test, and those that it leaves out, of one file a chromosome or of one.

    Raises:
        ValueError: one file holds a chromosome that regenie does not know, or takes for another: it would not start,
            or would tell Y as X.
    """
    if "all" not in genotypes:
        return [c for c in CHROMOSOMES if c in genotypes], [c for c in genotypes if c not in CHROMOSOMES]
    from edp_assets.science.genetics.genotypes import open_genotypes

    path = genotypes["all"]
    with open_genotypes(path) as file:
        present = set(file.variants["chromosome"])
    others = sorted(present - set(CHROMOSOMES))
    if others:
        raise ValueError(
            f"{path}: wanted chromosomes 1 to 22 and X alone, which regenie knows, found also {', '.join(others[:5])}; "
            "write the file without them (plink2 --chr 1-22,X,XY,PAR1,PAR2 --make-pgen), or one file a chromosome"
        )
    return [c for c in CHROMOSOMES if c in present], []


def step1_file(genotypes: Mapping[str, Path], step1_genotypes: Path | None) -> Path:
    """Return the file of step 1; raises EngineError where there are several and none is named."""
    path = step1_genotypes or genotypes.get("all")
    if path is None:
        raise EngineError(
            f"step 1 of regenie takes one genotype file of all chromosomes; found {len(genotypes)} files, one a "
            "chromosome. Merge the genotyped, not the imputed variants, at most 1 million (plink2 --pmerge-list), and "
            'name that file in [gwas.regenie] step1_genotypes = "array.bed".'
        )
    return path


def check_filters(settings: AssociationSettings) -> None:
    """Raise ValueError for a filter of variants that neither regenie nor its output has: Hardy-Weinberg's test."""
    if settings.min_hwe_p > 0:
        raise ValueError(
            f"[association] min_hwe_p = {settings.min_hwe_p:g}: regenie has no such filter; set it to 0 and filter the "
            "genotype files themselves (plink2 --hwe)"
        )


def step1_arguments(source: list[str], folder: Path, trial: Trial, settings: RegenieSettings) -> list[str]:
    """Return what step 1 is told, without how it is run (threads, memory)."""
    # The block size of step 1 is part of its model: ridge regressions are fitted within blocks.
    return ["--step", "1", *source, *_shared(folder, trial), "--bsize", str(settings.step1_block_size),
            "--out", str(folder / "step1")]  # fmt: skip


def step2_arguments(
    source: list[str], chromosome: str, folder: Path, trial: Trial, settings: RegenieSettings
) -> list[str]:
    """Return what step 2 of a chromosome is told, without how it is run (threads, block size)."""
    correction: list[str] = []
    if trial.binary:
        test = ["--firth", "--approx"] if settings.correction == "firth" else ["--spa"]
        correction = [*test, "--pThresh", f"{settings.correction_max_p:g}"]
    info = ["--minINFO", f"{trial.min_info:g}"] if trial.min_info > 0 else []
    number = "23" if chromosome == "X" else chromosome  # which every version takes
    min_mac = max(trial.min_mac, 0.5)  # the least that regenie takes: whatever is not monomorphic
    return ["--step", "2", *source, *_shared(folder, trial), "--pred", str(folder / "step1_pred.list"),
            "--chr", number, *correction, "--minMAC", f"{min_mac:g}", *info,
            "--out", str(folder / f"chr{chromosome}")]  # fmt: skip


def _shared(folder: Path, trial: Trial) -> list[str]:
    covariates = ["--covarFile", str(folder / "covariates.txt")] if trial.covariates.width > 1 else []
    # Quantitative is every version's default, --qt an option of later ones.
    return ["--keep", str(folder / "keep.txt"), "--phenoFile", str(folder / "phenotypes.txt"), *covariates,
            *(["--bt"] if trial.binary else [])]  # fmt: skip


def _running(regenie: Regenie, settings: RegenieSettings) -> list[str]:
    threads = ["--threads", str(settings.threads)] if settings.threads else []
    return [*threads, *(["--gz"] if regenie.compresses else [])]


def _low_memory(folder: Path) -> list[str]:
    return ["--lowmem", "--lowmem-prefix", str(folder / "step1_tmp")]


def _genotype_arguments(path: Path, new_sample: Path) -> list[str]:
    """Return how regenie is given a genotype file; its ALLELE1 is then the effect allele of `open_genotypes`."""
    if path.suffix != ".bgen":
        # Of a .bim the last allele is regenie's reference, so that A1 is counted, as here.
        return [f"--{path.suffix[1:]}", str(path.with_suffix(""))]
    sample = own_sample(path)
    if sample is None:
        sample = new_sample
        write_sample(sample, read_people(path)["IID"].to_list())
    return ["--bgen", str(path), "--sample", str(sample), "--ref-first"]


def _people(trial: Trial, paths: list[Path]) -> pl.DataFrame:
    """Return FID and IID of the people associated; all genotype files must name them the same."""
    for what, table in (("phenotypes", trial.phenotypes), ("covariates", trial.covariates)):
        if table.columns[0] != "IID" or table["IID"].is_duplicated().any():
            raise ValueError(f"{what}: wanted IID as the first column, each once, found {table.columns[0]}")
        texts = [name for name, dtype in table.schema.items() if name != "IID" and not dtype.is_numeric()]
        if texts:
            raise ValueError(f"{what}: wanted numbers, {texts[0]} holds none; give a category as columns of 0 and 1")
    wanted = trial.phenotypes.select("IID")
    without = wanted.join(trial.covariates.drop_nulls().drop_nans(), on="IID", how="anti")
    if without.height:
        raise ValueError(
            f"covariates: wanted a number for each of the {wanted.height} people with phenotypes, {without.height} "
            f"lack one (first: {without['IID'][0]}); leave them out of the phenotypes"
        )
    first: pl.DataFrame | None = None
    for path in dict.fromkeys(paths):
        people = wanted.join(read_people(path), on="IID", how="left", maintain_order="left").select("FID", "IID")
        if people["FID"].null_count():
            missing = people.filter(pl.col("FID").is_null())
            raise ValueError(
                f"{path}: {missing.height} of {people.height} people of the association are not in it "
                f"(first: {missing['IID'][0]}); leave them out of the phenotypes, or give a file that holds them"
            )
        first = people if first is None else first
        other = people.filter(people["FID"] != first["FID"])
        if other.height:
            raise ValueError(
                f"{path}: {other.height} people have another FID than in {paths[0]} (first: IID {other['IID'][0]}); "
                "regenie joins people by FID and IID, so write all genotype files with the same ones"
            )
    assert first is not None  # noqa: S101
    return first


def _write_inputs(folder: Path, people: pl.DataFrame, trial: Trial) -> str:
    """Write phenotypes (as Y1, Y2, ...: names of files are made of them), covariates and people; return their hash."""
    columns = trial.phenotypes.drop("IID")
    for name in columns.columns if trial.binary else []:
        values = columns[name].cast(pl.Float64).fill_nan(None).drop_nulls()
        if not values.is_in([0.0, 1.0]).all():
            raise ValueError(f"{name}: wanted 0 for controls and 1 for cases, found {values.unique().to_list()[:5]}")
        cases = int(values.sum())
        if min(cases, values.len() - cases) < MIN_CASES:  # regenie's --minCaseCount is the same
            raise ValueError(
                f"{name}: {cases} cases, {values.len() - cases} controls; regenie wants at least {MIN_CASES} of each"
            )
    numbered = columns.rename({name: f"Y{k}" for k, name in enumerate(columns.columns, 1)})
    write_keep(folder / "keep.txt", people)
    write_table(folder / "phenotypes.txt", people, numbered)
    covariates = people.join(trial.covariates, on="IID", how="left", maintain_order="left").drop("FID", "IID")
    write_table(folder / "covariates.txt", people, covariates)
    digest = hashlib.sha256()
    for name in ("keep.txt", "phenotypes.txt", "covariates.txt"):
        digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
    return digest.hexdigest()


def _ignored(log_file: Path) -> int:
    """Return how many tests step 2 left out for their allele count or info, by its log; their rows are not written."""
    said = re.findall(r"Number of ignored .*: (\d+)", log_file.read_text(errors="replace"))
    return sum(map(int, said))


def _stamps(path: Path) -> list[str]:
    """Return size and time of a genotype file and those beside it: what tells that they were replaced."""
    beside = sorted(path.parent.glob(f"{escape(path.stem)}.*"))
    files = [(file.name, file.stat()) for file in beside if file.suffix != ".bgi"]  # an index changes no result
    return [f"{name}:{status.st_size}:{status.st_mtime_ns}" for name, status in files]


def _calm(tell: Tell) -> Tell:
    """Return `tell` for a reader: of the lines on blocks, one in a while."""
    told = -BLOCK_SECONDS

    def calm(line: str) -> None:
        nonlocal told
        if "block [" in line:
            if time.monotonic() - told < BLOCK_SECONDS:
                return
            told = time.monotonic()
        tell(line)

    return calm


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
