"""What interactive figures say: the rows drawn, their colours and tips, thresholds and labels, as a page has them."""

from __future__ import annotations

import base64
import json
import math
import re
import zlib
from importlib.resources import files
from typing import Any

import numpy as np
import polars as pl
import pytest
from matplotlib.colors import to_rgb

from edp_assets.figures import interactive as draw
from edp_assets.figures.colours import BLUE, GREY, ON_BOTH, ON_BOTH_ALPHA, ORANGE, OTHER, SKY, VERMILION
from edp_assets.figures.interactive_gwas import MAX_LABELS, manhattan, qq, volcano
from edp_assets.figures.specification import ARRAYS, Axis, Figure, Mark, Scale, columns_of, packed
from edp_assets.figures.thinning import Thinned, thin

THRESHOLD = 7.3
TYPES = {name: dtype for dtype, name in ARRAYS.items()}


def unpacked(plain: Any) -> list[Any]:
    """Return a column of its JSON, as the page's script reads it."""
    if isinstance(plain, list):
        return plain
    ((kind, text),) = [(key, value) for key, value in plain.items() if key != "of"]
    own = np.frombuffer(zlib.decompress(base64.b64decode(text)), TYPES[kind]).tolist()
    return [plain["of"][place] for place in own] if "of" in plain else own


def rows(marks: list[Mark], *columns: str) -> list[tuple[Any, ...]]:
    """Return what is drawn by some marks, as it arrives in the page."""
    figure = Figure(Axis(""), Axis(""), 1, marks=marks)
    made = json.loads(json.dumps(figure.plain(), allow_nan=False))
    tables = [made["tables"][mark["table"]] for mark in made["marks"]]
    return [row for table in tables for row in zip(*(unpacked(table[name]) for name in columns), strict=True)]


def near(drawn: list[tuple[Any, ...]], wanted: list[tuple[Any, ...]]) -> None:
    assert sorted(drawn) == [pytest.approx(row, rel=1e-6) for row in sorted(wanted)]


@pytest.mark.parametrize(
    ("values", "form"),
    [
        (pl.Series([1.5, None, -3.25]), {"f32"}),
        (pl.Series([1, 2, 3_000_000]), {"i32"}),
        (pl.Series(["b", None, "a"]), None),
        (pl.Series([4, None]), None),
        (pl.Series([2.5, 0.5] * 20), {"f32"}),
        (pl.Series(["x", "y", None, "x"] * 4), {"of", "u8"}),
        (pl.Series([f"t{k % 300}" for k in range(2_000)]), {"of", "u16"}),
        (pl.Series(dtype=pl.Float64, values=[]), {"f32"}),
        (pl.Series(dtype=pl.String, values=[]), None),
    ],
)
def test_packed__arrives_as_it_was(values: pl.Series, form: set[str] | None) -> None:
    sent = packed(columns_of(values.to_frame("v"), "v")["v"])
    assert (None if isinstance(sent, list) else set(sent)) == form
    wanted = [math.nan if value is None else value for value in values]
    if form is None or values.dtype == pl.String:
        wanted = ["" if value is None else str(value) for value in values]
    assert repr(unpacked(json.loads(json.dumps(sent)))) == repr(wanted)  # NaN is not itself, but its text is


def test_packed__repeated_values_are_fewer_bytes() -> None:
    column = np.tile(np.arange(75, dtype="<f4"), 200)
    assert len(json.dumps(packed(column))) < 0.1 * len(base64.b64encode(column.tobytes()))
    assert len(json.dumps(packed(["1", "22"] * 1_000))) < 100


def test_plain__marks_of_one_table_share_it() -> None:
    figure = draw.heat_map(
        pl.DataFrame({"organ": ["liver"], "icd10": ["K76"], "description": ["x"], "genes": [1], "href": ["a.html"]})
    )
    plain = figure.plain()
    assert [mark["table"] for mark in plain["marks"]] == [0, 0]
    assert len(plain["tables"]) == 1


def people(n: int = 60) -> pl.DataFrame:
    k = np.arange(n)
    return pl.DataFrame({"cluster": k % 12, "umap_1": k / 7, "umap_2": k % 5}, schema_overrides={"umap_2": pl.Float64})


COLOURS = draw.groups([f"cluster {k}" for k in (11, *range(11))])
"""Of clusters: the eleventh is the first."""


