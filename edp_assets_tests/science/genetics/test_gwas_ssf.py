import gzip
import hashlib
from datetime import date
from pathlib import Path

import polars as pl
import pytest
import yaml

from edp_assets.science.genetics.gwas_ssf import COLUMNS, write_metadata, write_statistics


def rows(*values: tuple[object, ...]) -> pl.DataFrame:
    schema = {
        "chromosome": pl.String, "base_pair_location": pl.Int64, "effect_allele": pl.String, "other_allele": pl.String,
        "beta": pl.Float64, "standard_error": pl.Float64, "effect_allele_frequency": pl.Float64,
        "neg_log_10_p_value": pl.Float64, "rsid": pl.String, "n": pl.Int64,
    }  # fmt: skip
    return pl.DataFrame(values, schema=schema, orient="row").select(*reversed(COLUMNS))


def lines(path: Path) -> list[str]:
    return gzip.decompress(path.read_bytes()).decode().splitlines()


def test_write_statistics__columns_in_order_and_missing_values(tmp_path):
    path = tmp_path / "a.tsv.gz"
    frames = [
        rows(("1", 5, "A", "GT", -0.123456789, 1e-9, 0.25, 400.5, "rs7", 100)),
        rows(
            ("X", 6, "a", "c", 2.0, 0.5, 0.5, 0.0, "X:6_A_C", 99), ("MT", 7, "A", "C", 2.0, 0.5, None, 3.0, None, None)
        ),
    ]
    written = write_statistics(path, frames)
    assert lines(path) == [
        "chromosome\tbase_pair_location\teffect_allele\tother_allele\tbeta\tstandard_error\teffect_allele_frequency\t"
        "neg_log_10_p_value\trsid\tn",
        "1\t5\tA\tGT\t-0.123457\t1e-9\t0.25\t400.5\trs7\t100",
        "23\t6\ta\tc\t2.0\t0.5\t0.5\t1e-16\t#NA\t99",
        "25\t7\tA\tC\t2.0\t0.5\t#NA\t3.0\t#NA\t#NA",
    ]
    assert (written.rows, written.left_out, written.is_sorted, written.largest_n) == (3, {}, True, 100)
    assert written.md5 == hashlib.md5(path.read_bytes()).hexdigest()
    assert [file.name for file in tmp_path.iterdir()] == ["a.tsv.gz"]


def test_write_statistics__same_rows_same_bytes(tmp_path):
    frame = rows(("1", 5, "A", "G", 0.1, 0.1, 0.25, 4.0, "rs7", 100))
    first, second = (write_statistics(tmp_path / name, [frame]).md5 for name in ("a.tsv.gz", "b.tsv.gz"))
    assert first == second


def test_write_statistics__counts_what_the_standard_has_no_place_for(tmp_path):
    path = tmp_path / "a.tsv.gz"
    written = write_statistics(path, [rows(
        ("GL000191.1", 5, "A", "G", 0.1, 0.1, 0.25, 4.0, "rs7", 100),
        ("1", 5, "<DEL>", "G", 0.1, 0.1, 0.25, 4.0, "rs7", 100),
        ("1", 5, "A", None, 0.1, 0.1, 0.25, 4.0, "rs7", 100),
        ("1", 5, "A", "G", float("nan"), 0.1, 0.25, 4.0, "rs7", 100),
        ("1", 5, "A", "G", 0.1, 0.1, 0.25, float("inf"), "rs7", 100),
        ("1", 5, "A", "G", 0.1, 0.1, 0.25, 4.0, "rs7", 100),
    )])  # fmt: skip
    assert written.left_out == {"another chromosome": 1, "alleles that are no nucleotides": 2, "no statistic": 2}
    assert (written.rows, len(lines(path))) == (1, 2)


def test_write_statistics__tells_whether_positions_rise(tmp_path):
    row = ("A", "G", 0.1, 0.1, 0.25, 4.0, "rs7", 100)
    frames = [rows(("1", 5, *row), ("2", 3, *row)), rows(("2", 2, *row))]
    assert not write_statistics(tmp_path / "a.tsv.gz", frames).is_sorted
    assert write_statistics(tmp_path / "a.tsv.gz", frames[:1]).is_sorted


def test_write_statistics__a_failure_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "a.tsv.gz"
    path.write_bytes(b"earlier")
    with pytest.raises(pl.exceptions.ColumnNotFoundError):
        write_statistics(path, [rows(), pl.DataFrame({"chromosome": ["1"]})])
    assert path.read_bytes() == b"earlier"
    assert len(list(tmp_path.iterdir())) == 1


def test_write_metadata__stands_beside_the_file(tmp_path):
    path = tmp_path / "a.tsv.gz"
    written = write_statistics(path, [rows(("1", 5, "A", "G", 0.1, 0.1, 0.25, 4.0, "rs7", 100))])
    about = {"trait_description": ["Größe: 1"], "genome_assembly": "GRCh37", "author_notes": None}
    beside = write_metadata(path, written, about, date(2026, 1, 2))
    assert beside.name == "a.tsv.gz-meta.yaml"
    assert yaml.safe_load(beside.read_text()) == {
        "date_metadata_last_modified": date(2026, 1, 2), "trait_description": ["Größe: 1"], "genome_assembly": "GRCh37",
        "data_file_name": "a.tsv.gz", "file_type": "GWAS-SSF v1.0", "data_file_md5sum": written.md5,
        "is_harmonised": False, "is_sorted": True, "coordinate_system": "1-based",
    }  # fmt: skip
