"""A failed check holds the cells downstream of it, and no other, in every way of running; a threshold releases them."""

from __future__ import annotations

import re

import dagster as dg
import polars as pl
import pytest
from click.testing import CliRunner

from edp_assets.assets.stage import REGISTRY
from edp_assets.checks.gates import register
from edp_assets.cli import cli
from edp_assets.definitions import defs
from edp_assets.runner.holding import Holding
from edp_assets.storage import warehouse
from edp_assets.storage.home import Home
from edp_assets.storage.lake import Stored, cell_of
from edp_assets.storage.schemas import empty
from edp_assets.storage.verdicts import TABLE, Verdicts
from edp_assets.storage.workspace import StageSpec, Workspace
from edp_assets_tests.checks.conftest import BELOW, GWAS, UPSTREAM, materialise
from edp_assets_tests.checks.planted import rewritten

pytestmark = pytest.mark.slow

STATISTICS, LEADS = ("icd10_whole_cohort", "gwas_summary_stats"), ("icd10_whole_cohort", "lead_variants")
CODES = ("I10", "K76", "M54")
HELD = "K76"  # has the fewest cases


def set_checks(home: Home, toml: str) -> None:
    """Replace the cohort's [checks]."""
    folder = home.cohort_folder()
    assert folder is not None
    config = folder / "cohort.toml"
    config.write_text(re.sub(r"\n# checks\n.*", "", config.read_text(), flags=re.S) + f"\n# checks\n{toml}\n")


def cases(home: Home) -> dict[str, int]:
    lake = Workspace(home).lake
    return {code: lake.read(("icd10_cases",), cell_of({"icd10": code})).height for code in CODES}


def hold_one(home: Home) -> None:
    """Ask for more cases than one code has, and no more than the others have."""
    found = sorted(cases(home).values())
    assert found[0] < found[1] - 3
    set_checks(home, f"[checks.sample_size]\nmin_cases = {found[1] - 3}")


def stored(home: Home, asset: tuple[str, ...] = LEADS) -> dict[str, int]:
    """Return the stored codes of an asset with their files' modification times."""
    lake = Workspace(home).lake
    return {dict(cell)["icd10"]: lake.path(asset, cell).stat().st_mtime_ns for cell in lake.cells(asset)}


def dagster_run(*keys: str, first: str = "I10", last: str = "M54") -> dg.ExecuteInProcessResult:
    """Run assets over a range of codes in one run, as Dagster's UI does; their checks are in it."""
    job = defs.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection={dg.AssetKey.from_user_string(key) for key in keys}
    )
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    with dg.DagsterInstance.get() as instance:
        return job.execute_in_process(instance=instance, tags=tags, raise_on_error=False)


def failure(result: dg.ExecuteInProcessResult, step: str) -> str:
    (event,) = (e for e in result.all_events if e.event_type_value == "STEP_FAILURE" and step in str(e.step_key))
    return str(event.event_specific_data.user_failure_data.description)


def test_fixture__the_held_code_has_the_fewest_cases(home: Home) -> None:
    found = cases(home)
    assert min(found, key=found.__getitem__) == HELD


def test_run__holds_what_stands_below_a_failed_check_and_makes_the_rest(home: Home) -> None:
    hold_one(home)
    before, said = stored(home, STATISTICS), list[str]()
    outcome = materialise(home, f"{UPSTREAM} or {BELOW}", said)
    assert stored(home).keys() == set(CODES) - {HELD}
    assert outcome.held == {"icd10_whole_cohort/lead_variants": 1, "icd10_whole_cohort/gene_hits": 1}
    assert stored(home, STATISTICS) == before  # the checks are evaluated again, not the GWAS
    assert any("checks of 3 partitions evaluated" in line for line in said)
    (hold,) = outcome.holds
    assert re.search(
        rf"{GWAS} \[K76, icd10_whole_cohort\]: check sample_size failed: \d+ cases; at least \d+", str(hold)
    )
    assert "lower [checks.sample_size] min_cases" in str(hold)
    set_checks(home, "")
    released = materialise(home, f"{UPSTREAM} or {BELOW}")
    assert (released.held, released.made) == (
        {}, {"icd10_whole_cohort/lead_variants": 1, "icd10_whole_cohort/gene_hits": 1}
    )  # fmt: skip
    assert stored(home).keys() == set(CODES)
    assert stored(home, STATISTICS) == before


