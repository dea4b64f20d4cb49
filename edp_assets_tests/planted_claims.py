"""What the paper claims, held against a finished demo run: each claim holds or does not, with its numbers.

Read from the warehouse and the lake of the run alone. `make acceptance` prints them for three seeds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edp_assets.storage import warehouse

LEARNED = ("mae", "video_mae")
LEAST_VOLUME_R, LEAST_SCORE_R = 0.95, 0.9
"""The paper's Table 4, its lowest; and of the few-shot scores, which it calls nearly identical in their hits."""
LARGEST_SHARE_LEFT = 0.2
"""Of the variance that the dominating factor explains, what adjustment may leave."""


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, whether it holds in a run (None: the run did not make what would tell), and the numbers."""

    text: str
    holds: bool | None
    numbers: str

    def __str__(self) -> str:
        verdict = {True: "holds", False: "does NOT hold", None: "not tried"}[self.holds]
        return f"{verdict}: {self.text} ({self.numbers})"


def claims(home: Path, planted_genes: dict[str, int]) -> Iterator[Claim]:
    """Yield the claims; `planted_genes` are those found by method and encoder, `edp` all learned EDPs together."""
    yield more_genes(planted_genes)
    yield age(home)
    yield volume(home)
    yield few_labels(home)
    yield adjustment(home)
    yield larger_encoders(home)


def more_genes(found: dict[str, int]) -> Claim:
    """EDPs find more planted genes than organ volume and than the code as a binary trait; controls are told."""
    names = ("organ_volume", "icd10_imaging_cohort", "icd10_whole_cohort")
    numbers = {name: found.get(name, 0) for name in ("edp", *names, "untrained")}
    told = ", ".join(f"{name} {n}" for name, n in numbers.items())
    holds = all(numbers["edp"] > numbers[name] for name in names)
    return Claim("EDPs find more planted genes than volume and than the code itself", holds, told)


def age(home: Path) -> Claim:
    """Both encoders predict age better than volume does, all organs together, beyond chance."""
    sql = """SELECT features, organ, mean_absolute_error AS error, error_below_volume AS below,
        error_below_volume_low AS low, error_below_volume_high AS high FROM evidence_age ORDER BY features, organ"""
    found = list(warehouse.query(home / "warehouse.duckdb", sql).iter_rows(named=True))
    return age_of(found)


def age_of(found: list[dict[str, Any]]) -> Claim:
    """Judge rows of `evidence_age`: the paired difference from volume is above 0 in all organs together."""
    text = "both encoders beat volume at age, organs combined"
    together = {row["features"]: row for row in found if row["organ"] == "combined"}
    if not {"organ_volume", *LEARNED} <= set(together):
        return Claim(text, None, "no row of organs combined")
    told = [f"organ_volume {together['organ_volume']['error']:.2f} years"]
    told += [
        f"{name} {row['error']:.2f}, below volume by {row['below']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
        for name, row in together.items()
        if name != "organ_volume"
    ]
    lost = [f"{r['features']} {r['organ']}" for r in found if r["features"] in LEARNED and (r["low"] or 0) <= 0]
    told.append(f"not beyond chance: {', '.join(lost) or 'none'}")
    return Claim(text, all(together[name]["low"] > 0 for name in LEARNED), "; ".join(told))


def volume(home: Path) -> Claim:
    """Embeddings give volume back."""
    sql = "SELECT features, organ, pearson_r FROM evidence_volume WHERE list_contains(?, features) ORDER BY ALL"
    found = warehouse.query(home / "warehouse.duckdb", sql, [list(LEARNED)])
    told = ", ".join(f"{name} {organ} {r:.3f}" for name, organ, r in found.iter_rows())
    holds = bool((found["pearson_r"] >= LEAST_VOLUME_R).all()) if found.height else None
    return Claim(f"embeddings reconstruct volume at r of {LEAST_VOLUME_R} or more", holds, told)


def few_labels(home: Path) -> Claim:
    """Clustering-guided scores of few labels are those of all labels, and hit the same genes."""
    sql = """SELECT fraction, pearson_r_score AS r, genes, genes_both, genes_few_shot FROM few_shot_comparison
        WHERE method = 'clustering' ORDER BY ALL"""
    return few_labels_of(list(warehouse.query(home / "warehouse.duckdb", sql).iter_rows(named=True)))


def few_labels_of(found: list[dict[str, Any]]) -> Claim:
    """Judge rows of `few_shot_comparison`; a score that hits no gene, by few labels or by all, agrees on nothing.

    Where genes are not known (null), nothing is judged.
    """
    fractions = ", ".join(f"{100 * each:g}%" for each in sorted({row["fraction"] for row in found})) or "few"
    text = f"{fractions} of the labels give the clustering-guided scores and genes of all"
    without = sum(row["r"] is None for row in found)
    found = [row for row in found if row["r"] is not None]
    hitting = [row for row in found if row["genes"] or row["genes_few_shot"]]
    if not hitting:
        unknown = any(row["genes"] is None for row in found)
        return Claim(text, None, f"{len(found)} scores, {'genes are not known' if unknown else 'none hits a gene'}")
    same = sum(row["genes"] == row["genes_both"] == row["genes_few_shot"] for row in hitting)
    least = min(row["r"] for row in found)
    told = f"{len(found)} scores, least r {least:.4f}; the same genes in {same} of {len(hitting)} that hit any"
    told += f"; {without} of which no label was kept" if without else ""
    return Claim(text, least >= LEAST_SCORE_R and same == len(hitting), told)


def adjustment(home: Path) -> Claim:
    """Where the first components, which are the organ's size, are adjusted for, embeddings say little of size."""
    names = warehouse.query(
        home / "warehouse.duckdb",
        "SELECT DISTINCT encoder, organ FROM adjustment_factors WHERE list_contains(?, encoder) ORDER BY ALL",
        [list(LEARNED)],
    )
    shares = {}
    for encoder, organ in names.iter_rows():
        sql = """SELECT e.z AS before, a.z AS after, v.volume_ml FROM embeddings e
            JOIN adjusted_embeddings a USING (encoder, organ, eid) JOIN organ_volumes v USING (organ, eid)
            WHERE e.encoder = ? AND e.organ = ? ORDER BY e.eid"""
        table = warehouse.query(home / "warehouse.duckdb", sql, [encoder, organ])
        size = table["volume_ml"].to_numpy()
        shares[f"{encoder} {organ}"] = tuple(
            share_explained(np.array(table[name].to_list(), dtype=float), size) for name in ("before", "after")
        )
    told = ", ".join(f"{name} {100 * before:.0f}% to {100 * after:.1f}%" for name, (before, after) in shares.items())
    told += "".join(f"; {line}" for line in adjusted_genes(home))
    holds = all(after < LARGEST_SHARE_LEFT * before for before, after in shares.values()) if shares else None
    return Claim("adjustment takes the dominating factor, size, out of the embeddings' variance", holds, told)


