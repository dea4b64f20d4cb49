"""Training launched from a running program: several processes give what one gives; a failure is told in their words."""

import numpy as np
import pytest

from edp_assets.science.encoders.launch import launch, train_here_or_launch
from edp_assets.science.encoders.packs import write_pack
from edp_assets.science.encoders.train import PACK, TRAINED, Recipe
from edp_assets.science.encoders.training import TrainingError
from edp_assets.settings import EncoderSettings, OrganSettings

pytestmark = pytest.mark.slow


def trained(folder, processes):
    folder.mkdir()
    shape = {"size": "tiny", "decoder_width": 32, "decoder_depth": 1, "decoder_heads": 2, "precision": "float32"}
    recipe = Recipe(
        OrganSettings(resolution=16, patch=4), EncoderSettings(**shape, epochs=2, batch_size=8, processes=processes)
    )
    recipe.write(folder)
    crops = np.random.default_rng(0).integers(1, 256, (6, 2, 4, 12, 10)).astype(np.uint8)
    pack = write_pack(folder / PACK, crops, 16, "test")
    said = []
    found = train_here_or_launch(folder, recipe, pack.items(recipe.config().item_shape), said.append)
    assert not (folder / TRAINED).exists()
    return found, said


def test_train_here_or_launch__two_processes_give_what_one_gives(tmp_path):
    one, _ = trained(tmp_path / "one", 1)
    two, said = trained(tmp_path / "two", 2)
    np.testing.assert_allclose(two.losses, one.losses, rtol=1e-4)
    assert two.config == one.config
    assert said[0] == "training in 2 processes"
    assert any("epoch 2 of 2" in line for line in said)


def test_launch__a_failure_is_told_in_the_processes_words(tmp_path):
    with pytest.raises(TrainingError, match=r"recipe\.json: wanted the recipe of a run, found no file"):
        launch(tmp_path, 2, lambda line: None)
