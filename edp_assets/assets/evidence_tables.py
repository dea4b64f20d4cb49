"""Genes hit, as the paper's Tables 1 and 2 count them, beside the controls; the closing tables are these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from edp_assets.assets import cohort, imaging
from edp_assets.assets.baselines import IMAGING, VOLUME, WHOLE
from edp_assets.assets.encoders import ENCODERS
from edp_assets.assets.hand_made import HAND_MADE
from edp_assets.assets.stage import REGISTRY, Stage, StageRun, stage
from edp_assets.science.evidence.paper import TABLE_1, TABLE_2
from edp_assets.storage.lake import Stored
from edp_assets.storage.schemas import empty
from edp_assets.storage.upstream import Partition, Partitions

NOT_STORED = "its gene hits are not stored: their run failed, is held by a check, or is still to come"
KEY = ("encoder", "icd10", "method", "cluster")
GENES = (*KEY, "gene", "neg_log_10_p_value")
LEADS = (*KEY, "chromosome", "locus_start", "locus_end")
SELECTION = (*KEY, "cases", "roc_auc_out_of_fold", "selected")
HITS = (*ENCODERS, IMAGING, WHOLE, VOLUME, HAND_MADE)
"""Whose gene hits and lead variants are counted: the first part of their assets' keys."""


def _above(table: str, names: tuple[str, ...]) -> dict[str, Stage]:
    return {f"{name}__{table}": REGISTRY[name, table] for name in names}


COUNTED: dict[str, Stage] = {
    **_above("gene_hits", HITS),
    **_above("lead_variants", HITS),
    **_above("phenotype_selection", tuple(ENCODERS)),
}
OPTIONS: dict[str, Any] = {
    "group": "evidence",
    "dimensions": ("organ",),
    "streamed": (*COUNTED, "hand_made_gwas"),
    "settings": ("evidence", "association"),
    "files": ("synthetic", "genes_unknown"),
    "gathers": True,
}


class Counted:
    """What one organ's associations hit, of codes that are studied now, read a table at a time."""

    def __init__(self, icd10_codes: pl.DataFrame, inputs: Mapping[str, Partition | Partitions]) -> None:
        self._studied = icd10_codes.filter("studied")["icd10"]
        self._inputs = inputs
        self._stored: dict[str, set[str]] = {}
        self.without: set[str] = set()

    def read(self, table: str, columns: tuple[str, ...], names: tuple[str, ...] = HITS) -> pl.DataFrame:
        """Return the rows of a table, of whatever of it is stored."""
        frames = [empty(table).select(columns)]
        for name in names:
            filled, empty_ones = self._partitions(f"{name}__{table}")
            if not filled and not empty_ones:
                self.without.add(name)
            frames += [partition.columns(*columns) for partition in filled]
        rows = pl.concat(frames)
        return rows.filter(pl.col("icd10").is_null() | pl.col("icd10").is_in(self._studied.implode()))

    def reasons(self, cells: pl.DataFrame) -> pl.Series:
        """Return why hits are not known, of each encoder (null: the code as a trait), icd10 and method."""
        return pl.Series(
            "reason",
            [
                None if icd10 in self._codes_with_hits(encoder or method) else NOT_STORED
                for encoder, icd10, method in cells.select("encoder", "icd10", "method").iter_rows()
            ],
            dtype=pl.String,
        )

    def _codes_with_hits(self, name: str) -> set[str]:
        """Return the codes whose genes and loci of this name are both stored, with rows or without any."""
        if name not in self._stored:
            tables = [self._inputs[f"{name}__{table}"] for table in ("gene_hits", "lead_variants")]
            codes = [{dict(cell)["icd10"] for cell in t.stored()} for t in tables if isinstance(t, Partitions)]
            self._stored[name] = set.intersection(*codes)
        return self._stored[name]

    def told(self, run: StageRun, frame: pl.DataFrame) -> dict[str, Any]:
        """Return what is told of a table made of these: what there was nothing of, such as encoders not in use."""
        unknown = run.workspace.cohort.genes_unknown
        told = {"rows": frame.height, "nothing_stored_of": ", ".join(sorted(self.without))}
        return told | ({"genes": unknown} if unknown else {})

    def _partitions(self, name: str) -> tuple[list[Partition], int]:
        """Return the partitions that have rows, most codes hit nothing, and how many have none."""
        found = self._inputs[name]
        if isinstance(found, Partitions):
            return found.filled()
        there, rows = found.version is not None, found.rows
        return ([found] if rows else []), int(there and not rows)


def _methods(run: StageRun, inputs: Mapping[str, Partition | Partitions]) -> list[str]:
    """Return the organ's phenotypes that need neither an encoder nor a code, of those that are associated."""
    volume, measures = inputs[f"{VOLUME}__gene_hits"], inputs["hand_made_gwas"]
    assert isinstance(volume, Partition)  # noqa: S101
    assert isinstance(measures, Partition)  # noqa: S101  both are of an organ
    named = [] if measures.version is None else measures.notes["methods"]
    return [*([] if volume.version is None else [VOLUME]), *named]


