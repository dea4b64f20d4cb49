"""One Parquet file of the lake as it is written: rows checked, hashed and moved into place whole.

Where files lie is in `lake`, what a table holds in `schemas`.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from edp_assets.seal import BLANK, KEY
from edp_assets.storage.cells import Location, put
from edp_assets.storage.disk import full_disk_told
from edp_assets.storage.parquet_files import read_footer, seal_file
from edp_assets.storage.schemas import SCHEMAS, SchemaError, conform, polars_schema

Frame: TypeAlias = "pl.DataFrame | pa.Table"
"""Rows of a table; an Arrow table, where speed matters, has the columns in order and their types already."""

ROW_GROUP = 65_536
PROVENANCE = b"edp"
NOTES = b"edp_notes"


class Fingerprint(str):
    """The hash of what a partition is made from, with the hash of each part of it: tells what of it has changed."""

    __slots__ = ("parts",)
    parts: dict[str, str]

    def __new__(cls, text: str, parts: Mapping[str, str]) -> Fingerprint:
        """Return the text with its parts."""
        made = super().__new__(cls, text)
        made.parts = dict(parts)
        return made


@dataclass(frozen=True)
class Provenance:
    """What a stored partition was made from (`inputs`), and what it holds (`version`, a hash of its content).

    `parts` are those of the fingerprint: code, settings, inputs and files by name; empty in files of earlier versions.
    """

    inputs: str
    version: str
    rows: int
    parts: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, inputs: str, version: str, rows: int) -> Provenance:
        """Return the provenance of what is made from `inputs`."""
        return cls(str(inputs), version, rows, inputs.parts if isinstance(inputs, Fingerprint) else {})

    def to_json(self) -> str:
        """Return the text kept in a file's metadata."""
        return json.dumps({k: v for k, v in asdict(self).items() if k != "parts" or v})

    @classmethod
    def from_json(cls, text: str | bytes) -> Provenance:
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))


class TableWriter:
    """Writes one table beside its place; `replace` moves it there, and without that nothing is left of it.

    A data frame is a row group of its own, since its rows may be large; Arrow tables are gathered up to `ROW_GROUP`.
    """

    def __init__(self, path: Location, table: str, scratch: Path | None = None) -> None:
        """Begin a table.

        Args:
            path: where it comes to lie.
            table: its schema.
            scratch: where it lies while it is written; by default beside its place.
        """
        self.path, self.table = path, table
        self.scratch = scratch or Path(str(path.parent))
        self._temporary = self.scratch / f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:8]}.tmp"
        self._digest, self._rows = hashlib.sha256(table.encode()), 0
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[pa.Table] = []

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._writer is not None:
                with full_disk_told(self._temporary):
                    self._writer.close()
        except (OSError, pa.ArrowException):
            if error is None:
                raise
        finally:
            self._temporary.unlink(missing_ok=True)

    def add(self, frame: Frame) -> None:
        """Add rows.

        Raises:
            SchemaError: they are not of the table's columns and types, or null where they may not be.
        """
        if isinstance(frame, pl.DataFrame):
            rows = conform(frame, self.table).to_arrow(compat_level=pl.CompatLevel.oldest())
        else:
            rows = check_arrow(frame, self.table)
        if not rows.num_rows:
            return
        _update(self._digest, rows)
        self._rows += rows.num_rows
        self._waiting.append(rows)
        if isinstance(frame, pl.DataFrame) or sum(part.num_rows for part in self._waiting) >= ROW_GROUP:
            self._flush()

    def finish(self, inputs: str, notes: dict[str, Any]) -> Provenance:
        """Write what is left and close the file, with its provenance and notes in the footer."""
        if not self._rows:
            self._waiting.append(_empty(self.table))
        self._flush()
        provenance = Provenance.of(inputs, self._digest.hexdigest(), self._rows)
        assert self._writer is not None  # noqa: S101
        self._writer.add_key_value_metadata({PROVENANCE.decode(): provenance.to_json(), KEY: BLANK})
        if notes:
            self._writer.add_key_value_metadata({NOTES.decode(): json.dumps(notes)})
        with full_disk_told(self._temporary):
            self._writer.close()
            self._writer = None
            seal_file(self._temporary)
        return provenance

    def replace(self) -> None:
        """Move the finished file to its place."""
        with full_disk_told(self._temporary):
            put(self._temporary, self.path)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        rows = pa.concat_tables(waiting)
        with full_disk_told(self._temporary):
            self._write(rows)

    def _write(self, rows: pa.Table) -> None:
        if self._writer is None:
            self._temporary.parent.mkdir(parents=True, exist_ok=True)
            plain = {field.name: _plain(field.type) for field in rows.schema}
            # Text is kept as a dictionary; of numbers most values differ, and trying costs as much as writing them.
            self._writer = pq.ParquetWriter(
                self._temporary,
                _declared(rows.schema, self.table),
                compression="zstd",
                compression_level=1,
                use_dictionary=[name for name, kind in plain.items() if not _is_number(kind)],
                column_encoding={
                    name: "DELTA_BINARY_PACKED" if pa.types.is_integer(kind) else "BYTE_STREAM_SPLIT"
                    for name, kind in plain.items()
                    if _is_number(kind)
                },
                # Of text they cost as much as writing it, and no question prunes by an rsid.
                write_statistics=[name for name, kind in plain.items() if _is_number(kind)],
                store_schema=False,
                write_page_checksum=True,
            )
        self._writer.write_table(rows.cast(self._writer.schema), row_group_size=ROW_GROUP)


