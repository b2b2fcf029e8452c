"""What encoding points with Sonata costs, counted before it starts. Knows no torch, no machine.

Bytes of live tensors at the peak beside the weights, as an allocation trace of the real code finds
them; workspaces of libraries and an allocator's cuts come on top. `is_gpu`: on a device with memory
of its own, where inputs are copied to it.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_CURVES = 4
_TAPS = 27
_INT, EXACT = 8, 4  # bytes of an int64, of a float32

# Voxels of the five levels for each point, by how many points there are: the 80th percentile over
# 20 meshes (the nine examples; animals, vehicles, furniture, a turbine). With 100 000 points the
# finest level had 0.58 (thin parts) to 0.97 (a large plain surface).
_RATIOS = {
    200: (1.0, 1.0, 1.0, 0.990, 0.922),
    600: (1.0, 0.997, 0.988, 0.950, 0.791),
    2_000: (0.998, 0.992, 0.965, 0.847, 0.503),
    5_000: (0.994, 0.976, 0.914, 0.681, 0.265),
    15_000: (0.984, 0.936, 0.769, 0.387, 0.099),
    40_000: (0.959, 0.840, 0.530, 0.171, 0.038),
    100_000: (0.901, 0.666, 0.283, 0.072, 0.016),
    300_000: (0.740, 0.365, 0.104, 0.024, 0.005),
}


@dataclass(frozen=True)
class EncoderWidths:
    """Sizes of the encoder and of what its stages are projected to, as published."""

    depths: tuple[int, ...] = (3, 3, 3, 12, 3)
    channels: tuple[int, ...] = (48, 96, 192, 384, 512)
    num_heads: tuple[int, ...] = (3, 6, 12, 24, 32)
    patch_size: int = 1024
    mlp_ratio: int = 4
    feature_width: int = 512


@dataclass(frozen=True)
class Levels:
    """Occupied voxels at each of the encoder's levels, finest first."""

    voxels: tuple[int, ...]


@dataclass(frozen=True)
class StageBytes:
    """peak_bytes: of all tensors beside the weights. largest_bytes: of the largest single one."""

    peak_bytes: int
    largest_bytes: int