def test_run__a_file_that_is_not_as_declared_is_found_before_anything_is_built_on_it(home: Home) -> None:
    path = Workspace(home).lake.path(STATISTICS, cell_of({"icd10": HELD}))
    sound = path.read_bytes()
    rewritten(path, lambda found: found.drop_columns(["beta"]))
    outcome = materialise(home, f"{UPSTREAM} or {BELOW}")
    assert outcome.held == {"icd10_whole_cohort/lead_variants": 1, "icd10_whole_cohort/gene_hits": 1}
    assert stored(home).keys() == set(CODES) - {HELD}
    told = (
        f"{GWAS} [{HELD}]: check schema failed: its columns are not those of gwas_summary_stats: missing beta. To do: "
    )
    assert str(outcome.holds[0]).startswith(f"{told}delete {path} and run again")
    path.write_bytes(sound)
    assert materialise(home, BELOW).made == {"icd10_whole_cohort/lead_variants": 1, "icd10_whole_cohort/gene_hits": 1}


def test_run__what_was_made_before_a_check_failed_stays_but_is_not_current(home: Home) -> None:
    materialise(home, BELOW)
    before = stored(home)
    assert before.keys() == set(CODES)
    hold_one(home)
    outcome = materialise(home, BELOW)
    assert stored(home) == before
    assert outcome.current == {"icd10_whole_cohort/lead_variants": 2, "icd10_whole_cohort/gene_hits": 2}
    assert [hold.cell for hold in outcome.holds] == [(("icd10", HELD),)]
    set_checks(home, "[checks.sample_size]\nseverity = 'warn'\nmin_cases = 10000")
    warned = materialise(home, BELOW)
    assert (warned.made, warned.held) == ({}, {})
    rows = warehouse.query(home.warehouse, "SELECT severity, passed FROM asset_checks WHERE measure = 'cases'")
    assert rows.rows() == [("warn", False)] * 3


def test_cli__lists_the_held_and_exits_1(home: Home) -> None:
    hold_one(home)
    folder = str(home.cohort_folder())
    done = CliRunner().invoke(cli, ["run", folder, "--select", f"{UPSTREAM} or {BELOW}"])
    assert done.exit_code == 1
    assert re.search(r"edp: 1 failed check\(s\) hold what stands downstream", done.output)
    assert "held partitions: icd10_whole_cohort/lead_variants 1, icd10_whole_cohort/gene_hits 1" in done.output
    assert re.search(r"sample_size\W+2\W+0\W+1\b", done.output)  # passed, warned, failed
    set_checks(home, "")
    assert CliRunner().invoke(cli, ["run", folder, "--select", f"{UPSTREAM} or {BELOW}"]).exit_code == 0


