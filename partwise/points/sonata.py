"""Sonata: Point Transformer V3's encoder on a voxelised cloud, one cloud a call.

Specification section 3. Module names follow the published checkpoint's keys.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from partwise.points.attention import PatchAttention, patch_slots
from partwise.points.neighbors import Link, find_neighbors
from partwise.points.serialization import CURVES, curve_depth, curve_order
from partwise.points.sparse_conv import SubMConv3

IN_ORDER = (tuple(range(len(CURVES))),)


@dataclass(frozen=True)
class SonataConfig:
    """Widths and depths of the five stages; the defaults are the published configuration."""

    in_channels: int = 9
    depths: tuple[int, ...] = (3, 3, 3, 12, 3)
    channels: tuple[int, ...] = (48, 96, 192, 384, 512)
    num_heads: tuple[int, ...] = (3, 6, 12, 24, 32)
    patch_size: int = 1024
    mlp_ratio: int = 4
    stride: int = 2


@dataclass(frozen=True)
class StageGrid:
    """The geometry of a stage, which all its blocks share.

    slots: for each curve in the stage's order, (P, K) int64 rows by patch. links: the neighbour
    table.
    """

    slots: tuple[Tensor, ...]
    links: tuple[Link, ...]


@dataclass(frozen=True)
class StageFeatures:
    """Output of a stage.

    features: (n, C). cluster: (n of the stage before,) int64 row that each of its points was pooled
    into, None for the first stage.
    """

    features: Tensor
    cluster: Tensor | None


class Sonata(nn.Module):
    """Voxels with 9 features each → the features of every stage."""

    def __init__(self, config: SonataConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = _Embedding(config.in_channels, config.channels[0])
        self.enc = nn.ModuleDict({f"enc{i}": _Stage(config, i) for i in range(len(config.depths))})

    @property
    def stages(self) -> list["_Stage"]:
        """The five stages, finest first."""
        return cast("list[_Stage]", list(self.enc.values()))

    def forward(
        self,
        grid: Tensor,
        features: Tensor,
        curve_orders: Sequence[Sequence[int]] = IN_ORDER,
        check: Callable[[float], None] = lambda share: None,
    ) -> list[StageFeatures]:
        """The five stages' features, finest first.

        grid: (M, 3) int64 ≥ 0, cells distinct. features: (M, in_channels). curve_orders: for each
        stage which curve its blocks take in turn, all four as numbers into `CURVES`; one order for
        all stages will do.
        check: hears before each block which share of them is done, and may raise to stop.
        """
        curve_orders = _orders_by_stage(curve_orders, len(self.config.depths))
        blocks_before, block_count = 0, sum(self.config.depths)
        features = self.embedding(features)
        cluster, stages = None, []
        for i, stage in enumerate(self.stages):
            if i:
                grid, cluster = pool_grid(grid, self.config.stride)
                features = stage.down(features, cluster, len(grid))
            geometry = stage_grid(grid, curve_orders[i][: stage.depth], self.config.patch_size)
            for block_number, block in enumerate(stage.blocks):
                check((blocks_before + block_number) / block_count)
                slots = geometry.slots[block_number % len(CURVES)]
                features = block(features, slots, geometry.links)
            blocks_before += stage.depth
            stages.append(StageFeatures(features, cluster))
        return stages


def _orders_by_stage(orders: Sequence[Sequence[int]], count: int) -> Sequence[Sequence[int]]:
    """The order of curves of each of `count` stages; `ValueError` for wrong ones."""
    wrong = [list(order) for order in orders if sorted(order) != list(range(len(CURVES)))]
    if wrong:
        raise ValueError(f"curve order {wrong[0]}; give each of 0 to {len(CURVES) - 1} once")
    if len(orders) not in (1, count):
        raise ValueError(f"{len(orders)} curve orders; give one, or one for each of {count} stages")
    return orders if len(orders) == count else [orders[0]] * count


def stage_grid(grid: Tensor, curves: Sequence[int], patch_size: int) -> StageGrid:
    """Serialise a grid along the curves its blocks use, and find its neighbours."""
    depth = curve_depth(grid)
    orders = (curve_order(grid, depth, CURVES[curve]) for curve in curves)
    slots = tuple(patch_slots(order, patch_size) for order in orders)
    return StageGrid(slots, find_neighbors(grid))


def pool_grid(grid: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """The (m, 3) distinct cells of `grid // stride`, by x, y, z, and the (n,) row of each cell."""
    coarse = grid // stride
    span = int(coarse.max()) + 1
    keys = (coarse[:, 0] * span + coarse[:, 1]) * span + coarse[:, 2]
    cells, cluster = keys.unique(return_inverse=True)
    return torch.stack([cells // span**2, cells // span % span, cells % span], dim=1), cluster


class _Norm(nn.LayerNorm):
    """LayerNorm in float32, whatever autocast says."""

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(features.float())


class _Embedding(nn.Module):
    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.mask_token = nn.Parameter(torch.empty(1, channels))  # of the training; never read
        self.stem = nn.ModuleDict(
            {"linear": nn.Linear(in_channels, channels), "norm": _Norm(channels)}
        )

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):  # positions need all their bits
            return nn.functional.gelu(self.stem["norm"](self.stem["linear"](features)))


class _Stage(nn.Module):
    """The way down to a stage's grid, and the blocks there."""

    def __init__(self, config: SonataConfig, index: int) -> None:
        super().__init__()
        self.depth = config.depths[index]
        if index:
            self.down = _GridPooling(config.channels[index - 1], config.channels[index])
        for i in range(config.depths[index]):
            block = _Block(config.channels[index], config.num_heads[index], config.mlp_ratio)
            self.add_module(f"block{i}", block)

    @property
    def blocks(self) -> list[nn.Module]:
        """The blocks in their order."""
        return [self.get_submodule(f"block{i}") for i in range(self.depth)]


class _GridPooling(nn.Module):
    """The largest projected feature of each cell's members, channel by channel."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.proj = nn.Linear(in_channels, channels)
        self.norm = nn.ModuleList([_Norm(channels)])

    def forward(self, features: Tensor, cluster: Tensor, count: int) -> Tensor:
        projected = self.proj(features)
        pooled = projected.new_empty(count, projected.shape[1])
        index = cluster[:, None].expand_as(projected)
        pooled.scatter_reduce_(0, index, projected, "amax", include_self=False)
        return nn.functional.gelu(self.norm[0](pooled))


class _Block(nn.Module):
    """Convolution, attention and MLP, each added to what comes in, in place."""

    def __init__(self, channels: int, num_heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.cpe = nn.ModuleList(
            [SubMConv3(channels, channels), nn.Linear(channels, channels), _Norm(channels)]
        )
        self.norm1 = nn.ModuleList([_Norm(channels)])
        self.attn = PatchAttention(channels, num_heads)
        self.norm2 = nn.ModuleList([_Norm(channels)])
        self.mlp = nn.ModuleList([_Mlp(channels, mlp_ratio * channels)])

    def forward(self, features: Tensor, slots: Tensor, links: Sequence[Link]) -> Tensor:
        conv, linear, norm = self.cpe
        features += norm(linear(conv(features, links)))
        features += self.attn(self.norm1[0](features), slots)
        features += self.mlp[0](self.norm2[0](features))
        return features


class _Mlp(nn.Module):
    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, features: Tensor) -> Tensor:
        return self.fc2(torch.ops.aten.gelu_(self.fc1(features)))  # in place: it is the widest
