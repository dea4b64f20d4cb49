"""A scan as a whole: calibrated under the null, planted effects found, and a reason wherever there is no result."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy import stats

from edp_assets.science.phenome.results import results_frame
from edp_assets.science.phenome.scan import NO_MAXIMUM, NOTHING_LEFT, PhenomeScan, TraitResult
from edp_assets.science.phenome.traits import Rules
from edp_assets.storage.schemas import empty

N = 800
KINDS = {
    "continuous": lambda rng, noise: noise,
    "binary": lambda rng, noise: (noise > 1.5).astype(float),
    "ordinal": lambda rng, noise: np.digitize(noise, [-0.5, 0.5, 1.5]).astype(float),
    "categorical": lambda rng, noise: rng.permutation(np.digitize(noise, [-0.3, 0.7]).astype(float)),
}


def draw(seed: int, n_phenotypes: int, n: int = N):
    rng = np.random.default_rng(seed)
    age, sex = rng.normal(60, 8, n), rng.integers(0, 2, n).astype(float)
    return rng, rng.normal(size=(n, n_phenotypes)) + 0.05 * age[:, None], [age, sex]


@pytest.mark.parametrize("kind", KINDS)
def test_scan__null_traits_are_calibrated(kind: str) -> None:
    # Traits follow age, as the phenotypes do: only what the covariates do not explain is null.
    p = []
    for seed in range(20):
        rng, phenotypes, covariates = draw(seed, 100)
        noise = rng.normal(size=N) + 0.03 * (covariates[0] - 60)
        p.append(PhenomeScan(phenotypes, covariates).test(KINDS[kind](rng, noise), kind).neg_log_10_p)
    values = np.concatenate(p)
    assert np.isfinite(values).all()
    for alpha in (0.05, 0.01):
        low, high = stats.binom.interval(0.999, len(values), alpha)
        assert low <= (values > -np.log10(alpha)).sum() <= high


@pytest.mark.parametrize("kind", KINDS)
def test_scan__confounded_without_the_covariate(kind: str) -> None:
    # The calibration above can fail: without age among the covariates, nothing here is null.
    rng, phenotypes, covariates = draw(0, 50)
    noise = rng.normal(size=N) + 0.1 * (covariates[0] - 60)
    y = KINDS[kind](rng, noise) if kind != "categorical" else np.digitize(noise, [-0.3, 0.7]).astype(float)
    found = PhenomeScan(phenotypes, covariates[1:]).test(y, kind).neg_log_10_p
    assert (found > 2).mean() > 0.5


def test_scan__a_phenotype_is_the_same_alone_and_among_others() -> None:
    rng, phenotypes, covariates = draw(1, 6)
    for kind, of in KINDS.items():
        y = of(rng, rng.normal(size=N) + 0.2 * phenotypes[:, 0])
        y[rng.random(N) < 0.1] = np.nan
        together = PhenomeScan(phenotypes, covariates).test(y, kind)
        alone = PhenomeScan(phenotypes[:, 2:3], covariates).test(y, kind)
        np.testing.assert_allclose(together.neg_log_10_p[2], alone.neg_log_10_p[0], rtol=1e-7)


def test_scan__scale_and_place_of_a_phenotype_do_not_matter() -> None:
    rng, phenotypes, covariates = draw(2, 2)
    y = (rng.normal(size=N) + 0.3 * phenotypes[:, 0] > 2).astype(float)
    one = PhenomeScan(phenotypes, covariates).test(y, "binary")
    other = PhenomeScan(phenotypes * [-1e6, 1e-6] + [3e6, 5], covariates).test(y, "binary")
    np.testing.assert_allclose(other.beta, one.beta * [-1, 1], rtol=1e-6)


@pytest.mark.parametrize("n", [800, 50_000, 400_000])
@pytest.mark.parametrize("kind", ["binary", "ordinal", "categorical"])
def test_scan__a_centre_of_controls_alone_does_not_stop_it(kind: str, n: int) -> None:
    rng, phenotypes, covariates = draw(3, 2, n)
    covariates[0] = covariates[0] - 60
    centre = rng.permutation(n) < n // 14
    liability = rng.normal(size=n) + 0.3 * phenotypes[:, 0]
    cuts = np.sort(liability)[[-40, -15]]  # as few cases as a rare code has, however many people
    y = np.digitize(liability, cuts[:1] if kind == "binary" else cuts).astype(float)
    y[centre] = 0
    found = PhenomeScan(phenotypes, [*covariates, centre.astype(float)]).test(y, kind)
    assert found.reasons == [None] * 2
    # Its people say nothing: the same as if they were not there.
    without = PhenomeScan(phenotypes, [*covariates]).test(np.where(centre, np.nan, y), kind)
    for name in ("level_beta",) if kind == "categorical" else ("beta", "standard_error"):
        np.testing.assert_allclose(getattr(found, name), getattr(without, name), rtol=1e-5)
    np.testing.assert_allclose(found.neg_log_10_p, without.neg_log_10_p, rtol=1e-5)


@pytest.mark.parametrize("kind", ["binary", "ordinal", "categorical"])
def test_scan__separation_is_a_reason(kind: str) -> None:
    _rng, phenotypes, covariates = draw(4, 2)
    cuts = [0.0] if kind == "binary" else [-0.5, 0.5]
    left = phenotypes[:, 0] - np.polyval(np.polyfit(covariates[0], phenotypes[:, 0], 1), covariates[0])
    found = PhenomeScan(phenotypes, covariates).test(np.digitize(left, cuts).astype(float), kind)
    assert found.reasons == [NO_MAXIMUM, None]
    assert np.isnan(found.neg_log_10_p[0])
    assert np.isfinite(found.neg_log_10_p[1])


def test_scan__a_phenotype_without_variance_is_a_reason() -> None:
    rng, phenotypes, covariates = draw(5, 3)
    phenotypes[:, 1], phenotypes[:, 2] = 7.0, 2 * covariates[0] - 3
    for kind, of in KINDS.items():
        found = PhenomeScan(phenotypes, covariates).test(of(rng, rng.normal(size=N)), kind)
        assert found.reasons == [None, NOTHING_LEFT, NOTHING_LEFT]
        assert np.isfinite(found.neg_log_10_p).tolist() == [True, False, False]
    only = PhenomeScan(phenotypes[:, 1:2], covariates).test(rng.normal(size=N), "continuous")
    assert (only.model, only.reasons) == (None, [NOTHING_LEFT])


def test_scan__a_trait_of_one_sex_drops_it_from_the_covariates() -> None:
    rng, phenotypes, covariates = draw(6, 2, n=1500)
    y = np.where(covariates[1] == 1, (rng.normal(size=1500) + 0.3 * phenotypes[:, 0] > 2).astype(float), np.nan)
    found = PhenomeScan(phenotypes, covariates).test(y, "phecode")
    assert found.n == (covariates[1] == 1).sum()
    assert found.neg_log_10_p[0] > 3


def test_scan__gaps_of_a_phenotype_are_refused() -> None:
    _, phenotypes, covariates = draw(7, 2)
    phenotypes[3, 1] = np.nan
    with pytest.raises(ValueError, match="1 of 800 people have no value of a phenotype; leave them out"):
        PhenomeScan(phenotypes, covariates)


def test_results_frame__every_trait_has_a_result_or_a_reason() -> None:
    rng, phenotypes, covariates = draw(8, 2)
    scan = PhenomeScan(phenotypes, covariates, Rules(min_people=100))
    values = {
        "planted": rng.normal(size=N) + 0.5 * phenotypes[:, 1],
        "null": rng.normal(size=N),
        "diet": (rng.gumbel(size=(3, N)) + np.array([[0.0], [0], [1]]) * phenotypes[:, 1]).argmax(axis=0).astype(float),
        "rare": (np.arange(N) < 4).astype(float),
    }
    kinds = ["continuous", "continuous", "categorical", "binary", "undescribed"]
    dictionary = pl.DataFrame(
        {
            "trait": [*values, "unknown"],
            "description": ["", "", "", "", ""],
            "category": ["a", "a", "b", "b", "b"],
            "kind": kinds,
            "levels": pl.Series([None, None, ["meat", "fish", "neither"], None, None], dtype=pl.List(pl.String)),
            "reason": [None, None, None, None, "no row in the trait dictionary: its kind is not known"],
        }
    )
    results: list[TraitResult | None] = [scan.test(v, kind) for v, kind in zip(values.values(), kinds, strict=False)]
    sources = ["1", "2", "3", "4", ""]
    frame, copied = results_frame(dictionary, [*results, None], 1, empty("phewas"), sources)
    assert copied == 0
    assert frame["trait"].to_list() == [*values, "unknown"]
    assert frame.filter(pl.col("reason").is_null())["trait"].to_list() == ["planted", "null", "diet"]
    assert frame["reason"].to_list()[3:] == [
        "4 cases: at least 10 are needed", "no row in the trait dictionary: its kind is not known"
    ]  # fmt: skip
    statistics = ["beta", "standard_error", "neg_log_10_p_value", "neg_log_10_p_bonferroni", "neg_log_10_q_value"]
    assert frame[3:].select(statistics).null_count().row(0) == (2,) * 5
    p = frame["neg_log_10_p_value"].cast(pl.Float64).to_numpy()[:3]
    np.testing.assert_allclose(
        frame["neg_log_10_p_bonferroni"].to_numpy()[:3], np.maximum(p - np.log10(3), 0), rtol=1e-6
    )
    q = stats.false_discovery_control(10.0**-p)
    np.testing.assert_allclose(10.0 ** -frame["neg_log_10_q_value"].to_numpy()[:3], q, rtol=1e-6)
    diet = frame.row(2, named=True)
    assert diet["beta"] is None
    assert sorted(diet["levels"]) == ["fish", "meat", "neither"]
    betas = dict(zip(diet["levels"][1:], diet["level_betas"], strict=True)) | {diet["levels"][0]: 0.0}
    assert betas["neither"] > max(betas["meat"], betas["fish"]) + 0.5
    assert frame["level_betas"].is_null().to_list() == [True, True, False, True, True]
    # What was made from the same is taken over, corrections included; what was not is as it is found now.
    labels = {"encoder": "mae", "organ": "liver", "icd10": "K76", "method": "classifier", "cluster": None}
    earlier = frame.with_columns(pl.lit(value).alias(name) for name, value in labels.items())
    again, copied = results_frame(
        dictionary, [None, None, results[2], None, None], 1, earlier, ["1", "2", "x", "4", ""]
    )
    assert copied == 3
    assert again.drop("source").equals(frame.drop("source"))
    with pytest.raises(AssertionError):
        results_frame(dictionary, [None] * 5, 1, earlier, ["1", "y", "3", "4", ""])
