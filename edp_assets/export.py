"""`edp export`: summary statistics of an organ, a code or both out of the lake, as files that the GWAS Catalog takes.

How such a file looks is in `science.genetics.gwas_ssf`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import polars as pl

from edp_assets.cohort.icd10 import description
from edp_assets.science.genetics.gwas_ssf import CHROMOSOME_NUMBERS, COLUMNS, write_metadata, write_statistics
from edp_assets.settings import EncoderName
from edp_assets.storage.cells import Cell, cell_of, file_name
from edp_assets.storage.columns import phenotype_name
from edp_assets.storage.lake import notes_of
from edp_assets.storage.workspace import Workspace

ROWS_A_FRAME = 131_072

BASELINES = {
    "icd10_imaging_cohort": "{icd10} as a binary trait among people with a scan",
    "icd10_whole_cohort": "{icd10} as a binary trait",
    "organ_volume": "Volume of the {organ}",
}
"""Methods without an encoder, which are assets of their own, and what their trait is."""

HAND_MADE = {"organ_surface": "Surface of the {organ}", "fat_fraction": "Fat fraction of the {organ}"}
"""Likewise of the asset `hand_made`, which has the mean intensity of each channel as well."""

INTENSITY = "mean_intensity_"
EDPS = ("classifier", "clustering", "island")
EDP = "Embedding-derived phenotype of the {organ} for {icd10}: {method}, encoder {encoder}"


class ExportError(ValueError):
    """Nothing is stored for what was asked."""


@dataclass(frozen=True)
class Asked:
    """Which summary statistics are wanted; a method of None is every EDP of the cell."""

    organ: str | None
    icd10: str | None
    encoder: str = "mae"
    method: str | None = None


def export(workspace: Workspace, asked: Asked, folder: Path, say: Callable[[str], None] = lambda _: None) -> list[Path]:
    """Write one .tsv.gz and its metadata for each phenotype asked for, and return the files of statistics.

    Rows are streamed by chromosome, so that memory does not grow with variants.

    Raises:
        ExportError: nothing is stored for it; the message says what is.
    """
    asset, cell = _stored(workspace, asked)
    asked = replace(asked, organ=dict(cell).get("organ"), icd10=dict(cell).get("icd10"))
    # DuckDB does not look for damage, and the file may lie in an object store.
    with workspace.lake.local_file(asset, cell) as file:
        excluded = workspace.lake.read_stored(asset, cell, "excluded")
        return _export(workspace, asked, file, set() if excluded is None else set(excluded["eid"]), folder, say)


def _export(
    workspace: Workspace, asked: Asked, file: Path, excluded: set[str], folder: Path, say: Callable[[str], None]
) -> list[Path]:
    phenotypes = _phenotypes(file, asked)
    if not phenotypes:
        others = ", ".join(sorted({method for method, _ in _phenotypes(file, replace(asked, method=None))}))
        empty = "the table phenotype_selection says why none was selected"
        if asked.method is not None and _trait(asked.method):
            empty = "nothing of it could be associated: the asset's metadata say why"
        why = f"the cell has {others}" if others else empty
        raise ExportError(f"{_name(asked)}: no phenotype has summary statistics; {why}")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    thinned = {(note["method"], note["cluster"]): note["stored_max_p"] for note in notes_of(file).get("phenotypes", ())}
    for method, cluster in phenotypes:
        parts = [None if _trait(method) else asked.encoder, asked.organ, asked.icd10, method, cluster]
        path = folder / file_name("-".join(str(part) for part in parts if part is not None), ".tsv.gz")
        told = write_statistics(path, _frames(file, method, cluster))
        counts = _cases(workspace, asked, method, excluded, told.largest_n)
        if counts is None:
            say(f"{path}: cases and controls are not told: the people stored have changed since; `edp run` first")
        about = _about(workspace, asked, method, cluster, told.largest_n, counts or {})
        write_metadata(path, told, about, date.today())
        left_out = "".join(f"; {n} variants left out: {reason}" for reason, n in told.left_out.items())
        largest_p = thinned.get((method, cluster), 1.0)
        only = f", those of p up to {largest_p:g} alone ([gwas] stored_max_p)" if largest_p < 1 else ""
        say(f"{path}: {told.rows} variants{only}{left_out}")
        written.append(path)
    return written


def _stored(workspace: Workspace, asked: Asked) -> tuple[tuple[str, ...], Cell]:
    """Return the asset and the cell of what was asked for, which is stored."""
    dimensions, source = {"organ": asked.organ, "icd10": asked.icd10}, asked.encoder
    if asked.method is not None and _trait(asked.method):
        source = asked.method if asked.method in BASELINES else "hand_made"
        del dimensions["organ" if asked.method.startswith("icd10_") else "icd10"]
    elif asked.method not in (None, *EDPS):
        known = ", ".join((*EDPS, *BASELINES, *HAND_MADE, f"{INTENSITY}<channel>"))
        raise ExportError(f"--method {asked.method} is none; methods are {known}")
    asset = (source, "gwas_summary_stats")
    if lacking := [f"--{name}" for name, value in dimensions.items() if value is None]:
        raise ExportError(f"{' and '.join(lacking)} must be given for {asked.method or 'EDPs'}")
    cell = cell_of({name: value for name, value in dimensions.items() if value is not None})
    if not workspace.lake.path(asset, cell).exists():
        raise ExportError(f"{_name(asked)}: no summary statistics are stored; {what_is_stored(workspace, asset)}")
    return asset, cell


def what_is_stored(workspace: Workspace, asset: tuple[str, ...]) -> str:
    """Return what is told where a partition of an asset is not stored: what there is, and what a run could make."""
    if asset[0] not in (*get_args(EncoderName), *BASELINES, "hand_made"):
        return f"no encoder is called {asset[0]}, they are {', '.join(get_args(EncoderName))}"
    there = [" x ".join(key for _, key in stored) for stored in workspace.lake.cells(asset)]
    more = f" and {len(there) - 20} more" if len(there) > 20 else ""
    found = f"stored are {', '.join(there[:20])}{more}" if there else f"{'/'.join(asset)} has none stored yet"
    return f"{found}. `edp run` makes them, of the organs, codes and encoders that cohort.toml has"


def _trait(method: str) -> str | None:
    """Return what the trait of a method without an encoder is, of an {organ} or {icd10}; None of an EDP's."""
    if method.startswith(INTENSITY):
        return f"Mean intensity of the {{organ}} before scaling, channel {method.removeprefix(INTENSITY)}"
    return (BASELINES | HAND_MADE).get(method)


