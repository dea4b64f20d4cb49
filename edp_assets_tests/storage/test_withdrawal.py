"""Withdrawals: nobody who withdrew is found in any byte of a home afterwards, and all others are; killed calls too."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from edp_assets.cohort.problems import CohortError
from edp_assets.storage import warehouse, withdrawal
from edp_assets.storage.cells import all_files
from edp_assets.storage.home import Home
from edp_assets.storage.lake import Cell, Exclusion, Stored, cell_of
from edp_assets.storage.schemas import SCHEMAS, empty
from edp_assets.storage.withdrawal import carry_out, remove_retired, withdrawals
from edp_assets.storage.withdrawn import find_withdrawn
from edp_assets.storage.workspace import Asset, Workspace
from edp_assets_tests.tiny_toml import COHORT

TOML = (
    COHORT
    + """
withdrawn = "withdrawn.csv"
[genotypes]
path = "all.bed"
[organs.liver]
[organs.heart]
"""
)
STAY, GOES = [f"{1000000 + 7 * i}" for i in range(200)], "5318008"
LIVER, HEART = cell_of({"organ": "liver"}), cell_of({"organ": "heart"})
K76, RETIRED = (cell_of({"organ": "liver", "icd10": code}) for code in ("K76", "Z99"))
TABLES = [
    ("organ_volumes", ("organ_volumes",)),
    ("clusters", ("mae", "clusters")),
    ("masked_crops", ("masked_crops",)),
    ("edp_scores", ("mae", "edp_scores")),
    ("withdrawals", ("withdrawals",)),
]
MADE: dict[Asset, list[Cell]] = {
    ("participants",): [()],
    ("relatives",): [()],
    ("masked_crops",): [LIVER, HEART],
    ("organ_volumes",): [LIVER, HEART],
    ("mae", "clusters"): [LIVER, HEART],
    ("mae", "adjusted_embeddings"): [LIVER, HEART],
    ("mae", "edp_scores"): [K76],
    ("mae", "gwas_summary_stats"): [K76],
}


def made() -> dict[Asset, list[Cell]]:
    return MADE


def rows(table: str, eids: list[str]) -> pl.DataFrame:
    """Return made-up rows of a stored table, one a person."""
    plain = {pl.String: "x", pl.Float64: 0.5, pl.Int64: 3, pl.Int32: 1, pl.Boolean: True, pl.Binary: b"\x01\x02"}
    lists = {pl.List(pl.Float32): [0.1, 0.2], pl.List(pl.Float64): [1.0, 2.0], pl.List(pl.Int32): [1, 2]}
    columns = {
        name: [plain.get(c.dtype, lists.get(c.dtype))] * len(eids)
        for name, c in SCHEMAS[table].items()
        if name != "eid"
    }
    return pl.DataFrame({**columns, "eid": eids}, schema=empty(table).schema)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A home that is full of people: 200 who stay and one who will withdraw, the latter in everything of the liver."""
    cohort = tmp_path / "cohort"
    cohort.mkdir()
    (cohort / "cohort.toml").write_text(TOML)
    (cohort / "withdrawn.csv").write_text("")
    home = Home(tmp_path / "home")
    for folder in (home.lake, home.checkpoints):
        folder.mkdir(parents=True)
    home.bind(cohort)
    found = Workspace(home)
    fill(found)
    return found


