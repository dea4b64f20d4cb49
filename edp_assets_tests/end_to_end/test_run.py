"""The whole graph on a tiny cohort: contract tables, resuming, what a change touches, kills, refusals."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from edp_assets.storage import warehouse
from edp_assets.storage.schemas import SCHEMAS, WAREHOUSE_TABLES, WAREHOUSE_VIEWS
from edp_assets_tests.end_to_end.conftest import EDP, environment, run_edp
from edp_assets_tests.science.genetics.bgen_writer import hard_calls, write_bgen

pytestmark = pytest.mark.slow

CELL = ["encoder", "organ", "icd10", "method", "cluster"]


def files(home: Path) -> dict[str, int]:
    """Return every stored partition's file with its modification time."""
    found = [*home.rglob("lake/**/part.parquet"), *home.rglob("checkpoints/**/*.safetensors")]
    return {str(path.relative_to(home)): path.stat().st_mtime_ns for path in found}


def touched(before: dict[str, int], after: dict[str, int]) -> set[str]:
    return {name for name, stamp in after.items() if before.get(name) != stamp}


OF_THE_HOME = ["carried_out", "remedy"]
"""Columns that say when something was done, and where files of this home lie."""


def tables(home: Path) -> dict[str, pl.DataFrame]:
    """Return the content of the warehouse, but for clocks and places, in an order that does not depend on the run."""
    found = {}
    for name in (*WAREHOUSE_TABLES, *WAREHOUSE_VIEWS):
        frame = warehouse.query(home / "warehouse.duckdb", f"SELECT {', '.join(SCHEMAS[name])} FROM {name}")
        frame = frame.drop(OF_THE_HOME, strict=False)
        keys = [column for column, dtype in frame.schema.items() if not isinstance(dtype, pl.List)]
        found[name] = frame.sort(keys)
    return found


def copy_home(home: Path, to: Path) -> Path:
    shutil.copytree(home, to, copy_function=shutil.copy2)
    return to


def test_run__fills_every_contract_table(finished: tuple[Path, str]) -> None:
    home, printed = finished
    stored = tables(home)
    filled = {"organ_volumes", "embeddings", "adjusted_embeddings", "clusters", "phenotype_selection", "edp_scores"}
    filled |= {"clusterings", "organ_measures", "trained_on", "phewas", "evidence_hits_by_organ", "evidence_age"}
    for name in filled | {"gwas_summary_stats", "excluded", "participants"}:
        assert stored[name].height > 0, name
    assert stored["organ_volumes"].group_by("organ").len()["len"].to_list() == [99] * 3  # 100 imaged, one withdrawn
    statistics = stored["gwas_summary_stats"]
    assert set(statistics["method"]) == {
        "classifier", "clustering", "island", "organ_volume", "icd10_imaging_cohort", "icd10_whole_cohort",
        "organ_surface", "mean_intensity_fat", "mean_intensity_water", "fat_fraction",
    }  # fmt: skip
    assert statistics.select(pl.col("neg_log_10_p_value").is_finite().all()).item()
    selected = stored["phenotype_selection"].filter("selected").select(CELL).unique()
    with_gwas = statistics.filter(pl.col("encoder").is_not_null()).select(CELL).unique()
    assert selected.join(with_gwas, on=CELL, how="anti", nulls_equal=True).height == 0
    assert selected.height == with_gwas.height
    for organ in ("heart", "kidneys", "liver"):
        kinds = stored["phenotype_figures"].filter(encoder="mae", organ=organ)["figure"].to_list()
        assert {"auc_pval", "percentage_pval", "cluster_enrichment", "score_histogram"} == set(kinds)
    assert all((home / path).read_bytes().startswith(b"\x89PNG") for path in stored["phenotype_figures"]["path"])
    assert stored["adjustment_factors"].filter(organ="kidneys", encoder="mae")["factor"].to_list() == [
        "embedding_pc1", "embedding_pc2"
    ]  # fmt: skip
    assert "Genes at genome-wide significance" in printed
    assert (home / "report/index.html").exists()


