"""Self-attention of the encoders' blocks: timm's module, with products that a CPU multiplies fast in bfloat16."""

from __future__ import annotations

from typing import Any

import timm.layers
import torch
from torch import Tensor, nn


class Attention(timm.layers.Attention):
    """timm's attention (same weights, same result), that may leave out the queries of the first tokens.

    In bfloat16 on a CPU torch's fused kernel takes 2 to 4 times as long as plain products, forward and backward.
    """

    def forward(
        self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False, first_query: int = 0
    ) -> Tensor:
        """Attend from tokens `first_query` on to all tokens: (n, tokens, width) to (n, tokens - first_query, width)."""
        if attn_mask is not None or is_causal:
            raise ValueError("masks between tokens are not supported: wanted attn_mask None and is_causal False")
        qkv = self.qkv(x)
        if qkv.device.type == "cpu" and qkv.dtype == torch.bfloat16:
            out: Tensor = PlainAttention.apply(qkv, self.num_heads, first_query)
        else:
            q, k, v = qkv.unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
            out = nn.functional.scaled_dot_product_attention(q[:, :, first_query:], k, v).transpose(1, 2).flatten(2)
        return self.proj(out)


class PlainAttention(torch.autograd.Function):
    """softmax(q k' / sqrt(d)) v by batched products, without autograd's copies between them."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, heads: int, first_query: int) -> Tensor:
        """Attend: (n, tokens, 3 * width), of queries, keys and values, to (n, tokens - first_query, width)."""
        n, tokens, _ = qkv.shape
        x = qkv.view(n, tokens, 3, heads, -1).permute(2, 0, 3, 1, 4).reshape(3, n * heads, tokens, -1)
        q, k, v = x[0, :, first_query:], x[1], x[2]
        q.mul_(q.shape[-1] ** -0.5)
        p = torch.softmax(torch.bmm(q, k.transpose(1, 2)), -1)
        ctx.save_for_backward(x, p)
        ctx.heads, ctx.first_query = heads, first_query
        return _join_heads(torch.bmm(p, v), heads)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Return the gradient of queries, keys and values."""
        x, p = ctx.saved_tensors
        q, k, v = x[0, :, ctx.first_query :], x[1], x[2]
        out = gradient.unflatten(-1, (ctx.heads, -1)).transpose(1, 2).flatten(0, 1)
        found = torch.empty_like(x)
        found[0, :, : ctx.first_query] = 0
        torch.bmm(p.transpose(1, 2), out, out=found[2])
        scores = torch._softmax_backward_data(torch.bmm(out, v.transpose(1, 2)), p, -1, p.dtype)
        torch.bmm(scores, k, out=found[0, :, ctx.first_query :])
        found[0].mul_(q.shape[-1] ** -0.5)
        torch.bmm(scores.transpose(1, 2), q, out=found[1])
        parts = found.view(3, -1, ctx.heads, *found.shape[2:])
        return parts.permute(1, 3, 0, 2, 4).flatten(2), None, None


def _join_heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(0, (-1, heads)).transpose(1, 2).flatten(2)
