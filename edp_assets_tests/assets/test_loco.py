"""LOCO offsets through the stages: least squares of offset phenotypes where enabled, without effect where not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm
from polars.testing import assert_frame_equal

from edp_assets.assets import loco
from edp_assets.assets.association import ASSOCIATIONS, embedding_associations, gwas_summary_stats
from edp_assets.assets.permutation import _associations
from edp_assets.assets.stage import REGISTRY, StageRun
from edp_assets.definitions import defs
from edp_assets.science.genetics.calibration import lambda_gc
from edp_assets.science.genetics.covariates import covariate_basis
from edp_assets.science.genetics.loco_ridge import LocoRidge
from edp_assets.science.genetics.projection import whitened_basis
from edp_assets.settings import LocoSettings, Settings
from edp_assets.storage.home import Home
from edp_assets.storage.lake import Stored, Together, cell_of
from edp_assets.storage.schemas import conform
from edp_assets.storage.upstream import Partition, Partitions
from edp_assets.storage.workspace import Fingerprints, Workspace
from edp_assets_tests.tiny_gwas import HEAD, write_bed

N, VARIANTS, CHROMOSOMES = 400, 60, ("1", "2", "3", "X")
RNG = np.random.default_rng(8)
EIDS = [f"{100 + i}" for i in range(N)]
AGE = RNG.normal(60, 5, N)
CALLS = {c: RNG.binomial(2, RNG.uniform(0.2, 0.8, VARIANTS)[:, None], (VARIANTS, N)) for c in CHROMOSOMES}
GENETIC = np.vstack([CALLS[c] for c in "123"]).T @ RNG.normal(size=(3 * VARIANTS, 3))
Z = 1.5 * GENETIC / GENETIC.std(axis=0) + RNG.normal(size=(N, 3))
ORGAN, CELL = cell_of({"organ": "liver"}), cell_of({"organ": "liver", "icd10": "K76"})
OFFSET = ASSOCIATIONS["mae"].loco_basis.spec
PRODUCTS = ASSOCIATIONS["mae"].embedding_associations.spec
BASIS = ASSOCIATIONS["mae"].association_basis.spec.asset
SCORES = ("mae", "edp_scores")
LOCO = "[loco]\nenabled = true\nvariants = 150\nheritability = 0.4\nseed = 3\n"


def workspace(folder: Path, toml: str) -> Workspace:
    """Return a workspace of a cohort of four chromosomes, all people female."""
    cohort = folder / "cohort"
    cohort.mkdir(parents=True)
    (cohort / "cohort.toml").write_text(HEAD + toml)
    for chromosome, calls in CALLS.items():
        positions = [5_000_000 + i for i in range(VARIANTS)]
        write_bed(cohort / f"chr{chromosome}.bed", chromosome, calls.astype(float), positions, [2] * N)
    home = Home(folder / "home")
    home.root.mkdir()
    home.bind(cohort)
    return Workspace(home)


def basis() -> pl.DataFrame:
    """Return an association basis of z itself: scores are linear in it."""
    covariates = covariate_basis([AGE])
    columns = {"basis": pl.Series(whitened_basis(Z, covariates)), "covariates": pl.Series(covariates)}
    return pl.DataFrame({"organ": "liver", "eid": EIDS, "sex": 0.0, **columns})


def offset(where: Workspace) -> Partition:
    """Store the organ's basis, make its offsets and store them."""
    where.lake.write(BASIS, ORGAN, "association_basis", Stored(basis()), "")
    made = loco.loco_basis(StageRun(ORGAN, OFFSET, where), Partition(where.lake, BASIS, ORGAN))
    where.lake.write(OFFSET.asset, ORGAN, "loco_basis", made, "")
    return Partition(where.lake, OFFSET.asset, ORGAN)


def products(where: Workspace, loco_basis: Partition | None) -> Partitions:
    cells = [cell_of({"organ": "liver", "chromosome": c}) for c in where.chromosomes]
    for cell in cells:
        made = embedding_associations(StageRun(cell, PRODUCTS, where), basis(), loco_basis)
        where.lake.write(PRODUCTS.asset, cell, "embedding_associations", made, "")
    return Partitions(where.lake, PRODUCTS.asset, cells)