def test_run__a_score_is_what_the_paper_says(finished: tuple[Path, str], tiny_cohort: Path) -> None:
    # 1 - cosine similarity to the mean embedding of the code's cases in the cluster, from the stored tables alone.
    home, _ = finished
    stored = tables(home)
    scores = stored["edp_scores"].filter(encoder="mae", method="clustering", organ="liver")
    cell = scores.select("icd10", "cluster").row(0, named=True)
    score = scores.filter(icd10=cell["icd10"], cluster=cell["cluster"]).sort("eid")
    embeddings = stored["adjusted_embeddings"].filter(encoder="mae", organ="liver").sort("eid")
    z = np.array(embeddings["z"].to_list(), dtype=np.float64)
    cases = pl.read_parquet(home / f"lake/icd10_cases/icd10={cell['icd10']}/part.parquet", hive_partitioning=False)
    members = stored["clusters"].filter(encoder="mae", organ="liver").sort("eid")
    positive = embeddings["eid"].is_in(cases["eid"].implode()) & (members["cluster"] == cell["cluster"])
    mean = z[positive.to_numpy()].mean(axis=0)
    cosine = z @ mean / np.linalg.norm(z, axis=1) / np.linalg.norm(mean)
    assert score["eid"].equals(embeddings["eid"])
    np.testing.assert_allclose(score["score"], 1 - cosine, rtol=1e-9, atol=1e-12)


def assert_least_squares(home: Path, cohort: Path, phenotype: dict[str, object]) -> None:
    """Compare a phenotype's stored statistics with statsmodels on the raw files, for variants of one chromosome."""
    import statsmodels.api as sm

    from edp_assets.science.genetics.genotypes import open_genotypes

    stored = tables(home)
    wanted = [pl.col(k).eq_missing(pl.lit(v)) for k, v in phenotype.items()]
    statistics = stored["gwas_summary_stats"].filter(*wanted, chromosome="5").sort("base_pair_location")
    people = stored["edp_scores"].filter(*wanted).join(stored["participants"], on="eid")
    with open_genotypes(cohort / "genotypes/chr5.bed") as genotypes:
        place = {eid: i for i, eid in enumerate(genotypes.sample_ids)}
        rows = np.array([place[eid] for eid in people["eid"]])
        dosages = genotypes.read(0, genotypes.n_variants, rows)
        rsids = genotypes.variants["rsid"].to_list()
    age = people["age"].to_numpy()
    levels = [
        (people[name] == level).to_numpy().astype(float)
        for name in ("genotyping_array", "imaging_centre")
        for level in sorted(people[name].unique())[1:]
    ]
    pcs = [people[f"pc{i}"].to_numpy() for i in range(1, 11)]
    fixed = [np.ones(len(age)), age, age**2, people["sex"].to_numpy(), people["bmi"].to_numpy(), *levels, *pcs]
    assert statistics["n"].unique().to_list() == [people.height]
    for row in statistics.gather_every(60).iter_rows(named=True):
        dosage = dosages[rsids.index(row["rsid"])].astype(np.float64)
        dosage = np.where(np.isnan(dosage), np.nanmean(dosage), dosage)
        fit = sm.OLS(people["score"].to_numpy(), np.column_stack([dosage, *fixed])).fit()
        assert row["beta"] == pytest.approx(fit.params[0], rel=2e-4, abs=2e-6)
        assert row["neg_log_10_p_value"] == pytest.approx(-np.log10(fit.pvalues[0]), abs=1e-3)


def test_run__the_gwas_is_ordinary_least_squares(finished: tuple[Path, str], tiny_cohort: Path) -> None:
    home, _ = finished
    scores = tables(home)["edp_scores"].filter(encoder="video_mae", organ="heart")
    assert_least_squares(home, tiny_cohort, scores.select(CELL).row(0, named=True))


def test_run__cross_fitted_scores_hold_nobodys_own_label_and_have_their_gwas(
    finished: tuple[Path, str], cohort_copy: Path, tmp_path: Path
) -> None:
    home = copy_home(finished[0], tmp_path / "home")
    (home / "cohort.json").unlink()
    config = cohort_copy / "cohort.toml"
    config.write_text(config.read_text().replace("[classifier]", '[classifier]\nscore = "cross_fitted"'))
    chosen = ("--organ", "liver", "--icd10", "I10", "--encoder", "mae")
    done = run_edp(home, "run", str(cohort_copy), *chosen, "--select", "+key:mae/gwas_summary_stats")
    assert done.returncode == 0, done.stderr
    phenotype = {"encoder": "mae", "organ": "liver", "icd10": "I10", "method": "classifier", "cluster": None}
    of = [pl.col(k).eq_missing(pl.lit(v)) for k, v in phenotype.items()]
    before, after = (tables(h)["edp_scores"].filter(*of).sort("eid") for h in (finished[0], home))
    assert before["label_used"].sum() == pytest.approx(0.9 * before.height, abs=3)
    assert after["label_used"].sum() == 0
    assert np.corrcoef(before["score"], after["score"])[0, 1] < 0.999
    assert_least_squares(home, cohort_copy, phenotype)


