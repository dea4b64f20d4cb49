from pathlib import Path

import numpy as np

from edp_assets.science.genetics.hard_calls import MISSING, HardCalls


def draw(n_variants: int = 50, n: int = 403) -> np.ndarray:
    return np.random.default_rng(0).choice([0, 1, 2, np.nan], size=(n_variants, n))


def test_hard_calls__give_back_what_was_packed(tmp_path: Path):
    G = draw()
    codes = np.where(np.isnan(G), MISSING, G)
    values = np.random.default_rng(1).normal(size=(50, 4)).astype(np.float32)
    with HardCalls([G[:20], G[20:]], 403, tmp_path) as calls:
        assert (calls.n_variants, calls.n_participants) == (50, 403)
        np.testing.assert_array_equal(calls.codes(slice(0, 50)), codes)
        expected = np.take_along_axis(values, codes.astype(int), axis=1)
        np.testing.assert_array_equal(calls.decode(slice(0, 50), values), expected)
        np.testing.assert_array_equal(calls.decode(slice(3, 9), values[0], 8), values[0][codes.astype(int)][3:9, 8:])
    assert list(tmp_path.iterdir()) == []


def test_hard_calls__dosages_go_to_the_nearest_call():
    with HardCalls([np.array([[0.4, 0.6, 1.4, 1.6, np.nan]])], 5) as calls:
        assert calls.codes(slice(0, 1)).tolist() == [[0, 1, 1, 2, MISSING]]


def test_blocks__cover_all_variants_within_their_bytes():
    with HardCalls([draw()], 403) as calls:
        parts = list(calls.blocks(7 * 4 * 404))
    assert [part.start for part in parts] == list(range(0, 50, 7))
    assert parts[-1].stop == 50


def test_hard_calls__of_no_variants():
    with HardCalls([], 5) as calls:
        assert list(calls.blocks()) == []
