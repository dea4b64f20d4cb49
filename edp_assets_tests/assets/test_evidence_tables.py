"""The paper's tables as stages: retired codes and unused encoders out, controls in, the paper's numbers where real."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from edp_assets import summary
from edp_assets.assets.evidence_predictions import EMBEDDINGS, age, volume
from edp_assets.assets.evidence_tables import COUNTED, NOT_STORED, hits_by_disease, hits_by_organ
from edp_assets.assets.stage import REGISTRY, StageRun
from edp_assets.settings import Settings
from edp_assets.storage import warehouse
from edp_assets.storage.lake import Lake, Stored, cell_of
from edp_assets.storage.schemas import conform, empty
from edp_assets.storage.upstream import Partition, Partitions

ORGAN = cell_of({"organ": "liver"})


class Organ:
    """A lake with one organ's hits: K76 is studied, R99 retired; only `mae` was run."""

    def __init__(self, root: Path) -> None:
        self.lake, self.warehouse = Lake(root / "lake"), root / "warehouse.duckdb"
        self.cells: dict[tuple[str, ...], list[Any]] = {}
        for code in ("K76", "R99"):
            rows = [{"method": "classifier", "cases": 40, "selected": True, "roc_auc_out_of_fold": 0.7}]
            rows += [{"method": "clustering", "cluster": c, "cases": 9, "selected": c < 2} for c in range(3)]
            self.put("mae", "phenotype_selection", {"icd10": code}, rows, controls=1, reason="")
            hit = {"method": "clustering", "gene": "PNPLA3", "neg_log_10_p_value": 20.0}
            self.put("mae", "gene_hits", {"icd10": code}, [{**hit, "cluster": 0}, {**hit, "cluster": 1, "gene": "NEW"}])
            self.put("mae", "lead_variants", {"icd10": code}, [{**hit, "cluster": 0, "locus_start": 5, "locus_end": 9}])
            own = {"method": "icd10_whole_cohort", "gene": "PNPLA3", "neg_log_10_p_value": 9.0}
            for baseline, rows in (("icd10_whole_cohort", [own]), ("icd10_imaging_cohort", [])):
                self.put(baseline, "gene_hits", {"icd10": code}, rows, organ=False)
                found = [{**row, "locus_start": 7, "locus_end": 7} for row in rows]
                self.put(baseline, "lead_variants", {"icd10": code}, found, organ=False)
        for baseline, method in (("organ_volume", "organ_volume"), ("hand_made", "fat_fraction")):
            row = {"method": method, "gene": f"{method} gene", "neg_log_10_p_value": 8.0}
            self.put(baseline, "gene_hits", {}, [row])
            self.put(baseline, "lead_variants", {}, [{**row, "locus_start": 1, "locus_end": 1}])
        notes = {"methods": ["organ_surface", "fat_fraction"]}
        self.lake.write(
            ("hand_made", "gwas_summary_stats"),
            ORGAN,
            "gwas_summary_stats",
            Stored(empty("gwas_summary_stats"), notes=notes),
            "",
        )
        names = {"cases": 90, "cases_imaged": 41, "label_set": "icd10", "chapter": "XI", "description": "a disease"}
        codes = pl.DataFrame({"icd10": ["K76", "R99"], "studied": [True, False], "retired": [False, True], **names})
        self.codes = conform(codes, "icd10_codes")

    def put(
        self,
        name: str,
        table: str,
        cell: dict[str, str],
        rows: list[dict[str, Any]],
        *,
        organ: bool = True,
        **more: Any,
    ) -> None:
        """Write a partition; what a test does not look at is filled in."""
        asset, place = (name, table), cell_of({**cell, **({"organ": "liver"} if organ else {})})
        filled = {"chromosome": "22", "base_pair_location": 7, "rsid": "rs1", "variants": 1, "effect_allele": "A",
                  "other_allele": "G", "effect_allele_frequency": 0.3, "beta": 1.0, "standard_error": 0.1, "n": 9,
                  "encoder": name if name == "mae" else None, "icd10": cell.get("icd10"),
                  "organ": "liver" if organ else None, **more}  # fmt: skip
        schema = empty(table).schema
        whole = [{k: v for k, v in {**filled, **row}.items() if k in schema} for row in rows]
        self.lake.write(asset, place, table, Stored(pl.DataFrame(whole, schema=schema)), "")
        self.cells.setdefault(asset, []).append(place)

    def remove(self, name: str, table: str, cell: dict[str, str]) -> None:
        """Take a partition away, as of a cell that failed: its codes are told all the same."""
        self.lake.path((name, table), cell_of(cell)).unlink()

    def inputs(self) -> dict[str, Partition | Partitions]:
        found: dict[str, Partition | Partitions] = {}
        for argument, stage in COUNTED.items():
            asset = stage.spec.asset
            of_codes = "icd10" in stage.spec.dimensions
            partitions = Partitions(self.lake, asset, self.cells.get(asset, []))
            found[argument] = partitions if of_codes else partitions.partition(ORGAN)
        return {**found, "hand_made_gwas": Partition(self.lake, ("hand_made", "gwas_summary_stats"), ORGAN)}

    def made(self, function: Any, *, synthetic: bool = True, genes_unknown: str = "", **inputs: Any) -> Stored:
        """Run a stage, and bring its rows into the warehouse."""
        cohort = SimpleNamespace(synthetic=synthetic, genes_unknown=genes_unknown)
        asset = ("evidence", function.__name__)
        workspace = SimpleNamespace(settings=Settings(), cohort=cohort, lake=self.lake)
        stored: Stored = function(
            StageRun(ORGAN, REGISTRY[asset].spec, workspace), icd10_codes=self.codes, **inputs, **self.inputs()
        )
        table = REGISTRY[asset].spec.table
        stored.frames = conform(stored.frames, table)
        self.lake.write(asset, ORGAN, table, stored, "")
        warehouse.refresh(self.warehouse, self.lake, [(table, asset, [ORGAN])])
        return stored


