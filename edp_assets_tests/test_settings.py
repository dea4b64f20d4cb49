"""Encoder sections of the settings: the paper's defaults, overridden by name, wrong ones named."""

import pytest

from edp_assets.settings import Settings


def test_from_toml__encoder_sections_override_by_name():
    settings = Settings.from_toml({"encoders": {"video_mae": {"epochs": 3}, "imagenet": {"weights": "w.safetensors"}}})
    assert (settings.video_mae.epochs, settings.video_mae.mask_ratio, settings.video_mae.frames) == (3, 0.9, 16)
    assert settings.imagenet.weights == "w.safetensors"
    assert settings.mae == Settings().mae


def test_from_toml__wrong_encoders_are_named():
    with pytest.raises(ValueError, match=r"\[encoders.clip\] is not an encoder; known: mae, video_mae, imagenet"):
        Settings.from_toml({"encoders": {"clip": {}}})
    with pytest.raises(ValueError, match=r"frames \(15\) must be a multiple of tubelet \(2\)"):
        Settings.from_toml({"encoders": {"video_mae": {"frames": 15}}})
    with pytest.raises(ValueError, match=r"imagenet.epochs.*Extra inputs"):
        Settings.from_toml({"encoders": {"imagenet": {"epochs": 3}}})
