"""Attention against timm's own, and its gradient against finite differences."""

import pytest
import timm.layers
import torch

from edp_assets.science.encoders.attention import Attention, PlainAttention


def normal(*shape, dtype=torch.float32, seed=0):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 0.02)])
def test_attention__equals_timms(dtype, tolerance):
    ours = Attention(24, num_heads=3, qkv_bias=True)
    peer = timm.layers.Attention(24, num_heads=3, qkv_bias=True)
    peer.load_state_dict(ours.state_dict())
    x = normal(2, 7, 24)
    wanted = peer(x)
    torch.testing.assert_close(ours.to(dtype)(x.to(dtype)).float(), wanted, atol=tolerance, rtol=0)
    part = ours(x.to(dtype), first_query=3).float()
    torch.testing.assert_close(part, wanted[:, 3:], atol=tolerance, rtol=0)


def test_attention__refuses_masks():
    with pytest.raises(ValueError, match="wanted attn_mask None"):
        Attention(24, num_heads=3)(normal(2, 7, 24), attn_mask=torch.ones(7, 7))


@pytest.mark.parametrize("first", [0, 2])
def test_plain_attention__gradient_is_that_of_finite_differences(first):
    qkv = normal(2, 5, 3 * 8, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: PlainAttention.apply(x, 2, first), (qkv,))
