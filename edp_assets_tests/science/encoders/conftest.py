"""Small encoders and slices that the encoder tests share."""

import numpy as np
import pytest

from edp_assets.settings import EncoderSettings


@pytest.fixture(autouse=True)
def one_thread():
    """Tensors this small gain nothing from threads, and lose much where other work keeps the cores busy."""
    import torch
    from threadpoolctl import threadpool_limits

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(threads)


@pytest.fixture
def config():
    from edp_assets.science.encoders.mae import MaeConfig

    return MaeConfig(
        channels=2,
        resolution=16,
        patch=4,
        width=32,
        depth=3,
        heads=2,
        decoder_width=16,
        decoder_depth=1,
        decoder_heads=2,
        mask_ratio=0.75,
        normalise_pixels=False,
    )


@pytest.fixture
def recipe():
    return EncoderSettings(epochs=3, batch_size=8, learning_rate=3e-2, warmup_epochs=1, precision="float32", seed=3)


@pytest.fixture
def items(slices):
    from edp_assets.science.encoders.packs import ArrayItems

    return ArrayItems(slices, "discs")


@pytest.fixture
def slices():
    """Bright discs of random place and size: something a masked autoencoder can learn, (20, 2, 16, 16)."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:16, :16]
    centre, radius = rng.uniform(5, 11, (20, 2, 1, 1)), rng.uniform(2, 6, (20, 1, 1))
    disc = (y - centre[:, 0]) ** 2 + (x - centre[:, 1]) ** 2 < radius**2
    return np.stack([disc * 200, disc * 90], axis=1).astype(np.uint8)
