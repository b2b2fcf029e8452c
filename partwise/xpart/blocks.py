"""One block of the PartFormer, over all parts, some parts at a time.

Specification section 5. The residual stream is float32 and changed in place; what a layer
multiplies is cast to the type of products first. A block's weights are used within its forward pass
alone, so they need be on the device no longer than that.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from partwise.xpart.attention import ConditionCache, CrossAttention, SelfAttention
from partwise.xpart.config import DitConfig
from partwise.xpart.experts import MixtureOfExperts
from partwise.xpart.parts import Conditions
from partwise.xpart.products import multiply

EPS = 1e-6
_EXPANSION = 4


def _never_stop() -> None:
    """The check for callers that do not cancel."""


@dataclass(frozen=True)
class Way:
    """How the PartFormer computes; of this, the type alone changes more than last bits.

    dtype: of products. part_batch: parts that a layer handles at once, 0 for all. is_offloaded:
    the skips wait on the host, each from its block to the one that reads it. cache: keeps what is
    seen of the conditions for the next step. check: is called before each batch of a layer, since a
    block of many parts takes a minute on a CPU, and may raise to stop.
    """

    dtype: torch.dtype = torch.float32
    part_batch: int = 0
    is_offloaded: bool = False
    cache: ConditionCache | None = field(default=None, compare=False)
    check: Callable[[], None] = field(default=_never_stop, compare=False)

    def batches(self, count: int) -> list[slice]:
        """Places of the parts that go together."""
        step = self.part_batch or count
        return [slice(i, min(i + step, count)) for i in range(0, count, step)]

    def watched_batches(self, count: int) -> Iterator[slice]:
        """The same one by one, each after a check."""
        for batch in self.batches(count):
            self.check()
            yield batch


class Mlp(nn.Module):
    """Linear, GELU, Linear."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, _EXPANSION * width)
        self.fc2 = nn.Linear(_EXPANSION * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., C) from (..., C)."""
        hidden = torch.ops.aten.gelu_(multiply(self.fc1, tokens, tokens.dtype))
        return multiply(self.fc2, hidden, hidden.dtype)


class Block(nn.Module):
    """Attention within a part or over all parts, to both conditions, then a feed-forward layer."""

    def __init__(self, config: DitConfig, index: int) -> None:
        super().__init__()
        width, heads = config.hidden_size, config.num_heads
        self.is_global = config.is_global(index)
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.attn1 = SelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.attn2 = CrossAttention(width, config.encoder_hidden_dim, heads)
        self.norm2_2 = nn.LayerNorm(width, eps=EPS)
        self.attn2_2 = CrossAttention(width, config.encoder_hidden_dim, heads)
        self.norm3 = nn.LayerNorm(width, eps=EPS)
        self.mlp, self.moe = _feed_forward(config, index)
        has_skip = config.has_skip(index)
        self.skip_linear = nn.Linear(2 * width, width) if has_skip else None
        self.skip_norm = nn.LayerNorm(width, eps=EPS) if has_skip else None

    def forward(
        self, hidden: Tensor, skip: Tensor | None, conditions: Conditions, way: Way
    ) -> Tensor:
        """(P, L, C) float32 `hidden`, changed in place; L: the time token, then the part's.

        skip: like `hidden`, the output of an early block, for a late one; here or on the host, as
        the conditions.
        """
        if skip is not None:
            self._join(hidden, skip, way)
        if self.is_global:
            self._attend_over_parts(hidden, way)
        else:
            self._attend_within_parts(hidden, way)
        self._look(hidden, conditions, way)
        if self.mlp is not None:
            self._feed(self.mlp, hidden, way)
        if self.moe is not None:
            self._feed_experts(self.moe, hidden, way)
        return hidden

    def _join(self, hidden: Tensor, skip: Tensor, way: Way) -> None:
        if self.skip_linear is None or self.skip_norm is None:
            raise ValueError("this block reads no skip, but was given one")
        width = hidden.shape[-1]
        for batch in way.watched_batches(len(hidden)):
            parts = hidden[batch]
            both = parts.new_empty(*parts.shape[:-1], 2 * width, dtype=way.dtype)
            both[..., :width] = skip[batch].to(hidden.device)
            both[..., width:] = parts
            parts.copy_(self.skip_norm(multiply(self.skip_linear, both, way.dtype).float()))

    def _attend_within_parts(self, hidden: Tensor, way: Way) -> None:
        for batch in way.watched_batches(len(hidden)):
            parts = hidden[batch]
            parts.add_(self.attn1(self.norm1(parts).to(way.dtype)))

    def _attend_over_parts(self, hidden: Tensor, way: Way) -> None:
        """All parts are one sequence: their queries go by in batches, keys and values wait."""
        sides = self.attn1.empty(hidden, way.dtype)
        for batch in way.watched_batches(len(hidden)):
            self.attn1.project(self.norm1(hidden[batch]).to(way.dtype), out=sides[batch])
        asked = sides.flatten(0, 1)[None]  # (1, P·L, H, 3, D)
        for batch in way.watched_batches(len(hidden)):
            parts = hidden[batch]
            found = self.attn1.mix(sides[batch].flatten(0, 1)[None], asked)
            parts.add_(found.view_as(parts))

    def _look(self, hidden: Tensor, conditions: Conditions, way: Way) -> None:
        """Both conditions are seen by the same tokens, so both norms come before either sum."""
        at_object = _Seen(self.attn2, conditions.object, hidden, way)
        at_part = _Seen(self.attn2_2, conditions.parts, hidden, way)
        for batch in way.watched_batches(len(hidden)):
            parts = hidden[batch]
            for_object = self.norm2(parts).to(way.dtype)
            for_part = self.norm2_2(parts).to(way.dtype)
            parts.add_(self.attn2(for_object, at_object.by(batch)))
            del for_object
            parts.add_(self.attn2_2(for_part, at_part.by(batch)))

    def _feed(self, mlp: Mlp, hidden: Tensor, way: Way) -> None:
        for batch in way.watched_batches(len(hidden)):
            parts = hidden[batch]
            parts.add_(mlp(self.norm3(parts).to(way.dtype)))

    def _feed_experts(self, moe: MixtureOfExperts, hidden: Tensor, way: Way) -> None:
        """The tokens of all parts first: an expert runs once, and changes what others still read.

        The gate sees them in float32.
        """
        tokens = torch.empty_like(hidden, dtype=way.dtype)
        logits = hidden.new_empty(*hidden.shape[:-1], len(moe.experts))
        batches = way.batches(len(hidden))
        for batch in batches:
            normed = self.norm3(hidden[batch])
            tokens[batch] = normed
            logits[batch] = multiply(moe.gate, normed, torch.float32)
            del normed  # before the next batch's
        row_chunk = batches[0].stop * hidden.shape[1]
        moe(tokens.flatten(0, 1), logits.flatten(0, 1), hidden.flatten(0, 1), row_chunk=row_chunk)


class _Seen:
    """What one cross attention sees of a condition: made once if all parts share it or it is kept,
    else for each batch of parts."""

    def __init__(
        self, attention: CrossAttention, condition: Tensor, hidden: Tensor, way: Way
    ) -> None:
        self._attention, self._condition = attention, condition
        self._device, self._way = hidden.device, way
        self._whole: Tensor | None = None
        if way.cache is not None:
            self._whole = way.cache.obtain(attention, self._project_all)
        elif len(condition) == 1:
            self._whole = self._project(slice(0, 1))

    def by(self, batch: slice) -> Tensor:
        """What some parts see: (B, M, H, 2, D), or (1, …) for all."""
        if self._whole is None:
            return self._project(batch)
        return self._whole if len(self._whole) == 1 else self._whole[batch]

    def _project(self, batch: slice, out: Tensor | None = None) -> Tensor:
        condition = self._condition[batch].to(self._device, self._way.dtype)
        return self._attention.project(condition, out)

    def _project_all(self) -> Tensor:
        count = len(self._condition)
        like = self._condition[:1].to(self._device, self._way.dtype)
        whole = self._attention.empty(like, count)
        for batch in self._way.batches(count):
            self._project(batch, whole[batch])
        return whole


def _feed_forward(config: DitConfig, index: int) -> tuple[Mlp | None, MixtureOfExperts | None]:
    width = config.hidden_size
    if not config.has_experts(index):
        return Mlp(width), None
    experts = MixtureOfExperts(
        width, _EXPANSION * width, num_experts=config.num_experts, top_k=config.moe_top_k
    )
    return None, experts
