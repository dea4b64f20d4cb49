"""What figures show: the points, labels and images drawn, and their size as PNG."""

import base64
import subprocess
import sys
import time

import numpy as np
import polars as pl
import pytest
from matplotlib.collections import PathCollection
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.text import Text

from edp_assets.figures import association, codes, imaging, phenotypes
from edp_assets.figures.render import to_markdown, to_png


def drawn_points(ax):
    return np.concatenate([c.get_offsets() for c in ax.collections if isinstance(c, PathCollection)])


def texts(ax):
    return [t.get_text() for t in ax.texts]


def assert_png(fig, kilobytes=100):
    png = to_png(fig)
    assert png.startswith(b"\x89PNG")
    assert len(png) < kilobytes * 1000


def assert_no_overlap(ax):
    ax.get_figure().draw_without_rendering()
    boxes = [Text.get_window_extent(t) for t in ax.texts]  # without the lines to their points
    for k, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:k])


@pytest.fixture
def stats():
    rng = np.random.default_rng(0)
    chromosome = np.repeat(["1", "2", "10", "22", "X"], 4000)
    p = -np.log10(rng.random(20_000))
    p[[5, 9000, 9100, 17_000]] = [9.0, 12.0, 11.0, 30.0]
    position = np.tile(np.arange(4000) * 25_000, 5)
    return pl.DataFrame({"chromosome": chromosome, "base_pair_location": position, "neg_log_10_p_value": p})


def test_manhattan__draws_every_hit_and_thins_the_rest(stats):
    fig = association.manhattan(stats, title="liver K76")
    points = drawn_points(fig.axes[0])
    for height in stats.filter(pl.col("neg_log_10_p_value") >= 2)["neg_log_10_p_value"]:
        assert height in points[:, 1]
    assert len(points) < 0.8 * stats.height
    assert fig.get_suptitle() == "liver K76"
    assert_png(fig)


def test_manhattan__sorts_chromosomes_as_people_do(stats):
    ax = association.manhattan(stats.sample(fraction=1, shuffle=True, seed=0)).axes[0]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "2", "10", "22", "X"]
    assert (np.diff(ax.get_xticks()) > 0).all()


def test_manhattan__names_each_gene_once_without_overlap(stats):
    genes = pl.DataFrame(
        {
            "gene": ["GCKR", "PNPLA3", "SAMM50", "PNPLA3", None, "ELSEWHERE"],
            "chromosome": ["10", "X", "X", "X", "1", "7"],
            "base_pair_location": [25_000_000, 25_000_000, 25_100_000, 25_200_000, 125_000, 5],
            "neg_log_10_p_value": [12.0, 30.0, 29.5, 29.0, 9.0, 9.0],
        }
    )
    ax = association.manhattan(stats, genes).axes[0]
    assert texts(ax) == ["PNPLA3", "SAMM50", "GCKR"]
    assert_no_overlap(ax)
    ax.get_figure().draw_without_rendering()
    assert all(t.get_window_extent().y1 <= ax.get_window_extent().y1 + 2 for t in ax.texts)


def test_manhattan__of_nothing_or_missing_p_is_still_a_figure(stats):
    assert_png(association.manhattan(stats.clear()))
    assert_png(association.manhattan(stats.with_columns(neg_log_10_p_value=pl.lit(float("nan")))))


def test_manhattan__line_is_the_threshold(stats):
    (line,) = association.manhattan(stats, threshold=1e-6).axes[0].lines
    assert line.get_ydata()[0] == pytest.approx(6)


def test_stacked_manhattans__have_a_name_and_a_scale_each(stats):
    genes = pl.DataFrame(
        {"gene": ["GCKR"], "chromosome": ["10"], "base_pair_location": [25_000_000], "neg_log_10_p_value": [12.0]}
    )
    weak = stats.filter(pl.col("neg_log_10_p_value") < 8)
    panels = [association.Panel("before", stats, genes), association.Panel("after", weak)]
    fig = association.stacked_manhattans(panels, title="liver")
    above, below = fig.axes
    assert [ax.get_title("left") for ax in fig.axes] == ["before", "after"]
    assert [ax.get_xlabel() for ax in fig.axes] == ["", "chromosome"]
    assert texts(above) == ["GCKR"]
    assert above.get_ylim()[1] > 30 > below.get_ylim()[1]
    assert_png(fig)
    with pytest.raises(ValueError, match="need at least one panel, found none"):
        association.stacked_manhattans([])