@pytest.fixture
def organ(tmp_path: Path) -> Organ:
    return Organ(tmp_path)


def test_hits_by_disease__counts_edps_beside_the_code_and_the_controls(organ: Organ) -> None:
    stored = organ.made(hits_by_disease)
    columns = ["encoder", "icd10", "method", "cases", "phenotypes", "genes", "loci", "genes_and_whole", "paper_genes"]
    assert stored.frames.select(columns).rows() == [
        ("mae", "K76", "classifier", 40, 1, 0, 0, 0, None),
        ("mae", "K76", "clustering", 40, 2, 2, 1, 1, None),
        (None, "K76", "icd10_whole_cohort", 90, 1, 1, 1, 1, None),
        (None, "K76", "icd10_imaging_cohort", 41, 1, 0, 0, 0, None),
        (None, None, "organ_volume", None, None, 1, 1, None, None),
        (None, None, "organ_surface", None, None, 0, 0, None, None),
        (None, None, "fat_fraction", None, None, 1, 1, None, None),
    ]
    assert stored.frames["genes_high"].min() > 3.6  # of none found: up to 3.7 by chance
    assert stored.metadata["nothing_stored_of"].split(", ") == sorted(set(EMBEDDINGS) - {"mae"})


def test_hits_by_disease__hits_that_are_not_stored_are_not_none(organ: Organ) -> None:
    organ.remove("mae", "gene_hits", {"icd10": "K76", "organ": "liver"})
    stored = organ.made(hits_by_disease)
    columns = ["encoder", "method", "genes", "genes_high", "loci", "genes_and_whole", "reason"]
    rows = stored.frames.filter(icd10="K76").select(columns).rows()
    reason = "its gene hits are not stored: their run failed, is held by a check, or is still to come"
    assert rows[:2] == [("mae", method, None, None, None, None, reason) for method in ("classifier", "clustering")]
    assert rows[2][2:] == (1, pytest.approx(5.57, abs=0.01), 1, 1, None)
    assert stored.metadata["not_counted"] == 2
    closing = summary.hits_by_disease(organ.warehouse).row(0, named=True)
    assert (closing["classifier"], closing["clustering"], closing["island"]) == (None, None, 0)
    of_organ = organ.made(hits_by_organ, organ_volumes=pl.DataFrame({"eid": ["1", "2"]})).frames
    assert "mae" not in of_organ["source"]  # nothing of it is associated


def test_hits_by_disease__without_the_whole_cohort_nothing_is_known_to_be_shared(organ: Organ) -> None:
    organ.remove("icd10_whole_cohort", "lead_variants", {"icd10": "K76"})
    found = organ.made(hits_by_disease).frames.filter(icd10="K76")
    assert found["genes"].to_list() == [0, 2, None, 0]
    assert found["genes_and_whole"].to_list() == [None] * 4
    assert summary.hits_by_disease(organ.warehouse)["whole_cohort"].to_list() == [None]


