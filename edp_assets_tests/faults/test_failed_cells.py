"""A cell that fails does not stop the others, in any way of running; what failed is listed, held back, and retried."""

from __future__ import annotations

import errno
import json
import re
import shlex

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from edp_assets.cli import cli
from edp_assets.runner import Choice, Outcome, StageFailedError, run
from edp_assets.storage.attempts import Attempt, Reason, ends_the_run
from edp_assets.storage.workspace import Workspace
from edp_assets_tests.faults.conftest import CASES, CODES, ORGANS, SCORES, SUMS, Planted

pytestmark = pytest.mark.slow


def edp_run(planted: Planted, said: list[str] | None = None, select: str | None = None) -> Outcome:
    planted.calls.clear()
    return run(Workspace(planted.home), Choice(select=select), (said if said is not None else []).append)


def materialised(asset: tuple[str, ...]) -> set[str]:
    with dg.DagsterInstance.get() as instance:
        return instance.get_materialized_partitions(dg.AssetKey(asset))


def test_run__a_failed_cell_holds_what_stands_below_it_and_no_more(planted: Planted) -> None:
    planted.faults["cases", "B03"] = ValueError("no such code in the registry")
    planted.faults["scores", "B01", "liver"] = ValueError("singular matrix")
    said: list[str] = []
    outcome = edp_run(planted, said)
    assert {(each.asset, each.cell, each.reason.text) for each in outcome.failed} == {
        (CASES, (("icd10", "B03"),), "ValueError: no such code in the registry"),
        (SCORES, (("icd10", "B01"), ("organ", "liver")), "ValueError: singular matrix"),
    }
    assert "in rows" in outcome.failed[0].reason.traceback
    assert outcome.made == {"icd10_codes": 1, "icd10_cases": 19, "planted/scores": 37}
    # Each organ's sum is of all its codes, B03 among them.
    assert outcome.held == {"planted/scores": 2, "planted/sums": 2}
    assert planted.stored(CASES) == materialised(CASES) == set(CODES) - {"B03"}
    wanted = {f"{code}|{organ}" for code in CODES if code != "B03" for organ in ORGANS} - {"B01|liver"}
    assert planted.stored(SCORES) == materialised(SCORES) == wanted
    assert any("icd10_cases done" in line and "1 of 20 failed" in line for line in said)
    # Of the group of seven that failed each was tried alone, and no other group.
    calls = [call for call in planted.calls if call[0] == "scores"]
    assert sorted(set(calls)) == sorted(("scores", *key.split("|")) for key in wanted | {"B01|liver"})
    assert len(calls) <= 38 + 7
    assert outcome.retry is not None
    assert outcome.retry == Choice(icd10=("B01", "B03"), select='key:"icd10_cases"+')


def test_run__again_makes_exactly_what_failed_and_what_stands_below(planted: Planted) -> None:
    planted.faults["scores", "B01", "liver"] = KeyError("B01")
    first = edp_run(planted)
    assert first.failed[0].reason.text == "KeyError: 'B01'"
    assert first.held == {"planted/sums": 1}
    assert planted.stored(SUMS) == {"heart"}
    planted.faults.clear()
    planted.calls.clear()
    assert first.retry == Choice(organs=("liver",), icd10=("B01",), select='key:"planted/scores"+')
    outcome = run(Workspace(planted.home), first.retry, lambda line: None)
    assert planted.calls == [("scores", "B01", "liver"), ("sums", "liver")]
    assert (outcome.failed, outcome.retry, outcome.held) == ([], None, {})
    assert edp_run(planted).made == {}


def test_run__what_failed_for_want_of_what_was_not_chosen_is_retried_with_it(planted: Planted) -> None:
    edp_run(planted, select="icd10_codes")
    first = edp_run(planted, select='key:"planted/scores"')
    assert "MissingError" in first.failed[0].reason.text
    assert first.retry is not None
    assert first.retry.select == '+key:"planted/scores" or ((key:"planted/scores") and (key:"planted/scores"+))'
    outcome = run(Workspace(planted.home), first.retry, lambda line: None)
    assert (outcome.failed, outcome.made) == ([], {"icd10_cases": 20, "planted/scores": 40})


def test_run__a_cell_whose_input_cannot_be_read_is_a_failed_cell(planted: Planted) -> None:
    edp_run(planted)
    lake = Workspace(planted.home).lake
    cell = (("icd10", "A05"),)
    lake.path(CASES, cell).write_bytes(b"not Parquet")
    result = planted.run(SCORES, "A04|heart", "A06|heart")
    assert not result.success
    (event,) = (e for e in result.all_events if e.event_type_value == "STEP_FAILURE")
    failure = event.event_specific_data.user_failure_data
    told = r"planted/scores: 1 of 3 cells failed \(the others are made\)\.\nA05\|heart: DamagedError: "
    assert re.search(told, failure.description)
    assert set(failure.metadata["failed"].value) == {"A05|heart"}
    with dg.DagsterInstance.get() as instance:
        events = instance.get_records_for_run(result.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION).records
    told = {e.partition_key: e.asset_materialization.metadata for e in events}
    assert told.keys() == {"A04|heart", "A06|heart"}
    assert all("seconds" in metadata for metadata in told.values())


