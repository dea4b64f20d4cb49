import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edp_assets.science.genetics.genotypes import GenotypeError, open_genotypes, read_sample_ids
from edp_assets_tests.science.genetics.bgen_writer import COMPRESSIONS, Variant, hard_calls, write_bgen

TINY = np.array([[0, 1, 2, np.nan, 0], [2, 2, 1, 0, np.nan], [0, 0, 0, 0, 1]])
PEOPLE = ["p0", "p1", "p2", "p3", "p4"]


@st.composite
def any_variant(draw: st.DrawFn, n: int) -> Variant:
    bits, phased = draw(st.integers(1, 32)), draw(st.booleans())
    top = 2**bits - 1
    ploidy = np.array(draw(st.lists(st.sampled_from([1, 2]), min_size=n, max_size=n)))
    stored = []
    for each in ploidy:
        first = draw(st.integers(0, top))
        second = draw(st.integers(0, top if phased else top - first))
        stored.append((first,) if each == 1 else (first, second))
    missing = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    return Variant(stored, ploidy, missing, bits, phased, position=draw(st.integers(0, 2**31 - 1)))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data(), compression=st.sampled_from(list(COMPRESSIONS)))
def test_open_genotypes__bgen_round_trip(tmp_path: Path, data: st.DataObject, compression: str):
    n = data.draw(st.integers(1, 7))
    variants = data.draw(st.lists(any_variant(n), min_size=1, max_size=5))
    ids = [f"s{i}" for i in range(n)]
    samples = np.array(data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=9)))
    expected = np.stack([variant.dosage for variant in variants])
    with open_genotypes(write_bgen(tmp_path / "x.bgen", variants, ids, compression)) as file:
        assert file.sample_ids == ids
        assert file.variants["base_pair_location"].to_list() == [variant.position for variant in variants]
        np.testing.assert_allclose(file.read(0, len(variants)), expected, atol=1e-6)
        np.testing.assert_allclose(file.read(0, len(variants), samples), expected[:, samples], atol=1e-6)
        parts = [part for _, _, part in file.blocks(2)]
        np.testing.assert_allclose(np.concatenate(parts), expected, atol=1e-6)


def test_open_genotypes__bgen_counts_the_second_allele(tmp_path: Path):
    variants = hard_calls(TINY, chromosome="chr07", alleles=("G", "AT"))
    with open_genotypes(write_bgen(tmp_path / "x.bgen", variants, PEOPLE)) as file:
        assert file.variants.row(1) == ("7", 100, "rs1", "AT", "G")
        assert file.variants.columns == ["chromosome", "base_pair_location", "rsid", "effect_allele", "other_allele"]
        np.testing.assert_array_equal(file.read(0, 3), TINY)
        assert file.read(0, 3).dtype == np.float32
        assert file.read(1, 1).shape == (0, 5)


def test_read__of_a_bgen_in_any_order_of_variants(tmp_path: Path):
    G = np.random.default_rng(0).integers(0, 3, (20, 5)).astype(float)
    with open_genotypes(write_bgen(tmp_path / "x.bgen", hard_calls(G), PEOPLE, "zstd")) as file:
        for start, stop in ((15, 20), (3, 4), (4, 9), (0, 20), (19, 20), (0, 1)):
            np.testing.assert_array_equal(file.read(start, stop), G[start:stop])


def test_open_genotypes__bgen_of_regenie_is_the_pgen_of_the_other_allele(regenie: Path):
    with open_genotypes(regenie / "example.bgen") as bgen, open_genotypes(regenie / "example.pgen") as pgen:
        assert bgen.sample_ids == pgen.sample_ids  # the file's own are 1_1, 2_2, ...
        assert bgen.variants["effect_allele"].equals(pgen.variants["other_allele"], check_names=False)
        assert bgen.variants["other_allele"].equals(pgen.variants["effect_allele"], check_names=False)
        assert bgen.variants.select("chromosome", "base_pair_location", "rsid").equals(
            pgen.variants.select("chromosome", "base_pair_location", "rsid")
        )
        np.testing.assert_array_equal(bgen.read(0, 1000), 2 - pgen.read(0, 1000))
        samples = np.array([7, 3, 499, 0])
        np.testing.assert_array_equal(bgen.read(10, 20, samples), 2 - pgen.read(10, 20, samples))