def test_hits_by_disease__the_papers_numbers_stand_beside_a_real_cohorts(organ: Organ) -> None:
    found = organ.made(hits_by_disease, synthetic=False).frames
    paper = found.select("method", "paper_genes", "paper_genes_and_whole").rows()
    assert paper[:4] == [
        ("classifier", 5, 5), ("clustering", 38, 6), ("icd10_whole_cohort", 7, None), ("icd10_imaging_cohort", 0, None)
    ]  # fmt: skip
    assert found.filter(pl.col("icd10").is_null())["paper_genes"].null_count() == 3


def test_hits_by_organ__sources_side_by_side(organ: Organ) -> None:
    volumes = pl.DataFrame({"eid": ["1", "2"]})
    found = organ.made(hits_by_organ, synthetic=False, organ_volumes=volumes).frames
    columns = ["source", "scans", "phenotypes", "genes", "associations", "loci", "paper_genes"]
    assert found.select(columns).rows() == [
        ("mae", 2, 3, 2, 2, 1, 343.0),
        ("organ_volume", 2, 1, 1, 1, 1, 12.0),
        ("organ_surface", 2, 1, 0, 0, 0, None),
        ("fat_fraction", 2, 1, 1, 1, 1, None),
    ]


def test_hits_by_organ__a_code_whose_hits_are_not_stored_is_told_once(organ: Organ) -> None:
    organ.codes = organ.codes.with_columns(studied=pl.lit(value=True), retired=pl.lit(value=False))
    organ.remove("mae", "gene_hits", {"icd10": "R99", "organ": "liver"})
    found = organ.made(hits_by_organ, organ_volumes=pl.DataFrame({"eid": ["1", "2"]})).frames
    columns = ["source", "codes_not_counted", "phenotypes", "genes"]
    assert found.select(columns).rows()[:2] == [("mae", 1, 3, 2), ("organ_volume", 0, 1, 1)]


UNKNOWN = "no variant_to_gene in cohort.toml: genes are not known"


def test_hits__of_a_cohort_without_a_table_of_genes_are_loci_alone_and_say_why(organ: Organ) -> None:
    hit = {"method": "clustering", "gene": None, "neg_log_10_p_value": 20.0, "cluster": 0}
    organ.put("mae", "gene_hits", {"icd10": "K76"}, [hit])
    organ.remove("icd10_imaging_cohort", "gene_hits", {"icd10": "K76"})
    stored = organ.made(hits_by_disease, synthetic=False, genes_unknown=UNKNOWN)
    found = stored.frames
    columns = ["genes", "genes_low", "genes_high", "genes_and_whole"]
    assert found.select(columns).null_count().row(0) == (found.height,) * 4
    assert found.filter(icd10="K76").select("method", "loci", "loci_and_whole", "reason").rows() == [
        ("classifier", 0, 0, UNKNOWN),
        ("clustering", 1, 1, UNKNOWN),
        ("icd10_whole_cohort", 1, 1, UNKNOWN),
        ("icd10_imaging_cohort", None, None, NOT_STORED),
    ]
    assert (stored.metadata["genes"], stored.metadata["not_counted"]) == (UNKNOWN, 1)
    volumes = pl.DataFrame({"eid": ["1", "2"]})
    organs = organ.made(hits_by_organ, genes_unknown=UNKNOWN, organ_volumes=volumes).frames
    columns = ["genes", "genes_low", "genes_high", "genes_of_island", "associations", "genes_corrected"]
    assert organs.select(columns).null_count().row(0) == (4,) * 6
    assert organs.select("source", "phenotypes", "loci", "reason").row(0) == ("mae", 3, 1, UNKNOWN)


def test_closing_tables__of_a_cohort_without_a_table_of_genes_say_none_of_no_method(organ: Organ) -> None:
    organ.made(hits_by_disease, genes_unknown=UNKNOWN)
    organ.made(hits_by_organ, genes_unknown=UNKNOWN, organ_volumes=pl.DataFrame({"eid": ["1", "2"]}))
    (row,) = summary.hits_by_disease(organ.warehouse).rows(named=True)
    known = {"encoder": "mae", "organ": "liver", "icd10": "K76", "cases": 40, "auc": 0.7, "selected": 3}
    assert row == dict.fromkeys(row) | known
    (row,) = summary.loci_by_disease(organ.warehouse).rows(named=True)
    assert (row["whole_cohort"], row["clustering"], row["clustering_and_whole"], row["island"]) == (1, 1, 1, 0)
    organs = summary.hits_by_organ(organ.warehouse, synthetic=True)
    assert (organs["genes"].null_count(), organs["loci"].null_count()) == (4, 0)
    assert summary.genes_unknown(organ.warehouse) == [UNKNOWN]


