"""Phenotypes made again from a few of a code's labels (paper, section 4.4), their GWAS, and how they compare.

Which phenotypes are made is told by the selection on all labels; a label that is not kept counts as none, as in life.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import polars as pl

from edp_assets.assets import cohort
from edp_assets.assets.album import Album, phenotype_title
from edp_assets.assets.association import ASSOCIATIONS, GWAS, gwas_summary_stats
from edp_assets.assets.association_figures import DRAWN
from edp_assets.assets.candidates import classifier_row, cluster_row, prepared_organ
from edp_assets.assets.encoders import LEARNED
from edp_assets.assets.hits import hit_stages, people_of_basis
from edp_assets.assets.phenotypes import CELL, PHENOTYPES, score_frame
from edp_assets.assets.stage import StageRun, stage
from edp_assets.storage.columns import of_phenotype
from edp_assets.storage.lake import Stored
from edp_assets.storage.schemas import empty
from edp_assets.storage.upstream import Partition

GROUP = "few_shot"
KEY = ["method", "cluster"]
VARIANT = ["chromosome", "base_pair_location", "effect_allele", "other_allele"]


def few_shot_phenotype_models(
    run: StageRun,
    phenotype_selection: pl.DataFrame,
    adjusted_embeddings: pl.DataFrame,
    clusters: pl.DataFrame,
    icd10_cases: pl.DataFrame,
) -> Stored:
    """Every selected phenotype of the cell, trained anew on the labels that are kept."""
    organ = prepared_organ(adjusted_embeddings, run.workspace.settings)
    kept = _kept(run, adjusted_embeddings["eid"], icd10_cases["eid"])
    label = {"encoder": run.encoder, "organ": run["organ"], "icd10": run["icd10"]}
    rows: list[dict[str, Any]] = []
    for method, cluster in phenotype_selection.filter("selected").select(KEY).iter_rows():
        if method == "classifier":
            rows.append(classifier_row(organ, kept))
        elif method == "clustering":
            inside = clusters["cluster"].to_numpy() == cluster
            rows.append({**cluster_row(organ.z, kept & inside, cluster), "controls": int((inside & ~kept).sum())})
        else:
            rows.append(
                {
                    "method": method,
                    "cluster": cluster,
                    "cases": int(kept.sum()),
                    "controls": int((~kept).sum()),
                    "failure": "islands are found by their labels: few-shot is for classifier and clustering",
                }
            )
    frame = pl.DataFrame([{**label, **row} for row in rows], schema=empty("few_shot_phenotype_models").schema)
    return Stored(frame, metadata={"labels_kept": int(kept.sum()), "phenotypes": len(rows)})


def _kept(run: StageRun, people: pl.Series, cases: pl.Series) -> np.ndarray:
    """Return whose label is kept among the people with an embedding (n_participants,)."""
    from edp_assets.science.phenotypes.few_shot import keep_labels

    settings = run.workspace.settings.few_shot
    kept = people.is_in(cases.implode()).to_numpy()
    positives = people.filter(pl.Series(kept)).to_list()
    if positives:
        kept[kept] = keep_labels(positives, settings.fraction, settings.seed)
    return kept


def few_shot_edp_scores(
    run: StageRun, few_shot_phenotype_models: pl.DataFrame, adjusted_embeddings: pl.DataFrame
) -> Stored:
    """Each few-shot phenotype of everyone, kept label or not."""
    models = few_shot_phenotype_models.filter(pl.col("failure").is_null())
    reasons = few_shot_phenotype_models["failure"].drop_nulls().unique(maintain_order=True).to_list()
    organ = prepared_organ(adjusted_embeddings, run.workspace.settings)
    frame = score_frame(models, organ, "few_shot_edp_scores")
    return Stored(frame, metadata={"phenotypes": models.height, "not_made": "; ".join(reasons)})


def few_shot_comparison(
    run: StageRun,
    phenotype_selection: pl.DataFrame,
    few_shot_phenotype_models: pl.DataFrame,
    edp_scores: pl.DataFrame,
    few_shot_edp_scores: pl.DataFrame,
    gwas: Partition,
    few_shot_gwas: Partition,
    gene_hits: pl.DataFrame,
    few_shot_gene_hits: pl.DataFrame,
) -> Stored:
    """Few-shot phenotypes beside those of all labels: scores, -log10 p over variants, genes (paper, Figure 6)."""
    settings, unknown = run.workspace.settings.few_shot, run.workspace.cohort.genes_unknown
    rows = []
    for model in few_shot_phenotype_models.iter_rows(named=True):
        of = pl.all_horizontal(pl.col(key).eq_missing(pl.lit(model[key])) for key in KEY)
        full_genes, few_genes = gene_hits.filter(of), few_shot_gene_hits.filter(of)
        genes, few = (set(hits["gene"].drop_nulls()) for hits in (full_genes, few_genes))
        row = {
            **{key: model[key] for key in ("encoder", "organ", "icd10", *KEY)},
            "fraction": settings.fraction,
            "seed": settings.seed,
            "cases": phenotype_selection.filter(of)["cases"].item(),
            "cases_kept": model["cases"],
            "genes": None if unknown else len(genes),
            "genes_few_shot": None if unknown else len(few),
            "genes_both": None if unknown else len(genes & few),
            "reason": model["failure"],
            "genes_reason": unknown or None,
        }
        if model["failure"] is None:
            pair = edp_scores.filter(of).join(few_shot_edp_scores.filter(of), on="eid", suffix="_few")
            row["pearson_r_score"] = _pearson_r(pair["score"], pair["score_few"])
            columns = [*VARIANT, "neg_log_10_p_value"]
            full_p, few_p = (p.scan().filter(of).select(columns).collect() for p in (gwas, few_shot_gwas))
            both = full_p.join(few_p, on=VARIANT, suffix="_few", maintain_order="left")
            row["pearson_r_neg_log_10_p"] = _pearson_r(both["neg_log_10_p_value"], both["neg_log_10_p_value_few"])
        rows.append(row)
    frame = pl.DataFrame(rows, schema=empty("few_shot_comparison").schema)
    return Stored(frame, metadata={"phenotypes": frame.height})


def few_shot_figures(
    run: StageRun,
    phenotype_selection: pl.DataFrame,
    few_shot_phenotype_models: pl.DataFrame,
    gwas: Partition,
    few_shot_gwas: Partition,
    gene_hits: pl.DataFrame,
    few_shot_gene_hits: pl.DataFrame,
) -> Stored:
    """The Manhattan plots of the cell's strongest phenotype, of few labels and of all (Figure 6)."""
    from edp_assets.figures.association import Panel, stacked_manhattans

    settings = run.workspace.settings
    album = Album(run, (run["organ"], run["icd10"], GROUP), ("icd10",))
    model = strongest(few_shot_phenotype_models, gene_hits)
    if model is not None:
        of = of_phenotype(model["method"], model["cluster"])
        few, every = (p.scan().filter(of).select(DRAWN).collect() for p in (few_shot_gwas, gwas))
        cases = phenotype_selection.filter(of)["cases"].item()
        kept = f"labels kept: {model['cases']} ({100 * settings.few_shot.fraction:g}% of the code's)"
        panels = [
            Panel(kept, few, few_shot_gene_hits.filter(of)),
            Panel(f"all labels: {cases}", every, gene_hits.filter(of)),
        ]
        title = phenotype_title(run, model["method"], model["cluster"])
        album.add(
            "figure_6", partial(stacked_manhattans, panels, settings.association.threshold, title), icd10=run["icd10"]
        )
    return album.stored()


