"""What helps to name a score: the ends of it drawn, the codes and measures it goes with, nobody's id anywhere."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from edp_assets.assets import interpretation
from edp_assets.assets.interpretation import STRONGEST, interpretation_figures, score_correlations
from edp_assets.assets.stage import REGISTRY, StageRun
from edp_assets.science.encoders.checkpoints import TrainedEncoder, save_encoder, untrained
from edp_assets.science.encoders.mae import MaeConfig
from edp_assets.science.encoders.occlusion import Occlusion
from edp_assets.settings import Settings
from edp_assets.storage.home import Home
from edp_assets.storage.lake import Lake, Stored, cell_of
from edp_assets.storage.schemas import conform, empty
from edp_assets.storage.upstream import Partition, Partitions
from edp_assets.storage.withdrawal import _remove_figures

N, ORGAN = 60, cell_of({"organ": "liver"})
EIDS = [f"e{i:03d}" for i in range(N)]
RNG = np.random.default_rng(0)
Z = RNG.normal(size=(N, 32)) + 1
W = np.eye(32)[0]


@pytest.fixture
def workspace(tmp_path: Path) -> Any:
    decoder = {"decoder_width": 32, "decoder_depth": 1, "decoder_heads": 4}
    organs = {"liver": {"patch": 8, "resolution": 16}}
    settings = Settings.from_toml({"organs": organs, "encoders": {"mae": {"size": "tiny", **decoder}}})
    return SimpleNamespace(settings=settings, lake=Lake(tmp_path / "lake"), home=Home(tmp_path))


def scores(code: str = "K76") -> pl.DataFrame:
    """Return a classifier's score, the first dimension, and a cluster's, which is low in the affected."""
    label = {"encoder": "mae", "organ": "liver", "icd10": code}
    parts = [("classifier", None, Z @ W), ("clustering", 2, 1 - Z[:, 1] / np.linalg.norm(Z, axis=1))]
    frames = [
        pl.DataFrame({**label, "method": method, "cluster": cluster, "eid": EIDS, "score": values, "label_used": True})
        for method, cluster, values in parts
    ]
    return conform(pl.concat(frames, how="diagonal_relaxed"), "edp_scores")


def put(workspace: Any, asset: tuple[str, ...], cell: Any, table: str, frame: pl.DataFrame) -> Partition:
    workspace.lake.write(asset, cell, table, Stored(conform(frame, table)), "")
    return Partition(workspace.lake, asset, cell)


def test_score_correlations__find_what_the_score_goes_with(workspace: Any) -> None:
    lake, codes = workspace.lake, ["K76", *(f"A{i:02d}" for i in range(30))]
    put(workspace, ("mae", "edp_scores"), cell_of({"organ": "liver", "icd10": "K76"}), "edp_scores", scores())
    put(workspace, ("mae", "edp_scores"), cell_of({"organ": "liver", "icd10": "R99"}), "edp_scores", scores("R99"))
    high = Z[:, 0] > np.quantile(Z[:, 0], 0.7)
    for k, code in enumerate(codes):
        ill = high if k == 3 else RNG.uniform(size=N) < 0.3
        frame = pl.DataFrame({"icd10": code, "eid": [e for e, one in zip(EIDS, ill, strict=True) if one]})
        put(workspace, ("icd10_cases",), cell_of({"icd10": code}), "icd10_cases", frame)
    about = {"cases": 1, "cases_imaged": 1, "label_set": "icd10", "chapter": "", "description": ""}
    table = pl.DataFrame({"icd10": [*codes, "R99"], "studied": [True] * 31 + [False], "retired": False, **about})
    measures = {"eid": EIDS, "organ": "liver", "volume_ml": 1000 + 100 * Z[:, 0], "surface_cm2": RNG.normal(size=N),
                "mean_intensity": [[1.0, w] for w in RNG.normal(size=N)], "fat_fraction": None}  # fmt: skip
    people = empty("participants").clear(N).with_columns(pl.Series("eid", EIDS), age=pl.Series(60 - Z[:, 1]), bmi=None)
    run = StageRun(ORGAN, REGISTRY["mae", "score_correlations"].spec, workspace)
    stored = score_correlations(
        run,
        Partitions(lake, ("mae", "edp_scores"), lake.cells(("mae", "edp_scores"))),
        conform(pl.DataFrame(measures), "organ_measures"),
        people,
        table,
        Partitions(lake, ("icd10_cases",), lake.cells(("icd10_cases",))),
    )
    found = conform(stored.frames, "score_correlations")
    assert set(found["icd10"]) == {"K76"}  # R99 is studied no more
    classifier = found.filter(method="classifier")
    assert classifier.filter(with_what="organ_volume")["pearson_r"].item() == pytest.approx(1)
    planted = classifier.filter(with_what="A02").row(0, named=True)
    assert (planted["kind"], planted["roc_auc"], planted["n"]) == ("icd10", 1.0, N)
    assert classifier.filter(kind="icd10")["with_what"][1] == "A02"  # its own code first, then the strongest
    assert classifier.filter(kind="icd10").height == STRONGEST + 1
    assert classifier.filter(with_what="bmi").select("pearson_r", "n").row(0) == (None, 0)
    assert found.filter(method="clustering", with_what="age")["pearson_r"].item() > 0.5


def test_score_correlations__the_strongest_may_be_inverse_and_people_stand_in_any_order(workspace: Any) -> None:
    lake, low = workspace.lake, Z[:, 0] < np.quantile(Z[:, 0], 0.3)
    codes = {"K76": Z[:, 0] > 2, "E11": Z[:, 1] > 1, "LOW": low} | {
        f"A{k:02d}": RNG.uniform(size=N) < 0.3 for k in range(STRONGEST + 5)
    }
    cells = [cell_of({"organ": "liver", "icd10": code}) for code in ("E11", "K76")]
    for cell, frame in zip(cells, (scores("E11").reverse(), scores()), strict=True):
        put(workspace, ("mae", "edp_scores"), cell, "edp_scores", frame)
    for code, ill in codes.items():
        frame = pl.DataFrame({"icd10": code, "eid": [e for e, one in zip(EIDS, ill, strict=True) if one]})
        put(workspace, ("icd10_cases",), cell_of({"icd10": code}), "icd10_cases", frame)
    about = {"cases": 1, "cases_imaged": 1, "label_set": "icd10", "chapter": "", "description": ""}
    table = pl.DataFrame({"icd10": list(codes), "studied": True, "retired": False, **about})
    surface, water = RNG.normal(size=(2, N))
    measures = {"eid": EIDS[::-1], "organ": "liver", "volume_ml": 1000 + 100 * Z[::-1, 2], "surface_cm2": surface[::-1],
                "mean_intensity": [[1.0, w] for w in water[::-1]], "fat_fraction": 0.5}  # fmt: skip
    columns = {"eid": pl.Series(EIDS), "age": pl.Series(60 - Z[:, 1])}
    stored = score_correlations(
        StageRun(ORGAN, REGISTRY["mae", "score_correlations"].spec, workspace),
        Partitions(lake, ("mae", "edp_scores"), cells),
        conform(pl.DataFrame(measures), "organ_measures"),
        empty("participants").clear(N).with_columns(**columns),
        table,
        Partitions(lake, ("icd10_cases",), lake.cells(("icd10_cases",))),
    )
    found = conform(stored.frames, "score_correlations").filter(method="classifier")
    wanted = {"LOW": low, "organ_volume": Z[:, 2], "organ_surface": surface, "age": -Z[:, 1], "K76": codes["K76"]}
    for code in ("K76", "E11"):
        of_code = dict(found.filter(icd10=code).select("with_what", "pearson_r").iter_rows())
        for name, values in wanted.items():
            assert of_code[name] == pytest.approx(np.corrcoef(Z[:, 0], values)[0, 1]), (code, name)
    told = found.filter(icd10="K76", kind="icd10")["with_what"].to_list()
    assert (len(told), told[0]) == (STRONGEST + 1, "K76")
    every = {name: abs(np.corrcoef(Z[:, 0], ill)[0, 1]) for name, ill in codes.items() if name != "K76"}
    assert told[1:] == sorted(every, key=every.__getitem__, reverse=True)[:STRONGEST]


def drawn(workspace: Any, *genes: str | None) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Run the figures of one cell whose classifier hits these genes."""
    cell = cell_of({"organ": "liver", "icd10": "K76"})
    config = MaeConfig.from_settings(workspace.settings.organs["liver"], workspace.settings.mae)
    encoder = workspace.home.root / "encoder.safetensors"
    save_encoder(encoder, TrainedEncoder(config, dict(untrained(config).state_dict()), []))
    crops = [
        {"organ": "liver", "eid": eid, "shape": [2, 5, 12, 11], "spacing_mm": [2.0, 2.0, 3.0], "mask_voxels": 9,
         "voxels": RNG.integers(1, 256, (2, 5, 12, 11), dtype=np.uint8).tobytes(), "volume_ml": 1.0,
         "mean_intensity": [1.0, 2.0]}
        for eid in EIDS
    ]  # fmt: skip
    wide = np.hstack([Z, np.zeros((N, 96))])
    embedded = pl.DataFrame({"encoder": "mae", "organ": "liver", "eid": EIDS, "z": wide.tolist(), "adjustment": "none"})
    models = pl.DataFrame(
        {"method": ["classifier", "clustering"], "cluster": pl.Series([None, 2], dtype=pl.Int32),
         "weights": [np.eye(128)[0].tolist(), np.eye(128)[1].tolist()]}
    )  # fmt: skip
    hits = pl.DataFrame({"method": "classifier", "cluster": pl.Series([None] * len(genes), dtype=pl.Int32),
                         "gene": pl.Series(genes, dtype=pl.String)})  # fmt: skip
    run = StageRun(cell, REGISTRY["mae", "interpretation_figures"].spec, workspace)
    together = interpretation_figures(
        [run],
        [put(workspace, ("mae", "edp_scores"), cell, "edp_scores", scores())],
        [models],
        [hits],
        [put(workspace, ("mae", "adjusted_embeddings"), ORGAN, "adjusted_embeddings", embedded)],
        [
            put(
                workspace,
                ("masked_crops",),
                ORGAN,
                "masked_crops",
                pl.DataFrame(crops, schema=empty("masked_crops").schema),
            )
        ],
        [encoder],
    )
    ((_, frame),) = list(together.frames)
    return conform(frame, "interpretation_figures"), together.members[0].metadata


