"""A person withdraws, and returns: a home ends as one that never had them, and nothing of them is left meanwhile."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from edp_assets.storage import warehouse
from edp_assets.storage.home import Home
from edp_assets.storage.schemas import SCHEMAS
from edp_assets_tests.end_to_end.mortal import Processes
from edp_assets_tests.storage.test_withdrawal import where

pytestmark = pytest.mark.slow

SELECT = '+key:"mae/edp_scores" or +key:"mae/phenotype_figures" or key:organ_volumes'
TABLES = (
    "participants", "organ_volumes", "icd10_codes", "embeddings", "adjusted_embeddings", "clusters",
    "phenotype_selection", "edp_scores", "phenotype_figures",
)  # fmt: skip


class Runs:
    """Runs of one home, each with what it said; in processes whose products of matrices are the same to the bit."""

    def __init__(self, root: Path, cohort: Path, server: Processes) -> None:
        self.home, self.cohort, self._server = Home(root), cohort, server

    def run(self, *options: str) -> str:
        chosen = ("--organ", "liver", "--icd10", "I10", "--encoder", "mae", "--select", SELECT)
        done = self._server.run(self.home.root, "refresh", str(self.cohort), *chosen, *options)
        assert (done["code"], done["signal"]) == (0, 0), done["printed"]
        return str(done["printed"])

    def withdraw(self, *eids: str) -> None:
        (self.cohort / "withdrawn.csv").write_text("".join(f"{eid}\n" for eid in eids))

    def same_as(self, other: Runs) -> None:
        for name in TABLES:
            mine, theirs = (self._table(each.home, name) for each in (self, other))
            assert mine.height > 0, name
            assert_frame_equal(mine, theirs, check_exact=True)

    @staticmethod
    def _table(home: Home, name: str) -> pl.DataFrame:
        frame = warehouse.query(home.warehouse, f"SELECT {', '.join(SCHEMAS[name])} FROM {name}")
        return frame.sort([column for column, dtype in frame.schema.items() if not isinstance(dtype, pl.List)])


def without(cohort: Path, to: Path, eid: str) -> Path:
    """Write a cohort whose tables never had a person."""
    shutil.copytree(cohort, to, copy_function=shutil.copy2)
    for table in to.glob("*.csv"):
        lines = table.read_text().splitlines(keepends=True)
        table.write_text("".join(line for line in lines if not line.startswith(f"{eid},")))
        assert eid not in table.read_text()
    return to


def test_run__after_a_withdrawal_is_as_if_the_person_had_never_been_there(cohort_copy: Path, tmp_path: Path) -> None:
    earlier = (cohort_copy / "withdrawn.csv").read_text().split()
    scans = pl.read_csv(cohort_copy / "scans.csv", schema_overrides={"eid": pl.String}).filter(organ="liver")
    eid = next(eid for eid in scans["eid"] if eid not in earlier)
    runs = Runs(tmp_path / "home", cohort_copy, Processes())
    never = Runs(tmp_path / "never", without(cohort_copy, tmp_path / "other", eid), Processes())
    withdraw_and_return(runs, never, eid, earlier, scans.height)


def withdraw_and_return(runs: Runs, never: Runs, eid: str, earlier: list[str], scans: int) -> None:
    runs.run()
    held = where(runs.home, eid)
    assert len(held) > 10
    runs.withdraw(*earlier, eid, "9999999")
    said = runs.run()
    assert "1 taken out" in said
    assert "nobody who withdrew found" in said
    assert "mae/encoder liver: kept, trained on other scans than there are now (1 withdrawn)" in said
    assert f"trained with people who withdrew since: mae/encoder liver (1 of {scans - 1})" in said
    assert f"`edp refresh {runs.cohort} --retrain --organ liver --encoder mae` trains anew" in said
    assert where(runs.home, eid) == []
    assert told(runs.home, "masked_crops", "reused", "cropped") == [scans - 2, 0]
    assert told(runs.home, "mae/embeddings", "reused", "embedded") == [scans - 2, 0]

    # Given the same encoder, the home is as one that never had them.
    for folder in ("checkpoints/mae/encoder", "lake/mae/trained_on"):
        shutil.copytree(runs.home.root / folder, never.home.root / folder)
    assert "kept" in never.run()
    runs.same_as(never)

    # With the encoder trained anew, too.
    said = runs.run("--retrain")
    assert "trained with people who withdrew" not in said
    shutil.rmtree(never.home.checkpoints)
    never.run()
    runs.same_as(never)

    runs.withdraw(*earlier)
    assert "1 new" in runs.run()
    assert set(held) - set(where(runs.home, eid)) <= {"lake/mae/trained_on/organ=liver/part.parquet"}


def told(home: Home, asset: str, *names: str) -> list[int]:
    """Return numbers of an asset's last metadata, as Dagster has them."""
    import dagster as dg

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home.dagster))  # where the event log lies
        with dg.DagsterInstance.from_config(str(home.dagster)) as instance:
            event = instance.get_latest_materialization_event(dg.AssetKey(asset.split("/")))
    assert event is not None
    assert event.asset_materialization is not None
    return [int(f"{event.asset_materialization.metadata[name].value}") for name in names]
