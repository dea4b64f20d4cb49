import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edp_assets.science.genetics.genotypes import MISSING_CALL, GenotypeError, open_genotypes, read_sexes

TINY = np.array([[0, 1, 2, np.nan, 0], [2, 2, 1, 0, np.nan], [0, 0, 0, 0, 1]])


def test_open_genotypes__bed_counts_a1(write_bed):
    with open_genotypes(write_bed(TINY)) as file:
        assert file.sample_ids == ["p0", "p1", "p2", "p3", "p4"]
        assert file.variants.columns == ["chromosome", "base_pair_location", "rsid", "effect_allele", "other_allele"]
        assert file.variants.row(1) == ("1", 100, "rs1", "A", "G")
        np.testing.assert_array_equal(file.read(0, 3), TINY)
        assert file.read(0, 3).dtype == np.float32


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    G=hnp.arrays(
        np.float64,
        st.tuples(st.integers(1, 6), st.integers(1, 9)),
        elements=st.sampled_from([0.0, 1.0, 2.0, float("nan")]),
    ),
    delimiter=st.sampled_from(["\t", " ", "   ", " \t"]),
    data=st.data(),
)
def test_open_genotypes__bed_round_trip(write_bed, G, delimiter, data):
    samples = np.array(data.draw(st.lists(st.integers(0, G.shape[1] - 1), min_size=1, max_size=12)))
    with open_genotypes(write_bed(G, delimiter)) as file:
        np.testing.assert_array_equal(file.read(0, len(G)), G)
        np.testing.assert_array_equal(file.read(0, len(G), samples), G[:, samples])  # any order, repeats too
        np.testing.assert_array_equal(file.read(0, len(G)), G)
        assert file.variants["base_pair_location"].to_list() == [100 * i for i in range(len(G))]


def test_read__in_the_order_asked_for(write_bed):
    with open_genotypes(write_bed(TINY)) as file:
        for samples in ([4, 0, 2], [1], [0, 1, 2, 3, 4], [3, 2, 1]):
            np.testing.assert_array_equal(file.read(1, 3, np.array(samples)), TINY[1:3, samples])


def test_blocks__cover_the_file_once(write_bed):
    with open_genotypes(write_bed(TINY)) as file:
        parts = list(file.blocks(2, np.array([2, 0])))
    assert [(start, stop) for start, stop, _ in parts] == [(0, 2), (2, 3)]
    np.testing.assert_array_equal(np.concatenate([part for _, _, part in parts]), TINY[:, [2, 0]])


def test_read__refuses_what_is_not_there(write_bed):
    with open_genotypes(write_bed(TINY)) as file:
        with pytest.raises(GenotypeError, match="variants 0 to 4 of 3"):
            file.read(0, 4)
        with pytest.raises(GenotypeError, match="indices from 0 to 4"):
            file.read(0, 1, np.array([5]))
        with pytest.raises(ValueError, match="wanted 1 or more, found 0"):
            next(file.blocks(0))


def test_open_genotypes__bed_and_pgen_of_regenie_agree(regenie: Path):
    with open_genotypes(regenie / "example.bed") as bed, open_genotypes(regenie / "example.pgen") as pgen:
        assert bed.sample_ids == pgen.sample_ids
        assert bed.variants.equals(pgen.variants)
        samples = np.array([7, 3, 499, 0])
        np.testing.assert_array_equal(bed.read(0, 1000), pgen.read(0, 1000))
        np.testing.assert_array_equal(bed.read(10, 20, samples), pgen.read(10, 20, samples))


def test_open_genotypes__effect_allele_frequency_is_regenie_s(regenie: Path):
    published = pl.read_csv(regenie / "test_lin_out_Y1.regenie", separator=" ")
    with open_genotypes(regenie / "example.bed") as file:
        frequency = file.read(0, 1000).mean(axis=1) / 2
        same = file.variants["effect_allele"].cast(pl.Int64) == published["ALLELE1"]
    np.testing.assert_allclose(np.where(same, frequency, 1 - frequency), published["A1FREQ"], atol=1e-6)


