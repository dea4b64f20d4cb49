"""`edp gwas` from files to files: against statsmodels and plink2, people and phenotypes left out, X, predictions."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm
from click.testing import CliRunner

from edp_assets.cli import cli
from edp_assets_tests.science.genetics.bgen_writer import hard_calls, write_bgen

N, VARIANTS = 600, 40
COLUMNS = [
    "chromosome", "base_pair_location", "effect_allele", "other_allele", "effect_allele_frequency", "beta",
    "standard_error", "neg_log_10_p_value", "rsid", "n",
]  # fmt: skip
IIDS = [f"p{i}" for i in range(N)]


def write_bed(path: Path, G: np.ndarray, chromosomes: list[str], sex: np.ndarray | None = None) -> Path:
    """Write a PLINK 1 fileset of dosages of A1, NaN missing; sex 1 male, 2 female, 0 unknown."""
    n = G.shape[1]
    codes = np.zeros((len(G), -(-n // 4) * 4), dtype=np.uint8)
    codes[:, :n] = np.select([np.isnan(G), G == 2, G == 1], [1, 0, 2], 3)
    packed = codes.reshape(len(G), -1, 4) @ np.array([1, 4, 16, 64], dtype=np.uint8)
    path.write_bytes(b"\x6c\x1b\x01" + packed.astype(np.uint8).tobytes())
    lines = [f"{c}\trs{i}\t0\t{5_000_000 + i}\tA\tG\n" for i, c in enumerate(chromosomes)]
    path.with_suffix(".bim").write_text("".join(lines))
    sex = np.zeros(n, int) if sex is None else sex
    path.with_suffix(".fam").write_text("".join(f"0\t{IIDS[i]}\t0\t0\t{sex[i]}\t-9\n" for i in range(n)))
    return path


def write_table(path: Path, columns: dict[str, np.ndarray], iids: list[str] = IIDS) -> Path:
    frame = pl.DataFrame({"#FID": ["0"] * len(iids), "IID": iids, **columns})
    frame.with_columns(pl.col(pl.Float64).fill_nan(None)).write_csv(path, separator="\t", null_value="NA")
    return path


@pytest.fixture
def files(tmp_path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Genotypes without missing calls, three phenotypes of different people, two covariates, and the options of it."""
    rng = np.random.default_rng(0)
    G = rng.binomial(2, rng.uniform(0.1, 0.5, (VARIANTS, 1)), (VARIANTS, N)).astype(float)
    X = rng.normal(size=(N, 2))
    Y = rng.normal(size=(N, 3)) + 0.5 * G[:3].T + X[:, :1]
    Y[rng.random((N, 3)) < [0, 0.1, 0.5]] = np.nan
    write_bed(tmp_path / "g.bed", G, ["1"] * 20 + ["2"] * (VARIANTS - 20))
    write_table(tmp_path / "y.tsv", {f"y{k}": Y[:, k] for k in range(3)})
    write_table(tmp_path / "c.tsv", {"c1": X[:, 0], "c2": X[:, 1]})
    return G, X, Y, options(tmp_path)


def options(folder: Path, genotypes: str = "g.bed", phenotypes: str = "y.tsv", covariates: str = "c.tsv") -> list[str]:
    found = {"genotypes": genotypes, "phenotypes": phenotypes, "covariates": covariates, "out": "out"}
    return [part for name, file in found.items() for part in (f"--{name}", str(folder / file))]


def gwas(arguments: list[str], exit_code: int = 0) -> str:
    done = CliRunner().invoke(cli, ["gwas", *arguments])
    assert done.exit_code == exit_code, done.output
    assert "Traceback" not in done.output
    return done.output


