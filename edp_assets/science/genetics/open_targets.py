"""Open Targets' tables of variants and genes, as published: V2G rows, V2G scored, L2G; and a table made by hand.

Each is scanned once, by DuckDB within a memory bound, and only what lies at the cohort's variants is kept. Which
associated variant goes to which gene is in `genes.py`.

The overall V2G score (Open Targets Genetics, "Assigning variants to genes"): scores within a source and feature (a
tissue or cell type) become deciles, the source's score of a pair is the largest over its features, and the overall
score is the weighted sum over sources by the sum of all weights, so that a source which is silent counts as 0. The
weights are those of release 22.10; they give back the published overall scores (see the tests).
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import polars as pl

from edp_assets.science.genetics.open_targets_sql import BEST, FRAGMENTS, LEADS, MEMBERS, PAIRS, SHARED

if TYPE_CHECKING:
    import duckdb

TABLE_COLUMNS = {
    "variant_id": pl.String, "rsid": pl.String, "gene": pl.String, "gene_id": pl.String, "score": pl.Float64
}  # fmt: skip
"""Columns of a table made by hand: variant_id is chr_pos_ref_alt; a row a variant and gene."""

BEST_GENE_COLUMNS = {"chromosome": pl.String, "base_pair_location": pl.Int64, **TABLE_COLUMNS}
"""What comes out: a row a variant."""

RAW_COLUMNS = (
    "chr_id", "position", "ref_allele", "alt_allele", "variant_id", "rs_id", "gene_chr", "gene_id", "gene_start",
    "gene_end", "gene_name", "feature", "type_id", "source_id", "csq_counts", "qtl_beta", "qtl_se", "qtl_pval",
    "interval_score",
)  # fmt: skip
"""Columns of the first releases' rows, whose files have no header."""

LAYOUTS: dict[str, tuple[str, ...]] = {
    "table": tuple(TABLE_COLUMNS),
    "v2g_scored": ("chr_id", "position", "ref_allele", "alt_allele", "gene_id", "overall_score"),
    "v2g_deciles": (
        "chr_id", "position", "ref_allele", "alt_allele", "gene_id", "type_id", "source_id", "fpred_max_score",
        "qtl_score_q", "interval_score_q", "distance_score_q",
    ),
    "v2g_raw": (
        "chr_id", "position", "ref_allele", "alt_allele", "rs_id", "gene_id", "gene_name", "gene_start", "gene_end",
        "feature", "type_id", "source_id", "qtl_pval", "interval_score",
    ),
    "l2g_portal": ("chrom", "pos", "ref", "alt", "gene_id", "y_proba_full_model"),
    "l2g": ("studyLocusId", "geneId", "score"),
}  # fmt: skip
"""Columns that tell a layout, in the order in which they are tried."""

BUILD_OF_LAYOUT = {"v2g_scored": "GRCh38", "v2g_deciles": "GRCh38", "l2g_portal": "GRCh38", "l2g": "GRCh38"}
"""Layouts that were published in one build only."""

WITHOUT_RSIDS = tuple(BUILD_OF_LAYOUT)

CREDIBLE_SET_COLUMNS = ("studyLocusId", "variantId")

MIN_SHARED = 20
"""Fewest rsids in both the table and the genotypes by which their builds are compared."""


@dataclass(frozen=True)
class Matched:
    """How a table fits the genotypes: variants by position, those of them and beyond by rsid, and the builds' evidence.

    Attributes:
        layout: one of LAYOUTS.
        variants: variants of the table that were kept.
        shared_rsids: variants with an rsid that the genotypes have.
        shared_elsewhere: of these, those at another position.
    """

    layout: str
    variants: int
    shared_rsids: int
    shared_elsewhere: int


class GeneTableError(ValueError):
    """A table of variants and genes that is of no known layout, or of another genome build."""


def same_build(path: Path, layout: str, table_build: str | None, genome_build: str) -> bool:
    """Return whether positions of a table are those of the genotypes; else its variants are joined by rsid alone.

    Args:
        path: the table, for messages.
        layout: one of LAYOUTS.
        table_build: the table's genome build as the cohort tells it; None: the layout's, else the genotypes'.
        genome_build: the genotypes'.

    Raises:
        GeneTableError: the builds differ, and the layout has no rsids.
    """
    build = table_build or BUILD_OF_LAYOUT.get(layout, genome_build)
    if build == genome_build:
        return True
    if layout in WITHOUT_RSIDS:
        raise GeneTableError(
            f"{path}: the table ({layout}) is of {build}, the genotypes are of {genome_build}, and it has no rsids to "
            'join by. Lift either over to the other build, or name the table\'s build ([genes] build = "...") if it is '
            "another"
        )
    return False


