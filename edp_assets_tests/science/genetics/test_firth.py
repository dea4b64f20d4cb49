"""Effects of a binary phenotype's hits, against maximum likelihood, Firth's regression in full, plink2 and regenie."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray
from scipy import special

from edp_assets.science.genetics.covariates import covariate_basis
from edp_assets.science.genetics.firth import firth_log_odds_ratios
from edp_assets.science.genetics.genotypes import open_genotypes
from edp_assets.science.genetics.logistic import FIRTH_BELOW, associate_binary, fit_null_model
from edp_assets.science.genetics.null_model import NullModel
from edp_assets.science.genetics.variant_qc import centre


def draw(seed: int, n: int, prevalence: float, maf: float, odds_ratio: float) -> tuple[NDArray, NDArray, NDArray]:
    """Return two covariates, one correlated with the variant, the variant's dosages, and a binary phenotype."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2))
    g = rng.binomial(2, np.clip(maf * (1 + 0.4 * X[:, 0]), 0.001, 0.9)).astype(float)
    risk = special.logit(prevalence) + 0.5 * X[:, 0] + np.log(odds_ratio) * g
    return X, g, (rng.random(n) < special.expit(risk)).astype(float)


def estimates(G: NDArray, null: NullModel) -> NDArray:
    centred, _ = centre(G)
    return firth_log_odds_ratios(centred, (centred * null.weight) @ null.basis, null)


def full_firth(X: NDArray, y: NDArray) -> NDArray:
    """Return the coefficients of Firth's logistic regression on all columns of X, straight from his modified score."""
    b = np.zeros(X.shape[1])
    for _ in range(200):
        p = special.expit(X @ b)
        w = p * (1 - p)
        inverse = np.linalg.inv(X.T @ (w[:, None] * X))
        leverage = w * np.einsum("ij,jk,ik->i", X, inverse, X)
        step = np.clip(inverse @ (X.T @ (y - p + leverage * (0.5 - p))), -1, 1)
        b += step
        if np.abs(step).max() < 1e-10:
            break
    return b


@pytest.mark.parametrize("odds_ratio", [1.1, 1.3, 2.0])
@pytest.mark.parametrize(("prevalence", "maf"), [(0.5, 0.3), (0.5, 0.05), (0.1, 0.05), (0.02, 0.3), (0.02, 0.05)])
def test_associate_binary__beta_of_hits_is_maximum_likelihood_s(prevalence: float, maf: float, odds_ratio: float):
    X, g, y = draw(1, 40_000, prevalence, maf, odds_ratio)
    null = fit_null_model(y, covariate_basis([X]))
    found = associate_binary(g[None], null)
    fit = sm.Logit(y, sm.add_constant(np.column_stack([X, g]))).fit(disp=0)
    if found.firth[0]:
        np.testing.assert_allclose(found.association.beta[0], fit.params[-1], rtol=0.02)
        # Of the p-value and not of the likelihood's curvature: the two part where effects are strong.
        np.testing.assert_allclose(found.association.standard_error[0], fit.bse[-1], rtol=0.1)
    else:
        assert found.association.neg_log_10_p_value[0] < -np.log10(FIRTH_BELOW)
    if odds_ratio == 2.0 and prevalence < 0.2 and maf < 0.1:
        one_step = (centre(g[None])[0] @ null.residual / np.square(null.weight * (g - g.mean())).sum()).item()
        assert one_step > 1.1 * fit.params[-1]  # what beta would be without a fit
        assert found.firth[0]


def test_firth_log_odds_ratios__equals_the_full_fit_where_counts_are_small():
    rng = np.random.default_rng(3)
    n = 600
    X = rng.normal(size=(n, 2))
    y = (rng.random(n) < special.expit(-2.5 + 0.5 * X[:, 0])).astype(float)
    G = rng.binomial(2, 0.03, size=(30, n)).astype(float)
    G[0], G[1] = 0, 0
    G[0, np.flatnonzero(y == 1)[:6]] = 1  # every carrier is a case: maximum likelihood is infinite
    G[1, np.flatnonzero(y == 0)[:12]] = 1  # none is
    null = fit_null_model(y, covariate_basis([X]))
    found = estimates(G, null)
    expected = np.array([full_firth(np.column_stack([np.ones(n), X, g]), y)[-1] for g in G])
    assert found[0] > 2
    assert found[1] < -0.5
    np.testing.assert_allclose(found, expected, rtol=0.06, atol=0.04)


