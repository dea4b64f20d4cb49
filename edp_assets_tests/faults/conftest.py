"""A graph of four hand-made stages over 2 organs x 20 codes, in which any cell can be made to fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import polars as pl
import pytest

from edp_assets import runner
from edp_assets.assets.stage import REGISTRY, StageRun, stage
from edp_assets.runner import choice, execute
from edp_assets.storage.home import Home
from edp_assets.storage.io_managers import LakeIOManager, StageOutput
from edp_assets.storage.lake import Stored, Together
from edp_assets.storage.schemas import empty
from edp_assets.storage.upstream import Partitions
from edp_assets.storage.verdicts import GATES, LOOKS
from edp_assets.storage.workspace import Workspace
from edp_assets_tests.cohort.conftest import build

CODES = [f"{letter}{number:02d}" for letter in "AB" for number in range(10)]
ORGANS = ["heart", "liver"]
CASES, SCORES, SUMS = ("icd10_cases",), ("planted", "scores"), ("planted", "sums")


@dataclass
class Planted:
    """The home of the planted graph; which cells fail, with what; and every call that was made."""

    home: Home
    graph: dg.Definitions
    faults: dict[tuple[str, ...], BaseException] = field(default_factory=dict)
    calls: list[tuple[str, ...]] = field(default_factory=list)
    calling: Callable[[tuple[str, ...]], None] = lambda key: None

    def call(self, *key: str) -> None:
        """Count a call for a cell, and fail where that is planted."""
        self.calls.append(key)
        self.calling(key)
        if key in self.faults:
            raise self.faults[key]

    def stored(self, asset: tuple[str, ...]) -> set[str]:
        """Return the stored partition keys of an asset."""
        return {"|".join(key for _, key in cell) for cell in Workspace(self.home).lake.cells(asset)}

    def run(self, asset: tuple[str, ...], first: str = "", last: str = "") -> dg.ExecuteInProcessResult:
        """Run an asset over a range of partitions in one run, as Dagster's UI does."""
        job = self.graph.resolve_implicit_global_asset_job_def().get_subset(asset_selection={dg.AssetKey(asset)})
        tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
        with dg.DagsterInstance.get() as instance:
            return job.execute_in_process(instance=instance, tags=tags if first else {}, raise_on_error=False)


class Computed(dg.IOManager):
    """Has the cells made and stores nothing; it holds no lock, so that what keeps two runs apart is the pool alone."""

    def handle_output(self, context: dg.OutputContext, obj: StageOutput) -> None:
        for batch in obj.batches:
            batch.made = SimpleNamespace(metadata={}, made=batch.make())

    def load_input(self, context: dg.InputContext) -> None:
        """Nothing stands below."""


def define(planted: list[Planted]) -> dg.Definitions:
    """Define the stages: codes, each code's cases, scores a code and organ (7 at once), and one that sums them up."""

    @stage("icd10_codes", group="cohort", dimensions=(), table="icd10_codes", files=("diagnoses",))
    def icd10_codes(run: StageRun) -> Stored:
        planted[0].call("icd10_codes")
        counts = {name: pl.lit(1) for name in ("cases", "cases_imaged")}
        frame = pl.DataFrame({"icd10": CODES}).with_columns(
            studied=pl.lit(True), retired=pl.lit(False), label_set=pl.lit("icd10"), **counts
        )
        return Stored(pl.concat([empty("icd10_codes"), frame], how="diagonal_relaxed"))

    @stage("icd10_cases", group="cohort", dimensions=("icd10",), table="icd10_cases", inputs={"codes": icd10_codes})
    def icd10_cases(run: StageRun, codes: pl.DataFrame) -> Stored:
        """Rows that are made while they are stored, as a GWAS's are."""

        def rows() -> Iterator[pl.DataFrame]:
            yield pl.DataFrame({"icd10": run["icd10"], "eid": "1"})
            planted[0].call("cases", run["icd10"])

        return Stored(rows(), metadata={"cases": 1})

    @stage(
        "planted/scores",
        group="phenotypes",
        dimensions=("icd10", "organ"),
        table="icd10_cases",
        inputs={"cases": icd10_cases},
        at_once=7,
    )
    def scores(runs: list[StageRun], cases: list[pl.DataFrame]) -> Together:
        for run in runs:
            planted[0].call("scores", run["icd10"], run["organ"])
        return Together([Stored(iter(())) for _ in runs], enumerate(cases))

    @stage("planted/sums", group="imaging", dimensions=("organ",), table="icd10_cases", inputs={"scores": scores})
    def sums(run: StageRun, scores: Partitions) -> Stored:
        planted[0].call("sums", run["organ"])
        return Stored(pl.concat([scores[cell] for cell in scores]))

    assets = [made.definition for made in REGISTRY.values()]

    @stage(
        "planted/encoder", group="encoders", dimensions=("organ",), table="encoder", checkpoint=True, pool="encoders"
    )
    def encoder(run: StageRun) -> None:
        planted[0].call("encoder", run["organ"])

    # The runner does not know it: there is nothing to store.
    del REGISTRY[encoder.spec.asset]
    return dg.Definitions(
        assets=[*assets, encoder.definition],
        resources={"io_manager": LakeIOManager(), "checkpoint_io_manager": Computed()},
    )


@pytest.fixture(scope="session")
def faults_cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cohort of eight people with two organs; read only."""
    folder = tmp_path_factory.mktemp("faults") / "cohort"
    build(folder)
    with (folder / "cohort.toml").open("a") as file:
        file.write("[organs.heart]\n")
    return folder


@pytest.fixture
def planted(faults_cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Planted]:
    """The planted graph in place of the real one, and a fresh home."""
    monkeypatch.setenv("EDP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path / "home/dagster"))
    home = Home(tmp_path / "home")
    home.prepare()
    home.bind(faults_cohort)
    real = dict(REGISTRY)
    REGISTRY.clear()
    # The planted graph has no checks.
    for checks in (GATES, LOOKS):
        for asset in list(checks):
            monkeypatch.delitem(checks, asset)
    monkeypatch.setattr(runner, "tell_checks", lambda *_, **__: None)
    try:
        found: list[Planted] = []
        graph = define(found)
        found.append(Planted(home, graph))
        for module in (choice, execute):
            monkeypatch.setattr(module, "graph", graph)
        yield found[0]
    finally:
        REGISTRY.clear()
        REGISTRY.update(real)
