"""Whatever a key, a name or a participant's id holds, it reaches neither SQL, nor a path, nor Dagster unescaped."""

from __future__ import annotations

import tomllib
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from edp_assets.cohort.config import load_cohort
from edp_assets.cohort.problems import CohortError
from edp_assets.storage import warehouse
from edp_assets.storage.cells import LakeError, cell_of, cell_path, file_name, folder_name
from edp_assets.storage.home import Home
from edp_assets.storage.io_managers import key_to_cell
from edp_assets.storage.lake import Lake, Stored
from edp_assets.storage.schemas import WAREHOUSE_TABLES
from edp_assets.storage.withdrawn import find_withdrawn
from edp_assets.storage.workspace import Workspace
from edp_assets_tests.cohort.conftest import build

VOLUMES = ("organ_volumes",)
PIECES = [
    "'",
    '"',
    ";",
    "--",
    "/",
    "\\",
    "..",
    ".",
    " ",
    "%",
    "|",
    "=",
    "*",
    "?",
    "[",
    "]",
    "$1",
    "é",
    "肝",
    "DROP TABLE",
]
hostile = st.one_of(
    st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12),
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join),
)
rare = settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def volumes(organ: str, eids: list[str]) -> Stored:
    return Stored(pl.DataFrame({"eid": eids, "organ": organ, "voxels": 10, "volume_ml": 1.5}))


@given(organs=st.lists(hostile, min_size=8, max_size=8, unique=True), eids=st.lists(hostile, min_size=8, unique=True))
@rare
def test_warehouse__holds_any_key_and_id_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, organs: list[str], eids: list[str]
) -> None:
    organs, eids = ["a'); DROP TABLE organ_volumes; --", *organs], ["' OR '1'='1", *eids]
    folder = tmp_path_factory.mktemp("home")
    lake, path = Lake(folder / "lake"), folder / "warehouse.duckdb"
    cells = [cell_of({"organ": organ}) for organ in organs]
    for cell, organ in zip(cells, organs, strict=True):
        lake.write(VOLUMES, cell, "organ_volumes", volumes(organ, eids), "")
    warehouse.refresh(path, lake, [("organ_volumes", VOLUMES, cells)])
    for cell, organ in zip(cells[::2], organs[::2], strict=True):
        lake.write(VOLUMES, cell, "organ_volumes", volumes(organ, []), "")
    warehouse.refresh(path, lake, [("organ_volumes", VOLUMES, cells[::2])])
    with warehouse.connect(path, read_only=True) as connection:
        tables = {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
        assert tables == set(WAREHOUSE_TABLES)
        for i, organ in enumerate(organs):
            rows = connection.execute("SELECT eid FROM organ_volumes WHERE organ = ?", [organ]).fetchall()
            assert {eid for (eid,) in rows} == (set(eids) if i % 2 else set())


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """An empty home with a cohort."""
    folder = tmp_path_factory.mktemp("hostile")
    build(folder / "cohort")
    home = Home(folder / "home")
    home.prepare()
    home.bind(folder / "cohort")
    return Workspace(home)


@given(st.lists(hostile, min_size=6, max_size=12, unique=True))
@rare
def test_find_withdrawn__looks_for_any_id_as_it_is(workspace: Workspace, eids: list[str]) -> None:
    cell, gone = cell_of({"organ": "liver"}), eids[::2]
    workspace.lake.write(VOLUMES, cell, "organ_volumes", volumes("liver", eids[1::2]), "")
    warehouse.refresh(workspace.home.warehouse, workspace.lake, [("organ_volumes", VOLUMES, [cell])])
    assert find_withdrawn(workspace, gone) == []
    in_file, in_warehouse = find_withdrawn(workspace, [*gone, eids[1]])
    assert (in_file.rows, in_warehouse.rows, in_warehouse.place) == (1, 1, "warehouse.duckdb: organ_volumes")


@given(st.lists(hostile, min_size=1, max_size=4, unique=True))
def test_file_name__stays_in_its_folder_and_unlike_others(stems: list[str]) -> None:
    names = [file_name(f"manhattan-{stem}", ".png") for stem in stems]
    assert len(set(names)) == len(stems)
    for name in (*names, *map(folder_name, stems)):
        assert Path("/figures", name).resolve().parent == Path("/figures")
        assert name.isascii()
        assert not set(name) & set("/\\'\"*?[]|; ")


def test_file_name__a_long_one_is_cut_and_stays_unlike_others() -> None:
    names = [file_name("a" * 400 + end, ".tsv.gz") for end in ("x", "y")]
    assert len(set(names)) == 2
    assert {len(name) for name in names} == {215}
    assert all(name.endswith(".tsv.gz") for name in names)


def test_cell_path__a_key_too_long_for_a_folder_is_refused(tmp_path: Path) -> None:
    assert cell_path(tmp_path, cell_of({"organ": "a" * 249})).name == f"organ={'a' * 249}"
    with pytest.raises(
        LakeError, match=r"the organ 肝{40}\.\.\. takes 456 bytes .* 255 at most: give it a shorter name"
    ):
        cell_path(tmp_path, cell_of({"organ": "肝" * 50}))


@given(name=hostile)
@example(name="a|b")
@example(name="...")
@settings(max_examples=20, deadline=None)
def test_load_cohort__an_organ_is_refused_or_names_a_partition(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    from dagster._core.definitions.partitions.utils.base import raise_error_on_invalid_partition_key_substring

    folder = tmp_path_factory.mktemp("cohort") / "cohort"
    build(folder)
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    text = (folder / "cohort.toml").read_text().replace("[organs.liver]", f'[organs."{quoted}"]\nchannels = ["t1"]')
    (folder / "cohort.toml").write_text(text)
    assert list(tomllib.loads(text)["organs"]) == [name]
    try:
        (organ,) = load_cohort(folder).settings.organs
    except CohortError as error:
        assert "an organ named by letters, digits, _ and -" in str(error)  # noqa: PT017
        assert not name.isascii() or not name.replace("_", "").replace("-", "").isalnum()
        return
    assert organ == name
    key = f"K76|{organ}"
    raise_error_on_invalid_partition_key_substring([key])
    assert dict(key_to_cell(key, ("icd10", "organ"))) == {"icd10": "K76", "organ": organ}
