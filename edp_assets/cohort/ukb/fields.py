"""Fields of several exports, brought together by eid: each from whichever table has it, never from two that differ.

Joining belongs here; which fields a cohort needs, and what becomes of them, is in `people` and `diagnoses`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import polars as pl

from edp_assets.cohort.ukb.columns import Key
from edp_assets.cohort.ukb.exports import Export, ImportRefusedError
from edp_assets.cohort.ukb.values import Tally, parse_codes, parse_dates, parse_values, unpack

CODES, DATES = 41270, 41280
ROWS_A_LINE = 100_000
"""Between two lines of progress."""


@dataclass
class Fields:
    """What the exports hold.

    Attributes:
        people: eid (Int64) and a column a key (under `key.name`), one row an eid of any table, sorted.
        codes: eid, position (Int32), code (String): ICD-10 codes with their places in the array.
        dates: eid, position, date: dates with theirs.
        tallies: what became missing, by field.
        columns: the columns that each key was read from, as "file: name".
        repeated: rows that repeat an earlier row of their table.
        packed: whether any code's place is its place in a packed list.
    """

    people: pl.DataFrame
    codes: pl.DataFrame
    dates: pl.DataFrame
    tallies: dict[int, Tally] = field(default_factory=dict)
    columns: dict[Key, list[str]] = field(default_factory=dict)
    repeated: int = 0
    packed: bool = False


def read_fields(
    exports: Sequence[Export],
    wanted: Sequence[tuple[int, int, int | None]],
    raw: Sequence[Key],
    log: Callable[[str], None],
) -> Fields:
    """Read fields of people, and their ICD-10 codes with dates, from all exports.

    Args:
        exports: tables of one application, so that an eid is one person.
        wanted: field, instance and array of what `values.parse_values` reads, under the names that `Key.name` gives.
        raw: further columns, as text.
        log: takes progress lines.

    Raises:
        ImportRefusedError: rows of one eid, or tables, that contradict each other; or a damaged table.
    """
    read = Fields(pl.DataFrame(schema={"eid": pl.Int64}), _no_array("code", pl.String), _no_array("date", pl.Date))
    arrays: dict[int, list[tuple[Export, pl.DataFrame, pl.DataFrame]]] = {CODES: [], DATES: []}
    for export in exports:
        people, long = _read_one(export, wanted, raw, read, log)
        read.people = _join(read.people, people, export)
        for number, frame in long.items():
            arrays[number].append((export, people.select("eid"), frame))
    read.people = read.people.sort("eid")
    read.codes = _union(arrays[CODES], read.codes)
    read.dates = _union(arrays[DATES], read.dates)
    return read


def _no_array(name: str, dtype: type[pl.DataType]) -> pl.DataFrame:
    return pl.DataFrame(schema={"eid": pl.Int64, "position": pl.Int32, name: dtype})


def _read_one(
    export: Export,
    wanted: Sequence[tuple[int, int, int | None]],
    raw: Sequence[Key],
    read: Fields,
    log: Callable[[str], None],
) -> tuple[pl.DataFrame, dict[int, pl.DataFrame]]:
    """Read one export; its people's rows once, and the elements of its arrays."""
    scalars = [key for each in wanted if (key := export.key(*each)) is not None]
    texts = [key for key in raw if key in export.columns and key not in scalars]
    array_keys = {number: export.keys(number) for number in (CODES, DATES) if export.keys(number)}
    read.packed |= any(key.array is None for key in array_keys.get(CODES, []))
    in_arrays = [key for keys in array_keys.values() for key in keys]
    for key in (*scalars, *texts, *in_arrays):
        same = Key(key.field, key.instance, key.array or 0)
        read.columns.setdefault(same, []).append(f"{export.path.name}: {export.columns[key]}")
    people: list[pl.DataFrame] = []
    parts: dict[int, list[pl.DataFrame]] = {number: [] for number in array_keys}
    n_rows = 0
    for batch in export.read([*scalars, *texts, *in_arrays]):
        if (n_rows + batch.height) // ROWS_A_LINE > n_rows // ROWS_A_LINE:
            log(f"read {n_rows + batch.height:,} rows of {export.path.name}")
        n_rows += batch.height
        parsed = [
            parse_values(key.field, batch[key.name], read.tallies.setdefault(key.field, Tally())).alias(key.name)
            for key in scalars
        ]
        people.append(batch.select("eid", "row_hash", *(pl.col(key.name) for key in texts)).with_columns(parsed))
        for number, keys in array_keys.items():
            tally = read.tallies.setdefault(number, Tally())
            parts[number].append(_elements(batch, keys, number, tally))
    rows = pl.concat(people, rechunk=True) if people else pl.DataFrame(schema={"eid": pl.Int64, "row_hash": pl.UInt64})
    once = _once(rows, export)
    read.repeated += rows.height - once.height
    value = {CODES: "code", DATES: "date"}
    empty = {CODES: _no_array("code", pl.String), DATES: _no_array("date", pl.Date)}
    long = {
        number: pl.concat([empty[number], *found]).unique(["eid", "position", value[number]], maintain_order=True)
        if rows.height > once.height
        else pl.concat([empty[number], *found])
        for number, found in parts.items()
    }
    return once.drop("row_hash"), long