def check_arrow(frame: pa.Table, table: str) -> pa.Table:
    """Return an Arrow table that is of a stored table's columns and types (strings may be dictionaries); else raise."""
    wanted = _empty(table).schema
    found = pa.schema([pa.field(f.name, _plain(f.type)) for f in frame.schema])
    if found != wanted:
        raise SchemaError(f"{table}: wanted the columns {wanted.to_string()}; found {found.to_string()}")
    nulls = [name for name, c in SCHEMAS[table].items() if not c.nullable and frame[name].null_count]
    if nulls:
        raise SchemaError(f"{table}: no value may be missing in {nulls}; found {[frame[c].null_count for c in nulls]}")
    return frame


@cache
def _empty(table: str) -> pa.Table:
    return pl.DataFrame(schema=polars_schema(table)).to_arrow(compat_level=pl.CompatLevel.oldest())


def _is_number(kind: pa.DataType) -> bool:
    return bool(kind in (pa.int32(), pa.int64(), pa.float32(), pa.float64()))


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _update(digest: Any, batch: pa.Table) -> None:
    """Add a table's rows to the hash, through Arrow's own stream format (stable for the same rows)."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_table(batch.combine_chunks())
    digest.update(sink.getvalue())


@cache
def parquet_schema(table: str) -> pq.ParquetSchema:
    """Return a stored table's columns as a file of it has them in its footer."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, _declared(_empty(table).schema, table), store_schema=False):
        pass
    return pq.read_metadata(pa.BufferReader(sink.getvalue())).schema


def _declared(schema: pa.Schema, table: str) -> pa.Schema:
    """Return the schema with what may not be null marked: `required` in the file, whose footer then proves it."""
    return pa.schema([field.with_nullable(SCHEMAS[table][field.name].nullable) for field in schema])


def notes_of(path: Location) -> dict[str, Any]:
    """Return what was noted in a file of the lake; nothing where nothing was."""
    metadata = read_footer(path).metadata or {}
    return dict(json.loads(metadata[NOTES])) if NOTES in metadata else {}


def provenance_of(footer: pq.FileMetaData) -> Provenance | None:
    """Return what a file of this footer was made from; None where it does not say."""
    metadata = footer.metadata or {}
    return Provenance.from_json(metadata[PROVENANCE]) if PROVENANCE in metadata else None
