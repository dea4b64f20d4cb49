"""Islands through the phenotype stages: a row an island, its reason, its score; what cannot be done is a row too."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from edp_assets.assets import phenotypes
from edp_assets.assets.encoders import vectors
from edp_assets.settings import IslandSettings, Settings
from edp_assets.storage.schemas import conform
from edp_assets_tests.heterogeneity import planted

AROUND_ONE = 1 + 0.1 * np.random.default_rng(0).normal(size=(60, 9))
FEW = IslandSettings(permutations=39)


class Run:
    """What the stages read of a `StageRun`."""

    encoder = "mae"

    def __init__(self, island):
        self.workspace = SimpleNamespace(settings=Settings(island=island))

    def __getitem__(self, dimension):
        return {"organ": "liver", "icd10": "K76"}[dimension]


def tables(z, cases, island=FEW):
    eids = [f"p{i}" for i in range(len(z))]
    run, embeddings = Run(island), vectors(eids, z, "mae", "liver")
    clusters = pl.DataFrame({"eid": eids, "cluster": np.arange(len(z)) % 2})
    ill = pl.DataFrame({"eid": pl.Series(np.array(eids)[cases].tolist(), dtype=pl.String)})
    models = conform(phenotypes.phenotype_models(run, embeddings, clusters, ill).frames, "phenotype_models")
    selection = conform(phenotypes.phenotype_selection(run, models).frames, "phenotype_selection")
    scores = conform(phenotypes.edp_scores(run, models, selection, embeddings).frames, "edp_scores")
    return [frame.filter(method="island") for frame in (models, selection, scores)]


def test_phenotype_stages__hold_a_row_an_island_with_its_evidence_and_score():
    disease = planted(1500, 16, 0.2, n_variants=2)
    models, selection, scores = tables(disease.z, disease.cases)
    assert models["cluster"].to_list() == [0, 1, 2]
    assert models.filter(cluster=0)["percentage"].item() > 50
    chosen = selection.filter("selected")
    assert chosen["cluster"].to_list()[:2] == [0, 1]
    assert chosen["reason"].str.contains("permutation p 0.025").all()
    z = disease.z.astype(np.float32).astype(float)
    weights = np.array(models["weights"][1])
    expected = 1 - z @ weights / np.linalg.norm(z, axis=1)
    np.testing.assert_allclose(scores.filter(cluster=1)["score"].to_numpy(), expected, atol=1e-9)


def test_phenotype_stages__have_no_island_where_none_is_wanted():
    disease = planted(300, 8, 0.2, n_variants=2)
    assert [frame.height for frame in tables(disease.z, disease.cases, IslandSettings(max_islands=0))] == [0, 0, 0]


@pytest.mark.parametrize(
    ("z", "cases", "reason"),
    [
        (np.random.default_rng(0).normal(size=(60, 4)), np.zeros(60, bool), "no cases"),
        (np.random.default_rng(0).normal(size=(60, 4)), np.ones(60, bool), "no controls"),
        (AROUND_ONE * np.where(np.arange(60) == 3, -1, 1)[:, None], np.arange(60) == 3, "no island: no case is near"),
        (np.ones((60, 4)), np.arange(60) < 20, "most embeddings point the same way"),
        (np.random.default_rng(0).normal(size=(15, 4)), np.arange(15) < 5, "15 participants are too few for islands"),
    ],
)
def test_phenotype_stages__tell_why_there_is_no_island(z, cases, reason):
    models, selection, scores = tables(z, cases)
    assert models["failure"][0].startswith(reason)
    assert selection.select("selected", "cluster").row(0) == (False, None)
    assert scores.height == 0


def test_phenotype_stages__leave_out_an_island_no_better_than_chance():
    rng = np.random.default_rng(3)
    _, selection, scores = tables(rng.normal(size=(300, 6)), rng.random(300) < 0.2)
    assert selection["selected"].to_list() == [False]
    assert selection["reason"][0].startswith("no better than islands of permuted labels")
    assert scores.height == 0
