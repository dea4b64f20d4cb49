"""Figures of the associations of an organ and code (paper, Figures 4 to 7): drawn where a variant is associated.

What is drawn how is in `figures.association`.
"""

from __future__ import annotations

from functools import partial

import polars as pl

from edp_assets.assets.album import Album, phenotype_title
from edp_assets.assets.association import ASSOCIATIONS
from edp_assets.assets.encoders import LEARNED
from edp_assets.assets.hits import significant
from edp_assets.assets.stage import StageRun, stage
from edp_assets.storage.columns import of_phenotype
from edp_assets.storage.lake import Stored
from edp_assets.storage.upstream import Partition

SHOWN = 3
"""Phenotypes of a cell whose figures are metadata as well, the strongest first: Dagster's event log keeps them."""

DRAWN = ("chromosome", "base_pair_location", "neg_log_10_p_value")


def association_figures(run: StageRun, gwas_summary_stats: Partition, gene_hits: pl.DataFrame) -> Stored:
    """A Manhattan plot with the genes and a quantile-quantile plot of each of the cell's EDPs that hits anything."""
    from edp_assets.figures import association as draw

    settings = run.workspace.settings.association
    album = Album(run, (run["organ"], run["icd10"]), ("icd10", "method", "cluster"))
    thinned = {
        (note["method"], note["cluster"]): (note["variants"], note["lambda_gc"])
        for note in gwas_summary_stats.notes.get("phenotypes", ())
        if note["stored_max_p"] < 1
    }
    # Most of a biobank's cells hit nothing: they cost one filtered scan.
    hits = significant(gwas_summary_stats, settings.neg_log_10_threshold)
    strongest = sorted(hits, key=lambda hit: -float(hit["neg_log_10_p_value"].max()))  # type: ignore[arg-type]
    for rank, hit in enumerate(strongest):
        method, cluster = hit.select("method", "cluster").row(0)
        of = of_phenotype(method, cluster)
        statistics = gwas_summary_stats.scan().filter(of).select(DRAWN).collect()
        title = phenotype_title(run, method, cluster)
        figures = {
            "manhattan": partial(draw.manhattan, statistics, gene_hits.filter(of), settings.threshold, title),
            "qq": partial(draw.qq, statistics["neg_log_10_p_value"].to_numpy(), title, thinned.get((method, cluster))),
        }
        for figure, drawn in figures.items():
            album.add(figure, drawn, icd10=run["icd10"], method=method, cluster=cluster, shown=rank < SHOWN)
    return album.stored()


for _name, _association in ((name, ASSOCIATIONS[name]) for name in LEARNED):
    stage(
        f"{_name}/association_figures",
        group="association",
        dimensions=("organ", "icd10"),
        table="association_figures",
        inputs={"gwas_summary_stats": _association.gwas_summary_stats, "gene_hits": _association.gene_hits},
        streamed=("gwas_summary_stats",),
        settings=("association",),
        code_version="2",
        kinds={"matplotlib", "parquet"},
    )(association_figures)
