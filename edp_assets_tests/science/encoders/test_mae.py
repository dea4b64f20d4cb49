"""The masked autoencoder against independent formulas, timm's own transformer, and its definition."""

import math

import numpy as np
import pytest
import torch
from timm.layers import PatchEmbed
from timm.models.vision_transformer import VisionTransformer

from edp_assets.science.encoders.mae import MaeConfig, MaskedAutoencoder
from edp_assets.science.encoders.vit import normalised, sincos_positions
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
    assert (config.grid, config.patches, config.visible_patches) == ((8, 8), 64, 16)
    assert (config.kind, config.item_shape) == ("mae", (2, 48, 48))
    assert MaeConfig.from_dict(config.to_dict()) == config


def test_config__resolution_that_is_no_multiple_of_the_patch_is_padded(config):
    odd = changed(config, resolution=18, patch=7)
    assert odd.grid == (3, 3)
    model = MaskedAutoencoder(odd)
    batch = images(odd)
    padded = np.pad(batch.numpy(), ((0, 0), (0, 0), (1, 2), (1, 2)))
    np.testing.assert_array_equal(model.patchify(batch)[:, 0], padded[:, :, :7, :7].reshape(3, -1))
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
    positions = sincos_positions(width, (grid, grid))
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
        assert torch.equal(model.unpatchify(model.patchify(batch)), batch)


def test_patchify__wrong_input_is_refused(config):
    model = MaskedAutoencoder(config)
    with pytest.raises(ValueError, match=r"wanted uint8 items \(n, 2, 16, 16\), found torch.float32"):
        model.embed(images(config).float())
    with pytest.raises(ValueError, match=r"found torch.uint8 \(3, 1, 16, 16\)"):
        model.embed(images(changed(config, channels=1)))


def test_embed_patches__equals_timm_patch_embed(config):
    model, batch = MaskedAutoencoder(config), images(config)
    peer = PatchEmbed(16, 4, 2, 32)
    peer.load_state_dict(model.patch_embed.state_dict())
    wanted = peer((batch.float() / 255 - 0.25) / 0.25)
    torch.testing.assert_close(
        model.embed_patches(normalised(model.patchify(batch), torch.float32)), wanted, atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75, 0.9])
def test_shuffled_patches__hide_exactly_the_ratio_in_every_image(config, ratio):
    model = MaskedAutoencoder(changed(config, mask_ratio=ratio, resolution=40))
    shuffle = model.shuffled_patches(50, generator())
    assert (shuffle.sort(dim=1).values == torch.arange(100)).all()
    mask = torch.ones(50, 100).scatter_(1, shuffle[:, : model.config.visible_patches], 0.0)
    assert (mask.sum(dim=1) == round(100 * ratio)).all()
    assert len(torch.unique(mask, dim=0)) == 50
    # Every patch is hidden about equally often.
    assert (mask.mean(dim=0) - ratio).abs().max() < 5 * math.sqrt(ratio * (1 - ratio) / 50)
    assert torch.equal(shuffle, model.shuffled_patches(50, generator()))


def plain_prediction(model, batch, seed):
    """He et al.'s order of things, written out: put the tokens back in their places, add positions, decode all.

    Returns the shuffle, the normalised patches and every patch's predicted pixels.
    """
    config = model.config
    patches = (model.patchify(batch).float() / 255 - 0.25) / 0.25
    shuffle = model.shuffled_patches(len(batch), generator(seed))
    visible = shuffle[:, : config.visible_patches]
    predictions = []
    for image in range(len(batch)):
        tokens = model.embed_patches(patches[image]) + model.encoder_positions[0, 1:]
        x = torch.cat([model.cls_token[0], tokens[visible[image]]]).unsqueeze(0)
        for block in model.blocks:
            x = block(x)
        x = model.decoder_embed(model.norm(x))[0]
        whole = model.mask_token[0].repeat(config.patches, 1)
        whole[visible[image]] = x[1:]
        x = (torch.cat([x[:1], whole]) + model.decoder_positions[0]).unsqueeze(0)
        for block in model.decoder_blocks:
            x = block(x)
        predictions.append(model.decoder_pred(model.decoder_norm(x))[0, 1:])
    return shuffle, patches, torch.stack(predictions)


def test_forward_loss__is_he_et_als_mean_square_over_hidden_pixels(config):
    for normalise in (False, True):
        model, batch = MaskedAutoencoder(changed(config, normalise_pixels=normalise)), images(config)
        with torch.no_grad():
            torch.nn.init.normal_(model.mask_token, generator=generator())
            shuffle, patches, predicted = plain_prediction(model, batch, 5)
            if normalise:
                patches = (patches - patches.mean(-1, keepdim=True)) / (patches.var(-1, keepdim=True) + 1e-6).sqrt()
            hidden = shuffle[:, config.visible_patches :]
            errors = [(predicted[i, hidden[i]] - patches[i, hidden[i]]).square().mean() for i in range(3)]
            assert model.forward_loss(batch, generator(5)).item() == pytest.approx(np.mean(errors), rel=1e-5)


def test_forward_loss__gradients_in_bfloat16_are_those_of_float32(config):
    model, batch = MaskedAutoencoder(config), images(config, 16)
    found = []
    for enabled in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = model.forward_loss(batch, generator(1))
        loss.backward()
        found.append((loss.item(), {name: p.grad.clone() for name, p in model.named_parameters()}))
    (exact, wanted), (rounded, gradients) = found
    assert exact != rounded
    assert rounded == pytest.approx(exact, rel=0.01)
    for name, gradient in gradients.items():
        assert gradient.dtype == torch.float32
        if not name.endswith("qkv.bias"):  # a key's bias has no effect: its gradient is rounding alone
            assert torch.cosine_similarity(gradient.flatten(), wanted[name].flatten(), dim=0) > 0.98, name


def test_forward_loss__sees_nothing_of_hidden_patches(config):
    model, batch = MaskedAutoencoder(config).eval(), images(config)
    filled, hidden = model.reconstruct(batch, generator())
    other = torch.where(hidden > 0, 255 - batch, batch)
    again, _ = model.reconstruct(other, generator())
    assert torch.equal(filled, again)


def timm_twin(model):
    """Timm's own transformer with the model's weights, and its positions in the place of learnt ones."""
    config = model.config
    twin = VisionTransformer(
        img_size=config.resolution,
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