def adjusted_genes(home: Path) -> Iterator[str]:
    """Yield what adjustment did to the genes of each encoder's scores, and why where no score was left."""
    sql = """SELECT encoder, count(*) FILTER (hit_before AND hit_after) AS kept,
            count(*) FILTER (hit_before AND NOT hit_after) AS lost, count(*) FILTER (NOT hit_before) AS gained,
            count(*) FILTER (reason IS NOT NULL) AS unselected
        FROM adjustment_genes GROUP BY encoder ORDER BY encoder"""
    for row in warehouse.query(home / "warehouse.duckdb", sql).iter_rows(named=True):
        why = f" ({row['unselected']} of scores no longer selected)" if row["unselected"] else ""
        yield "{encoder} genes kept {kept}, lost {lost}{why}, gained {gained}".format(why=why, **row)


def share_explained(z: np.ndarray, factor: np.ndarray) -> float:
    """Return the share of the total variance of z (n_participants, n_dims) that is linear in a factor."""
    centred, f = z - z.mean(axis=0), factor - factor.mean()
    return float(((f @ centred) ** 2).sum() / (f @ f) / (centred**2).sum())


def larger_encoders(home: Path) -> Claim:
    """The largest encoder does not hit fewer genes than the smallest, beyond chance."""
    found = warehouse.query(home / "warehouse.duckdb", "SELECT * FROM evidence_sizes ORDER BY dimensions, weights")
    return larger_encoders_of(list(found.iter_rows(named=True)))


def larger_encoders_of(found: list[dict[str, Any]]) -> Claim:
    """Judge rows of `evidence_sizes`, the smallest encoder first; where genes are not known (null), nothing is."""
    text = "larger encoders do not lose"
    if unknown := [row for row in found if row["genes"] is None]:
        return Claim(text, None, f"{len(unknown)} of {len(found)} encoders: {unknown[0]['reason']}")
    told = ", ".join(
        "{organ} ViT-{size} {weights} {genes} ({genes_low:.1f} to {genes_high:.1f}) by {associations} pairs".format(
            **row
        )
        for row in found
    )
    trained: dict[str, list[dict[str, Any]]] = {}
    for row in found:
        if row["weights"] == "trained":
            trained.setdefault(row["organ"], []).append(row)
    holds = [of_organ[-1]["genes"] >= of_organ[0]["genes_low"] for of_organ in trained.values()]
    return Claim(text, all(holds) if holds else None, told or "[evidence] sizes is not set")
