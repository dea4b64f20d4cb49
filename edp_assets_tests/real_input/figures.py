"""The figures of the real-input run: `python -m edp_assets_tests.real_input.figures` makes and prints them."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from edp_assets.settings import Settings
from edp_assets.storage import warehouse
from edp_assets_tests.real_input import cohort

if TYPE_CHECKING:
    from edp_assets.science.encoders.pooling import Pooling

ORGAN = "hippocampus"
COMPONENTS = (10, 20, 50)
UNTRAINED = 3
"""Draws of random weights that the untrained control is the mean of."""


def image_quality(home: Path, seeds: int = 5) -> dict[str, float]:
    """Return Pearson r of predicted and true volume (10-fold ridge, mean over splits) for embeddings and controls.

    `mae` is the stored embedding, `mae_untrained` the same of random weights; `..._cls` is [cls] alone, mean over items
    (appendix A.1), and `..._summed` its sum. `..._usual` is of the scans that have the commonest number of items alone,
    where that is most of them: with 97 scans of two subvolumes, one of one and two of three, three people decide r.

    The pixels' principal components come in three ways: of each scan's central slices as one volume; of the scan's mean
    slice; and of the encoder's own items, over which statistics are taken as over the encoder's.
    """
    from edp_assets.science.encoders.checkpoints import load_encoder, untrained
    from edp_assets.science.encoders.embedding import PAPER, embed_scans
    from edp_assets.science.encoders.pooling import Pooling
    from edp_assets.science.encoders.quality import PIXEL_SLICES, central_slices, pixel_pca, ridge_prediction
    from edp_assets.science.imaging.slices import axial_slices, cut

    crops = pl.read_parquet(home / f"lake/masked_crops/organ={ORGAN}/part.parquet", hive_partitioning=False).sort("eid")
    voxels = [
        np.frombuffer(content, np.uint8).reshape(shape)
        for content, shape in crops.select("voxels", "shape").iter_rows()
    ]
    volume = crops["volume_ml"].to_numpy()
    settings = Settings.from_toml(tomllib.loads((home.parent / "cohort/cohort.toml").read_text()))

    def r(features: np.ndarray, chosen: np.ndarray | slice = slice(None)) -> float:
        return float(
            np.mean([ridge_prediction(features[chosen], volume[chosen], seed=seed).r for seed in range(seeds)])
        )

    found: dict[str, float] = {}
    stored = warehouse.query(home / "warehouse.duckdb", "SELECT encoder, z FROM embeddings ORDER BY eid")
    for (name,), rows in sorted(stored.group_by("encoder", maintain_order=True)):
        encoder = load_encoder(home / f"checkpoints/{name}/encoder/organ={ORGAN}/encoder.safetensors")
        items = [cut(crop, encoder.config.item_shape) for crop in voxels]
        number = np.array([[len(of_scan)] for of_scan in items])
        pooling = Pooling.from_settings(getattr(settings, str(name)))
        random = [untrained(encoder.config, seed) for seed in range(UNTRAINED)]
        usual = (number == np.bincount(number[:, 0]).argmax())[:, 0]

        def embedded(model: Any, pooling: Pooling, items: list[np.ndarray] = items) -> np.ndarray:
            return np.stack([z for _, z in embed_scans(model, _numbered(items), 256, pooling)])

        z, controls = np.array(rows["z"].to_list()), [embedded(model, pooling) for model in random]
        cls_mean, cls_controls = embedded(encoder, PAPER), [embedded(model, PAPER) for model in random]
        found[f"{name}"] = r(z)
        found[f"{name}_untrained"] = float(np.mean([r(u) for u in controls]))
        if usual.mean() > 0.5:
            found[f"{name}_usual"] = r(z, usual)
            found[f"{name}_usual_untrained"] = float(np.mean([r(u, usual) for u in controls]))
        found[f"{name}_cls"] = r(cls_mean)
        found[f"{name}_cls_untrained"] = float(np.mean([r(u) for u in cls_controls]))
        # A sum over items, which knows how many there are: no embedding of ours, but what a mean leaves out.
        found[f"{name}_cls_summed"] = r(cls_mean * number)
        found[f"{name}_cls_summed_untrained"] = float(np.mean([r(u * number) for u in cls_controls]))
        for k in COMPONENTS:
            components = np.split(pixel_pca(np.concatenate(items), k), np.cumsum(number)[:-1])
            found[f"pixel_pcs_{name}_items_{k}"] = r(
                np.stack([_over_items(of_scan, pooling) for of_scan in components])
            )
    slices = [axial_slices(crop, crop_edge(voxels)) for crop in voxels]
    pooled = np.stack([s.mean(axis=0).ravel() for s in slices])
    pooled = pooled - pooled.mean(axis=0)
    left, spread, _ = np.linalg.svd(pooled, full_matrices=False)
    central = np.stack([central_slices(s, PIXEL_SLICES) for s in slices])
    for k in COMPONENTS:
        found[f"pixel_pcs_pooled_{k}"] = r(left[:, :k] * spread[:k])
        found[f"pixel_pcs_volume_{k}"] = r(pixel_pca(central, k))
    return found


def _over_items(components: np.ndarray, pooling: Pooling) -> np.ndarray:
    """Return the statistics over a scan's items of their components (n_items, n_components)."""
    from edp_assets.science.encoders.pooling import ItemStatistics

    statistics = ItemStatistics(pooling.items, components.shape[1])
    statistics.add(components)
    return statistics.pooled()


def crop_edge(voxels: list[np.ndarray]) -> int:
    """Return the longest edge in plane."""
    return max(max(crop.shape[2:]) for crop in voxels)


