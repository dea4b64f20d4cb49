"""The runner's ranges cover exactly the stale cells; its choices are checked."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edp_assets.assets.stage import REGISTRY
from edp_assets.runner.choice import Choice, Dimensions, chosen_stages
from edp_assets.runner.ranges import ranges
from edp_assets.settings import Settings
from edp_assets.storage.lake import Cell, cell_of

ORDER = {"organ": ["heart", "kidneys", "liver"], "icd10": ["E11", "I50", "K76", "N18"], "chromosome": ["1", "2", "10"]}
GRID = [cell_of({"organ": o, "icd10": c}) for o, c in itertools.product(ORDER["organ"], ORDER["icd10"])]


def covered(found: list[tuple[Cell, Cell]]) -> list[Cell]:
    """Return the cells that Dagster runs for these ranges: the product of each dimension's stretch."""
    cells = []
    for first, last in found:
        stretches = []
        for (name, a), (_, b) in zip(first, last, strict=True):
            keys = ORDER[name]
            stretches.append([(name, key) for key in keys[keys.index(a) : keys.index(b) + 1]])
        cells += [tuple(cell) for cell in itertools.product(*stretches)]
    return cells


@given(st.sets(st.sampled_from(GRID)))
def test_ranges__cover_each_stale_cell_once_and_no_other(stale: set[Cell]) -> None:
    found = covered(ranges(stale, ORDER))
    assert sorted(found) == sorted(stale)


def test_ranges__a_whole_grid_is_one_run() -> None:
    assert len(ranges(GRID, ORDER)) == 1


def test_ranges__one_changed_code_is_one_run_over_its_organs() -> None:
    changed = [cell for cell in GRID if dict(cell)["icd10"] == "K76"]
    assert ranges(changed, ORDER) == [
        ((("icd10", "K76"), ("organ", "heart")), (("icd10", "K76"), ("organ", "liver"))),
    ]


def test_ranges__follow_the_order_of_the_keys_not_the_alphabet() -> None:
    cells = [cell_of({"chromosome": c}) for c in ("10", "1", "2")]
    assert ranges(cells, ORDER) == [((("chromosome", "1"),), (("chromosome", "10"),))]


def test_chosen_stages__unknown_encoder_and_selection_are_told() -> None:
    with pytest.raises(ValueError, match="the encoders are imagenet, mae, untrained, video_mae"):
        chosen_stages(Choice(encoders=("resnet",)), ("mae",))
    with pytest.raises(ValueError, match="matches no asset"):
        chosen_stages(Choice(select="key:nothing"), ("mae",))


def test_chosen_stages__upstream_of_a_selection_keeps_the_order_of_the_flow() -> None:
    chosen = ["/".join(stage.spec.asset) for stage in chosen_stages(Choice(select="+key:organ_volumes"), ("mae",))]
    assert chosen == ["participants", "scans", "masked_crops", "organ_volumes"]


def test_chosen_stages__the_cohorts_encoders_unless_others_are_named() -> None:
    def encoders(choice: Choice) -> set[str]:
        return {s.spec.asset[0] for s in chosen_stages(choice, ("mae", "video_mae")) if s.group == "association"}

    assert encoders(Choice()) == {"mae", "video_mae"}
    assert encoders(Choice(encoders=("imagenet",))) == {"imagenet"}


def test_chosen_stages__every_encoder_has_the_same_chain() -> None:
    chains = {
        name: [s.spec.asset[1] for s in chosen_stages(Choice(encoders=(name,)), ()) if s.spec.asset[0] == name]
        for name in ("mae", "video_mae", "imagenet")
    }
    assert chains["mae"] == chains["video_mae"] == chains["imagenet"]
    assert chains["mae"][0] == "encoder"
    assert {"gene_hits", "phenotype_figures", "few_shot_comparison", "adjustment_genes"} < set(chains["mae"])


def test_cells__of_some_groups_are_of_the_codes_that_the_settings_name() -> None:
    named = {"few_shot": {"codes": ["K76"]}, "evidence": {"unadjusted_codes": ["I50", "N18"]}}
    settings = Settings.from_toml({**named, "organs": {organ: {} for organ in ORDER["organ"]}})
    workspace = SimpleNamespace(
        settings=settings, chromosomes=ORDER["chromosome"], keys=lambda _: frozenset(ORDER["icd10"])
    )

    def codes(asset: str) -> list[str]:
        with dg.DagsterInstance.ephemeral() as instance:
            dimensions = Dimensions(workspace, instance, Choice(organs=("heart",), icd10=("E11", "I50", "K76")))
            return [dict(cell)["icd10"] for cell in dimensions.cells(REGISTRY["mae", asset])]

    assert codes("gene_hits") == ["E11", "I50", "K76"]
    assert codes("few_shot_gene_hits") == ["K76"]
    assert codes("adjustment_genes") == codes("adjustment_figures") == codes("unadjusted_gene_hits") == ["I50"]
    workspace.settings = Settings.from_toml({"evidence": {"unadjusted_codes": ["Z99"]}})
    with pytest.raises(ValueError, match=r"\[evidence\] unadjusted_codes: Z99 is not studied"):
        Dimensions(workspace, dg.DagsterInstance.ephemeral(), Choice())
