"""`edp export`: what is written of the lake, by the GWAS Catalog's rules and, where there is one, its validator."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
import yaml
from click.testing import CliRunner

from edp_assets.cli import cli
from edp_assets.export import Asked, ExportError, export
from edp_assets.science.genetics.gwas_ssf import MANDATORY, md5_of
from edp_assets.settings import Settings
from edp_assets.storage.lake import Exclusion, Lake, Stored, cell_of
from edp_assets.storage.schemas import empty

CHROMOSOMES = ["10", "1", *(str(i) for i in range(11, 23)), *(str(i) for i in range(2, 10)), "X", "GL1"]


def statistics(label: dict[str, object], per_chromosome: int = 5) -> pl.DataFrame:
    """Return statistics as the lake has them: chromosomes in the order of their names."""
    rows = pl.DataFrame({"chromosome": CHROMOSOMES}).join(
        pl.DataFrame({"i": range(per_chromosome)}), how="cross", maintain_order="left_right"
    )
    rows = rows.select(
        "chromosome", base_pair_location=1000 + 7 * pl.col("i"),
        effect_allele=pl.lit("A"), other_allele=pl.lit("GC"),
        effect_allele_frequency=0.3 + pl.col("i") * 1e-9, beta=0.1 / (1 + pl.col("i")), standard_error=pl.lit(0.01),
        neg_log_10_p_value=pl.col("i") * 37.0,
        rsid=pl.when(pl.col("i") % 2 == 0).then(pl.format("rs{}", "i"))
        .otherwise(pl.format("{}:{}", "chromosome", "i")),
        n=pl.lit(1000), **{name: pl.lit(value) for name, value in label.items()},
    )  # fmt: skip
    return pl.concat([empty("gwas_summary_stats"), rows], how="diagonal_relaxed")


@pytest.fixture
def workspace(tmp_path: Path) -> SimpleNamespace:
    """A classifier's and two clusters' statistics of one cell, an empty cell, a baseline's and hand-made ones."""
    lake = Lake(tmp_path / "lake")
    cell = {"encoder": "mae", "organ": "liver", "icd10": "K76"}

    def write(asset: str, frames: list[pl.DataFrame], **dimensions: str) -> None:
        lake.write((asset, "gwas_summary_stats"), cell_of(dimensions), "gwas_summary_stats", Stored(frames), "")

    kinds = [{"method": "classifier"}, {"method": "clustering", "cluster": 0}, {"method": "clustering", "cluster": 3}]
    write("mae", [statistics(cell | kind) for kind in kinds], organ="liver", icd10="K76")
    write("mae", [empty("gwas_summary_stats")], organ="liver", icd10="E11")
    whole = {"icd10": "K76", "method": "icd10_whole_cohort"}
    write("icd10_whole_cohort", [statistics(whole)], icd10="K76")
    measures = [statistics({"organ": "liver", "method": method}) for method in ("organ_surface", "mean_intensity_fat")]
    write("hand_made", measures, organ="liver")
    write("hand_made", [empty("gwas_summary_stats")], organ="heart")
    write("organ_volume", [statistics({"organ": "liver", "method": "organ_volume"})], organ="liver")
    settings = Settings.from_toml({"study": {"ancestry_category": ["European"]}})
    return SimpleNamespace(lake=lake, settings=settings, cohort=SimpleNamespace(genome_build="GRCh37"))


def table(path: Path) -> pl.DataFrame:
    return pl.read_csv(path, separator="\t", null_values="#NA", infer_schema_length=None)


