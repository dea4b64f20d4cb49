"""Who stands in an association: computed PCs where the cohort has none, and relatives left out, each counted."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from edp_assets.assets.people import RELATED, Enrolled, genotyped_sample
from edp_assets.settings import AssociationSettings
from edp_assets.storage.schemas import empty

N = 40
EIDS = [f"p{i:02d}" for i in range(N)]


@pytest.fixture
def run(tmp_path: Path) -> Any:
    (tmp_path / "g.fam").write_text("".join(f"f {eid} 0 0 0 -9\n" for eid in EIDS[:-1]))
    (tmp_path / "g.bed").touch()
    cohort = SimpleNamespace(genotype_paths=lambda: {"all": tmp_path / "g.bed"})
    settings = SimpleNamespace(association=AssociationSettings())
    return SimpleNamespace(workspace=SimpleNamespace(cohort=cohort, settings=settings))


def participants(**columns: object) -> pl.DataFrame:
    frame = empty("participants").clear(N).with_columns(pl.Series("eid", EIDS), sex=pl.int_range(N) % 2.0)
    return frame.with_columns(**columns)


def computed(k: int = 3, n: int = N - 1) -> pl.DataFrame:
    scores = np.random.default_rng(0).normal(size=(n, k))
    frame = empty("genotype_pcs").clear(n).with_columns(pl.Series("eid", EIDS[:n]))
    return frame.with_columns(**{f"pc{i + 1}": pl.Series(scores[:, i]) for i in range(k)})


def related(*pairs: tuple[str, str]) -> pl.DataFrame:
    """The first of each pair is left out."""
    rows = [(a, b, 0.25, True) for a, b in pairs] + [(b, a, 0.25, b in {x for x, _ in pairs}) for a, b in pairs]
    return pl.DataFrame(rows, schema=empty("relatives").schema, orient="row")


def sample(run: Any, enrolled: Enrolled, people: list[str] = EIDS) -> Any:
    return genotyped_sample(run, pl.DataFrame({"eid": people}), enrolled, "some/stage", "liver")


def test_genotyped_sample__uses_computed_pcs_where_the_cohort_has_none(run: Any):
    pcs = computed()
    found = sample(run, Enrolled(participants(), pcs, empty("relatives")))
    assert found.people["eid"].to_list() == EIDS[:-1]
    assert found.covariates.shape[1] == 5  # intercept, sex, three PCs
    for i in range(3):
        y = pcs[f"pc{i + 1}"].to_numpy()
        assert np.linalg.norm(y - found.covariates @ (found.covariates.T @ y)) < 1e-9
    assert found.notes["genotype_pcs"] == "computed from the genotypes"
    assert "pc4" in found.notes["covariates_lacking"]
    assert "pc3" not in found.notes["covariates_lacking"]
    assert [(e.eid, e.reason) for e in found.excluded] == [("p39", "no genotype")]


def test_genotyped_sample__the_cohorts_own_pcs_stay(run: Any):
    own = pl.Series(np.arange(N) ** 2.0)
    found = sample(run, Enrolled(participants(pc1=own), empty("genotype_pcs"), empty("relatives")))
    assert found.covariates.shape[1] == 3
    assert "genotype_pcs" not in found.notes
    assert found.people["pc1"].to_list() == own[:-1].to_list()


def test_genotyped_sample__relatives_are_left_out_and_counted_without_the_others_eid(run: Any):
    relatives = related(("p03", "p04"), ("p05", "p06"), ("p05", "p07"))
    found = sample(run, Enrolled(participants(), computed(), relatives))
    assert set(EIDS[:-1]) - set(found.people["eid"]) == {"p03", "p05"}
    left_out = [e for e in found.excluded if e.reason == RELATED]
    assert [(e.eid, e.organ, e.stage) for e in left_out] == [
        ("p03", "liver", "some/stage"),
        ("p05", "liver", "some/stage"),
    ]
    assert not any(eid in RELATED for eid in EIDS)


def test_genotyped_sample__someone_whose_relatives_are_elsewhere_stays(run: Any):
    enrolled = Enrolled(participants(), computed(), related(("p03", "p04"), ("p05", "p06"), ("p07", "p39")))
    found = sample(run, enrolled, [eid for eid in EIDS if eid not in ("p04",)])
    # p04 has no phenotype and p39 no genotype: p03 and p07 may stand for their families.
    assert {"p03", "p07"} <= set(found.people["eid"])
    assert [e.eid for e in found.excluded if e.reason == RELATED] == ["p05"]
