import csv
import shutil
import subprocess
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from edp_assets.science.genetics import kinship
from edp_assets.science.genetics.genotypes import open_genotypes
from edp_assets.science.genetics.hard_calls import HardCalls
from edp_assets.science.genetics.kinship import (
    BY_CHANCE,
    choose_left_out,
    kinship_by_chance,
    pair_kinship,
    related_pairs,
)

M = 20_000


def families(seed: int = 0, missing: float = 0.01) -> tuple[np.ndarray, dict[tuple[int, int], float]]:
    """Draw genotypes of two families and 60 unrelated people, and the kinship of every related pair."""
    rng = np.random.default_rng(seed)
    frequency = rng.uniform(0.05, 0.5, M)
    people: list[np.ndarray] = []

    def founder() -> int:
        people.append((rng.random((2, M)) < frequency).astype(np.int8))
        return len(people) - 1

    def child(a: int, b: int) -> int:
        pick = rng.integers(0, 2, (2, M))
        people.append(np.stack([people[a][pick[0], np.arange(M)], people[b][pick[1], np.arange(M)]]))
        return len(people) - 1

    for _ in range(60):
        founder()
    father, mother, second_wife, husband, wife = (founder() for _ in range(5))
    son, daughter, half = child(father, mother), child(father, mother), child(father, second_wife)
    cousin, cousin_2 = child(son, wife), child(husband, daughter)
    people.append(people[0].copy())
    twin = len(people) - 1
    expected = {
        (0, twin): 0.5, (son, daughter): 0.25, (son, half): 0.125, (daughter, half): 0.125, (cousin, cousin_2): 0.0625,
        **dict.fromkeys([(father, son), (father, daughter), (mother, son), (mother, daughter), (father, half)], 0.25),
        **dict.fromkeys([(second_wife, half), (wife, cousin), (son, cousin), (husband, cousin_2)], 0.25),
        **dict.fromkeys([(daughter, cousin_2), ], 0.25),
        **dict.fromkeys([(father, cousin), (mother, cousin), (father, cousin_2), (mother, cousin_2)], 0.125),
        **dict.fromkeys([(daughter, cousin), (son, cousin_2)], 0.125),
        **dict.fromkeys([(half, cousin), (half, cousin_2)], 0.0625),
    }  # fmt: skip
    G = np.stack([person.sum(axis=0) for person in people], axis=1).astype(np.float32)
    G[rng.random(G.shape) < missing] = np.nan
    return G, {(min(pair), max(pair)): value for pair, value in expected.items()}


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, dict[tuple[int, int], float]]:
    return families()


@pytest.fixture
def calls(drawn) -> Iterator[HardCalls]:
    with HardCalls([drawn[0]], drawn[0].shape[1]) as packed:
        yield packed


def by_definition(G: np.ndarray, i: int, j: int) -> float:
    """KING-robust between families, Manichaikul et al. 2010, equation 11, in its own counts."""
    a, b = G[:, i], G[:, j]
    both = ~np.isnan(a) & ~np.isnan(b)
    a, b = a[both], b[both]
    both_het, opposite = np.sum((a == 1) & (b == 1)), np.sum(np.abs(a - b) == 2)
    het_a, het_b = np.sum(a == 1), np.sum(b == 1)
    least = min(het_a, het_b)
    return (both_het - 2 * opposite) / (2 * least) + 0.5 - 0.25 * (het_a + het_b) / least


def test_related_pairs__finds_all_of_families_with_their_kinship(drawn, calls: HardCalls):
    G, expected = drawn
    found = related_pairs(calls, 0.0442)
    pairs = dict(zip(zip(found.first.tolist(), found.second.tolist(), strict=True), found.kinship, strict=True))
    assert set(pairs) == set(expected)
    for pair, value in expected.items():
        assert pairs[pair] == pytest.approx(value, abs=0.02)
        assert pairs[pair] == pytest.approx(by_definition(G, *pair), abs=1e-12)


def test_related_pairs__tiles_and_blocks_change_nothing(drawn, calls: HardCalls, monkeypatch: pytest.MonkeyPatch):
    whole = related_pairs(calls, 0.0442)
    monkeypatch.setattr(kinship, "TILE_BYTES", 1)  # 64 people a tile
    monkeypatch.setattr(kinship, "_PAIRS_AT_ONCE", 3)
    monkeypatch.setattr(HardCalls.blocks, "__defaults__", (4 * 72 * 999,))
    tiled = related_pairs(calls, 0.0442)
    np.testing.assert_array_equal(tiled.first, whole.first)
    np.testing.assert_array_equal(tiled.kinship, whole.kinship)