def phenotypes() -> dict[tuple[str, int | None], np.ndarray]:
    return {("classifier", None): Z @ [1.0, 0.3, -2.0], ("clustering", 3): 1 - Z @ [0.0, 1.0, 1.0]}


def gwas(where: Workspace, loco_basis: Partition | None) -> tuple[pl.DataFrame, Together]:
    """Return the cell's GWAS of two scores as the stages make it."""
    label = {"encoder": "mae", "organ": "liver", "icd10": "K76"}
    scores = pl.concat(
        pl.DataFrame({**label, "method": method, "cluster": cluster, "eid": EIDS, "score": y, "label_used": True},
                     schema_overrides={"cluster": pl.Int32})
        for (method, cluster), y in phenotypes().items()
    )  # fmt: skip
    where.lake.write(SCORES, CELL, "edp_scores", Stored(scores), "")
    run = StageRun(CELL, ASSOCIATIONS["mae"].gwas_summary_stats.spec, where)
    stored = products(where, loco_basis)
    together = gwas_summary_stats([run], [Partition(where.lake, SCORES, CELL)], [basis()], [stored], [loco_basis])
    return pl.concat([conform(pl.DataFrame(frame), "gwas_summary_stats") for _, frame in together.frames]), together


def test_gwas__is_least_squares_of_the_offset_phenotype(tmp_path: Path) -> None:
    where = workspace(tmp_path, LOCO)
    made = offset(where)
    assert made.rows == N * len(CHROMOSOMES)
    statistics, together = gwas(where, made)
    assert statistics.height == 2 * len(CHROMOSOMES) * VARIANTS
    # 180 autosomal variants, of which 150 are wanted.
    chosen = np.linspace(0, 179, 150).astype(int)
    calls = np.vstack([CALLS[c] for c in "123"])[chosen].T.astype(np.int8)
    Y, Q = np.column_stack(list(phenotypes().values())), covariate_basis([AGE])
    ridge = LocoRidge(calls, np.repeat(list("123"), VARIANTS)[chosen].tolist(), Y, Q, heritability=0.4, seed=3)
    plain = gwas(workspace(tmp_path / "plain", ""), None)[0]
    residual = Y - Q @ (Q.T @ Y)
    for i, (method, cluster) in enumerate(phenotypes()):
        left = []
        for chromosome in CHROMOSOMES:
            y = Y[:, i] - ridge.prediction(chromosome)[:, i]
            left.append(np.var(y - Q @ (Q.T @ y)))
            rows = statistics.filter(method=method, chromosome=chromosome)
            for row, g in list(zip(rows.iter_rows(named=True), CALLS[chromosome], strict=True))[::12]:
                fit = sm.OLS(y, np.column_stack([g, np.ones(N), AGE])).fit()
                assert row["beta"] == pytest.approx(fit.params[0], rel=1e-4, abs=1e-5)
                assert row["standard_error"] == pytest.approx(fit.bse[0], rel=1e-5)
                assert row["neg_log_10_p_value"] == pytest.approx(-np.log10(fit.pvalues[0]), abs=1e-3)
        told = together.members[0].metadata["loco_variance_predicted"][f"{method} {cluster}"]
        assert told == pytest.approx(1 - np.mean(left) / np.var(residual[:, i]), abs=1e-4)
        assert told > 0.1
    assert not np.allclose(plain["neg_log_10_p_value"], statistics["neg_log_10_p_value"], atol=0.1)


def test_permuted_labels__are_tested_with_the_same_offsets(tmp_path: Path) -> None:
    where = workspace(tmp_path, LOCO)
    made = offset(where)
    statistics, _ = gwas(where, made)
    y = np.column_stack(list(phenotypes().values()))
    run = StageRun(ORGAN, REGISTRY["mae", "permuted_labels"].spec, where)
    cells = [cell_of({"organ": "liver", "chromosome": c}) for c in where.chromosomes]
    found = _associations(run, y, basis(), Partitions(where.lake, PRODUCTS.asset, cells), made)
    p = statistics.filter(method="classifier")["neg_log_10_p_value"]
    assert found[0]["lambda_gc"] == pytest.approx(lambda_gc(p.to_numpy()), rel=1e-3)


