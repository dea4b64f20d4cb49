"""Withdrawals: who left the study, and taking them out of every table.

Only the list of the withdrawn belongs here.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from edp_assets.cohort.config import Cohort
from edp_assets.cohort.problems import Problem
from edp_assets.cohort.reading import READ_ERRORS, Read, UnreadableError, read_text_table, records, require_file
from edp_assets.cohort.values import sound_eids


def read_withdrawn(cohort: Cohort) -> tuple[frozenset[str], list[Problem]]:
    """Return the eids of the withdrawn: one a line, with or without a header `eid`; an empty file is nobody.

    A list that cannot be read, or an eid that cannot be one, is "refused": it might hide someone who withdrew.
    """
    if cohort.withdrawn is None:
        return frozenset(), []
    return read_withdrawn_file(cohort.withdrawn, cohort.label(cohort.withdrawn))


def read_withdrawn_file(path: Path, file: str) -> tuple[frozenset[str], list[Problem]]:
    """Return the eids of one list as `read_withdrawn` does; `file` is its name in problems."""
    if path.suffix == ".parquet":
        frame, _, problems = read_text_table(path, file, lambda name: name == "eid", ["eid"])
        if frame is None:
            return frozenset(), problems
    else:
        try:
            require_file(path)
            frame = _read_lines(path, "\t" if ".tsv" in path.suffixes else ",")
        except UnreadableError as error:
            return frozenset(), error.problems(file)
        except READ_ERRORS as error:
            wanted, remedy = "a text file of eids, one a line", "write the file again, as UTF-8 text"
            return frozenset(), [Problem("refused", file, "", wanted, str(error) or "it ends too early", remedy)]
    sound, problems = sound_eids(frame, file)
    return frozenset(sound["eid"]), problems


def drop_withdrawn(read: Read, withdrawn: frozenset[str], file: str, stage: str) -> None:
    """Take the withdrawn out of the table; they are counted without their eids, which appear in no output."""
    gone = pl.col("eid").is_in(list(withdrawn))
    left_out = read.table.filter(gone)
    if left_out.height == 0:
        return
    read.table = read.table.filter(~gone)
    read.exclude(left_out, stage, "withdrawn", named=False)
    found = f"{left_out.height} rows of {left_out['eid'].n_unique()} participants who withdrew"
    wanted, remedy = "only participants of the study", "nothing: they are left out of everything"
    read.problems.append(Problem("note", file, "", wanted, found, remedy))


def _read_lines(path: Path, separator: str) -> pl.DataFrame:
    """Return the first column, or the one headed `eid`, with its row numbers; blank lines are skipped."""
    rows: list[tuple[int, str]] = []
    column = 0
    for row, record in enumerate(records(path, separator), start=1):
        cells = [cell.strip() for cell in record]
        if not rows and "eid" in cells:
            column = cells.index("eid")
        elif any(cells):
            rows.append((row, cells[column] if column < len(cells) else ""))
    frame = pl.DataFrame(rows, schema={"row": pl.Int64, "eid": pl.String}, orient="row")
    return frame.with_columns(pl.when(pl.col("eid") != "").then(pl.col("eid")))