def layout_of(path: Path) -> str:
    """Return which of LAYOUTS a file, or a folder of Parquet parts, has.

    Raises:
        GeneTableError: it has none, or is another kind of file.
    """
    return _layout(path, _header(path))


@contextmanager
def best_genes(
    path: Path,
    variants: Iterable[pl.DataFrame],
    *,
    by_position: bool = True,
    credible_sets: Path | None = None,
    memory: str = "1GB",
) -> Iterator[tuple[Matched, Iterator[pl.DataFrame]]]:
    """Scan a table of variants and genes, and give the best gene of each variant that the genotypes hold.

    Of a variant's genes the one of the highest score is kept; of equal scores (deciles make them frequent) the nearest,
    where the table says how far, else the first in the alphabet. Use within `with`: the work lies in a temporary
    folder, which goes with it.

    Args:
        path: .parquet, .csv, .tsv (these may be .gz), or a folder of .parquet parts, in one of LAYOUTS.
        variants: frames with chromosome, base_pair_location, rsid: the genotypes' variants.
        by_position: whether positions of both are of one genome build; else variants are found by rsid alone.
        credible_sets: for `l2g`, the release's table that says which variants a studyLocusId is of.
        memory: what DuckDB may hold; beyond it, it writes to the temporary folder.

    Yields:
        How the table fits, and frames with BEST_GENE_COLUMNS by chromosome and position (variant_id null where it was
        found by rsid alone).

    Raises:
        GeneTableError: no known layout, no credible sets for `l2g`, scores that are no number, or positions of another
            genome build than the genotypes'.
    """
    import duckdb

    layout = layout_of(path)
    with TemporaryDirectory(prefix="edp-genes-") as scratch, duckdb.connect() as connection:
        connection.execute("SET preserve_insertion_order = false")
        connection.execute(f"SET temp_directory = '{_quoted(scratch)}'")
        connection.execute(f"SET memory_limit = '{_quoted(memory)}'")
        connection.execute("CREATE TABLE wanted (chromosome VARCHAR, position BIGINT, rsid VARCHAR)")
        for frame in variants:
            chosen = frame.select("chromosome", pl.col("base_pair_location").alias("position"), "rsid").to_arrow()
            connection.register("chosen", chosen)
            connection.execute("INSERT INTO wanted SELECT chromosome, position, rsid FROM chosen")
            connection.unregister("chosen")
        _views(connection, path, layout, credible_sets)
        matched = _match(connection, path, layout, by_position)
        yield matched, _frames(connection)


def _match(connection: duckdb.DuckDBPyConnection, path: Path, layout: str, by_position: bool) -> Matched:
    """Fill the table `best` from `pairs`, and compare the builds."""
    connection.execute(BEST, [by_position])
    variants, shared, elsewhere = connection.execute(SHARED).fetchall()[0]
    if by_position and shared >= MIN_SHARED and elsewhere > shared / 2:
        raise GeneTableError(
            f"{path}: of {shared} variants that have an rsid of the genotypes, {elsewhere} lie at another position: "
            "the table is of another genome build. Give the table of the cohort's build, or name the table's own "
            '([genes] build = "..." in cohort.toml), and variants are joined by rsid alone'
        )
    return Matched(layout, variants, shared, elsewhere)


def _frames(connection: duckdb.DuckDBPyConnection) -> Iterator[pl.DataFrame]:
    columns = ", ".join(BEST_GENE_COLUMNS)
    found = connection.sql(f"SELECT {columns} FROM best ORDER BY ALL")  # noqa: S608
    for batch in found.to_arrow_reader(65_536):
        yield pl.DataFrame(batch).cast(BEST_GENE_COLUMNS)  # type: ignore[arg-type]


def check_table(path: Path, credible_sets: Path | None = None) -> str:
    """Return a table's layout after reading what shows that it can be used; raises GeneTableError as `best_genes`."""
    import duckdb

    layout = layout_of(path)
    with duckdb.connect() as connection:
        _views(connection, path, layout, credible_sets)
    return layout


