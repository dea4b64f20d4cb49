"""Embeddings: means over slices, whatever the batches; in order; streaming."""

import numpy as np
import pytest
import torch

from edp_assets.science.encoders import embedding
from edp_assets.science.encoders.checkpoints import untrained
from edp_assets.science.encoders.embedding import embed_resumably, embed_scans
from edp_assets.science.encoders.packs import AHEAD


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
        np.testing.assert_allclose([z for _, z in found], [z for _, z in wanted], rtol=1e-5, atol=1e-6)


def test_embed_scans__is_the_same_whoever_is_embedded_beside(config):
    encoder, cohort = untrained(config), scans([5, 1, 12, 2, 2, 9, 4])
    wanted = dict(embed_scans(encoder, cohort, 8))
    for some in (cohort[1:], cohort[3:], cohort[::2], cohort[-1:]):
        for name, z in embed_scans(encoder, some, 8):
            # In this process MKL's last bit depends on where in memory factors lie.
            np.testing.assert_allclose(z, wanted[name], rtol=1e-6, atol=1e-6)


def test_embed_scans__fills_batches_across_scans(config, monkeypatch):
    encoder = untrained(config)
    sizes = []
    embed = encoder.embed
    monkeypatch.setattr(encoder, "embed", lambda x, pooling: (sizes.append(len(x)), embed(x, pooling))[1])
    assert len(list(embed_scans(encoder, scans([3, 3, 3, 3]), 5))) == 4
    assert sizes == [5, 5, 5]  # the last one is filled with zeros


def test_embed_scans__streams(config):
    drawn = []

    def source():
        for name, slices in scans([4] * 10):
            drawn.append(name)
            yield name, slices

    stream = embed_scans(untrained(config), source(), 4)
    assert next(stream)[0] == "scan 0"
    assert len(drawn) <= 1 + AHEAD
    assert len(list(stream)) == 9
    assert len(drawn) == 10


def test_embed_scans__small_forward_passes_on_a_cpu(config, monkeypatch):
    encoder = untrained(config)
    sizes = []
    embed = encoder.embed
    monkeypatch.setattr(encoder, "embed", lambda x, pooling: (sizes.append(len(x)), embed(x, pooling))[1])
    monkeypatch.setattr(embedding, "CPU_FORWARD_BYTES", 3 * 2 * 16 * 16)
    list(embed_scans(encoder, scans([4, 4]), 100))
    assert sizes == [3, 3, 3]


class Killed(Exception):  # noqa: N818
    """Stands for a run that ends without warning."""


def test_embed_resumably__a_cut_run_goes_on_to_the_same_bits(config, tmp_path, monkeypatch):
    monkeypatch.setattr(embedding, "SCANS_A_PART", 4)
    encoder, cohort = untrained(config), scans([3, 1, 7, 2, 5, 5, 1, 1, 4, 2])
    names = [name for name, _ in cohort]
    started = []

    def scans_from(first, end=10):
        started.append(first)
        yield from cohort[first:end]
        if end < 10:
            raise Killed

    whole = list(embed_resumably(encoder, names, scans_from, 5, tmp_path / "whole", "v1"))
    assert [name for name, _ in whole] == names
    journal = tmp_path / "journal"
    with pytest.raises(Killed):
        list(embed_resumably(encoder, names, lambda first: scans_from(first, 6), 5, journal, "v1"))
    with journal.open("ab") as file:
        file.write(b"half a row")
    started.clear()
    resumed = list(embed_resumably(encoder, names, scans_from, 5, journal, "v1"))
    assert started == [4]
    for (name, z), (wanted_name, wanted) in zip(resumed, whole, strict=True):
        assert name == wanted_name
        np.testing.assert_array_equal(z, wanted)
    started.clear()
    assert len(list(embed_resumably(encoder, names, scans_from, 5, journal, "v1"))) == 10
    list(embed_resumably(encoder, names, scans_from, 5, journal, "v2"))
    assert started == [0]  # nothing was read again of the finished run


def test_embed_resumably__other_scans_than_named_are_refused(config, tmp_path):
    encoder, cohort = untrained(config), scans([1, 1])
    with pytest.raises(ValueError, match="in the order of names"):
        list(embed_resumably(encoder, ["b", "a"], lambda first: cohort, 5, tmp_path / "j", "v"))
    with pytest.raises(ValueError, match="in the order of names"):
        list(embed_resumably(encoder, ["scan 0", "scan 1", "c"], lambda first: cohort, 5, tmp_path / "k", "v"))


def test_embed_scans__bad_input(config):
    encoder = untrained(config)
    assert list(embed_scans(encoder, [], 4)) == []
    with pytest.raises(ValueError, match="found scan a with none"):
        list(embed_scans(encoder, [("a", np.zeros((0, 2, 16, 16), dtype=np.uint8))], 4))
    with pytest.raises(ValueError, match="batch size of at least 1"):
        list(embed_scans(encoder, scans([1]), 0))
    with pytest.raises(ValueError, match="cut them with the settings"):
        list(embed_scans(encoder, [("a", np.zeros((1, 2, 8, 8), dtype=np.uint8))], 4))
