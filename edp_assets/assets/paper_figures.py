"""The paper's Figure 4 for every cell whose EDPs hit a gene: the code in two cohorts above its strongest EDPs."""

from __future__ import annotations

from functools import partial

import polars as pl

from edp_assets.assets.album import Album
from edp_assets.assets.association import ASSOCIATIONS
from edp_assets.assets.association_figures import DRAWN
from edp_assets.assets.baselines import IMAGING, WHOLE
from edp_assets.assets.encoders import LEARNED
from edp_assets.assets.stage import REGISTRY, StageRun, stage
from edp_assets.science.evidence.counts import PAPERS
from edp_assets.storage.columns import of_phenotype, phenotype_name
from edp_assets.storage.lake import Stored
from edp_assets.storage.upstream import Partition

NAMES = {WHOLE: "the code, whole cohort", IMAGING: "the code, imaging cohort"}


def paper_figures(
    run: StageRun,
    gwas_summary_stats: Partition,
    gene_hits: pl.DataFrame,
    whole_gwas: Partition,
    whole_hits: pl.DataFrame,
    imaging_gwas: Partition,
    imaging_hits: pl.DataFrame,
) -> Stored:
    """The code in the whole and in the imaging cohort, and its strongest EDP by either method (Figure 4)."""
    from edp_assets.figures.association import Panel, stacked_manhattans

    album = Album(run, (run["organ"], run["icd10"], "paper"), ("icd10",))
    best = strongest(gene_hits)
    if best.height:
        panels = [
            Panel(f"{NAMES[name]} ({_people(gwas)})", gwas.scan().select(DRAWN).collect(), hits)
            for name, gwas, hits in ((WHOLE, whole_gwas, whole_hits), (IMAGING, imaging_gwas, imaging_hits))
        ]
        for method, cluster in best.iter_rows():
            of = of_phenotype(method, cluster)
            rows = gwas_summary_stats.scan().filter(of).select(DRAWN).collect()
            name = phenotype_name(method, cluster)
            panels.append(Panel(f"{name}-guided score ({run.encoder})", rows, gene_hits.filter(of)))
        title = f"{run['organ']}, {run['icd10']}"
        drawn = partial(stacked_manhattans, panels, run.workspace.settings.association.threshold, title)
        album.add("figure_4", drawn, shown=False, icd10=run["icd10"])
    return album.stored()


def strongest(gene_hits: pl.DataFrame) -> pl.DataFrame:
    """Return method and cluster of the classifier and of the cluster with the strongest gene, where they hit any."""
    hits = gene_hits.filter(pl.col("gene").is_not_null(), pl.col("method").is_in(PAPERS))
    ordered = hits.sort("neg_log_10_p_value", descending=True).unique("method", keep="first", maintain_order=True)
    return ordered.sort("method").select("method", "cluster")


def _people(gwas: Partition) -> str:
    n = gwas.scan().select(pl.col("n").max()).collect().item()
    return "not associated" if n is None else f"{n:,} people"


for _name in LEARNED:
    stage(
        f"{_name}/paper_figures",
        group="evidence",
        dimensions=("organ", "icd10"),
        table="paper_figures",
        inputs={
            "gwas_summary_stats": ASSOCIATIONS[_name].gwas_summary_stats,
            "gene_hits": ASSOCIATIONS[_name].gene_hits,
            "whole_gwas": REGISTRY[WHOLE, "gwas_summary_stats"],
            "whole_hits": REGISTRY[WHOLE, "gene_hits"],
            "imaging_gwas": REGISTRY[IMAGING, "gwas_summary_stats"],
            "imaging_hits": REGISTRY[IMAGING, "gene_hits"],
        },
        streamed=("gwas_summary_stats", "whole_gwas", "imaging_gwas"),
        settings=("association",),
        kinds={"matplotlib", "parquet"},
    )(paper_figures)
