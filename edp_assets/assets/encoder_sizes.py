"""Encoders of several sizes of one organ, from training to genes (paper, Table 6); off unless `[evidence] sizes` asks.

One asset trains them all and another counts what their phenotypes hit: as chains of their own they would double the
graph. Beside each stands one of its shape with weights as drawn. Phenotypes are selected as any EDP's are.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from edp_assets.assets import cohort, imaging
from edp_assets.assets.candidates import PreparedOrgan, classifier_row, cluster_rows
from edp_assets.assets.encoder_weights import CROPS_A_BATCH, fitted_crops, pixel_size, train_on_crops
from edp_assets.assets.encoders import TRAINED
from edp_assets.assets.genes import genes as genes_stage
from edp_assets.assets.genes import variant_to_gene as variant_to_gene_stage
from edp_assets.assets.people import ENROLLED, Enrolled, Sample, genotyped_sample
from edp_assets.assets.phenotypes import decide
from edp_assets.assets.stage import StageRun, stage
from edp_assets.science.evidence.paper import TABLE_6
from edp_assets.storage.lake import Stored, cell_of
from edp_assets.storage.schemas import empty
from edp_assets.storage.upstream import Partition, Partitions

log = logging.getLogger(__name__)

SCORES_AT_ONCE = 512
"""Phenotypes of one reading of the genotypes: of 45,714 people 190 MB."""
KEY = ("encoder", "icd10", "method", "cluster")
LABEL = {name: dtype for name, dtype in empty("gene_hits").schema.items() if name in KEY}
VARIANT = ("chromosome", "base_pair_location", "effect_allele", "other_allele", "rsid")


def size_embeddings(run: StageRun, masked_crops: Partition) -> Stored:
    """Every scan embedded by a masked autoencoder of each size, trained as `mae` is, and by one untrained."""
    settings, organ = run.workspace.settings, run["organ"]
    wanted = settings.evidence.sizes_organs
    sizes = settings.evidence.sizes if not wanted or organ in wanted else ()
    folder = run.workspace.checkpoints.folder(run.spec.asset, run.cell)

    def frames() -> Iterator[pl.DataFrame]:
        yield empty("size_embeddings")
        for size in sizes:
            yield from _of_size(run, masked_crops, size, folder)
        shutil.rmtree(folder, ignore_errors=True)

    return Stored(frames(), metadata={"sizes": ", ".join(sizes) or "none is asked for: [evidence] sizes"})


def _of_size(run: StageRun, masked_crops: Partition, size: str, folder: Path) -> Iterator[pl.DataFrame]:
    """Train one size, resuming after a kill, and yield its embeddings and those of an untrained one."""
    from edp_assets.science.encoders.checkpoints import untrained
    from edp_assets.science.encoders.embedding import embed_scans
    from edp_assets.science.encoders.team import best_device
    from edp_assets.science.encoders.train import Recipe
    from edp_assets.science.imaging.slices import cut

    settings, organ = run.workspace.settings, run["organ"]
    recipe = Recipe(settings.organs[organ], settings.mae.model_copy(update={"size": size}))
    config, pixel_mm = recipe.config(), pixel_size(masked_crops)
    shape, place = config.item_shape, folder / size
    place.mkdir(parents=True, exist_ok=True)

    trained, _ = train_on_crops(place, recipe, masked_crops, pixel_mm, f"{organ}, ViT-{size}")
    models = {"trained": trained.model(), "untrained": untrained(config, settings.untrained.seed)}
    for weights, model in models.items():
        crops = fitted_crops(masked_crops.batches(CROPS_A_BATCH), shape[-1], pixel_mm)
        scans = ((eid, cut(voxels, shape)) for eid, voxels in crops)
        embedded = list(embed_scans(model.to(best_device()), scans, recipe.encoder.embed_batch_size))
        z = pl.Series(np.stack([z for _, z in embedded]).astype(np.float32))
        label = {"size": size, "weights": weights, "organ": organ}
        yield pl.DataFrame({**label, "eid": [eid for eid, _ in embedded], "z": z})


def sizes(
    run: StageRun,
    size_embeddings: pl.DataFrame,
    icd10_codes: pl.DataFrame,
    icd10_cases: Partitions,
    variant_to_gene: Partition,
    genes: pl.DataFrame,
    **enrolled: pl.DataFrame,
) -> Stored:
    """What the phenotypes of each size of encoder hit, trained and not (Table 6)."""
    from edp_assets.science.evidence.counts import counts_by_organ, without_genes

    settings, unknown = run.workspace.settings, run.workspace.cohort.genes_unknown
    studied = icd10_codes.filter("studied")["icd10"].to_list()
    cases = {code: icd10_cases[cell]["eid"] for code in studied if (cell := cell_of({"icd10": code})) in icd10_cases}
    printed = {} if run.workspace.cohort.synthetic or run["organ"] != "liver" else TABLE_6
    rows: list[dict[str, Any]] = []
    for (size, weights), part in size_embeddings.group_by("size", "weights", maintain_order=True):
        embeddings = part.select("eid", "z")
        sample = genotyped_sample(run, embeddings, Enrolled(**enrolled), "evidence/sizes", run["organ"])
        labels, scores = _selected(run, embeddings, cases)
        hits = _hits(run, sample, labels, scores, embeddings["eid"])
        counts = counts_by_organ(
            pl.DataFrame(labels, schema=LABEL),
            _genes(run, hits, variant_to_gene, genes),
            _leads(run, hits),
            settings.association.neg_log_10_threshold,
            settings.evidence.locus_gap_kb,
        )
        label = {"size": size, "weights": weights, "organ": run["organ"], "dimensions": len(part["z"][0])}
        paper = printed.get(str(size)) if weights == "trained" else None
        none = {"phenotypes": 0, "genes": 0, "genes_low": 0.0, "associations": 0, "genes_corrected": 0, "loci": 0}
        found = counts.row(0, named=True) if counts.height else {**none, "genes_high": 0.0}
        found |= {"participants": sample.people.height, "paper_genes": paper, "reason": None}
        rows.append({**label, **found})
        hit = "unknown" if unknown else found["genes"]
        log.info("%s, ViT-%s %s: %s genes of %d phenotypes", run["organ"], size, weights, hit, len(labels))
    columns = empty("evidence_sizes").columns
    frame = pl.DataFrame([{name: row[name] for name in columns} for row in rows], schema=empty("evidence_sizes").schema)
    told = {"encoders": frame.height, **({"genes": unknown} if unknown else {})}
    return Stored(without_genes(frame, unknown), metadata=told)


def _selected(
    run: StageRun, embeddings: pl.DataFrame, cases: dict[str, pl.Series]
) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Return the selected phenotypes of every code and everybody's scores (n_participants, n_phenotypes)."""
    from edp_assets.science.phenotypes.clustering import cosine_distance
    from edp_assets.science.phenotypes.clusters import leiden_partition

    settings = run.workspace.settings
    organ = PreparedOrgan(embeddings, settings.classifier, settings.island)
    chosen = settings.clustering
    found = leiden_partition(organ.z, n_neighbors=chosen.n_neighbors, resolution=chosen.resolution, seed=chosen.seed)
    clusters = pl.DataFrame({"cluster": found.labels.astype(np.int32)})
    labels, scores = [], []
    for code, eids in cases.items():
        ill = embeddings["eid"].is_in(eids.implode()).to_numpy()
        for model in (classifier_row(organ, ill), *cluster_rows(organ.z, ill, clusters)):
            if not decide({"failure": None, **model}, settings)[0]:
                continue
            weights = np.array(model["weights"])
            classifier = model["method"] == "classifier"
            scores.append(organ.z @ weights if classifier else cosine_distance(organ.z, weights))
            labels.append(
                {"encoder": "size", "icd10": code, "method": model["method"], "cluster": model.get("cluster")}
            )
    return labels, np.column_stack(scores) if scores else np.empty((len(organ.z), 0))