def write_index(path: Path, other_size: int = 0) -> None:
    """Write bgenix's index of a .bgen that a library reads without one."""
    with open_genotypes(path) as file:
        variants = file.variants
    from bgen import BgenReader

    with BgenReader(str(path), delay_parsing=True) as reader, sqlite3.connect(f"{path}.bgi") as index:
        index.execute("CREATE TABLE Variant (chromosome TEXT, position INT, rsid TEXT, number_of_alleles INT, "
                      "allele1 TEXT, allele2 TEXT, file_start_position INT, size_in_bytes INT)")  # fmt: skip
        for variant, row in zip(reader, variants.iter_rows(named=True), strict=True):
            values = (
                row["chromosome"], row["base_pair_location"], row["rsid"] or ".", 2, row["other_allele"],
                row["effect_allele"], variant.fileoffset, variant.next_variant_offset - variant.fileoffset + other_size,
            )  # fmt: skip
            index.execute("INSERT INTO Variant VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
    index.close()


def test_open_genotypes__bgen_with_its_index(tmp_path: Path):
    path = write_bgen(tmp_path / "x.bgen", hard_calls(TINY), PEOPLE)
    with open_genotypes(path) as file:
        without = file.variants
    write_index(path)
    with open_genotypes(path) as file:
        assert file.variants.equals(without)
        np.testing.assert_array_equal(file.read(1, 3), TINY[1:])
        np.testing.assert_array_equal(file.read(0, 2), TINY[:2])
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(GenotypeError, match=r"x\.bgen is truncated: by its index x\.bgen\.bgi it has \d+ bytes, found"):
        open_genotypes(path)


def test_open_genotypes__bgen_with_the_index_of_another(tmp_path: Path):
    path = write_bgen(tmp_path / "x.bgen", hard_calls(TINY), PEOPLE)
    write_index(path)
    write_bgen(path, hard_calls(np.concatenate([TINY, TINY])), PEOPLE)
    with pytest.raises(GenotypeError, match=r"does not fit x\.bgen: it covers bytes .* remove it, or make it again"):
        open_genotypes(path)
    Path(f"{path}.bgi").write_bytes(b"no database, but long enough to be read as one" * 20)
    with pytest.raises(GenotypeError, match=r"x\.bgen\.bgi does not fit x\.bgen: .*not a database"):
        open_genotypes(path)


def test_open_genotypes__bgen_with_sample_file(tmp_path: Path):
    path = write_bgen(tmp_path / "x.bgen", hard_calls(TINY), ["a_a", "b_b", "c_c", "d_d", "e_f"])
    assert read_sample_ids(path)[4] == "e_f"  # not all halves are the same: ids are as they stand
    people = "".join(f"fam{i} iid{i} 0 1\n" for i in range(5))
    path.with_suffix(".sample").write_text("ID_1 ID_2 missing sex\n0 0 0 D\n" + people)
    with open_genotypes(path) as file:
        assert file.sample_ids == ["iid0", "iid1", "iid2", "iid3", "iid4"] == read_sample_ids(path)
    path.with_suffix(".sample").write_text("ID_1 ID_2 missing sex\n0 0 0 D\n" + people + "x y 0 1\n")
    with pytest.raises(GenotypeError, match=r"genotypes of 5 participants, x\.sample beside it lists 6: wanted the"):
        open_genotypes(path)


def test_open_genotypes__bgen_without_ids(tmp_path: Path):
    path = write_bgen(tmp_path / "x.bgen", hard_calls(TINY), None)
    with pytest.raises(GenotypeError, match=r"holds no sample ids: wanted x\.sample beside it"):
        open_genotypes(path)
    path.with_suffix(".sample").write_text("ID\n0\n" + "\n".join(PEOPLE))
    assert read_sample_ids(path) == PEOPLE


def test_open_genotypes__bgen_with_repeated_ids(tmp_path: Path):
    path = write_bgen(tmp_path / "x.bgen", hard_calls(TINY), ["a", "b", "a", "c", "d"])
    with pytest.raises(GenotypeError, match="1 IIDs occur more than once, the first is a"):
        open_genotypes(path)


@pytest.mark.parametrize("lost", [1, 30, 120])
@pytest.mark.parametrize("compression", list(COMPRESSIONS))
def test_open_genotypes__truncated_bgen(tmp_path: Path, lost: int, compression: str):
    path = write_bgen(tmp_path / "x.bgen", hard_calls(TINY), PEOPLE, compression)
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(GenotypeError, match=r"x\.bgen is truncated.*copy or write it again"):
        open_genotypes(path)


def test_open_genotypes__bgen_that_holds_more_than_its_head_tells(tmp_path: Path):
    path = write_bgen(tmp_path / "x.bgen", hard_calls(TINY[:2]), PEOPLE)
    path.write_bytes(path.read_bytes() + hard_calls(TINY)[2].record("zlib"))
    with pytest.raises(GenotypeError, match="its head tells of 2 variants, found 3"):
        open_genotypes(path)


def test_open_genotypes__bgen_with_the_wrong_sample_count(tmp_path: Path):
    path = write_bgen(tmp_path / "x.bgen", hard_calls(TINY), PEOPLE, n_samples=4)
    with pytest.raises(GenotypeError, match=r"cannot be opened as a BGEN: inconsistent number of samples"):
        open_genotypes(path)
    write_bgen(path, hard_calls(TINY), PEOPLE[:4], n_samples=4)
    with pytest.raises(
        GenotypeError, match=r"variants 0 to 1 cannot be read as genotypes of 4 participants: number of"
    ):
        open_genotypes(path)


def test_read__bgen_damaged_in_the_middle(tmp_path: Path):
    path = write_bgen(tmp_path / "x.bgen", hard_calls(TINY), PEOPLE)
    content = path.read_bytes()
    record = hard_calls(TINY)[1].record("zlib")
    place = content.index(record) + len(record) - 6
    path.write_bytes(content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])
    with open_genotypes(path) as file, pytest.raises(GenotypeError, match=r"variants 0 to 3 cannot .* copy it again"):
        file.read(0, 3)