def test_interpretation_figures__of_scores_that_hit_a_gene_alone(workspace: Any) -> None:
    table, metadata = drawn(workspace, "PNPLA3", "PNPLA3")
    assert table.select("figure", "method").rows() == [("tails", "classifier"), ("occlusion", "classifier")]
    assert metadata == {"figures": 2}  # pictures of scans are files, never metadata
    for path in table["path"]:
        assert path.startswith("report/figures/mae/liver/K76/interpretation/")
        assert (workspace.home.root / path).read_bytes().startswith(b"\x89PNG")
    table, metadata = drawn(workspace, None)
    assert (table.height, metadata) == (0, {"figures": 0})
    assert not list(workspace.home.figures.rglob("*.png"))


def test_shown__the_affected_are_high_in_a_classifier_and_low_in_a_cluster(workspace: Any) -> None:
    cell = cell_of({"organ": "liver", "icd10": "K76"})
    partition = put(workspace, ("mae", "edp_scores"), cell, "edp_scores", scores())
    cluster = pl.Series("cluster", [None, 2], dtype=pl.Int32)
    models = pl.DataFrame({"method": ["classifier", "clustering"], "weights": [W.tolist(), np.eye(32)[1].tolist()]})
    hits = pl.DataFrame({"method": ["classifier", "clustering"], "gene": ["A", "B"]})
    found = interpretation._shown(partition, models.with_columns(cluster), hits.with_columns(cluster))
    values = [Z @ W, Z[:, 1] / np.linalg.norm(Z, axis=1)]
    for shown, affected in zip(found, values, strict=True):
        order = [EIDS[i] for i in np.argsort(affected)]
        assert (shown.least, shown.most) == (order[:4], order[-4:])
        assert shown.sd == pytest.approx(affected.std())
        assert not any(eid in shown.label(eid) for eid in shown.eids)
        z = Z[7]
        assert shown.change(z, np.zeros((1, 32)))[0] == pytest.approx(
            affected[7] - (shown.names["cluster"] is not None)
        )