def strongest(models: pl.DataFrame, gene_hits: pl.DataFrame) -> dict[str, Any] | None:
    """Return the model that was made whose genes are hit most clearly; None where none was made."""
    best = gene_hits.group_by(KEY).agg(pl.col("neg_log_10_p_value").max())
    ordered = models.filter(pl.col("failure").is_null()).join(
        best, on=KEY, how="left", nulls_equal=True, maintain_order="left"
    )
    ordered = ordered.sort("neg_log_10_p_value", descending=True, nulls_last=True, maintain_order=True)
    return ordered.row(0, named=True) if ordered.height else None


def _pearson_r(a: pl.Series, b: pl.Series) -> float | None:
    """Return the correlation, or None where one of them does not vary."""
    if a.len() < 2 or a.n_unique() < 2 or b.n_unique() < 2:
        return None
    return float(np.corrcoef(a.to_numpy(), b.to_numpy())[0, 1])


def few_shot_stages(name: str) -> None:
    """Define the few-shot stages of one encoder."""
    above, phenotypes, association = LEARNED[name], PHENOTYPES[name], ASSOCIATIONS[name]
    options: dict[str, Any] = {"group": GROUP, "dimensions": CELL}
    adjusted = {"adjusted_embeddings": above.adjusted_embeddings}
    selection = {"phenotype_selection": phenotypes.phenotype_selection}
    models = stage(
        f"{name}/few_shot_phenotype_models",
        **options,
        table="few_shot_phenotype_models",
        inputs={**selection, **adjusted, "clusters": above.clusters, "icd10_cases": cohort.icd10_cases},
        settings=("few_shot", "classifier"),
    )(few_shot_phenotype_models)
    scores = stage(
        f"{name}/few_shot_edp_scores",
        **options,
        table="few_shot_edp_scores",
        inputs={"few_shot_phenotype_models": models, **adjusted},
    )(few_shot_edp_scores)
    statistics = stage(
        f"{name}/few_shot_gwas_summary_stats",
        **GWAS,
        group=GROUP,
        table="few_shot_gwas_summary_stats",
        inputs={
            "edp_scores": scores,
            "association_basis": association.association_basis,
            "embedding_associations": association.embedding_associations,
            "loco_basis": association.loco_basis,
        },
    )(gwas_summary_stats)
    _, hits = hit_stages(statistics, GROUP, {"association_basis": association.association_basis}, people_of_basis)
    drawn = {
        **selection,
        "few_shot_phenotype_models": models,
        "gwas": association.gwas_summary_stats,
        "few_shot_gwas": statistics,
        "gene_hits": association.gene_hits,
        "few_shot_gene_hits": hits,
    }
    stage(
        f"{name}/few_shot_comparison",
        **options,
        table="few_shot_comparison",
        inputs={**drawn, "edp_scores": phenotypes.edp_scores, "few_shot_edp_scores": scores},
        streamed=("gwas", "few_shot_gwas"),
        settings=("few_shot",),
        files=("genes_unknown",),
    )(few_shot_comparison)
    stage(
        f"{name}/few_shot_figures",
        **options,
        table="paper_figures",
        inputs=drawn,
        streamed=("gwas", "few_shot_gwas"),
        settings=("few_shot", "association"),
        kinds={"matplotlib", "parquet"},
    )(few_shot_figures)


for _name in LEARNED:
    few_shot_stages(_name)
