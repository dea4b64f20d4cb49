"""Checks of summary statistics: sound ones pass, seed after seed; each planted trouble fails its own check alone."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from edp_assets.science.genetics.genotype_frequencies import draw_reference
from edp_assets.science.genetics.inflation import InflationStream
from edp_assets.science.genetics.logistic import associate_binary, fit_null_model
from edp_assets.science.genetics.regression import associate_directly
from edp_assets.science.genetics.statistics_checks import Binary, check_statistics
from edp_assets.science.genetics.statistics_summary import (
    COLUMNS,
    P_SLACK_BINARY,
    Frequencies,
    PhenotypeSummary,
    of_thinned,
    summarise,
)
from edp_assets.science.genetics.tails import neg_log_10_p_from_z
from edp_assets.settings import ChecksSettings

N, VARIANTS = 400, 3000
DEFAULTS = ChecksSettings()


def dosages(seed: int, variants: int = VARIANTS, n: int = N) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.binomial(2, rng.uniform(0.05, 0.95, (variants, 1)), (variants, n)).astype(np.float32)


def table(G: np.ndarray, found: object, method: str = "classifier", cluster: int | None = None) -> pl.DataFrame:
    """Summary statistics of an association, variants spread over five chromosomes."""
    m = len(G)
    return pl.DataFrame(
        {
            "method": pl.Series([method] * m),
            "cluster": pl.Series([cluster] * m, dtype=pl.Int32),
            "chromosome": [str(1 + 5 * i // m) for i in range(m)],
            "base_pair_location": [1000 + 300_000 * (i % (m // 5)) for i in range(m)],
            "effect_allele": ["A"] * m,
            "other_allele": ["G"] * m,
            "effect_allele_frequency": G.mean(axis=1, dtype=np.float64) / 2,
            "beta": np.ravel(found.beta),
            "standard_error": np.ravel(found.standard_error),
            "neg_log_10_p_value": np.ravel(found.neg_log_10_p_value),
            "n": [G.shape[1]] * m,
        }
    )


@pytest.fixture(scope="module")
def G() -> np.ndarray:
    return dosages(0)


@pytest.fixture(scope="module")
def sound(G) -> pl.DataFrame:
    found, _ = associate_directly(G, np.random.default_rng(1).normal(size=N), np.ones((N, 1)) / np.sqrt(N))
    return table(G, found)


@pytest.fixture(scope="module")
def reference(G) -> pl.DataFrame:
    """Frequencies in four times as many people, the GWAS's among them."""
    variants = table(G, associate_directly(G, np.arange(N, dtype=float), np.ones((N, 1)) / np.sqrt(N))[0])
    f = variants["effect_allele_frequency"].to_numpy()
    others = np.random.default_rng(2).binomial(6 * N, f) / (6 * N)
    frame = variants.select("chromosome", "base_pair_location", "effect_allele", "other_allele")
    return frame.with_columns(frequency=pl.Series((f + 3 * others) / 4))[::4]


def summary(frame: pl.DataFrame, reference: pl.DataFrame, batch: int = 700) -> PhenotypeSummary:
    (found,) = summarise(frame.iter_slices(batch), reference, 3.0)
    return found


def failed(
    frame: pl.DataFrame, reference: pl.DataFrame, settings: ChecksSettings = DEFAULTS, binary: Binary | None = None
) -> dict[str, str]:
    """Return the failed measures with their descriptions."""
    findings = check_statistics(summary(frame, reference), settings, reference.height, binary)
    assert {finding.check_name for finding in findings} <= set(ChecksSettings.model_fields)
    return {finding.measure: finding.description for finding in findings if not finding.passed}


def test_check_statistics__sound_ones_pass(sound, reference):
    assert failed(sound, reference) == {}
    found = summary(sound, reference)
    assert (found.variants, found.n, found.frequencies.compared) == (VARIANTS, N, 750)
    assert found.sd == pytest.approx(np.random.default_rng(1).normal(size=N).std(), rel=0.01)