def _hits(
    run: StageRun, sample: Sample, labels: list[dict[str, Any]], scores: np.ndarray, eids: pl.Series
) -> list[pl.DataFrame]:
    """Return the associated variants of each phenotype that has any, with its label."""
    from edp_assets.science.genetics.regression import associate_directly

    place = pl.DataFrame({"eid": eids, "row": np.arange(len(eids))})
    order = sample.people.select("eid").join(place, on="eid", how="left", maintain_order="left")["row"].to_numpy()
    threshold, found = run.workspace.settings.association.neg_log_10_threshold, []
    for first in range(0, len(labels), SCORES_AT_ONCE):
        Y = scores[order, first : first + SCORES_AT_ONCE]
        for chromosome in run.workspace.chromosomes:
            for variants, block in sample.blocks(run, chromosome, {}):
                p = associate_directly(block, Y, sample.covariates)[0].neg_log_10_p_value
                for k in np.flatnonzero((p > threshold).any(axis=1)):
                    rows = variants.select(VARIANT).with_columns(neg_log_10_p_value=pl.Series(p[k]))
                    label = {name: pl.lit(value, LABEL[name]) for name, value in labels[first + k].items()}
                    found.append(rows.filter(pl.col("neg_log_10_p_value") > threshold).with_columns(**label))
    return pl.concat(found).partition_by(KEY, maintain_order=True) if found else []


