"""The null of classifier-guided EDPs: scores of permuted labels, what they predict and what they associate with.

A permuted label knows nothing, so its score is some direction of the embeddings that the labels fitted by chance. What
such scores reach of AUC and selection is chance; in-sample AUC is what labels leak into a score; their lambda GC and
hits are those of directions in general, to hold an EDP's against: genes that move the whole organ may show in them.
Labels have counts over the range that codes have, and are no code's: a changed diagnosis does not touch this stage.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from edp_assets.assets.association import ASSOCIATIONS, VARIANTS_A_FRAME
from edp_assets.assets.candidates import prepared_organ
from edp_assets.assets.encoders import LEARNED, matrix
from edp_assets.assets.loco import sums_of_squares
from edp_assets.assets.stage import StageRun, stage
from edp_assets.storage.lake import Stored
from edp_assets.storage.schemas import empty
from edp_assets.storage.upstream import Partition, Partitions

COUNTS = 5
"""Numbers of cases that are tried, from twice the folds to a fifth of the people."""
LAMBDA_VARIANTS = 200_000
"""Variants, evenly over the genome, that lambda GC is the median of."""


def permuted_labels(
    run: StageRun,
    adjusted_embeddings: pl.DataFrame,
    association_basis: pl.DataFrame,
    embedding_associations: Partitions,
    loco_basis: Partition,
) -> Stored:
    """Classifier-guided scores of permuted labels: what chance reaches of AUC, selection and association."""
    from edp_assets.science.phenotypes.discriminant import roc_auc
    from edp_assets.science.phenotypes.selection import select_classifier

    settings = run.workspace.settings
    organ, people = prepared_organ(adjusted_embeddings, settings), adjusted_embeddings["eid"]
    rng = np.random.default_rng(settings.evidence.seed)
    fewest, most = 2 * settings.classifier.folds, people.len() // 5
    counts = np.geomspace(fewest, most, COUNTS).astype(int) if fewest < most else np.array([], dtype=int)
    rows: list[dict[str, Any]] = []
    scores = []
    for draw in range(settings.evidence.permutations if len(counts) else 0):
        n_cases = int(counts[draw % COUNTS])
        cases = np.zeros(people.len(), dtype=bool)
        cases[rng.choice(people.len(), n_cases, replace=False)] = True
        fit = organ.classifier.score(cases)
        evidence = fit.roc_auc_out_of_fold, fit.neg_log_10_p_rank_sum
        rows.append(
            {
                "encoder": run.encoder,
                "organ": run["organ"],
                "draw": draw,
                "cases": n_cases,
                "roc_auc_out_of_fold": evidence[0],
                "roc_auc_in_sample": float(roc_auc(fit.score, cases)),
                "neg_log_10_p_rank_sum": evidence[1],
                "selected": select_classifier(*evidence, settings.classifier)[0],
            }
        )
        scores.append(fit.score)
    if rows:
        table = pl.DataFrame({"eid": people, "row": np.arange(people.len())})
        order = association_basis.select("eid").join(table, on="eid", how="left", maintain_order="left")["row"]
        stored = association_basis, embedding_associations, loco_basis
        found = _associations(run, np.column_stack(scores)[order.to_numpy()], *stored)
        rows = [{**row, **of_draw} for row, of_draw in zip(rows, found, strict=True)]
    frame = pl.DataFrame(rows, schema=empty("permuted_labels").schema)
    summary: dict[str, Any] = {"draws": frame.height, "selected": int(frame["selected"].sum())}
    for name in ("roc_auc_out_of_fold", "roc_auc_in_sample") if frame.height else ():
        summary[f"mean_{name}"] = round(float(frame[name].to_numpy().mean()), 4)
    return Stored(frame, metadata=summary)


def _associations(
    run: StageRun,
    scores: np.ndarray,
    association_basis: pl.DataFrame,
    embedding_associations: Partitions,
    loco_basis: Partition,
) -> list[dict[str, float | int]]:
    """Return lambda GC and the number of associated variants of each score (n_participants, n_draws)."""
    from edp_assets.science.genetics.calibration import lambda_gc
    from edp_assets.science.genetics.projection import associate, score_coordinates

    basis, covariates = matrix(association_basis, "basis"), matrix(association_basis, "covariates")
    c, yy, _ = score_coordinates(scores, basis, covariates)
    offset_yy = sums_of_squares(loco_basis, c)
    total = sum(embedding_associations.partition(cell).rows for cell in embedding_associations)
    every = max(1, total // LAMBDA_VARIANTS)
    threshold = run.workspace.settings.association.neg_log_10_threshold
    hits = np.zeros(scores.shape[1], dtype=np.int64)
    sampled = []
    for cell in embedding_associations:
        for products in embedding_associations.partition(cell).batches(VARIANTS_A_FRAME):
            gz, gg = matrix(products, "products"), products["genotype_ss"].to_numpy()
            yy_here = offset_yy.get(dict(cell)["chromosome"], yy)
            p = associate(gz, gg, c, yy_here, len(basis), covariates.shape[1]).neg_log_10_p_value
            hits += (p > threshold).sum(axis=1)
            sampled.append(p[:, ::every].astype(np.float32))
    values = np.concatenate(sampled, axis=1)
    return [
        {"lambda_gc": lambda_gc(of_draw), "variants_associated": int(n)}
        for of_draw, n in zip(values, hits, strict=True)
    ]


for _name, _above in LEARNED.items():
    stage(
        f"{_name}/permuted_labels",
        group="evidence",
        dimensions=("organ",),
        table="permuted_labels",
        inputs={
            "adjusted_embeddings": _above.adjusted_embeddings,
            "association_basis": ASSOCIATIONS[_name].association_basis,
            "embedding_associations": ASSOCIATIONS[_name].embedding_associations,
            "loco_basis": ASSOCIATIONS[_name].loco_basis,
        },
        streamed=("loco_basis",),
        optional=("loco_basis",),
        settings=("evidence", "classifier", "association"),
    )(permuted_labels)