@pytest.mark.slow
def test_check_statistics__null_phenotypes_never_fail(reference):
    # 400 draws, quantitative and of 40 cases each: 800 phenotypes x 13 measures, and no false alarm.
    G, Q = dosages(0), np.ones((N, 1)) / np.sqrt(N)
    rng = np.random.default_rng(7)
    found, _ = associate_directly(G, rng.normal(size=(N, 400)), Q)
    for i in range(400):
        one = type("One", (), {k: getattr(found, k)[i] for k in ("beta", "standard_error", "neg_log_10_p_value")})
        assert failed(table(G, one), reference) == {}
    for _ in range(400):
        y = np.zeros(N, dtype=bool)
        y[rng.choice(N, 40, replace=False)] = True
        frame = table(G, associate_binary(G, fit_null_model(y, Q)).association)
        (told,) = summarise([frame], reference, 3.0, P_SLACK_BINARY)
        findings = check_statistics(told, DEFAULTS, reference.height, Binary(40, N - 40))
        assert [finding.description for finding in findings if not finding.passed] == []


def thinned(frame: pl.DataFrame, largest_p: float) -> tuple[pl.DataFrame, dict[str, object]]:
    """Return the rows of small p, and what the file notes of all."""
    stream = InflationStream()
    chromosome = frame["chromosome"].cast(pl.Int64).to_numpy()
    stream.add(frame["neg_log_10_p_value"].to_numpy(), chromosome, frame["base_pair_location"].to_numpy())
    method, cluster = frame.select("method", "cluster").row(0)
    note = {"method": method, "cluster": cluster, "n": N, **vars(stream.result()), "stored_max_p": largest_p}
    return frame.filter(pl.col("neg_log_10_p_value") >= -np.log10(largest_p)), note


@pytest.mark.parametrize("largest_p", [0.01, 1e-3, 1e-9])
def test_check_statistics__of_rows_of_small_p_alone_never_fail(G, reference, largest_p):
    found, _ = associate_directly(G, np.random.default_rng(8).normal(size=(N, 150)), np.ones((N, 1)) / np.sqrt(N))
    for i in range(150):
        one = type("One", (), {k: getattr(found, k)[i] for k in ("beta", "standard_error", "neg_log_10_p_value")})
        rows, note = thinned(table(G, one), largest_p)
        (told,) = of_thinned(summarise([rows], reference, 3.0) if rows.height else [], [note])
        assert told.inflation.variants == VARIANTS
        findings = check_statistics(told, DEFAULTS, reference.height, None)
        assert [finding.description for finding in findings if not finding.passed] == []


@pytest.mark.parametrize(("compared", "passes"), [(1, True), (3, True), (100, False), (2000, False)])
def test_check_statistics__few_frequencies_are_granted_their_chance(sound, reference, compared, passes):
    of_few = Frequencies(compared=compared, mean_difference=0.06, mean_by_chance=0.02)
    told = replace(summary(sound, reference), frequencies=of_few)
    findings = check_statistics(told, DEFAULTS, reference.height, None)
    assert [f.measure for f in findings if not f.passed] == ([] if passes else ["mean_difference"])


@pytest.mark.parametrize("of_small_p", [True, False])
def test_check_statistics__rows_chosen_by_p_may_miss_the_sample(sound, reference, of_small_p):
    told = replace(summary(sound, reference), frequencies=Frequencies(), thinned=of_small_p)
    findings = check_statistics(told, DEFAULTS, reference.height, None)
    assert [f.measure for f in findings if not f.passed] == ([] if of_small_p else ["compared"])


def test_check_statistics__inflation_of_thinned_rows_is_that_of_all(sound, reference):
    rows, note = thinned(inflated(sound), 1e-3)
    (told,) = of_thinned(summarise([rows], reference, 3.0), [note])
    measures = [f.measure for f in check_statistics(told, DEFAULTS, reference.height, None) if not f.passed]
    assert measures == list(failed(inflated(sound), reference))


def inflated(frame: pl.DataFrame) -> pl.DataFrame:
    z = 1.5 * frame["beta"] / frame["standard_error"]
    return frame.with_columns(
        beta=z * frame["standard_error"], neg_log_10_p_value=pl.Series(neg_log_10_p_from_z(z.to_numpy()))
    )