def _views(connection: duckdb.DuckDBPyConnection, path: Path, layout: str, credible_sets: Path | None) -> None:
    """Create the view `pairs` over the files."""
    _relation(connection, path).create_view("published")
    if layout == "table":
        _check_scores(connection, path)
    if layout == "l2g":
        if credible_sets is None:
            raise GeneTableError(
                f"{path}: L2G names loci, not variants; give the credible sets of the same release as well, "
                'credible_sets = "..." in cohort.toml'
            )
        _relation(connection, credible_sets).create_view("published_sets")
    connection.execute("CREATE TABLE IF NOT EXISTS wanted (chromosome VARCHAR, position BIGINT, rsid VARCHAR)")
    connection.execute(PAIRS[layout].format(**FRAGMENTS, credible=_credible(connection, layout)))


def _header(path: Path) -> list[str]:
    """Return the names of a table's columns; those of the first releases' rows where there is no header."""
    name = path.name.lower()
    parts = _parts(path)
    if parts:
        return list(pl.read_parquet_schema(parts[0]))
    if not name.removesuffix(".gz").endswith((".csv", ".tsv")):
        raise GeneTableError(f"{path}: wanted .parquet, .csv or .tsv, found {path.suffix or 'no suffix'}")
    with gzip.open(path, "rt") if name.endswith(".gz") else path.open() as file:
        fields = file.readline().rstrip("\r\n").split(_separator(path))
    if len(fields) == len(RAW_COLUMNS) and fields[1].isdigit():
        return list(RAW_COLUMNS)
    return fields


def _layout(path: Path, header: list[str]) -> str:
    for layout, columns in LAYOUTS.items():
        if set(columns) <= set(header):
            return layout
    missing = [column for column in TABLE_COLUMNS if column not in header]
    raise GeneTableError(
        f"{path}: wanted the columns {', '.join(TABLE_COLUMNS)}; {', '.join(missing)} missing, "
        f"found {', '.join(header)}. Open Targets' own V2G and L2G tables are read as well, with their columns"
    )


def _parts(path: Path) -> list[Path]:
    """Return the Parquet files that a path stands for; none where it is of another kind."""
    if path.is_dir():
        found = sorted(path.glob("**/*.parquet"))
        if not found:
            raise GeneTableError(f"{path}: wanted a folder of .parquet files, found none in it")
        return found
    return [path] if path.name.lower().endswith(".parquet") else []


def _separator(path: Path) -> str:
    return "\t" if path.name.lower().removesuffix(".gz").endswith(".tsv") else ","


def _relation(connection: duckdb.DuckDBPyConnection, path: Path) -> duckdb.DuckDBPyRelation:
    """Return the file as a relation, read as it is used; texts stay texts."""
    parts = _parts(path)
    if parts:
        return connection.read_parquet([str(part) for part in parts])
    header = _header(path)
    with gzip.open(path, "rt") if path.name.lower().endswith(".gz") else path.open() as file:
        named = file.readline().rstrip("\r\n").split(_separator(path)) == header
    return connection.read_csv(
        str(path), sep=_separator(path), header=named, names=header, all_varchar=True, na_values=["", "NA", "#NA"]
    )


def _credible(connection: duckdb.DuckDBPyConnection, layout: str) -> str:
    """Return SQL for the variants of each locus: those of its credible set where the table has them, and its lead."""
    if layout != "l2g":
        return ""
    columns = {name for name, *_ in connection.execute("DESCRIBE published_sets").fetchall()}
    if missing := [column for column in CREDIBLE_SET_COLUMNS if column not in columns]:
        raise GeneTableError(f"credible sets: wanted the columns studyLocusId, variantId; {', '.join(missing)} missing")
    return LEADS if "locus" not in columns else f"{LEADS} UNION {MEMBERS}"


def _check_scores(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    wrong, first = connection.execute(
        "SELECT count(*), any_value(score) FROM published WHERE score IS NOT NULL AND try_cast(score AS DOUBLE) IS NULL"
    ).fetchall()[0]
    if wrong:
        raise GeneTableError(f"{path}: {wrong} scores are no number, the first is {first!r}")


def _quoted(text: str) -> str:
    """Return a text for a quoted literal: SET takes no parameters."""
    return text.replace("'", "''")