def test_umap__each_person_once_in_the_cluster_s_colour_and_no_id() -> None:
    figure = draw.umap(people().with_columns(eid=pl.lit("7000001")), COLOURS)
    assert [mark.legend for mark in figure.marks] == ["cluster 11", *(f"cluster {k}" for k in range(8)), "other"]
    assert [mark.colour for mark in figure.marks] == [*ON_BOTH, OTHER]
    for mark in figure.marks:
        clusters = [8, 9, 10] if mark.legend == "other" else [int((mark.legend or "").split()[1])]
        own = people().filter(pl.col("cluster").is_in(clusters))
        near(rows([mark], "umap_1", "umap_2", "cluster"), own.select("umap_1", "umap_2", "cluster").rows())
    assert "7000001" not in json.dumps(figure.plain())
    assert (figure.legend, figure.x.label, figure.y.label) == ("right", "UMAP 1", "UMAP 2")


def test_umap__clusters_are_numbered_in_their_middle() -> None:
    far = pl.DataFrame({"cluster": [3, 3, 3], "umap_1": [0.0, 1.0, 99.0], "umap_2": [5.0, 7.0, 6.0]})
    figure = draw.umap(pl.concat([far, far.with_columns(cluster=pl.lit(0, pl.Int64), umap_1=-1.0)]), {})
    assert figure.labels == [(-1.0, 6.0, "0"), (1.0, 6.0, "3")]