def test_mapped__is_in_standard_deviations_of_the_score() -> None:
    occlusion = interpretation_occlusion(change=3.0)
    seen = interpretation._Seen(None, None, items={"a": (np.ones((1, 4, 4), np.uint8), 2)}, z={"a": np.zeros(2)},
                                occlusions={"a": occlusion})  # fmt: skip
    shown = interpretation._Shown({}, [], ["a"], {}, lambda z, change: (z + change) @ np.array([1.0, 0.0]), 0.5)
    assert seen._mapped("a", shown)[1].tolist() == [[-3.0]]  # 3 of one of two items, half of which is an SD


def interpretation_occlusion(change: float) -> Occlusion:
    """Return the occlusion of one block that changes the first dimension."""
    return Occlusion(1, [(0, 0)], np.array([[change, 0.0]]))


def test_interpretation_figures__leave_with_who_withdraws(workspace: Any) -> None:
    table, _ = drawn(workspace, "PNPLA3")
    cell = cell_of({"organ": "liver", "icd10": "K76"})
    asset = ("mae", "interpretation_figures")
    put(workspace, asset, cell, "interpretation_figures", table)
    _remove_figures(workspace, ["heart"])
    assert workspace.lake.path(asset, cell).exists()
    assert _remove_figures(workspace, ["liver"]) == 2
    assert not workspace.lake.path(asset, cell).exists()
    assert not list(workspace.home.figures.rglob("*.png"))
