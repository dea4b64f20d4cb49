"""What adjustment does to a score's genes (paper, 4.3): its GWAS before and after, one above the other (Figure 5).

A score of embeddings that nothing was regressed out of lies outside the association basis, so that its GWAS reads the
genotypes: it is made for the few codes of `[evidence] unadjusted_codes`, in the organs that are adjusted.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import polars as pl

from edp_assets.assets import cohort
from edp_assets.assets.album import Album
from edp_assets.assets.association import ASSOCIATIONS, quantitative_statistics
from edp_assets.assets.association_figures import DRAWN
from edp_assets.assets.candidates import PreparedOrgan, classifier_row
from edp_assets.assets.encoders import LEARNED
from edp_assets.assets.hits import hit_stages, people_of_basis
from edp_assets.assets.people import Sample
from edp_assets.assets.phenotypes import CELL, decide, score_frame
from edp_assets.assets.stage import StageRun, stage
from edp_assets.storage.columns import of_phenotype
from edp_assets.storage.lake import Stored
from edp_assets.storage.schemas import empty
from edp_assets.storage.upstream import Partition

GROUP = "adjustment"
METHOD = "classifier"
NOT_ADJUSTED = "nothing is regressed out of the organ's embeddings: adjust_for is empty"
OF = of_phenotype(METHOD, None)
PLACE = ("chromosome", "base_pair_location", "rsid")


def unadjusted_gwas_summary_stats(
    run: StageRun,
    embeddings: pl.DataFrame,
    adjusted_embeddings: Partition,
    association_basis: pl.DataFrame,
    icd10_cases: pl.DataFrame,
) -> Stored:
    """The GWAS of the code's classifier-guided score before adjustment; people and covariates are those of after."""
    settings = run.workspace.settings
    if not settings.organs[run["organ"]].adjust_for:
        return _skipped(NOT_ADJUSTED)
    people = embeddings.join(adjusted_embeddings.columns("eid"), on="eid", how="semi", maintain_order="left")
    organ = PreparedOrgan(people, settings.classifier, settings.island)
    row = classifier_row(organ, people["eid"].is_in(icd10_cases["eid"].implode()).to_numpy())
    if failure := row.get("failure"):
        return _skipped(f"no classifier-guided score before adjustment: {failure}")
    label = {"encoder": run.encoder, "organ": run["organ"], "icd10": run["icd10"], "method": METHOD, "cluster": None}
    model = pl.DataFrame([{**label, **row}], schema=empty("phenotype_models").schema)
    selected, reason = decide(model.row(0, named=True), settings)
    told = {"selected": selected, "reason": reason, "participants": association_basis.height}
    stored = Stored((), metadata=told)
    scores = score_frame(model, organ, "edp_scores").select("eid", "score")
    y = association_basis.select("eid").join(scores, on="eid", how="left", maintain_order="left")["score"].to_numpy()

    def frames() -> Iterator[Any]:
        yield empty(run.spec.table)
        sample = Sample.of_basis(association_basis)
        yield from quantitative_statistics(run, sample, y[:, None], [label], stored.metadata)

    stored.frames = frames()
    return stored


def _skipped(reason: str) -> Stored:
    return Stored(empty("unadjusted_gwas_summary_stats"), metadata={"skipped": reason}, notes={"skipped": reason})


NOT_SELECTED = "the score of the adjusted embeddings is not selected for a GWAS: phenotype_selection says why"


def adjustment_genes(
    run: StageRun, unadjusted_gwas: Partition, gwas: Partition, unadjusted_hits: pl.DataFrame, hits: pl.DataFrame
) -> Stored:
    """The genes that the classifier-guided score hits before or after adjustment, and what is left of them."""
    if skipped := unadjusted_gwas.notes.get("skipped"):
        return Stored(empty("adjustment_genes"), metadata={"skipped": skipped})
    label = {"encoder": run.encoder, "organ": run["organ"], "icd10": run["icd10"], "method": METHOD}
    before, after = (found.filter(OF).drop_nulls("gene") for found in (unadjusted_hits, hits))
    strongest = pl.concat([before, after]).sort("neg_log_10_p_value", descending=True, maintain_order=True)
    genes = strongest.unique("gene", keep="first", maintain_order=True).select("gene", "gene_id", *PLACE)
    for name, statistics, found in (("before", unadjusted_gwas, before), ("after", gwas, after)):
        p = _largest_p(statistics, genes).rename({"neg_log_10_p_value": f"neg_log_10_p_{name}"})
        genes = genes.join(p, on=PLACE, how="left", maintain_order="left").with_columns(
            pl.col("gene").is_in(found["gene"].implode()).alias(f"hit_{name}")
        )
    factors = ",".join(run.workspace.settings.organs[run["organ"]].adjust_for)
    associated = not gwas.scan().filter(OF).select(PLACE).head(1).collect().is_empty()
    named = {**label, "adjustment": factors, "reason": None if associated else NOT_SELECTED}
    columns = {name: pl.lit(value, pl.String) for name, value in named.items()}
    frame = genes.with_columns(**columns, cluster=pl.lit(None, pl.Int32))
    counts = {"gone": pl.col("hit_before") & ~pl.col("hit_after"), "kept": pl.col("hit_before") & pl.col("hit_after"),
              "new": ~pl.col("hit_before") & pl.col("hit_after")}  # fmt: skip
    told = frame.select(of.sum().alias(name) for name, of in counts.items()).row(0, named=True)
    told |= {} if associated else {"after": NOT_SELECTED}
    return Stored(frame.select(empty("adjustment_genes").columns), metadata=told)