def test_qq__shows_the_inflation():
    p = np.random.default_rng(0).random(50_000)
    fig = association.qq(-np.log10(p))
    assert association.lambda_gc(-np.log10(p)) == pytest.approx(1, abs=0.03)
    assert "50,000 variants" in texts(fig.axes[0])[0]
    points = drawn_points(fig.axes[0])
    assert len(points) < 3000
    np.testing.assert_allclose(points[np.argmax(points[:, 0])], [-np.log10(0.5 / 50_000), -np.log10(p.min())])
    assert_png(fig)


def test_qq__of_the_smallest_p_alone_keeps_their_ranks():
    p = np.sort(np.random.default_rng(0).random(50_000))
    whole = drawn_points(association.qq(-np.log10(p)).axes[0])
    fig = association.qq(-np.log10(p[:500]), tested=(50_000, 1.02))
    points = drawn_points(fig.axes[0])
    np.testing.assert_allclose(points[np.argsort(-points[:, 0])], whole[np.argsort(-whole[:, 0])][: len(points)])
    assert texts(fig.axes[0])[0].startswith("$\\lambda_{GC}$ = 1.020")


def test_lambda_gc__of_doubled_chi_squares_is_two():
    from scipy.stats import chi2

    statistics = chi2.ppf((np.arange(1001) + 0.5) / 1001, 1)
    assert association.lambda_gc(-chi2.logsf(2 * statistics, 1) / np.log(10)) == pytest.approx(2)


def test_qq__of_nothing_says_so():
    assert texts(association.qq(np.array([np.nan])).axes[0]) == ["no variants"]


def test_score_histogram__counts_cases_and_controls():
    rng = np.random.default_rng(0)
    cases = np.arange(500) < 40
    fig = phenotypes.score_histogram(rng.normal(size=500) + cases, cases, "liver E11")
    labels = [t.get_text() for t in fig.axes[0].get_legend().get_texts()]
    assert labels == ["controls (460)", "cases (40)"]
    assert_png(fig)
    assert_png(phenotypes.score_histogram(np.zeros(500), cases))


@pytest.fixture
def selection():
    rng = np.random.default_rng(1)
    auc = np.r_[rng.normal(0.5, 0.03, 40), 0.70, 0.702, 0.704, 0.8]
    return pl.DataFrame(
        {
            "icd10": [f"K{k:02d}" for k in range(44)],
            "roc_auc_out_of_fold": auc,
            "p_rank_sum": np.r_[np.full(40, 0.3), 1e-8, 1.1e-8, 1.2e-8, 0.0],
            "selected": auc > 0.6,
        }
    )


def test_auc_pval__names_the_selected_codes_without_overlap(selection):
    fig = phenotypes.auc_pval(selection, "heart")
    ax = fig.axes[0]
    assert sorted(texts(ax)) == ["K40", "K41", "K42", "K43"]
    assert len(drawn_points(ax)) == 44
    assert_no_overlap(ax)
    assert_png(fig)


def test_auc_pval__colours_chapters_and_says_what_the_best_codes_are_called(selection):
    chapters = [f"{'I' * (1 + k % 3)}" for k in range(43)] + [None]
    named = selection.with_columns(
        chapter=pl.Series(chapters),
        description=pl.Series([f"Disease {k} of a long, long, overly long name" for k in range(44)]),
    )
    ax, key = phenotypes.auc_pval(named, "heart").axes
    lines = texts(key)
    assert lines[:5] == ["ICD-10 chapter", "I  infections", "II  neoplasms", "III  blood and immunity", "other"]
    assert [line.split()[0] for line in lines[-4:]] == ["K43", "K40", "K41", "K42"]
    assert lines[-1] == "K42  Disease 42 of a long, long, overly long…"
    selected = max(ax.collections, key=lambda c: c.get_sizes()[0])
    assert len({tuple(colour) for colour in selected.get_facecolors()}) == 4
    assert_png(phenotypes.auc_pval(named))


def test_auc_pval__names_all_codes_where_they_are_few(selection):
    ax = phenotypes.auc_pval(selection.tail(5)).axes[0]
    assert set(texts(ax)) == {"K39", "K40", "K41", "K42", "K43"}


