"""The files of regenie: phenotypes, covariates, people to keep and .sample (written), results of step 2 (read).

Layouts as regenie's documentation has them (docs/options.md, "Input" and "Output"). Running it is `engines/regenie.py`;
its predictions of step 1 are passed on unread.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from edp_assets.science.genetics.genotypes import read_sample_ids
from edp_assets.science.genetics.plink_tables import GenotypeError, normalise_chromosome
from edp_assets.science.genetics.tails import neg_log_10_p_from_chi2

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_A_FRAME = 131_072
"""Most rows of a frame that `read_step2` yields: some 20 MB, however long the file."""

TEXTS = ("CHROM", "ID", "ALLELE0", "ALLELE1", "TEST")
NUMBERS = ("GENPOS", "A1FREQ", "BETA", "SE", "LOG10P")
"""Columns that every version writes; INFO, N, CHISQ, EXTRA and those of cases and controls are there or not."""

NAMES = {
    "GENPOS": "base_pair_location", "ALLELE1": "effect_allele", "ALLELE0": "other_allele",
    "A1FREQ": "effect_allele_frequency", "BETA": "beta", "SE": "standard_error", "LOG10P": "neg_log_10_p_value",
    "ID": "rsid", "N": "n",
}  # fmt: skip
"""regenie's columns under GWAS-SSF's names."""


class RegenieFileError(ValueError):
    """A file that is not what regenie writes, or not all of it; or a table that it could not read."""


def read_people(path: Path) -> pl.DataFrame:
    """Return FID and IID of a genotype file's people, as regenie reads them, in the file's order.

    A .bgen has them from the .sample beside it (ID_1, ID_2); without one, FID is IID, as in the .sample that
    `write_sample` writes.

    Raises:
        GenotypeError: as `read_sample_ids`; and a .psam without FID, which regenie refuses.
    """
    iids = read_sample_ids(path)
    if path.suffix == ".bgen":
        beside = own_sample(path)
        fids = iids if beside is None else [line.split()[0] for line in _lines(beside)[2:]]
    elif path.suffix == ".bed":
        fids = [line.split()[0] for line in _lines(path.with_suffix(".fam"))]
    else:
        psam = path.with_suffix(".psam")
        lines = _lines(psam)
        header = next((line.split() for line in lines if line.startswith(("#FID", "#IID"))), [])
        if header[:2] != ["#FID", "IID"] or len(header) < 3:
            raise GenotypeError(
                f"{psam}: regenie wants a header of #FID, IID and a further column, found "
                f"{' '.join(header) or 'none'}; write it anew with plink2 --make-just-psam psam-cols=fid,sex"
            )
        fids = [line.split()[0] for line in lines if not line.startswith("#")]
    return pl.DataFrame({"FID": fids, "IID": iids}, schema={"FID": pl.String, "IID": pl.String})


def own_sample(bgen: Path) -> Path | None:
    """Return the .sample beside a .bgen where regenie takes it: its head is ID_1 ID_2 ..., then 0 0 ...; else None."""
    beside = bgen.with_suffix(".sample")
    if not beside.exists():
        return None
    head = [line.split()[:2] for line in _lines(beside)[:2]]
    return beside if head == [["ID_1", "ID_2"], ["0", "0"]] else None


def write_sample(path: Path, iids: list[str]) -> None:
    """Write a .sample of a .bgen's people in its order, FID = IID (--sample)."""
    path.write_text("ID_1 ID_2 missing\n0 0 0\n" + "".join(f"{iid} {iid} 0\n" for iid in iids))


def write_keep(path: Path, people: pl.DataFrame) -> None:
    """Write the people of an association: a line FID IID each, no header (--keep)."""
    people.select("FID", "IID").write_csv(path, separator=" ", include_header=False, quote_style="never")


def write_table(path: Path, people: pl.DataFrame, columns: pl.DataFrame) -> None:
    """Write phenotypes or covariates (--phenoFile, --covarFile): FID IID, then a column each; missing is NA.

    Args:
        path: the file.
        people: FID, IID.
        columns: numbers, a row a person in the order of `people`; NaN and null are missing.

    Raises:
        RegenieFileError: a name with white space, or an infinite value.
    """
    for name in columns.columns:
        if name.split() != [name]:
            raise RegenieFileError(f"{path.name}: wanted column names without white space, found {name!r}; rename it")
        infinite = int(columns[name].cast(pl.Float64).is_infinite().sum())
        if infinite:
            raise RegenieFileError(f"{path.name}: {name} is infinite for {infinite} people; leave them out or set NA")
    # Numbers are written in the fewest digits that give the same double again.
    table = people.select("FID", "IID").hstack(columns.select(pl.all().cast(pl.Float64).fill_nan(None)))
    table.write_csv(path, separator=" ", null_value="NA", quote_style="never")


