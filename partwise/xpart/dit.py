"""PartFormer: the velocity of all parts' latents at a time, given what is seen of the surfaces.

Specification section 5. Module names follow the published checkpoint's keys.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from partwise.xpart.blocks import EPS, Block, Way
from partwise.xpart.config import DitConfig
from partwise.xpart.parts import Conditions

_LONGEST_PERIOD = 10000
_TIME_EXPANSION = 4

Check = Callable[[float], None]


def _ignore(_: float) -> None:
    """For callers that do not watch."""


class TimeEmbedder(nn.Module):
    """A time in [0, 1] as a token; in float32, since it is one row."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        inner = _TIME_EXPANSION * width
        self.mlp = nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))

    def forward(self, time: Tensor) -> Tensor:
        """(B, 1, C) from (B,) float32."""
        return self.mlp(time_waves(time, self.width))[:, None]


def time_waves(time: Tensor, width: int) -> Tensor:
    """(B, width) float32 sines, then cosines, of (B,) float32 times at falling frequencies."""
    half = width // 2
    places = torch.arange(half, dtype=torch.float32, device=time.device)
    angles = time[:, None] * torch.exp(-math.log(_LONGEST_PERIOD) * places / half)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class FinalLayer(nn.Module):
    """From the last block's tokens to channels of latents; in float32."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.norm_final = nn.LayerNorm(width, eps=EPS)
        self.linear = nn.Linear(width, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T, channels) from (B, T, C) float32."""
        return self.linear(self.norm_final(tokens))


class PartFormer(nn.Module):
    """The whole network with the public checkpoint's 942 keys; build it on `meta`, then load."""

    def __init__(self, config: DitConfig | None = None) -> None:
        super().__init__()
        self.config = config or DitConfig()
        width = self.config.hidden_size
        self.part_embed = nn.Parameter(torch.zeros(self.config.valid_num, width))
        self.x_embedder = nn.Linear(self.config.in_channels, width)
        self.t_embedder = TimeEmbedder(width)
        self.blocks = nn.ModuleList(Block(self.config, i) for i in range(self.config.depth))
        self.final_layer = FinalLayer(width, self.config.in_channels)

    def forward(
        self,
        latents: Tensor,
        time: float,
        conditions: Conditions,
        part_ids: Tensor,
        way: Way,
        *,
        check: Check = _ignore,
    ) -> Tensor:
        """(P, T, C) float32 velocity of (P, T, C) float32 latents at a time in [0, 1].

        part_ids: (P,) int64 below `valid_num`, no two equal. conditions: here or on the host, from
        where each batch of parts fetches its own. check: hears before each block which share is
        done, and may raise to stop. Raises `ValueError` when the numbers of parts do not match.
        """
        _refuse_unequal(len(latents), conditions, part_ids)
        hidden = self._tokens(latents, time, part_ids, way)
        skips: list[Tensor] = []
        for i, block in enumerate(self.blocks):
            check(i / self.config.depth)
            skip = skips.pop() if self.config.has_skip(i) else None
            hidden = block(hidden, skip, conditions, way)
            del skip  # before there is another
            if i < self.config.depth // 2:
                skips.append(_copy(hidden, way))
        velocity = torch.empty_like(latents)
        for batch in way.batches(len(latents)):
            velocity[batch] = self.final_layer(hidden[batch, 1:])
        return velocity

    def _tokens(self, latents: Tensor, time: float, part_ids: Tensor, way: Way) -> Tensor:
        """(P, 1 + T, width) float32: the time's token, then those of the part."""
        parts, count, _ = latents.shape
        hidden = latents.new_empty(parts, 1 + count, self.config.hidden_size)
        when = torch.full((1,), time, dtype=torch.float32, device=latents.device)
        hidden[:, :1] = self.t_embedder(when)
        for batch in way.batches(parts):
            names = self.part_embed[part_ids[batch]][:, None]
            hidden[batch, 1:] = self.x_embedder(latents[batch]).add_(names)
        return hidden


def _refuse_unequal(parts: int, conditions: Conditions, part_ids: Tensor) -> None:
    if len(conditions.object) not in (1, parts):
        raise ValueError(f"{len(conditions.object)} conditions of the object for {parts} parts")
    if len(conditions.parts) != parts:
        raise ValueError(f"{len(conditions.parts)} conditions of parts for {parts} parts")
    if len(part_ids) != parts:
        raise ValueError(f"{len(part_ids)} part numbers for {parts} parts")


def _copy(hidden: Tensor, way: Way) -> Tensor:
    """As it is now: the blocks that follow change it in place."""
    kept = hidden.cpu() if way.is_offloaded else hidden
    return kept.clone() if kept is hidden else kept
