"""Adjustment against statsmodels' least squares and by orthogonality."""

import numpy as np
import polars as pl
import pytest
from sklearn.decomposition import PCA

from edp_assets.science.phenotypes.adjustment import (
    adjust_embeddings,
    embedding_components,
    embedding_factors,
    fit_adjustment,
    remove_effects,
)

N, D = 300, 12


@pytest.fixture
def cohort():
    rng = np.random.default_rng(0)
    bmi, age = rng.normal(27, 4, N), rng.normal(60, 8, N)
    centre = rng.choice(["Cheadle", "Newcastle", "Reading"], N)
    z = rng.normal(3, 1, (N, D)) + np.outer(bmi, rng.normal(size=D)) + (centre == "Reading")[:, None] * 2.0
    return z, {"bmi": bmi, "age": age, "centre": centre}


def test_adjust_embeddings__is_orthogonal_to_every_factor(cohort):
    z, factors = cohort
    adjusted = adjust_embeddings(z, factors).z
    centred = adjusted - adjusted.mean(axis=0)
    for columns in (
        factors["bmi"][:, None],
        factors["age"][:, None],
        np.eye(3)[np.unique(factors["centre"], return_inverse=True)[1]],
    ):
        np.testing.assert_allclose((columns - columns.mean(axis=0)).T @ centred, 0, atol=1e-8)


def test_adjust_embeddings__keeps_each_mean(cohort):
    z, factors = cohort
    np.testing.assert_allclose(adjust_embeddings(z, factors).z.mean(axis=0), z.mean(axis=0), rtol=1e-12)


def test_adjust_embeddings__equals_statsmodels(cohort):
    sm = pytest.importorskip("statsmodels.api")
    z, factors = cohort
    centre = (factors["centre"][:, None] == np.array(["Newcastle", "Reading"])).astype(float)
    design = sm.add_constant(np.column_stack([factors["bmi"], factors["age"], centre]))
    fit = sm.OLS(z[:, 4], design).fit()
    adjusted = adjust_embeddings(z, factors)
    np.testing.assert_allclose(adjusted.z[:, 4] - z[:, 4].mean(), fit.resid, atol=1e-9)
    np.testing.assert_allclose(
        np.concatenate([b[:, 4] for b in adjusted.coefficients.values()]), fit.params[1:], rtol=1e-8
    )
    assert [b.shape for b in adjusted.coefficients.values()] == [(1, D), (1, D), (2, D)]


def test_adjust_embeddings__variance_explained_is_the_total_r_squared(cohort):
    z, factors = cohort
    adjusted = adjust_embeddings(z, factors)
    assert adjusted.variance_removed == pytest.approx(1 - adjusted.z.var(axis=0).sum() / z.var(axis=0).sum())
    assert adjusted.variance_explained["bmi"] > 0.5 > adjusted.variance_explained["age"]


def test_adjust_embeddings__correlates_with_no_factor_and_no_level(cohort):
    z, factors = cohort
    # Order, a doubled factor, one that is a sum of others, and a level of one person alone make no difference.
    factors["rare"] = np.where(np.arange(N) == 7, "alone", factors["centre"])
    factors["sum"] = factors["age"] * 2 - factors["bmi"]
    factors |= embedding_factors(z, ["embedding_pc1", "embedding_pc4"])
    adjusted = adjust_embeddings(z, factors)
    for values in factors.values():
        levels = np.unique(values) if values.dtype.kind == "U" else []
        for column in [values == level for level in levels] or [values]:
            for dimension in adjusted.z.T:
                assert abs(np.corrcoef(dimension, column.astype(float))[0, 1]) < 1e-9
    backwards = adjust_embeddings(z, dict(reversed(factors.items())))
    np.testing.assert_allclose(backwards.z, adjusted.z, atol=1e-9)
    assert backwards.variance_removed == pytest.approx(adjusted.variance_removed, rel=1e-12)
    for name, share in adjusted.variance_explained.items():
        assert backwards.variance_explained[name] == share
        np.testing.assert_allclose(backwards.coefficients[name], adjusted.coefficients[name], atol=1e-8)


def test_fit_adjustment__has_an_effect_a_level_against_the_first(cohort):
    z, factors = cohort
    fitted = fit_adjustment(z, {"centre": factors["centre"], "bmi": factors["bmi"]})
    assert [(e.factor, e.level) for e in fitted.effects] == [
        ("centre", "Cheadle"), ("centre", "Newcastle"), ("centre", "Reading"), ("bmi", None)
    ]  # fmt: skip
    shares = [(factors["centre"] == level).mean() for level in ("Cheadle", "Newcastle", "Reading")]
    assert [e.mean for e in fitted.effects] == pytest.approx([*shares, factors["bmi"].mean()])
    assert (fitted.effects[0].coefficients == 0).all()
    assert fitted.n == N


