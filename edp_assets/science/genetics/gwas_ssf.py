"""Files of summary statistics in GWAS-SSF v1.0, with the metadata beside them (GWAS Catalog's standard).

Rows come in as frames and are written as they come; where they are from is `export`'s business.
"""

from __future__ import annotations

import gzip
import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl

VERSION = "GWAS-SSF v1.0"

MANDATORY = (
    "chromosome", "base_pair_location", "effect_allele", "other_allele", "beta", "standard_error",
    "effect_allele_frequency", "neg_log_10_p_value",
)  # fmt: skip
"""Columns that a file must have, in this order."""

COLUMNS = (*MANDATORY, "rsid", "n")

CHROMOSOME_NUMBERS = {**{str(i): i for i in range(1, 23)}, "X": 23, "Y": 24, "MT": 25}

DIGITS = 6
"""Significant digits of beta, its standard error, -log10 p and the frequency."""

SMALLEST = 1e-16
"""Written for a -log10 p of 0: in double precision the same p of 1, and the catalogue's validator refuses a 0."""

NOT_REPORTED = "NR"


@dataclass
class Written:
    """What was written: rows, those left out by reason, whether positions rise, the largest n, and the file's MD5."""

    rows: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    is_sorted: bool = True
    largest_n: int = 0
    md5: str = ""


def write_statistics(path: Path, frames: Iterable[pl.DataFrame]) -> Written:
    """Write summary statistics as .tsv.gz, in memory of one frame; the same rows give the same bytes.

    Left out, as the standard has no place for them: chromosomes other than 1 to 22, X (23), Y (24), MT (25), alleles
    that are no nucleotides, and variants without a statistic. An identifier that is no rsID becomes missing.

    Args:
        path: the file, put in its place when it is whole.
        frames: COLUMNS among the columns, chromosomes as 1 to 22, X, Y, MT; a chromosome's rows together.
    """
    written = Written()
    temporary = path.with_name(f".{path.name}.tmp")
    last: tuple[int, int] = (0, 0)
    try:
        with temporary.open("wb") as raw, gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
            packed.write(("\t".join(COLUMNS) + "\n").encode())
            for frame in frames:
                rows = _rows(frame, written)
                if rows.height:
                    last = _note_order(rows, last, written)
                    buffer = io.BytesIO()
                    rows.write_csv(buffer, separator="\t", include_header=False, null_value="#NA")
                    packed.write(buffer.getbuffer())
                    written.rows += rows.height
                    written.largest_n = max(written.largest_n, int(rows["n"].max() or 0))  # type: ignore[arg-type]
        written.md5 = md5_of(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return written


def write_metadata(path: Path, written: Written, about: dict[str, Any], today: date) -> Path:
    """Write what the standard wants to be known of a file beside it, as `<file>-meta.yaml`, and return that path.

    Args:
        path: the file of summary statistics.
        written: what `write_statistics` told of it.
        about: further fields of the standard; None is left out.
        today: when it was written.
    """
    import yaml

    fields = {
        "date_metadata_last_modified": today,
        **{name: value for name, value in about.items() if value is not None},
        "data_file_name": path.name,
        "file_type": VERSION,
        "data_file_md5sum": written.md5,
        "is_harmonised": False,
        "is_sorted": written.is_sorted,
        "coordinate_system": "1-based",
    }
    beside = path.with_name(f"{path.name}-meta.yaml")
    beside.write_text(yaml.safe_dump(fields, sort_keys=False, allow_unicode=True))
    return beside


def md5_of(path: Path) -> str:
    """Return a file's MD5, which the standard asks for, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _rows(frame: pl.DataFrame, written: Written) -> pl.DataFrame:
    """Return the rows as they are written, counting those left out."""
    nucleotides = r"(?i)^[ACGT]+$"
    rows = frame.select(COLUMNS).with_columns(
        pl.col("chromosome").replace_strict(CHROMOSOME_NUMBERS, default=None, return_dtype=pl.Int64),
        pl.col("beta", "standard_error", "effect_allele_frequency", "neg_log_10_p_value").round_sig_figs(DIGITS),
        pl.when(pl.col("rsid").str.contains(r"^rs[0-9]+$")).then("rsid").alias("rsid"),
    )
    numbers = pl.all_horizontal(pl.col("beta", "standard_error", "neg_log_10_p_value").is_finite())
    kept = {
        "another chromosome": pl.col("chromosome").is_not_null(),
        "alleles that are no nucleotides": pl.all_horizontal(
            pl.col(name).str.contains(nucleotides) for name in ("effect_allele", "other_allele")
        ),
        "no statistic": numbers.fill_null(False),
    }
    for reason, keep in kept.items():
        before = rows.height
        rows = rows.filter(keep)
        if rows.height < before:
            written.left_out[reason] = written.left_out.get(reason, 0) + before - rows.height
    return rows.with_columns(pl.col("neg_log_10_p_value").clip(lower_bound=SMALLEST))


def _note_order(rows: pl.DataFrame, last: tuple[int, int], written: Written) -> tuple[int, int]:
    """Note whether the rows go on where the last ones ended, and return where they end."""
    places = rows.select("chromosome", "base_pair_location")
    first = pl.DataFrame([last], schema=places.schema, orient="row")
    place = pl.concat([first, places]).select(pl.col("chromosome") * 2**32 + pl.col("base_pair_location")).to_series()
    written.is_sorted &= bool(place.is_sorted())
    return places.row(-1)