def broken_rules(path: Path) -> list[str]:
    """Return the rules of gwas-sumstats-tools 1.0.25 (validate.py, schema/*.py) that a file and its metadata break."""
    frame, about = table(path), yaml.safe_load(path.with_name(f"{path.name}-meta.yaml").read_text())
    nucleotides = pl.col("effect_allele", "other_allele").str.contains(r"^LONG_STRING$|^[ACTGactg]+$")
    rules = {
        "extension": path.name.endswith((".tsv", ".tsv.gz")),
        "order": tuple(frame.columns[: len(MANDATORY)]) == MANDATORY,
        "autosomes": set(range(1, 23)) <= set(frame["chromosome"]),
        "chromosome": frame["chromosome"].is_between(1, 25).all(),
        "position": (frame["base_pair_location"] >= 0).all(),
        "alleles": frame.select(pl.all_horizontal(nucleotides).all()).item(),
        "not missing": sum(frame.select(MANDATORY).null_count().row(0)) == 0,
        "frequency": frame["effect_allele_frequency"].is_between(0, 1).all(),
        "p": (frame["neg_log_10_p_value"] > 0).all(),
        "rsid": frame["rsid"].drop_nulls().str.contains(r"^rs[0-9]+$").all(),
        "n": (frame["n"] >= 0).all(),
        "file_type": re.fullmatch(r"GWAS-SSF v\d+(\.\d+)*", about["file_type"]) is not None,
        "md5": about["data_file_md5sum"] == md5_of(path),
        "name": about["data_file_name"] == path.name,
        "assembly": isinstance(about["genome_assembly"], str),
        "coordinates": about["coordinate_system"] in ("0-based", "1-based"),
        "sex": about["sex"] in ("M", "F", "combined", "NR"),
    }
    return [name for name, holds in rules.items() if not holds]


def test_export__a_file_and_its_metadata_for_each_phenotype(workspace: SimpleNamespace, tmp_path: Path) -> None:
    said: list[str] = []
    files = export(workspace, Asked("liver", "K76"), tmp_path / "out", said.append)
    names = [f"mae-liver-K76-{kind}.tsv.gz" for kind in ("classifier", "clustering-0", "clustering-3")]
    assert [file.name for file in files] == names
    assert {file.name for file in (tmp_path / "out").iterdir()} == {*names, *(f"{name}-meta.yaml" for name in names)}
    assert said[0].endswith("classifier.tsv.gz: 115 variants; 5 variants left out: another chromosome")
    for file in files:
        assert broken_rules(file) == []
    frame = table(files[1])
    assert frame.height == 23 * 5
    assert frame["chromosome"].is_sorted()
    assert frame.filter(chromosome=23)["neg_log_10_p_value"].to_list() == [1e-16, 37.0, 74.0, 111.0, 148.0]
    about = yaml.safe_load((tmp_path / "out" / f"{names[1]}-meta.yaml").read_text())
    assert about["trait_description"] == [
        "Embedding-derived phenotype of the liver for ICD-10 K76 (Other diseases of liver): clustering 0, encoder mae"
    ]
    assert about["samples"] == [
        {"sample_ancestry_category": ["European"], "sample_ancestry": ["NR"], "sample_size": 1000,
         "case_control_study": False}
    ]  # fmt: skip
    assert about["is_sorted"] is True


def test_export__one_method_or_a_baseline(workspace: SimpleNamespace, tmp_path: Path) -> None:
    (file,) = export(workspace, Asked("liver", "K76", method="classifier"), tmp_path)
    assert file.name == "mae-liver-K76-classifier.tsv.gz"
    (file,) = export(workspace, Asked(None, "K76", method="icd10_whole_cohort"), tmp_path)
    assert file.name == "K76-icd10_whole_cohort.tsv.gz"
    about = yaml.safe_load(file.with_name(f"{file.name}-meta.yaml").read_text())
    assert about["trait_description"] == ["ICD-10 K76 (Other diseases of liver) as a binary trait"]
    assert about["samples"][0]["case_control_study"] is True


@pytest.mark.parametrize(
    ("method", "trait"),
    [
        ("organ_volume", "Volume of the liver"),
        ("organ_surface", "Surface of the liver"),
        ("mean_intensity_fat", "Mean intensity of the liver before scaling, channel fat"),
    ],
)
@pytest.mark.parametrize("icd10", [None, "K76"])
def test_export__a_hand_made_phenotype_is_of_the_organ_alone(
    workspace: SimpleNamespace, tmp_path: Path, method: str, trait: str, icd10: str | None
) -> None:
    (file,) = export(workspace, Asked("liver", icd10, method=method), tmp_path)
    assert file.name == f"liver-{method}.tsv.gz"
    assert broken_rules(file) == []
    about = yaml.safe_load(file.with_name(f"{file.name}-meta.yaml").read_text())
    assert about["trait_description"] == [trait]
    assert about["samples"][0]["case_control_study"] is False