def _once(rows: pl.DataFrame, export: Export) -> pl.DataFrame:
    """Return one row an eid; rows of one that differ are refused."""
    again = rows.filter(pl.col("eid").is_duplicated())
    if not again.height:
        return rows
    differ = again.group_by("eid").agg(pl.col("row_hash").n_unique()).filter(pl.col("row_hash") > 1)
    if differ.height:
        first = differ["eid"].sort()[0]
        raise ImportRefusedError(
            f"{export.path}: wanted one row a participant, found rows that differ for {differ.height} eids, the first "
            f"{first}; keep the right row of each"
        )
    return rows.unique("eid", keep="first", maintain_order=True)


def _elements(batch: pl.DataFrame, keys: list[Key], number: int, tally: Tally) -> pl.DataFrame:
    """Return the filled elements of an array with their positions, as eid, position, code or date."""
    frames = []
    for key in keys:
        column = batch[key.name]
        if column.null_count() == len(column):
            continue
        if key.array is None:
            lists = column if isinstance(column.dtype, pl.List) else unpack(column)
            listed = (
                pl.DataFrame({"eid": batch["eid"], "text": lists}).drop_nulls().filter(pl.col("text").list.len() > 0)
            )
            places = pl.int_ranges(0, pl.col("text").list.len(), dtype=pl.Int32).alias("position")
            frames.append(listed.select("eid", places, "text").explode("position", "text"))
        else:
            filled = batch.select("eid", pl.lit(key.array, dtype=pl.Int32).alias("position"), text=column)
            frames.append(filled.drop_nulls("text"))
    name, parse = ("code", parse_codes) if number == CODES else ("date", parse_dates)
    if not frames:
        return _no_array(name, pl.String if number == CODES else pl.Date)
    long = pl.concat(frames).drop_nulls("text")
    values = parse(long["text"])
    tally.add(long["text"], values, pl.Series([False], dtype=pl.Boolean).new_from_index(0, long.height))
    # A code that is none keeps its place: a date belongs to it.
    return long.select("eid", "position").with_columns(values.alias(name))


def _join(left: pl.DataFrame, right: pl.DataFrame, export: Export) -> pl.DataFrame:
    """Join two tables by eid; a field of both must say the same where both say something."""
    joined = left.join(right, on="eid", how="full", coalesce=True, suffix="_again")
    for name in set(left.columns) & set(right.columns) - {"eid"}:
        again = pl.col(f"{name}_again")
        differ = joined.filter(pl.col(name) != again)
        if differ.height:
            raise ImportRefusedError(
                f"{export.path}: wanted {name} as the tables before it have it, found another value for "
                f"{differ.height} eids; remove the older column, or the older table from --tables"
            )
        joined = joined.with_columns(pl.coalesce(name, again).alias(name)).drop(f"{name}_again")
    return joined


def _union(tables: list[tuple[Export, pl.DataFrame, pl.DataFrame]], nothing: pl.DataFrame) -> pl.DataFrame:
    """Return the elements of all tables; those of a person in two of them must be the same."""
    union, seen = nothing, pl.DataFrame(schema={"eid": pl.Int64})
    for export, people, long in tables:
        both = people.join(seen, on="eid", how="semi")
        if both.height:
            old, new = (_fingerprints(frame.join(both, on="eid", how="semi")) for frame in (union, long))
            compared = old.join(new, on="eid", how="full", coalesce=True, suffix="_new")
            differ = compared.filter(~pl.col("fingerprint").eq_missing(pl.col("fingerprint_new")))
            if differ.height:
                raise ImportRefusedError(
                    f"{export.path}: wanted field {CODES if 'code' in long.columns else DATES} as the tables before it "
                    f"have it, found others for {differ.height} eids; give the newer table alone"
                )
            long = long.join(both, on="eid", how="anti")
        union = pl.concat([union, long])
        seen = pl.concat([seen, people.join(both, on="eid", how="anti")])
    return union


def _fingerprints(long: pl.DataFrame) -> pl.DataFrame:
    """Return a number a person that the elements and their places make, whatever their order."""
    hashes = long.select("eid", hash=long.select("position", long.columns[-1]).hash_rows())
    return hashes.group_by("eid").agg(fingerprint=pl.col("hash").sum())