def test_dagster_run__the_failed_cell_is_held_and_the_others_are_made(home: Home) -> None:
    hold_one(home)
    result = dagster_run(GWAS, "icd10_whole_cohort/lead_variants")
    assert not result.success
    told = failure(result, "lead_variants")
    assert "1 cells are held by checks upstream" in told
    assert "check sample_size failed" in told
    assert stored(home).keys() == set(CODES) - {HELD}
    evaluations = {e.check_name: e for e in result.get_asset_check_evaluations()}
    assert set(evaluations) == {
        "lambda_gc", "sample_size", "allele_frequency", "duplicate_variants", "effect_outliers"
    }  # fmt: skip
    failed = evaluations.pop("sample_size")
    assert (failed.passed, failed.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert failed.metadata["partitions_holding"].value == [HELD]
    assert all(evaluation.passed for evaluation in evaluations.values())
    with dg.DagsterInstance.get() as instance:
        assert instance.get_materialized_partitions(dg.AssetKey(LEADS)) == set(CODES) - {HELD}


def test_dagster_run__an_asset_alone_is_refused_its_held_cell(home: Home) -> None:
    hold_one(home)
    for file in home.lake.rglob(f"{TABLE}.parquet"):
        file.unlink()  # as a lake of an earlier version has none
    alone = dagster_run("icd10_whole_cohort/lead_variants", first=HELD, last=HELD)
    assert not alone.success
    assert "check sample_size failed" in failure(alone, "lead_variants")
    assert dagster_run("icd10_whole_cohort/lead_variants", first="I10", last="I10").success
    set_checks(home, "")
    assert dagster_run("icd10_whole_cohort/lead_variants", first=HELD, last=HELD).success


def test_dagster__a_run_of_edp_leaves_the_checks_in_the_event_log(home: Home) -> None:
    hold_one(home)
    materialise(home, UPSTREAM)
    with dg.DagsterInstance.get() as instance:
        histories = {
            name: instance.event_log_storage.get_asset_check_execution_history(
                dg.AssetCheckKey(dg.AssetKey(STATISTICS), name), limit=5
            )
            for name in ("sample_size", "lambda_gc")
        }
    assert [record.status.value for record in histories["sample_size"]] == ["FAILED", "SUCCEEDED"]
    assert [record.status.value for record in histories["lambda_gc"]] == ["SUCCEEDED", "SUCCEEDED"]


def test_holding__passes_on_to_what_stands_below_the_held(home: Home) -> None:
    hold_one(home)
    holding = Holding(Verdicts(Workspace(home)))
    cells = [cell_of({"icd10": code}) for code in CODES]
    assert holding.of(REGISTRY[LEADS].spec, cells) == [cell_of({"icd10": HELD})]
    below = StageSpec(("below",), ("icd10", "organ"), "gene_hits", "1", inputs={"lead_variants": LEADS})
    grid = [cell_of({"icd10": code, "organ": organ}) for code in CODES for organ in ("liver", "heart")]
    assert {dict(cell)["icd10"] for cell in holding.of(below, grid)} == {HELD}
    whole = StageSpec(("all_of_it",), (), "gene_hits", "1", inputs={"lead_variants": LEADS})
    assert holding.of(whole, [()]) == [()]
    counting = StageSpec(("counts",), (), "gene_hits", "1", inputs={"lead_variants": LEADS}, gathers=True)
    assert holding.of(counting, [()]) == []
    aside = StageSpec(("aside",), ("organ",), "gene_hits", "1", inputs={"organ_volumes": ("organ_volumes",)})
    assert holding.of(aside, [cell_of({"organ": "liver"})]) == []


def test_register__an_asset_has_one_gate() -> None:
    with pytest.raises(ValueError, match="gwas_summary_stats has checks already"):
        register(REGISTRY[STATISTICS].spec, {}, lambda *_: empty(TABLE), lambda _: "")


def test_verdicts__are_of_one_content_and_one_set_of_thresholds(home: Home) -> None:
    workspace, cell = Workspace(home), cell_of({"icd10": HELD})
    verdicts = Verdicts(workspace)
    assert verdicts.ensure(STATISTICS, cell) is not None
    assert verdicts.made == {}  # it was there
    assert verdicts.holds(STATISTICS, cell) == []
    # Every hundredth p-value stands for another one: the file is another, and its verdict.
    frame = workspace.lake.read(STATISTICS, cell)
    broken = frame.with_columns(
        neg_log_10_p_value=pl.when(pl.int_range(pl.len()) % 100 == 0).then(9.0).otherwise("neg_log_10_p_value")
    )
    provenance = workspace.lake.provenance(STATISTICS, cell)
    assert provenance is not None
    workspace.lake.write(STATISTICS, cell, "gwas_summary_stats", Stored(broken), provenance.inputs)
    (hold,) = verdicts.holds(STATISTICS, cell)
    assert hold.check == "effect_outliers"
    assert "p is not that of beta / standard error" in hold.description
    assert verdicts.made == {STATISTICS: [cell]}
    assert verdicts.ensure(("participants",), ()) is None  # has no checks
    assert verdicts.ensure(STATISTICS, cell_of({"icd10": "Z99"})) is None  # is not stored