def _name(asked: Asked) -> str:
    encoder = None if asked.method is not None and _trait(asked.method) else asked.encoder
    return ", ".join(part for part in (encoder, asked.organ, asked.icd10, asked.method) if part)


def _phenotypes(file: Path, asked: Asked) -> list[tuple[str, int | None]]:
    found = pl.scan_parquet(file, hive_partitioning=False).select("method", "cluster").unique()
    if asked.method is not None:
        found = found.filter(pl.col("method") == asked.method)
    return found.collect(engine="streaming").sort("method", "cluster", nulls_last=True).rows()


def _frames(file: Path, method: str, cluster: int | None) -> Iterator[pl.DataFrame]:
    """Yield one phenotype's rows by chromosome in natural order, then those of other contigs."""
    import duckdb

    columns = ", ".join(COLUMNS)
    source = f"SELECT {columns} FROM read_parquet([$file], hive_partitioning = false) "  # noqa: S608
    of = "WHERE method = $method AND cluster IS NOT DISTINCT FROM $cluster AND "
    values: dict[str, Any] = {"file": str(file), "method": method, "cluster": cluster}
    with duckdb.connect() as connection:
        for chromosome in CHROMOSOME_NUMBERS:
            rows = connection.sql(source + of + "chromosome = $c", params={**values, "c": chromosome})
            yield from map(pl.DataFrame, rows.to_arrow_reader(ROWS_A_FRAME))
        others = connection.sql(
            source + of + "NOT list_contains($known, chromosome)", params={**values, "known": list(CHROMOSOME_NUMBERS)}
        )
        yield from map(pl.DataFrame, others.to_arrow_reader(ROWS_A_FRAME))


def _cases(workspace: Workspace, asked: Asked, method: str, excluded: set[str], n: int) -> dict[str, int] | None:
    """Return how many of a baseline's people are cases and controls; nothing where the trait is not binary.

    The people are found as the association found them, from stored tables: all participants, or those with an organ's
    volume, less whom the stage has left out. None where these are not the `n` people whom the statistics are of.
    """
    if not method.startswith("icd10_"):
        return {}
    lake, participants = workspace.lake, [(("participants",), ())]
    imaged = [(("organ_volumes",), cell) for cell in lake.cells(("organ_volumes",))]
    people_of = imaged if method == "icd10_imaging_cohort" else participants
    cases_of = [(("icd10_cases",), cell_of({"icd10": asked.icd10 or ""}))]
    people, cases = (
        {eid for asset, cell in chosen for eid in lake.read(asset, cell, ["eid"])["eid"]}
        if all(lake.path(asset, cell).exists() for asset, cell in chosen)
        else set()
        for chosen in (people_of, cases_of)
    )
    people -= excluded
    n_cases = len(people & cases)
    return {"case_count": n_cases, "control_count": n - n_cases} if len(people) == n and n_cases else None


def _about(
    workspace: Workspace, asked: Asked, method: str, cluster: int | None, n: int, counts: dict[str, int]
) -> dict[str, Any]:
    """Return the standard's fields on trait, genotypes, people and model."""
    settings, study = workspace.settings, workspace.settings.study
    code = asked.icd10 or ""
    text = description(code) if code else None
    trait = (_trait(method) or EDP).format(
        organ=asked.organ,
        icd10=f"ICD-10 {code} ({text})" if text else code,
        encoder=asked.encoder,
        method=phenotype_name(method, cluster),
    )
    sample = {
        "sample_ancestry_category": list(study.ancestry_category),
        "sample_ancestry": list(study.ancestry),
        "sample_size": n,
        "ancestry_method": list(study.ancestry_method) or None,
        "case_control_study": method.startswith("icd10_"),
        **counts,
    }
    return {
        "author_notes": study.author_notes,
        "trait_description": [trait],
        "genome_assembly": workspace.cohort.genome_build,
        "genotyping_technology": list(study.genotyping_technology),
        "imputation_panel": study.imputation_panel,
        "imputation_software": study.imputation_software,
        "samples": [{name: value for name, value in sample.items() if value is not None}],
        "sex": "combined",
        "analysis_software": f"{'regenie, by ' if settings.gwas.engine == 'regenie' else ''}"
        f"edp_assets {version('edp_assets')}",
        "adjusted_covariates": list(settings.association.covariates),
        "minor_allele_freq_lower_limit": settings.association.min_maf,
    }
