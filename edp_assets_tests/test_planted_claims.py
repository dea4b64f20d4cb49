"""The claims can fail: each is tried on numbers for it and against it."""

from __future__ import annotations

import numpy as np
import pytest

from edp_assets_tests.planted_claims import Claim, more_genes, share_explained


def test_more_genes__than_each_of_volume_and_the_codes() -> None:
    found = {"edp": 9, "organ_volume": 0, "icd10_whole_cohort": 3, "untrained": 8}
    assert more_genes(found).holds
    assert "untrained 8" in more_genes(found).numbers
    for name in ("organ_volume", "icd10_whole_cohort", "icd10_imaging_cohort"):
        assert not more_genes({**found, name: 9}).holds


def test_share_explained__of_a_planted_direction() -> None:
    rng = np.random.default_rng(0)
    factor = rng.normal(size=4000)
    z = np.outer(factor, [2.0, 0, 0]) + rng.normal(size=(4000, 3))
    assert share_explained(z, factor) == pytest.approx(4 / 7, abs=0.02)
    assert share_explained(rng.normal(size=(4000, 3)), factor) < 0.01


def test_claim__says_what_it_found() -> None:
    assert str(Claim("larger encoders do not lose", None, "none")) == "not tried: larger encoders do not lose (none)"
    assert str(Claim("a", False, "1 of 3")) == "does NOT hold: a (1 of 3)"
