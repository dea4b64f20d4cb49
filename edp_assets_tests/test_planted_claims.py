"""The claims can fail: each is tried on numbers for it and against it."""

from __future__ import annotations

import numpy as np
import pytest

from edp_assets_tests.planted_claims import (
    Claim,
    age_of,
    few_labels_of,
    larger_encoders_of,
    more_genes,
    share_explained,
)


def test_more_genes__than_each_of_volume_and_the_codes() -> None:
    found = {"edp": 9, "organ_volume": 0, "icd10_whole_cohort": 3, "untrained": 8}
    assert more_genes(found).holds
    assert "untrained 8" in more_genes(found).numbers
    for name in ("organ_volume", "icd10_whole_cohort", "icd10_imaging_cohort"):
        assert not more_genes({**found, name: 9}).holds


def test_age_of__beyond_chance_and_organs_that_do_not_are_named() -> None:
    def row(features: str, organ: str, low: float | None) -> dict[str, object]:
        return {"features": features, "organ": organ, "error": 6.0, "below": 0.3, "low": low, "high": 0.5}

    found = [row("organ_volume", "combined", None), row("mae", "combined", 0.1), row("video_mae", "combined", 0.2)]
    claim = age_of([*found, row("mae", "liver", -0.1)])
    assert claim.holds
    assert claim.numbers.endswith("not beyond chance: mae liver")
    assert age_of([*found[:2], row("video_mae", "combined", -0.01)]).holds is False
    assert age_of(found[:2]).holds is None


def test_few_labels_of__scores_without_a_gene_agree_on_nothing() -> None:
    alike = {"fraction": 0.2, "r": 0.98, "genes": 3, "genes_both": 3, "genes_few_shot": 3}
    nothing = {**alike, "genes": 0, "genes_both": 0, "genes_few_shot": 0}
    assert few_labels_of([alike, nothing]).holds
    assert str(few_labels_of([alike, nothing])).startswith("holds: 20% of the labels")
    assert "in 1 of 1 that hit any" in few_labels_of([alike, nothing]).numbers
    assert few_labels_of([nothing]).holds is None
    assert few_labels_of([alike, {**alike, "genes_few_shot": 4}]).holds is False
    assert few_labels_of([alike, {**nothing, "r": 0.5}]).holds is False
    assert few_labels_of([]).holds is None
    assert few_labels_of([alike, {**alike, "r": None}]).numbers.endswith("; 1 of which no label was kept")
    unknown = {**alike, "genes": None, "genes_both": None, "genes_few_shot": None}
    assert few_labels_of([unknown]) == Claim(few_labels_of([alike]).text, None, "1 scores, genes are not known")


def test_larger_encoders_of__the_largest_against_the_smallest_of_each_organ_where_genes_are_known() -> None:
    def row(size: str, genes: int | None, weights: str = "trained", organ: str = "liver") -> dict[str, object]:
        low, high = (None, None) if genes is None else (genes - 2.0, genes + 2.0)
        return {"size": size, "weights": weights, "organ": organ, "genes": genes, "genes_low": low, "genes_high": high,
                "associations": genes, "reason": "no table" if genes is None else None}  # fmt: skip

    claim = larger_encoders_of([row("S", 5), row("S", 0, "untrained"), row("L", 3), row("L", 0, "untrained")])
    assert claim.holds
    assert claim.numbers.startswith("liver ViT-S trained 5 (3.0 to 7.0) by 5 pairs, liver ViT-S untrained 0")
    assert (
        larger_encoders_of([row("S", 5), row("S", 5, organ="heart"), row("L", 5), row("L", 2, organ="heart")]).holds
        is False
    )
    assert larger_encoders_of([]) == Claim(claim.text, None, "[evidence] sizes is not set")
    assert larger_encoders_of([row("S", None), row("L", None)]) == Claim(claim.text, None, "2 of 2 encoders: no table")


def test_share_explained__of_a_planted_direction() -> None:
    rng = np.random.default_rng(0)
    factor = rng.normal(size=4000)
    z = np.outer(factor, [2.0, 0, 0]) + rng.normal(size=(4000, 3))
    assert share_explained(z, factor) == pytest.approx(4 / 7, abs=0.02)
    assert share_explained(rng.normal(size=(4000, 3)), factor) < 0.01


def test_claim__says_what_it_found() -> None:
    assert str(Claim("larger encoders do not lose", None, "none")) == "not tried: larger encoders do not lose (none)"
    assert str(Claim("a", False, "1 of 3")) == "does NOT hold: a (1 of 3)"