def test_open_genotypes__space_delimited_fam_of_hapmap3(hapmap3: Path):
    with open_genotypes(hapmap3 / "HM3_thinned_autosomal_overlap.bed") as file:
        assert (len(file.sample_ids), file.n_variants) == (957, 14079)
        assert file.sample_ids[0] == "NA19916"
        assert file.variants.row(0) == ("1", 828418, "rs4970383", "A", "C")
        raw = np.fromfile(file.path, np.uint8, count=240 * 50, offset=3).reshape(50, 240)
        codes = np.stack([(raw >> shift) & 3 for shift in (0, 2, 4, 6)], axis=-1).reshape(50, -1)[:, :957]
        np.testing.assert_array_equal(file.read(0, 50), np.array([2, np.nan, 1, 0])[codes])


def test_open_genotypes__pgen_keeps_dosages(tmp_path: Path):
    import pgenlib

    dosages = np.array([[0.0, 0.25, 1.5, -9.0], [2.0, 1.0, 0.0, 1.75]], dtype=np.float32)
    path = tmp_path / "d.pgen"
    with pgenlib.PgenWriter(str(path).encode(), 4, variant_ct=2, dosage_present=True) as writer:
        for row in dosages:
            writer.append_dosages(row)
    path.with_suffix(".pvar").write_text("##fileformat=PVCF\n#CHROM\tPOS\tID\tREF\tALT\tINFO\n"
                                         "chrX\t5\t.\tG\tA\tAF=0.1 x\n23\t6\trs2\tC\tT\t.\n")  # fmt: skip
    path.with_suffix(".psam").write_text("#IID SEX\na 1\nb 2\nc 1\nd 2\n")
    with open_genotypes(path) as file:
        assert file.sample_ids == ["a", "b", "c", "d"]
        assert file.variants.rows() == [("X", 5, None, "A", "G"), ("X", 6, "rs2", "T", "C")]
        expected = np.where(dosages == -9, np.nan, dosages)
        np.testing.assert_allclose(file.read(0, 2), expected, atol=1 / 16384)
        np.testing.assert_allclose(file.read(0, 2, np.array([3, 1])), expected[:, [3, 1]], atol=1 / 16384)


def test_open_genotypes__truncated_bed(write_bed):
    path = write_bed(TINY)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(GenotypeError, match=r"truncated: 5 participants .* x 3 variants .* take 9 bytes, found 8"):
        open_genotypes(path)
    path.write_bytes(path.read_bytes() + b"12")
    with pytest.raises(GenotypeError, match="too long"):
        open_genotypes(path)


@pytest.mark.parametrize(("n", "left", "message"), [(9, 8, "too long: 8 participants in the .fam"),
                                                    (9, 4, "too long"), (7, 6, "more people than the 6 participants"),
                                                    (8, 5, "more people than the 5 participants")])  # fmt: skip
def test_open_genotypes__bed_of_more_people_than_the_fam(write_bed, n, left, message):
    path = write_bed(np.random.default_rng(0).integers(0, 3, (20, n)).astype(float))
    fam = path.with_suffix(".fam")
    fam.write_text("".join(fam.read_text().splitlines(keepends=True)[:left]))
    with pytest.raises(GenotypeError, match=message):
        open_genotypes(path)


@pytest.mark.parametrize(
    ("head", "message"),
    [(b"PK\x03", "6c 1b 01, found 50 4b 03"), (b"\x6c\x1b\x00", "sample-major"), (b"", "6c 1b 01, found $")],
)
def test_open_genotypes__bed_of_another_kind(write_bed, head, message):
    path = write_bed(TINY)
    path.write_bytes(head + path.read_bytes()[3:] if head else b"")
    with pytest.raises(GenotypeError, match=message):
        open_genotypes(path)


@pytest.mark.parametrize("suffix", [".bim", ".fam", ".bed"])
def test_open_genotypes__missing_file(write_bed, suffix):
    path = write_bed(TINY)
    path.with_suffix(suffix).unlink()
    with pytest.raises(GenotypeError, match=f"tiny{re.escape(suffix)} is missing"):
        open_genotypes(path)


