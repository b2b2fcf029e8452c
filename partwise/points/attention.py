"""Attention within patches of consecutive points along a curve."""

import torch
from torch import Tensor, nn
from torch.nn import functional

_MATERIALISED_BYTES = 256 * 2**20  # where no fused kernel exists, scores of one call stay below


def patch_slots(order: Tensor, patch_size: int) -> Tensor:
    """(P, K) int64 rows of the points in each patch, from (n,) `order` along a curve.

    A last patch that is short is filled up with the points at the same places of the patch before;
    those copies are keys and values like any other. Up to K points make one patch of n.
    """
    n = len(order)
    if n <= patch_size:
        return order[None]
    missing = -n % patch_size
    if missing:
        start = n + missing - 2 * patch_size  # where the patch before the last begins
        order = torch.cat([order, order[start + patch_size - missing : start + patch_size]])
    return order.view(-1, patch_size)


class PatchAttention(nn.Module):
    """Multi-head self-attention among the points of each patch."""

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, features: Tensor, slots: Tensor) -> Tensor:
        """(n, C) from (n, C) features; slots: (P, K) int64 from `patch_slots`."""
        patch_count, patch_size = slots.shape
        qkv = self.qkv(features[slots.view(-1)])  # (P·K, 3·C)
        qkv = qkv.view(patch_count, patch_size, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        mixed = attend(*qkv.unbind(0))  # (P, H, K, D)
        del qkv
        mixed = mixed.transpose(1, 2).reshape(patch_count * patch_size, -1)  # (P·K, C)
        rows = slots.view(-1)[: len(features)]  # the copies' own outputs are not used
        out = torch.empty_like(mixed[: len(features)])
        out[rows] = mixed[: len(features)]
        del mixed
        return self.proj(out)


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(q kᵀ / √D) v of (P, H, Q, D) queries, (P, H, K, D) keys and values: the one door to
    attention.

    Fused kernels hold no scores. Apple's GPU has none, so there groups of patches go one after
    another, and queries of a patch that is too large by itself.
    """
    if query.device.type != "mps":
        return functional.scaled_dot_product_attention(query, key, value)
    return _attend_in_pieces(query, key, value)


def _attend_in_pieces(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The same, with scores below `_MATERIALISED_BYTES` at any time."""
    row_bytes = key.shape[1] * key.shape[2] * key.element_size()
    rows = max(1, _MATERIALISED_BYTES // row_bytes)
    step = max(1, rows // query.shape[2])
    out = torch.empty_like(query)
    for start in range(0, len(query), step):
        patches = slice(start, start + step)
        for first in range(0, query.shape[2], rows):
            asking = query[patches, :, first : first + rows]
            found = functional.scaled_dot_product_attention(asking, key[patches], value[patches])
            out[patches, :, first : first + rows] = found
    return out
