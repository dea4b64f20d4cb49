"""Parts: how a stage is split among places, what one leaves, and what is made again after a worker died."""

from __future__ import annotations

import json
import math
import pickle
from collections import Counter
from pathlib import Path

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edp_assets.runner import parts, pods
from edp_assets.runner.execute import PART_TAG, StageFailedError
from edp_assets.runner.parts import Part, make, split, unseen
from edp_assets.storage import warehouse
from edp_assets.storage.attempts import Reason
from edp_assets.storage.lake import Cell, cell_of
from edp_assets.storage.workspace import Workspace
from edp_assets_tests.faults.conftest import CASES, CODES, SCORES, Planted

CODE_CELLS = tuple(cell_of({"icd10": code}) for code in CODES)


def grid(organs: int, codes: int) -> list[Cell]:
    return [cell_of({"organ": f"o{i}", "icd10": f"K{j:02d}"}) for i in range(organs) for j in range(codes)]


@given(st.integers(1, 12), st.integers(1, 40), st.integers(1, 50), st.randoms())
def test_split__makes_each_cell_once_in_parts_of_one_organ(
    organs: int, codes: int, places: int, random: object
) -> None:
    cells = grid(organs, codes)
    random.shuffle(cells)
    found = split(cells, places)
    assert Counter(cell for part in found for cell in part) == Counter(cells)
    assert all(len({dict(cell)["organ"] for cell in part}) == 1 for part in found)
    assert max(map(len, found)) <= math.ceil(len(cells) / places)
    assert len(found) <= places + organs  # no more than an even share and the ends of organs ask for


def test_split__keeps_organs_whole_where_there_are_enough_of_them() -> None:
    assert [len(part) for part in split(grid(10, 700), 4)] == [700] * 10
    assert [len(part) for part in split(grid(10, 700), 40)] == [175] * 40
    assert [len(part) for part in split(grid(1, 700), 4)] == [175] * 4
    assert split([()], 4) == [[()]]


def test_unseen__names_the_folders_that_a_machine_lacks(tmp_path: Path) -> None:
    assert unseen(tmp_path, tmp_path) == []
    lacking = tmp_path / "not mounted"
    assert unseen(lacking, lacking) == [f"EDP_HOME {lacking}", f"the cohort {lacking}"]


def test_failures__come_back_whole_from_another_process() -> None:
    failed = {cell_of({"icd10": "K76"}): Reason("ValueError: no", "Traceback ...")}
    assert pickle.loads(pickle.dumps(failed)) == failed
    assert str(pickle.loads(pickle.dumps(StageFailedError("x failed: disk full")))) == "x failed: disk full"


@pytest.fixture
def with_codes(planted: Planted) -> Planted:
    """The planted graph, its codes made and told to Dagster."""
    planted.run(("icd10_codes",))
    with dg.DagsterInstance.get() as instance:
        instance.add_dynamic_partitions("icd10", CODES)
        instance.add_dynamic_partitions("organ", ["heart", "liver"])
    return planted


def test_make__leaves_the_warehouse_to_the_run_and_returns_what_failed(
    with_codes: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    refreshed: list[object] = []
    monkeypatch.setattr(warehouse, "refresh", lambda *arguments, **named: refreshed.append(arguments))
    with_codes.faults["cases", "A03"] = ValueError("planted")
    failed = make(Part(with_codes.home.root, CASES, CODE_CELLS, "p"))
    assert {cell: str(reason) for cell, reason in failed.items()} == {(("icd10", "A03"),): "ValueError: planted"}
    assert with_codes.stored(CASES) == set(CODES) - {"A03"}
    assert refreshed == list(with_codes.home.unmirrored.iterdir()) == []
    with_codes.faults.clear()
    with_codes.run(CASES, "A03", "A03")  # as the UI runs it
    assert len(refreshed) == 1


def test_make__a_part_whose_worker_died_is_gone_on_with(with_codes: Planted) -> None:
    part = Part(with_codes.home.root, CASES, CODE_CELLS, "p")
    make(Part(part.home, CASES, CODE_CELLS[:8], "other"))
    with dg.DagsterInstance.get() as instance:  # the dead worker's run, which is open
        run = instance.create_run_for_job(
            with_codes.graph.resolve_implicit_global_asset_job_def(),
            status=dg.DagsterRunStatus.STARTED,
            tags={PART_TAG: "p"},
        )
        with_codes.calls.clear()
        assert make(part) == {}
        assert instance.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.FAILURE  # type: ignore[union-attr]
    assert with_codes.calls == [("cases", code) for code in CODES[8:]]
    assert with_codes.stored(CASES) == set(CODES)


def test_make__what_is_current_is_made_again_where_no_worker_died(with_codes: Planted) -> None:
    """The run has asked for these cells: `edp refresh --retrain` asks for what would count as current."""
    for name in ("one", "two"):
        make(Part(with_codes.home.root, CASES, CODE_CELLS[:2], name))
    assert with_codes.calls.count(("cases", "A00")) == 2


def test_pod__writes_down_what_failed_and_why(with_codes: Planted) -> None:
    make(Part(with_codes.home.root, CASES, CODE_CELLS, "cases"))
    with_codes.faults["scores", "A03", "liver"] = ValueError("planted")
    cells = [cell_of({"icd10": code, "organ": "liver"}) for code in CODES[:5]]
    request = with_codes.home.root / "p.json"
    request.write_text(json.dumps([str(with_codes.home.root), SCORES, cells, "p"]))
    pods.main(request)
    failed = pods._read(with_codes.home.root / "p.answer.json")
    assert {cell: str(reason) for cell, reason in failed.items()} == {
        (("icd10", "A03"), ("organ", "liver")): "ValueError: planted"
    }
    assert with_codes.stored(SCORES) == {f"{code}|liver" for code in CODES[:5] if code != "A03"}


def test_pod__a_stage_that_fails_as_a_whole_fails_the_run(with_codes: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StageFailedError("icd10_cases failed: the disk is full")

    monkeypatch.setattr(parts, "make_cells", full)
    request = with_codes.home.root / "p.json"
    request.write_text(json.dumps([str(with_codes.home.root), CASES, [], "p"]))
    pods.main(request)
    with pytest.raises(StageFailedError, match="icd10_cases failed: the disk is full"):
        pods._read(with_codes.home.root / "p.answer.json")


def test_make__stands_for_the_home_that_it_is_told(with_codes: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDP_HOME", "/elsewhere")
    make(Part(with_codes.home.root, CASES, CODE_CELLS[:1], "p"))
    assert Workspace.current().home.root == with_codes.home.root
