"""The ImageNet baseline: timm's weights from a file, channels and resolution adapted; clear words without one."""

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from edp_assets.science.encoders.checkpoints import TrainedEncoder, load_encoder, save_encoder
from edp_assets.science.encoders.imagenet import ImagenetConfig, WeightsError, load_imagenet
from edp_assets.settings import ImagenetSettings, OrganSettings

MODEL = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Random weights as timm publishes them: three colours, with a head."""
    torch.manual_seed(1)
    model = timm.create_model(MODEL, pretrained=False).eval()
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_file(model.state_dict(), path)
    return model, path


def config(channels=2, resolution=40):
    organ = OrganSettings(channels=tuple(f"c{k}" for k in range(channels)), resolution=resolution, patch=7)
    return ImagenetConfig.from_settings(organ, ImagenetSettings(model=MODEL))


def images(n, channels, resolution):
    return torch.randint(0, 256, (n, channels, resolution, resolution), dtype=torch.uint8)


def test_load_imagenet__embeds_as_timm_does(published):
    model, path = published
    encoder = load_imagenet(config(3, 224), path)
    batch = images(2, 3, 224)
    with torch.inference_mode():
        found = model.get_intermediate_layers((batch / 255 - 0.5) / 0.5, n=[10], return_prefix_tokens=True)
        wanted = found[0][1][:, 0]
        torch.testing.assert_close(encoder.embed(batch), wanted, rtol=1e-4, atol=1e-4)
        patches = encoder.embed(batch, ("patch_mean", "cls"))
        torch.testing.assert_close(patches, torch.cat([found[0][0].mean(1), wanted], 1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("channels", "resolution"), [(1, 36), (2, 48), (2, 300)])
def test_load_imagenet__adapts_channels_and_resolution(published, channels, resolution):
    encoder = load_imagenet(config(channels, resolution), published[1])
    z = encoder.embed(images(2, channels, resolution))
    assert z.shape == (2, 192)
    assert torch.isfinite(z).all()
    assert not torch.equal(z[0], z[1])


def test_load_imagenet__a_grey_slice_in_any_number_of_channels_is_the_same_picture(published):
    grey = images(1, 1, 224)
    one, two, three = (
        load_imagenet(config(k, 224), published[1]).embed(grey.expand(1, k, 224, 224)) for k in (1, 2, 3)
    )
    torch.testing.assert_close(one, three, rtol=1e-3, atol=1e-3)
    # timm repeats colours: two channels are red and green, scaled to as much as three.
    assert torch.nn.functional.cosine_similarity(two, three).item() > 0.9


def test_load_imagenet__round_trip_needs_no_weights_file(published, tmp_path):
    encoder = load_imagenet(config(), published[1])
    save_encoder(tmp_path / "e", TrainedEncoder(encoder.config, encoder.state_dict(), []))
    again = load_encoder(tmp_path / "e")
    batch = images(1, 2, 40)
    assert again.config == encoder.config
    assert torch.equal(again.embed(batch), encoder.embed(batch))


def test_load_imagenet__without_a_file_says_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(WeightsError, match=rf"found no file; fetch model.safetensors .* timm/{MODEL} .*cohort\.toml"):
        load_imagenet(config(), tmp_path / "absent.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match=rf"nor timm/{MODEL} in the hub cache .* weights = \"model.safetensors\""):
        load_imagenet(config())


def test_load_imagenet__takes_the_hub_cache(published, tmp_path, monkeypatch):
    snapshot = tmp_path / f"models--timm--{MODEL}" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("abc")
    (snapshot / "model.safetensors").symlink_to(published[1])
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    batch = images(1, 2, 40)
    assert torch.equal(load_imagenet(config()).embed(batch), load_imagenet(config(), published[1]).embed(batch))


def test_load_imagenet__other_files_are_refused(published, tmp_path):
    path = tmp_path / "w"
    path.write_bytes(np.random.default_rng(0).bytes(100))
    with pytest.raises(WeightsError, match="wanted timm's safetensors file"):
        load_imagenet(config(), path)
    save_file({"patch_embed.proj.bias": torch.zeros(192)}, path)
    with pytest.raises(WeightsError, match=r"found others: (.|\n)*Missing key"):
        load_imagenet(config(), path)


def test_imagenet_config__unknown_models_are_refused():
    with pytest.raises(ValueError, match=r"wanted a vision transformer that timm knows.*found resnet50"):
        ImagenetConfig.from_settings(OrganSettings(), ImagenetSettings(model="resnet50"))


def test_embed__other_slices_are_refused(published):
    with pytest.raises(ValueError, match=r"wanted uint8 slices \(n, 2, 40, 40\), found torch.uint8 \(1, 2, 8, 8\)"):
        load_imagenet(config(), published[1]).embed(images(1, 2, 8))
