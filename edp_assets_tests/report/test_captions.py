"""Captions of the figures that help to name a score: which way it goes, of how many people."""

from __future__ import annotations

import pytest

from edp_assets.report.captions import interpretation


@pytest.mark.parametrize(("method", "way"), [("classifier", "falls"), ("clustering", "rises"), ("island", "rises")])
def test_interpretation__red_is_the_score_s_way_to_the_affected(method: str, way: str) -> None:
    said = interpretation("occlusion", "liver, K76", method, 60)
    assert f"Red: with it hidden the person counts as less affected (the score {way})" in said["caption"]
    assert "the 2 least and the 2 most affected people of 60 with a score" in said["caption"]
    assert "standard deviations of the score" in said["caption"]
    assert "the 2 least and the 2 most affected people by the score of liver, K76" in said["alt"]


def test_interpretation__tells_how_many_people_are_shown() -> None:
    assert "crops of the 4 people of 1,199 with" in interpretation("tails", "x", "classifier", 1199)["caption"]
    assert "crops of the 3 people of 7 with" in interpretation("tails", "x", "classifier", 7)["caption"]
    assert "crops of the few people who" in interpretation("tails", "x", "classifier", None)["caption"]
    assert interpretation("of_another", "x", "island", 7) == {"alt": "of another of x", "caption": "of another of x"}
