"""Carrying out withdrawals: who is on the cohort's list leaves every file of EDP_HOME, before anything is made again.

Reading the list is in `cohort.withdrawals`. What is computed without them is made by the run that follows: a file that
people were taken out of is never current.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from urllib.parse import unquote

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from edp_assets.cohort.problems import CohortError, refused
from edp_assets.cohort.withdrawals import read_withdrawn
from edp_assets.seal import BLANK, KEY
from edp_assets.storage import warehouse
from edp_assets.storage.cells import ASIDE, Location, all_files, folder_name, put
from edp_assets.storage.home import Home
from edp_assets.storage.lake import Cell, Lake, Stored
from edp_assets.storage.mirror import mirroring
from edp_assets.storage.parquet_files import parquet_file, read_table, seal_file
from edp_assets.storage.piece_files import PREFIX
from edp_assets.storage.schemas import PARTICIPANT_COLUMNS
from edp_assets.storage.table_files import PROVENANCE, Provenance
from edp_assets.storage.workspace import Asset, Workspace

ASSET: Asset = ("withdrawals",)
PARTICIPANTS: Asset = ("participants",)
TRAINED_ON = "trained_on"
NOT_CURRENT = "withdrawn: to be made again"
"""In place of the fingerprint of a file that people were taken out of."""
UNFINISHED = ("items.pack", "training.safetensors", "trained.safetensors", "embeddings.journal")
"""What training and embedding go on from after a kill."""

Tables = Iterable[tuple[str, Asset]]
Made = Callable[[], Mapping[Asset, Iterable[Cell]]]


@dataclass(frozen=True)
class Withdrawal:
    """One row of the table `withdrawals`; its schema tells the columns."""

    carried_out: str
    on_list: int
    newly: int
    files_rewritten: int = 0
    partitions_removed: int = 0
    figures_removed: int = 0


def scan_pictures(home: Home, organ: str) -> Path:
    """Return the folder of the figures that show scans of an organ."""
    return home.figures / "scans" / folder_name(organ)


def withdrawals(workspace: Workspace) -> list[Withdrawal]:
    """Return every carrying out, in order of time."""
    if workspace.lake.provenance(ASSET, ()) is None:
        return []
    return [Withdrawal(**row) for row in workspace.lake.read(ASSET, ()).iter_rows(named=True)]


def carry_out(workspace: Workspace, made: Made, tables: Tables) -> Withdrawal | None:
    """Take the people of the cohort's list out of what is stored; None where the list is the one carried out last.

    The caller holds the writer lock. The list counts as carried out once all is done: a killed call is done again.

    Args:
        workspace: the home and its cohort.
        made: tells the partitions of every asset that runs on this cohort make. Others are removed if anybody withdrew:
            they would go on counting them.
        tables: (table, asset) of the graph, which the warehouse is made anew from: pages that DuckDB freed keep ids.

    Raises:
        CohortError: the list cannot be read.
    """
    eids, problems = read_withdrawn(workspace.cohort)
    if refused(problems):
        raise CohortError(refused(problems))
    last = workspace.lake.provenance(ASSET, ())
    stamp = hashlib.sha256("\n".join(sorted(eids)).encode()).hexdigest()[:32]
    if (last is None and not eids) or (last is not None and last.inputs == stamp):
        return None
    found = holding(workspace.lake, eids)
    newly = len(set[str]().union(*found.values()))
    removed = figures = 0
    if found:
        organs = {organ for path in found if (organ := _place(workspace.lake, path)[1].get("organ"))}
        _remove_unfinished(workspace, organs)
        figures = _remove_figures(workspace, organs)
        removed = len(_remove_unmade(workspace, made))
        for path, people in found.items():
            if not people:
                path.unlink(missing_ok=True)
        found = {path: people for path, people in found.items() if path.exists()}
    # The participants come last: as long as they are not rewritten, a killed call knows whom it takes out.
    last_of_all = [path for path in found if _place(workspace.lake, path)[0] == PARTICIPANTS]
    rewritten = _rewrite(workspace.lake, [path for path in found if path not in last_of_all], eids)
    if workspace.home.warehouse.exists():
        _new_warehouse(workspace, tables)
    rewritten += _rewrite(workspace.lake, last_of_all, eids)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    row = Withdrawal(now, len(eids), newly, rewritten, removed, figures)
    _record(workspace, [*withdrawals(workspace), row], stamp)
    return row


def remove_retired(workspace: Workspace, made: Made, tables: Tables) -> int:
    """Remove partitions that are no longer made and older than the last withdrawal; return how many.

    Called once a run knows its codes: too few cases may be left of one after a withdrawal.
    """
    earlier = withdrawals(workspace)
    after = [place for place, row in enumerate(earlier) if row.newly]
    last = workspace.lake.provenance(ASSET, ())
    if not after or last is None:
        return 0
    place = after[-1]
    before = datetime.fromisoformat(earlier[place].carried_out).timestamp()
    removed = _remove_unmade(workspace, made, before)
    if removed:
        for table, asset in tables:
            gone = [cell for each, cell in removed if each == asset]
            if gone:
                with mirroring(workspace.home, workspace.lake, table, asset) as written:
                    written += gone
        earlier[place] = replace(earlier[place], partitions_removed=earlier[place].partitions_removed + len(removed))
        _record(workspace, earlier, last.inputs)
    return len(removed)


def holding(lake: Lake, eids: frozenset[str]) -> dict[Location, set[str]]:
    """Return the Parquet files of the lake, hidden ones too, that hold any of the people, and whom.

    A damaged file is among them, with nobody: it may hold anybody, and has to be made again in any case.
    """
    wanted = pa.array(sorted(eids), pa.string())

    def whom(path: Location) -> set[str] | None:
        people: set[str] = set()
        try:
            with parquet_file(path) as file:
                columns = [name for name in file.schema_arrow.names if name in PARTICIPANT_COLUMNS]
                for batch in file.iter_batches(columns=columns) if columns else ():
                    for column in batch.columns:
                        people.update(column.filter(_is_in(column, wanted)).to_pylist())
        except (pa.ArrowInvalid, OSError):
            return set()
        return people or None

    paths = all_files(lake.root, ".parquet") if eids else []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return {path: people for path, people in zip(paths, pool.map(whom, paths), strict=True) if people is not None}


def _is_in(column: pa.Array, wanted: pa.Array) -> pa.Array:
    return pc.is_in(column.cast(pa.string()), wanted)


def _place(lake: Lake, path: Location) -> tuple[Asset, dict[str, str]]:
    """Return the asset and the partition keys of a file of the lake."""
    place = path.parent.relative_to(lake.root)  # type: ignore[arg-type]
    parts = [part for part in place.parts if not part.startswith(".")]
    keys = [part.split("=", 1) for part in parts if "=" in part]
    return tuple(part for part in parts if "=" not in part), {name: unquote(key) for name, key in keys}


def _remove_unfinished(workspace: Workspace, organs: Iterable[str]) -> None:
    """Remove what killed runs would go on from: inputs of regenie, packs and states of training, pieces, half a file.

    Pieces of a lake in an object store lie in the home until they are whole.
    """
    home = workspace.home
    for path in home.work.rglob("*"):
        if path.is_file() and path.suffix != ".log":
            path.unlink()
    for organ in organs:
        for folder in home.checkpoints.glob(f"**/organ={folder_name(organ)}"):
            for name in UNFINISHED:
                (folder / name).unlink(missing_ok=True)
    for root in {home.lake, home.checkpoints, home.scratch, workspace.lake.root}:
        for file in all_files(root):
            if file.name.endswith(ASIDE) or (file.name.startswith(".") and file.name.endswith(".tmp")):
                file.unlink()
    for pieces in home.scratch.rglob(f"{PREFIX}*"):
        shutil.rmtree(pieces)
    for path in home.root.glob(f"*{ASIDE}"):
        path.unlink()


def _remove_figures(workspace: Workspace, organs: Iterable[str]) -> int:
    """Remove figures of scans and of people, with the partitions that list these; return how many files."""
    lake, home, removed = workspace.lake, workspace.home, 0
    for organ in organs:
        listed: list[Path] = []
        place = f"organ={folder_name(organ)}/part.parquet"
        tables = (f"*/phenotype_figures/{place}", f"*/interpretation_figures/icd10=*/{place}")
        parts: list[Location] = [part for table in tables for part in lake.root.glob(table)]
        for part in parts:
            listed += [home.root / path for path in pl.DataFrame(read_table(part, ["path"]))["path"]]
            part.unlink()
        for path in (*listed, *scan_pictures(home, organ).glob("*.png")):
            removed += path.exists()
            path.unlink(missing_ok=True)
        # Pages draw people, though they name none: the next report makes them again.
        for page in (home.report / "organs" / folder_name(organ)).rglob("*.html"):
            page.unlink()
    return removed


def _remove_unmade(workspace: Workspace, made: Made, before: float = float("inf")) -> list[tuple[Asset, Cell]]:
    """Remove stored partitions that no run makes any more and that were written before a time; return which."""
    lake, removed = workspace.lake, []
    cells = defaultdict(set, {asset: set(of_asset) for asset, of_asset in made().items()})
    for part in all_files(lake.root, "part.parquet"):
        asset, keys = _place(lake, part)
        cell = tuple(sorted(keys.items()))
        if asset == ASSET or asset[-1] == TRAINED_ON or cell in cells[asset] or part.stat().st_mtime >= before:
            continue
        beside: list[Location] = list(part.parent.glob("*.parquet"))
        for file in beside:
            file.unlink()
        removed.append((asset, cell))
    return removed


def _rewrite(lake: Lake, paths: Iterable[Location], eids: frozenset[str]) -> int:
    """Write files of the lake again without people; pieces of a partition in the making are removed whole.

    Returns how many were written.
    """
    by_folder: dict[Location, list[Location]] = defaultdict(list)
    rewritten = 0
    for path in paths:
        by_folder[path.parent].append(path)
    for folder, files in by_folder.items():
        if folder.name.startswith("."):
            for piece in all_files(folder):
                piece.unlink()
            continue
        part = folder / "part.parquet"
        rewritten += len(files)
        versions: dict[str, str] = {}
        # A partition comes before what lies beside it, some of which names its version.
        for path in sorted(files, key=lambda path: path != part):
            if folder.parent.name == TRAINED_ON:
                _rewrite_file(lake, path, eids, lambda old: old, nulled=True)
            elif path == part:
                versions = _rewrite_file(lake, path, eids, _another)
            else:
                _rewrite_file(lake, path, eids, partial(_follow, versions))
    return rewritten


def _another(old: Provenance) -> Provenance:
    return replace(old, inputs=NOT_CURRENT, version=uuid.uuid4().hex)


def _follow(versions: Mapping[str, str], old: Provenance) -> Provenance:
    return replace(old, inputs=versions.get(old.inputs, old.inputs))


def _rewrite_file(
    lake: Lake,
    path: Location,
    eids: frozenset[str],
    provenance: Callable[[Provenance], Provenance],
    *,
    nulled: bool = False,
) -> dict[str, str]:
    """Write one file again without the rows of people, a row group at a time; return its version's old and new text.

    Args:
        lake: whose file it is: of one in an object store the new file is written in the home.
        path: the file.
        eids: the people.
        provenance: makes the new one of the old one.
        nulled: keep their rows, last, without the id.
    """
    folder = path.parent if isinstance(path, Path) else lake.scratch
    assert isinstance(folder, Path)  # noqa: S101
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp"
    wanted = pa.array(sorted(eids), pa.string())
    with parquet_file(path) as file:
        schema = file.schema_arrow
        about = dict(schema.metadata or {}) | dict(file.metadata.metadata or {})
        about.pop(b"ARROW:schema", None)
        about[KEY.encode()] = BLANK.encode()
        rows = 0
        try:
            with pq.ParquetWriter(
                temporary, schema.remove_metadata(), compression="zstd", store_schema=False, write_page_checksum=True
            ) as writer:
                for frame in _without(file, wanted, nulled):
                    rows += frame.num_rows
                    writer.write_table(frame)
                versions = {}
                if PROVENANCE in about:
                    old = Provenance.from_json(about[PROVENANCE])
                    new = replace(provenance(old), rows=rows)
                    about[PROVENANCE] = new.to_json().encode()
                    versions = {old.version: new.version}
                writer.add_key_value_metadata({k.decode(): v.decode() for k, v in about.items()})
            seal_file(temporary)
            put(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    return versions


def _without(file: pq.ParquetFile, wanted: pa.Array, nulled: bool) -> Iterator[pa.Table]:
    if nulled:
        table = file.read()
        eid = pc.if_else(_is_in(table["eid"], wanted), pa.scalar(None, pa.string()), table["eid"])
        yield table.set_column(table.schema.get_field_index("eid"), "eid", eid).sort_by("eid").combine_chunks()
        return
    for group in range(file.num_row_groups):
        table = file.read_row_group(group)
        gone = pa.array([False] * table.num_rows)
        for name in set(table.column_names) & PARTICIPANT_COLUMNS:
            gone = pc.or_(gone, _is_in(table[name], wanted))
        yield table.filter(pc.invert(gone))


def _new_warehouse(workspace: Workspace, tables: Tables) -> None:
    """Make the warehouse in a new file: pages that DuckDB freed go on holding what they held."""
    path = workspace.home.warehouse
    fresh = path.with_name(f".{path.stem}-new.duckdb")
    for file in (fresh, _log_of(fresh)):
        file.unlink(missing_ok=True)
    warehouse.rebuild(fresh, workspace.lake, tables)
    _log_of(path).unlink(missing_ok=True)
    fresh.replace(path)


def _log_of(database: Path) -> Path:
    return database.with_name(f"{database.name}.wal")


def _record(workspace: Workspace, rows: Iterable[Withdrawal], stamp: str) -> None:
    frame = pl.DataFrame([asdict(row) for row in rows])
    with mirroring(workspace.home, workspace.lake, ASSET[0], ASSET) as written:
        workspace.lake.write(ASSET, (), ASSET[0], Stored(frame), stamp)
        written.append(())