def hits_by_disease(run: StageRun, icd10_codes: pl.DataFrame, **inputs: Partition | Partitions) -> Stored:
    """Genes and loci of every code by method, and those that the code itself hits in the whole cohort (Table 1)."""
    from edp_assets.science.evidence.counts import counts_by_code, without_genes

    counted = Counted(icd10_codes, inputs)
    cells = pl.concat([_edp_cells(counted), _code_cells(icd10_codes)])
    cells = cells.with_columns(counted.reasons(cells))
    counts = counts_by_code(
        cells,
        counted.read("gene_hits", GENES),
        counted.read("lead_variants", LEADS),
        _methods(run, inputs),
        run.workspace.settings.evidence.locus_gap_kb,
    )
    printed = {} if run.workspace.cohort.synthetic else TABLE_1
    paper = [_printed(printed, run["organ"], *row) for row in counts.select("encoder", "icd10", "method").iter_rows()]
    frame = without_genes(counts, run.workspace.cohort.genes_unknown)
    frame = frame.join(icd10_codes.select("icd10", "description"), on="icd10", how="left", maintain_order="left")
    frame = frame.with_columns(
        organ=pl.lit(run["organ"]),
        paper_genes=pl.Series([genes for genes, _ in paper], dtype=pl.Float64),
        paper_genes_and_whole=pl.Series([shared for _, shared in paper], dtype=pl.Float64),
    )
    told = {**counted.told(run, frame), "not_counted": counts["reason"].count()}
    return Stored(frame.select(empty("evidence_hits_by_disease").columns), metadata=told)


def _edp_cells(counted: Counted) -> pl.DataFrame:
    """Return encoder, icd10 and method of every candidate, with cases, AUC, and how many phenotypes are selected."""
    candidates = counted.read("phenotype_selection", SELECTION, tuple(ENCODERS))
    of_cell = candidates.group_by("encoder", "icd10").agg(cases=pl.col("cases").filter(method="classifier").max())
    return (
        candidates.group_by("encoder", "icd10", "method", maintain_order=True)
        .agg(roc_auc_out_of_fold=pl.col("roc_auc_out_of_fold").max(), phenotypes=pl.col("selected").sum())
        .join(of_cell, on=["encoder", "icd10"], maintain_order="left")
        .select(list(CELLS))
        .cast(CELLS)
        .sort("encoder", "icd10", maintain_order=True)
    )


CELLS = pl.Schema({
    "encoder": pl.String, "icd10": pl.String, "method": pl.String, "cases": pl.Int64,
    "roc_auc_out_of_fold": pl.Float64, "phenotypes": pl.Int64,
})  # fmt: skip


def _code_cells(icd10_codes: pl.DataFrame) -> pl.DataFrame:
    """Return a row for each studied code and baseline."""
    studied = icd10_codes.filter("studied")
    rows = [
        studied.select("icd10", method=pl.lit(method), cases=cases, phenotypes=pl.lit(1))
        for method, cases in ((WHOLE, "cases"), (IMAGING, "cases_imaged"))
    ]
    return pl.concat([pl.DataFrame(schema=CELLS), *rows], how="diagonal_relaxed").cast(CELLS)


def _printed(
    table: Mapping[tuple[str, str], Any], organ: str, encoder: str | None, icd10: str | None, method: str
) -> tuple[int | None, int | None]:
    """Return what the paper's Table 1 (its EDPs are of its MAE) has of a row: genes, those of the whole cohort too."""
    row = table.get((organ, icd10 or "")) if encoder in (None, "mae") else None
    return getattr(row, method, None), getattr(row, f"{method}_and_whole", None)


def hits_by_organ(
    run: StageRun, icd10_codes: pl.DataFrame, organ_volumes: pl.DataFrame, **inputs: Partition | Partitions
) -> Stored:
    """Genes of all EDPs of each encoder, trained and not, beside those of hand-made phenotypes (Table 2)."""
    from edp_assets.science.evidence.counts import counts_by_organ, without_genes

    counted, settings = Counted(icd10_codes, inputs), run.workspace.settings
    selected = counted.read("phenotype_selection", SELECTION, tuple(ENCODERS)).filter("selected").select(KEY)
    selected = selected.with_columns(counted.reasons(selected))
    unknown = selected.filter(pl.col("reason").is_not_null()).select("encoder", "icd10").unique()
    codes_not_counted = dict(unknown.group_by("encoder").len().iter_rows())
    selected = selected.filter(pl.col("reason").is_null()).select(KEY)
    others = pl.DataFrame({"method": _methods(run, inputs)}, schema={"method": pl.String})
    of_organ = pl.col("encoder").is_not_null() | pl.col("icd10").is_null()  # a code as a binary trait is of no organ
    counts = counts_by_organ(
        pl.concat([selected, others], how="diagonal"),
        counted.read("gene_hits", GENES).filter(of_organ),
        counted.read("lead_variants", LEADS).filter(of_organ),
        settings.association.neg_log_10_threshold,
        settings.evidence.locus_gap_kb,
    )
    printed = {} if run.workspace.cohort.synthetic else TABLE_2
    frame = without_genes(counts, run.workspace.cohort.genes_unknown).with_columns(
        organ=pl.lit(run["organ"]),
        scans=pl.lit(organ_volumes.height),
        codes_not_counted=pl.Series([codes_not_counted.get(source, 0) for source in counts["source"]], dtype=pl.Int64),
        paper_genes=pl.Series([printed.get((source, run["organ"])) for source in counts["source"]], dtype=pl.Float64),
    )
    return Stored(frame.select(empty("evidence_hits_by_organ").columns), metadata=counted.told(run, frame))


stage(
    "evidence/hits_by_disease",
    table="evidence_hits_by_disease",
    code_version="2",
    inputs={"icd10_codes": cohort.icd10_codes, "hand_made_gwas": REGISTRY[HAND_MADE, "gwas_summary_stats"], **COUNTED},
    **OPTIONS,
)(hits_by_disease)

stage(
    "evidence/hits_by_organ",
    table="evidence_hits_by_organ",
    code_version="2",
    inputs={
        "icd10_codes": cohort.icd10_codes,
        "organ_volumes": imaging.organ_volumes,
        "hand_made_gwas": REGISTRY[HAND_MADE, "gwas_summary_stats"],
        **COUNTED,
    },
    **OPTIONS,
)(hits_by_organ)