def test_run__tells_whose_label_a_score_holds(finished: tuple[Path, str]) -> None:
    home, _ = finished
    stored = tables(home)
    overlap = stored["label_overlap"]
    selected = stored["phenotype_selection"].filter("selected")
    both = overlap.join(selected, on=CELL, nulls_equal=True, suffix="_of_model")
    assert both.height == overlap.height == selected.height
    clustering = both.filter(method="clustering")
    # Everyone imaged is genotyped here, so all cases of the cluster stand in the GWAS.
    assert clustering["cases_label_used"].to_list() == clustering["cases_of_model"].to_list()
    assert clustering["label_used"].to_list() == clustering["cases_label_used"].to_list()
    classifier = both.filter(method="classifier")
    assert classifier.select((pl.col("label_used") / pl.col("participants")).is_between(0.85, 0.93).all()).item()


def test_run__few_shot_phenotypes_stand_beside_those_of_all_labels(finished: tuple[Path, str]) -> None:
    home, _ = finished
    stored = tables(home)
    compared = stored["few_shot_comparison"]
    selected = stored["phenotype_selection"].filter("selected", icd10="I10")
    assert compared.select(CELL).sort(CELL).equals(selected.select(CELL).sort(CELL))
    made = compared.filter(pl.col("reason").is_null())
    assert made.height > 0
    # 15 imaged cases, a fifth of their labels kept.
    assert compared.filter(method="classifier")["cases_kept"].unique().to_list() == [3]
    assert made.select((pl.col("cases_kept") <= pl.col("cases")).all()).item()
    row = made.row(0, named=True)
    of = [pl.col(k).eq_missing(pl.lit(row[k])) for k in CELL]
    few, full = (stored[name].filter(*of).sort("eid") for name in ("few_shot_edp_scores", "edp_scores"))
    assert few["label_used"].sum() == row["cases_kept"]
    assert row["pearson_r_score"] == pytest.approx(np.corrcoef(few["score"], full["score"])[0, 1])
    keys = ["chromosome", "base_pair_location", "rsid"]
    few, full = (stored[name].filter(*of).sort(keys) for name in ("few_shot_gwas_summary_stats", "gwas_summary_stats"))
    r = np.corrcoef(few["neg_log_10_p_value"], full["neg_log_10_p_value"])[0, 1]
    assert row["pearson_r_neg_log_10_p"] == pytest.approx(r)
    assert set(stored["few_shot_edp_scores"]["icd10"]) == {"I10"}


def test_run__a_label_of_another_set_runs_through_the_same_assets(finished: tuple[Path, str]) -> None:
    stored = tables(finished[0])
    medication = pl.col("icd10") == "medication.metformin"
    assert stored["icd10_codes"].filter(medication).select("label_set", "studied").row(0) == ("medication", True)
    assert stored["phenotype_selection"].filter(medication)["organ"].n_unique() == 3
    assert stored["gwas_summary_stats"].filter(medication).height > 0
    # Three cases: no classifier, and the reason is told.
    classifier = stored["phenotype_selection"].filter(medication, method="classifier")
    assert classifier["reason"].unique().to_list() == ["fewer cases (3) than folds (10)"]


def test_run__again_makes_nothing(finished: tuple[Path, str], tiny_cohort: Path, tmp_path: Path) -> None:
    home = copy_home(finished[0], tmp_path / "home")
    before = files(home)
    done = run_edp(home, "run", str(tiny_cohort))
    assert done.returncode == 0, done.stderr
    assert "0 partitions made" in done.stdout
    assert touched(before, files(home)) == set()


def test_run__one_new_case_touches_only_its_code(finished: tuple[Path, str], cohort_copy: Path, tmp_path: Path) -> None:
    home = copy_home(finished[0], tmp_path / "home")
    (home / "cohort.json").unlink()  # the same cohort, at another place
    assert run_edp(home, "run", str(cohort_copy)).returncode == 0
    before = files(home)
    eid = pl.read_csv(cohort_copy / "scans.csv", schema_overrides={"eid": pl.String})["eid"][7]
    with (cohort_copy / "diagnoses.csv").open("a") as table:
        table.write(f"{eid},J45.0,2020-01-01\n")
    done = run_edp(home, "run", str(cohort_copy))
    assert done.returncode == 0, done.stderr
    changed = touched(before, files(home))
    assert any("edp_scores/icd10=J45" in name for name in changed)
    # Tables and figures of an organ tell of all its codes together.
    shared = ("/diagnoses/", "/icd10_codes/", "/phenotype_figures/", "/cluster_enrichment/", "/score_correlations/",
              "evidence/clusterings/", "evidence/hits_by_", "evidence/sizes/")  # fmt: skip
    assert all("icd10=J45" in name or any(part in name for part in shared) for name in changed), changed
    assert any("phewas/icd10=J45" in name for name in changed)
    # The phenome is a snapshot: its own phecode is in everybody's PheWAS once a new one is asked for.
    assert "phenome_traits: kept, a snapshot of diagnoses that have changed since" in done.stdout
    before = files(home)
    done = run_edp(home, "refresh", str(cohort_copy), "--phenome")
    assert done.returncode == 0, done.stderr
    anew = touched(before, files(home))
    assert {name.split("/")[1] for name in anew} == {"phenome_dictionary", "phenome_traits", "mae", "video_mae"}, anew
    assert all("phenome" in name or "/phewas" in name for name in anew), anew
    assert any("phewas/icd10=K76" in name for name in anew)