def test_genes_unknown__nothing_is_said_where_genes_are_counted_or_hits_are_not_stored(organ: Organ) -> None:
    organ.remove("mae", "gene_hits", {"icd10": "K76", "organ": "liver"})
    organ.made(hits_by_disease)
    organ.made(hits_by_organ, organ_volumes=pl.DataFrame({"eid": ["1", "2"]}))
    assert summary.genes_unknown(organ.warehouse) == []


def test_closing_tables__are_those_of_the_assets(organ: Organ) -> None:
    organ.made(hits_by_disease)
    organ.made(hits_by_organ, organ_volumes=pl.DataFrame({"eid": ["1", "2"]}))
    (row,) = summary.hits_by_disease(organ.warehouse).rows(named=True)
    assert row == {
        "encoder": "mae", "organ": "liver", "icd10": "K76", "cases": 40, "auc": 0.7, "selected": 3, "whole_cohort": 1,
        "imaging_cohort": 0, "classifier": 0, "clustering": 2, "island": 0, "classifier_and_whole": 0,
        "clustering_and_whole": 1, "island_and_whole": 0,
    }  # fmt: skip
    (row,) = summary.loci_by_disease(organ.warehouse).rows(named=True)
    assert (row["whole_cohort"], row["clustering"], row["clustering_and_whole"]) == (1, 1, 1)
    assert summary.hits_by_organ(organ.warehouse, synthetic=True)["source"].to_list() == [
        "fat_fraction", "mae", "organ_surface", "organ_volume"
    ]  # fmt: skip


N = 300


class Scanned:
    """Embeddings and measures of two organs: dimensions 0 and 1 hold size, each organ's dimension 2 half of age."""

    def __init__(self, root: Path) -> None:
        self.lake, rng = Lake(root / "lake"), np.random.default_rng(0)
        self.eids = [f"{i:04d}" for i in range(N)]
        self.volume = rng.normal(1500, 200, N)
        halves = rng.normal(0, 5, (2, N))
        self.age = 60 + halves.sum(axis=0)
        self.cells = [cell_of({"organ": organ}) for organ in ("heart", "liver")]
        for cell, half in zip(self.cells, halves, strict=True):
            organ = dict(cell)["organ"]
            z = np.column_stack([self.volume / 100, rng.normal(size=N), half, rng.normal(size=(N, 3))])
            frame = pl.DataFrame({"encoder": "mae", "organ": organ, "eid": self.eids, "z": z.tolist()})
            self.lake.write(("mae", "embeddings"), cell, "embeddings", Stored(conform(frame, "embeddings")), "")
            measures = {"eid": self.eids, "organ": organ, "volume_ml": self.volume, "surface_cm2": self.volume**0.5,
                        "mean_intensity": [[1.0 + v, 2.0] for v in self.volume], "fat_fraction": 0.1}  # fmt: skip
            frame = conform(pl.DataFrame(measures), "organ_measures")
            self.lake.write(("organ_measures",), cell, "organ_measures", Stored(frame), "")

    def run(self, asset: str, cell: Any, *, synthetic: bool) -> StageRun:
        settings = Settings.from_toml({"evidence": {"resamples": 100, "people": 250}})
        workspace = SimpleNamespace(settings=settings, cohort=SimpleNamespace(synthetic=synthetic), lake=self.lake)
        return StageRun(cell, REGISTRY["evidence", asset].spec, workspace)

    def embeddings(self) -> dict[str, Partitions]:
        there = {"mae": self.cells}
        return {name: Partitions(self.lake, (name, "embeddings"), there.get(name, [])) for name in EMBEDDINGS}


BELOW = ["error_below_volume", "error_below_volume_low", "error_below_volume_high"]