def test_code_palette__keeps_its_colours_for_the_chapters_of_the_best(selection):
    romans = list(codes.CHAPTERS)
    table = pl.DataFrame(
        {"icd10": romans * 3, "chapter": romans * 3, "y": range(66), "selected": [False] * 44 + [True] * 22}
    )
    palette = codes.CodePalette(table, "y")
    assert len(palette.chapters) == codes.MAX_COLOURS
    assert list(palette.chapters) == [
        c for c in romans[7:] if c in palette.chapters
    ]  # of the best, in the book's order
    assert palette.colour("I", selected=True) == codes.GREY
    assert palette.legend()[-1] == (codes.GREY, "other")
    without = codes.CodePalette(table.drop("chapter"), "y")
    assert without.legend() == [(codes.GREEN, "selected"), (codes.GREY, "not selected")]


def test_auc_pval__leaves_out_codes_without_a_score(selection):
    missing = selection.with_columns(
        pl.when(pl.col("icd10") == "K00").then(None).otherwise(pl.col("p_rank_sum")).alias("p_rank_sum")
    )
    assert len(drawn_points(phenotypes.auc_pval(missing).axes[0])) == 43
    assert_png(phenotypes.auc_pval(selection.clear()))


def test_percentage_pval__has_a_panel_a_cluster(selection):
    enrichment = pl.concat(
        selection.select(
            "icd10",
            "selected",
            cluster=pl.lit(c),
            percentage=pl.col("roc_auc_out_of_fold") * 10,
            p_fisher=pl.col("p_rank_sum"),
        )
        for c in (0, 1, 4)
    )
    fig = phenotypes.percentage_pval(enrichment, "liver")
    assert [ax.get_title() for ax in fig.axes] == ["cluster 0", "cluster 1", "cluster 4"]
    assert all(len(texts(ax)) == 4 for ax in fig.axes)
    for ax in fig.axes:
        assert_no_overlap(ax)
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["selected", "not selected"]
    assert_png(fig)


def test_percentage_pval__seven_hundred_codes_of_eighteen_clusters_take_seconds():
    rng = np.random.default_rng(0)
    many = pl.concat(
        pl.DataFrame(
            {
                "icd10": [f"K{k:03d}" for k in range(700)],
                "cluster": cluster,
                "percentage": rng.gamma(1, 4, 700),
                "neg_log_10_p_fisher": rng.exponential(2, 700),
                "selected": rng.random(700) < 0.1,
            }
        )
        for cluster in range(18)
    )
    started = time.process_time()
    fig = phenotypes.percentage_pval(many)
    assert time.process_time() - started < 20
    assert all(len(texts(ax)) == 4 for ax in fig.axes[:18])


def test_cluster_enrichment__shows_one_cluster_beside_its_codes(selection):
    rng = np.random.default_rng(0)
    labels = np.r_[np.zeros(900, int), np.ones(300, int), [2] * 5, [3]]
    umap = rng.normal(size=(len(labels), 2)) + 5 * labels[:, None]
    enrichment = selection.select(
        "icd10", "selected", percentage=pl.col("roc_auc_out_of_fold") * 10, p_fisher=pl.col("p_rank_sum")
    )
    for cluster, size in enumerate((900, 300, 5, 1)):
        fig = phenotypes.cluster_enrichment(umap, labels, cluster, enrichment, "liver")
        left, right, key = fig.axes
        assert left.get_title() == f"cluster {cluster}: {size} of 1,206 participants"
        contours = [c for c in left.collections if isinstance(c, ContourSet)]
        assert len(contours) == (2 if size > 10 else 0)
        # The densest place is where the cluster's people are.
        if contours:
            densest = contours[0].get_paths()[-1].vertices.mean(axis=0)
            assert np.abs(densest - umap[labels == cluster].mean(axis=0)).max() < 0.7
        assert sorted(texts(right)) == ["K40", "K41", "K42", "K43"]
        assert "selected" in texts(key)
    assert_png(fig, 200)


def test_umap_clusters__numbers_every_cluster():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 14, 3000)
    fig = phenotypes.umap_clusters(rng.normal(size=(3000, 2)) + labels[:, None], labels, "liver")
    assert texts(fig.axes[0]) == [*map(str, range(14)), "3,000 participants, 14 clusters"]
    assert_png(fig, 150)