def _largest_p(statistics: Partition, genes: pl.DataFrame) -> pl.DataFrame:
    """Return the -log10 p of the genes' variants in the score's GWAS; variants of one place and name count once."""
    of_genes = statistics.scan().filter(OF).join(genes.lazy(), on=PLACE, how="semi")
    return of_genes.group_by(PLACE).agg(pl.col("neg_log_10_p_value").max()).collect()


def adjustment_figures(
    run: StageRun, unadjusted_gwas: Partition, gwas: Partition, unadjusted_hits: pl.DataFrame, hits: pl.DataFrame
) -> Stored:
    """The Manhattan plots of the classifier-guided score before and after adjustment (Figure 5)."""
    from edp_assets.figures.association import Panel, stacked_manhattans

    settings = run.workspace.settings
    album = Album(run, (run["organ"], run["icd10"], GROUP), ("icd10",))
    stored = {f"{when} adjustment": gwas_of.scan().filter(OF).select(DRAWN).collect()
              for when, gwas_of in (("before", unadjusted_gwas), ("after", gwas))}  # fmt: skip
    if stored["before adjustment"].height:
        panels = [
            Panel(name if rows.height else f"{name}: not selected for a GWAS", rows, found.filter(OF))
            for (name, rows), found in zip(stored.items(), (unadjusted_hits, hits), strict=True)
        ]
        factors = ", ".join(settings.organs[run["organ"]].adjust_for)
        title = f"{run['organ']}, {run['icd10']}, {METHOD}-guided score ({run.encoder}), adjusted for {factors}"
        drawn = partial(stacked_manhattans, panels, settings.association.threshold, title)
        album.add("figure_5", drawn, icd10=run["icd10"])
    return album.stored()


def adjustment_stages(name: str) -> None:
    """Define the stages of one encoder."""
    above, association = LEARNED[name], ASSOCIATIONS[name]
    basis = {"association_basis": association.association_basis}
    statistics = stage(
        f"{name}/unadjusted_gwas_summary_stats",
        group=GROUP,
        dimensions=CELL,
        table="unadjusted_gwas_summary_stats",
        inputs={
            "embeddings": above.embeddings,
            "adjusted_embeddings": above.adjusted_embeddings,
            **basis,
            "icd10_cases": cohort.icd10_cases,
        },
        streamed=("adjusted_embeddings",),
        settings=("organ.adjust_for", "classifier", "association", "engine"),
        files=("genotypes", "step1_genotypes"),
    )(unadjusted_gwas_summary_stats)
    _, hits = hit_stages(statistics, GROUP, basis, people_of_basis)
    compared: dict[str, Any] = {
        "group": GROUP,
        "dimensions": CELL,
        "inputs": {
            "unadjusted_gwas": statistics,
            "gwas": association.gwas_summary_stats,
            "unadjusted_hits": hits,
            "hits": association.gene_hits,
        },
        "streamed": ("unadjusted_gwas", "gwas"),
    }
    stage(
        f"{name}/adjustment_genes",
        table="adjustment_genes",
        settings=("organ.adjust_for",),
        code_version="2",
        **compared,
    )(adjustment_genes)
    stage(
        f"{name}/adjustment_figures",
        table="paper_figures",
        settings=("organ.adjust_for", "association"),
        kinds={"matplotlib", "parquet"},
        **compared,
    )(adjustment_figures)


for _name in LEARNED:
    adjustment_stages(_name)
