import numpy as np
import pytest

from edp_assets.science.genetics.sex_chromosomes import count_males_twice, counts_one_x, pseudo_autosomal

NAN = np.nan
MALE = np.array([True, False, True, False, True])


def test_pseudo_autosomal__bounds_of_a_build():
    positions = np.array([1, 2699520, 2699521, 154931043, 154931044])
    assert pseudo_autosomal(positions, "GRCh37").tolist() == [True, True, False, False, True]
    assert pseudo_autosomal(positions, "GRCh38").tolist() == [True, True, True, False, False]
    with pytest.raises(ValueError, match="wanted one of NCBI36, GRCh37, GRCh38, found 'hg19'"):
        pseudo_autosomal(positions, "hg19")


def test_counts_one_x__by_the_majority_of_carriers():
    assert counts_one_x(np.array([[0, 2, NAN, 1, 2, 2]] * 4)) is False
    assert counts_one_x(np.array([[0, 1, NAN, 1, 1, 1, 1]] * 4 + [[2] * 7])) is True
    assert counts_one_x(np.ones((4, 3))) is True
    assert counts_one_x(np.ones((3, 3))) is None
    assert counts_one_x(np.full((3, 9), NAN)) is None


def test_count_males_twice__of_a_file_that_counts_one():
    G = np.array([[0, 2, 1, 1, NAN], [0.9, 0, 1, 0, 0]], np.float32)
    found, heterozygous = count_males_twice(G, MALE, counts_one=True)
    np.testing.assert_allclose(found, [[0, 2, 2, 1, NAN], [1.8, 0, 2, 0, 0]], rtol=1e-6)
    assert (heterozygous, found.dtype, G[0, 2]) == (0, np.float32, 1)
    two = np.array([[2, 2, 1, 1, 0]], np.float32)  # the first is no male, or his call is wrong
    found, impossible = count_males_twice(two, MALE, counts_one=True)
    np.testing.assert_array_equal(found, [[NAN, 2, 2, 1, 0]])
    assert impossible == 1


def test_count_males_twice__heterozygous_males_are_missing():
    G = np.array([[0, 1, 1, 1, 2], [1.1, 0, 2, 0, NAN]])
    found, heterozygous = count_males_twice(G, MALE, counts_one=False)
    np.testing.assert_array_equal(found, [[0, 1, NAN, 1, 2], [1.1, 0, 2, 0, NAN]])
    assert heterozygous == 1
