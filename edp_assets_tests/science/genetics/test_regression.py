from pathlib import Path

import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm

from edp_assets.science.genetics.covariates import covariate_basis, residualise
from edp_assets.science.genetics.genotypes import open_genotypes
from edp_assets.science.genetics.regression import associate_directly
from edp_assets.science.genetics.variant_qc import centre


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(4)
    n = 400
    G = rng.binomial(2, rng.uniform(0.05, 0.5, size=(12, 1)), size=(12, n)).astype(np.float64)
    G[0, :9] = np.nan
    X = rng.normal(size=(n, 2))
    Y = np.column_stack([0.5 * G[1] + X[:, 0], rng.normal(size=n)]) + rng.normal(size=(n, 2))
    return G, X, Y


def test_associate_directly__equals_statsmodels(data):
    G, X, Y = data
    found, stats = associate_directly(G, Y, covariate_basis([X]))
    assert found.beta.shape == (2, 12)
    for v in range(12):
        g = np.where(np.isnan(G[v]), np.nanmean(G[v]), G[v])
        for k in range(2):
            fit = sm.OLS(Y[:, k], np.column_stack([np.ones(len(g)), X, g])).fit()
            np.testing.assert_allclose(found.beta[k, v], fit.params[-1], rtol=1e-9)
            np.testing.assert_allclose(found.standard_error[k, v], fit.bse[-1], rtol=1e-9)
            np.testing.assert_allclose(found.neg_log_10_p_value[k, v], -np.log10(fit.pvalues[-1]), rtol=1e-7)
    assert stats.called[0] == 391


def test_associate_directly__one_phenotype_is_one_row(data):
    G, X, Y = data
    Q = covariate_basis([X])
    one, both = associate_directly(G, Y[:, 0], Q)[0], associate_directly(G, Y, Q)[0]
    assert one.beta.shape == (12,)
    np.testing.assert_allclose(one.neg_log_10_p_value, both.neg_log_10_p_value[0], rtol=1e-12)


def test_associate_directly__units_of_the_phenotype_do_not_matter(data):
    G, X, Y = data
    Q = covariate_basis([X])
    small, large = (associate_directly(G.astype(np.float32), Y * scale, Q)[0] for scale in (1e-6, 1e6))
    np.testing.assert_allclose(small.neg_log_10_p_value, large.neg_log_10_p_value, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(small.beta * 1e12, large.beta, rtol=1e-4)


@pytest.mark.parametrize("noise", [0.0, 1e-9, 1e-3])
def test_associate_directly__a_phenotype_that_is_the_variant_itself_has_a_finite_p(data, noise):
    G, X, _ = data
    y = G[1] + noise * np.random.default_rng(0).normal(size=G.shape[1])
    for dtype in (np.float32, np.float64):
        found, _ = associate_directly(G.astype(dtype), y, covariate_basis([X]))
        assert np.isfinite(found.neg_log_10_p_value.astype(np.float32)).all()  # as it is stored
        assert found.neg_log_10_p_value.argmax() == 1
        assert found.neg_log_10_p_value[1] > 323.3  # p itself underflows


def loco_offsets(path: Path, chromosome: str, iids: list[str]) -> np.ndarray:
    """Return regenie's predictions from the other chromosomes, (n_participants,); its file names people FID_IID."""
    names, *rows = [line.split() for line in path.read_text().splitlines()]
    (row,) = [row for row in rows if row[0] == chromosome]
    offset = dict(zip(names[1:], row[1:], strict=True))
    return np.array([float(offset[f"{iid}_{iid}"]) for iid in iids])


@pytest.mark.parametrize("name", ["Y1", "Y2"])
@pytest.mark.parametrize("suffix", [".bed", ".pgen", ".bgen"])
def test_associate_directly__regenie_s_published_effects(regenie, regenie_tables, suffix, name):
    # test_lin_out.log: --step 2 --bgen --ref-first, three covariates, LOCO predictions (all 0: one chromosome).
    covariates, phenotypes = regenie_tables["covariates"], regenie_tables["phenotype"]
    Q = covariate_basis([covariates[each].to_numpy() for each in ("V1", "V2", "V3")])
    with open_genotypes(regenie / f"example{suffix}") as file:
        assert [int(iid) for iid in file.sample_ids] == phenotypes["IID"].to_list() == covariates["IID"].to_list()
        G, variants, iids = file.read(0, file.n_variants), file.variants, file.sample_ids
    published = pl.read_csv(regenie / f"test_lin_out_{name}.regenie", separator=" ")
    same = variants["effect_allele"].cast(pl.Int64) == published["ALLELE1"]
    # The .bgen counts its second allele, as regenie's run on it did; the other two files were written counting the
    # other one.
    assert same.all() if suffix == ".bgen" else not same.any()
    sign = np.where(same, 1, -1)
    y = phenotypes[name].to_numpy() - loco_offsets(regenie / f"fit_lin_out_{name[1]}.loco", "1", iids)
    np.testing.assert_allclose(sign * associate_directly(G, y, Q)[0].beta, published["BETA"], atol=1e-5)
    # In float64, as a chi-squared of 1e-7 (there are two) would show float32's rounding at 1e-3.
    G = G.astype(np.float64)
    found, _ = associate_directly(G, y, Q)
    np.testing.assert_allclose(sign * found.beta, published["BETA"], atol=1e-5)
    # Its test is a score test, with the phenotype's variance over N - 1 where plink2's t-test has N - C - 1.
    gg = np.square(residualise(centre(G)[0].T, Q)).sum(axis=0)
    yy = np.square(residualise(y, Q)).sum()
    np.testing.assert_allclose(np.sqrt(yy / (len(y) - 1) / gg), published["SE"], rtol=1e-5)
    chi_squared = np.square(found.beta) * gg / (yy / (len(y) - 1))
    np.testing.assert_allclose(chi_squared, published["CHISQ"], rtol=1e-3)
    np.testing.assert_allclose(
        np.where(same, 1, -1) * G.mean(axis=1) / 2 + ~same.to_numpy(), published["A1FREQ"], atol=1e-6
    )
    # A t-test and a score test of small effects differ by little.
    np.testing.assert_allclose(found.neg_log_10_p_value, published["LOG10P"], atol=0.02)


def test_associate_directly__untestable_variants_are_nan(data):
    _, X, Y = data
    sex = (X[:, 0] > 0).astype(float)
    G = np.stack([np.ones(400), 2 * sex, np.full(400, np.nan), np.arange(400) % 3.0])
    found, _ = associate_directly(G, Y[:, 0], covariate_basis([sex]))
    for values in (found.beta, found.standard_error, found.neg_log_10_p_value):
        np.testing.assert_array_equal(np.isnan(values), [True, True, True, False])


def test_associate_directly__phenotype_that_is_the_variant(data):
    G, X, _ = data
    found, _ = associate_directly(G[1:3], G[1], covariate_basis([X]))
    np.testing.assert_allclose(found.beta[0], 1)
    assert np.isfinite(found.neg_log_10_p_value).all()
    assert found.neg_log_10_p_value[0] > 1000


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.r_[np.nan, np.zeros(399)], r"1 of 1 phenotypes have missing values, the first \(column 0\) 1"),
        (np.full(400, 3.3), "1 of 1 phenotypes are constant or explained"),
        (np.zeros(400), "1 of 1 phenotypes are constant or explained"),
        (np.zeros(10), "mismatch|same"),
    ],
)
def test_associate_directly__bad_phenotypes(data, y, message):
    G, X, _ = data
    with pytest.raises(ValueError, match=message):
        associate_directly(G, y, covariate_basis([X]))