def read_step2(
    path: Path, counts: dict[str, int], *, n: int | None = None, rows: int = ROWS_A_FRAME
) -> Iterator[pl.DataFrame]:
    """Yield the additive tests of one phenotype's .regenie or .regenie.gz.

    Args:
        path: a file of step 2, one phenotype (regenie's default, without --no-split).
        counts: is added to: `variants_read`, rows of the file; `test_failed`, left out as they have no statistic
            (EXTRA is TEST_FAIL, or NA or what is infinite stands in BETA, SE or LOG10P); `other_tests`, left out as
            TEST is not ADD.
        n: people analysed, for a file without N (regenie before 2.0); None leaves n null there.
        rows: most rows of a frame.

    Yields:
        chromosome (23 is X), base_pair_location, effect_allele (ALLELE1), other_allele (ALLELE0),
        effect_allele_frequency, beta, standard_error, neg_log_10_p_value, rsid (null for "."), n. All statistics are
        finite: where p underflowed, so that LOG10P is inf, it is that of CHISQ.

    Raises:
        RegenieFileError: missing, of another layout, or cut off.
    """
    import pyarrow as pa

    held: pl.DataFrame | None = None
    try:
        for batch in _batches(path):
            frame = _additive(pl.DataFrame(pa.Table.from_batches([batch])), counts, n)
            held = frame if held is None else pl.concat([held, frame])
            while held.height >= rows:
                yield held.head(rows)
                held = held.slice(rows)
        if held is not None and held.height:
            yield held
    except (pa.ArrowInvalid, OSError, EOFError) as error:
        raise RegenieFileError(f"{path} is cut off or damaged ({error}): delete it and run regenie again") from None


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Yield the file's rows as they are, in batches of some megabytes of text; its layout is looked at first."""
    import pyarrow as pa
    from pyarrow import csv

    packed = path.suffix == ".gz"
    if not path.is_file():
        raise RegenieFileError(f"{path} is missing: wanted regenie's results of step 2; run it again")
    with gzip.open(path, "rb") if packed else path.open("rb") as file:
        header = file.readline().decode(errors="replace").split()
        if not packed and path.stat().st_size:
            # A line cut off inside its last number would be read as another number.
            file.seek(-1, 2)
            if file.read(1) != b"\n":
                raise RegenieFileError(f"{path} is cut off: its last line has no end; delete it and run regenie again")
    absent = [name for name in (*TEXTS, *NUMBERS) if name not in header]
    if absent:
        raise RegenieFileError(
            f"{path}: wanted regenie's columns of step 2, one phenotype a file; {', '.join(absent)} not found in "
            f"its first line: {' '.join(header)[:200] or 'it is empty'}"
        )
    types: dict[str, Any] = dict.fromkeys((*TEXTS, "EXTRA"), pa.string()) | dict.fromkeys(NUMBERS, pa.float64())
    types |= {"GENPOS": pa.int64(), "N": pa.float64(), "CHISQ": pa.float64()}
    with csv.open_csv(
        pa.input_stream(str(path), compression="gzip" if packed else None),
        csv.ReadOptions(block_size=1 << 21, use_threads=False),
        csv.ParseOptions(delimiter=" ", quote_char=False),
        csv.ConvertOptions(
            column_types=types,
            include_columns=[name for name in header if name in types],
            null_values=["NA", "nan", "-nan"],
            strings_can_be_null=False,
        ),
    ) as reader:
        yield from reader


def _additive(raw: pl.DataFrame, counts: dict[str, int], n: int | None) -> pl.DataFrame:
    """Return the additive tests that have a statistic, under GWAS-SSF's names, and count the others."""
    additive = _without_underflow(raw.filter(pl.col("TEST") == "ADD"))
    sound = pl.all_horizontal(pl.col(name).is_finite().fill_null(value=False) for name in ("BETA", "SE", "LOG10P"))
    if "EXTRA" in raw.columns:
        sound &= ~pl.col("EXTRA").str.contains("TEST_FAIL", literal=True)
    tested = additive.filter(sound)
    for name, count in (
        ("variants_read", raw.height),
        ("other_tests", raw.height - additive.height),
        ("test_failed", additive.height - tested.height),
    ):
        counts[name] = counts.get(name, 0) + count
    if "N" not in tested.columns:
        tested = tested.with_columns(N=pl.lit(n, dtype=pl.Int64))
    return tested.select(
        normalise_chromosome(pl.col("CHROM")).alias("chromosome"),
        *(pl.col(name).alias(NAMES[name]) for name in ("GENPOS", "ALLELE1", "ALLELE0", "A1FREQ", "BETA", "SE")),
        pl.col("LOG10P").alias(NAMES["LOG10P"]),
        pl.col("ID").replace(".", None).alias(NAMES["ID"]),
        pl.col("N").cast(pl.Int64).alias(NAMES["N"]),
    )


def _without_underflow(tests: pl.DataFrame) -> pl.DataFrame:
    """Return the tests with LOG10P taken from CHISQ where it is inf: a variant of so small a p is the strongest hit."""
    underflowed = (pl.col("LOG10P") == math.inf).fill_null(value=False)
    if not tests.select(underflowed.any()).item():
        return tests
    chi2 = tests["CHISQ"] if "CHISQ" in tests.columns else (tests["BETA"] / tests["SE"]) ** 2
    exact = pl.Series(neg_log_10_p_from_chi2(chi2.to_numpy()))
    return tests.with_columns(LOG10P=pl.when(underflowed).then(exact).otherwise("LOG10P"))


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line.strip()]