def store_people(lake: Lake, cases: int) -> None:
    """Store 1,010 participants, of whom ten are left out, and cases, of whom the first is one of these ten."""
    eids = [f"{i:04d}" for i in range(1010)]
    people = pl.concat([empty("participants"), pl.DataFrame({"eid": eids})], how="diagonal_relaxed")
    lake.write(("participants",), (), "participants", Stored(people), "")
    cell = cell_of({"icd10": "K76"})
    of_code = pl.DataFrame({"icd10": "K76", "eid": eids[9 : 9 + cases]})
    lake.write(("icd10_cases",), cell, "icd10_cases", Stored(of_code), "")
    for organ, some in (("heart", eids[:700]), ("liver", eids[400:])):
        volumes = pl.DataFrame({"eid": some, "organ": organ, "voxels": 1, "volume_ml": 1.0})
        lake.write(("organ_volumes",), cell_of({"organ": organ}), "organ_volumes", Stored(volumes), "")
    for method in ("icd10_whole_cohort", "icd10_imaging_cohort"):
        left_out = [Exclusion(eid, None, f"{method}/gwas_summary_stats", "missing covariate") for eid in eids[:10]]
        stored = Stored(statistics({"icd10": "K76", "method": method}), left_out)
        lake.write((method, "gwas_summary_stats"), cell, "gwas_summary_stats", stored, "")


@pytest.mark.parametrize("method", ["icd10_whole_cohort", "icd10_imaging_cohort"])
def test_export__cases_and_controls_of_a_baseline(workspace: SimpleNamespace, tmp_path: Path, method: str) -> None:
    store_people(workspace.lake, cases=81)
    (file,) = export(workspace, Asked(None, "K76", method=method), tmp_path)
    sample = yaml.safe_load(file.with_name(f"{file.name}-meta.yaml").read_text())["samples"][0]
    names = ("sample_size", "case_control_study", "case_count", "control_count")
    assert [sample[name] for name in names] == [1000, True, 80, 920]
    assert broken_rules(file) == []


