"""The phenome as stages: from files to a row a trait, planted traits found, people counted, figures drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from edp_assets.assets import phewas_scan
from edp_assets.assets.phenome import phenome_dictionary, phenome_traits, read_dictionary, read_values
from edp_assets.assets.phewas import PHEWAS, _count, phewas, phewas_figures
from edp_assets.assets.stage import REGISTRY, StageRun
from edp_assets.science.phenome.scan import PhenomeScan
from edp_assets.settings import Settings
from edp_assets.storage.home import Home
from edp_assets.storage.lake import Cell, Stored, cell_of
from edp_assets.storage.schemas import conform, empty
from edp_assets.storage.upstream import Partition
from edp_assets.storage.workspace import Workspace
from edp_assets_tests.report.planted import filled
from edp_assets_tests.tiny_toml import COHORT

N = 700
EIDS = [str(1000 + i) for i in range(N)]
RNG = np.random.default_rng(2)
LATENT = RNG.normal(size=N)
SEX = (np.arange(N) % 2).astype(float)
CELL, OTHER = (cell_of({"organ": "liver", "icd10": code}) for code in ("K76", "E11"))
TOML = (
    COHORT
    + """
traits = "traits.csv"
trait_dictionary = "dictionary.csv"
phecode_map = "phecode_map.csv"
[genotypes]
path = "chr{chromosome}.bed"
[organs.liver]
channels = ["fat"]
[phewas]
min_people = 100
"""
)
PARTICIPANTS = pl.DataFrame(
    {
        "eid": EIDS, "age": RNG.normal(60, 5, N), "sex": SEX, "bmi": [None, *RNG.normal(27, 4, N - 1)],
        "imaging_centre": RNG.choice(["a", "b"], N), "imaging_date": [f"2018-{i % 12 + 1:02d}-11" for i in range(N)],
    }
)  # fmt: skip
CASES = [eid for eid, latent in zip(EIDS, LATENT, strict=True) if latent + RNG.normal() > 1.8]
DIAGNOSES = pl.DataFrame({"eid": [*CASES, EIDS[0], EIDS[2]], "icd10": [*["K760"] * len(CASES), "K729", "N40"]})


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    folder = tmp_path / "cohort"
    folder.mkdir()
    (folder / "cohort.toml").write_text(TOML)
    PARTICIPANTS.write_csv(folder / "participants.csv")
    DIAGNOSES.write_csv(folder / "diagnoses.csv")
    (folder / "mask.nii").write_bytes(b"never read")
    pl.DataFrame({"eid": EIDS, "organ": "liver", "mask": "mask.nii", "image_fat": "mask.nii"}).write_csv(
        folder / "scans.csv"
    )
    rng = np.random.default_rng(3)
    diet = np.where(LATENT + rng.gumbel(size=N) > 1, "fish", np.where(rng.random(N) < 0.5, "meat", "none"))
    traits = pl.DataFrame(
        {"eid": [*EIDS, "9"], "fat": [*(LATENT + rng.normal(size=N)), 3.0], "idle": rng.normal(size=N + 1),
         "steps": [*np.digitize(LATENT + rng.normal(size=N), [-1, 0, 1]), 0], "diet": [*diet, "moon"],
         "unknown": range(N + 1)}
    )  # fmt: skip
    traits.write_csv(folder / "traits.csv")
    (folder / "dictionary.csv").write_text(
        "trait,description,kind,category\nfat,Fat,continuous,blood\nidle,Nothing,continuous,blood\n"
        "steps,Steps,ordinal,life\ndiet,Diet,categorical,life\nabsent,Absent,binary,life\n"
    )
    (folder / "phecode_map.csv").write_text(
        "ICD10,PheCode,Phenotype,Excl. Phecodes,sex,category_string\nK76.0,571.5,Fatty,570-573.99,Both,digestive\n"
        "K72,571.8,Liver failure,570-573.99,Both,digestive\nN40,600,Prostate,600-602.99,Male,urinary\n"
    )
    home = Home(tmp_path / "home")
    home.root.mkdir()
    home.bind(folder)
    return Workspace(home)


def phenome(workspace: Workspace) -> tuple[pl.DataFrame, Partition]:
    """Make the dictionary and the values, and store the latter."""
    found = read_dictionary(StageRun((), phenome_dictionary.spec, workspace), PARTICIPANTS, DIAGNOSES)
    dictionary = conform(found.frames, "phenome_dictionary")
    run = StageRun((), phenome_traits.spec, workspace)
    values = read_values(run, PARTICIPANTS, DIAGNOSES, dictionary)
    workspace.lake.write(("phenome_traits",), (), "phenome_traits", values, "")
    return dictionary, Partition(workspace.lake, ("phenome_traits",), ())


def scores(cell: Cell, *columns: np.ndarray) -> pl.DataFrame:
    label = {"encoder": "mae", **dict(cell), "label_used": False}
    rows = [
        pl.DataFrame({**label, "method": "clustering", "cluster": i, "eid": EIDS, "score": column})
        for i, column in enumerate(columns)
    ]
    return pl.concat([empty("edp_scores"), *(conform(frame, "edp_scores") for frame in rows)])


def scanned(
    workspace: Workspace,
    cells: dict[Cell, list[np.ndarray]],
    relatives: pl.DataFrame,
    participants: pl.DataFrame = PARTICIPANTS,
) -> Any:
    """Scan cells of these scores; return the tables of the cells and what is told of each."""
    dictionary, traits = phenome(workspace)
    partitions = []
    for cell, columns in cells.items():
        workspace.lake.write(("mae", "edp_scores"), cell, "edp_scores", Stored(scores(cell, *columns)), "")
        partitions.append(Partition(workspace.lake, ("mae", "edp_scores"), cell))
    runs = [StageRun(cell, PHEWAS["mae"].spec, workspace) for cell in cells]
    shared = [[each] * len(cells) for each in (participants, relatives, dictionary, traits)]
    together = phewas(runs, partitions, *shared)
    parts: list[list[pl.DataFrame]] = [[empty("phewas")] for _ in cells]
    for place, frame in together.frames:
        parts[place].append(conform(frame, "phewas"))
    return [pl.concat(frames) for frames in parts], [member.metadata for member in together.members]


def test_phenome__dictionary_and_values(workspace: Workspace) -> None:
    dictionary, traits = phenome(workspace)
    assert dictionary.select("trait", "kind", "place", "reason").rows() == [
        ("fat", "continuous", 0, None), ("idle", "continuous", 1, None), ("steps", "ordinal", 2, None),
        ("diet", "categorical", 3, None),
        ("unknown", "undescribed", None, "no row in the trait dictionary: its kind is not known"),
        ("absent", "binary", None, "no column in the traits' table"),
        ("phecode:571", "phecode", 4, None), ("phecode:571.5", "phecode", 5, None),
        ("phecode:571.8", "phecode", 6, None), ("phecode:600", "phecode", 7, None),
    ]  # fmt: skip
    assert dictionary.filter(trait="diet")["levels"].item().to_list() == ["fish", "meat", "none"]  # nobody's moon
    values = traits.scan().collect()
    assert values.select("block", "eid").rows() == [(0, eid) for eid in EIDS]
    cases = values.filter(pl.col("values").list.get(5) == 1)["eid"].to_list()
    assert cases == sorted(CASES)
    first = values.row(0, named=True)["values"]
    assert first[6] == 1
    assert np.isnan(first[5])  # liver failure is no control of fatty liver
    assert first[7] != first[7]  # a female has no prostate
    assert values.filter(eid="1002")["values"].item().to_list()[7] != 1  # N40 of a female counts for nothing


def test_phenome__without_traits_and_map_there_is_a_warning(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    toml = workspace.cohort.folder / "cohort.toml"
    lines = toml.read_text().splitlines()
    toml.write_text("\n".join(line for line in lines if not line.startswith(("trait", "phecode"))))
    found = read_dictionary(StageRun((), phenome_dictionary.spec, Workspace(workspace.home)), PARTICIPANTS, DIAGNOSES)
    assert found.frames.height == 0
    assert "no phecode of anybody imaged: every phenome-wide scan is empty" in caplog.text
    assert "nothing_to_test" in found.metadata


def test_phewas__planted_traits_are_found_and_every_trait_is_told_of(workspace: Workspace) -> None:
    noise = np.random.default_rng(3).normal(size=(2, N))
    (first, second), (told, other) = scanned(
        workspace, {CELL: [LATENT, noise[0]], OTHER: [noise[1]]}, empty("relatives")
    )
    assert first.height == 2 * 10
    assert second.height == 10
    p = dict(first.filter(cluster=0).select("trait", "neg_log_10_p_value").iter_rows())
    assert min(p[name] for name in ("fat", "steps", "diet", "phecode:571.5")) > 10
    assert p["idle"] < 3
    nothing = first.filter(cluster=1)["neg_log_10_p_bonferroni"].drop_nulls()
    assert nothing.max() < 1.3
    assert second["icd10"].unique().to_list() == ["E11"]
    assert (first["reason"].is_null() == first["neg_log_10_p_value"].is_not_null()).all()
    reasons = dict(first.filter(cluster=0).select("trait", "reason").iter_rows())
    assert reasons["phecode:571.8"] == "0 cases: at least 10 are needed"  # its one case has no BMI
    assert reasons["phecode:600"] == "0 cases: at least 10 are needed"
    assert (told["phenotypes"], told["people"], told["missing_covariate"], told["tests"]) == (2, N - 1, 1, 12)
    assert other["tests"] == 6
    fat = first.row(by_predicate=(pl.col("cluster") == 0) & (pl.col("trait") == "fat"), named=True)
    assert (fat["model"], fat["n"], fat["cases"], fat["category"]) == ("linear", N - 1, None, "blood")
    case = first.row(by_predicate=(pl.col("cluster") == 0) & (pl.col("trait") == "phecode:571.5"), named=True)
    assert (case["model"], case["cases"]) == ("logistic", len(set(CASES) - {EIDS[0]}))


def test_phewas__a_changed_trait_is_tested_and_the_others_are_taken_over(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = {CELL: [LATENT, np.cos(LATENT)]}
    (before,), (told,) = scanned(workspace, cells, empty("relatives"))
    assert told["results_taken_over"] == 0
    workspace.lake.write(("mae", "phewas"), CELL, "phewas", Stored(before), "")
    tested: list[str] = []
    test = PhenomeScan.test
    monkeypatch.setattr(PhenomeScan, "test", lambda scan, values, kind: tested.append(kind) or test(scan, values, kind))
    (again,), (told,) = scanned(workspace, cells, empty("relatives"))
    assert (tested, told["results_taken_over"]) == ([], 2 * 8)
    assert again.equals(before)
    # One phenotype is another, and one trait of the other: what they touch is tested, and comes out as if all were.
    folder = workspace.cohort.folder
    table = pl.read_csv(folder / "traits.csv")
    table.with_columns(steps=pl.col("steps").reverse()).write_csv(folder / "traits.csv")
    cells = {CELL: [LATENT, np.sin(LATENT)]}
    (mixed,), (told,) = scanned(workspace, cells, empty("relatives"))
    assert told["results_taken_over"] == 7
    workspace.lake.path(("mae", "phewas"), CELL).unlink()
    (fresh,), _ = scanned(workspace, cells, empty("relatives"))
    assert mixed.drop("source").equals(fresh.drop("source"))
    assert not mixed.equals(before)


def test_phewas__what_a_result_rests_on_is_tested_again_where_it_changes(workspace: Workspace) -> None:
    cells, none = {CELL: [LATENT]}, empty("relatives")
    (before,), _ = scanned(workspace, cells, none)
    workspace.lake.write(("mae", "phewas"), CELL, "phewas", Stored(before), "")
    older = PARTICIPANTS.with_columns(age=pl.col("age") + 10 * pl.Series(LATENT))
    (aged,), (told,) = scanned(workspace, cells, none, older)
    assert told["results_taken_over"] == 0
    p = [frame.filter(trait="fat")["neg_log_10_p_value"].item() for frame in (before, aged)]
    assert p[0] > p[1] + 3  # age tells of the latent now
    folder = workspace.cohort.folder
    described = (folder / "dictionary.csv").read_text()
    (folder / "dictionary.csv").write_text(described.replace("steps,Steps,ordinal", "steps,Steps,categorical"))
    (other,), (told,) = scanned(workspace, cells, none)
    assert told["results_taken_over"] == 7
    assert other.filter(trait="steps")["model"].item() == "multinomial"
    (folder / "cohort.toml").write_text(TOML + "min_cases = 690\n")
    (fewer,), (told,) = scanned(Workspace(workspace.home), cells, none)
    assert told["results_taken_over"] == 0
    assert fewer.filter(trait="phecode:571.5")["reason"].item() == f"{len(CASES) - (EIDS[0] in CASES)} cases: " \
        "at least 690 are needed"  # fmt: skip


def test_phewas__traits_of_several_blocks_are_as_those_of_one(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    (whole,), _ = scanned(workspace, {CELL: [LATENT]}, empty("relatives"))
    for module in ("edp_assets.cohort.phenome", "edp_assets.assets.phewas_scan"):
        monkeypatch.setattr(f"{module}.BLOCK", 3)  # traits, traits and phecodes, phecodes
    (parts,), _ = scanned(workspace, {CELL: [LATENT]}, empty("relatives"))
    assert parts.equals(whole)


def test_tested_people__each_has_their_own_scores_and_covariates() -> None:
    people = pl.DataFrame(
        {
            "eid": list("hgfedcba"), "age": [67.0, 66, 65, 64, 63, 62, 61, 60], "sex": [0.0, 1] * 4,
            "bmi": [27.0, None, 25, 24, 23, 22, 21, 20], "imaging_centre": list("xyyxxxyx"),
            "imaging_date": [f"1970-01-{day:02d}" for day in range(9, 1, -1)],
        }
    )  # fmt: skip
    first = pl.DataFrame({"eid": list("abcdefgh"), "score": np.arange(8.0)})
    second = pl.DataFrame({"eid": list("hgfedcba"), "score": 10 * np.arange(7.0, -1, -1)})
    pairs = pl.DataFrame({"eid": ["b", "c", "d"], "relative": ["a", "g", "e"], "left_out": [True, True, False]})
    found, scores, covariates, told = phewas_scan.tested_people([first, second], people, pairs, Settings().phewas)
    # g has no BMI, so that c, who is related to g alone, stays; d is the one of a pair that is kept.
    assert found["eid"].to_list() == list("acdefh")
    assert scores.tolist() == [[i, 10.0 * i] for i in (0, 2, 3, 4, 5, 7)]
    age, sex, bmi, centre, date = covariates
    assert age.tolist() == [60, 62, 63, 64, 65, 67]
    assert sex.tolist() == [1, 1, 0, 1, 0, 0]
    assert bmi.tolist() == [20, 22, 23, 24, 25, 27]
    assert centre.tolist() == [[0], [0], [0], [0], [1], [0]]  # the commoner one is the reference
    assert date.tolist() == [1, 3, 4, 5, 6, 8]
    assert told == {"people": 6, "missing_covariate": 1, "related": 1}


def test_values__who_is_not_in_the_phenome_has_none() -> None:
    stored = pl.DataFrame({"block": [0, 0, 1, 1], "eid": ["b", "a", "b", "a"], "values": [[1.0], [2.0], [3.0], [4.0]]})
    found = phewas_scan._values(stored.lazy(), pl.DataFrame({"eid": ["a", "x", "b"]}), 1)
    np.testing.assert_equal(found, [[4.0], [np.nan], [3.0]])


def test_count__adds_up_the_tests_of_all_phenotypes() -> None:
    frame = pl.DataFrame(
        {
            "neg_log_10_p_value": [9.0, 3.0, 2.0, None],
            "neg_log_10_p_bonferroni": [8.5, 1.2, 0.0, None],
            "neg_log_10_q_value": [8.5, 1.4, 1.2, None],
            "reason": [None, None, None, "9 cases: at least 10 are needed"],
        }
    )
    told: dict[str, Any] = {}
    for _ in range(2):
        _count(frame, told)
    assert told == {
        "tests": 6, "significant_at_bonferroni_0.05": 2, "significant_at_fdr_0.05": 4,
        "not_tested": {"cases: at least 10 are needed": 2},
    }  # fmt: skip


def test_phewas__a_trait_of_the_same_values_as_an_earlier_one_has_its_results(workspace: Workspace) -> None:
    cells = {CELL: [LATENT]}
    (before,), _ = scanned(workspace, cells, empty("relatives"))
    workspace.lake.write(("mae", "phewas"), CELL, "phewas", Stored(before), "")
    folder = workspace.cohort.folder
    table = pl.read_csv(folder / "traits.csv")
    table.with_columns(grease=pl.col("fat"), fat_again=pl.col("fat")).drop("fat").write_csv(folder / "traits.csv")
    described = (folder / "dictionary.csv").read_text()
    again = described.replace("fat,Fat,", "grease,Fat,") + "fat_again,Fat,continuous,blood\n"
    (folder / "dictionary.csv").write_text(again)
    (after,), (told,) = scanned(workspace, cells, empty("relatives"))
    assert told["results_taken_over"] == 9
    shown = ["model", "n", "beta", "neg_log_10_p_value", "reason"]
    wanted = before.filter(trait="fat").select(shown)
    for name in ("grease", "fat_again"):
        assert after.filter(trait=name).select(shown).equals(wanted)


def test_phewas__relatives_are_left_out(workspace: Workspace) -> None:
    pair = {"eid": EIDS[5], "relative": EIDS[6], "left_out": True}
    relatives = pl.concat([empty("relatives"), pl.DataFrame([pair])], how="diagonal_relaxed")
    _, (told,) = scanned(workspace, {CELL: [LATENT]}, relatives)
    assert (told["people"], told["related"]) == (N - 2, 1)


def test_phewas__a_cell_without_phenotypes_has_no_rows(workspace: Workspace) -> None:
    (first,), (told,) = scanned(workspace, {CELL: []}, empty("relatives"))
    assert first.height == 0
    assert told["skipped"] == "no phenotype of the cell is selected: phenotype_selection says why"


def test_phewas_figures__of_phenotypes_that_anything_tracks(workspace: Workspace) -> None:
    noise = np.random.default_rng(3).normal(size=N)
    (table,), _ = scanned(workspace, {CELL: [noise, LATENT]}, empty("relatives"))
    workspace.lake.write(("mae", "phewas"), CELL, "phewas", Stored(table), "")
    run = StageRun(CELL, REGISTRY["mae", "phewas_figures"].spec, workspace)
    variants = {"chromosome": "1", "base_pair_location": [1000, 2000], "neg_log_10_p_value": [9.0, 0.5]}
    gwas = filled("gwas_summary_stats", pl.DataFrame({"method": "clustering", "cluster": 1, **variants}).to_dicts())
    workspace.lake.write(("mae", "gwas_summary_stats"), CELL, "gwas_summary_stats", Stored(gwas), "")
    hits = filled("gene_hits", [{"gene": "PNPLA3", "method": "clustering", "cluster": 1, "chromosome": "1",
                                 "base_pair_location": 1000, "neg_log_10_p_value": 9.0}])  # fmt: skip
    scan, statistics = (Partition(workspace.lake, ("mae", name), CELL) for name in ("phewas", "gwas_summary_stats"))
    stored = phewas_figures(run, scan, statistics, hits)
    drawn = conform(stored.frames, "phewas_figures")
    own = ("clustering", 1)
    assert drawn.select("figure", "method", "cluster").rows() == [("volcano", *own), ("figure_7", *own)]
    for path in drawn["path"]:
        assert (workspace.home.root / path).read_bytes().startswith(b"\x89PNG")
