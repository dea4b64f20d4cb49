"""Adjustment as assets: what is kept in the lake is what is taken away, and who lacks a factor is counted."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from edp_assets.assets.encoders import adjusted_embeddings, adjustment_factors, matrix, vectors
from edp_assets.assets.stage import REGISTRY, StageRun
from edp_assets.science.phenotypes.adjustment import adjust_embeddings, embedding_components
from edp_assets.settings import OrganSettings
from edp_assets.storage.schemas import conform

N, D = 120, 6
EIDS = [f"{i:03d}" for i in range(N)]


def run_of(stage: str, *adjust_for: str) -> StageRun:
    settings = SimpleNamespace(organs={"brain": OrganSettings(adjust_for=adjust_for)})
    workspace = SimpleNamespace(settings=settings)
    return StageRun((("organ", "brain"),), REGISTRY["mae", stage].spec, workspace)


@pytest.fixture
def embeddings() -> pl.DataFrame:
    return vectors(EIDS, np.random.default_rng(0).normal(2, 3, (N, D)), "mae", "brain")


@pytest.fixture
def factor_values() -> pl.DataFrame:
    """Density of all but three; centre of all but two, in another order, and of people without a scan."""
    rng = np.random.default_rng(1)
    centre = pl.DataFrame({"eid": [*EIDS[:-2], "elsewhere"], "level": rng.choice(["a", "b", "c"], N - 1)})
    density = pl.DataFrame({"eid": EIDS[3:], "value": rng.normal(1, 0.2, N - 3)})
    both = [density.with_columns(factor=pl.lit("bmd")), centre.reverse().with_columns(factor=pl.lit("centre"))]
    return conform(pl.concat(both, how="diagonal").with_columns(organ=pl.lit("brain")), "factor_values")


def made(embeddings: pl.DataFrame, values: pl.DataFrame, *adjust_for: str) -> tuple[pl.DataFrame, pl.DataFrame, list]:
    factors = conform(
        adjustment_factors(run_of("adjustment_factors", *adjust_for), embeddings, values).frames, "adjustment_factors"
    )
    stored = adjusted_embeddings(run_of("adjusted_embeddings", *adjust_for), embeddings, values, factors)
    return factors, conform(stored.frames, "adjusted_embeddings"), stored.excluded


def test_adjusted_embeddings__are_less_what_adjustment_factors_keeps(embeddings, factor_values) -> None:
    factors, adjusted, excluded = made(embeddings, factor_values, "centre", "embedding_pc1", "bmd")
    assert adjusted["eid"].to_list() == EIDS[3:-2]
    assert adjusted["adjustment"].unique().to_list() == ["centre,embedding_pc1,bmd"]
    assert [(e.eid, e.reason) for e in excluded] == [
        (eid, "missing adjustment factor") for eid in [*EIDS[:3], *EIDS[-2:]]
    ]
    people = embeddings.filter(pl.col("eid").is_in(adjusted["eid"].implode()))
    z = matrix(people)
    of = {
        name: adjusted.select("eid").join(factor_values.filter(factor=name), on="eid", maintain_order="left")
        for name in ("centre", "bmd")
    }
    values = {
        "bmd": of["bmd"]["value"].to_numpy(),
        "centre": of["centre"]["level"].to_numpy(),
        "embedding_pc1": embedding_components(z, 1)[:, 0],
    }
    expected = adjust_embeddings(z, values)
    np.testing.assert_allclose(matrix(adjusted), expected.z, rtol=1e-5, atol=1e-6)
    assert factors.select("factor", "level").rows() == [
        ("centre", "a"), ("centre", "b"), ("centre", "c"), ("embedding_pc1", None), ("bmd", None)
    ]  # fmt: skip
    assert factors["n"].unique().to_list() == [N - 5]
    for name, share in expected.variance_explained.items():
        np.testing.assert_allclose(factors.filter(factor=name)["variance_explained"], share, rtol=1e-10)
    np.testing.assert_allclose(factors["variance_removed"], expected.variance_removed, rtol=1e-10)
    np.testing.assert_allclose(
        matrix(factors.filter(factor="bmd"), "coefficients"), expected.coefficients["bmd"], rtol=1e-8
    )


def test_adjusted_embeddings__without_factors_are_the_embeddings(embeddings, factor_values) -> None:
    factors, adjusted, excluded = made(embeddings, factor_values.clear())
    assert (factors.height, excluded) == (0, [])
    assert adjusted["z"].equals(embeddings["z"])
    assert adjusted["adjustment"].unique().to_list() == ["none"]


def test_adjustment_factors__nobody_with_all_factors_is_told(embeddings, factor_values) -> None:
    strangers = factor_values.with_columns(eid=pl.lit("x") + pl.col("eid"))
    with pytest.raises(ValueError, match=r"brain: nobody with an embedding has all of bmd, centre \(adjust_for\)"):
        made(embeddings, strangers, "bmd", "centre")
    with pytest.raises(ValueError, match=r"nobody with an embedding has all of bmi \(adjust_for\)"):
        made(embeddings, factor_values, "bmi")
