"""Training: it learns, resumes bit for bit, and stops where it diverges."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from edp_assets.science.encoders.checkpoints import load_encoder, read_training_state, save_encoder
from edp_assets.science.encoders.mae import MaeConfig, MaskedAutoencoder
from edp_assets.science.encoders.packs import ArrayItems, write_pack
from edp_assets.science.encoders.training import (
    TrainingError,
    learning_rate,
    run_fingerprint,
    steps_per_epoch,
    train,
    use_bfloat16,
)
from edp_assets.science.encoders.video_mae import VideoMaeConfig


class Killed(Exception):  # noqa: N818
    """Stands for a run that ends without warning."""


def silent(line):
    pass


def kill_at(step):
    """Log function that ends the run right after the checkpoint of a step."""

    def log(line):
        if line.startswith(f"checkpoint at step {step} "):
            raise Killed

    return log


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_train__fills_hidden_patches_from_visible_ones(config, recipe, tmp_path):
    levels = np.random.default_rng(1).integers(20, 250, (20, 1, 1, 1))
    grey = np.broadcast_to(levels // np.array([1, 2]).reshape(1, 2, 1, 1), (20, 2, 16, 16)).astype(np.uint8)
    recipe = recipe.model_copy(update={"epochs": 60, "batch_size": 10, "learning_rate": 0.1})
    trained = train(config, recipe, ArrayItems(grey, "grey"), tmp_path / "a", silent)
    # The mean image, the best guess without a look at visible patches, loses the variance.
    variance = (grey / (255 * 0.25)).var(axis=0).mean()
    assert trained.losses[0] > variance
    assert trained.losses[-1] < 0.05 * variance
    assert len(trained.losses) == 60
    assert trained.images_per_second > 0
    assert trained.resumed_from_step == 0


def test_train__is_reproducible(config, recipe, items, tmp_path):
    first = train(config, recipe, items, tmp_path / "a", silent)
    again = train(config, recipe, items, tmp_path / "b", silent)
    other = train(config, recipe.model_copy(update={"seed": 4}), items, tmp_path / "c", silent)
    assert equal(first.state, again.state)
    assert first.losses == again.losses
    assert not equal(first.state, other.state)


@pytest.mark.parametrize("step", [1, 3, 5, 8])
def test_train__killed_and_resumed_run_equals_the_whole_one(config, recipe, items, tmp_path, step):
    recipe = recipe.model_copy(update={"checkpoint_seconds": 1e-9})
    whole = train(config, recipe, items, tmp_path / "whole", silent)
    with pytest.raises(Killed):
        train(config, recipe, items, tmp_path / "cut", kill_at(step))
    lines = []
    resumed = train(config, recipe, items, tmp_path / "cut", lines.append)
    assert resumed.resumed_from_step == step
    assert lines[0] == f"resumed at step {step}"
    assert equal(resumed.state, whole.state)
    assert resumed.losses == whole.losses


def test_train__finished_run_is_taken_from_its_checkpoint(config, recipe, items, tmp_path):
    first = train(config, recipe, items, tmp_path / "c", silent)
    again = train(config, recipe, items, tmp_path / "c", silent)
    assert again.resumed_from_step == 9
    assert again.images_per_second == 0
    assert equal(first.state, again.state)
    assert first.losses == again.losses


def test_train__checkpoint_of_another_run_is_ignored_and_said_so(config, recipe, items, tmp_path):
    path = tmp_path / "c"
    train(config, recipe, items, path, silent)
    for other in (
        (config, recipe.model_copy(update={"seed": 4}), items),
        (MaeConfig.from_dict({**config.to_dict(), "depth": 2}), recipe, items),
        (config, recipe, ArrayItems(items.array, "others")),
    ):
        lines = []
        assert train(*other, path, lines.append).resumed_from_step == 0
        assert "checkpoint ignored, training starts afresh" in lines[0]
        assert "another config, recipe or set of slices" in lines[0]


def test_train__broken_checkpoint_is_ignored_and_said_so(config, recipe, items, tmp_path):
    path = tmp_path / "c"
    for content in (b"", b"half a file", b"\xff" * 100):
        path.write_bytes(content)
        lines = []
        assert train(config, recipe, items, path, lines.append).resumed_from_step == 0
        assert "checkpoint ignored" in lines[0]
    assert read_training_state(path, run_fingerprint(config, recipe, items)).step == 9


def test_train__fewer_slices_than_a_batch(config, recipe, items, tmp_path):
    trained = train(
        config, recipe.model_copy(update={"batch_size": 64}), ArrayItems(items.array[:1], "one"), tmp_path / "c", silent
    )
    assert len(trained.losses) == 3


def test_train__reads_a_pack_as_it_reads_an_array(config, recipe, items, tmp_path):
    crops = [items.array[:7].swapaxes(0, 1), items.array[7:].swapaxes(0, 1)]
    packed = write_pack(tmp_path / "pack", crops, 16, "discs").items(config.item_shape)
    whole = train(config, recipe, items, tmp_path / "a", silent)
    assert equal(train(config, recipe, packed, tmp_path / "b", silent).state, whole.state)


def test_train__subvolumes_of_a_pack_train_a_video_encoder_and_resume(recipe, items, tmp_path):
    config = VideoMaeConfig(2, 16, 8, 32, 2, 2, 16, 1, 2, 0.75, False, frames=4)
    crops = [items.array[:7].swapaxes(0, 1), items.array[7:].swapaxes(0, 1)]
    packed = write_pack(tmp_path / "pack", crops, 16, "discs").items(config.item_shape)
    recipe = recipe.model_copy(update={"batch_size": 2, "checkpoint_seconds": 1e-9})
    assert len(packed) == 6
    whole = train(config, recipe, packed, tmp_path / "whole", silent)
    with pytest.raises(Killed):
        train(config, recipe, packed, tmp_path / "cut", kill_at(5))
    resumed = train(config, recipe, packed, tmp_path / "cut", silent)
    assert resumed.resumed_from_step == 5
    assert equal(resumed.state, whole.state)
    save_encoder(tmp_path / "e", resumed)
    model = load_encoder(tmp_path / "e")
    assert model.config == config
    assert model.embed(torch.from_numpy(packed.read(np.arange(6)))).shape == (6, 32)


def test_train__divergence_stops_with_advice_and_spoils_no_checkpoint(config, recipe, items, tmp_path, monkeypatch):
    whole = MaskedAutoencoder.forward_loss
    calls = []

    def poisoned(self, images, generator):
        calls.append(1)
        return whole(self, images, generator) * (np.nan if len(calls) == 5 else 1)

    monkeypatch.setattr(MaskedAutoencoder, "forward_loss", poisoned)
    recipe = recipe.model_copy(update={"checkpoint_seconds": 1e-9})
    with pytest.raises(
        TrainingError, match=r"at step 4: .* found loss nan .*step before: \d\.\d+.*lower learning_rate"
    ):
        train(config, recipe, items, tmp_path / "c", silent)
    state = read_training_state(tmp_path / "c", run_fingerprint(config, recipe, items))
    assert state.step == 4
    assert all(torch.isfinite(tensor).all() for tensor in state.tensors.values())


def test_train__absurd_rate_is_caught(config, recipe, items, tmp_path):
    wild = recipe.model_copy(update={"learning_rate": 1e6, "epochs": 20, "warmup_epochs": 0})
    with pytest.raises(TrainingError, match="training diverged at step"):
        train(config, wild, items, tmp_path / "c", silent)


def test_train__items_of_another_shape_are_refused(config, recipe, slices, tmp_path):
    for bad in (slices[:, :1], slices[:0]):
        with pytest.raises(ValueError, match=r"wanted uint8 items \(n, 2, 16, 16\) with n above 0, found \d+ of"):
            train(config, recipe, ArrayItems(bad, ""), tmp_path / "c", silent)


def test_train__bfloat16_runs_where_asked_for(config, recipe, items, tmp_path):
    recipe = recipe.model_copy(update={"precision": "bfloat16", "epochs": 1})
    trained = train(config, recipe, items, tmp_path / "c", silent)
    assert np.isfinite(trained.losses).all()
    assert all(tensor.dtype == torch.float32 for tensor in trained.state.values())


def test_use_bfloat16__auto_follows_the_device(monkeypatch):
    cpu = torch.device("cpu")
    assert use_bfloat16("bfloat16", cpu)
    assert not use_bfloat16("float32", cpu)
    for native in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda native=native: native)
        assert use_bfloat16("auto", cpu) is native


def test_learning_rate__warms_up_to_the_peak_and_falls_to_nothing(recipe):
    recipe = recipe.model_copy(update={"epochs": 20, "warmup_epochs": 2, "learning_rate": 0.1, "batch_size": 64})
    rates = np.array([learning_rate(step, 10, recipe) for step in range(200)])
    assert rates.max() == pytest.approx(0.1 * 64 / 256)
    assert rates.argmax() == 19
    np.testing.assert_allclose(np.diff(rates[:20]), rates[0], rtol=1e-9)
    assert (np.diff(rates[19:]) < 0).all()
    assert 0 < rates[-1] < 1e-3 * rates.max()
    assert rates[19 + 90] == pytest.approx(rates.max() / 2, rel=0.02)


def test_steps_per_epoch__every_slice_once(recipe):
    assert [steps_per_epoch(n, 8) for n in (1, 8, 9, 20)] == [1, 1, 2, 3]


def test_run_fingerprint__changes_with_what_decides_the_weights_only(config, recipe, items):
    first = run_fingerprint(config, recipe, items)
    assert run_fingerprint(config, recipe.model_copy(update={"checkpoint_seconds": 1.0}), items) == first
    assert run_fingerprint(config, recipe.model_copy(update={"pooling": ("patch_max",)}), items) == first
    assert run_fingerprint(config, recipe, ArrayItems(items.array, "others")) != first
    assert run_fingerprint(config, recipe, ArrayItems(items.array[1:], items.version)) != first
    assert run_fingerprint(config, recipe.model_copy(update={"learning_rate": 0.1}), items) != first


SCRIPT = """
import json, sys, pathlib, torch
from edp_assets.science.encoders.mae import MaeConfig
from edp_assets.science.encoders.packs import open_pack
from edp_assets.science.encoders.training import train
from edp_assets.settings import EncoderSettings
torch.set_num_threads(1)
folder = pathlib.Path(sys.argv[1])
recipe = EncoderSettings.model_validate_json((folder / "recipe.json").read_text())
config = MaeConfig(2, 16, 4, 32, 3, 2, 16, 1, 2, 0.75, False)
items = open_pack(folder / "pack").items(config.item_shape)
trained = train(config, recipe, items, folder / sys.argv[2], lambda line: print(line, flush=True))
print(json.dumps(trained.losses), flush=True)
"""


def prepare(folder, recipe, items):
    (folder / "recipe.json").write_text(recipe.model_dump_json())
    return write_pack(folder / "pack", [items.array.swapaxes(0, 1)], 16, items.version).items(items.item_shape)


@pytest.mark.slow
def test_train__two_processes_give_the_losses_of_one(config, recipe, items, tmp_path):
    recipe = recipe.model_copy(update={"batch_size": 7})  # 20 items: batches of 7, 7, 6, so that shares differ
    whole = train(config, recipe, prepare(tmp_path, recipe, items), tmp_path / "one", silent)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, "-W", "error", "-c", SCRIPT, str(tmp_path), "two"]
    ranks = [
        subprocess.Popen(command, env={**shared, "RANK": str(rank)}, stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    lines = [rank.communicate(timeout=120)[0].splitlines() for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0]
    for found in (lines[0][-1], lines[1][-1]):
        np.testing.assert_allclose(json.loads(found), whole.losses, rtol=1e-5)
    assert len(lines[0]) > 1
    assert len(lines[1]) == 1  # the second process keeps quiet
    # Not the weights: a bias of keys changes nothing, so its gradient is rounding, which AdamW scales to full steps.
    fingerprint = run_fingerprint(config, recipe, items)
    z = []
    for name in ("one", "two"):
        model = MaskedAutoencoder(config).eval()
        tensors = read_training_state(tmp_path / name, fingerprint).tensors
        model.load_state_dict({key.removeprefix("model."): value for key, value in tensors.items() if key[:2] == "mo"})
        z.append(model.embed(torch.from_numpy(items.array)))
    torch.testing.assert_close(z[1], z[0], rtol=1e-4, atol=1e-4 * z[0].abs().max().item())


@pytest.mark.slow
def test_train__sigkill_then_rerun_equals_the_whole_run(config, recipe, items, tmp_path):
    recipe = recipe.model_copy(update={"epochs": 20, "checkpoint_seconds": 1e-9})
    packed = prepare(tmp_path, recipe, items)
    command = [sys.executable, "-c", SCRIPT, str(tmp_path), "cut"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as cut:
        for line in cut.stdout:
            if line.startswith("checkpoint at step 20 "):
                time.sleep(0.01)  # wherever it now is, perhaps in the middle of writing
                cut.kill()
                break
    assert cut.returncode == -signal.SIGKILL
    resumed = train(config, recipe, packed, tmp_path / "cut", silent)
    whole = train(config, recipe, packed, tmp_path / "whole", silent)
    assert 20 <= resumed.resumed_from_step < 60
    assert equal(resumed.state, whole.state)
    assert resumed.losses == whole.losses