def _numbered(items: list[np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    return ((str(number), of_scan) for number, of_scan in enumerate(items))


def genetics(home: Path, level: float = 0.95, draws: int = 2000) -> dict[str, Any]:
    """Return the number of associated variants, and the lambda GC of every GWAS with its sampling interval.

    The interval is found by drawing: phenotypes for the same people, genotypes and covariates, whose lambda GC then
    varies as chance has it (people of 11 populations are not independent draws: counting variants is not enough). An
    EDP is drawn by giving its own values to others, since with a hundred people a score of heavy tails is further from
    the t distribution than noise is; what else is tested, by noise. The level is that of all GWAS of the run together
    (Bonferroni).
    """
    from edp_assets.science.genetics.calibration import lambda_gc

    statistics = warehouse.query(
        home / "warehouse.duckdb",
        "SELECT encoder, icd10, method, cluster, neg_log_10_p_value AS p FROM gwas_summary_stats",
    )
    imaged = pl.read_parquet(home / f"lake/mae/association_basis/organ={ORGAN}/part.parquet", hive_partitioning=False)
    scores = warehouse.query(home / "warehouse.duckdb", "SELECT * EXCLUDE (organ) FROM edp_scores")
    everyone = warehouse.query(home / "warehouse.duckdb", "SELECT * FROM participants")
    design = everyone.select("age", "sex", "bmi", *(f"pc{i}" for i in range(1, 11))).to_numpy()
    in_imaging = _Null(home, imaged["eid"], np.array(imaged["covariates"].to_list()))
    in_whole = _Null(home, everyone["eid"], np.column_stack([np.ones(len(design)), design]))
    rng = np.random.default_rng(0)
    noise = {
        null: null.lambdas(rng.normal(size=(len(null.eids), draws)).astype(np.float32))
        for null in (in_imaging, in_whole)
    }
    keys = ["encoder", "icd10", "method", "cluster"]
    tail = (1 - level) / 2 / statistics.select(keys).unique().height
    rows = []
    for key, group in sorted(statistics.group_by(keys), key=lambda pair: str(pair[0])):  # draws in one order
        drawn = noise[in_whole if key[2] == "icd10_whole_cohort" else in_imaging]
        if key[0] is not None:
            own = scores.join(group.select(keys).head(1), on=keys, how="semi", nulls_equal=True)
            values = imaged.select("eid").join(own, on="eid", how="left", maintain_order="left")["score"].to_numpy()
            shuffled = np.stack([rng.permutation(values) for _ in range(draws)], axis=1)
            drawn = in_imaging.lambdas(((shuffled - values.mean()) / values.std()).astype(np.float32))
        low, high = np.quantile(drawn, [tail, 1 - tail])
        name = " ".join(str(part) for part in (key[0], key[2]) if part is not None)
        rows.append((name, float(low), lambda_gc(group["p"].to_numpy()), float(high)))
    hits = int((statistics["p"] > -np.log10(5e-8)).sum())
    return {"hits": hits, "lambdas": sorted(rows)}


class _Null:
    """Lambda GC of any phenotype of some people, by its own regression; of the project's code the reader alone."""

    def __init__(self, home: Path, eids: pl.Series, covariates: np.ndarray) -> None:
        from edp_assets.science.genetics.genotypes import open_genotypes
        from edp_assets.science.genetics.variant_qc import keep_variants, variant_stats

        with open_genotypes(home.parent / "cohort/genotypes/hapmap3.bed") as genotypes:
            place = {eid: i for i, eid in enumerate(genotypes.sample_ids)}
            dosages = genotypes.read(0, genotypes.n_variants, np.array([place[eid] for eid in eids]))
        keep, _ = keep_variants(variant_stats(dosages), 0.01, 20, 0.1)
        dosages = dosages[keep]
        self.eids, self.Q = eids, np.linalg.qr(covariates)[0].astype(np.float32)
        self.g = np.where(np.isnan(dosages), np.nanmean(dosages, axis=1, keepdims=True), dosages)
        self.g -= (self.g @ self.Q) @ self.Q.T

    def lambdas(self, y: np.ndarray) -> np.ndarray:
        """Return the lambda GC of each phenotype (n_participants, n_phenotypes)."""
        from scipy.stats import chi2

        y = y - self.Q @ (self.Q.T @ y)
        r2 = (self.g @ y) ** 2 / (self.g**2).sum(axis=1)[:, None] / (y**2).sum(axis=0)
        df = len(self.Q) - self.Q.shape[1] - 1
        return np.median(r2 / (1 - r2) * df, axis=0) / chi2.ppf(0.5, 1)


def main() -> None:
    """Build the cohort, run the graph and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(".edp-real"))
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--video-epochs", type=int, default=100)
    arguments = parser.parse_args()
    folder, home = arguments.folder.resolve() / "cohort", arguments.folder.resolve() / "home"
    if not (folder / "cohort.toml").exists():
        cohort.build(folder, epochs=arguments.epochs, video_epochs=arguments.video_epochs)
    command = [sys.executable, "-c", "from edp_assets.cli import main; main()", "run", str(folder)]
    subprocess.run(command, env={**os.environ, "EDP_HOME": str(home)}, check=True)
    print("volume from images, Pearson r out of sample:")
    for name, r in image_quality(home).items():
        print(f"  {name:28s} {r:.3f}")
    found = genetics(home)
    print(f"associated variants: {found['hits']}")
    for method, low, value, high in found["lambdas"]:
        print(f"  lambda GC {method:22s} {value:.3f} within {low:.3f} to {high:.3f}: {low < value < high}")


if __name__ == "__main__":
    main()