def test_read__bgen_of_probabilities_above_one(tmp_path: Path):
    wrong = Variant([(200, 100), (0, 0)], np.array([2, 2]), np.array([False, False]))
    with open_genotypes(write_bgen(tmp_path / "x.bgen", [wrong], ["a", "b"])) as file:
        assert 0 <= file.read(0, 1)[0, 0] <= 100 / 255


def test_open_genotypes__bgen_of_several_alleles(tmp_path: Path):
    many = Variant([(0, 0, 0, 0, 0)] * 5, np.full(5, 2), np.zeros(5, bool), alleles=("G", "A", "T"), rsid="rs9")
    path = write_bgen(tmp_path / "x.bgen", [*hard_calls(TINY), many], PEOPLE)
    with pytest.raises(GenotypeError, match=r"1 of 4 variants have not two alleles, the first is rs9 at 01:100 with 3"):
        open_genotypes(path)


def test_open_genotypes__bgen_of_layout_1(tmp_path: Path):
    path = write_bgen(tmp_path / "x.bgen", hard_calls(TINY), PEOPLE, layout=1)
    with pytest.raises(GenotypeError, match=r"is a BGEN 1\.1 \(layout 1\): wanted 1\.2 or 1\.3; rewrite it with"):
        read_sample_ids(path)


def test_open_genotypes__bgen_that_is_none(tmp_path: Path):
    (tmp_path / "x.bgen").write_bytes(b"hello, this is text, long enough for a head of a file")
    with pytest.raises(GenotypeError, match="cannot be opened as a BGEN"):
        open_genotypes(tmp_path / "x.bgen")


def test_read__closed_bgen(tmp_path: Path):
    file = open_genotypes(write_bgen(tmp_path / "x.bgen", hard_calls(TINY), PEOPLE))
    file.close()
    with pytest.raises(GenotypeError, match="is closed: open it again"):
        file.read(0, 1)


def test_variants__of_an_empty_rsid(tmp_path: Path):
    blank = replace(hard_calls(TINY)[0], rsid=".", chromosome="23", position=100)
    with open_genotypes(write_bgen(tmp_path / "x.bgen", [blank], PEOPLE)) as file:
        assert file.variants.row(0) == ("X", 100, None, "A", "G")
        assert file.variants.schema["base_pair_location"] == pl.Int64
