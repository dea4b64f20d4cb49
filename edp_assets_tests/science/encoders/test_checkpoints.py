"""Encoder files: what goes in comes out, and nothing else is taken for one."""

import json

import pytest
import torch

from edp_assets.science.encoders.checkpoints import (
    TrainedEncoder,
    encoder_classes,
    load_encoder,
    read_encoder_config,
    read_encoder_metadata,
    save_encoder,
    untrained,
)


def trained(config, seed=0):
    return TrainedEncoder(config, untrained(config, seed).state_dict(), [1.5, 0.1 + 0.2], 700.0, 0)


def test_save_encoder__round_trip(config, tmp_path):
    path = tmp_path / "new" / "encoder.safetensors"
    save_encoder(path, trained(config), {"organ": "liver", "seed": "0"})
    model = load_encoder(path)
    assert model.config == config
    assert not model.training
    batch = torch.randint(0, 256, (2, 2, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model.embed(batch), trained(config).model().embed(batch))
    header = read_encoder_metadata(path)
    assert (header["organ"], header["seed"], header["kind"]) == ("liver", "0", "mae")
    assert read_encoder_config(path) == config
    assert json.loads(header["losses"]) == [1.5, 0.1 + 0.2]
    assert [file.name for file in path.parent.iterdir()] == ["encoder.safetensors"]


def test_save_encoder__failed_write_leaves_the_old_file(config, tmp_path, monkeypatch):
    path = tmp_path / "encoder.safetensors"
    save_encoder(path, trained(config, seed=1))
    before = path.read_bytes()

    def full(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_encoder(path, trained(config, seed=2))
    assert path.read_bytes() == before


def test_save_encoder__reserved_names_are_refused(config, tmp_path):
    with pytest.raises(ValueError, match="may not be called config"):
        save_encoder(tmp_path / "e", trained(config), {"config": "{}"})


def test_load_encoder__other_files_are_refused(config, tmp_path):
    path = tmp_path / "e"
    with pytest.raises(ValueError, match=r"wanted a file of format edp_assets\.encoder/2"):
        load_encoder(path)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="train the encoder again"):
        load_encoder(path)
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"wanted format edp_assets\.encoder/2, found None"):
        load_encoder(path)


def test_load_encoder__reads_the_files_of_before_there_were_kinds(config, tmp_path):
    from safetensors.torch import save_file

    old = {name: value for name, value in config.to_dict().items() if name not in ("kind", "item_shape")}
    header = {"format": "edp_assets.mae/1", "config": json.dumps(old), "losses": "[0.5]"}
    save_file(untrained(config, 3).state_dict(), tmp_path / "e", metadata=header)
    model = load_encoder(tmp_path / "e")
    assert model.config == config
    assert torch.equal(model.cls_token, untrained(config, 3).cls_token)


def test_encoder_classes__unknown_kind_is_refused():
    with pytest.raises(ValueError, match="wanted an encoder of kind mae, video_mae, imagenet, found 'clip'"):
        encoder_classes("clip")


def test_untrained__same_shape_other_weights(config):
    first, second = untrained(config, 1).state_dict(), untrained(config, 2).state_dict()
    assert {k: v.shape for k, v in first.items()} == {k: v.shape for k, v in second.items()}
    assert not torch.equal(first["cls_token"], second["cls_token"])
