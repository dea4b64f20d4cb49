"""`edp export --phewas`: the stored phenome-wide scan of one organ and code, as PHESANT's results files.

How such a file looks is in `science.phenome.phesant`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl

from edp_assets.export import Asked, ExportError, what_is_stored
from edp_assets.science.phenome.phesant import category_results, combined_results
from edp_assets.science.phenome.results import counted_reasons
from edp_assets.storage.cells import cell_of, file_name
from edp_assets.storage.home import replace_text
from edp_assets.storage.schemas import empty
from edp_assets.storage.workspace import Workspace


def export_phewas(
    workspace: Workspace, asked: Asked, folder: Path, say: Callable[[str], None] = lambda _: None
) -> list[Path]:
    """Write PHESANT's results-combined.txt of each phenotype of the cell, say what is not in it, and return the files.

    The categories of unordered traits are a file beside it.

    Raises:
        ExportError: nothing is stored for it.
    """
    if asked.organ is None or asked.icd10 is None:
        raise ExportError("--organ and --icd10 must be given: a phenome-wide scan is of a cell's EDPs")
    asset, cell = (asked.encoder, "phewas"), cell_of({"organ": asked.organ, "icd10": asked.icd10})
    name = f"{asked.encoder}, {asked.organ}, {asked.icd10}"
    if not workspace.lake.path(asset, cell).exists():
        raise ExportError(f"{name}: no phenome-wide scan is stored; {what_is_stored(workspace, asset)}")
    results = workspace.lake.read(asset, cell)
    if not results.height and not _phenome(workspace).filter(pl.col("reason").is_null()).height:
        raise ExportError(
            f"{name}: wanted traits to test, found none: the cohort has no trait whose kind is known and no phecode of "
            "anybody imaged (table phenome_dictionary); give traits and trait_dictionary, or phecode_map"
        )
    if asked.method is not None:
        results = results.filter(pl.col("method") == asked.method)
    if not results.height:
        raise ExportError(f"{name}: no phenotype of it was scanned; the table phenotype_selection says why")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for (method, cluster), of in results.group_by("method", "cluster", maintain_order=True):
        parts = [asked.encoder, asked.organ, asked.icd10, method, cluster, "phewas"]
        stem = "-".join(str(part) for part in parts if part is not None)
        path = folder / file_name(stem, ".txt")
        replace_text(path, combined_results(of).write_csv(separator="\t", quote_style="never"))
        why = "".join(f"; {count} not tested: {reason}" for reason, count in counted_reasons(of["reason"]))
        say(f"{path}: {of['reason'].null_count()} traits{why}")
        written.append(path)
        categories = category_results(of)
        if categories.height:
            path = folder / file_name(f"{stem}-categories", ".txt")
            replace_text(path, categories.write_csv(separator="\t", quote_style="never"))
            say(f"{path}: {categories.height} categories of unordered traits, each against the reference")
            written.append(path)
    return written


def _phenome(workspace: Workspace) -> pl.DataFrame:
    asset, cell = ("phenome_dictionary",), cell_of({})
    stored = workspace.lake.path(asset, cell).exists()
    return workspace.lake.read(asset, cell) if stored else empty("phenome_dictionary")