def count_levels(grid: NDArray[np.int64], level_count: int = 5) -> Levels:
    """The levels of a prepared mesh. grid: (M, 3) int64 ≥ 0, rows distinct."""
    counts = [len(grid)]
    for _ in range(level_count - 1):
        grid = grid // 2
        span = int(grid.max()) + 1
        keys = np.unique((grid[:, 0] * span + grid[:, 1]) * span + grid[:, 2])
        grid = np.stack([keys // span**2, keys // span % span, keys % span], axis=1)
        counts.append(len(grid))
    return Levels(tuple(counts))


def expected_levels(point_num: int, extent: float = 1.0) -> Levels:
    """The levels of a mesh that is not prepared yet, rather too many than too few.

    extent: half of its longest side in the network's frame. A smaller mesh has fewer cells for the
    same points, as one with more points has.
    """
    sizes = np.log(list(_RATIOS))
    place = np.log(point_num / extent**2)
    ratios = [np.interp(place, sizes, column) for column in zip(*_RATIOS.values(), strict=True)]
    return Levels(tuple(max(1, round(point_num * float(ratio))) for ratio in ratios))


def encoder_bytes(
    levels: Levels, widths: EncoderWidths, *, precision: str = "fp32", is_gpu: bool
) -> StageBytes:
    """Features of the finest voxels, projected. precision: of the encoder's matrix products."""
    encoder = _Encoder(levels.voxels, item_bytes(precision), widths, is_gpu)
    peaks = [size for i in range(len(levels.voxels)) for size in encoder.level_peaks(i)]
    peaks += [*encoder.projection_peaks(), encoder.tail_peak()]
    return StageBytes(max(peaks), encoder.largest())


def encoder_flops(levels: Levels, widths: EncoderWidths) -> float:
    """Of the features of the finest voxels; 2 for a multiply and add, norms left out."""
    encoder = _Encoder(levels.voxels, EXACT, widths, is_gpu=False)
    blocks = sum(depth * encoder.block_multiplications(i) for i, depth in enumerate(widths.depths))
    sides = zip(widths.channels, widths.channels[1:], strict=False)
    pooled = sum(
        count * finer * width for count, (finer, width) in zip(levels.voxels, sides, strict=False)
    )
    out = widths.feature_width
    first = sum(count * width for count, width in zip(levels.voxels, widths.channels, strict=True))
    return 2.0 * (blocks + pooled + out * first + 2 * levels.voxels[0] * out**2)


def item_bytes(precision: str) -> int:
    """Bytes of a number of that precision."""
    return EXACT if precision == "fp32" else 2


@dataclass(frozen=True)
class _Encoder:
    """What lives at the moments of the encoder that may be its peak. item: bytes of a product."""

    voxels: tuple[int, ...]
    item: int
    widths: EncoderWidths
    is_gpu: bool

    def level_peaks(self, i: int) -> tuple[int, ...]:
        """In a level: pooled into it, its convolution, attention and MLP."""
        count, width, item = self.voxels[i], self.widths.channels[i], self.item
        held = self._held(i) + self._links(i) + EXACT * count * width  # what the block was given
        is_cast, hidden = item != EXACT, self.widths.mlp_ratio * width
        slots = self._slots(i)
        taps = item * _TAPS * width**2 if is_cast else 0
        features = item * count * width if is_cast else 0
        step = 2 * item * width * self._widest_link(i)
        conv = item * count * width + features + taps + step
        cast = item * (slots * width + 3 * width**2) if is_cast else 0
        product = EXACT * slots * width + cast + 3 * item * slots * width
        heads = EXACT * slots * self.widths.num_heads[i]
        attention = max(product, 4 * item * slots * width + heads)
        mlp = item * count * (hidden + width) + (item * hidden * width if is_cast else 0)
        norm = EXACT * count * width
        return self._pooling(i), held + conv, held + norm + attention, held + norm + mlp

    def block_multiplications(self, i: int) -> int:
        """Of one block of a level: convolution, its linear layer, attention, MLP."""
        count, width, slots = self.voxels[i], self.widths.channels[i], self._slots(i)
        convolution = (count + round(2 * self._link_count(i))) * width**2
        linear = (1 + 2 * self.widths.mlp_ratio) * count * width**2
        patch = min(self.widths.patch_size, count)
        return convolution + linear + slots * (4 * width**2 + 2 * patch * width)

    def projection_peaks(self) -> list[int]:
        """As the levels' shares are gathered upwards, from a level to the finer one."""
        width = EXACT * self.widths.feature_width
        return [
            self._inputs()
            + self._stages(i)
            + self._clusters(i)
            + width * sum(self.voxels[i - 1 : i + 1])
            for i in range(1, len(self.voxels))
        ]

    def tail_peak(self) -> int:
        """In the last two layers, on the finest voxels."""
        count, width = self.voxels[0], self.widths.feature_width
        cast = 0 if self.item == EXACT else self.item * (count * width + width**2)
        return self._inputs() + count * width * (EXACT + self.item) + cast

    def largest(self) -> int:
        """The largest single tensor."""
        widths, item = self.widths, self.item
        sizes = [EXACT * self.voxels[0] * widths.feature_width]
        for i, width in enumerate(widths.channels):
            sizes.append(item * self.voxels[i] * widths.mlp_ratio * width)
            sizes.append(3 * item * self._slots(i) * width)
            sizes.append(0 if item == EXACT else item * _TAPS * width**2)
        return max(sizes)

    def _pooling(self, i: int) -> int:
        """Features of the finer level projected, and the largest of each cell."""
        if not i:
            return 0
        finer, count, width = self.voxels[i - 1], self.voxels[i], self.widths.channels[i]
        cast = self.item * finer * self.widths.channels[i - 1] if self.item != EXACT else 0
        projected = self.item * width * finer
        pooled = self.item * width * count
        geometry = self._links(i - 1) + self._slot_bytes(i - 1)
        return self._held(i) - self._slot_bytes(i) + geometry + projected + max(cast, pooled)

    def _held(self, i: int) -> int:
        """In level i beside its own features and links."""
        grid = 3 * _INT * self.voxels[i] if i else 0
        held = self._inputs() + self._stages(i) + self._clusters(i)
        return held + grid + self._slot_bytes(i)

    def _inputs(self) -> int:
        """The grid and nine features of each voxel, copied to a GPU; a CPU reads numpy's."""
        return self.voxels[0] * (3 * _INT + 9 * EXACT) if self.is_gpu else 0

    def _stages(self, i: int) -> int:
        """The features that the levels finer than i leave."""
        return sum(EXACT * self.voxels[j] * self.widths.channels[j] for j in range(i))

    def _clusters(self, i: int) -> int:
        return _INT * sum(self.voxels[:i])

    def _slots(self, i: int) -> int:
        """Rows of attention's patches: the last one is filled up."""
        count, patch = self.voxels[i], self.widths.patch_size
        return count if count <= patch else -(-count // patch) * patch

    def _slot_bytes(self, i: int) -> int:
        return _INT * min(self.widths.depths[i], _CURVES) * self._slots(i)

    def _link_count(self, i: int) -> float:
        """Pairs of touching voxels, by a rule found on the same meshes as the levels' ratios."""
        count = self.voxels[i]
        if i + 1 == len(self.voxels):
            return 7 * count
        return min(7.3, 2.3 * (count / self.voxels[i + 1] - 1)) * count

    def _links(self, i: int) -> int:
        return round(2 * _INT * self._link_count(i))

    def _widest_link(self, i: int) -> int:
        """Voxels that have a neighbour along the offset where most have one."""
        return min(self.voxels[i], round(self._link_count(i) / 8))