def test_related_pairs__none_is_lost_where_many_calls_are_missing():
    G, expected = families(1, missing=0.05)
    G[: M // 2, -1] = np.nan  # the twin has half of the calls
    with HardCalls([G], G.shape[1]) as packed:
        found = related_pairs(packed, 0.0442)
    assert set(zip(found.first.tolist(), found.second.tolist(), strict=True)) == set(expected)


def test_related_pairs__a_pair_at_the_cutoff_is_related(calls: HardCalls):
    weakest = related_pairs(calls, 0.0442).kinship.min()
    assert related_pairs(calls, weakest).kinship.min() == weakest
    assert related_pairs(calls, weakest + 1e-9).kinship.min() > weakest


def plink2_king(bed: Path, out: Path, cutoff: float) -> dict[frozenset[str], float]:
    if shutil.which("plink2") is None:
        pytest.skip("plink2 is not installed")
    command = ["plink2", "--bfile", bed.with_suffix(""), "--make-king-table", "--king-table-filter", cutoff]
    subprocess.run([*map(str, command), "--out", str(out), "--threads", "1"], capture_output=True, check=True)
    table = pl.read_csv(out.with_suffix(".kin0"), separator="\t", infer_schema=False)
    rows = table.select("IID1", "IID2", pl.col("KINSHIP").cast(pl.Float64)).iter_rows()
    return {frozenset((a, b)): value for a, b, value in rows}


def test_related_pairs__are_plink2s_of_families(drawn, calls: HardCalls, write_bed, tmp_path: Path):
    theirs = plink2_king(write_bed(drawn[0]), tmp_path / "king", 0.0442)
    found = related_pairs(calls, 0.0442)
    ours = {frozenset((f"p{i}", f"p{j}")): k for i, j, k in zip(found.first, found.second, found.kinship, strict=True)}
    assert set(ours) == set(theirs)
    assert max(abs(ours[pair] - theirs[pair]) for pair in theirs) < 1e-5


def test_related_pairs__are_plink2s_of_hapmap(hapmap3: Path, tmp_path: Path):
    (bed,) = hapmap3.glob("*.bed")
    theirs = plink2_king(bed, tmp_path / "king", 0.0442)
    with open_genotypes(bed) as file:
        ids = file.sample_ids
        with HardCalls([file.read(0, file.n_variants)], len(ids)) as packed:
            found = related_pairs(packed, 0.0442)
            assert kinship_by_chance(packed).beyond(0.0884) == 0.0884
    ours = {frozenset((ids[i], ids[j])): k for i, j, k in zip(found.first, found.second, found.kinship, strict=True)}
    # plink2 writes six digits: a pair within rounding of its filter may stand on either side.
    assert {p for p, k in ours.items() if k > 0.04421} <= set(theirs)
    assert {p for p, k in theirs.items() if k > 0.04421} <= set(ours)
    assert max(abs(ours[pair] - theirs[pair]) for pair in set(ours) & set(theirs)) < 1e-5
    with (hapmap3 / "relationships_w_pops_121708.txt").open() as file:
        population = {row["IID"]: row["population"] for row in csv.DictReader(file, delimiter="\t")}
    close = [pair for pair, k in ours.items() if k > 0.177]
    assert len(close) > 10
    assert all(len({population[iid] for iid in pair}) == 1 for pair in close)


def test_pair_kinship__of_people_without_heterozygous_calls_is_not_a_number():
    with HardCalls([np.array([[0.0, 2.0, 1.0], [2.0, 2.0, 1.0]])], 3) as packed:
        assert np.isnan(pair_kinship(packed, np.array([0, 0]), np.array([1, 2]))).all()
        assert len(related_pairs(packed, 0.0442).first) == 0


def test_related_pairs__a_cutoff_of_chance_is_refused():
    G = np.random.default_rng(0).binomial(2, 0.4, (20, 600)).astype(np.float32)
    with HardCalls([G], 600) as packed, pytest.raises(ValueError, match=r"more than 100 a person.* max_kinship"):
        related_pairs(packed, 0.02)


@pytest.mark.parametrize("n_variants", [200, 400])
def test_kinship_by_chance__is_what_unrelated_people_show(n_variants: int):
    G = np.random.default_rng(n_variants).binomial(2, 0.4, (n_variants, 800)).astype(np.float32)
    with HardCalls([G], 800) as packed:
        found = len(related_pairs(packed, 0.0884).first)
        chance = kinship_by_chance(packed)
        assert 0.5 < chance.expected(0.0884) / found < 2
        # Of so few variants the cutoff is raised, and no stranger reaches it.
        assert chance.beyond(0.0884) > 0.0884
        assert chance.expected(chance.beyond(0.0884)) == pytest.approx(BY_CHANCE)
        assert len(related_pairs(packed, chance.beyond(0.0884)).first) == 0


def test_choose_left_out__few_and_no_pair_remains():
    star = [("hub", f"leaf{i}") for i in range(5)]
    assert choose_left_out(star) == {"hub"}
    assert choose_left_out([]) == set()
    rng = np.random.default_rng(0)
    pairs = [(str(a), str(b)) for a, b in rng.integers(0, 60, (50, 2)) if a != b]
    left_out = choose_left_out(pairs)
    assert all(a in left_out or b in left_out for a, b in pairs)
    assert left_out == choose_left_out([(b, a) for a, b in reversed(pairs)])


def test_choose_left_out__is_near_the_fewest_possible():
    rng = np.random.default_rng(1)
    for _ in range(20):
        pairs = [(str(a), str(b)) for a, b in rng.integers(0, 9, (9, 2)) if a != b]
        people = sorted({eid for pair in pairs for eid in pair})
        fewest = next(
            size
            for size in range(len(people) + 1)
            if any(all(a in some or b in some for a, b in pairs) for some in combinations(people, size))
        )
        assert fewest <= len(choose_left_out(pairs)) <= fewest + 1


def test_choose_left_out__of_equals_one_without_a_scan_then_by_eid():
    assert choose_left_out([("1", "2")], frozenset({"1"})) == {"2"}
    assert choose_left_out([("1", "2")], frozenset({"1", "2"})) == {"1"}
    assert choose_left_out([("2", "1")]) == {"1"}