def test_run__killed_in_training_ends_with_the_same_tables(
    finished: tuple[Path, str], tiny_cohort: Path, tmp_path: Path
) -> None:
    # All stages are killed in test_kills.py; here training is, long after it began and in a run without other deaths.
    home, chosen = tmp_path / "home", "+key:mae/gene_hits or +key:icd10_codes"
    command = ("run", str(tiny_cohort), "--encoder", "mae", "--select", chosen)
    with subprocess.Popen(
        [*EDP, *command],
        env=environment(home),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "mae/encoder" in line:
                break
        time.sleep(8)  # torch has loaded and training goes on
        os.killpg(process.pid, signal.SIGKILL)
    assert not (home / "lake/mae/gene_hits").exists()
    done = run_edp(home, *command)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "an earlier run was killed" in done.stdout
    undisturbed, restarted = tables(finished[0]), tables(home)
    for name in ("embeddings", "clusters", "phenotype_selection", "edp_scores", "gwas_summary_stats", "gene_hits"):
        of_mae = undisturbed[name].filter(encoder="mae")
        assert of_mae.height > 0 or name == "gene_hits", name
        assert restarted[name].filter(encoder="mae").equals(of_mae), name


def test_run__a_second_run_is_told_who_holds_the_home(tiny_cohort: Path, tmp_path: Path) -> None:
    from edp_assets.storage.home import Home

    with Home(tmp_path).writing():
        done = run_edp(tmp_path, "run", str(tiny_cohort))
    assert done.returncode == 1
    assert "is in use by another run" in done.stderr
    assert "Traceback" not in done.stderr


def test_run__refuses_before_any_work_starts(cohort_copy: Path, tmp_path: Path) -> None:
    bed = cohort_copy / "genotypes/chr7.bed"
    bed.write_bytes(bed.read_bytes()[:-100])
    home = tmp_path / "home"
    done = run_edp(home, "run", str(cohort_copy))
    assert done.returncode == 1
    assert "chr7.bed" in done.stderr
    assert "Traceback" not in done.stderr
    assert not home.exists()


def test_run__bgen_gives_what_bed_gives(finished: tuple[Path, str], cohort_copy: Path, tmp_path: Path) -> None:
    from edp_assets.science.genetics.genotypes import open_genotypes

    for chromosome in ("2", "5"):
        bed = cohort_copy / f"genotypes/chr{chromosome}.bed"
        with open_genotypes(bed) as file:
            variants = [
                replace(
                    variant, chromosome=f"chr{chromosome}", position=row["base_pair_location"], rsid=row["rsid"],
                    alleles=(row["other_allele"], row["effect_allele"]),
                )
                for variant, row in zip(
                    hard_calls(file.read(0, file.n_variants)), file.variants.iter_rows(named=True), strict=True
                )
            ]  # fmt: skip
            write_bgen(bed.with_suffix(".bgen"), variants, file.sample_ids, "zstd")
    toml = cohort_copy / "cohort.toml"
    toml.write_text(toml.read_text().replace("chr{chromosome}.bed", "chr{chromosome}.bgen"))
    home = tmp_path / "home"
    done = run_edp(
        home, "run", str(cohort_copy), "--select", '+key:"organ_volume/gwas_summary_stats"', "--organ", "liver"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    query = (
        "SELECT * FROM gwas_summary_stats WHERE method = 'organ_volume' AND organ = 'liver' "
        "AND chromosome IN ('2', '5') ORDER BY chromosome, base_pair_location, rsid"
    )
    of_bgen, of_bed = (warehouse.query(each / "warehouse.duckdb", query) for each in (home, finished[0]))
    assert of_bgen.height > 100
    assert_frame_equal(of_bgen, of_bed)


def test_run__counts_what_it_leaves_out(cohort_copy: Path, tmp_path: Path) -> None:
    scans = pl.read_csv(cohort_copy / "scans.csv", schema_overrides={"eid": pl.String}).filter(organ="liver")
    corrupt, empty_mask, off_grid = scans["eid"][3], scans["eid"][4], scans["eid"][5]
    break_scans(cohort_copy, scans, corrupt, empty_mask, off_grid)
    home = tmp_path / "home"
    done = run_edp(home, "run", str(cohort_copy), "--select", "+key:organ_volumes", "--organ", "liver")
    assert done.returncode == 0, done.stderr
    excluded = warehouse.query(
        home / "warehouse.duckdb", "SELECT eid, reason FROM excluded WHERE stage = 'masked_crops'"
    )
    assert dict(excluded.iter_rows()) == {
        corrupt: "corrupt file",
        empty_mask: "empty mask",
        off_grid: "mask on another grid",
    }
    checked = run_edp(home, "check", str(cohort_copy))
    assert checked.returncode == 1
    for eid in (corrupt, empty_mask, off_grid):
        assert eid in checked.stdout


def break_scans(cohort: Path, scans: pl.DataFrame, corrupt: str, empty_mask: str, off_grid: str) -> None:
    """Break one scan each way; the images are hard links, so every broken file is written anew."""
    import nibabel

    def mask_of(eid: str) -> Path:
        return cohort / scans.filter(eid=eid)["mask"][0]

    fat = cohort / scans.filter(eid=corrupt)["image_fat"][0]
    content = fat.read_bytes()
    fat.unlink()
    fat.write_bytes(content[: len(content) // 2])
    for eid in (empty_mask, off_grid):
        path = mask_of(eid)
        mask = nibabel.load(path)
        data = np.asanyarray(mask.dataobj)
        affine = mask.affine.copy()
        if eid == empty_mask:
            data = np.zeros_like(data)
        else:
            affine[0, 3] += 7.0
        path.unlink()
        nibabel.save(nibabel.Nifti1Image(data, affine), path)


def test_definitions__validate_in_the_users_way(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    command = [EDP[0], "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"]
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster/dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    done = subprocess.run(command, cwd=root, env=environment(tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_run__an_imagenet_baseline_from_a_weights_file_or_word_where_to_put_it(
    finished: tuple[Path, str], cohort_copy: Path, tmp_path: Path
) -> None:
    import timm
    import torch
    from safetensors.torch import save_file

    model = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"
    home = copy_home(finished[0], tmp_path / "home")
    (home / "cohort.json").unlink()  # the same cohort, at another place
    with (cohort_copy / "cohort.toml").open("a") as file:
        file.write(f'[encoders.imagenet]\nmodel = "{model}"\nweights = "model.safetensors"\n')
    chosen = '+key:"imagenet/gwas_summary_stats" or key:"evidence/encoder_quality"'
    only = ("--encoder", "imagenet", "--organ", "liver", "--icd10", "K76", "--select", chosen)
    without = run_edp(home, "run", str(cohort_copy), *only)
    assert without.returncode == 1
    assert "model.safetensors: wanted timm's safetensors file" in without.stderr
    assert "Hugging Face repository timm/" in without.stderr
    torch.manual_seed(0)
    save_file(timm.create_model(model, pretrained=False).state_dict(), cohort_copy / "model.safetensors")
    done = run_edp(home, "run", str(cohort_copy), *only)
    assert done.returncode == 0, done.stderr
    stored = tables(home)
    z = stored["embeddings"].filter(encoder="imagenet")
    assert z.select("organ", pl.col("z").list.len()).unique().rows() == [("liver", 192)]
    assert stored["gwas_summary_stats"].filter(encoder="imagenet").height > 0
    quality = stored["encoder_quality"].filter(organ="liver", target="volume_ml", features="embedding")
    assert set(quality["encoder"]) == {"mae", "video_mae", "imagenet"}


def test_run__encoder_quality_holds_every_encoder_beside_its_controls(finished: tuple[Path, str]) -> None:
    quality = tables(finished[0])["encoder_quality"]
    assert set(quality.select("encoder", "features").unique().rows()) == {
        ("mae", "embedding"), ("mae", "untrained encoder"), ("video_mae", "embedding"),
        ("video_mae", "untrained encoder"), (None, "pixel components"), (None, "organ volume"),
    }  # fmt: skip
    volume = quality.filter(target="volume_ml", features="embedding")
    assert volume["participants"].to_list() == [99] * 6
    assert volume["pearson_r"].min() > 0.6
    assert quality.filter(features="organ volume")["target"].unique().to_list() == ["age"]
    assert not quality["collapsed"].any()
