"""Phenotypes of one cell: what stands in the table, what a failure leaves there, and an organ prepared once."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from edp_assets.assets import candidates, phenotypes
from edp_assets.settings import Settings


class Run(dict):
    """What the stage functions ask of a `StageRun`."""

    encoder = "mae"
    workspace = SimpleNamespace(settings=Settings())


@pytest.fixture
def organ():
    z = np.random.default_rng(0).normal(size=(200, 6))
    eids = [f"e{i}" for i in range(200)]
    embeddings = pl.DataFrame({"eid": eids, "z": z.tolist()})
    return embeddings, pl.DataFrame({"eid": eids, "cluster": np.arange(200) % 4})


def classifier_row(organ, n_cases, name="heart"):
    cases = organ[0].select("eid").head(n_cases)
    frame = phenotypes.phenotype_models(Run(organ=name, icd10="I50"), *organ, cases).frames
    return frame.row(by_predicate=pl.col("method") == "classifier", named=True), frame


def test_phenotype_models__of_a_code_do_not_depend_on_codes_or_organs_before(organ):
    alone, _ = classifier_row(organ, 40)
    other = organ[0].with_columns(z=pl.col("z").list.eval(pl.element() * 2 + 1)), organ[1]
    classifier_row(organ, 25)
    classifier_row(other, 40)
    classifier_row(organ, 60)
    again, _ = classifier_row(organ, 40)
    assert again == alone


def test_phenotype_models__prepare_an_organ_once_and_hold_one(organ, monkeypatch):
    made = []
    original = candidates.matrix
    monkeypatch.setattr(candidates, "matrix", lambda frame: made.append(1) or original(frame))
    for n_cases in (20, 30, 40):
        classifier_row(organ, n_cases)
    assert len(made) == 1
    classifier_row((organ[0].clone(), organ[1]), 40)
    assert len(made) == 2
    assert len(candidates._last_organ) == 1


@pytest.mark.parametrize(
    ("n_cases", "reason"),
    [
        (0, "no cases"),
        (1, "fewer cases (1) than folds (10)"),
        (9, "fewer cases (9) than folds (10)"),
        (200, "no controls"),
    ],
)
def test_phenotype_models__what_cannot_be_made_is_a_row_with_its_reason(organ, n_cases, reason):
    row, frame = classifier_row(organ, n_cases)
    assert row["failure"] == reason
    assert row["weights"] is None
    stored = phenotypes.phenotype_selection(Run(organ="heart", icd10="I50"), frame)
    selection = stored.frames.row(by_predicate=pl.col("method") == "classifier", named=True)
    assert (selection["selected"], selection["reason"]) == (False, reason)
    assert reason in stored.metadata["not_selected"]


@pytest.mark.parametrize(
    ("value", "people", "reason"),
    [(1.5, 200, "the embeddings do not vary"), (float("nan"), 3, "of 3 of 200 participants hold NaN or infinity")],
)
def test_classifier_row__constant_and_missing_embeddings_are_a_row_with_its_reason(organ, value, people, reason):
    changed = pl.when(pl.int_range(pl.len()) < people).then(pl.lit([value] * 6)).otherwise("z")
    prepared = candidates.prepared_organ(organ[0].with_columns(z=changed), Settings())
    row = candidates.classifier_row(prepared, np.arange(200) < 40)
    assert reason in row["failure"]
    assert (row["cases"], row["controls"]) == (40, 160)
