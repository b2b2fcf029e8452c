"""PartFormer's two attentions, in the head layouts that its checkpoint depends on.

Specification section 5. Each side of a product is written next to the others in one buffer, in the
published order of channels, and the heads are views of it: nothing is put side by side twice. Norms
are float32; products have the type of what is given.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from partwise.points.attention import attend
from partwise.xpart.products import multiply

_EPS = 1e-6
_NORM_ROWS = 2048  # tokens whose heads are normalised at once: 32 MiB in float32 at full width


class SelfAttention(nn.Module):
    """Attention of tokens among themselves.

    Published layout: of the channels [q|k|v] side by side, each head takes the next 3·D; they are
    its query, key and value.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(width, width, bias=False)
        self.to_v = nn.Linear(width, width, bias=False)
        self.q_norm = nn.RMSNorm(width // num_heads, eps=_EPS)
        self.k_norm = nn.RMSNorm(width // num_heads, eps=_EPS)
        self.out_proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L, C) from (B, L, C): each of B groups by itself."""
        sides = self.project(tokens)
        return self.mix(sides, sides)

    def project(self, tokens: Tensor, out: Tensor | None = None) -> Tensor:
        """(B, L, H, 3, D): normalised queries, normalised keys, values; into `out` when given."""
        sides = self.empty(tokens, tokens.dtype) if out is None else out
        channels = sides.flatten(2).chunk(3, dim=-1)
        for side, layer in zip(channels, (self.to_q, self.to_k, self.to_v), strict=True):
            side.copy_(multiply(layer, tokens, tokens.dtype))
        _normalize(self.q_norm, sides[..., 0, :])
        _normalize(self.k_norm, sides[..., 1, :])
        return sides

    def empty(self, tokens: Tensor, dtype: torch.dtype) -> Tensor:
        """Room for what `project` makes of (B, L, C) tokens of a type."""
        groups, length, width = tokens.shape
        shape = (groups, length, self.num_heads, 3, width // self.num_heads)
        return tokens.new_empty(shape, dtype=dtype)

    def mix(self, asking: Tensor, asked: Tensor) -> Tensor:
        """(B, L, C): what the queries of `asking` find in `asked`; both from `project`."""
        mixed = _mixed(asking[..., 0, :], asked[..., 1, :], asked[..., 2, :])
        return multiply(self.out_proj, mixed, mixed.dtype)


class CrossAttention(nn.Module):
    """Attention of tokens to a condition.

    Published layout: of the channels [k|v] side by side, each head takes the next 2·D; they are its
    key and value. The queries' heads are plain.
    """

    def __init__(self, width: int, condition_width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads, self.head_width = num_heads, width // num_heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(condition_width, width, bias=False)
        self.to_v = nn.Linear(condition_width, width, bias=False)
        self.q_norm = nn.RMSNorm(self.head_width, eps=_EPS)
        self.k_norm = nn.RMSNorm(self.head_width, eps=_EPS)
        self.out_proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor, seen: Tensor) -> Tensor:
        """(B, L, C) from (B, L, C); seen: from `project`, of B conditions or of one for all."""
        query = multiply(self.to_q, tokens, tokens.dtype)
        query = query.unflatten(-1, (self.num_heads, -1))  # (B, L, H, D)
        _normalize(self.q_norm, query)
        if len(seen) == 1:
            query = query.flatten(0, 1)[None]  # queries do not see one another
        mixed = _mixed(query, seen[..., 0, :], seen[..., 1, :])
        return multiply(self.out_proj, mixed.view_as(tokens), mixed.dtype)

    def project(self, condition: Tensor, out: Tensor | None = None) -> Tensor:
        """(B, M, H, 2, D) normalised keys and values of (B, M, W); into `out` when given."""
        seen = self.empty(condition, len(condition)) if out is None else out
        channels = seen.flatten(2).chunk(2, dim=-1)
        for side, layer in zip(channels, (self.to_k, self.to_v), strict=True):
            side.copy_(multiply(layer, condition, condition.dtype))
        _normalize(self.k_norm, seen[..., 0, :])
        return seen

    def empty(self, condition: Tensor, count: int) -> Tensor:
        """Room for what `project` makes of `count` conditions like the (B, M, W) given."""
        shape = (count, condition.shape[1], self.num_heads, 2, self.head_width)
        return condition.new_empty(shape)


class ConditionCache:
    """What the cross attentions see of the conditions: the same in every step, so made once.

    Belongs to one set of conditions and one model; made on the device in the first step.
    """

    def __init__(self) -> None:
        self._seen: dict[nn.Module, Tensor] = {}

    def obtain(self, attention: nn.Module, build: Callable[[], Tensor]) -> Tensor:
        """What an attention sees, built when it is asked for first."""
        if attention not in self._seen:
            self._seen[attention] = build()
        return self._seen[attention]


def _normalize(norm: nn.RMSNorm, heads: Tensor) -> None:
    """Normalise (B, L, H, D) heads where they are, in float32."""
    for rows in heads.flatten(0, 1).split(_NORM_ROWS):
        rows.copy_(norm(rows.float()))


def _mixed(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """(B, L, H·D) of (B, L, H, D) queries and (B, M, H, D) keys and values."""
    mixed = attend(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2))
    return mixed.transpose(1, 2).flatten(2)  # a view where the kernel puts rows before heads
