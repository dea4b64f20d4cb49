"""What reaches an association: chromosomes however they are spelled, X by sex, filters with their counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from edp_assets.assets.genotype_blocks import usable_blocks
from edp_assets.science.genetics.covariates import covariate_basis
from edp_assets.science.genetics.genotypes import open_genotypes
from edp_assets.science.genetics.regression import associate_directly
from edp_assets.settings import AssociationSettings
from edp_assets_tests.science.genetics.bgen_writer import Variant, hard_calls, write_bgen

N = 40
PEOPLE = pl.DataFrame({"eid": [f"p{i}" for i in range(N)], "sex": [float(i % 2) for i in range(N)]})
MALE = PEOPLE["sex"].to_numpy() == 1
NONE = {"min_maf": 0.0, "min_mac": 0}


def fake_run(path: Path, **settings: Any) -> Any:
    cohort = SimpleNamespace(genotype_paths=lambda: {"all": path}, genome_build="GRCh37")
    chosen = AssociationSettings(**(NONE | settings))
    return SimpleNamespace(workspace=SimpleNamespace(cohort=cohort, settings=SimpleNamespace(association=chosen)))


def read(path: Path, chromosome: str, people: pl.DataFrame = PEOPLE, **settings: Any) -> tuple[np.ndarray, dict, list]:
    metadata: dict[str, Any] = {}
    parts = list(usable_blocks(fake_run(path, **settings), people, chromosome, metadata))
    block = np.concatenate([block for _, block in parts]) if parts else np.empty((0, people.height))
    return block, metadata, [row for variants, _ in parts for row in variants["rsid"]]


def write_bed(path: Path, G: np.ndarray, bim: list[str]) -> Path:
    """Write a PLINK 1 fileset: `bim` is each variant's line, G copies of A1, NaN missing."""
    codes = np.full((len(G), -(-N // 4) * 4), 0, dtype=np.uint8)
    codes[:, :N] = np.select([np.isnan(G), G == 2, G == 1], [1, 0, 2], 3)
    packed = codes.reshape(len(G), -1, 4) @ np.array([1, 4, 16, 64], dtype=np.uint8)
    path.write_bytes(b"\x6c\x1b\x01" + packed.astype(np.uint8).tobytes())
    path.with_suffix(".bim").write_text("\n".join(bim) + "\n")
    path.with_suffix(".fam").write_text("".join(f"f {eid} 0 0 0 -9\n" for eid in PEOPLE["eid"]))
    return path


def bim(n: int, chromosome: str = "1", first: int = 5_000_000, a1: str = "A", a2: str = "G") -> list[str]:
    return [f"{chromosome} rs{i} 0 {first + i} {a1} {a2}" for i in range(n)]  # space delimited


def draw(n_variants: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).binomial(2, 0.4, (n_variants, N)).astype(float)


@pytest.mark.parametrize(
    ("spelled", "chromosome"),
    [("01", "1"), ("chr1", "1"), ("1", "1"), ("CHR01", "1"), ("22", "22"), ("X", "X"), ("23", "X"), ("chrX", "X"),
     ("25", "X"), ("XY", "X"), ("PAR1", "X"), ("24", "Y"), ("Y", "Y"), ("26", "MT"), ("chrM", "MT"), ("MT", "MT")],
)  # fmt: skip
def test_usable_blocks__spellings_of_a_chromosome(tmp_path: Path, spelled: str, chromosome: str):
    G = draw(3)
    bed = write_bed(tmp_path / "a.bed", G, bim(3, spelled, first=1000))
    bgen = write_bgen(tmp_path / "b.bgen", hard_calls(G, chromosome=spelled), PEOPLE["eid"].to_list())
    for path in (bed, bgen):
        found, metadata, _ = read(path, chromosome)
        np.testing.assert_array_equal(found, G)
        assert metadata["variants_read"] == 3
        assert len(read(path, "7")[0]) == 0


@pytest.mark.parametrize("block_variants", [1, 4, 100])
def test_usable_blocks__x_of_males_counted_one_is_doubled(tmp_path: Path, block_variants: int):
    two = np.where(MALE, 2 * np.random.default_rng(1).binomial(1, 0.4, (9, N)), draw(9))
    one = np.where(MALE, two / 2, two)
    lines = bim(9, "23")
    lines[0] = lines[0].replace("5000000", "60001")  # in PAR1 males have two
    paths = [write_bed(tmp_path / f"{name}.bed", G, lines) for name, G in (("one", one), ("two", two))]
    expected = two.copy()
    expected[0] = one[0]
    (found, metadata, _), (same, as_it_is, _) = (read(path, "X", block_variants=block_variants) for path in paths)
    np.testing.assert_array_equal(found[1:], expected[1:])
    np.testing.assert_array_equal(found[0], one[0])
    np.testing.assert_array_equal(same, two)
    assert metadata["males_x"] == "counted 0 or 1, doubled; 0 calls of two alleles taken for missing"
    assert as_it_is["males_x"] == "counted 0 or 2; 0 calls of two alleles taken for missing"


def test_usable_blocks__x_of_haploid_bgen_is_that_of_the_bed(tmp_path: Path):
    two = np.where(MALE, 2 * np.random.default_rng(1).binomial(1, 0.4, (9, N)), draw(9))
    ploidy = np.where(MALE, 1, 2)
    diploid = {0: (255, 0), 1: (0, 255), 2: (0, 0)}
    variants = [
        Variant(
            [(255 * (g == 0),) if male else diploid[g] for g, male in zip(row.astype(int), MALE, strict=True)],
            ploidy, np.zeros(N, bool), chromosome="0X", position=5_000_000 + i,
        )
        for i, row in enumerate(two)
    ]  # fmt: skip
    bgen = write_bgen(tmp_path / "x.bgen", variants, PEOPLE["eid"].to_list())
    bed = write_bed(tmp_path / "x.bed", two, bim(9, "X"))
    np.testing.assert_array_equal(read(bgen, "X")[0], read(bed, "X")[0])
    np.testing.assert_array_equal(read(bgen, "X")[0], two)


def test_usable_blocks__heterozygous_males_are_missing_and_counted(tmp_path: Path):
    two = np.where(MALE, 2 * np.random.default_rng(1).binomial(1, 0.4, (9, N)), draw(9))
    two[3, [1, 5]] = 1
    found, metadata, _ = read(write_bed(tmp_path / "x.bed", two, bim(9, "X")), "X")
    assert np.argwhere(np.isnan(found)).tolist() == [[3, 1], [3, 5]]
    assert metadata["males_x"] == "counted 0 or 2; 2 calls of two alleles taken for missing"


def test_usable_blocks__people_of_unknown_sex_stay_as_they_are(tmp_path: Path):
    G = draw(9)
    nobody = PEOPLE.with_columns(sex=pl.lit(None, pl.Float64))
    found, metadata, _ = read(write_bed(tmp_path / "x.bed", G, bim(9, "X")), "X", nobody)
    np.testing.assert_array_equal(found, G)
    assert "males_x" not in metadata


def test_usable_blocks__counts_what_it_leaves_out(tmp_path: Path):
    G = draw(8)
    G[1] = 0  # monomorphic
    G[2] = 1  # all heterozygous: nothing to test
    G[3, :30] = np.nan
    G[4] = np.eye(1, N)[0]  # a singleton
    G[5] = np.repeat([0, 2], N // 2)  # nobody is heterozygous
    lines = bim(8)
    lines[7] = lines[6].replace("rs6", "rs7").replace("A G", "G A")  # rs6 again, alleles swapped
    path = write_bed(tmp_path / "a.bed", G, lines)
    found, metadata, rsids = read(path, "1", min_mac=5, min_hwe_p=1e-6, block_variants=3)
    assert rsids == ["rs0", "rs6"]
    np.testing.assert_array_equal(found, G[[0, 6]])
    assert metadata == {
        "variants_read": 8,
        "variants_left_out": {"monomorphic": 2, "missing": 1, "min_mac": 1, "min_hwe_p": 1, "repeated": 1},
    }
    assert read(path, "1", min_mac=5)[2] == ["rs0", "rs5", "rs6"]  # equilibrium is not tested unless asked for


def test_usable_blocks__leaves_out_what_was_imputed_badly(tmp_path: Path):
    called = hard_calls(draw(2))
    vague = [(64, 127), (96, 127)] * (N // 2)  # dosages of 1 and 0.75, half of the people each
    variants = [called[0], replace(called[1], stored=vague, rsid="vague")]
    path = write_bgen(tmp_path / "a.bgen", variants, PEOPLE["eid"].to_list())
    assert read(path, "1")[2] == ["rs0", "vague"]
    _, metadata, rsids = read(path, "1", min_info=0.3)
    assert rsids == ["rs0"]
    assert metadata == {"variants_read": 2, "variants_left_out": {"min_info": 1}}


def test_usable_blocks__equilibrium_on_x_is_of_females(tmp_path: Path):
    two = np.where(MALE, 2 * np.random.default_rng(1).binomial(1, 0.4, (9, N)), draw(9))
    assert len(read(write_bed(tmp_path / "x.bed", two, bim(9, "X")), "X", min_hwe_p=0.01)[0]) == 9
    assert len(read(write_bed(tmp_path / "y.bed", two, bim(9, "1")), "1", min_hwe_p=0.01)[0]) < 6


def test_usable_blocks__people_without_genotypes_are_refused(tmp_path: Path):
    path = write_bed(tmp_path / "a.bed", draw(2), bim(2))
    others = pl.DataFrame({"eid": ["p1", "q9"], "sex": [0.0, 1.0]})
    with pytest.raises(ValueError, match=r"chromosome 1: 1 of 2 people .* not in its genotype file \(first: q9\)"):
        read(path, "1", others)


def test_usable_blocks__unsorted_files_count_a_chromosome_alone(tmp_path: Path):
    G = draw(6)
    lines = [line.replace("1 rs", f"{1 + i % 2} rs", 1) for i, line in enumerate(bim(6))]
    found, metadata, rsids = read(write_bed(tmp_path / "a.bed", G, lines), "2", block_variants=4)
    assert (rsids, metadata["variants_read"]) == (["rs1", "rs3", "rs5"], 3)
    np.testing.assert_array_equal(found, G[1::2])


@pytest.mark.parametrize("suffix", [".bed", ".pgen", ".bgen"])
def test_open_genotypes__swapped_alleles_give_the_opposite_effect(tmp_path: Path, suffix: str):
    import pgenlib

    G = draw(6)
    G[2, 3] = np.nan

    def write(name: str, dosages: np.ndarray, effect: str, other: str) -> Path:
        path = tmp_path / f"{name}{suffix}"
        if suffix == ".bed":
            return write_bed(path, dosages, bim(6, a1=effect, a2=other))
        if suffix == ".bgen":
            return write_bgen(path, hard_calls(dosages, alleles=(other, effect)), PEOPLE["eid"].to_list())
        with pgenlib.PgenWriter(str(path).encode(), N, variant_ct=6) as writer:
            for row in np.nan_to_num(dosages, nan=-9).astype(np.int8):
                writer.append_biallelic(row)
        rows = "".join(f"1\t{100 * i}\trs{i}\t{other}\t{effect}\n" for i in range(6))
        path.with_suffix(".pvar").write_text("#CHROM\tPOS\tID\tREF\tALT\n" + rows)
        path.with_suffix(".psam").write_text("#IID\n" + "\n".join(PEOPLE["eid"]) + "\n")
        return path

    y = np.random.default_rng(5).normal(size=N) + G[0]
    results = []
    for path in (write("a", G, "A", "G"), write("b", 2 - G, "G", "A")):
        with open_genotypes(path) as file:
            effect = "A" if path.stem == "a" else "G"
            assert set(file.variants["effect_allele"]) == {effect}
            results.append(associate_directly(file.read(0, 6).astype(float), y, covariate_basis([], N))[0])
    one, other = results
    np.testing.assert_allclose(one.beta, -other.beta, rtol=1e-9)
    np.testing.assert_allclose(one.neg_log_10_p_value, other.neg_log_10_p_value, rtol=1e-9)
    assert one.neg_log_10_p_value[0] > 2
