"""The GWAS of many scores from stored products: what is stored of it, what is left out, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from edp_assets.assets import association
from edp_assets.assets.association import ASSOCIATIONS, embedding_associations
from edp_assets.assets.score_gwas import OutsideError
from edp_assets.assets.stage import StageRun
from edp_assets.science.genetics.calibration import lambda_gc
from edp_assets.storage.lake import cell_of
from edp_assets_tests.tiny_gwas import Z, basis, made, projected, scores, tables, workspace, write_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path)


def test_score_gwas__stores_only_variants_of_small_p(folder: Path) -> None:
    whole, _ = projected(workspace(folder), scores())
    where = workspace(folder, "[gwas]\nstored_max_p = 0.4\n")
    together = made(where, scores())
    (thinned,) = tables(together)
    assert 0 < thinned.height < whole.height
    assert thinned.equals(whole.filter(pl.col("neg_log_10_p_value") >= -np.log10(0.4)))
    (member,) = together.members
    assert member.metadata["variants_not_stored"] == whole.height - thinned.height
    for note in member.notes["phenotypes"]:
        of = whole.filter(pl.col("method") == note["method"])
        assert note["variants"] == of.height
        assert note["variants_stored"] == thinned.filter(pl.col("method") == note["method"]).height
        assert note["stored_max_p"] == 0.4
        middle = of["neg_log_10_p_value"].sort()[of.height // 2 - 1 : of.height // 2 + 1]
        low, high = (lambda_gc([value]) for value in middle)
        assert low * 0.999 <= note["lambda_gc"] <= high * 1.001
    full = workspace(folder, '[gwas]\nstored_max_p = 0.4\nfull_codes = ["K76"]\n')
    assert tables(made(full, scores()))[0].equals(whole)


def test_score_gwas__cells_together_are_those_alone(folder: Path) -> None:
    where = workspace(folder)
    alone, _ = projected(where, scores())
    cells = [cell_of({"organ": "liver", "icd10": code}) for code in ("E11", "K76", "I10")]
    both = pl.concat([scores(), scores().with_columns(icd10=pl.lit("E11"), score=-pl.col("score"))])
    together = made(where, both, cells)
    e11, k76, i10 = tables(together)
    assert k76.equals(alone)
    assert np.allclose(e11["beta"], -alone["beta"])
    assert i10.is_empty()
    assert "phenotype_selection says why" in together.members[2].metadata["skipped"]


def test_score_gwas__a_constant_score_is_told_and_the_others_go_on(folder: Path) -> None:
    where = workspace(folder)
    alone, _ = projected(where, scores())
    constant = pl.when(pl.col("method") == "clustering").then(2.0).otherwise(pl.col("score"))
    together = made(where, scores().with_columns(score=constant))
    (found,) = tables(together)
    assert found.equals(alone.filter(pl.col("method") == "classifier"))
    assert "constant or explained" in together.members[0].metadata["not_associated"]["clustering 3"]


def test_score_gwas__a_score_of_other_embeddings_is_refused(folder: Path) -> None:
    where = workspace(folder)
    projected(where, scores())
    other = np.random.default_rng(0).normal(size=2 * (len(Z) + 1))
    with pytest.raises(OutsideError, match=r"lies outside the association basis.*materialise the basis anew"):
        tables(made(where, scores().with_columns(score=pl.Series(other))))


def test_score_gwas__refuses_what_the_disk_cannot_hold(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = workspace(folder)
    projected(where, scores())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(OSError, match=r"2 phenotypes x 1[0-9] variants take about .* stored_max_p"):
        tables(made(where, scores()))


def test_embedding_associations__a_killed_run_goes_on_after_its_last_piece(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(association, "VARIANTS_A_PIECE", 2)
    where = workspace(folder)
    spec = ASSOCIATIONS["mae"].embedding_associations.spec
    run = StageRun(cell_of({"organ": "liver", "chromosome": "1"}), spec, where)
    undisturbed = embedding_associations(run, basis())
    where.lake.write(("other", "embedding_associations"), run.cell, "embedding_associations", undisturbed, "")
    killed = embedding_associations(run, basis())
    pieces = killed.frames

    def two_pieces(state: dict) -> object:
        for number, piece in enumerate(pieces(state)):
            if number == 2:
                raise KeyboardInterrupt
            yield piece

    killed.frames = two_pieces
    with pytest.raises(KeyboardInterrupt):
        where.lake.write(spec.asset, run.cell, "embedding_associations", killed, "")
    again = embedding_associations(run, basis())
    where.lake.write(spec.asset, run.cell, "embedding_associations", again, "")
    assert where.lake.read(spec.asset, run.cell).equals(where.lake.read(("other", "embedding_associations"), run.cell))
    assert again.metadata["variants_read"] == undisturbed.metadata["variants_read"]
    assert again.metadata["variants_left_out"] == undisturbed.metadata["variants_left_out"]