def at(rows: pl.Expr, column: str, value: object) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda frame: frame.with_columns(pl.when(rows).then(value).otherwise(column).alias(column))


FEW = pl.int_range(pl.len()) % 600 == 8  # 5 of the 3000, all among the reference


@pytest.mark.parametrize(
    ("trouble", "measures", "told"),
    [
        (inflated, {"lambda_1000", "lambda_gc"}, r"lambda GC 2\.\d+ in 400 people"),
        (lambda f: f.with_columns(n=pl.lit(49)), {"participants"}, "49 participants; at least 50"),
        (
            at(FEW, "effect_allele_frequency", 1 - pl.col("effect_allele_frequency")),
            {"flipped", "largest_difference"}, "of 750 variants have the frequency of the other allele",
        ),
        (
            at(FEW, "effect_allele_frequency", pl.col("effect_allele_frequency") * 0 + 0.5),
            {"largest_difference"}, "largest difference from the genotype files 0",
        ),
        (
            lambda f: f.with_columns(effect_allele_frequency=0.9 * pl.col("effect_allele_frequency") + 0.1),
            {"mean_difference"}, r"mean difference from the genotype files 0\.0[45]",
        ),
        (lambda f: pl.concat([f[:50], f]), {"repeated_rows"}, "50 of 3050 rows repeat a variant"),
        (lambda f: pl.concat([f, f[40:50]]), {"repeated_rows"}, "of 3010 rows repeat a variant"),
        (at(FEW, "beta", pl.lit(np.nan)), {"not_finite"}, "5 of 3000 rows: beta, its error"),
        (at(FEW, "standard_error", pl.lit(0.0)), {"not_finite"}, "5 of 3000 rows"),
        (at(FEW, "neg_log_10_p_value", pl.lit(np.inf)), {"not_finite"}, "5 of 3000 rows"),
        (at(FEW, "neg_log_10_p_value", pl.lit(9.0)), {"p_not_of_beta"}, "5 of 3000 rows: p is not that of beta"),
        (
            lambda f: f.with_columns(
                pl.col("beta", "standard_error") * pl.when(pl.int_range(pl.len()) % 20 == 0).then(5).otherwise(1)
            ),
            {"error_misfits"}, "standard errors of 150 of 3000 rows are 3 times off",
        ),
        (
            lambda f: f.with_columns(
                beta=pl.when(FEW).then(8.0).otherwise("beta"),
                neg_log_10_p_value=pl.when(FEW).then(800.0).otherwise("neg_log_10_p_value"),
            ),
            {"largest_effect"}, r"largest effect 8\.\d+ standard deviations an allele",
        ),
    ],
)  # fmt: skip
def test_check_statistics__planted_trouble_fails_its_own_check(sound, reference, trouble, measures, told):
    found = failed(trouble(sound), reference)
    if "flipped" in measures:  # how far a flip moves a frequency is of the variant
        measures = measures & set(found) | {"flipped"}
    assert set(found) == measures
    assert pl.Series([" ".join(found.values())]).str.contains(told).item()


def test_check_statistics__cases_are_counted_and_standard_errors_are_theirs(G, reference):
    Q = np.ones((N, 1)) / np.sqrt(N)
    y = np.arange(N) < 60
    frame = table(G, associate_binary(G, fit_null_model(y, Q)).association)
    few = {"sample_size": {"min_cases": 61}}
    assert failed(frame, reference, DEFAULTS, Binary(60, N - 60)) == {}
    assert failed(frame, reference, ChecksSettings.model_validate(few), Binary(60, N - 60)) == {
        "cases": "60 cases; at least 61"
    }
    wrong = frame.with_columns(pl.col("beta", "standard_error") * 5)
    assert set(failed(wrong, reference, DEFAULTS, Binary(60, N - 60))) == {"error_scale"}


def test_check_statistics__severities(sound, reference):
    off = {field.alias or name: {"severity": "off"} for name, field in ChecksSettings.model_fields.items()}
    off["lambda_gc"]["severity_unscaled"] = "off"
    assert check_statistics(summary(sound, reference), ChecksSettings.model_validate(off), 750) == []
    warn = ChecksSettings.model_validate({"sample_size": {"severity": "warn", "min_participants": 500}})
    (finding,) = [f for f in check_statistics(summary(sound, reference), warn, 750) if not f.passed]
    assert (finding.severity, finding.value, finding.threshold) == ("warn", N, 500)


