"""The last block that an embedding needs, and for its [cls] token alone where no more is read; blocks are timm's."""

from __future__ import annotations

from torch import Tensor, nn

from edp_assets.science.encoders.pooling import token_statistics
from edp_assets.settings import TokenStatistic


def pooled_after(block: nn.Module, x: Tensor, wanted: tuple[TokenStatistic, ...]) -> Tensor:
    """Return statistics of the tokens after a timm `Block`: (n, tokens, width) to float32 (n, n_statistics * width)."""
    return (cls_after(block, x) if wanted == ("cls",) else token_statistics(block(x), wanted)).float()


def cls_after(block: nn.Module, x: Tensor) -> Tensor:
    """Return the [cls] token after a timm `Block`, (n, tokens, width) to (n, width): `block(x)[:, 0]`, and no more.

    Only keys and values need every token; the query, the projection and the MLP are of the first token alone, which
    leaves a sixth of the block's work.
    """
    attention = block.attn
    n, tokens, _ = x.shape
    h = block.norm1(x)  # type: ignore[operator]
    cls_in = h[:, :1]
    weight, bias = attention.qkv.weight, attention.qkv.bias  # type: ignore[union-attr]
    dim: int = attention.attn_dim if hasattr(attention, "attn_dim") else len(weight) // 3  # type: ignore
    q_bias, kv_bias = (bias[:dim], bias[dim:]) if bias is not None else (None, None)  # type: ignore
    heads: int = attention.num_heads  # type: ignore
    q = nn.functional.linear(cls_in, weight[:dim], q_bias).reshape(n, 1, heads, -1).transpose(1, 2)  # type: ignore
    kv = nn.functional.linear(h, weight[dim:], kv_bias).reshape(n, tokens, 2, heads, -1)  # type: ignore
    k, v = kv.permute(2, 0, 3, 1, 4).unbind(0)
    q, k = attention.q_norm(q), attention.k_norm(k)  # type: ignore
    found = nn.functional.scaled_dot_product_attention(q, k, v)
    found = attention.proj(attention.norm(found.transpose(1, 2).reshape(n, 1, dim)))  # type: ignore
    cls_token = x[:, :1] + block.ls1(found)  # type: ignore[operator]
    out: Tensor = cls_token + block.ls2(block.mlp(block.norm2(cls_token)))  # type: ignore[operator]
    return out[:, 0]
