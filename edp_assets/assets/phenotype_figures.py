"""Figures of an organ's phenotypes (paper, Figures 2 and 3): as metadata, as files, and as a table of the files.

What is drawn how is in `figures.phenotypes`; this module decides what: the best codes and clusters of all.
"""

from __future__ import annotations

from functools import partial

import polars as pl

from edp_assets.assets import cohort
from edp_assets.assets.album import Album
from edp_assets.assets.encoders import LEARNED
from edp_assets.assets.phenotypes import PHENOTYPES
from edp_assets.assets.stage import StageRun, stage
from edp_assets.storage.lake import Stored, cell_of
from edp_assets.storage.schemas import empty
from edp_assets.storage.upstream import Partitions

BEST = 3
"""Clusters, and codes of the classifier, that have a figure of their own: those of the smallest p."""

DRAWN = (
    "icd10", "method", "cluster", "roc_auc_out_of_fold", "p_rank_sum", "p_fisher", "percentage", "selected"
)  # fmt: skip


def phenotype_figures(
    run: StageRun,
    phenotype_selection: Partitions,
    edp_scores: Partitions,
    icd10_cases: Partitions,
    icd10_codes: pl.DataFrame,
    clusters: pl.DataFrame,
) -> Stored:
    """The organ's AUC-pval and percentage-pval plots, its enriched clusters, and the scores of its best codes."""
    from edp_assets.figures import phenotypes as draw

    settings, organ = run.workspace.settings, run["organ"]
    album = Album(run, (run["organ"],), ("icd10", "cluster"))
    candidates = _named(phenotype_selection, icd10_codes)
    classifier = candidates.filter(pl.col("method") == "classifier")
    clustering = candidates.filter(pl.col("method") == "clustering")
    if classifier.height:
        limits = {"min_auc": settings.classifier.min_auc, "max_p": settings.classifier.max_p}
        album.add("auc_pval", partial(draw.auc_pval, classifier, f"{organ}: classifier-guided scores", **limits))
    if clustering.height:
        max_p = settings.clustering.max_p
        title = f"{organ}: codes of the clusters"
        album.add("percentage_pval", partial(draw.percentage_pval, clustering, title, max_p=max_p))
        umap, labels = clusters.select("umap_1", "umap_2").to_numpy(), clusters["cluster"].to_numpy()
        for cluster in enriched_clusters(clustering):
            own = clustering.filter(pl.col("cluster") == cluster)
            drawn = partial(draw.cluster_enrichment, umap, labels, cluster, own, organ, max_p=max_p)
            album.add("cluster_enrichment", drawn, cluster=cluster)
    for code, auc, text in best_codes(classifier).iter_rows():
        scores = edp_scores.partition(cell_of({"organ": organ, "icd10": code})).scan()
        own = scores.filter(pl.col("method") == "classifier").select("eid", "score").collect()
        cases = own["eid"].is_in(icd10_cases[cell_of({"icd10": code})]["eid"].implode()).to_numpy()
        title = f"{organ}, {code} {text or ''}".strip() + f"\nAUC {auc:.3f} out of fold"
        drawn = partial(draw.score_histogram, own["score"].to_numpy(), cases, title)
        album.add("score_histogram", drawn, icd10=code)
    return album.stored()


def enriched_clusters(clustering: pl.DataFrame) -> list[int]:
    """Return the clusters that a selected code is in, those of the smallest p, best first."""
    selected = clustering.filter(pl.col("selected")).sort("p_fisher", "percentage", descending=[False, True])
    return selected["cluster"].unique(maintain_order=True).head(BEST).to_list()


def best_codes(classifier: pl.DataFrame) -> pl.DataFrame:
    """Return icd10, roc_auc_out_of_fold and description of the selected codes of the smallest p, best first."""
    selected = classifier.filter(pl.col("selected")).sort(
        "p_rank_sum", "roc_auc_out_of_fold", descending=[False, True], nulls_last=True
    )
    return selected.head(BEST).select("icd10", "roc_auc_out_of_fold", "description")


def _named(selection: Partitions, icd10_codes: pl.DataFrame) -> pl.DataFrame:
    """Read what is drawn of every studied code's candidates, with the code's chapter and description."""
    cells = selection.stored()
    frames = [empty("phenotype_selection").select(DRAWN), *(selection.partition(c).columns(*DRAWN) for c in cells)]
    names = icd10_codes.filter("studied").select("icd10", "chapter", "description")
    return pl.concat(frames).join(names, on="icd10", how="inner", maintain_order="left")


for _name, _above in LEARNED.items():
    stage(
        f"{_name}/phenotype_figures",
        group="phenotypes",
        dimensions=("organ",),
        table="phenotype_figures",
        inputs={
            "phenotype_selection": PHENOTYPES[_name].phenotype_selection,
            "edp_scores": PHENOTYPES[_name].edp_scores,
            "icd10_cases": cohort.icd10_cases,
            "icd10_codes": cohort.icd10_codes,
            "clusters": _above.clusters,
        },
        settings=("classifier", "clustering"),
        kinds={"matplotlib", "parquet"},
    )(phenotype_figures)
