"""What the paper claims, held against a finished demo run: each claim holds or does not, with its numbers.

Read from the warehouse and the lake of the run alone. `make acceptance` prints them for three seeds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
    """Both encoders predict age better than volume does, all organs together."""
    sql = """SELECT features, mean_absolute_error AS error, mean_absolute_error_low AS low,
        mean_absolute_error_high AS high FROM evidence_age WHERE organ = 'combined' ORDER BY features"""
    rows = {row["features"]: row for row in warehouse.query(home / "warehouse.duckdb", sql).iter_rows(named=True)}
    told = ", ".join(f"{n} {r['error']:.2f} ({r['low']:.2f} to {r['high']:.2f}) years" for n, r in rows.items())
    if not {"organ_volume", *LEARNED} <= set(rows):
        return Claim("both encoders beat volume at age", None, told or "no row of organs combined")
    holds = all(rows[name]["error"] < rows["organ_volume"]["error"] for name in LEARNED)
    return Claim("both encoders beat volume at age", holds, told)


def volume(home: Path) -> Claim:
    """Embeddings give volume back."""
    sql = "SELECT features, organ, pearson_r FROM evidence_volume WHERE list_contains(?, features) ORDER BY ALL"
    found = warehouse.query(home / "warehouse.duckdb", sql, [list(LEARNED)])
    told = ", ".join(f"{name} {organ} {r:.3f}" for name, organ, r in found.iter_rows())
    holds = bool((found["pearson_r"] >= LEAST_VOLUME_R).all()) if found.height else None
    return Claim(f"embeddings reconstruct volume at r of {LEAST_VOLUME_R} or more", holds, told)


def few_labels(home: Path) -> Claim:
    """Clustering-guided scores of few labels are those of all labels, and hit the same genes."""
    sql = """SELECT encoder, cluster, pearson_r_score AS r, genes, genes_both, genes_few_shot FROM few_shot_comparison
        WHERE method = 'clustering' AND pearson_r_score IS NOT NULL ORDER BY ALL"""
    found = warehouse.query(home / "warehouse.duckdb", sql)
    told = f"{found.height} scores"
    if not found.height:
        return Claim("few labels give the clustering-guided scores and genes of all", None, told)
    same = (found["genes"] == found["genes_both"]) & (found["genes"] == found["genes_few_shot"])
    told += f", least r {found['r'].min():.4f}, {int(same.sum())} with the same genes"
    holds = bool((found["r"] >= LEAST_SCORE_R).all() and same.all())
    return Claim("few labels give the clustering-guided scores and genes of all", holds, told)


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
    holds = all(after < LARGEST_SHARE_LEFT * before for before, after in shares.values()) if shares else None
    return Claim("adjustment takes the dominating factor, size, out of the embeddings' variance", holds, told)


def share_explained(z: np.ndarray, factor: np.ndarray) -> float:
    """Return the share of the total variance of z (n_participants, n_dims) that is linear in a factor."""
    centred, f = z - z.mean(axis=0), factor - factor.mean()
    return float(((f @ centred) ** 2).sum() / (f @ f) / (centred**2).sum())


def larger_encoders(home: Path) -> Claim:
    """The largest encoder does not hit fewer genes than the smallest, beyond chance."""
    sql = (
        "SELECT size, weights, organ, genes, genes_low, genes_high, dimensions FROM evidence_sizes ORDER BY dimensions"
    )
    found = warehouse.query(home / "warehouse.duckdb", sql)
    told = ", ".join(
        f"{organ} ViT-{size} {weights} {genes} ({low:.1f} to {high:.1f})"
        for size, weights, organ, genes, low, high, _ in found.iter_rows()
    )
    holds = []
    for _, of_organ in found.filter(weights="trained").group_by("organ"):
        ordered = of_organ.sort("dimensions")
        holds.append(ordered["genes"][-1] >= ordered["genes_low"][0])
    return Claim("larger encoders do not lose", all(holds) if holds else None, told or "[evidence] sizes is not set")