def test_check_statistics__none_of_the_sample_in_common(sound, reference):
    elsewhere = reference.with_columns(base_pair_location=pl.col("base_pair_location") + 1)
    assert failed(sound, elsewhere) == {"compared": "none of 750 variants drawn from the genotype files is among 3000"}
    assert failed(sound[:20], elsewhere) == {}  # few variants may well miss it


def test_summarise__batches_phenotypes_and_allele_order_do_not_matter(sound, reference):
    other = sound.with_columns(cluster=pl.lit(3, pl.Int32), beta=-pl.col("beta"))
    first, second = summarise([sound, other], reference, 3.0)
    assert (first.cluster, second.cluster) == (None, 3)
    assert first == summary(sound, reference, batch=10) == summary(sound, reference, batch=3000)
    alternating = [part for pair in zip(sound.iter_slices(500), other.iter_slices(500), strict=True) for part in pair]
    assert summarise(alternating, reference, 3.0) == [first, second]
    swapped = reference.select(
        "chromosome", "base_pair_location", effect_allele="other_allele", other_allele="effect_allele",
        frequency=1 - pl.col("frequency"),
    )  # fmt: skip
    frequencies = [summary(sound, each).frequencies for each in (swapped, reference)]
    assert frequencies[0].mean_difference == pytest.approx(frequencies[1].mean_difference)
    assert (frequencies[0].compared, frequencies[0].flipped) == (750, 0)
    assert list(sound.columns) == list(COLUMNS)


@pytest.mark.parametrize(
    ("file", "slack"), [("test_lin_out_Y1", 0.01), ("test_lin_out_Y2", 0.01), ("test_bin_out_firth_Y1", P_SLACK_BINARY)]
)
def test_summarise__regenies_own_output_is_sound(regenie: Path, file, slack):
    columns = {
        "chromosome": "CHROM", "base_pair_location": "GENPOS", "effect_allele": "ALLELE1", "other_allele": "ALLELE0",
        "effect_allele_frequency": "A1FREQ", "beta": "BETA", "standard_error": "SE", "neg_log_10_p_value": "LOG10P",
    }  # fmt: skip
    text = dict.fromkeys(("CHROM", "ALLELE0", "ALLELE1"), pl.String)
    published = pl.read_csv(regenie / f"{file}.regenie", separator=" ", null_values="NA", schema_overrides=text)
    rows = published.select(
        method=pl.lit("regenie"),
        cluster=pl.lit(None, pl.Int32),
        n=pl.lit(494),
        **{k: pl.col(v) for k, v in columns.items()},
    )
    reference = draw_reference([regenie / "example.bed"], 400, 0)
    (found,) = summarise([rows], reference, 3.0, slack)
    assert (found.variants, found.not_finite, found.p_not_of_beta, found.error_misfits, found.repeated) == (
        1000,
        0,
        0,
        0,
        0,
    )
    assert (found.frequencies.compared, found.frequencies.flipped) == (400, 0)
    assert found.frequencies.mean_difference < 1e-5


def test_draw_reference__frequencies_of_a_random_sample(write_bed):
    G = dosages(3, 40, 50)
    G[5, :10] = np.nan
    G[6] = np.nan
    one, two = write_bed(G, name="one"), write_bed(G[:10], name="two")
    everything = draw_reference([one, two], 1000, 0)
    assert everything.height == 48  # 50 less the variant without a call, twice
    first = everything[:39]
    kept = np.delete(np.arange(40), 6)
    assert first["base_pair_location"].to_list() == (100 * kept).tolist()
    np.testing.assert_allclose(first["frequency"], np.nanmean(G[kept], axis=1) / 2, rtol=1e-6)
    drawn = draw_reference([one, two], 20, 1)
    assert_frame_equal(drawn, draw_reference([one, two], 20, 1))
    assert not drawn.equals(draw_reference([one, two], 20, 2))
    assert drawn.join(everything, on=drawn.columns, how="anti").is_empty()
