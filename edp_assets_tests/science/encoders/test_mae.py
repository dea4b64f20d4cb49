"""The masked autoencoder against independent formulas, timm's own transformer, and its definition."""

import math

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from edp_assets.science.encoders.mae import MaeConfig, MaskedAutoencoder, sincos_positions
from edp_assets.settings import ORGANS, EncoderSettings


def images(config, n=3, seed=0):
    shape = (n, config.channels, config.resolution, config.resolution)
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8))


def changed(config, **values):
    return MaeConfig.from_dict({**config.to_dict(), **values})


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_config__from_settings_and_round_trip():
    config = MaeConfig.from_settings(ORGANS["kidneys"], EncoderSettings())
    assert (config.width, config.depth, config.heads, config.channels, config.patch) == (768, 12, 12, 2, 6)
    assert (config.grid, config.patches, config.visible_patches) == (8, 64, 16)
    assert MaeConfig.from_dict(config.to_dict()) == config


def test_config__resolution_that_is_no_multiple_of_the_patch_is_padded(config):
    odd = changed(config, resolution=18, patch=7)
    assert odd.grid == 3
    model = MaskedAutoencoder(odd)
    batch = images(odd)
    padded = np.pad(batch.numpy(), ((0, 0), (0, 0), (1, 2), (1, 2)))
    first = (padded[:, :, :7, :7].reshape(3, -1) / 255 - 0.25) / 0.25
    np.testing.assert_allclose(model.patchify(batch)[:, 0].numpy(), first, atol=1e-6)
    assert model.embed(batch).shape == (3, 32)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": 30}, "encoder width must be a multiple"),
        ({"decoder_heads": 3}, "decoder width must be a multiple"),
        ({"depth": 1}, "depth 2 or more"),
        ({"patch": 16}, "use smaller patches"),
    ],
)
def test_config__impossible_shape_is_refused(config, values, message):
    with pytest.raises(ValueError, match=message):
        changed(config, **values)


def test_sincos_positions__equal_the_formula_one_element_at_a_time():
    width, grid = 16, 5
    positions = sincos_positions(width, grid)
    assert positions.shape == (26, 16)
    assert not positions[0].any()
    quarter = width // 4
    for row in range(grid):
        for column in range(grid):
            for k in range(quarter):
                rate = 10000 ** (-k / quarter)
                wanted = [f(at * rate) for at in (column, row) for f in (math.sin, math.cos)]
                found = positions[1 + row * grid + column][[k, k + quarter, k + 2 * quarter, k + 3 * quarter]]
                np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_patchify__unpatchify_brings_the_pixels_back(config):
    for shape in (config, changed(config, resolution=15, patch=4)):
        model, batch = MaskedAutoencoder(shape), images(shape)
        back = model.unpatchify(model.patchify(batch) * 0.25 + 0.25)
        np.testing.assert_allclose(back.numpy() * 255, batch.numpy(), atol=1e-3)


def test_patchify__wrong_input_is_refused(config):
    model = MaskedAutoencoder(config)
    with pytest.raises(ValueError, match=r"wanted uint8 slices \(n, 2, 16, 16\), found torch.float32"):
        model.embed(images(config).float())
    with pytest.raises(ValueError, match=r"found torch.uint8 \(3, 1, 16, 16\)"):
        model.embed(images(changed(config, channels=1)))


def test_embed_patches__equals_timm_patch_embed(config):
    model, batch = MaskedAutoencoder(config), images(config)
    wanted = model.patch_embed((batch.float() / 255 - 0.25) / 0.25)
    torch.testing.assert_close(model.embed_patches(model.patchify(batch)), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75, 0.9])
def test_random_masking__hides_exactly_the_ratio_in_every_image(config, ratio):
    model = MaskedAutoencoder(changed(config, mask_ratio=ratio, resolution=40))
    visible, restore, mask = model.random_masking(50, generator())
    assert (mask.sum(dim=1) == round(100 * ratio)).all()
    assert (mask.gather(1, visible) == 0).all()
    assert (restore.sort(dim=1).values == torch.arange(100)).all()
    assert len(torch.unique(mask, dim=0)) == 50
    # Every patch is hidden about equally often.
    assert (mask.mean(dim=0) - ratio).abs().max() < 5 * math.sqrt(ratio * (1 - ratio) / 50)
    assert torch.equal(mask, model.random_masking(50, generator())[2])


def test_forward_loss__is_the_mean_square_over_hidden_pixels(config):
    for normalise in (False, True):
        model, batch = MaskedAutoencoder(changed(config, normalise_pixels=normalise)), images(config)
        target = (batch.numpy() / 255 - 0.25) / 0.25
        cells = target.reshape(3, 2, 4, 4, 4, 4).transpose(0, 2, 4, 1, 3, 5).reshape(3, 16, 32)
        if normalise:
            cells = (cells - cells.mean(-1, keepdims=True)) / np.sqrt(cells.var(-1, ddof=1, keepdims=True) + 1e-6)
        with torch.no_grad():
            visible, restore, mask = model.random_masking(3, generator(5))
            predicted = model.forward_decoder(model.forward_encoder(model.patchify(batch), visible), restore).numpy()
            loss = model.forward_loss(batch, generator(5)).item()
        hidden = mask.numpy().astype(bool)
        assert loss == pytest.approx(np.square(predicted - cells)[hidden].mean(), rel=1e-5)


