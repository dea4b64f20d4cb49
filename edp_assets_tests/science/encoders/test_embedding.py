"""Embeddings: means over slices, whatever the batches; in order; streaming."""

import numpy as np
import pytest
import torch

from edp_assets.science.encoders.checkpoints import untrained
from edp_assets.science.encoders.embedding import embed_scans


def scans(counts, seed=0):
    rng = np.random.default_rng(seed)
    return [(f"scan {i}", rng.integers(0, 256, (n, 2, 16, 16)).astype(np.uint8)) for i, n in enumerate(counts)]


def test_embed_scans__is_the_mean_of_the_slices_embeddings(config):
    encoder = untrained(config)
    cohort = scans([3, 1, 7])
    found = dict(embed_scans(encoder, cohort, 4))
    for name, slices in cohort:
        wanted = encoder.embed(torch.from_numpy(slices)).mean(dim=0).numpy()
        np.testing.assert_allclose(found[name], wanted, atol=1e-5)
        assert found[name].shape == (32,)
        assert found[name].dtype == np.float32


def test_embed_scans__does_not_depend_on_the_batch_size(config):
    encoder, cohort = untrained(config), scans([5, 1, 12, 2, 2, 9])
    wanted = list(embed_scans(encoder, cohort, 1000))
    assert [name for name, _ in wanted] == [name for name, _ in cohort]
    for batch_size in (1, 2, 3, 5, 31):
        found = list(embed_scans(encoder, cohort, batch_size))
        assert [name for name, _ in found] == [name for name, _ in wanted]
        np.testing.assert_allclose([z for _, z in found], [z for _, z in wanted], atol=1e-5)


def test_embed_scans__fills_batches_across_scans(config, monkeypatch):
    encoder = untrained(config)
    sizes = []
    embed = encoder.embed
    monkeypatch.setattr(encoder, "embed", lambda images: (sizes.append(len(images)), embed(images))[1])
    assert len(list(embed_scans(encoder, scans([3, 3, 3, 3]), 5))) == 4
    assert sizes == [5, 5, 2]


def test_embed_scans__streams(config):
    drawn = []

    def source():
        for name, slices in scans([4] * 10):
            drawn.append(name)
            yield name, slices

    stream = embed_scans(untrained(config), source(), 4)
    assert next(stream)[0] == "scan 0"
    assert len(drawn) == 1
    assert len(list(stream)) == 9


def test_embed_scans__bad_input(config):
    encoder = untrained(config)
    assert list(embed_scans(encoder, [], 4)) == []
    with pytest.raises(ValueError, match="found a scan with none"):
        list(embed_scans(encoder, [("a", np.zeros((0, 2, 16, 16), dtype=np.uint8))], 4))
    with pytest.raises(ValueError, match="batch size of at least 1"):
        list(embed_scans(encoder, scans([1]), 0))
    with pytest.raises(ValueError, match="cut them with the settings"):
        list(embed_scans(encoder, [("a", np.zeros((1, 2, 8, 8), dtype=np.uint8))], 4))
