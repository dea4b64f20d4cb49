"""Reader of the scans table: which files hold each participant's organ.

Which files there are belongs here; what is inside them is told by `scan_files`.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import polars as pl

from edp_assets.cohort.config import Cohort, did_you_mean
from edp_assets.cohort.problems import Problem, Severity
from edp_assets.cohort.reading import Read, read_text_table
from edp_assets.cohort.schema import SCANS, empty
from edp_assets.cohort.values import row_problems, sound_eids
from edp_assets.cohort.withdrawals import drop_withdrawn, read_withdrawn

STAGE = "scans"


def read_scans(cohort: Cohort, known: Collection[str] | None) -> Read:
    """Read the scans: one row an organ and eid, sorted by both, of files that exist.

    Columns: eid, organ, mask, mask_label (as `labels.parse_label` returns it; null: none given), and
    `image_<channel>` of every channel of the cohort's organs (null where the organ has no such channel); paths are
    absolute.

    Args:
        cohort: the cohort.
        known: eids of the participants; scans of anyone else are "excluded". None: not known, so nobody is.
    """
    read = read_scan_rows(cohort, known)
    read.table = read.table.drop("row")
    return read


def read_scan_rows(cohort: Cohort, known: Collection[str] | None) -> Read:
    """Read the scans as `read_scans` does, with their `row` in the file."""
    file = cohort.label(cohort.scans)
    withdrawn, _ = read_withdrawn(cohort)  # its problems are told by read_participants
    images = [f"image_{channel}" for channel in image_channels(cohort)]
    required = [*(name for name, column in SCANS.items() if column.required), *images]
    frame, header, problems = read_text_table(cohort.scans, file, lambda n: n in SCANS or n in images, required)
    columns = ["row", "eid", "organ", "mask", "mask_label", *images]
    if frame is None:
        nothing = empty(SCANS).with_columns(pl.lit(0).alias("row"), *(pl.lit("").alias(name) for name in images))
        return Read(nothing.select(columns), problems)
    frame, found = sound_eids(frame, file)
    for name in ("mask_label", "visit"):
        if name not in header:
            frame = frame.with_columns(pl.lit(None, dtype=pl.String).alias(name))
    read = Read(frame, problems + found)
    drop_withdrawn(read, withdrawn, file, STAGE)
    _drop_other_organs(read, cohort, file)
    drop_unknown(read, known, file, STAGE, cohort.label(cohort.participants))
    _parse_mask_label(read, file)
    _drop_missing_files(read, cohort, file)
    _check_label_names(read, file)
    _note_shared_files(read, images, file)
    _keep_first(read, file)
    read.table = read.table.select(columns).sort("organ", "eid")
    for organ in cohort.settings.organs:
        if not (read.table["organ"] == organ).any():
            remedy = f"add scans, or remove [organs.{organ}] from cohort.toml"
            found_text = f"no usable scan of {organ}"
            read.problems.append(Problem("refused", file, "", "a usable scan of every organ", found_text, remedy))
    return read


def image_channels(cohort: Cohort) -> list[str]:
    """Return the channels of all the cohort's organs, each once, in their order."""
    return list(dict.fromkeys(c for organ in cohort.settings.organs.values() for c in organ.channels))


def drop_unknown(read: Read, known: Collection[str] | None, file: str, stage: str, participants_file: str) -> None:
    """Take rows of eids that are no participants out of the table; each such eid is one "excluded" problem."""
    if known is None:
        return
    participants = pl.DataFrame({"eid": pl.Series(list(known), dtype=pl.String)})
    unknown = read.table.join(participants, on="eid", how="anti", maintain_order="left")
    read.table = read.table.join(participants, on="eid", how="semi", maintain_order="left")
    people = unknown.group_by("eid").agg(pl.col("row").min(), n=pl.len()).sort("row")
    wanted = f"an eid that {participants_file} has"
    remedy = f"add the participant to {participants_file}, or correct the eid; until then the rows are left out"
    found = pl.format("unknown eid {}, rows: {}", "eid", "n")
    read.problems += row_problems(people, "excluded", file, wanted, found, remedy)
    with_organ = ["eid", "organ"] if "organ" in unknown.columns else ["eid"]
    read.exclude(unknown.select(with_organ).unique(maintain_order=True), stage, "unknown eid")


def _drop_other_organs(read: Read, cohort: Cohort, file: str) -> None:
    organs = list(cohort.settings.organs)
    other = read.table.filter(~pl.col("organ").fill_null("").is_in(organs))
    wanted = f"an organ of cohort.toml: {', '.join(organs)}"
    for (organ,), rows in other.group_by("organ", maintain_order=True):
        meant = did_you_mean(str(organ or ""), organs)
        found = f'organ "{organ or ""}"{meant}'
        remedy = "correct the organ's name, or add its section to cohort.toml; until then the rows are left out"
        # Scans of organs that nobody asked for are no mistake; a misspelt or absent name is.
        severity: Severity = "excluded" if meant or not organ else "note"
        read.problems += row_problems(rows.select("row", "eid"), severity, file, wanted, pl.lit(found), remedy)
    read.exclude(other, STAGE, "organ not in cohort.toml")
    read.table = read.table.filter(pl.col("organ").fill_null("").is_in(organs))


def _parse_mask_label(read: Read, file: str) -> None:
    """Bring mask labels to one form; one that is neither numbers nor names is refused."""
    from edp_assets.science.imaging.labels import WANTED, parse_label

    parsed: dict[str, str | None] = {}
    for text in read.table["mask_label"].drop_nulls().unique():
        try:
            parsed[text] = parse_label(text)
        except ValueError:
            parsed[text] = None
    wrong = read.table.filter(pl.col("mask_label").is_in([text for text, label in parsed.items() if label is None]))
    found = pl.format('mask_label is "{}"', "mask_label")
    remedy = "correct the label, or leave it empty for all non-zero voxels"
    read.problems += row_problems(wrong, "refused", file, WANTED, found, remedy)
    read.table = read.table.with_columns(pl.col("mask_label").replace_strict(parsed, return_dtype=pl.String))