def test_forward_encoder__sees_nothing_of_hidden_patches(config):
    model, batch = MaskedAutoencoder(config).eval(), images(config)
    visible, restore, mask = model.random_masking(3, generator())
    patches = model.patchify(batch)
    spoilt = torch.where(mask.unsqueeze(-1) > 0, torch.nan, patches)
    whole = model.forward_decoder(model.forward_encoder(patches, visible), restore)
    assert torch.equal(whole, model.forward_decoder(model.forward_encoder(spoilt, visible), restore))


def test_forward_decoder__puts_tokens_back_in_their_places(config):
    model = MaskedAutoencoder(config)
    model.decoder_blocks = torch.nn.ModuleList()
    model.decoder_norm, model.decoder_pred = torch.nn.Identity(), torch.nn.Identity()
    visible, restore, mask = model.random_masking(2, generator())
    latent = torch.randn(2, 1 + config.visible_patches, config.width, generator=generator())
    out = model.forward_decoder(latent, restore) - model.decoder_positions[:, 1:]
    embedded = model.decoder_embed(latent)[:, 1:]
    for image in range(2):
        for order, place in enumerate(visible[image]):
            torch.testing.assert_close(out[image, place], embedded[image, order])
        hidden = out[image, mask[image] > 0]
        torch.testing.assert_close(hidden, model.mask_token[0].expand_as(hidden))


def timm_twin(model):
    """Timm's own transformer with the model's weights, and its positions in the place of learnt ones."""
    config = model.config
    twin = VisionTransformer(
        img_size=config.grid * config.patch,
        patch_size=config.patch,
        in_chans=config.channels,
        num_classes=0,
        embed_dim=config.width,
        depth=config.depth,
        num_heads=config.heads,
    )
    weights = {k: v for k, v in model.state_dict().items() if not k.startswith(("decoder", "mask_token"))}
    missing = twin.load_state_dict({**weights, "pos_embed": model.encoder_positions})
    assert not missing.missing_keys
    assert not missing.unexpected_keys
    return twin.eval()


def test_embed__is_timms_cls_token_after_the_penultimate_block(config):
    model = MaskedAutoencoder(config, seed=1).eval()
    torch.nn.init.normal_(model.cls_token, generator=generator())
    batch = images(config)
    with torch.no_grad():
        pixels = (batch.float() / 255 - 0.25) / 0.25
        layers = timm_twin(model).get_intermediate_layers(pixels, n=[config.depth - 2], return_prefix_tokens=True)
    torch.testing.assert_close(model.embed(batch), layers[0][1][:, 0], atol=1e-5, rtol=1e-5)


def test_embed__does_not_use_the_last_block(config):
    model, batch = MaskedAutoencoder(config).eval(), images(config)
    before = model.embed(batch)
    torch.nn.init.zeros_(model.blocks[-1].mlp.fc1.weight)
    torch.nn.init.zeros_(model.norm.weight)
    assert torch.equal(model.embed(batch), before)
    assert before.std(dim=0).max() > 0


def test_reconstruct__keeps_visible_patches_and_fills_hidden_ones(config):
    for normalise in (False, True):
        model, batch = MaskedAutoencoder(changed(config, normalise_pixels=normalise)).eval(), images(config)
        filled, hidden = model.reconstruct(batch, generator())
        assert filled.shape == hidden.shape == batch.shape
        assert hidden.mean() == 0.75
        torch.testing.assert_close(filled[hidden == 0], batch[hidden == 0] / 255, atol=1e-5, rtol=0)
        assert (filled[hidden == 1] - batch[hidden == 1] / 255).abs().mean() > 0.05
        assert 0 <= filled.min() <= filled.max() <= 1


def test_weights__come_from_the_seed_alone(config):
    torch.manual_seed(1)
    first = MaskedAutoencoder(config, seed=7).state_dict()
    torch.manual_seed(2)
    second = MaskedAutoencoder(config, seed=7).state_dict()
    other = MaskedAutoencoder(config, seed=8).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["cls_token"], other["cls_token"])


def test_weights__are_initialised_as_in_he_et_al(config):
    model = MaskedAutoencoder(changed(config, width=128, heads=4))
    qkv, patch = model.blocks[0].attn.qkv.weight, model.patch_embed.proj.weight
    for weight, fans in ((qkv, 128 + 384), (patch, 128 + 32)):
        bound = math.sqrt(6 / fans)
        assert 0.97 * bound < weight.abs().max() <= bound
    assert model.cls_token.std().item() == pytest.approx(0.02, rel=0.3)
    assert not model.blocks[0].attn.qkv.bias.any()