def test_firth_log_odds_ratios__flipping_the_allele_flips_the_sign():
    X, g, y = draw(4, 3000, 0.05, 0.05, 2.0)
    null = fit_null_model(y, covariate_basis([X]))
    np.testing.assert_allclose(estimates(g[None], null), -estimates(2 - g[None], null), rtol=1e-5)


def test_firth_log_odds_ratios__does_not_depend_on_the_batch(monkeypatch: pytest.MonkeyPatch):
    X, g, y = draw(5, 500, 0.2, 0.2, 1.5)
    G = np.random.default_rng(0).permuted(np.tile(g, (7, 1)), axis=1)
    null = fit_null_model(y, covariate_basis([X]))
    together = estimates(G, null)
    monkeypatch.setattr("edp_assets.science.genetics.firth._ELEMENTS_AT_ONCE", 1000)
    np.testing.assert_allclose(estimates(G, null), together, rtol=1e-9)


def test_firth_log_odds_ratios__not_converged_is_not_a_number():
    X, g, y = draw(6, 2000, 0.05, 0.05, 3.0)
    null = fit_null_model(y, covariate_basis([X]))
    centred, _ = centre(g[None])
    assert np.isnan(firth_log_odds_ratios(centred, (centred * null.weight) @ null.basis, null, iterations=1)).all()


def test_associate_binary__betas_of_hits_are_regenie_s_firth(regenie, regenie_tables):
    covariates = regenie_tables["covariates"]
    Q = covariate_basis([covariates[name].to_numpy() for name in ("V1", "V2", "V3")])
    published = pl.read_csv(regenie / "test_bin_out_firth_Y1.regenie", separator=" ")
    with open_genotypes(regenie / "example.bed") as file:
        G = file.read(0, file.n_variants)
    found = associate_binary(G, fit_null_model(regenie_tables["binary"]["Y1"].to_numpy(), Q))
    assert found.firth.sum() >= 5
    hits = found.firth
    # example.bed counts allele 1 and regenie's run allele 2; regenie's offset holds whole-genome predictions too.
    np.testing.assert_allclose(-found.association.beta[hits], published["BETA"].to_numpy()[hits], rtol=0.05)


@pytest.mark.parametrize(("prevalence", "model", "beta_within", "p_within"), [
    (0.5, "no-firth", 0.02, 0.02), (0.05, "firth", 0.03, 0.1),
])  # fmt: skip
def test_associate_binary__agrees_with_plink2(write_bed, tmp_path: Path, prevalence, model, beta_within, p_within):
    if shutil.which("plink2") is None:
        pytest.skip("plink2 is not installed")
    rng = np.random.default_rng(7)
    n, n_variants = 6000, 24
    X = rng.normal(size=(n, 2))
    G = rng.binomial(2, rng.uniform(0.1, 0.5, size=(n_variants, 1)), size=(n_variants, n)).astype(float)
    effects = np.where(np.arange(n_variants) % 2, np.log(1.3), 0.0)
    risk = special.logit(prevalence) + 0.5 * X[:, 0] + effects @ (G - G.mean(axis=1, keepdims=True))
    y = (rng.random(n) < special.expit(risk)).astype(int)
    path = write_bed(G)
    ids = {"#FID": [f"f{i}" for i in range(n)], "IID": [f"p{i}" for i in range(n)]}
    pl.DataFrame({**ids, "y": y}).write_csv(tmp_path / "y.tsv", separator="\t")
    pl.DataFrame({**ids, "c0": X[:, 0], "c1": X[:, 1]}).write_csv(tmp_path / "c.tsv", separator="\t")
    command = ["plink2", "--bfile", str(path.with_suffix("")), "--pheno", "y.tsv", "--1", "--covar", "c.tsv"]
    command += ["--glm", model, "hide-covar", "log10", "--no-psam-pheno", "--threads", "1"]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run(
        [*command, "--out", "out"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    (output,) = tmp_path.glob("out.y.glm.*")
    peer = pl.read_csv(output, separator="\t")
    theirs = np.where(peer["A1"] == "A", 1, -1) * np.log(peer["OR"].to_numpy())  # write_bed counts A
    found = associate_binary(G, fit_null_model(y, covariate_basis([X])))
    a, hits = found.association, found.firth
    assert hits.sum() >= 6
    np.testing.assert_allclose(a.beta[hits], theirs[hits], rtol=beta_within)
    np.testing.assert_allclose(a.beta[~hits], theirs[~hits], rtol=0.1, atol=0.01)
    np.testing.assert_allclose(a.neg_log_10_p_value, peer["LOG10_P"].to_numpy(), rtol=p_within, atol=0.02)