def test_crop_montage__shows_middle_slices_of_every_channel():
    crops = [np.full((2, 5, 10 + k, 12), 50 * k, np.uint8) for k in range(3)]
    crops[1][0, 2] = 200
    fig = imaging.crop_montage(crops, ["a", "b", "c"], "liver", ["fat", "water"])
    assert len(fig.axes) == 6
    middle = np.asarray(fig.axes[1].images[0].get_array())
    assert middle.shape == (12, 12)
    assert (middle == 200).sum() == 11 * 12  # padded to the largest crop
    assert_png(fig)


def test_crop_montage__coronal_slices_in_true_proportions():
    crop = np.zeros((2, 4, 10, 12), np.uint8)
    crop[1, 3] = 255  # the top slice of water
    fig = imaging.crop_montage([crop], ["a"], "liver", ["fat", "water"], [(2.0, 2.0, 6.0)])
    assert [ax.get_ylabel() for ax in fig.axes] == ["fat", "water", "fat\ncoronal", "water\ncoronal"]
    coronal = np.asarray(fig.axes[3].images[0].get_array())
    assert coronal.shape == (12, 12)
    assert (coronal[-3:] == 255).all()
    assert (coronal[:-3] == 0).all()
    assert_png(fig)


def test_crop_sample__is_seeded_and_uniform_over_all_that_pass_by():
    def drawn(seed, n=40):
        sample = imaging.CropSample(seed, size=4)
        for i in range(n):
            sample.add(np.full((1, 2, 3, 3), i, np.uint8), (1.0, 1.0, 1.0), str(i))
        assert sample.seen == n
        return [int(label) for label in sample.labels]

    assert drawn(0) == drawn(0) != drawn(1)
    assert drawn(0, n=3) == [0, 1, 2]
    few = imaging.CropSample(seed=0)
    few.add(np.ones((1, 2, 3, 3), np.uint8), (1.0, 1.0, 1.0), "1,432 ml")
    assert [ax.get_title() for ax in few.montage("liver", ["t1"]).axes] == ["1,432 ml", ""]
    everyone = np.concatenate([drawn(seed) for seed in range(100)])
    assert abs(everyone.mean() - 19.5) < 4 * 11.5 / np.sqrt(len(everyone))
    assert len(set(everyone)) == 40


def test_crop_montage__refuses_labels_that_do_not_match():
    with pytest.raises(ValueError, match="found 1 crops, 2 labels"):
        imaging.crop_montage([np.zeros((1, 2, 3, 3), np.uint8)], ["a", "b"])
    with pytest.raises(ValueError, match="found 0 crops"):
        imaging.crop_montage([], [])


def test_training_loss__draws_each_epoch():
    fig = imaging.training_loss([1.0, 0.5, 0.25], "liver")
    (line,) = fig.axes[0].lines
    np.testing.assert_array_equal(line.get_xydata(), [[1, 1], [2, 0.5], [3, 0.25]])
    assert_png(fig)
    assert_png(imaging.training_loss([]))


def test_reconstructions__shows_three_rows_and_hides_what_was_masked():
    original = np.random.default_rng(0).random((3, 2, 16, 16))
    masked = original.copy()
    masked[..., :8, :] = np.nan
    fig = imaging.reconstructions(original, masked, original)
    assert len(fig.axes) == 3 * 6
    assert np.ma.getmaskarray(fig.axes[6].images[0].get_array())[:8].all()
    assert_png(fig)
    with pytest.raises(ValueError, match=r"wanted, found \(3, 2, 16, 16\), \(3, 2, 16, 16\), \(3, 16, 16\)"):
        imaging.reconstructions(original, masked, original[:, 0])


def test_to_markdown__carries_the_image():
    markdown = to_markdown(Figure(figsize=(1, 1)), "loss")
    assert markdown.startswith("![loss](data:image/png;base64,")
    assert base64.b64decode(markdown.split("base64,")[1].removesuffix(")")).startswith(b"\x89PNG")


def test_figures__never_import_pyplot():
    imports = "import sys; from edp_assets.figures import association, codes, imaging, phenotypes"
    code = f"{imports}; print('matplotlib.pyplot' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