def _check_label_names(read: Read, file: str) -> None:
    """Refuse label names that neither TotalSegmentator nor the mask has; the first mask of each label is opened."""
    from edp_assets.science.imaging.labels import unknown_names
    from edp_assets.science.imaging.nifti import ImageError, read_label_names

    first = read.table.filter(pl.col("mask_label").is_not_null()).unique(
        "mask_label", keep="first", maintain_order=True
    )
    for row in first.iter_rows(named=True):
        if not unknown_names(row["mask_label"], {}):
            continue
        try:
            own = read_label_names(row["mask"])
        except ImageError:
            own = {}  # told where the scans themselves are read
        if names := unknown_names(row["mask_label"], own):
            found = ", ".join(f'"{name}"{near}' for name, near in names.items())
            wanted = "label names of the mask file or of TotalSegmentator"
            remedy = "correct mask_label, or give the label's number"
            where = f"row {row['row']}, eid {row['eid']}, {row['organ']}"
            read.problems.append(Problem("refused", file, where, wanted, f"unknown label name {found}", remedy))


def _drop_missing_files(read: Read, cohort: Cohort, file: str) -> None:
    """Make paths absolute; scans whose files are not there, or empty, are left out."""
    sizes: dict[str, int | None] = {}
    reasons: list[tuple[str | None, str]] = []
    paths: dict[str, list[str | None]] = {
        name: [] for name in read.table.columns if name == "mask" or name.startswith("image_")
    }
    for row in read.table.select("organ", *paths).iter_rows(named=True):
        needed = ["mask", *(f"image_{channel}" for channel in cohort.settings.organs[row["organ"]].channels)]
        absent, without = [], []
        for name, written in paths.items():
            path = os.path.normpath(os.path.join(cohort.folder, row[name])) if row[name] and name in needed else None
            written.append(path)
            if name not in needed:
                continue
            if path is None:
                absent.append(f"no path in {name}")
                continue
            if path not in sizes:
                sizes[path] = _size(path)
            if sizes[path] is None:
                absent.append(f"{name}: no file {row[name]}")
            elif sizes[path] == 0:
                without.append(f"{name}: {row[name]} is empty")
        reason = "missing file" if absent else "empty file" if without else None
        reasons.append((reason, "; ".join(absent + without)))
    table = read.table.with_columns(
        *(pl.Series(name, values, dtype=pl.String) for name, values in paths.items()),
        pl.Series("reason", [reason for reason, _ in reasons], dtype=pl.String),
        pl.Series("found", [found for _, found in reasons], dtype=pl.String),
    )
    wrong = table.filter(pl.col("reason").is_not_null())
    remedy = "put the file there, or correct its path (relative to cohort.toml); until then the scan is left out"
    shown = wrong.select("row", "eid", "organ", "found")
    wanted = "a mask and an image of every channel, in files that exist"
    read.problems += row_problems(shown, "excluded", file, wanted, pl.col("found"), remedy)
    read.exclude(wrong, STAGE, pl.col("reason"))
    read.table = table.filter(pl.col("reason").is_null()).drop("reason", "found")


def _size(path: str) -> int | None:
    return os.stat(path).st_size if os.path.isfile(path) else None


def _note_shared_files(read: Read, images: list[str], file: str) -> None:
    """Tell of files that stand beside more than one eid: a slip that nothing later would notice."""
    long = read.table.unpivot(on=["mask", *images], index=["eid", "row"], value_name="path").drop_nulls("path")
    shared = long.group_by("path").agg(pl.col("eid").n_unique().alias("n"), pl.col("row").unique().sort())
    for path, _, rows in shared.filter(pl.col("n") > 1).sort("path").iter_rows():
        where = f"rows {', '.join(str(row) for row in rows)}"
        wanted, remedy = "files of one participant each", "correct the paths, unless it is meant"
        found = f"one file for several participants: {Path(path).name}"
        read.problems.append(Problem("note", file, where, wanted, found, remedy))


def _keep_first(read: Read, file: str) -> None:
    """Keep one row an eid, organ and visit, the first in the file; then the first visit, sorted (2 before 10)."""
    shown = ["row", "eid", "organ", "visit"]
    first = pl.col("row") == pl.col("row").min().over("eid", "organ", pl.col("visit").fill_null(""))
    again = read.table.filter(~first).select(shown)
    found = pl.lit("a row that repeats eid, organ and visit of an earlier one")
    remedy = "remove the row that is wrong; until then the first one is used"
    wanted = "one row an eid, organ and visit"
    read.problems += row_problems(again, "excluded", file, wanted, found, remedy)
    read.exclude(again, STAGE, "duplicate scan")
    table = read.table.filter(first).sort(
        pl.col("visit").cast(pl.Float64, strict=False), "visit", "row", nulls_last=True
    )
    read.table = table.unique(["eid", "organ"], keep="first", maintain_order=True)
    later = table.join(read.table.select("row"), on="row", how="anti").select(shown).sort("row")
    if later.height:
        n = later.height
        where = "" if n > 1 else f"row {later['row'][0]}"
        found_text = f"{n} scans of later visits"
        remedy = "nothing: the first visit is used"
        wanted = "one visit a participant and organ"
        read.problems.append(Problem("note", file, where, wanted, found_text, remedy))
        read.exclude(later, STAGE, "later visit")
