"""Binary labels beside ICD-10, such as medication: read from a long or a 0/1 table into cases of `set.label`.

Only label sets belong here; ICD-10 codes are in `labels`, their table's reader is in `tables`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

import polars as pl

from edp_assets.cohort.config import FILE, Cohort, did_you_mean
from edp_assets.cohort.problems import Problem
from edp_assets.cohort.reading import Read, read_text_table
from edp_assets.cohort.scans import drop_unknown
from edp_assets.cohort.values import row_problems, sound_eids
from edp_assets.cohort.withdrawals import drop_withdrawn, read_withdrawn
from edp_assets.settings import LabelSettings

NAME = r"^[A-Za-z0-9_-]+$"
"""Labels name partitions and files."""

STAGE = "binary_labels"
SCHEMA = {"icd10": pl.String, "eid": pl.String, "label_set": pl.String}


def label_set(key: str) -> str:
    """Return the set of a phenotype's label: icd10 for an ICD-10 code, else what stands before the dot.

    >>> label_set("K76"), label_set("medication.metformin")
    ('icd10', 'medication')
    """
    return key.partition(".")[0] if "." in key else "icd10"


def read_label_sets(cohort: Cohort, known: Collection[str] | None) -> Read:
    """Read every label set of the cohort: unique rows of icd10 (`set.label`), eid, label_set, sorted.

    A long table has the columns eid and label, a row a person with the label. A wide one has eid and a column of 0 and
    1 for each label; an empty field counts as 0, noted. Who is not in the table does not have the label.

    Args:
        cohort: the cohort.
        known: eids of the participants; rows of anyone else are "excluded". None: not known, so nobody is.
    """
    whole = Read(pl.DataFrame(schema=SCHEMA))
    frames = [whole.table]
    for name in cohort.label_tables:
        read = _read_set(cohort, name, known)
        table = read.table.with_columns(icd10=pl.format("{}.{}", pl.lit(name), "label"), label_set=pl.lit(name))
        frames.append(table.select(list(SCHEMA)))
        whole.problems += read.problems
        whole.excluded = pl.concat([whole.excluded, read.excluded])
    whole.table = pl.concat(frames).unique().sort("icd10", "eid")
    return whole


def choose_labels(
    table: pl.DataFrame, imaged_eids: Iterable[str], settings: LabelSettings
) -> tuple[list[str], list[Problem]]:
    """Choose the labels that become phenotypes: those asked for, else all, with `min_cases` of the imaged.

    Args:
        table: as `read_label_sets` gives it.
        imaged_eids: the imaging cohort.
        settings: the sets.

    Returns:
        The labels' keys, and an "excluded" problem for each asked for that has too few cases.
    """
    imaged = pl.DataFrame({"eid": pl.Series(list(imaged_eids), dtype=pl.String).unique()})
    counts = dict(table.join(imaged, on="eid", how="semi").group_by("icd10").len().iter_rows())
    chosen: list[str] = []
    problems: list[Problem] = []
    for name, of_set in settings.sets.items():
        there = sorted(key for key in counts if label_set(key) == name)
        wanted = f"at least {of_set.min_cases} people with the label in the imaging cohort"
        for key in [f"{name}.{label}" for label in of_set.labels] or there:
            if counts.get(key, 0) >= of_set.min_cases:
                chosen += [key] if key not in chosen else []
            elif of_set.labels:
                found = f"{counts.get(key, 0)}{'' if key in counts else did_you_mean(key, there)}"
                where, remedy = f"[labels.sets.{name}] labels, {key!r}", "remove the label, or lower its min_cases"
                problems.append(Problem("excluded", FILE, where, wanted, found, remedy))
        if not of_set.labels and not any(label_set(key) == name for key in chosen):
            where, remedy = f"[labels.sets.{name}] min_cases", "lower min_cases, or remove the set"
            problems.append(Problem("excluded", FILE, where, wanted, f"no label of {len(there)} has as many", remedy))
    return chosen, problems


def _read_set(cohort: Cohort, name: str, known: Collection[str] | None) -> Read:
    """Return rows of label, eid, not yet unique."""
    path = cohort.label_tables[name]
    file = cohort.label(path)
    withdrawn, _ = read_withdrawn(cohort)  # its problems are told by read_participants
    frame, header, problems = read_text_table(path, file, lambda _: True, ["eid"])
    nothing = pl.DataFrame(schema={"label": pl.String, "eid": pl.String})
    if frame is None:
        return Read(nothing, problems)
    columns = [column for column in header if column != "eid"]
    if not columns:
        wanted, remedy = "a column label, or a 0/1 column for each label", "add the labels"
        problems.append(Problem("refused", file, "header", wanted, "eid alone", remedy))
        return Read(nothing, problems)
    frame, found = sound_eids(frame, file)
    read = Read(frame, problems + found)
    drop_withdrawn(read, withdrawn, file, STAGE)
    drop_unknown(read, known, file, STAGE, cohort.label(cohort.participants))
    if "label" in columns:
        read.table = read.table.select("row", "eid", "label")
        _require_names(read, file)
    else:
        read.table = _unpivoted(read, columns, file)
    read.table = read.table.select("label", "eid")
    return read


def _require_names(read: Read, file: str) -> None:
    """Refuse rows whose label cannot name a partition."""
    wrong = ~pl.col("label").fill_null("").str.contains(NAME)
    wanted, remedy = "a label of letters, digits, _ and - in every row", "rename the label, or remove the row"
    text = pl.format('"{}"', pl.col("label").fill_null(""))
    rows = read.table.filter(wrong).select("row", "eid", "label")
    read.problems += row_problems(rows, "refused", file, wanted, text, remedy)
    read.table = read.table.filter(~wrong)


def _unpivoted(read: Read, columns: list[str], file: str) -> pl.DataFrame:
    """Return the ones of a 0/1 table as rows; anything but 0, 1 and empty is refused."""
    for column in columns:
        if not re.fullmatch(NAME, column):
            wanted, remedy = "labels of letters, digits, _ and -", "rename the column"
            read.problems.append(Problem("refused", file, "header", wanted, f'"{column}"', remedy))
    again = read.table.filter(pl.col("eid").is_duplicated()).select("row", "eid")
    remedy = "keep the row that is right, or write one row a person and label under eid, label"
    several = pl.lit("several rows of one eid")
    read.problems += row_problems(again, "refused", file, "one row a person", several, remedy)
    long = read.table.unpivot(columns, index=["row", "eid"], variable_name="label", value_name="value")
    number = pl.col("value").cast(pl.Float64, strict=False)
    wrong = long.filter(pl.col("value").is_not_null() & ~number.is_in([0.0, 1.0]).fill_null(False))
    text = pl.format('{} is "{}"', "label", "value")
    remedy = "write 1 for people with the label and 0 for the others, or a table of eid, label"
    read.problems += row_problems(wrong.select("row", "eid", "label", "value"), "refused", file, "0 or 1", text, remedy)
    if blanks := long["value"].null_count():
        found, remedy = f"{blanks} empty fields", "fill them in; until then they count as 0"
        read.problems.append(Problem("note", file, "", "0 or 1 in every field", found, remedy))
    return long.filter(number == 1.0)
