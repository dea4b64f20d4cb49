"""The [cls] token after a block: what the whole block gives, whatever the block has switched on."""

import pytest
import torch
from timm.layers import LayerNorm
from timm.models.vision_transformer import Block

from edp_assets.science.encoders.last_block import cls_after


@pytest.mark.parametrize(
    "options",
    [{}, {"qkv_bias": True}, {"qkv_bias": True, "init_values": 0.3}, {"qk_norm": True, "norm_layer": LayerNorm}],
)
def test_cls_after__equals_the_whole_block(options):
    torch.manual_seed(0)
    block = Block(48, 4, **options).eval()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x = torch.randn(5, 17, 48)
    with torch.inference_mode():
        wanted = block(x)[:, 0]
        torch.testing.assert_close(cls_after(block, x), wanted, rtol=1e-6, atol=1e-6 * wanted.abs().max().item())
