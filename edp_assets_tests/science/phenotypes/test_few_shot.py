"""Which labels are kept."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edp_assets.science.phenotypes.few_shot import keep_labels

people = st.lists(st.integers(0, 10**7).map(str), min_size=1, max_size=200, unique=True)


@given(people, st.floats(0.001, 1.0), st.integers(0, 5))
def test_keep_labels__as_many_as_asked_and_one_at_least(eids: list[str], fraction: float, seed: int) -> None:
    assert keep_labels(eids, fraction, seed).sum() == max(1, round(fraction * len(eids)))


@given(people, st.integers(0, 5))
def test_keep_labels__the_same_people_in_any_order(eids: list[str], seed: int) -> None:
    kept = {eid for eid, k in zip(eids, keep_labels(eids, 0.3, seed), strict=True) if k}
    shuffled = sorted(eids, key=lambda eid: eid[::-1])
    assert {eid for eid, k in zip(shuffled, keep_labels(shuffled, 0.3, seed), strict=True) if k} == kept


def test_keep_labels__one_more_person_changes_one_label_at_most() -> None:
    eids = [str(i) for i in range(500)]
    before = keep_labels(eids, 0.02, 0)
    after = keep_labels([*eids, "500"], 0.02, 0)[:-1]
    assert (before != after).sum() <= 1


def test_keep_labels__seeds_keep_others_and_all_alike_often() -> None:
    eids = [str(i) for i in range(1000)]
    kept = np.stack([keep_labels(eids, 0.1, seed) for seed in range(200)])
    assert (kept[0] & kept[1]).sum() < 30  # 10 by chance
    often = kept.mean(axis=0)
    assert abs(often.std() - np.sqrt(0.1 * 0.9 / 200)) < 0.003


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.5])
def test_keep_labels__a_share_that_is_none(fraction: float) -> None:
    with pytest.raises(ValueError, match="wanted above 0 and at most 1"):
        keep_labels(["1"], fraction, 0)
