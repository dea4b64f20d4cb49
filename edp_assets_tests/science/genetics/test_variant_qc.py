import numpy as np
import polars as pl
import pytest

from edp_assets.science.genetics.variant_qc import centre, imputation_info, keep_variants, repeats, variant_stats

NAN = np.nan
G = np.array(
    [
        [0, 1, 2, NAN],  # one missing
        [2, 2, 2, 2],  # monomorphic
        [1, 1, 1, 1],  # all heterozygous: as untestable
        [2, 2, 2, 1],  # the other allele is the rare one
        [NAN, NAN, NAN, NAN],
        [0.1, 0.2, 0.0, 1.4],
    ],
    dtype=np.float32,
)


def test_variant_stats__by_hand():
    stats = variant_stats(G)
    np.testing.assert_allclose(stats.effect_allele_frequency, [0.5, 1, 0.5, 7 / 8, NAN, 1.7 / 8], rtol=1e-6)
    np.testing.assert_allclose(stats.missing, [0.25, 0, 0, 0, 1, 0])
    np.testing.assert_allclose(stats.minor_allele_count, [3, 0, 4, 1, 0, 1.7], rtol=1e-6)
    np.testing.assert_array_equal(stats.called, [3, 4, 4, 4, 0, 4])
    np.testing.assert_array_equal(stats.constant, [False, True, True, False, True, False])


def test_centre__imputes_the_mean_and_leaves_the_input():
    before = G.copy()
    centred, _ = centre(G)
    np.testing.assert_array_equal(G, before)
    np.testing.assert_allclose(centred[0], [-1, 0, 1, 0])
    np.testing.assert_allclose(centred.sum(axis=1), 0, atol=1e-6)
    assert centred.dtype == np.float32


def test_centre__no_participants():
    with pytest.raises(ValueError, match="no participants"):
        centre(np.zeros((2, 0)))


def test_keep_variants__counts_each_reason_once():
    stats = variant_stats(G)
    keep, reasons = keep_variants(stats, min_maf=0.2, min_mac=2, max_missing=0.3)
    np.testing.assert_array_equal(keep, [True, False, False, False, False, False])
    assert {reason: n for reason, n in reasons.items() if n} == {
        "missing": 1, "monomorphic": 2, "min_maf": 1, "min_mac": 1
    }  # fmt: skip
    assert keep.sum() + sum(reasons.values()) == len(G)


def test_keep_variants__thresholds_are_kept():
    stats = variant_stats(G[:1])
    assert keep_variants(stats, min_maf=0.5, min_mac=3, max_missing=0.25)[0].all()
    assert not keep_variants(stats, max_missing=0.24)[0].any()


def test_repeats__place_and_alleles_either_way_round():
    columns = ["chromosome", "base_pair_location", "rsid", "effect_allele", "other_allele"]
    rows = [
        ("1", 5, "rs1", "A", "G"), ("1", 5, "rs1", "A", "T"), ("1", 5, None, "G", "A"), ("2", 5, "rs1", "A", "G"),
        ("1", 5, "rs1", "A", "G"),
    ]  # fmt: skip
    assert repeats(pl.DataFrame(rows, columns, orient="row")).to_list() == [False, False, True, False, True]


def test_keep_variants__equilibrium_information_and_repeats():
    stats = variant_stats(np.tile([0.0, 1, 2, 1], (6, 1)))
    keep, reasons = keep_variants(
        stats,
        min_hwe_p=1e-6,
        hwe_p=np.array([1e-7, 1e-6, 1, 1e-9, 1, 1]),
        min_info=0.8,
        info=np.array([0.1, 1, 0.79, 1, 0.8, 1]),
        repeated=np.array([False, False, False, True, False, False]),
    )
    assert keep.tolist() == [False, True, False, False, True, True]
    assert {reason: n for reason, n in reasons.items() if n} == {"repeated": 1, "min_hwe_p": 1, "min_info": 1}


def test_imputation_info__by_hand():
    dosages = np.array([[0, 1, 2, NAN], [0.5, 0.5, 1.5, 1.5], [0, 0, 0, 0], [NAN, NAN, NAN, NAN]])
    # Variance 2/3 where 2pq is 1/2; variance 1/4 where it is 1/2.
    np.testing.assert_allclose(imputation_info(dosages), [4 / 3, 0.5, NAN, NAN])


def test_imputation_info__of_x_is_1_in_equilibrium():
    rng = np.random.default_rng(0)
    male = np.arange(20000) < 12000
    G = np.where(male, 2 * rng.binomial(1, 0.3, (5, 20000)), rng.binomial(2, 0.3, (5, 20000))).astype(np.float32)
    np.testing.assert_allclose(imputation_info(G, male), 1, atol=0.05)
    assert (imputation_info(G) > 1.4).all()
