"""A label that jumps, labels that vanish and all that fall together hold what is below; acceptance moves the mark."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edp_assets.assets.stage import REGISTRY
from edp_assets.graph import graph
from edp_assets.science.phenotypes.prevalence import prevalence_jump
from edp_assets.storage.verdicts import Hold, Verdicts
from edp_assets.storage.workspace import CODES
from edp_assets_tests.checks.planted import K76, LIVER, planted, store, table

assert graph
CASES, CELL = ("icd10_cases",), (("icd10", "K76"),)


@pytest.mark.parametrize(
    ("before", "now", "beyond"),
    [
        ((500, 10_000), (500, 10_000), False),
        ((500, 10_000), (900, 10_000), False),  # less than twice
        ((500, 10_000), (1100, 10_000), True),
        ((1100, 10_000), (500, 10_000), True),  # a fall as well
        ((500, 10_000), (1100, 20_000), False),  # more people
        ((20, 10_000), (5, 10_000), False),  # few: noise
        ((50, 10_000), (0, 10_000), True),
        ((0, 10_000), (0, 10_000), False),
    ],
)
def test_prevalence_jump__ratio_and_noise(before: tuple[int, int], now: tuple[int, int], beyond: bool) -> None:
    assert prevalence_jump(*before, *now).beyond(2.0, 6.0) == beyond


def holds(root: Path, cases: int, checks: str = "", people_now: int = 1000) -> list[Hold]:
    """Store the label's cases and people, and return what holds below."""
    workspace = planted(root, checks)
    store(workspace, ("participants",), (), table("participants", people_now))
    store(workspace, CASES, CELL, table("icd10_cases", cases))
    below = REGISTRY["mae", "phenotype_models"].spec
    return Verdicts(workspace).holds_above(below, [K76]).get(K76, [])


def test_label_prevalence__the_first_fill_and_small_changes_pass(tmp_path: Path) -> None:
    for cases in (200, 230, 190, 300):
        assert holds(tmp_path, cases) == []


def test_label_prevalence__does_not_hold_what_counts_what_there_is(tmp_path: Path) -> None:
    assert holds(tmp_path, 200) == []
    assert len(holds(tmp_path, 20)) == 1
    counting = replace(REGISTRY["mae", "phenotype_models"].spec, gathers=True)
    assert Verdicts(planted(tmp_path, "")).holds_above(counting, [K76], look=True) == {}


def test_label_prevalence__a_jump_holds_until_it_is_mended(tmp_path: Path) -> None:
    assert holds(tmp_path, 200) == []
    for _ in range(2):  # what was refused is not what the next one is held against
        (hold,) = holds(tmp_path, 20)
        assert "icd10_cases [K76]: check label_prevalence failed: 20 cases of 1000 people, before 200 of 1000" in str(
            hold
        )
        assert 'if it is right, add to [checks.label_prevalence.accept]: "K76" = 20' in str(hold)
        (hold,) = holds(tmp_path, 21)
        assert "before 200" in str(hold)
    assert holds(tmp_path, 201) == []


def test_label_prevalence__accepted_is_held_against_from_then_on(tmp_path: Path) -> None:
    accept = '[checks.label_prevalence.accept]\n"K76" = 450'
    holds(tmp_path, 200)
    assert holds(tmp_path, 450) != []
    assert holds(tmp_path, 451, accept) != []  # another number than the accepted one
    assert holds(tmp_path, 450, accept) == []
    assert holds(tmp_path, 460, accept) == []
    assert "before 460" in str(holds(tmp_path, 100, accept)[0])


def test_label_prevalence__warn_tells_and_goes_on_from_there(tmp_path: Path) -> None:
    holds(tmp_path, 200)
    assert holds(tmp_path, 20, "[checks.label_prevalence]\nseverity = 'warn'") == []
    assert holds(tmp_path, 20) == []
    assert holds(tmp_path, 200) != []
    assert holds(tmp_path, 200, "[checks.label_prevalence]\nmax_ratio = 20") == []


def codes_hold(root: Path, cases: dict[str, int], checks: str = "") -> list[Hold]:
    workspace = planted(root, checks)
    store(workspace, ("participants",), (), table("participants", 1000))
    columns = {"icd10": list(cases), "cases": list(cases.values()), "studied": [n >= 20 for n in cases.values()]}
    store(workspace, CODES, (), table("icd10_codes", len(cases), **columns))
    return Verdicts(workspace).holds(CODES, ())


STUDIED = {f"K{i}": 100 + i for i in range(10, 30)} | {"medication.a": 300}


def test_label_prevalence__labels_that_vanish_hold_all_that_is_made_of_labels(tmp_path: Path) -> None:
    assert codes_hold(tmp_path, STUDIED) == []
    two_less = {name: n for name, n in STUDIED.items() if name not in ("K10", "K11")}
    three_less = {name: n for name, n in two_less.items() if name != "K12"}
    (hold,) = codes_hold(tmp_path, three_less)
    assert "icd10: 3 of 20 studied labels have too few cases now; at most 10%: K10, K11, K12" in str(hold)
    workspace = planted(tmp_path)
    for asset in (CASES, ("mae", "phenotype_models"), ("mae", "phenotype_figures"), ("evidence", "clusterings")):
        spec = REGISTRY[asset].spec
        cell = {("icd10",): CELL, ("organ",): LIVER}.get(spec.dimensions, K76)
        assert list(Verdicts(workspace).holds_above(spec, [cell])) == [cell], asset
    volumes = REGISTRY["organ_volumes",].spec
    assert Verdicts(workspace).holds_above(volumes, [LIVER]) == {}
    assert codes_hold(tmp_path, two_less) == []
    assert codes_hold(tmp_path, dict.fromkeys(two_less, 5)) != []


def test_label_prevalence__all_that_fall_together_hold_though_none_falls_to_half(tmp_path: Path) -> None:
    codes_hold(tmp_path, STUDIED)
    fallen = {name: int(0.7 * n) for name, n in STUDIED.items()}
    (hold,) = codes_hold(tmp_path, fallen)
    assert "icd10: 1664 cases of 20 labels together, before 2390: 1.44-fold; at most 1.25-fold" in str(hold)
    assert codes_hold(tmp_path, fallen, "[checks.label_prevalence]\nseverity = 'warn'") == []
    assert codes_hold(tmp_path, fallen) == []


def test_label_prevalence__other_labels_asked_for_are_no_loss(tmp_path: Path) -> None:
    codes_hold(tmp_path, STUDIED)
    assert codes_hold(tmp_path, {"K10": 110}, "[labels]\nmin_cases = 21") == []