def test_gwas__without_loco_is_as_it_was(tmp_path: Path) -> None:
    where = workspace(tmp_path, "[loco]\nvariants = 77\n")
    made = offset(where)
    assert made.rows == 0
    statistics, _ = gwas(where, made)
    versions = [where.lake.provenance(PRODUCTS.asset, cell).version for cell in products(where, made)]
    assert versions == [where.lake.provenance(PRODUCTS.asset, cell).version for cell in products(where, None)]
    assert_frame_equal(statistics, gwas(where, None)[0])


@pytest.mark.parametrize(
    "asset", ["embedding_associations", "gwas_summary_stats", "few_shot_gwas_summary_stats", "permuted_labels"]
)
def test_fingerprints__are_those_without_the_input_unless_enabled(tmp_path: Path, asset: str) -> None:
    assert defs  # every stage is registered
    spec = REGISTRY["mae", asset].spec
    keys = {"organ": "liver", "chromosome": "1", "icd10": "K76"}
    cell = cell_of({name: keys[name] for name in spec.dimensions})
    inputs = {name: above for name, above in spec.inputs.items() if name != "loco_basis"}
    assert inputs != spec.inputs
    for toml, same in (("[loco]\nvariants = 77\n", True), (LOCO, False)):
        where = workspace(tmp_path / str(same), toml)
        where.lake.write(BASIS, ORGAN, "association_basis", Stored(basis()), "")
        before = Fingerprints(where, spec).of(cell)
        offset(where)
        without = Fingerprints(where, replace(spec, inputs=inputs, optional=())).of(cell)
        assert before == without  # a home that was made before there were offsets
        assert (Fingerprints(where, spec).of(cell) == without) is same


def test_direct_gwas__tells_that_it_has_no_offset(tmp_path: Path) -> None:
    where = workspace(tmp_path, LOCO + '[classifier]\nscore = "cross_fitted"\n')
    statistics, together = gwas(where, offset(where))
    assert together.members[0].metadata["loco_classifier"] == loco.NO_OFFSET
    y, g = phenotypes()["classifier", None], CALLS["2"][4]
    row = statistics.filter(method="classifier", chromosome="2").row(4, named=True)
    fit = sm.OLS(y, np.column_stack([g, np.ones(N), AGE])).fit()
    assert row["beta"] == pytest.approx(fit.params[0], rel=1e-4, abs=1e-5)


def test_tested_basis__refuses_offsets_of_other_people(tmp_path: Path) -> None:
    made = offset(workspace(tmp_path, LOCO))
    with pytest.raises(RuntimeError, match="loco_basis has 400 people on chromosome 2, association_basis 399"):
        loco.tested_basis(basis()[1:], made, "2")


def test_loco_basis__refuses_a_cohort_without_common_variants(tmp_path: Path) -> None:
    where = workspace(tmp_path, LOCO + "[ancestry]\nmin_maf = 0.49\nmax_missing = 0\n")
    for chromosome in "123":
        path = where.cohort.genotype_paths()[chromosome]
        path.write_bytes(b"\x6c\x1b\x01" + b"\xff" * (VARIANTS * N // 4))  # nobody carries an allele
    with pytest.raises(ValueError, match="mae/loco_basis: none of 180 autosomal variants outside long-range LD has"):
        offset(where)


def test_settings__loco() -> None:
    assert LocoSettings(variants=5, seed=4).fingerprint() == LocoSettings().fingerprint()
    assert LocoSettings(enabled=True).fingerprint() != LocoSettings(enabled=True, seed=4).fingerprint()
    with pytest.raises(ValueError, match=r"loco\.enabled is for the projection; gwas\.engine is 'regenie'"):
        Settings.from_toml({"loco": {"enabled": True}, "gwas": {"engine": "regenie"}})
