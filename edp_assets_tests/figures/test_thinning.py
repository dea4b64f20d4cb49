"""What of a GWAS is drawn: against numpy's own sorting and binning of the same p-values."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import polars as pl
import pytest

from edp_assets.figures.thinning import COLUMNS, MAX_NOTABLE, NOTABLE, QUANTILE_STEP, ROWS, thin

THRESHOLD = 7.3


def gwas(n: int, seed: int = 0, method: str = "classifier", cluster: int | None = None) -> pl.DataFrame:
    """Return a GWAS of no association over chromosomes 1, 2, 10 and X."""
    p = -np.log10(np.random.default_rng(seed).uniform(size=n))
    rows = pl.DataFrame({"k": np.arange(n), "neg_log_10_p_value": p.astype(np.float32)})
    names = pl.Series(["1", "2", "10", "X"])
    return rows.select(
        method=pl.lit(method),
        cluster=pl.lit(cluster, pl.Int32),
        chromosome=names.gather(np.arange(n) * 4 // n),
        base_pair_location=pl.col("k") % (n // 4) * 100 + 1,
        rsid=pl.format("rs{}", "k"),
        neg_log_10_p_value="neg_log_10_p_value",
    )


def frames(rows: pl.DataFrame) -> Callable[[], Iterable[pl.DataFrame]]:
    """Return the rows as they are streamed: in frames that end anywhere."""
    return lambda: rows.iter_slices(997)


def with_p(rows: pl.DataFrame, p: np.ndarray) -> pl.DataFrame:
    """Set the -log10 p of the first rows."""
    values = rows["neg_log_10_p_value"].to_numpy().copy()
    values[: len(p)] = p
    return rows.with_columns(neg_log_10_p_value=pl.Series(values))


def test_thin__every_hit_is_drawn_however_many_there_are() -> None:
    hits = np.linspace(THRESHOLD, 50, 3 * MAX_NOTABLE)
    found = thin(frames(with_p(gwas(40_000), hits)), THRESHOLD, coarser=4)["classifier", None]
    assert found.associated == len(hits)
    assert set(found.notable["rsid"]) >= {f"rs{k}" for k in range(len(hits))}
    assert found.notable.filter(pl.col("neg_log_10_p_value") >= THRESHOLD).height == len(hits)


def test_thin__others_share_pixels_and_no_pixel_that_holds_one_is_left_out() -> None:
    rows = gwas(50_000, seed=1)
    found = thin(frames(rows), THRESHOLD)["classifier", None]
    width = max(high for _, high in found.spans.values())
    x = rows["base_pair_location"].to_numpy() + np.array([found.offsets[c] for c in rows["chromosome"]])
    y = rows["neg_log_10_p_value"].to_numpy()
    quiet = y < NOTABLE
    wanted = set(zip(np.floor(x[quiet] / width * COLUMNS), np.floor(y[quiet] / NOTABLE * ROWS), strict=True))
    drawn = found.pixels
    got = set(
        zip(
            np.floor(drawn["x"].to_numpy() / width * COLUMNS),
            np.floor(drawn["neg_log_10_p_value"].to_numpy() / NOTABLE * ROWS),
            strict=True,
        )
    )
    assert len(got ^ wanted) <= len(wanted) / 1000  # float32 against float64 at a pixel's edge
    assert drawn.height == len(got) <= COLUMNS * ROWS
    assert found.notable.height == int((~quiet).sum())


def test_thin__the_strongest_have_points_of_their_own_and_weaker_notable_ones_a_pixel() -> None:
    strong = np.linspace(NOTABLE + 0.1, 7, 2 * MAX_NOTABLE)
    found = thin(frames(with_p(gwas(20_000, seed=2), strong)), THRESHOLD)["classifier", None]
    assert found.notable.height == MAX_NOTABLE
    assert found.notable["neg_log_10_p_value"].min() == pytest.approx(np.sort(strong)[-MAX_NOTABLE], rel=1e-6)
    assert found.pixels["neg_log_10_p_value"].max() > NOTABLE
    assert found.drawn == found.notable.height + found.pixels.height


def test_thin__quantiles_are_those_of_all_variants() -> None:
    rows = gwas(30_000, seed=3)
    found = thin(frames(rows), THRESHOLD)["classifier", None]
    p = np.sort(rows["neg_log_10_p_value"].to_numpy())[::-1]
    ranks = found.quantiles["rank"].to_numpy()
    assert (ranks[0], ranks[-1], found.variants) == (1, 30_000, 30_000)
    assert np.all(np.diff(ranks) > 0)
    error = p[ranks - 1] - found.quantiles["neg_log_10_p_value"].to_numpy()
    assert error.min() >= -1e-6
    assert error.max() <= QUANTILE_STEP + 1e-6


def test_thin__each_phenotype_by_itself_and_variants_without_a_p_are_left_out() -> None:
    one, other = gwas(4_000, 4), gwas(2_000, 5, "clustering", 3)
    other = with_p(other, np.array([np.nan, np.inf]))
    found = thin(frames(pl.concat([other, one])), THRESHOLD)
    assert list(found) == [("classifier", None), ("clustering", 3)]
    assert (found["classifier", None].variants, found["clustering", 3].variants) == (4_000, 1_998)
    alone = thin(frames(one), THRESHOLD)["classifier", None]
    assert alone.quantiles.equals(found["classifier", None].quantiles)
    assert list(alone.spans) == ["1", "2", "10", "X"]


def test_thin__a_low_threshold_leaves_no_hit_out() -> None:
    rows = gwas(5_000, seed=6)
    found = thin(frames(rows), threshold=1.0)["classifier", None]
    hits = rows.filter(pl.col("neg_log_10_p_value") >= 1)
    assert found.associated == hits.height
    assert set(found.notable["rsid"]) == set(hits["rsid"])


def test_thin__is_the_same_however_the_rows_are_cut() -> None:
    rows = gwas(3_000, seed=7)
    one, other = (thin(cut, THRESHOLD)["classifier", None] for cut in (frames(rows), lambda: [rows]))
    for name in ("notable", "pixels", "quantiles"):
        assert getattr(one, name).equals(getattr(other, name))


def test_thin__no_variants_no_phenotypes() -> None:
    assert thin(frames(gwas(4).clear()), THRESHOLD) == {}
