"""Poolings of tokens and items, against numpy over all of them at once."""

from typing import get_args

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import Block

from edp_assets.science.encoders.checkpoints import untrained
from edp_assets.science.encoders.embedding import embed_resumably, embed_scans
from edp_assets.science.encoders.last_block import pooled_after
from edp_assets.science.encoders.pooling import ItemStatistics, Pooling, token_statistics
from edp_assets.settings import EncoderSettings, ItemStatistic, TokenStatistic

EVERYTHING = Pooling(get_args(TokenStatistic), get_args(ItemStatistic))


def cohort(counts):
    rng = np.random.default_rng(0)
    return [(f"scan {i}", rng.integers(0, 256, (n, 2, 16, 16)).astype(np.uint8)) for i, n in enumerate(counts)]


def test_token_statistics__equal_numpys():
    tokens = torch.randn(3, 10, 4)
    cls_token, patches = tokens[:, 0].numpy(), tokens[:, 1:].numpy()
    wanted = [cls_token, patches.mean(1), patches.std(1), patches.max(1), patches.min(1)]
    found = token_statistics(tokens, EVERYTHING.tokens).numpy()
    np.testing.assert_allclose(found, np.concatenate(wanted, axis=1), rtol=1e-5, atol=1e-6)


def test_item_statistics__equal_numpys_whatever_the_pieces():
    z = np.random.default_rng(0).normal(3, 1, (11, 5)).astype(np.float32)
    wanted = np.concatenate([z.mean(0), z.std(0), z.max(0), z.min(0)])
    for pieces in ([11], [1, 10], [4, 4, 3]):
        statistics = ItemStatistics(EVERYTHING.items, 5)
        for piece in np.split(z, np.cumsum(pieces)[:-1]):
            statistics.add(piece)
        assert statistics.seen == 11
        np.testing.assert_allclose(statistics.pooled(), wanted, rtol=1e-5)


def test_item_statistics__a_single_item_has_no_spread():
    statistics = ItemStatistics(("spread", "max"), 2)
    statistics.add(np.array([[0.1, -7.3]], dtype=np.float32))
    np.testing.assert_array_equal(statistics.pooled(), np.array([0, 0, 0.1, -7.3], dtype=np.float32))


def test_pooling__comes_from_an_encoders_section():
    section = EncoderSettings(pooling=("cls", "patch_max"), pooling_over_items=("mean", "spread", "max"))
    pooling = Pooling.from_settings(section)
    assert pooling == Pooling(("cls", "patch_max"), ("mean", "spread", "max"))
    assert pooling.dimensions(128) == 768
    assert str(pooling) == "cls patch_max over items mean spread max"
    assert Pooling.from_settings(EncoderSettings()) == Pooling()
    assert Pooling().dimensions(128) == 128


def test_pooled_after__runs_the_whole_block_only_where_more_than_cls_is_read(monkeypatch):
    block, x = Block(48, 4).eval(), torch.randn(5, 17, 48)
    with torch.inference_mode():
        both = pooled_after(block, x, ("cls", "patch_mean"))
        monkeypatch.setattr(block, "forward", None)
        torch.testing.assert_close(pooled_after(block, x, ("cls",)), both[:, :48], atol=1e-5, rtol=1e-5)


def test_embed_scans__pools_tokens_then_items(config):
    encoder, scans = untrained(config), cohort([3, 1, 7])
    for name, z in embed_scans(encoder, scans, 4, EVERYTHING):
        items = encoder.embed(torch.from_numpy(dict(scans)[name]), EVERYTHING.tokens).numpy()
        assert items.shape[1] == 5 * config.width
        wanted = np.concatenate([items.mean(0), items.std(0), items.max(0), items.min(0)])
        assert z.shape == (EVERYTHING.dimensions(config.width),)
        np.testing.assert_allclose(z, wanted, rtol=1e-5, atol=1e-5)


def test_embed_scans__no_pooling_depends_on_the_batch_size(config):
    encoder, scans = untrained(config), cohort([5, 1, 12, 2, 2, 9])
    wanted = [z for _, z in embed_scans(encoder, scans, 1000, EVERYTHING)]
    for batch_size in (1, 3, 31):
        found = [z for _, z in embed_scans(encoder, scans, batch_size, EVERYTHING)]
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_embed_resumably__another_pooling_begins_afresh(config, tmp_path):
    encoder, scans, started = untrained(config), cohort([1, 2]), []

    def scans_from(first):
        started.append(first)
        return scans[first:]

    # Two statistics either way, so that the journal's rows are of one length.
    for pooling in (Pooling(("patch_max", "patch_min")), Pooling(("cls",), ("max", "min"))) * 2:
        found = list(embed_resumably(encoder, [name for name, _ in scans], scans_from, 5, tmp_path / "j", "v", pooling))
        for (_, z), (_, wanted) in zip(found, embed_scans(encoder, scans, 5, pooling), strict=True):
            np.testing.assert_array_equal(z, wanted)
    assert started == [0, 0, 0, 0]
    list(embed_resumably(encoder, [name for name, _ in scans], scans_from, 5, tmp_path / "j", "v", pooling))
    assert started[-1] == 2


@pytest.mark.parametrize("field", ["pooling", "pooling_over_items"])
def test_pooling__wrong_names_are_refused(field):
    with pytest.raises(ValueError, match=rf"{field}\.0\n.*Input should be"):
        EncoderSettings(**{field: ("median",)})
    with pytest.raises(ValueError, match="at least 1 item"):
        EncoderSettings(**{field: ()})
    name = EncoderSettings.model_fields[field].default[0]
    with pytest.raises(ValueError, match="named twice: wanted each once"):
        EncoderSettings(**{field: (name, name)})
