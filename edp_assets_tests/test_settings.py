"""Encoder sections of the settings: the paper's defaults, overridden by name, wrong ones named."""

import pytest

from edp_assets.settings import EncoderSettings, ImagenetSettings, Settings, VideoMaeSettings


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


def test_fingerprint__changes_with_the_result_alone():
    """How many processes train, how often they save, or how tokens are pooled, retrains no encoder."""
    recipe = EncoderSettings()
    same = {"processes": 4, "checkpoint_seconds": 5.0, "embed_batch_size": 8}
    for name, value in {**same, "pooling": ("patch_max",), "pooling_over_items": ("max",)}.items():
        assert recipe.model_copy(update={name: value}).fingerprint() == recipe.fingerprint(), name
    for name, value in {"epochs": 2, "seed": 1, "mask_ratio": 0.5}.items():
        assert recipe.model_copy(update={name: value}).fingerprint() != recipe.fingerprint(), name
    assert ImagenetSettings().fingerprint() == ImagenetSettings(pooling=("patch_mean",)).fingerprint()
    assert VideoMaeSettings().fingerprint() != VideoMaeSettings(tubelet=4).fingerprint()


@pytest.mark.parametrize(
    ("section", "where"),
    [
        ({"few_shot": {"codes": ["K76"]}}, r"\[few_shot\] codes"),
        ({"evidence": {"unadjusted_codes": ["K76"]}}, r"\[evidence\] unadjusted_codes"),
    ],
)
def test_named_codes__of_which_all_variants_are_compared_are_stored_in_full(section, where):
    thinned = {"stored_max_p": 1e-3}
    with pytest.raises(ValueError, match=f"{where} compares all variants of K76: name it in gwas.full_codes"):
        Settings.from_toml({**section, "gwas": thinned})
    Settings.from_toml({**section, "gwas": {**thinned, "full_codes": ["K76"]}})
    Settings.from_toml(section)


def test_unadjusted_codes__make_no_other_evidence_stale():
    named = Settings.from_toml({"evidence": {"unadjusted_codes": ["K76"]}})
    assert named.evidence.fingerprint() == Settings().evidence.fingerprint()
