"""GWAS of the assets by regenie (a stand-in): the table of the other engine, resumed, cleaned up after, told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from edp_assets.assets import baselines
from edp_assets.assets.people import Enrolled
from edp_assets.assets.stage import REGISTRY
from edp_assets.cohort.check import check_cohort
from edp_assets.engines.steps import EngineError
from edp_assets.storage.lake import Stored, cell_of
from edp_assets.storage.schemas import conform, empty
from edp_assets.storage.workspace import Fingerprints, Workspace
from edp_assets_tests.engines.installed import calls, install, steps, wish
from edp_assets_tests.tiny_gwas import (
    AGE,
    CELL,
    EIDS,
    KEY,
    VARIANTS,
    N,
    made,
    projected,
    scores,
    stage_run,
    tables,
    workspace,
    write_folder,
)

REGENIE = '[gwas]\nengine = "regenie"\n[gwas.regenie]\npath = "bin/regenie"\nstep1_genotypes = "chr1.bed"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = write_folder(tmp_path)
    install(folder / "bin")
    return folder


def by_regenie(where: Workspace, edps: pl.DataFrame) -> tuple[pl.DataFrame, Stored]:
    together = made(where, edps)
    return tables(together)[0], together.members[0]


def test_gwas_summary_stats__regenie_gives_the_other_engine_s_table(folder: Path) -> None:
    expected, by_products = projected(workspace(folder), scores())
    expected = expected.sort(KEY)
    where = workspace(folder, REGENIE)
    found, stored = by_regenie(where, scores())
    found = found.sort(KEY)
    assert found.columns == expected.columns == empty("gwas_summary_stats").columns
    exact = [*KEY, "encoder", "organ", "icd10", "effect_allele", "other_allele"]
    assert found.select(exact).equals(expected.select(exact))
    assert found.height == 2 * 2 * (VARIANTS - 4)
    for name in ("effect_allele_frequency", "beta"):
        np.testing.assert_allclose(found[name], expected[name], rtol=2e-5)
    # Its score test takes the variance without the variant: t^2 = chi2 (df - 1) / (df - chi2) for the t-test.
    chi2, df = (found["beta"] / found["standard_error"]).to_numpy() ** 2, N - 2
    t2 = (expected["beta"] / expected["standard_error"]).to_numpy() ** 2
    np.testing.assert_allclose(chi2 * (df - 1) / (df - chi2), t2, rtol=1e-4)
    assert found["n"].unique().to_list() == [N]
    assert stored.metadata == {
        "phenotypes": 2,
        "engine": "regenie v3.4.1.gz",
        "variants_read": 2 * 2 * VARIANTS,
        "variants_left_out": {"repeated": 4, "missing": 4, "min_maf": 4, "min_mac or min_info": 4},
    }
    theirs = by_products.notes["phenotypes"]
    for note, other in zip(stored.notes["phenotypes"], theirs, strict=True):
        assert note | {"lambda_gc": 0} == other | {"lambda_gc": 0}
        assert note["lambda_gc"] == pytest.approx(other["lambda_gc"], rel=0.02)
    # One run for all EDPs of the cell: step 1 once, step 2 once a chromosome.
    assert steps(folder / "bin/regenie") == ["1", "2 1", "2 2"]


def test_gwas_summary_stats__of_regenie_goes_on_after_a_kill_and_leaves_logs(folder: Path) -> None:
    where, executable = workspace(folder, REGENIE), folder / "bin/regenie"
    wish(executable, fail="chr2")
    with pytest.raises(EngineError, match=r"(?s)regenie chr2 failed.*failed to fit the null model"):
        by_regenie(where, scores())
    wish(executable, fail="")
    found, _ = by_regenie(where, scores())
    assert found.height == 2 * 2 * (VARIANTS - 4)
    assert steps(executable) == ["1", "2 1", "2 2", "2 2"]
    work = where.home.work / "regenie/mae/gwas_summary_stats/organ=liver/phenotypes_1_to_2"
    assert {path.name for path in work.iterdir()} == {f"{s}.output.log" for s in ("step1", "chr1", "chr2")}


def test_gwas_summary_stats__failed_tests_of_regenie_are_counted(folder: Path) -> None:
    wish(folder / "bin/regenie", test_fail="rs1_7")
    found, stored = by_regenie(workspace(folder, REGENIE), scores())
    assert "rs1_7" not in found["rsid"]
    assert stored.metadata["variants_left_out"]["test_failed"] == 2


def test_gwas_summary_stats__of_no_phenotype_starts_no_regenie(folder: Path) -> None:
    found, stored = by_regenie(workspace(folder, REGENIE), scores().clear())
    assert found.height == 0
    assert "no phenotype of the cell is selected" in stored.metadata["skipped"]
    assert calls(folder / "bin/regenie") == []


def test_gwas_summary_stats__cells_of_an_organ_share_the_runs_of_regenie(folder: Path) -> None:
    where, executable = workspace(folder, REGENIE + "phenotypes_at_once = 3\n"), folder / "bin/regenie"
    second = scores().with_columns(icd10=pl.lit("I10"), score=pl.col("score") * 2 + 1)
    edps = pl.concat([scores(), second])
    other = cell_of({"organ": "liver", "icd10": "I10"})
    wish(executable, fail="chr2")
    with pytest.raises(EngineError, match="chr2 failed"):
        tables(made(where, edps, [CELL, other]))
    wish(executable, fail="")
    together = made(where, edps, [CELL, other])
    of_cell, of_other = tables(together)
    run = ["1", "2 1", "2 2"]
    assert steps(executable) == [*run, "2 2", *run]  # three phenotypes, killed at their last chromosome, and one
    assert [set(each["icd10"]) for each in (of_cell, of_other)] == [{"K76"}, {"I10"}]
    np.testing.assert_allclose(of_other["beta"], 2 * of_cell["beta"], rtol=2e-5)
    assert together.members[0].metadata == together.members[1].metadata
    assert of_cell.equals(by_regenie(workspace(folder, REGENIE), edps)[0])


def test_gwas_summary_stats__of_regenie_is_stored_a_file_a_cell(folder: Path) -> None:
    where, other = workspace(folder, REGENIE), cell_of({"organ": "liver", "icd10": "I10"})
    together, asset = made(where, scores(), [CELL, other]), ("mae", "gwas_summary_stats")  # the other has no EDP
    where.lake.write_together(asset, [CELL, other], "gwas_summary_stats", together, ["", ""])
    assert where.lake.read(asset, CELL).height == 2 * 2 * (VARIANTS - 4)
    assert where.lake.read(asset, other).height == 0
    assert [note["method"] for note in where.lake.notes(asset, CELL)["phenotypes"]] == ["classifier", "clustering"]
    assert "skipped" in together.members[1].metadata


def test_gwas_summary_stats__of_regenie_stores_no_more_than_asked(folder: Path) -> None:
    whole, _ = by_regenie(workspace(folder, REGENIE), scores())
    asked = REGENIE.replace("[gwas]\n", "[gwas]\nstored_max_p = 0.2\n")
    found, stored = by_regenie(workspace(folder, asked), scores())
    assert found.equals(whole.filter(pl.col("neg_log_10_p_value") >= -np.log10(0.2)))
    assert 0 < found.height < whole.height
    assert stored.metadata["variants_not_stored"] == whole.height - found.height
    assert [note["variants"] for note in stored.notes["phenotypes"]] == [whole.height // 2] * 2
    full = asked.replace("[gwas]\n", '[gwas]\nfull_codes = ["K76"]\n')
    assert by_regenie(workspace(folder, full), scores())[0].equals(whole)


def test_usable__a_repeat_across_frames_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edp_assets.engines import regenie as engine

    whole, _ = by_regenie(workspace(folder, REGENIE), scores())

    def one_by_one(path: Path, counts: dict[str, int]) -> Iterator[pl.DataFrame]:
        return engine_read(path, counts, rows=1)

    engine_read = engine.read_step2
    monkeypatch.setattr(engine, "read_step2", one_by_one)
    assert by_regenie(workspace(folder, REGENIE), scores())[0].equals(whole)


@pytest.fixture
def participants() -> pl.DataFrame:
    columns = {"eid": EIDS, "age": AGE, "sex": [float(i % 2) for i in range(N)]}
    return pl.DataFrame(columns)


def test_baselines__a_binary_code_is_tested_by_firth(folder: Path, participants: pl.DataFrame) -> None:
    executable, where = folder / "bin/regenie", workspace(folder, REGENIE)
    cases = pl.DataFrame({"icd10": "K76", "eid": EIDS[::4]})
    run = stage_run(where, "icd10_whole_cohort/gwas_summary_stats", cell_of({"icd10": "K76"}))
    enrolled = Enrolled(participants, empty("genotype_pcs"), empty("relatives"))
    binary = baselines._binary_gwas(run, cases, participants.select("eid"), enrolled, "icd10_whole_cohort")
    found = pl.concat([conform(frame, "gwas_summary_stats") for frame in binary.frames])
    assert found["method"].unique().to_list() == ["icd10_whole_cohort"]
    assert binary.metadata["engine"] == "regenie v3.4.1.gz"
    assert binary.metadata["cases"] == N / 4
    assert all("--bt" in call for call in calls(executable))
    given = calls(executable)[1]
    assert given[given.index("--firth") :][:4] == ["--firth", "--approx", "--pThresh", "0.05"]


def test_fingerprints__regenie_s_settings_matter_to_regenie_alone(folder: Path) -> None:
    def of(toml: str, asset: str = "mae/gwas_summary_stats") -> str:
        where = workspace(folder, toml)
        return Fingerprints(where, REGISTRY[tuple(asset.split("/"))].spec).of(CELL)

    default = of("")
    assert of("[gwas.regenie]\nthreads = 4\nstep1_block_size = 7\nstep1_genotypes = 'chr1.bed'\n") == default
    chosen = of(REGENIE)
    assert chosen != default
    baseline = "organ_volume/gwas_summary_stats"
    assert of("[gwas]\nstored_max_p = 0.5\n", baseline) == of("", baseline) != of(REGENIE, baseline)
    assert of("[gwas]\nstored_max_p = 0.5\n") != default
    assert of(REGENIE + "threads = 4\nlow_memory = false\n") == chosen
    assert of(REGENIE + "step1_block_size = 7\n") != chosen
    (folder / "chr1.bim").write_text((folder / "chr1.bim").read_text() + "\n")  # step 1's file is another
    assert of(REGENIE) != chosen
    assert of("") == default
    assert of(REGENIE, "mae/edp_scores") == of("", "mae/edp_scores")


def test_check_cohort__tells_what_would_stop_regenie_before_any_work(folder: Path) -> None:
    def told(toml: str) -> list[str]:
        workspace(folder, toml)
        return [p.found for p in check_cohort(folder, deep=False) if p.where == "[gwas] engine"]

    assert told("") == told(REGENIE) == []
    (found,) = told(REGENIE.replace("bin/regenie", "bin/none"))
    assert found.startswith("wanted regenie 3.0 or later: bin/none is not an executable file")
    (found,) = told(REGENIE.replace('step1_genotypes = "chr1.bed"', ""))
    assert found.startswith("step 1 of regenie takes one genotype file of all chromosomes; found 2 files")
    (found,) = told(REGENIE.replace("chr1.bed", "array.bed"))
    assert found == "array.bed is missing"
    wish(folder / "bin/regenie", version="v2.2.4")
    (found,) = told(REGENIE)
    assert "is regenie v2.2.4: wanted 3.0 or later" in found