def test_dagster_run__lists_the_first_failed_and_has_all_their_keys(planted: Planted) -> None:
    planted.run(("icd10_codes",))
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions("icd10", CODES)
    lost = CODES[3:15]
    planted.faults |= {("cases", code): ValueError(f"no {code}") for code in lost}
    result = planted.run(CASES, CODES[0], CODES[-1])
    (event,) = (e for e in result.all_events if e.event_type_value == "STEP_FAILURE")
    failure = event.event_specific_data.user_failure_data
    assert "12 of 20 cells failed" in failure.description
    assert "and 2 more" in failure.description
    assert failure.metadata["failed"].value == {code: f"ValueError: no {code}" for code in lost}
    assert planted.stored(CASES) == materialised(CASES) == set(CODES) - set(lost)


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), MemoryError("no memory"), KeyboardInterrupt()]
)
def test_run__what_every_cell_would_meet_ends_it_at_once(planted: Planted, error: BaseException) -> None:
    planted.faults["cases", "B03"] = error
    ended = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else StageFailedError
    with pytest.raises(ended, match=None if ended is KeyboardInterrupt else "icd10_cases failed: .*no"):
        edp_run(planted, select="+key:icd10_cases")
    assert planted.calls[-1] == ("cases", "B03")
    assert planted.stored(CASES) == set(CODES[: CODES.index("B03")])
    planted.faults.clear()
    assert edp_run(planted, select="key:icd10_cases").made["icd10_cases"] == len(CODES) - CODES.index("B03")


def test_run__a_stage_without_partitions_that_fails_stops_it(planted: Planted) -> None:
    planted.faults["icd10_codes",] = ValueError("the registry is closed")
    with pytest.raises(StageFailedError, match=r"^icd10_codes failed: the registry is closed$"):
        edp_run(planted)
    assert planted.calls == [("icd10_codes",)]


def edp(planted: Planted, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    """Run the command line; the closing tables and the cohort's check have tests of their own."""
    monkeypatch.setattr("edp_assets.cli._close", lambda home: None)
    monkeypatch.setattr("edp_assets.refresh.check_cohort", lambda *_, **__: [])
    planted.calls.clear()
    return CliRunner().invoke(cli, list(arguments))


def test_cli__prints_a_command_that_makes_the_failed_ones(planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(planted.home.cohort_folder())
    planted.faults |= {("scores", code, "liver"): ValueError("a singular matrix") for code in CODES[5:10]}
    done = edp(planted, monkeypatch, "run", folder)
    assert done.exit_code == 1
    assert "5 partition(s) failed" in done.output
    assert ("planted/scores [A05 liver, A06 liver, A07 liver and 2 more]: ValueError: a singular matrix"
            in done.output)  # fmt: skip
    assert "held partitions: planted/sums 1\n" in done.output
    assert "Traceback" not in done.output
    command = shlex.split(done.output.strip().splitlines()[-1])
    assert command[:5] == ["edp", "run", folder, "--organ", "liver"]
    assert command.count("--icd10") == 5
    planted.faults.clear()
    again = edp(planted, monkeypatch, *command[1:])
    assert again.exit_code == 0, again.output
    assert planted.calls == [*(("scores", code, "liver") for code in CODES[5:10]), ("sums", "liver")]


def test_cli__verbose_shows_where_a_cell_failed(planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    planted.faults["cases", "B03"] = ValueError("no such code")
    done = edp(planted, monkeypatch, "--verbose", "run", str(planted.home.cohort_folder()))
    assert done.exit_code == 1
    assert "Traceback" in done.output
    assert "in rows" in done.output


def test_run__codes_that_are_not_chosen_yet_are_asked_for(planted: Planted) -> None:
    with pytest.raises(
        ValueError, match=r"lacks it\. Select it as well: --select '\(key:icd10_cases\) or \+key:icd10_"
    ):
        run(Workspace(planted.home), Choice(icd10=("A01",), select="key:icd10_cases"), print)
    assert planted.calls == []
    chosen = Choice(icd10=("A01",), select="(key:icd10_cases) or +key:icd10_codes")
    assert run(Workspace(planted.home), chosen, lambda line: None).made == {"icd10_codes": 1, "icd10_cases": 1}


def test_attempt__keeps_words_and_no_frames() -> None:
    attempt = Attempt()
    with attempt:
        try:
            raise ValueError("the root")
        except ValueError as error:
            raise RuntimeError("what it led to") from error
    assert isinstance(attempt.reason, Reason)
    assert str(attempt.reason) == "ValueError: the root"
    assert json.dumps(vars(attempt.reason))  # text alone
    with pytest.raises(RuntimeError, match="alone"), Attempt(keeps=False):
        raise RuntimeError("alone")


def test_ends_the_run__sees_a_full_disk_behind_another_error() -> None:
    full = OSError(errno.ENOSPC, "disk full")
    behind = RuntimeError("could not write")
    behind.__cause__ = full
    assert ends_the_run(behind)
    assert ends_the_run(RuntimeError("IO Error: Could not write file: No space left on device"))
    assert not ends_the_run(OSError(errno.ENOENT, "not there"))