def test_age__each_organ_and_all_together_beside_the_controls(tmp_path: Path) -> None:
    scanned = Scanned(tmp_path)
    participants = pl.DataFrame({"eid": ["9999", *scanned.eids], "age": [None, *scanned.age]})
    measures = Partitions(scanned.lake, ("organ_measures",), scanned.cells)
    run = scanned.run("age", (), synthetic=False)
    found = conform(age(run, participants, measures, **scanned.embeddings()).frames, "evidence_age")
    errors = {(f, o): e for f, o, e in found.select("features", "organ", "mean_absolute_error").iter_rows()}
    assert set(found["participants"]) == {250}
    assert found.select("organ", "organs").unique().sort("organ").rows() == [
        ("combined", 2),
        ("heart", 1),
        ("liver", 1),
    ]
    # One half of the variance is left to an organ, none to both; who knows nothing is off by 5 x sqrt(2) x 0.8 years.
    assert errors["mae", "combined"] < 0.1
    assert errors["mae", "liver"] == pytest.approx(5 * np.sqrt(2 / np.pi), rel=0.15)
    assert errors["mean", "liver"] == pytest.approx(5 * 2 / np.sqrt(np.pi), rel=0.15)
    for features in ("organ_volume", "organ_measures"):
        assert errors[features, "combined"] == pytest.approx(errors["mean", "combined"], rel=0.06)
    of = {(f, o): row for f, o, *row in found.select("features", "organ", *BELOW).iter_rows()}
    assert of["organ_volume", "liver"] == [None] * 3
    value, low, high = of["mae", "liver"]
    assert value == pytest.approx(errors["organ_volume", "liver"] - errors["mae", "liver"])
    assert 0 < low < value < high
    assert of["mean", "liver"][1] < 0.1  # knows nothing, as volume of age here
    paper = dict(found.filter(organ="liver").select("features", "paper_mean_absolute_error").iter_rows())
    assert paper == {"mae": 4.2, "organ_volume": 18.3, "organ_measures": None, "mean": None}
    assert (found["mean_absolute_error_low"] <= found["mean_absolute_error_high"]).all()


def test_age__is_of_those_who_have_the_features_and_an_age(tmp_path: Path) -> None:
    scanned = Scanned(tmp_path)
    heart = scanned.cells[0]
    fewer = scanned.lake.read(("mae", "embeddings"), heart).filter(pl.col("eid") >= "0100").reverse()
    scanned.lake.write(("mae", "embeddings"), heart, "embeddings", Stored(fewer), "")
    participants = pl.DataFrame({"eid": scanned.eids[::-1], "age": [*[None] * 40, *scanned.age[-41::-1]]})
    measures = Partitions(scanned.lake, ("organ_measures",), scanned.cells)
    found = age(scanned.run("age", (), synthetic=True), participants, measures, **scanned.embeddings()).frames
    people = {(f, o): n for f, o, n in found.select("features", "organ", "participants").iter_rows()}
    assert {place: people["mae", place] for place in ("heart", "liver", "combined")} == {
        "heart": 160, "liver": 250, "combined": 160
    }  # fmt: skip
    assert people["organ_volume", "combined"] == 250
    of = {(row["features"], row["organ"]): row for row in found.iter_rows(named=True)}
    assert of["mae", "combined"]["mean_absolute_error"] < 0.2
    # Over the people of both: so nearly the difference of the two means.
    below, volume = of["mae", "heart"], of["organ_volume", "heart"]["mean_absolute_error"]
    assert below["error_below_volume"] == pytest.approx(volume - below["mean_absolute_error"], abs=0.6)
    assert below["error_below_volume_low"] < below["error_below_volume"] < below["error_below_volume_high"]


def test_volume__from_embeddings_and_from_nothing(tmp_path: Path) -> None:
    scanned = Scanned(tmp_path)
    volumes = pl.DataFrame({"eid": scanned.eids, "volume_ml": scanned.volume})
    partitions = {name: p.partition(scanned.cells[1]) for name, p in scanned.embeddings().items()}
    run = scanned.run("volume", scanned.cells[1], synthetic=True)
    measures = Partition(scanned.lake, ("organ_measures",), scanned.cells[1])
    found = conform(volume(run, volumes, measures, **partitions).frames, "evidence_volume")
    assert found["features"].to_list() == ["mae", "organ_measures", "mean"]
    assert found["dimensions"].to_list() == [6, 4, 0]  # surface, two intensities, fat fraction: not volume itself
    controls = found.filter(pl.col("features") != "mae")
    assert found["pearson_r"][0] > 0.999
    assert controls["pearson_r"][0] > 0.99  # the planted surface and intensity are of volume
    assert found["mean_absolute_error_percent"][0] < 0.1 < 5 < controls["mean_absolute_error_percent"][1]
    assert found["paper_pearson_r"].null_count() == 3
    # What knows nothing correlates with nothing: a fold's mean goes against those left out of it.
    assert controls.select("pearson_r", "pearson_r_low", "pearson_r_high").row(1) == (0, 0, 0)


def test_age__too_few_people_are_a_row_without_measures(tmp_path: Path) -> None:
    scanned = Scanned(tmp_path)
    participants = pl.DataFrame({"eid": scanned.eids[:5], "age": scanned.age[:5]})
    measures = Partitions(scanned.lake, ("organ_measures",), scanned.cells)
    found = age(scanned.run("age", (), synthetic=True), participants, measures, **scanned.embeddings()).frames
    assert set(found["participants"]) == {5}
    assert found["mean_absolute_error"].null_count() == found.height
