"""What a finished demo's encoders know of the planted traits, under several poolings, beside untrained encoders.

`python -m edp_assets_tests.planted_traits HOME` prints Pearson r out of sample (10-fold ridge) of organ volume and of
every latent trait that changes how the organ looks. The poolings are computed here, by no code of the embeddings'.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

POOLINGS = ("[cls]", "[cls] + spread", "[cls] + patches", "[cls] + patches + spread")


def planted_r(home: Path, scans: int) -> Iterator[dict[str, Any]]:
    """Yield a row an organ, encoder and target: r of each pooling, trained and untrained."""
    from edp_assets.cohort.synthetic.traits import TRAITS
    from edp_assets.science.encoders.checkpoints import load_encoder, read_pixel_mm, untrained
    from edp_assets.science.encoders.quality import ridge_prediction
    from edp_assets.science.imaging.slices import cut, pixel_scale

    truth = pl.read_parquet(home / "demo_cohort/truth_traits.parquet").with_columns(pl.col("eid").cast(pl.String))
    for path in sorted(home.glob("checkpoints/*/encoder/organ=*/encoder.safetensors")):
        encoder, organ = path.parts[-4], path.parent.name.removeprefix("organ=")
        crops = pl.read_parquet(home / f"lake/masked_crops/organ={organ}/part.parquet", hive_partitioning=False)
        crops = crops.sort("eid").head(scans).join(truth, on="eid", how="left", maintain_order="left")
        pixel_mm, trained = read_pixel_mm(path), load_encoder(path)
        assert pixel_mm is not None
        items = [
            cut(np.frombuffer(content, np.uint8).reshape(shape), trained.config.item_shape, pixel_scale(mm, pixel_mm))
            for content, shape, mm in crops.select("voxels", "shape", "spacing_mm").iter_rows()
        ]
        for name, model in (("trained", trained), ("untrained", untrained(trained.config))):
            features = poolings(model, items)
            for target in ("volume_ml", *(trait.name for trait in TRAITS if trait.organ == organ)):
                y = crops[target].to_numpy()
                r = {pooling: ridge_prediction(features[pooling], y).r for pooling in POOLINGS}
                yield {"organ": organ, "encoder": encoder, "weights": name, "target": target, **r}


def poolings(model: Any, items: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Return features of each pooling, (n_scans, n_dims), from the tokens after the penultimate block.

    Patches are those that touch the organ: their mean, and their spread (standard deviation) within an item; all are
    then averaged over the scan's items.
    """
    import torch

    rows: list[list[np.ndarray]] = []
    model.eval()
    with torch.inference_mode():
        for scan in items:
            patches = model.patchify(torch.from_numpy(scan))
            organ = (patches.amax(-1, keepdim=True) > 0).float()
            tokens = model._encode(patches, model.encoder_positions[:, 1:], model.blocks[:-1])
            count = organ.sum(1).clamp(min=1)
            mean = (tokens[:, 1:] * organ).sum(1) / count
            spread = (((tokens[:, 1:] - mean[:, None]).square() * organ).sum(1) / count).sqrt()
            rows.append([part.mean(0).numpy() for part in (tokens[:, 0], mean, spread)])
    cls, mean, spread = (np.stack(part) for part in zip(*rows, strict=True))
    return {
        "[cls]": cls,
        "[cls] + spread": np.hstack([cls, spread]),
        "[cls] + patches": np.hstack([cls, mean]),
        "[cls] + patches + spread": np.hstack([cls, mean, spread]),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path)
    parser.add_argument("--scans", type=int, default=1200)
    arguments = parser.parse_args()
    for row in planted_r(arguments.home, arguments.scans):
        label = f"{row['organ']:8s} {row['encoder']:10s} {row['weights']:10s} {row['target']:17s}"
        print(label + "  ".join(f"{pooling} {row[pooling]:.3f}" for pooling in POOLINGS), flush=True)


if __name__ == "__main__":
    main()