def read(folder: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(folder / "out" / f"{name}.parquet")


def test_gwas__equals_statsmodels(tmp_path: Path, files):
    G, X, Y, arguments = files
    told = gwas(arguments)
    for k in range(3):
        has = ~np.isnan(Y[:, k])
        found = read(tmp_path, f"y{k}")
        assert found.columns == COLUMNS
        assert found["n"].unique().to_list() == [has.sum()]
        assert found["rsid"].to_list() == [f"rs{i}" for i in range(VARIANTS)]
        assert found["chromosome"].to_list() == ["1"] * 20 + ["2"] * (VARIANTS - 20)
        np.testing.assert_allclose(found["effect_allele_frequency"], G[:, has].mean(axis=1) / 2, rtol=1e-12)
        for v in range(VARIANTS):
            fit = sm.OLS(Y[has, k], np.column_stack([np.ones(has.sum()), X[has], G[v, has]])).fit()
            row = found.row(v, named=True)
            np.testing.assert_allclose(row["beta"], fit.params[-1], rtol=1e-8, atol=1e-12)
            np.testing.assert_allclose(row["standard_error"], fit.bse[-1], rtol=1e-9)
            np.testing.assert_allclose(row["neg_log_10_p_value"], -np.log10(fit.pvalues[-1]), rtol=1e-6)
        assert f"y{k}: {has.sum()} people, {VARIANTS} variants" in told
        assert found["neg_log_10_p_value"][k] > 3  # the planted one


@pytest.mark.skipif(shutil.which("plink2") is None, reason="plink2 is not installed")
def test_gwas__equals_plink2(tmp_path: Path, files):
    gwas(files[-1])
    command = ["plink2", "--bfile", "g", "--pheno", "y.tsv", "--covar", "c.tsv", "--glm", "hide-covar", "log10"]
    command += ["--no-psam-pheno", "--out", "p"]
    subprocess.run(command, cwd=tmp_path, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}, check=True)
    for k in range(3):
        peer, found = pl.read_csv(tmp_path / f"p.y{k}.glm.linear", separator="\t"), read(tmp_path, f"y{k}")
        assert peer["ID"].to_list() == found["rsid"].to_list()
        sign = np.where(peer["A1"] == found["effect_allele"], 1, -1)
        np.testing.assert_allclose(found["neg_log_10_p_value"], peer["LOG10_P"], atol=1e-4)
        np.testing.assert_allclose(found["beta"] * sign, peer["BETA"], rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(found["n"], peer["OBS_CT"])


def test_gwas__binary_agrees_with_logistic_regression(tmp_path: Path, files):
    G, X, _, arguments = files
    rng = np.random.default_rng(1)
    # Large enough for the score test to be Wald's, within 2%.
    y = (rng.random(N) < 1 / (1 + np.exp(-(0.2 * X[:, 0] - 0.3 + 0.25 * (G[0] - 0.5))))).astype(float)
    y2 = np.where(rng.random(N) < 0.1, np.nan, y)
    write_table(tmp_path / "y.tsv", {"d": y, "plink": y2 + 1, "rare": (np.arange(N) < 9).astype(float), "many": G[0]})
    told = gwas([*arguments, "--binary"])
    assert "plink: of 1 and 2, taken as PLINK's 1 control, 2 case" in told
    assert "rare: skipped: 9 cases and 591 controls; at least 10 of each are wanted" in told
    assert "many: skipped: not binary: wanted 0 and 1 (or 1 and 2), found 0, 1, 2" in told
    for name, values in (("d", y), ("plink", y2)):
        has = ~np.isnan(values)
        found = read(tmp_path, name)
        assert found.columns == [*COLUMNS, "cases", "controls"]
        assert found.select("n", "cases", "controls").row(0) == (has.sum(), np.nansum(values), (values == 0).sum())
        fits = [sm.Logit(values[has], sm.add_constant(np.column_stack([X, g])[has])).fit(disp=0) for g in G]
        beta, p = np.array([[fit.params[-1], fit.pvalues[-1]] for fit in fits]).T
        np.testing.assert_allclose(found["beta"], beta, rtol=0.02, atol=0.005)
        np.testing.assert_allclose(found["neg_log_10_p_value"], -np.log10(p), rtol=0.02, atol=0.005)
    assert not (tmp_path / "out/rare.parquet").exists()


def test_gwas__a_phenotype_is_the_same_alone(tmp_path: Path, files):
    *_, Y, arguments = files
    together = gwas([*arguments, "--maf", "0.2", "--mac", "100"])
    assert "min_maf" in together
    among = [read(tmp_path, f"y{k}") for k in range(3)]
    for k in range(3):
        write_table(tmp_path / "y.tsv", {f"y{k}": Y[:, k]})
        gwas([*arguments, "--maf", "0.2", "--mac", "100"])
        alone = read(tmp_path, f"y{k}")
        assert alone.drop("beta", "standard_error", "neg_log_10_p_value").equals(
            among[k].drop("beta", "standard_error", "neg_log_10_p_value")
        )
        for name in ("beta", "standard_error", "neg_log_10_p_value"):
            np.testing.assert_allclose(alone[name], among[k][name], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("suffix", [".pgen", ".bgen"])
def test_gwas__formats_agree(tmp_path: Path, files, suffix: str):
    G, _, _, arguments = files
    gwas(arguments)
    bed = read(tmp_path, "y1")
    path = tmp_path / f"h{suffix}"
    if suffix == ".bgen":
        write_bgen(path, hard_calls(G, alleles=("G", "A")), IIDS)
    else:
        import pgenlib

        with pgenlib.PgenWriter(str(path).encode(), N, variant_ct=VARIANTS) as writer:
            for row in G.astype(np.int8):
                writer.append_biallelic(row)
        rows = "".join(f"1\t{5_000_000 + i}\trs{i}\tG\tA\n" for i in range(VARIANTS))
        path.with_suffix(".pvar").write_text("#CHROM\tPOS\tID\tREF\tALT\n" + rows)
        path.with_suffix(".psam").write_text("#IID\n" + "\n".join(IIDS) + "\n")
    gwas(options(tmp_path, genotypes=path.name))
    other = read(tmp_path, "y1")
    np.testing.assert_allclose(other["beta"], bed["beta"], rtol=1e-8)
    np.testing.assert_allclose(other["neg_log_10_p_value"], bed["neg_log_10_p_value"], rtol=1e-8)


def test_gwas__missing_calls_are_mean_imputed_among_the_phenotypes_people(tmp_path: Path, files):
    G, X, Y, arguments = files
    G[:, :200] = np.where(np.random.default_rng(2).random((VARIANTS, 200)) < 0.1, np.nan, G[:, :200])
    write_bed(tmp_path / "g.bed", G, ["1"] * VARIANTS)
    gwas(arguments)
    has = ~np.isnan(Y[:, 2])
    found = read(tmp_path, "y2")
    for v in range(0, VARIANTS, 5):
        g = G[v, has]
        g = np.where(np.isnan(g), np.nanmean(g), g)
        fit = sm.OLS(Y[has, 2], np.column_stack([np.ones(has.sum()), X[has], g])).fit()
        np.testing.assert_allclose(found["beta"][v], fit.params[-1], rtol=1e-8)
        np.testing.assert_allclose(found["neg_log_10_p_value"][v], -np.log10(fit.pvalues[-1]), rtol=1e-6)


def test_gwas__people_are_joined_by_iid_and_every_mismatch_is_told(tmp_path: Path, files):
    _, X, Y, arguments = files
    order = np.random.default_rng(3).permutation(N)
    gwas(arguments)
    before = read(tmp_path, "y0")
    iids = [IIDS[i] for i in order]
    write_table(tmp_path / "y.tsv", {"y0": np.append(Y[order, 0], 1.0)}, [*iids, "stranger"])
    write_table(tmp_path / "c.tsv", {"c1": X[order, 0], "c2": X[order, 1]}, iids)
    assert "1 people of " in gwas(arguments)
    after = read(tmp_path, "y0")
    np.testing.assert_allclose(after["beta"], before["beta"], rtol=1e-9)
    c1 = X[5:, 0].copy()
    c1[0] = np.nan
    write_table(tmp_path / "y.tsv", {"y0": Y[2:, 0]}, IIDS[2:])
    write_table(tmp_path / "c.tsv", {"c1": c1}, IIDS[5:])
    told = gwas(arguments)
    assert "2 people of the genotypes are not in" in told
    assert "3 people have no row in" in told
    assert "1 people have a covariate missing (first: p5): left out" in told
    assert "594 people have genotypes, a row of phenotypes and every covariate" in told
    assert read(tmp_path, "y0")["n"][0] == 594


def test_gwas__what_cannot_be_associated_is_named_and_the_others_go_on(tmp_path: Path, files):
    *_, Y, arguments = files
    nobody = np.full(N, np.nan)
    table = {"../a.b/c": Y[:, 0], "flat": np.ones(N), "nobody": nobody, "two": (Y[:, 0] > 0).astype(float)}
    write_table(tmp_path / "y.tsv", table)
    told = gwas(arguments)
    assert "flat: skipped: all 600 people have the value 1: nothing to associate" in told
    assert "nobody: skipped: nobody has a value, genotypes and every covariate" in told
    assert "two: of two values, treated as quantitative; --binary tests cases against controls" in told
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["%2E%2E%2Fa%2Eb%2Fc.parquet", "two.parquet"]
    (tmp_path / "out/flat.parquet").touch()
    write_table(tmp_path / "y.tsv", {"flat": np.ones(N)})
    told = gwas(arguments, exit_code=1)
    assert "flat.parquet, of an earlier run, stays as it is" in told
    assert "none of the 1 phenotypes can be associated" in told


def test_gwas__a_variant_that_covariates_explain_is_counted(tmp_path: Path, files):
    G, *_, arguments = files
    write_table(tmp_path / "c.tsv", {"c1": G[7]})
    told = gwas(arguments)
    assert "y0: 600 people, 39 variants (left out: explained by covariates 1)" in told
    assert "rs7" not in read(tmp_path, "y0")["rsid"]


def test_gwas__no_variant_passes_is_an_empty_file(tmp_path: Path, files):
    told = gwas([*files[-1], "--mac", "5000"])
    assert "y0: 600 people, 0 variants (left out: min_mac 40)" in told
    assert read(tmp_path, "y0").columns == COLUMNS


def test_gwas__a_pattern_of_files(tmp_path: Path, files):
    G, *_, arguments = files
    gwas(arguments)
    whole = read(tmp_path, "y1")
    write_bed(tmp_path / "chr1.bed", G[:20], ["1"] * 19 + ["7"])
    write_bed(tmp_path / "chr2.bed", G[20:], ["chr2"] * (VARIANTS - 20))
    told = gwas(options(tmp_path, genotypes="chr{chromosome}.bed"))
    assert "chromosome 1: 1 variants of other chromosomes in chr1.bed left out" in told
    found = read(tmp_path, "y1")
    assert found["chromosome"].to_list() == ["1"] * 19 + ["2"] * (VARIANTS - 20)
    expected = np.delete(whole["beta"].to_numpy(), 19)
    np.testing.assert_allclose(found["beta"], expected, rtol=1e-9)
    assert "no such file for any of the chromosomes" in gwas(options(tmp_path, genotypes="no{chromosome}.bed"), 1)


def test_gwas__x_needs_sex_and_counts_males_twice(tmp_path: Path, files):
    G, X, Y, arguments = files
    male = np.arange(N) % 2 == 0
    x = np.where(male, np.random.default_rng(4).binomial(1, 0.4, (VARIANTS, N)), G)
    x[33, 10] = 2  # two alleles of a male who has one X
    chromosomes = ["1"] * 20 + ["23"] * (VARIANTS - 20)
    write_bed(tmp_path / "g.bed", x, chromosomes)
    told = gwas(arguments)
    assert "chromosome X: 20 variants skipped: no sex is known" in told
    assert read(tmp_path, "y1").height == 20
    write_bed(tmp_path / "g.bed", x, chromosomes, np.where(male, 1, 2))
    told = gwas(arguments)
    assert "males' X counted 0 or 1, doubled; 1 calls of two alleles taken for missing" in told
    by_fam = read(tmp_path, "y1")
    has = ~np.isnan(Y[:, 1])
    for v in (20, 33):
        g = np.where(male, 2 * x[v], x[v])[has]
        g[g > 2] = g[g <= 2].mean()
        fit = sm.OLS(Y[has, 1], np.column_stack([np.ones(has.sum()), X[has], g])).fit()
        np.testing.assert_allclose(by_fam["beta"][v], fit.params[-1], rtol=1e-8)
        np.testing.assert_allclose(by_fam["effect_allele_frequency"][v], g.mean() / 2, rtol=1e-6)
    write_bed(tmp_path / "g.bed", x, chromosomes)
    for females, told_so in ((0, False), (2, True)):
        write_table(tmp_path / "c.tsv", {"c1": X[:, 0], "Sex": np.where(male, 1, females)})
        assert ("taken as PLINK's 1 male, 2 female" in gwas(arguments)) is told_so
        assert read(tmp_path, "y1").height == VARIANTS


def write_loco(folder: Path, names: list[str], offsets: np.ndarray) -> Path:
    """Write predictions (n_chromosomes, n_participants) as regenie does, the same for each phenotype."""
    lines = ["FID_IID " + " ".join(f"0_{iid}" for iid in IIDS)]
    lines += [f"{c} " + " ".join(f"{v:.12g}" for v in row) for c, row in enumerate(offsets, 1)]
    (folder / "s_1.loco").write_text("\n".join(lines) + "\n")
    (folder / "s_pred.list").write_text("".join(f"{name} s_1.loco\n" for name in names))
    return folder / "s_pred.list"


def test_gwas__each_chromosome_has_its_own_predictions(tmp_path: Path, files):
    G, X, Y, arguments = files
    offsets = np.random.default_rng(5).normal(size=(2, N))
    pred = write_loco(tmp_path, ["y0", "y1"], offsets)
    told = gwas([*arguments, "--pred", str(pred)])
    assert f"y2: skipped: no line in {pred}" in told
    for k in range(2):
        has = ~np.isnan(Y[:, k])
        found = read(tmp_path, f"y{k}")
        for v in range(0, VARIANTS, 3):
            y = (Y[:, k] - offsets[0 if v < 20 else 1])[has]
            design = np.column_stack([np.ones(has.sum()), X[has], G[v, has]])
            beta, rss, *_ = np.linalg.lstsq(design, y, rcond=None)
            np.testing.assert_allclose(found["beta"][v], beta[-1], rtol=1e-8, atol=1e-10)
            error = np.sqrt(rss[0] / (has.sum() - 4) * np.linalg.inv(design.T @ design)[-1, -1])
            np.testing.assert_allclose(found["standard_error"][v], error, rtol=1e-8)


def test_gwas__predictions_are_offsets_of_a_binary_phenotype(tmp_path: Path, files):
    G, X, _, arguments = files
    rng = np.random.default_rng(6)
    offsets = rng.normal(size=(2, N))
    y = (rng.random(N) < 1 / (1 + np.exp(-offsets[0]))).astype(float)
    write_table(tmp_path / "y.tsv", {"d": y})
    gwas([*arguments, "--binary", "--pred", str(write_loco(tmp_path, ["d"], offsets))])
    found = read(tmp_path, "d")
    for v in (0, 5, 25, 30):
        design = sm.add_constant(np.column_stack([X, G[v]]))
        fit = sm.GLM(y, design, family=sm.families.Binomial(), offset=offsets[0 if v < 20 else 1]).fit()
        np.testing.assert_allclose(found["beta"][v], fit.params[-1], rtol=0.03, atol=0.01)
        np.testing.assert_allclose(found["neg_log_10_p_value"][v], -np.log10(fit.pvalues[-1]), rtol=0.03, atol=0.01)


def test_gwas__who_has_no_prediction_is_left_out_and_a_chromosome_without_is_skipped(tmp_path: Path, files):
    *_, arguments = files
    pred = write_loco(tmp_path, ["y0"], np.zeros((1, N)))
    text = (tmp_path / "s_1.loco").read_text()
    (tmp_path / "s_1.loco").write_text(text.replace(" 0_p3 ", " 0_q3 "))
    told = gwas([*arguments, "--pred", str(pred)])
    assert "y0: 1 people have no prediction in" in told
    assert "(first: p3): left out" in told
    assert "chromosome 2: 20 variants skipped: s_1.loco has no predictions for it" in told
    assert read(tmp_path, "y0").select("n", "chromosome").unique().rows() == [(N - 1, "1")]


@pytest.mark.parametrize("name", ["Y1", "Y2"])
def test_gwas__regenie_s_published_effects(tmp_path: Path, name: str):
    data = Path(__file__).resolve().parents[2] / "shared/data/regenie"
    if not data.is_dir():
        pytest.skip("no public data in ../shared/data/regenie")
    pred = tmp_path / "fit_lin_out_pred.list"
    pred.write_text(f"Y1 {data}/fit_lin_out_1.loco\nY2 {data}/fit_lin_out_2.loco\n")
    arguments = ["--genotypes", f"{data}/example.bgen", "--phenotypes", f"{data}/phenotype.txt"]
    arguments += ["--covariates", f"{data}/covariates.txt", "--out", str(tmp_path / "out"), "--pred", str(pred)]
    gwas([*arguments, "--maf", "0", "--mac", "5"])
    published = pl.read_csv(data / f"test_lin_out_{name}.regenie", separator=" ")
    found = read(tmp_path, name)
    assert found["rsid"].to_list() == [str(each) for each in published["ID"]]
    np.testing.assert_allclose(found["beta"], published["BETA"], atol=1e-5)
    np.testing.assert_allclose(found["effect_allele_frequency"], published["A1FREQ"], atol=1e-6)


def test_gwas__nobody_in_common_says_how_the_ids_look(tmp_path: Path, files):
    *_, Y, arguments = files
    write_table(tmp_path / "y.tsv", {"y0": Y[:, 0]}, [f"0_{iid}" for iid in IIDS])
    told = gwas(arguments, exit_code=1)
    assert "the genotypes begin with p0, p1, the phenotypes with 0_p0, 0_p1, the covariates with p0, p1" in told


def test_gwas__a_failure_leaves_no_half_file(tmp_path: Path, files):
    gwas(files[-1])
    before = read(tmp_path, "y0")
    bed = tmp_path / "g.bed"
    write_bed(tmp_path / "chr1.bed", files[0], ["1"] * VARIANTS)
    shutil.copy(bed, tmp_path / "chr2.bed")  # its .bim and .fam are missing
    told = gwas(options(tmp_path, genotypes="chr{chromosome}.bed"), exit_code=1)
    assert "chr2.bim is missing" in told
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["y0.parquet", "y1.parquet", "y2.parquet"]
    assert read(tmp_path, "y0").equals(before)


def test_gwas__interrupted_leaves_nothing(tmp_path: Path, files, monkeypatch: pytest.MonkeyPatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edp_assets.gwas._tested", interrupt)
    told = gwas(files[-1], exit_code=1)
    assert "edp: interrupted: nothing was written to" in told
    assert list((tmp_path / "out").iterdir()) == []


def test_gwas__starts_without_dagster_and_torch(files):
    code = (
        "import sys; from edp_assets.cli import cli; cli(sys.argv[1:], standalone_mode=False);"
        "slow = {'dagster', 'torch', 'scanpy', 'sklearn', 'pandas', 'duckdb'} & set(sys.modules);"
        "sys.exit(f'{slow} imported' if slow else 0)"
    )
    command = [sys.executable, "-c", code, "gwas", *files[-1]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