def fill(workspace: Workspace) -> None:
    lake, home, people = workspace.lake, workspace.home, [*STAY[:100], GOES, *STAY[100:]]

    def store(asset: Asset, cell: Cell, table: str, frame: pl.DataFrame, **more: object) -> None:
        lake.write(asset, cell, table, Stored(frame, **more), "made from this")  # type: ignore[arg-type]

    store(("participants",), (), "participants", rows("participants", people))
    related = rows("relatives", STAY[:2]).with_columns(relative=pl.Series([GOES, STAY[5]]))
    store(("relatives",), (), "relatives", related)
    crops = [rows("masked_crops", people[i : i + 64]) for i in range(0, len(people), 64)]
    sources = {"crop_sources": rows("crop_sources", people).with_columns(reason=None)}
    left_out = [Exclusion(eid, "liver", "masked_crops", "empty mask") for eid in (GOES, STAY[0])]
    lake.write(
        ("masked_crops",), LIVER, "masked_crops",
        Stored(crops, left_out, notes={"recipe": "of crops"}, beside=sources), "made from this",
    )  # fmt: skip
    store(("masked_crops",), HEART, "masked_crops", rows("masked_crops", STAY))
    store(("organ_volumes",), LIVER, "organ_volumes", rows("organ_volumes", people))
    store(("mae", "clusters"), LIVER, "clusters", rows("clusters", people))
    for cell in (K76, RETIRED):
        store(("mae", "edp_scores"), cell, "edp_scores", rows("edp_scores", people))
        store(("mae", "gwas_summary_stats"), cell, "gwas_summary_stats", empty("gwas_summary_stats"))
    for organ in ("liver", "heart"):
        page = home.report / "organs" / organ / "codes/K76.html"
        page.parent.mkdir(parents=True)
        page.write_text("drawn of people")
    figure = home.figures / "mae/liver/umap.png"
    table = pl.DataFrame(
        [{"encoder": "mae", "organ": "liver", "figure": "umap", "path": str(figure.relative_to(home.root))}]
    )
    schema = empty("phenotype_figures").schema
    store(("mae", "phenotype_figures"), LIVER, "phenotype_figures", pl.DataFrame(table.to_dicts(), schema=schema))
    trained = {"encoder": "weights", "crops": "version of crops"}
    frame = pl.DataFrame({"encoder": "mae", "organ": "liver", "eid": sorted(people)})
    store(("mae", "trained_on"), LIVER, "trained_on", frame, notes=trained)
    # What no schema knows: pieces in the making, a table of an earlier version, a half-written file, a damaged one.
    pieces = lake.path(("mae", "embedding_associations"), LIVER).parent / ".pieces-1234"
    old, damaged = lake.folder(("old_asset",)) / "organ=liver", lake.path(("mae", "adjusted_embeddings"), LIVER).parent
    for folder in (pieces, old, damaged):
        folder.mkdir(parents=True)
    pq.write_table(pa.table({"eid": [GOES]}), pieces / "000000.parquet")
    pq.write_table(pa.table({"eid": people, "old_column": range(201)}), old / "part.parquet")
    (old / ".part.parquet.77.abcd.tmp").write_bytes(GOES.encode())
    for organ in ("liver", "heart"):
        folder = home.checkpoints / f"mae/encoder/organ={organ}"
        folder.mkdir(parents=True)
        for name in ("encoder.safetensors", "training.safetensors", "items.pack"):
            (folder / name).write_bytes(GOES.encode() if name == "items.pack" and organ == "liver" else b"weights")
    for path, text in (
        (figure, GOES),
        (home.work / "regenie/step1/y.tsv", GOES),
        (home.work / "regenie/1.log", "said"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for organ in ("liver", "heart"):
        picture = withdrawal.scan_pictures(home, organ) / "montage.png"
        picture.parent.mkdir(parents=True)
        picture.write_bytes(b"")
    warehouse.rebuild(home.warehouse, lake, TABLES)
    (damaged / "part.parquet").write_bytes(f"PAR1 {GOES}".encode())


@pytest.fixture
def far_workspace(far_home: Home, workspace: Workspace) -> Workspace:
    """The same home with its lake in S3, and with the pieces of a partition in the making in the home."""
    home, lake = workspace.home, workspace.home.lake
    store = far_home.stored("lake")
    for file in all_files(lake):
        if file.parent.name.startswith("."):
            piece = home.scratch / file.relative_to(lake)
            piece.parent.mkdir(parents=True)
            shutil.copyfile(file, piece)
        else:
            store.fs.put_file(str(file), (store / str(file.relative_to(lake))).path)
    shutil.rmtree(lake)
    shutil.copyfile(far_home.root / "home.toml", home.root / "home.toml")
    return Workspace(Home(home.root))


def fetched(workspace: Workspace) -> Home:
    """Bring all objects of the lake into the home, so that its bytes can be looked at."""
    root = workspace.lake.root
    for file in all_files(root):
        local = workspace.home.root / "fetched" / str(file.relative_to(root))
        local.parent.mkdir(parents=True, exist_ok=True)
        root.fs.get_file(file.path, str(local))
    return workspace.home


def withdraw(workspace: Workspace, *eids: str) -> Workspace:
    """Write the list of the withdrawn, and look at the cohort again."""
    (workspace.cohort.folder / "withdrawn.csv").write_text("".join(f"{eid}\n" for eid in eids))
    return Workspace(workspace.home)


def where(home: Home, eid: str) -> list[str]:
    """Return the files that hold an id: in their bytes, or in any value of a Parquet table, whatever its column."""
    found = []
    # Digits of a longer number, such as an event's time, are no id.
    alone = re.compile(rf"(?<![\d.]){eid}(?!\d)")
    for path in sorted(path for path in home.root.rglob("*") if path.is_file()):
        there = alone.search(path.read_bytes().decode("latin-1")) is not None
        if path.suffix == ".parquet" and not there:
            try:
                frame = pl.DataFrame(pq.read_table(path, partitioning=None))
            except pa.ArrowInvalid:
                continue
            values = (str(value) for row in frame.iter_rows() for value in row if not isinstance(value, bytes))
            there = any(alone.search(text) for text in (*values, str(pq.read_metadata(path).metadata)))
        if there:
            found.append(str(path.relative_to(home.root)))
    return found


def test_carry_out__nobody_who_withdrew_is_found_and_everybody_else_is(workspace: Workspace) -> None:
    home, lake = workspace.home, workspace.lake
    before = where(home, GOES)
    assert {"warehouse.duckdb", "work/regenie/step1/y.tsv", "lake/mae/trained_on/organ=liver/part.parquet"} <= set(
        before
    )
    assert len(before) == 18
    inode = home.warehouse.stat().st_ino
    row = carry_out(withdraw(workspace, GOES, "9999999"), made, TABLES)
    assert where(home, GOES) == []
    assert home.warehouse.stat().st_ino != inode  # no page of the old file is left
    assert row is not None
    # crops with two tables beside, volumes, clusters, K76's scores, whom the encoder was trained on, two of everybody
    assert (row.on_list, row.newly, row.files_rewritten) == (2, 1, 9)
    assert row.partitions_removed == 3  # the retired code's two, and that of the asset that is no more
    assert row.figures_removed == 2
    assert [page.parts[-3] for page in home.report.glob("organs/*/codes/*.html")] == ["heart"]
    for asset, cell in ((("masked_crops",), LIVER), (("organ_volumes",), LIVER), (("mae", "edp_scores"), K76)):
        assert sorted(lake.read(asset, cell)["eid"]) == STAY
        provenance = lake.provenance(asset, cell)
        assert provenance is not None
        assert (provenance.inputs, provenance.rows) == (withdrawal.NOT_CURRENT, 200)
    untouched = lake.provenance(("masked_crops",), HEART)
    assert untouched is not None
    assert untouched.inputs == "made from this"
    assert lake.read(("relatives",), ())["relative"].to_list() == [STAY[5]]
    assert not lake.path(("mae", "gwas_summary_stats"), RETIRED).exists()
    assert lake.path(("mae", "gwas_summary_stats"), K76).exists()
    assert (home.work / "regenie/1.log").exists()
    assert [p.name for p in sorted((home.checkpoints / "mae/encoder/organ=liver").iterdir())] == ["encoder.safetensors"]
    assert len(list((home.checkpoints / "mae/encoder/organ=heart").iterdir())) == 3
    assert (withdrawal.scan_pictures(home, "heart") / "montage.png").exists()
    asked = "SELECT on_list, newly FROM withdrawals"
    assert warehouse.query(home.warehouse, asked).rows() == [(2, 1)]
    assert warehouse.query(home.warehouse, "SELECT count(*) AS n FROM organ_volumes").item() == 200
    assert warehouse.query(home.warehouse, "SELECT count(*) AS n, count(eid) AS known FROM trained_on").rows() == [
        (201, 200)
    ]


def test_carry_out__in_an_object_store_it_is_as_on_a_disk(far_workspace: Workspace) -> None:
    home, lake = far_workspace.home, far_workspace.lake
    assert find_withdrawn(far_workspace, [GOES])
    row = carry_out(withdraw(far_workspace, GOES, "9999999"), made, TABLES)
    assert row is not None
    assert (row.on_list, row.newly, row.files_rewritten) == (2, 1, 9)
    assert (row.partitions_removed, row.figures_removed) == (3, 2)
    assert find_withdrawn(far_workspace, [GOES]) == []
    ((place, column, count),) = {
        (found.place, found.column, found.rows)
        for found in find_withdrawn(far_workspace, [STAY[0]])
        if "organ_volumes/" in found.place
    }
    assert (place.startswith("s3://"), column, count) == (True, "eid", 1)
    assert where(fetched(far_workspace), GOES) == []
    for asset, cell in ((("masked_crops",), LIVER), (("organ_volumes",), LIVER), (("mae", "edp_scores"), K76)):
        assert sorted(lake.read(asset, cell)["eid"]) == STAY
        provenance = lake.provenance(asset, cell)
        assert provenance is not None
        assert (provenance.inputs, provenance.rows) == (withdrawal.NOT_CURRENT, 200)
    assert lake.provenance(("masked_crops",), HEART).inputs == "made from this"  # type: ignore[union-attr]
    assert not lake.path(("mae", "gwas_summary_stats"), RETIRED).exists()
    assert lake.path(("mae", "gwas_summary_stats"), K76).exists()
    assert warehouse.query(home.warehouse, "SELECT on_list, newly FROM withdrawals").rows() == [(2, 1)]
    assert warehouse.query(home.warehouse, "SELECT count(*) AS n FROM organ_volumes").item() == 200
    assert carry_out(withdraw(far_workspace, GOES, "9999999"), made, TABLES) is None
    fewer: Callable[[], dict[Asset, list[Cell]]] = lambda: {**MADE, ("mae", "edp_scores"): []}  # noqa: E731
    lake.write(("mae", "edp_scores"), K76, "edp_scores", Stored(rows("edp_scores", STAY)), "made after")
    assert remove_retired(far_workspace, fewer, TABLES) == 0


def test_carry_out__crops_can_be_taken_over_and_their_encoder_stays_known(workspace: Workspace) -> None:
    carry_out(withdraw(workspace, GOES), made, TABLES)
    lake = workspace.lake
    provenance = lake.provenance(("masked_crops",), LIVER)
    assert provenance is not None
    assert lake.notes(("masked_crops",), LIVER) == {"recipe": "of crops"}
    sources = lake.read_beside(("masked_crops",), LIVER, "crop_sources", provenance.version)
    assert sources is not None
    assert sorted(sources["eid"]) == STAY
    trained = lake.provenance(("mae", "trained_on"), LIVER)
    assert trained is not None
    assert (trained.inputs, trained.rows) == ("made from this", 201)
    assert lake.notes(("mae", "trained_on"), LIVER) == {"encoder": "weights", "crops": "version of crops"}
    # The place of the one who left does not tell who it was.
    assert lake.read(("mae", "trained_on"), LIVER)["eid"].to_list() == [*STAY, None]


def test_carry_out__once_a_list_and_again_when_it_changes(workspace: Workspace) -> None:
    assert carry_out(workspace, made, TABLES) is None  # an empty list, and none was carried out
    assert carry_out(withdraw(workspace, GOES), made, TABLES) is not None
    assert carry_out(withdraw(workspace, GOES), made, TABLES) is None
    unknown = carry_out(withdraw(workspace, GOES, "7777777"), made, TABLES)
    assert unknown is not None
    assert (unknown.on_list, unknown.newly, unknown.files_rewritten) == (2, 0, 0)
    toml = workspace.cohort.folder / "cohort.toml"
    toml.write_text(toml.read_text().replace('withdrawn = "withdrawn.csv"\n', ""))
    gone = carry_out(Workspace(workspace.home), made, TABLES)
    assert gone is not None
    assert (gone.on_list, gone.newly) == (0, 0)
    assert [row.newly for row in withdrawals(workspace)] == [1, 0, 0]


def test_carry_out__a_killed_one_is_done_again(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    withdrawn = withdraw(workspace, GOES)
    rewrite, record = withdrawal._rewrite_file, withdrawal._record
    calls = itertools.count()

    def killed(*arguments: object, **more: object) -> dict[str, str]:
        if next(calls) == 4:
            raise KeyboardInterrupt
        return rewrite(*arguments, **more)  # type: ignore[arg-type]

    def killed_at_the_end(*_: object) -> None:
        raise KeyboardInterrupt

    for name, replaced in (("_rewrite_file", killed), ("_record", killed_at_the_end)):
        monkeypatch.setattr(withdrawal, name, replaced)
        with pytest.raises(KeyboardInterrupt):
            carry_out(withdrawn, made, TABLES)
        monkeypatch.setattr(withdrawal, "_rewrite_file", rewrite)
    monkeypatch.setattr(withdrawal, "_record", record)
    assert withdrawals(workspace) == []
    assert carry_out(withdrawn, made, TABLES) is not None
    assert where(workspace.home, GOES) == []
    assert sorted(workspace.lake.read(("masked_crops",), LIVER)["eid"]) == STAY


def test_carry_out__a_list_that_cannot_be_read_stops(workspace: Workspace) -> None:
    (workspace.cohort.folder / "withdrawn.csv").unlink()
    with pytest.raises(CohortError, match=r"withdrawn.csv"):
        carry_out(Workspace(workspace.home), made, TABLES)


def test_remove_retired__what_a_later_retired_code_counted_is_removed(workspace: Workspace) -> None:
    assert remove_retired(workspace, made, TABLES) == 0
    carry_out(withdraw(workspace, GOES), made, TABLES)
    fewer: Callable[[], dict[Asset, list[Cell]]] = lambda: {**MADE, ("mae", "edp_scores"): []}  # noqa: E731
    part = workspace.lake.path(("mae", "edp_scores"), K76)
    os.utime(part, (time.time() + 60,) * 2)
    assert remove_retired(workspace, fewer, TABLES) == 0  # made after the withdrawal
    os.utime(part, (time.time() - 60,) * 2)
    assert remove_retired(workspace, fewer, TABLES) == 1
    assert not part.exists()
    assert [row.partitions_removed for row in withdrawals(workspace)] == [4]