def _genes(run: StageRun, hits: list[pl.DataFrame], variant_to_gene: Partition, genes: pl.DataFrame) -> pl.DataFrame:
    from edp_assets.science.genetics.genes import assign_genes, candidates, gene_hits

    frames = [empty("gene_hits").select(*KEY, "gene", "neg_log_10_p_value")]
    for phenotype in hits:
        rows = candidates(phenotype, variant_to_gene.scan())
        found = gene_hits(assign_genes(phenotype, rows, genes, run.workspace.settings.genes.nearest_kb))
        label = phenotype.select(KEY).row(0, named=True)
        frames.append(
            found.select("gene", "neg_log_10_p_value").with_columns(
                **{k: pl.lit(v, LABEL[k]) for k, v in label.items()}
            )
        )
    return pl.concat(frames, how="diagonal_relaxed")


def _leads(run: StageRun, hits: list[pl.DataFrame]) -> pl.DataFrame:
    from edp_assets.science.genetics.loci import lead_variants

    chosen = run.workspace.settings.association
    columns = (*KEY, "chromosome", "locus_start", "locus_end")
    frames = [lead_variants(one, chosen.neg_log_10_threshold, chosen.locus_window_kb).select(columns) for one in hits]
    return pl.concat([empty("lead_variants").select(columns), *frames], how="diagonal_relaxed")


SIZE_EMBEDDINGS = stage(
    "evidence/size_embeddings",
    group="evidence",
    dimensions=("organ",),
    table="size_embeddings",
    inputs={"masked_crops": imaging.masked_crops},
    streamed=("masked_crops",),
    settings=(*TRAINED["mae"], "untrained", "evidence.sizes", "evidence.sizes_organs"),
    kinds={"torch", "parquet"},
    pool="encoders",
)(size_embeddings)

stage(
    "evidence/sizes",
    group="evidence",
    dimensions=("organ",),
    table="evidence_sizes",
    inputs={
        "size_embeddings": SIZE_EMBEDDINGS,
        "icd10_codes": cohort.icd10_codes,
        "icd10_cases": cohort.icd10_cases,
        "variant_to_gene": variant_to_gene_stage,
        "genes": genes_stage,
        **ENROLLED,
    },
    streamed=("variant_to_gene",),
    settings=("evidence", "classifier", "clustering", "association", "genes"),
    files=("genotypes", "synthetic", "genes_unknown"),
    gathers=True,
)(sizes)