def test_open_genotypes__packed_pvar(tmp_path: Path):
    (tmp_path / "d.pgen").write_bytes(b"")
    (tmp_path / "d.pvar.zst").write_bytes(b"")
    with pytest.raises(GenotypeError, match=r"d\.pvar is missing.*unpack d\.pvar\.zst with zstd -d"):
        open_genotypes(tmp_path / "d.pgen")


@pytest.mark.parametrize(
    ("name", "message"),
    [("x.bgen", "cannot be opened as a BGEN"), ("x.vcf", r"wanted a .bed, .pgen or .bgen file, found .vcf"),
     ("x", "no suffix")],
)  # fmt: skip
def test_open_genotypes__other_formats(tmp_path: Path, name, message):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(GenotypeError, match=message):
        open_genotypes(tmp_path / name)


def test_open_genotypes__pgen_that_is_none(tmp_path: Path):
    (tmp_path / "d.pgen").write_bytes(b"hello, this is text")
    (tmp_path / "d.pvar").write_text("#CHROM\tPOS\tID\tREF\tALT\n1\t5\trs1\tG\tA\n")
    (tmp_path / "d.psam").write_text("#FID\tIID\n1\ta\n")
    with pytest.raises(GenotypeError, match=r"cannot be opened as genotypes of 1 participants x 1 variants: .*magic"):
        open_genotypes(tmp_path / "d.pgen")


def test_open_genotypes__pgen_of_other_people(regenie: Path, tmp_path: Path):
    (tmp_path / "e.pgen").write_bytes((regenie / "example.pgen").read_bytes())
    (tmp_path / "e.pvar").write_bytes((regenie / "example.pvar").read_bytes())
    (tmp_path / "e.psam").write_text("#FID\tIID\n1\ta\n")
    with pytest.raises(GenotypeError, match="cannot be opened as genotypes of 1 participants x 1000 variants"):
        open_genotypes(tmp_path / "e.pgen")


@pytest.mark.parametrize("share", [0.05, 0.5, 0.999])
def test_open_genotypes__truncated_pgen(regenie: Path, tmp_path: Path, share: float):
    content = (regenie / "example.pgen").read_bytes()
    (tmp_path / "e.pgen").write_bytes(content[: int(share * len(content))])
    for suffix in (".pvar", ".psam"):
        (tmp_path / "e").with_suffix(suffix).write_bytes((regenie / "example").with_suffix(suffix).read_bytes())
    with (
        pytest.raises(GenotypeError, match=r"e\.pgen.* cannot be (opened|read)"),
        open_genotypes(tmp_path / "e.pgen") as f,
    ):
        f.read(0, f.n_variants)


@pytest.mark.parametrize("samples", [None, [4, 2, 9], [1, 5, 7]])
def test_read_calls__are_the_dosages_of_a_bed(regenie: Path, samples):
    chosen = None if samples is None else np.array(samples)
    with open_genotypes(regenie / "example.bed") as bed, open_genotypes(regenie / "example.pgen") as pgen:
        calls, expected = bed.read_calls(5, 40, chosen), bed.read(5, 40, chosen)
        assert calls.dtype == np.int8
        np.testing.assert_array_equal(np.where(calls == MISSING_CALL, np.nan, calls), expected)
        np.testing.assert_array_equal(pgen.read_calls(5, 40, chosen), pgen.read(5, 40, chosen))
        with pytest.raises(GenotypeError, match="asked for variants 5 to 5000"):
            bed.read_calls(5, 5000, chosen)


def test_read_sexes__of_fam_and_psam(tmp_path: Path, write_bed):
    bed = write_bed(np.zeros((1, 4)))
    bed.with_suffix(".fam").write_text("f a 0 0 1 -9\nf b 0 0 2 -9\nf c 0 0 0 -9\nf d 0 0 NA -9\n")
    assert read_sexes(bed) == [1, 0, None, None]
    pgen = tmp_path / "a.pgen"
    pgen.touch()
    pgen.with_suffix(".psam").write_text("#IID SEX\na F\nb M\nc 1\nd NA\n")
    assert read_sexes(pgen) == [0, 1, 1, None]
    pgen.with_suffix(".psam").write_text("#IID\na\n")
    assert read_sexes(pgen) == [None]