def test_remove_effects__takes_what_was_fitted_from_new_people_too(cohort):
    z, factors = cohort
    fitted = fit_adjustment(z, factors)
    everyone = remove_effects(z, factors, fitted.effects)
    np.testing.assert_array_equal(everyone, adjust_embeddings(z, factors).z)
    some = slice(0, N, 7)
    few = remove_effects(z[some], {name: values[some] for name, values in factors.items()}, fitted.effects)
    np.testing.assert_allclose(few, everyone[some], rtol=1e-12)


def test_remove_effects__refuses_what_was_not_fitted(cohort):
    z, factors = cohort
    effects = fit_adjustment(z, factors).effects
    with pytest.raises(
        ValueError, match="factor centre: no effect of the level 'Bristol' was fitted, only of Cheadle, Newcastle"
    ):
        remove_effects(z, factors | {"centre": np.where(np.arange(N) < 3, "Bristol", factors["centre"])}, effects)
    with pytest.raises(ValueError, match="no values of the factor bmi; given: age"):
        remove_effects(z, {"age": factors["age"]}, effects)


def test_adjust_embeddings__collinear_factors_count_once(cohort):
    z, factors = cohort
    twice = adjust_embeddings(z, {"bmi": factors["bmi"], "again": factors["bmi"] * 1000 + 5})
    np.testing.assert_allclose(twice.z, adjust_embeddings(z, {"bmi": factors["bmi"]}).z, atol=1e-9)


def test_adjust_embeddings__reads_strings_from_polars_and_booleans(cohort):
    z, factors = cohort
    from_polars = pl.Series(factors["centre"]).to_numpy()
    np.testing.assert_array_equal(
        adjust_embeddings(z, {"centre": from_polars}).z, adjust_embeddings(z, {"centre": factors["centre"]}).z
    )
    reading = factors["centre"] == "Reading"
    np.testing.assert_allclose(
        adjust_embeddings(z, {"r": reading}).z, adjust_embeddings(z, {"r": reading.astype(str)}).z, atol=1e-10
    )


def test_adjust_embeddings__without_factors_changes_nothing(cohort):
    z, _ = cohort
    adjusted = adjust_embeddings(z, {})
    np.testing.assert_array_equal(adjusted.z, z)
    assert adjusted.z is not z
    assert adjusted.variance_removed == 0


def test_adjust_embeddings__first_component_leaves_the_others(cohort):
    z, _ = cohort
    z = z - z.mean(axis=0)
    adjusted = adjust_embeddings(z, embedding_factors(z, ["bmi", "embedding_pc1"])).z
    vectors = np.linalg.svd(z, full_matrices=False)[2]
    np.testing.assert_allclose(adjusted @ vectors[0], 0, atol=1e-8)
    np.testing.assert_allclose(adjusted @ vectors[1:].T, z @ vectors[1:].T, atol=1e-8)


@pytest.mark.parametrize(
    ("factor", "message"),
    [
        (np.r_[np.nan, np.arange(N - 1.0)], "factor v: missing for 1 of 300"),
        (np.array([None, *["a", "b"] * 149, "c"], dtype=object), "factor v: missing for 1 of 300"),
        (np.ones(N), "factor v: the same for all 300"),
        (np.full(N, "Reading"), "factor v: the same for all 300"),
        (np.ones(5), r"one value a participant \(300\) wanted, found shape \(5,\)"),
        (np.zeros(N, "datetime64[D]"), "numbers or strings wanted, found datetime64"),
        (np.arange(N).astype(str), "299 factor columns cannot be adjusted for with 300 participants"),
    ],
)
def test_adjust_embeddings__refuses_bad_factors(cohort, factor, message):
    with pytest.raises(ValueError, match=message):
        adjust_embeddings(cohort[0], {"v": factor})


def test_adjust_embeddings__refuses_nan_embeddings(cohort):
    z, factors = cohort
    z[3, 3] = np.nan
    with pytest.raises(ValueError, match="without NaN"):
        adjust_embeddings(z, factors)


def test_embedding_components__equal_sklearn_up_to_sign_and_scale(cohort):
    z, _ = cohort
    components = embedding_components(z, 4)
    expected = PCA(4).fit_transform(z)
    np.testing.assert_allclose(components.std(axis=0), 1)
    for k in range(4):
        assert abs(np.corrcoef(components[:, k], expected[:, k])[0, 1]) > 1 - 1e-9


def test_embedding_components__refuses_more_than_there_are(cohort):
    with pytest.raises(ValueError, match="12 principal components, component 13 was wanted"):
        embedding_components(cohort[0], D + 1)


def test_embedding_factors__picks_only_its_own_names(cohort):
    z, _ = cohort
    factors = embedding_factors(z, ["bmi", "embedding_pc3", "embedding_pc0", "pc1"])
    assert list(factors) == ["embedding_pc3"]
    np.testing.assert_array_equal(factors["embedding_pc3"], embedding_components(z, 3)[:, 2])
