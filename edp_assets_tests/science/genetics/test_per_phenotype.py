"""Many phenotypes at once against each alone, and alone against the functions that have statsmodels for oracle."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from edp_assets.science.genetics import masked_sums
from edp_assets.science.genetics.blocks import BLOCK_BYTES, Block, dosages, variants_a_block
from edp_assets.science.genetics.covariates import covariate_basis
from edp_assets.science.genetics.hardy_weinberg import hardy_weinberg_p
from edp_assets.science.genetics.logistic import associate_binary
from edp_assets.science.genetics.masked_sums import MaskedSums
from edp_assets.science.genetics.null_model import fit_null_model
from edp_assets.science.genetics.per_phenotype import (
    BinaryModels,
    QuantitativeModels,
    covariate_coordinates,
    group_phenotypes,
    shared_columns,
)
from edp_assets.science.genetics.regression import associate_directly
from edp_assets.science.genetics.variant_qc import variant_stats
from edp_assets.settings import AssociationSettings

N, VARIANTS = 700, 30
NONE = AssociationSettings(min_maf=0, min_mac=0, max_missing=1)
NAMES = ("beta", "standard_error", "neg_log_10_p_value")


def block_of(calls: np.ndarray) -> Block:
    no = np.zeros(len(calls), dtype=bool)
    variants = pl.DataFrame({"rsid": [f"rs{i}" for i in range(len(calls))]})
    return Block(variants, calls, no, no)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masked_sums, "PEOPLE_AT_ONCE", 150)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    calls = rng.binomial(2, rng.uniform(0.05, 0.5, (VARIANTS, 1)), (VARIANTS, N)).astype(np.int8)
    calls[5:, :] = np.where(rng.random((VARIANTS - 5, N)) < 0.04, -9, calls[5:, :])
    calls[3] = 0  # nothing to test
    calls[4] = 1
    covariates = rng.normal(size=(N, 3))
    covariates[:, 2] = covariates[:, 0] > 1.5
    Y = rng.normal(size=(N, 6)) + 0.4 * calls[:1].T + covariates[:, :1]
    Y[rng.random((N, 6)) < [0, 0, 0.1, 0.1, 0.7, 0.02]] = np.nan
    Y[np.isnan(Y[:, 2]), 3] = np.nan
    Y[covariates[:, 2] == 1, 4] = np.nan  # its third covariate is constant
    return calls, covariates, Y


def run(models, calls: np.ndarray, settings: AssociationSettings = NONE) -> dict:
    return {
        column: (tested, association)
        for tested in models.test(block_of(calls), settings)
        for column, association in tested.associations.items()
    }


@pytest.mark.parametrize("as_dosages", [False, True])
def test_quantitative_models__are_the_regression_of_each_over_its_own_people(data, as_dosages: bool):
    calls, covariates, Y = data
    if as_dosages:
        calls = dosages(calls) * 0.93 + 0.03
    X = shared_columns([covariates], N)
    groups, skipped = group_phenotypes(Y, X)
    assert not skipped
    assert sorted(len(group.phenotypes) for group in groups) == [1, 1, 1, 1, 2]
    found = run(QuantitativeModels(Y, X, groups, np.zeros(N, bool)), calls)
    assert sorted(found) == list(range(6))
    for column, (tested, association) in found.items():
        has = ~np.isnan(Y[:, column])
        G = dosages(calls)[:, has].astype(np.float64)
        expected, stats = associate_directly(G, Y[has, column], covariate_basis([covariates[has]]))
        keep = ~stats.constant
        np.testing.assert_array_equal(tested.keep, keep)
        np.testing.assert_allclose(tested.frequency, stats.effect_allele_frequency, rtol=1e-12)
        for name in NAMES:
            np.testing.assert_allclose(getattr(association, name), getattr(expected, name)[keep], rtol=1e-8, atol=1e-10)


def test_quantitative_models__do_not_depend_on_what_stands_beside(data):
    calls, covariates, Y = data
    X = shared_columns([covariates], N)
    among = run(QuantitativeModels(Y, X, group_phenotypes(Y, X)[0], np.zeros(N, bool)), calls, AssociationSettings())
    for column in range(6):
        used = ~np.isnan(Y[:, column])
        y, x = Y[used, column : column + 1], X[used]
        models = QuantitativeModels(y, x, group_phenotypes(y, x)[0], np.zeros(len(y), bool))
        tested, alone = run(models, calls[:, used], AssociationSettings())[0]
        np.testing.assert_array_equal(tested.keep, among[column][0].keep)
        assert tested.left_out == among[column][0].left_out
        np.testing.assert_array_equal(tested.frequency, among[column][0].frequency)
        for name in NAMES:
            np.testing.assert_allclose(getattr(among[column][1], name), getattr(alone, name), rtol=1e-10, atol=1e-11)


def test_quantitative_models__offsets_are_taken_from_the_phenotype(data):
    calls, covariates, Y = data
    X = shared_columns([covariates], N)
    offset = np.random.default_rng(1).normal(size=N)
    groups, _ = group_phenotypes(Y, X)
    with_offset = run(QuantitativeModels(Y, X, groups, np.zeros(N, bool), dict.fromkeys(range(6), offset)), calls)
    subtracted = run(QuantitativeModels(Y - offset[:, None], X, groups, np.zeros(N, bool)), calls)
    for column in range(6):
        np.testing.assert_allclose(with_offset[column][1].beta, subtracted[column][1].beta, rtol=1e-9, atol=1e-12)


def test_binary_models__are_the_score_test_of_each_over_its_own_people(data):
    calls, covariates, Y = data
    y = np.where(np.isnan(Y), np.nan, np.greater(Y, np.nanquantile(Y, 0.85, axis=0)))
    X = shared_columns([covariates], N)
    groups, skipped = group_phenotypes(y, X, binary=True)
    assert not skipped
    found = run(BinaryModels(y, X, groups, np.zeros(N, bool)), calls)
    tails = 0
    for column, (tested, association) in found.items():
        has = ~np.isnan(y[:, column])
        null = fit_null_model(y[has, column], covariate_basis([covariates[has]]))
        expected = associate_binary(dosages(calls)[:, has].astype(np.float64), null)
        tails += expected.saddlepoint.sum()
        for name in NAMES:
            np.testing.assert_allclose(
                getattr(association, name), getattr(expected.association, name)[tested.keep], rtol=1e-5, atol=1e-6
            )
    assert tails > 3


def test_binary_models__null_phenotypes_are_calibrated():
    rng = np.random.default_rng(2)
    calls = rng.binomial(2, 0.2, (2000, 1500)).astype(np.int8)
    y = (rng.random((1500, 1)) < 0.05).astype(float)
    y[rng.random(1500) < 0.2] = np.nan
    X = shared_columns([rng.normal(size=1500)], 1500)
    models = BinaryModels(y, X, group_phenotypes(y, X, binary=True)[0], np.zeros(1500, bool))
    p = run(models, calls)[0][1].neg_log_10_p_value
    # 2,000 tests: 100 of 5% and 20 of 1%, within four standard errors.
    assert abs((p > -np.log10(0.05)).sum() - 100) < 40
    assert abs((p > 2).sum() - 20) < 18


def test_group_phenotypes__says_why_one_cannot_be_associated(data):
    _, covariates, Y = data
    X = shared_columns([covariates], N)
    few = np.full(N, np.nan)
    few[:4] = [1, 2, 3, 5]
    columns = [Y[:, 0], np.full(N, 3.5), 2 * covariates[:, 0] + 1, np.full(N, np.nan), few]
    groups, skipped = group_phenotypes(np.column_stack(columns), X)
    assert [group.phenotypes for group in groups] == [[0]]
    assert skipped == {
        1: "all 700 people have the value 3.5: nothing to associate",
        2: "the covariates explain it in all 700 people: nothing is left to associate",
        3: "nobody has a value, genotypes and every covariate",
        4: "3 covariates with the intercept leave nothing to test in 4 people",
    }
    rare = np.zeros((N, 1))
    rare[:9] = 1
    assert group_phenotypes(rare, X, binary=True) == (
        [],
        {0: "9 cases and 691 controls; at least 10 of each are wanted"},
    )


@pytest.mark.parametrize("shift", [0, 1e3])
def test_covariate_coordinates__span_the_covariate_basis(shift: float):
    rng = np.random.default_rng(3)
    C = rng.normal(size=(200, 4)) + shift
    nearly = C[:, 2] + 1e-5 * rng.normal(size=200)  # kept: one in a hundred of what is dropped
    C = np.column_stack([C, C[:, 0] + C[:, 1], np.full(200, 7.0), nearly])
    X = shared_columns([C], 200)
    Q = X @ covariate_coordinates(X)
    expected = covariate_basis([C])
    assert Q.shape == expected.shape
    assert Q.shape[1] == 6
    np.testing.assert_allclose(Q.T @ Q, np.eye(Q.shape[1]), atol=1e-9)
    np.testing.assert_allclose(Q @ Q.T, expected @ expected.T, atol=1e-4)


def test_masked_sums__refuses_other_people():
    sums = MaskedSums(np.ones((5, 1)), np.ones((1, 5), bool), np.zeros((5, 1)))
    with pytest.raises(ValueError, match="the block has 4 participants, the phenotypes 5"):
        sums.of(np.zeros((2, 4), np.int8))


def test_filters__count_among_the_phenotypes_own_people(data):
    calls, covariates, Y = data
    X = shared_columns([covariates], N)
    settings = AssociationSettings(min_maf=0.1, min_mac=60, max_missing=0.04)
    found = run(QuantitativeModels(Y, X, group_phenotypes(Y, X)[0], np.zeros(N, bool)), calls, settings)
    for column, (tested, _) in found.items():
        stats = variant_stats(dosages(calls)[:, ~np.isnan(Y[:, column])])
        maf = np.minimum(stats.effect_allele_frequency, 1 - stats.effect_allele_frequency)
        expected = (maf >= 0.1) & (stats.minor_allele_count >= 60) & (stats.missing <= 0.04) & ~stats.constant
        np.testing.assert_array_equal(tested.keep, expected)
    assert len({tuple(tested.keep) for tested, _ in found.values()}) > 2


def test_filters__equilibrium_among_the_phenotypes_own_people(data):
    calls, covariates, Y = data
    calls = calls.copy()
    has = ~np.isnan(Y[:, 4])
    calls[0, has] = np.where(np.arange(has.sum()) % 2, 0, 2)  # nobody of these is heterozygous
    X = shared_columns([covariates], N)
    theirs, everybodys = (hardy_weinberg_p(dosages(calls[:1, who]))[0] for who in (has, np.ones(N, bool)))
    assert theirs < 1e-6 * everybodys
    settings = AssociationSettings(min_hwe_p=np.sqrt(theirs * everybodys))
    found = run(QuantitativeModels(Y, X, group_phenotypes(Y, X)[0], np.zeros(N, bool)), calls, settings)
    assert not found[4][0].keep[0]
    assert found[0][0].keep[0]


def test_variants_a_block__by_bytes():
    assert variants_a_block(45_714, 512) == 512
    assert variants_a_block(408_961, 512) * 408_961 * 4 <= BLOCK_BYTES
    assert variants_a_block(408_961, 512) > 50
    assert variants_a_block(10**9, 512) == 1
    assert variants_a_block(10, 7) == 7
