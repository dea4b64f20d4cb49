"""The folder run: what a machine with torch, timm, numpy and pydantic alone does, alone and under torchrun."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from edp_assets.science.encoders.checkpoints import load_encoder
from edp_assets.science.encoders.train import PACK, TRAINED, Recipe, flops_an_item, prepare_synthetic
from edp_assets.settings import EncoderSettings, OrganSettings

MODULE = "edp_assets.science.encoders.train"
BARE = f"""
import runpy, sys
from importlib.machinery import PathFinder
blocked = {{"dagster", "polars", "duckdb", "pandas", "scipy", "sklearn", "matplotlib", "nibabel", "pyarrow", "rich"}}
class Others:
    # What is installed, less the blocked.
    find_distributions = PathFinder.find_distributions
    def find_spec(name, path=None, target=None):
        return None if name.split(".")[0] in blocked else PathFinder.find_spec(name, path, target)
sys.meta_path = [Others if finder is PathFinder else finder for finder in sys.meta_path]
runpy.run_module("{MODULE}", run_name="__main__")
"""


@pytest.fixture
def tiny(tmp_path):
    recipe = Recipe(
        OrganSettings(resolution=16, patch=4),
        EncoderSettings(
            size="tiny", decoder_width=32, decoder_depth=1, decoder_heads=2, epochs=2, batch_size=8, precision="float32"
        ),
    )
    recipe.write(tmp_path)
    return tmp_path, recipe


@pytest.mark.slow
def test_main__needs_torch_timm_and_numpy_alone_and_reports_the_speed(tiny):
    folder, recipe = tiny
    command = [sys.executable, "-c", BARE, str(folder), "--synthetic", "70"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["items_per_second"] > 0
    assert report["matmul_peak_teraflops_float32"] > 0
    assert report["hours_for_10_million_slices_30_epochs"] == pytest.approx(
        3e8 / report["items_per_second"] / 3600, rel=0.01
    )
    share = report["items_per_second"] * report["gigaflops_an_item"] / report["matmul_peak_teraflops_float32"] / 1000
    assert report["share_of_peak"] == pytest.approx(share, rel=0.01)
    assert "step 18 of 18" in done.stderr
    model = load_encoder(folder / TRAINED)
    assert model.config == recipe.config()


@pytest.mark.slow
def test_main__under_torchrun_two_processes_give_the_weights_of_one(tiny, tmp_path_factory):
    folder, recipe = tiny
    prepare_synthetic(folder, 40)
    other = tmp_path_factory.mktemp("alone")
    recipe.write(other)
    (other / PACK).symlink_to(folder / PACK)
    (folder / "run.py").write_text(BARE)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    losses = []
    for command, where in (([*launcher, str(folder / "run.py")], folder), ([sys.executable, "-c", BARE], other)):
        done = subprocess.run(
            [*command, str(where)], capture_output=True, text=True, check=False, timeout=120, env=environment
        )
        assert done.returncode == 0, done.stderr
        losses.append(json.loads(load_losses(where / TRAINED)))
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def load_losses(path):
    from edp_assets.science.encoders.checkpoints import read_encoder_metadata

    return read_encoder_metadata(path)["losses"]


def test_recipe__round_trip_and_errors(tiny, tmp_path_factory):
    folder, recipe = tiny
    assert Recipe.read(folder) == recipe
    empty = tmp_path_factory.mktemp("empty")
    with pytest.raises(ValueError, match="wanted the recipe of a run, found no file"):
        Recipe.read(empty)
    for content in ("{}", "[]", '{"kind": "clip", "organ": {}, "encoder": {}}', "no json"):
        (empty / "recipe.json").write_text(content)
        with pytest.raises(ValueError, match="wanted kind"):
            Recipe.read(empty)


def test_flops_an_item__is_what_the_layers_multiply(config):
    """Forward products by hand; a backward pass costs twice as much, less the input gradient of the first layer."""
    tokens, decoder_tokens, pixels = 1 + config.visible_patches, 1 + config.patches, 2 * 16
    hidden, width, decoder = config.patches - config.visible_patches, config.width, config.decoder_width
    blocks = 3 * (tokens * 12 * width**2 + 2 * tokens**2 * width)
    # The decoder's one block is its last: queries' results are of the hidden patches alone.
    last = decoder_tokens * 3 * decoder**2 + hidden * (9 * decoder**2 + 2 * decoder_tokens * decoder)
    maps = tokens * width * decoder + hidden * decoder * pixels
    first = config.visible_patches * pixels * config.width
    wanted = 2 * (3 * (blocks + last + maps) + 2 * first)
    assert flops_an_item(config) == pytest.approx(wanted, rel=0.02)
