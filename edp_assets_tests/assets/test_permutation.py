"""Scores of permuted labels: their counts, AUCs and selection, and a GWAS that is each score's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import chi2
from sklearn.metrics import roc_auc_score

from edp_assets.assets.candidates import PreparedOrgan
from edp_assets.assets.encoders import vectors
from edp_assets.assets.permutation import COUNTS, permuted_labels
from edp_assets.assets.stage import REGISTRY, StageRun
from edp_assets.storage.lake import cell_of
from edp_assets.storage.schemas import conform
from edp_assets.storage.upstream import Partition, Partitions
from edp_assets_tests.tiny_gwas import EIDS, N, Z, basis, projected, workspace, write_folder

ORGAN = cell_of({"organ": "liver"})
TOML = "threshold = 0.05\n[evidence]\npermutations = 7\nseed = 5\n[classifier]\nfolds = 4\n"


def test_permuted_labels__are_scored_and_associated_as_an_edp_is(tmp_path: Path) -> None:
    where = workspace(write_folder(tmp_path), TOML)
    # One person is outside the basis, and the others are in another order than in it.
    people, z = ["x", *EIDS[::-1]], np.vstack([np.zeros((1, 3)), Z[::-1]])
    embeddings = vectors(people, z, "mae", "liver").with_columns(adjustment=pl.lit("none"))
    settings = where.settings
    organ, rng = PreparedOrgan(embeddings, settings.classifier, settings.island), np.random.default_rng(5)
    counts = np.geomspace(8, (N + 1) // 5, COUNTS).astype(int)
    draws = []
    for draw in range(7):
        cases = np.zeros(N + 1, dtype=bool)
        cases[rng.choice(N + 1, counts[draw % COUNTS], replace=False)] = True
        draws.append((cases, organ.classifier.score(cases)))
    label = {"encoder": "mae", "organ": "liver", "icd10": "K76", "method": "clustering", "label_used": False}
    edps = [
        pl.DataFrame({**label, "cluster": k, "eid": people, "score": fit.score}, schema_overrides={"cluster": pl.Int32})
        for k, (_, fit) in enumerate(draws)
    ]
    statistics, _ = projected(where, pl.concat(edps))
    products = ("mae", "embedding_associations")
    stored = permuted_labels(
        StageRun(ORGAN, REGISTRY["mae", "permuted_labels"].spec, where),
        embeddings,
        basis(),
        Partitions(where.lake, products, where.lake.cells(products)),
        Partition(where.lake, ("mae", "loco_basis"), ORGAN),
    )
    found = conform(stored.frames, "permuted_labels")
    assert found["draw"].to_list() == list(range(7))
    assert found["cases"].to_list() == [*counts, *counts[:2]]
    for row, (cases, fit) in zip(found.iter_rows(named=True), draws, strict=True):
        assert row["roc_auc_in_sample"] == pytest.approx(roc_auc_score(cases, fit.score))
        assert row["roc_auc_out_of_fold"] == pytest.approx(fit.roc_auc_out_of_fold)
        enough = fit.roc_auc_out_of_fold >= 0.6 and 10.0**-fit.neg_log_10_p_rank_sum <= 0.01
        assert row["selected"] == enough
        p = statistics.filter(cluster=row["draw"])["neg_log_10_p_value"].to_numpy()
        assert row["variants_associated"] == (10.0**-p < 0.05).sum()
        assert row["lambda_gc"] == pytest.approx(chi2.isf(10.0 ** -np.median(p), 1) / chi2.isf(0.5, 1), rel=1e-3)
    assert found["variants_associated"].sum() > 0
    assert stored.metadata["selected"] == found["selected"].sum()
    assert stored.metadata["mean_roc_auc_in_sample"] == pytest.approx(found["roc_auc_in_sample"].mean(), abs=1e-4)


def test_permuted_labels__of_too_few_people_are_none(tmp_path: Path) -> None:
    where = workspace(write_folder(tmp_path), TOML)
    embeddings = vectors(EIDS[:40], Z[:40], "mae", "liver")  # a fifth of them are twice the folds
    run = StageRun(ORGAN, REGISTRY["mae", "permuted_labels"].spec, where)
    nothing = Partitions(where.lake, ("mae", "embedding_associations"), [])
    stored = permuted_labels(run, embeddings, basis(), nothing, Partition(where.lake, ("mae", "loco_basis"), ORGAN))
    assert (stored.frames.height, stored.metadata) == (0, {"draws": 0, "selected": 0})