def _luminance(colour: tuple[float, ...]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def test_colours__of_points_are_told_from_both_grounds_as_they_are_drawn() -> None:
    css = files("edp_assets.report").joinpath("static/report.css").read_text()
    grounds = [to_rgb(ground) for ground in re.findall(r"--ground: (#\w{6})", css)]
    assert len(grounds) == 2
    marks = [*draw.umap(people(), COLOURS).marks, *draw.percentage_pval(selection(), COLOURS, max_p=0.1).marks]
    for ground in grounds:
        for colour in (*ON_BOTH, OTHER, *(str(mark.colour) for mark in marks)):
            alpha = min(ON_BOTH_ALPHA, *(mark.alpha for mark in marks))
            drawn = tuple(alpha * c + (1 - alpha) * g for c, g in zip(to_rgb(colour), ground, strict=True))
            low, high = sorted([_luminance(drawn), _luminance(ground)])
            assert (high + 0.05) / (low + 0.05) >= 3, colour


def test_cluster_colours__those_with_a_selected_code_then_those_of_the_smallest_p() -> None:
    codes = pl.DataFrame(
        {"cluster": [*range(12), 11], "selected": [False] * 12 + [True], "p_fisher": [0.5] * 10 + [0.1, 0.9, 0.04]}
    )
    colours = draw.cluster_colours(pl.Series("cluster", [12, *range(12)], dtype=pl.Int32), codes)
    assert colours == dict(zip([f"cluster {k}" for k in (11, 10, *range(7))], ON_BOTH, strict=True))
    alone = draw.cluster_colours(pl.Series("cluster", [1, 0], dtype=pl.Int32), pl.DataFrame())
    assert list(alone) == ["cluster 0", "cluster 1"]


def test_umap__of_many_people_an_even_share() -> None:
    many = people(2 * draw.MAX_PEOPLE + 1)
    figure = draw.umap(many, COLOURS)
    drawn = rows(figure.marks, "umap_1")
    assert len(drawn) == pytest.approx(draw.MAX_PEOPLE * 2 / 3, abs=1)
    assert max(drawn)[0] > 0.99 * many["umap_1"].max()  # type: ignore[operator]


def selection(n: int = 30) -> pl.DataFrame:
    k = np.arange(n)
    return pl.DataFrame(
        {
            "icd10": [f"K{i:02}" for i in k],
            "description": [f"what <{i}> is" for i in k],
            "chapter": [f"c{min(i // 2, 12):02}" for i in k],
            "cluster": k % 2,
            "cases": k + 5,
            "roc_auc_out_of_fold": 0.5 + k / 100,
            "p_rank_sum": [0.0, None, *(0.5**i for i in k[2:])],
            "percentage": k * 1.0,
            "p_fisher": [0.1**i for i in k],
            "selected": k > 20,
        }
    )


def test_auc_pval__every_code_with_a_p_and_filled_where_selected() -> None:
    figure = draw.auc_pval(selection(), min_auc=0.6, max_p=1e-3)
    wanted = [
        (code, f"what <{k}> is", 0.5 + k / 100, 300.0 if k == 0 else -math.log10(0.5**k), 0.9 if k > 20 else 0.0)
        for k, code in enumerate(selection()["icd10"]) if k != 1
    ]  # fmt: skip
    columns = ("icd10", "description", "roc_auc_out_of_fold", "neg_log_10_p", "fill")
    drawn = sorted(rows(figure.marks, *columns))
    assert [row[:2] for row in drawn] == [row[:2] for row in wanted]
    np.testing.assert_allclose([row[2:] for row in drawn], [row[2:] for row in wanted], rtol=1e-6)
    assert all(mark.fill_alpha == "fill" for mark in figure.marks)
    assert [(line.at, line.upright, line.colour) for line in figure.lines] == [
        (0.6, True, VERMILION), (pytest.approx(3), False, VERMILION),
    ]  # fmt: skip
    assert figure.marks[0].tooltips[0] == ("code", "@{icd10}")


def test_auc_pval__chapters_with_a_selected_code_have_a_colour_then_the_strongest_and_the_rest_are_other() -> None:
    marks = draw.auc_pval(selection(), min_auc=0.6, max_p=1e-3).marks
    # Code 0 has the smallest p of all, but none of its chapter is selected.
    assert [mark.legend for mark in marks] == [
        "c12",
        "c11",
        "c10",
        "c00",
        *(f"c{k:02}" for k in (9, 8, 7, 6, 5)),
        "other",
    ]
    assert [mark.colour for mark in marks] == [*ON_BOTH, OTHER]
    assert sum(len(rows([mark], "icd10")) for mark in marks) == 29


def test_percentage_pval__every_cluster_a_colour() -> None:
    figure = draw.percentage_pval(selection(), draw.groups(["cluster 0", "cluster 1"]), max_p=1e-3)
    assert sorted(mark.legend or "" for mark in figure.marks) == ["cluster 0", "cluster 1"]
    near(rows(figure.marks, "percentage", "neg_log_10_p"), [(k * 1.0, k * 1.0) for k in range(30)])
    assert [line.at for line in figure.lines] == [pytest.approx(3)]


def test_percentage_pval__a_cluster_has_the_colour_it_has_in_the_umap() -> None:
    colours = draw.groups(["cluster 1"])
    marks = draw.percentage_pval(selection(), colours, max_p=1e-3).marks
    assert [(mark.legend, mark.colour) for mark in marks] == [("cluster 1", ON_BOTH[0]), ("other", OTHER)]
    odd = draw.umap(people().filter(pl.col("cluster") == 1), colours)
    assert [(mark.legend, mark.colour) for mark in odd.marks] == [("cluster 1", ON_BOTH[0])]


def test_score_distribution__bars_hold_everyone() -> None:
    score, cases = np.random.default_rng(0).normal(size=500), np.arange(500) < 40
    figure = draw.score_distribution(score, cases)
    assert [(mark.legend, mark.colour) for mark in figure.marks] == [("controls (460)", GREY), ("cases (40)", ORANGE)]
    for mark, members in zip(figure.marks, (~cases, cases), strict=True):
        bars = np.array(rows([mark], "left", "right", "density", "people"))
        assert len(bars) == 40
        assert bars[:, 3].sum() == members.sum()
        assert ((bars[:, 1] - bars[:, 0]) * bars[:, 2]).sum() == pytest.approx(1, abs=1e-5)
        assert mark.at["bottom"] == 0
    assert figure.y.range == (0, None)
    empty = draw.score_distribution(np.array([]), np.array([], bool))
    assert [mark.legend for mark in empty.marks] == ["controls (0)", "cases (0)"]


def test_heat_map__cells_lead_to_their_pages_and_the_best_codes_are_shown() -> None:
    codes = [f"K{k:03}" for k in range(draw.HEAT_ROWS + 5)]
    hits = pl.DataFrame(
        [{"organ": organ, "icd10": code, "description": "x" * 60, "genes": k * (organ == "liver"),
          "href": f"{organ}/{code}.html"} for k, code in enumerate(codes) for organ in ("liver", "heart")]
    )  # fmt: skip
    figure = draw.heat_map(hits)
    cells, texts = figure.marks
    named = {f"{code} {'x' * 44}": k for k, code in enumerate(codes) if k >= 5}
    assert figure.x.range == ["heart", "liver"]
    assert figure.y.range == sorted(named, reverse=True)
    wanted = [(o, n, k * (o == "liver"), f"{o}/{n[:4]}.html") for n, k in named.items() for o in ("heart", "liver")]
    assert sorted(rows([cells], "organ", "code", "genes", "href")) == sorted(wanted)
    assert sorted(rows([texts], "organ", "code", "genes")) == sorted(row[:3] for row in wanted)
    assert (cells.link, texts.at["text"]) == ("href", "genes")
    assert cells.colour == Scale("genes", draw.WHITES_TO_REDS, 0, len(codes) - 1)
    assert (figure.width, figure.x.opposite) == (720, True)


def gwas(n: int = 3_000) -> pl.DataFrame:
    k = np.arange(n)
    p = -np.log10(np.random.default_rng(0).uniform(size=n))
    p[[100, 1300, 2500]] = [9.0, 20.0, 12.0]
    return pl.DataFrame({"k": k, "neg_log_10_p_value": p}).select(
        method=pl.lit("classifier"), cluster=pl.lit(None, pl.Int32), chromosome=(pl.col("k") % 3 + 1).cast(pl.String),
        base_pair_location=pl.col("k").cast(pl.Int64) * 1000, rsid=pl.format("rs{}", "k"),
        neg_log_10_p_value=pl.col("neg_log_10_p_value").cast(pl.Float32),
    )  # fmt: skip


@pytest.fixture(scope="module")
def thinned() -> Thinned:
    return thin(lambda: [gwas()], THRESHOLD)["classifier", None]


GENES = pl.DataFrame(
    {
        "gene": ["BEST", "NEAR", "FAR", "FAR", None, "GONE"],
        "chromosome": ["2", "2", "3", "3", "1", "X"],
        "base_pair_location": [1_300_000, 1_310_000, 2_500_000, 2_501_000, 100_000, 5],
        "rsid": ["rs1300", "rs1310", "rs2500", "rs2501", "rs100", "rsX"],
        "neg_log_10_p_value": [20.0, 19.0, 12.0, 11.0, 9.0, 9.0],
    }
)


def test_manhattan__draws_what_was_chosen_and_hits_in_their_colour(thinned: Thinned) -> None:
    figure = manhattan(thinned, GENES, THRESHOLD)
    even, odd, others, hits, genes = figure.marks
    near(rows([even, odd], "x", "neg_log_10_p_value"), thinned.pixels.rows())
    assert [mark.colour for mark in figure.marks] == [BLUE, SKY, GREY, VERMILION, VERMILION]
    (low, high) = thinned.spans["2"]
    assert all(low <= x < high for (x,) in rows([odd], "x"))
    assert not any(low <= x < high for (x,) in rows([even], "x"))
    told = ("chromosome", "base_pair_location", "rsid")
    assert rows([hits], *told) == [("2", 1_300_000, "rs1300"), ("2", 2_500_000, "rs2500"), ("2", 100_000, "rs100")]
    assert sorted(rows([others, hits], *told)) == sorted(thinned.notable.select(told).rows())
    assert others.tooltips == hits.tooltips != genes.tooltips
    assert [(line.at, line.upright) for line in figure.lines] == [(THRESHOLD, False)]
    assert figure.y.range == (0.0, pytest.approx(20 * 1.18))


def test_manhattan__marks_each_gene_once_and_names_those_apart(thinned: Thinned) -> None:
    figure = manhattan(thinned, GENES, THRESHOLD)
    assert rows([figure.marks[-1]], "gene", "rsid") == [("BEST", "rs1300"), ("NEAR", "rs1310"), ("FAR", "rs2500")]
    assert [label[1:] for label in figure.labels] == [(20.0, "BEST"), (12.0, "FAR")]
    places = [x for (x,) in rows([figure.marks[-1]], "x")]
    assert [label[0] for label in figure.labels] == pytest.approx([places[0], places[2]])


def test_manhattan__names_a_few_genes_and_no_tick_of_narrow_chromosomes_overlaps() -> None:
    many = pl.DataFrame(
        [{"chromosome": str(1 + c), "base_pair_location": b * 1000, "rsid": "rs", "method": "classifier",
          "cluster": None, "neg_log_10_p_value": 8.0} for c in range(22) for b in range(400 if c < 20 else 5)],
        schema_overrides={"cluster": pl.Int32, "neg_log_10_p_value": pl.Float32},
    )  # fmt: skip
    found = thin(lambda: [many], THRESHOLD)["classifier", None]
    genes = many[::20].with_columns(gene=pl.format("G{}", pl.int_range(pl.len())))
    figure = manhattan(found, genes, THRESHOLD)
    assert len(figure.labels) == MAX_LABELS
    assert [name for _, name in figure.x.ticks or []] == [*map(str, range(1, 22)), ""]
    middles = [(low + high) / 2 for low, high in found.spans.values()]
    assert [place for place, _ in figure.x.ticks or []] == middles


def test_qq__every_quantile_in_its_band(thinned: Thinned) -> None:
    band, line, points = qq(thinned.quantiles, 3_000).marks
    drawn = np.array(rows([points], "expected", "observed", "rank"))
    np.testing.assert_array_equal(drawn[:, 2], thinned.quantiles["rank"])
    np.testing.assert_allclose(drawn[:, 0], -np.log10((drawn[:, 2] - 0.5) / 3_000), rtol=1e-6)
    np.testing.assert_allclose(drawn[:, 1], thinned.quantiles["neg_log_10_p_value"], rtol=1e-6)
    low, high = np.array(rows([band], "low", "high")).T
    assert (low < high).all()
    assert np.mean((low <= drawn[:, 0]) & (drawn[:, 0] <= high)) > 0.99  # what is expected lies in its own band
    assert rows([line], "x", "y") == [(0, 0), (pytest.approx(drawn[0, 0]), pytest.approx(drawn[0, 0]))]
    assert [mark.legend for mark in (band, line, points)] == ["95% band", "no association", None]
    assert len(qq(thinned.quantiles.clear(), 0).marks) == 1


def test_volcano__traits_of_one_effect_filled_below_the_corrected_level_and_the_strongest_named() -> None:
    k = np.arange(12)
    phewas = pl.DataFrame(
        {
            "trait": [f"t{i}" for i in k], "description": [None, "y" * 40, *(f"trait <{i}>" for i in k[2:])],
            "category": [None, *["blood"] * 11], "kind": "continuous", "n": 100,
            "beta": [0.1 * i for i in k[:11]] + [None],
            "neg_log_10_p_value": 20.0 - k, "neg_log_10_p_bonferroni": [5.0] * 9 + [None, 1.0, 5.0],
        }
    )  # fmt: skip
    figure = volcano(phewas)
    assert [mark.legend for mark in figure.marks] == ["no category", "blood"]
    drawn = dict(rows(figure.marks, "trait", "fill"))
    assert drawn == {f"t{i}": pytest.approx(0.9) if i < 9 else 0.0 for i in range(11)}
    assert [text for *_, text in figure.labels] == ["t0", f"{'y' * 30}…", *(f"trait <{i}>" for i in range(2, 8))]
    assert [label[0] for label in figure.labels] == pytest.approx([0.1 * i for i in range(8)])


@pytest.mark.parametrize(
    "figure",
    [
        draw.umap(people(0), {}),
        draw.auc_pval(selection().clear(), min_auc=0.6, max_p=0.1),
        draw.percentage_pval(selection().clear(), {}, max_p=0.1),
        qq(pl.DataFrame(schema={"rank": pl.Int64, "neg_log_10_p_value": pl.Float64}), 0),
    ],
)
def test_figures__of_nothing_are_still_figures(figure: Figure) -> None:
    assert not rows([mark for mark in figure.marks if "x" in mark.columns], "x")
    assert json.loads(json.dumps(figure.plain(), allow_nan=False))["height"] == figure.height


def test_plain__labels_without_a_place_are_left_out() -> None:
    figure = draw.umap(people(), {})
    figure.labels = [(1.0, math.nan, "lost"), (1.0, 2.0, "kept")]
    assert figure.plain()["labels"] == [[1.0, 2.0, "kept"]]
