"""The video masked autoencoder: what differs from slices; the rest of its code is that of `test_mae.py`."""

import numpy as np
import pytest
import torch

from edp_assets.science.encoders.video_mae import VideoMaeConfig, VideoMaskedAutoencoder
from edp_assets.science.encoders.vit import normalised, sincos_positions
from edp_assets.settings import ORGANS, VideoMaeSettings


@pytest.fixture
def config():
    return VideoMaeConfig(
        channels=2,
        resolution=18,
        patch=4,
        width=32,
        depth=3,
        heads=2,
        decoder_width=16,
        decoder_depth=1,
        decoder_heads=2,
        mask_ratio=0.9,
        normalise_pixels=False,
        frames=6,
        tubelet=2,
    )


def changed(config, **values):
    return VideoMaeConfig.from_dict({**config.to_dict(), **values})


def subvolumes(config, n=3, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (n, *config.item_shape)).astype(np.uint8))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_config__from_settings_and_round_trip():
    config = VideoMaeConfig.from_settings(ORGANS["liver"], VideoMaeSettings())
    assert (config.kind, config.item_shape) == ("video_mae", (2, 16, 144, 144))
    assert (config.grid, config.places, config.times) == ((8, 21, 21), 441, 8)  # 144 by 7: padded to 147
    assert config.visible_patches == 8 * 44
    assert VideoMaeConfig.from_dict(config.to_dict()) == config


def test_config__frames_and_tubelet_come_from_the_settings():
    config = VideoMaeConfig.from_settings(ORGANS["liver"], VideoMaeSettings(frames=40, tubelet=4))
    assert (config.frames, config.tubelet, config.times) == (40, 4, 10)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"frames": 5}, "frames must be a multiple of the tubelet.* found 5 frames and tubelets of 2"),
        ({"frames": 2}, "twice it or more"),
        ({"width": 40}, "encoder width must be a multiple of 16"),
        ({"patch": 9, "mask_ratio": 0.9}, "found 0 of 12 visible"),
    ],
)
def test_config__impossible_shape_is_refused(config, values, message):
    with pytest.raises(ValueError, match=message):
        changed(config, **values)


def test_patchify__cuts_the_padded_subvolume_one_patch_at_a_time(config):
    model, batch = VideoMaskedAutoencoder(config), subvolumes(config)
    padded = np.pad(batch.numpy(), ((0, 0), (0, 0), (0, 0), (1, 1), (1, 1)))
    patches = model.patchify(batch).numpy()
    assert patches.shape == (3, 3 * 5 * 5, 2 * 2 * 4 * 4)
    for t in range(3):
        for row in range(5):
            for column in range(5):
                wanted = padded[:, :, 2 * t : 2 * t + 2, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
                np.testing.assert_array_equal(patches[:, (t * 5 + row) * 5 + column], wanted.reshape(3, -1))
    assert torch.equal(model.unpatchify(model.patchify(batch)), batch)


def test_embed_patches__equals_the_convolution(config):
    model, batch = VideoMaskedAutoencoder(config), subvolumes(config)
    pixels = torch.nn.functional.pad((batch.float() / 255 - 0.25) / 0.25, (1, 1, 1, 1), value=-1.0)
    wanted = model.patch_embed["proj"](pixels).flatten(2).transpose(1, 2)
    found = model.embed_patches(normalised(model.patchify(batch), torch.float32))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def test_patchify__wrong_input_is_refused(config):
    with pytest.raises(
        ValueError, match=r"wanted uint8 items \(n, 2, 6, 18, 18\), found torch.uint8 \(3, 2, 8, 18, 18\)"
    ):
        VideoMaskedAutoencoder(config).embed(subvolumes(changed(config, frames=8)))


def test_shuffled_patches__hide_the_same_tubes_at_all_times(config):
    model = VideoMaskedAutoencoder(changed(config, resolution=40))
    shuffle = model.shuffled_patches(20, generator())
    assert (shuffle.sort(dim=1).values == torch.arange(300)).all()
    hidden = torch.ones(20, 300).scatter_(1, shuffle[:, : model.config.visible_patches], 0.0).view(20, 3, 100)
    assert torch.equal(hidden, hidden[:, :1].expand_as(hidden))
    assert (hidden[:, 0].sum(dim=1) == 90).all()
    assert len(torch.unique(hidden, dim=0)) == 20


def test_sincos_positions__tell_time_row_and_column_apart():
    positions = sincos_positions(32, (3, 4, 5))
    assert positions.shape == (61, 32)
    assert not positions[0].any()
    cube = positions[1:].reshape(3, 4, 5, 32)
    rates = 10000 ** -(np.arange(4) / 4)
    for t in range(3):
        angles = t * rates
        np.testing.assert_allclose(cube[t, 1, 2, :8], [*np.sin(angles), *np.cos(angles)])
    plane = sincos_positions(24, (4, 5))[1:].reshape(4, 5, 24)
    for t in range(3):
        np.testing.assert_array_equal(cube[t, :, :, 8:], plane)


def test_reconstruct__keeps_visible_tubes_and_fills_hidden_ones(config):
    model, batch = VideoMaskedAutoencoder(config).eval(), subvolumes(config)
    filled, hidden = model.reconstruct(batch, generator())
    assert filled.shape == hidden.shape == batch.shape
    torch.testing.assert_close(filled[hidden == 0], batch[hidden == 0] / 255, atol=1e-5, rtol=0)
    assert torch.equal(filled, model.reconstruct(torch.where(hidden > 0, 255 - batch, batch), generator())[0])
    for normalise in (False, True):
        other = VideoMaskedAutoencoder(changed(config, normalise_pixels=normalise))
        assert torch.equal(other.forward_loss(batch, generator(2)), other.forward_loss(batch, generator(2)))


def test_embed__reads_the_whole_subvolume_and_not_the_last_block(config):
    model, batch = VideoMaskedAutoencoder(config).eval(), subvolumes(config)
    before = model.embed(batch)
    assert before.shape == (3, 32)
    assert before.dtype == torch.float32
    torch.nn.init.zeros_(model.blocks[-1].mlp.fc1.weight)
    assert torch.equal(model.embed(batch), before)
    for frame in range(config.frames):
        spoilt = batch.clone()
        spoilt[:, :, frame] = 255 - spoilt[:, :, frame]
        assert (model.embed(spoilt) - before).abs().max() > 1e-4
    torch.testing.assert_close(model.embed(batch[1:2]), before[1:2], atol=1e-5, rtol=0)


def test_forward_loss__falls_in_training(config):
    """Discs that move steadily: training learns to predict hidden tubes from the few visible ones."""
    model = VideoMaskedAutoencoder(changed(config, resolution=16, mask_ratio=0.75))
    rng = np.random.default_rng(0)
    t, y, x = np.mgrid[:6, :16, :16]
    centre, radius, speed = (
        rng.uniform(5, 11, (64, 2, 1, 1, 1)),
        rng.uniform(3, 6, (64, 1, 1, 1)),
        rng.uniform(-1, 1, 64),
    )
    inside = (y - centre[:, 0] - speed[:, None, None, None] * (t - 2.5)) ** 2 + (x - centre[:, 1]) ** 2 < radius**2
    items = torch.from_numpy(np.stack([inside * 200, inside * 90], axis=1).astype(np.uint8))
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for step in range(60):
        loss = model.forward_loss(items, generator(step))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.5 * losses[0]
