from pathlib import Path

import numpy as np
import polars as pl

from edp_assets.science.genetics import linkage
from edp_assets.science.genetics.genotypes import open_genotypes
from edp_assets.science.genetics.linkage import Linkage, squared_correlations


def genotypes(rows: int = 40, people: int = 200) -> np.ndarray:
    rng = np.random.default_rng(0)
    first = rng.binomial(2, 0.4, people)
    G = np.where(rng.random((rows, people)) < 0.4, rng.binomial(2, 0.4, (rows, people)), first).astype(float)
    G[5] = 1.0
    return G


def test_squared_correlations__are_those_of_dosages():
    G = genotypes()
    expected = np.square(np.corrcoef(np.delete(G, 5, axis=0)))[0]
    found = squared_correlations(G[0].astype(np.float32), G.astype(np.float32))
    np.testing.assert_allclose(np.delete(found, 5), expected, atol=1e-5)
    assert np.isnan(found[5])


def test_squared_correlations__a_missing_call_is_the_mean():
    G = genotypes()
    holes = G.copy()
    holes[1, :50] = np.nan
    filled = holes.copy()
    filled[1, :50] = np.nanmean(holes[1])
    np.testing.assert_allclose(squared_correlations(G[0], holes)[1], squared_correlations(G[0], filled)[1], atol=1e-12)


def test_linkage__reads_the_rows_of_the_files_in_the_people_given(write_bed, monkeypatch):
    monkeypatch.setattr(linkage, "AT_ONCE", 7)
    G = genotypes()
    people = [f"p{i}" for i in (150, 3, 77, *range(80, 130))]
    chosen = [int(name[1:]) for name in people]
    expected = np.square(np.corrcoef(G[:, chosen] + np.where(np.arange(40) == 5, np.nan, 0)[:, None]))
    with open_genotypes(write_bed(G)) as file:
        order = np.random.default_rng(1).permutation(40)
        variants = file.variants[order]
        unknown = variants.head(1).with_columns(base_pair_location=pl.lit(7, pl.Int64))
        r2 = Linkage(pl.concat([variants, unknown]), {"all": file}, people)
        for lead in (0, 17):
            found = r2(lead, np.arange(41))
            np.testing.assert_allclose(found[:40], expected[order[lead], order], atol=1e-5)
            assert np.isnan(found[40])
        assert np.isnan(r2(40, np.arange(3))).all()


def test_linkage__of_real_genotypes(hapmap3: Path):
    (bed,) = hapmap3.glob("*.bed")
    with open_genotypes(bed) as file:
        variants = file.variants.head(60)
        G = file.read(0, 60).astype(float)
        r2 = Linkage(variants, {"all": file}, file.sample_ids)(10, np.arange(60))
    filled = np.where(np.isnan(G), np.nanmean(G, axis=1, keepdims=True), G)
    np.testing.assert_allclose(r2, np.square(np.corrcoef(filled)[10]), atol=1e-5)