def test_export__counts_of_other_people_than_the_statistics_are_not_told(
    workspace: SimpleNamespace, tmp_path: Path
) -> None:
    store_people(workspace.lake, cases=81)
    workspace.lake.path(("organ_volumes",), cell_of({"organ": "heart"})).unlink()  # as before that organ's run
    said: list[str] = []
    (file,) = export(workspace, Asked(None, "K76", method="icd10_imaging_cohort"), tmp_path, said.append)
    sample = yaml.safe_load(file.with_name(f"{file.name}-meta.yaml").read_text())["samples"][0]
    assert "case_count" not in sample
    assert sample["sample_size"] == 1000
    assert "cases and controls are not told: the people stored have changed since; `edp run`" in said[0]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            Asked("heart", "K76"),
            r"mae, heart, K76: no summary statistics are stored; stored are E11 x liver, K76 x liver",
        ),
        (
            Asked("liver", "K76", "video_mae"),
            r"video_mae, liver, K76: .*; video_mae/gwas_summary_stats has none stored yet",
        ),
        (
            Asked("liver", "K76", "vit"),
            "vit, liver, K76: .*; no encoder is called vit, they are mae, video",
        ),
        (Asked("liver", "E11"), "E11: no phenotype has summary statistics; the table phenotype_selection says why"),
        (Asked("liver", "K76", method="island"), "island: no phenotype .*; the cell has classifier, clustering"),
        (Asked(None, "K76"), "--organ must be given for EDPs"),
        (Asked(None, None, method="organ_volume"), "--organ must be given for organ_volume"),
        (Asked(None, None, method="fat_fraction"), "--organ must be given for fat_fraction"),
        (
            Asked("liver", None, method="fat_fraction"),
            "^liver, fat_fraction: no phenotype has .*; the cell has mean_intensity_fat, organ_surface$",
        ),
        (
            Asked("heart", None, method="fat_fraction"),
            "heart, fat_fraction: .* could be associated: the asset's metadata",
        ),
        (Asked("lungs", None, method="fat_fraction"), "lungs, fat_fraction: no .*; stored are heart, liver. `edp run`"),
        (Asked("liver", None, method="surface"), "--method surface is none; methods are classifier, .*<channel>$"),
    ],
)
def test_export__what_is_not_there_is_one_message(workspace, tmp_path: Path, asked: Asked, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        export(workspace, asked, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_cli_export__before_any_run_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDP_HOME", str(tmp_path / "home"))
    done = CliRunner().invoke(cli, ["export", "--organ", "liver", "--icd10", "K76", "--out", str(tmp_path / "out")])
    assert done.exit_code == 1
    assert "has none stored yet. `edp run` makes them" in done.stderr
    assert "Traceback" not in done.output


def test_export__passes_the_catalogues_own_validator(workspace: SimpleNamespace, tmp_path: Path) -> None:
    validator = shutil.which("gwas-ssf")
    if validator is None:
        pytest.skip("gwas-ssf is not on PATH: gwas-sumstats-tools pins pandas 1.5 and needs an environment of its own")
    for file in export(workspace, Asked("liver", "K76"), tmp_path):
        done = subprocess.run([validator, "validate", "--min-rows", "50", str(file)], capture_output=True, text=True)
        assert "Validation status: True" in " ".join(done.stdout.split()), done.stdout + done.stderr
        done = subprocess.run([validator, "read", "-M", str(file)], capture_output=True, text=True)
        assert f"data_file_md5sum: {md5_of(file)}" in done.stdout, done.stdout + done.stderr


MEASURE = """
import sys
from pathlib import Path
from types import SimpleNamespace
from edp_assets.export import _frames
from edp_assets.science.genetics.gwas_ssf import write_statistics
rows = write_statistics(Path(sys.argv[2]), _frames(Path(sys.argv[1]), "classifier", None)).rows
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(rows, int(peak) // 1024)
"""


def test_export__memory_is_flat(tmp_path: Path) -> None:
    used = []
    for size in (5_000, 40_000):
        lake, cell = Lake(tmp_path / f"{size}"), cell_of({"organ": "liver", "icd10": "K76"})
        label = {"encoder": "mae", "organ": "liver", "icd10": "K76", "method": "classifier"}
        lake.write(("mae", "x"), cell, "gwas_summary_stats", Stored(statistics(label, size)), "")
        command = [sys.executable, "-c", MEASURE, str(lake.path(("mae", "x"), cell)), str(tmp_path / "x.tsv.gz")]
        rows, megabytes = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        assert int(rows) == 23 * size
        used.append(int(megabytes))
    print(f"\n{used} MB at 0.1 and 0.9 million rows")
    assert used[1] < used[0] + 150


def test_export__tells_that_only_small_p_are_stored(workspace: SimpleNamespace, tmp_path: Path) -> None:
    cell = {"encoder": "mae", "organ": "liver", "icd10": "I10", "method": "classifier"}
    note = {"method": "classifier", "cluster": None, "stored_max_p": 1e-3}
    where = cell_of({"organ": "liver", "icd10": "I10"})
    stored = Stored([statistics(cell)], notes={"phenotypes": [note]})
    workspace.lake.write(("mae", "gwas_summary_stats"), where, "gwas_summary_stats", stored, "")
    said: list[str] = []
    export(workspace, Asked("liver", "I10"), tmp_path / "out", said.append)
    assert "those of p up to 0.001 alone ([gwas] stored_max_p)" in said[0]
    export(workspace, Asked("liver", "K76"), tmp_path / "out", said.append)
    assert not any("alone" in line for line in said[1:])
