"""Embeddings that have collapsed fail, however; embeddings that tell scans apart pass."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from edp_assets.graph import graph
from edp_assets.science.encoders.quality import effective_rank, spread
from edp_assets.storage.verdicts import Verdicts
from edp_assets_tests.checks.planted import LIVER, planted, store, table

assert graph
ASSET = ("mae", "embeddings")
N, DIMS = 300, 32
RNG = np.random.default_rng(0)
ONE = RNG.normal(size=DIMS)
SOUND = ONE + 0.02 * RNG.normal(size=(N, DIMS))


def failed(root: Path, z: np.ndarray, checks: str = "") -> list[str]:
    workspace = planted(root, checks)
    store(workspace, ASSET, LIVER, table("embeddings", len(z), z=z.astype(np.float32).tolist()))
    return [str(hold) for hold in Verdicts(workspace).holds(ASSET, LIVER)]


def with_nan(z: np.ndarray) -> np.ndarray:
    return np.where(np.arange(len(z))[:, None] == 7, np.nan, z)


@pytest.mark.parametrize(
    ("z", "told"),
    [
        (np.tile(ONE, (N, 1)), "32 of 32 dimensions are the same"),
        (ONE * (1 + 1e-5 * RNG.normal(size=(N, DIMS))), "similarity of two scans is 1 - 9.*e-11; at most 1 - 1e-06"),
        (ONE + RNG.normal(size=(N, 1)) * RNG.normal(size=DIMS), r"1\.0 of 32 dimensions are in use; at least 3"),
        (SOUND * (np.arange(DIMS) > 4), "5 of 32 dimensions are the same in all 300 scans"),
        (with_nan(SOUND), "32 values of 300 scans are no number"),
        (np.where(SOUND.max() - 1e-9 < SOUND, np.inf, SOUND), "1 values of 300 scans are no number"),
    ],
)  # fmt: skip
def test_embedding_collapse__fails(z: np.ndarray, told: str, tmp_path: Path) -> None:
    holds = failed(tmp_path, z)
    assert any(re.search(told, hold) for hold in holds), holds
    assert all("mae/embeddings [liver]: check embedding_collapse failed" in hold for hold in holds)
    assert all("To do: " in hold for hold in holds)


def test_embedding_collapse__sound_ones_pass_and_thresholds_decide(tmp_path: Path) -> None:
    assert failed(tmp_path / "sound", SOUND) == []
    assert failed(tmp_path / "one", SOUND[:1]) == []
    assert failed(tmp_path / "none", SOUND[:0]) == []
    (hold,) = failed(tmp_path / "strict", SOUND, "[checks.embedding_collapse]\nmin_effective_rank = 32")
    assert "change [checks.embedding_collapse] min_effective_rank" in hold
    warned = "[checks.embedding_collapse]\nmin_effective_rank = 32\nseverity = 'warn'"
    assert failed(tmp_path / "warn", SOUND, warned) == []


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_spread__is_that_of_the_whole_matrix(offset: float) -> None:
    z = offset + SOUND * np.arange(1, DIMS + 1)
    found = spread(iter([z[:100], z[100:101], z[101:]]))
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    pairs = (unit @ unit.T)[np.triu_indices(N, 1)]
    assert (found.participants, found.dimensions, found.constant, found.not_finite) == (N, DIMS, 0, 0)
    assert found.effective_rank == pytest.approx(effective_rank(z), rel=1e-6)
    assert 1 - found.cosine_similarity == pytest.approx(np.mean(1 - pairs), rel=1e-6, abs=1e-12)
