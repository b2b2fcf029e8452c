"""What a run of P3-SAM costs, counted before it starts. Knows no torch and no machine.

Bytes of live tensors at the peak of a stage beside the weights, as an allocation trace of the real
code finds them; workspaces of libraries and an allocator's cuts come on top. `is_gpu`: on a device
with memory of its own, where inputs are copied to it and products have more rows than on a CPU.
"""

from dataclasses import dataclass, replace

import numpy as np

from partwise.geometry.topology import Ints
from partwise.p3sam.settings import P3SamSettings

PAIR_MULTIPLY_ADDS = 1_251_000  # of the heads for one point and one prompt (specification 4)
WEIGHT_BYTES = 450_914_596
PRODUCT_ROWS_CPU = 2048  # small enough that a step's operands stay in the caches
PRODUCT_ROWS_GPU = 16384
_MASKS = 3  # per prompt
_CURVES = 4
_TAPS = 27
_INT, _EXACT = 8, 4  # bytes of an int64, of a float32
_BATCHES = (64, 32, 16, 8, 4, 2, 1)
# sending a point's features to a GPU anew, as many multiplications: 4 KB at 10 GB/s, 10 T a second
_STREAM_MULTIPLY_ADDS = 4_000_000

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
class Widths:
    """Sizes of the network; the defaults are the published configuration."""

    depths: tuple[int, ...] = (3, 3, 3, 12, 3)
    channels: tuple[int, ...] = (48, 96, 192, 384, 512)
    num_heads: tuple[int, ...] = (3, 6, 12, 24, 32)
    patch_size: int = 1024
    mlp_ratio: int = 4
    feature_width: int = 512
    first_width: int = 512
    second_width: int = 256


@dataclass(frozen=True)
class Levels:
    """Occupied voxels at each of the encoder's levels, finest first."""

    voxels: tuple[int, ...]


@dataclass(frozen=True)
class StageBytes:
    """peak_bytes: of all tensors beside the weights. largest_bytes: of the largest single one."""

    peak_bytes: int
    largest_bytes: int


@dataclass(frozen=True)
class MaskOption:
    """A way to ask for masks; none changes a bit. relative_time: 1 is without any batching cost."""

    prompt_batch: int
    point_chunk: int
    is_streamed: bool
    size: StageBytes
    relative_time: float


PUBLISHED = Widths()


def pair_count(settings: P3SamSettings) -> int:
    """How many (point, prompt) pairs the heads look at; almost all of the time goes there."""
    return settings.point_num * settings.prompt_count


def count_levels(grid: Ints, level_count: int = 5) -> Levels:
    """The levels of a prepared mesh. grid: (M, 3) int64 ≥ 0, rows distinct."""
    counts = [len(grid)]
    for _ in range(level_count - 1):
        grid = grid // 2
        span = int(grid.max()) + 1
        keys = np.unique((grid[:, 0] * span + grid[:, 1]) * span + grid[:, 2])
        grid = np.stack([keys // span**2, keys // span % span, keys % span], axis=1)
        counts.append(len(grid))
    return Levels(tuple(counts))


def expected_levels(point_num: int) -> Levels:
    """The levels of a mesh that is not prepared yet, rather too many than too few."""
    sizes = np.log(list(_RATIOS))
    place = np.log(point_num)
    ratios = [np.interp(place, sizes, column) for column in zip(*_RATIOS.values(), strict=True)]
    return Levels(tuple(max(1, round(point_num * float(ratio))) for ratio in ratios))


def peak_bytes(
    settings: P3SamSettings, levels: Levels | None = None, *, is_gpu: bool = True
) -> int:
    """Bytes at the peak of a run, weights included; does not grow with the number of prompts."""
    count = settings.point_num
    levels = levels or expected_levels(count)
    encode = encode_bytes(levels, count, precision=settings.encoder_precision, is_gpu=is_gpu)
    masks = mask_bytes(settings, is_gpu=is_gpu)
    held = 0 if is_gpu else feature_bytes(count)  # of the host's memory, which is the device's
    return WEIGHT_BYTES + max(encode.peak_bytes, held + masks.peak_bytes)


def feature_bytes(point_num: int, widths: Widths = PUBLISHED) -> int:
    """Bytes of the features that encoding leaves on the host."""
    return _EXACT * point_num * widths.feature_width


def encode_bytes(
    levels: Levels,
    point_num: int,
    *,
    precision: str = "fp32",
    is_gpu: bool,
    widths: Widths = PUBLISHED,
) -> StageBytes:
    """Encoding the mesh. precision: of the encoder's matrix products."""
    encoder = _Encoder(levels.voxels, _item_bytes(precision), widths, is_gpu)
    peaks = [size for i in range(len(levels.voxels)) for size in encoder.level_peaks(i)]
    peaks += [*encoder.projection_peaks(), encoder.tail_peak()]
    largest = encoder.largest()
    if not is_gpu:  # where the points' features are gathered beside the voxels'
        peaks.append(encoder.gather_peak(point_num))
        largest = max(largest, feature_bytes(point_num, widths))
    return StageBytes(max(peaks), largest)


def mask_bytes(
    settings: P3SamSettings,
    *,
    is_gpu: bool,
    is_streamed: bool = False,
    widths: Widths = PUBLISHED,
) -> StageBytes:
    """Predicting masks. is_streamed: the features stay on the host; without a GPU they always do.

    The number of prompts counts only where it is smaller than a batch.
    """
    count, item = settings.point_num, _item_bytes(settings.precision)
    prompts = min(settings.prompt_batch, settings.prompt_count)
    rows = PRODUCT_ROWS_GPU if is_gpu else PRODUCT_ROWS_CPU
    chunk = min(rows * max(1, settings.point_chunk // rows), count)
    rows = min(rows, chunk)
    features = feature_bytes(count, widths) if is_gpu and not is_streamed else 0
    points = _EXACT * 3 * count if is_gpu else 0
    logits = _EXACT * _MASKS * prompts * count
    stages = _head_stages(widths)
    held = features + points + logits + sum(stage.weight_bytes(item) for stage in stages)
    sweeps = [stage.sweep_bytes(rows, chunk, prompts, item) for stage in stages]
    choice = (_EXACT + 1) * prompts * count  # the best of the three, and whether above zero
    largest = max(features, logits, *(stage.largest(rows, chunk, item) for stage in stages))
    return StageBytes(held + max(*sweeps, choice), largest)


def click_bytes(
    settings: P3SamSettings, *, is_gpu: bool, is_streamed: bool = False, widths: Widths = PUBLISHED
) -> StageBytes:
    """The masks of one clicked place."""
    one = replace(settings, prompt_batch=1)
    return mask_bytes(one, is_gpu=is_gpu, is_streamed=is_streamed, widths=widths)


def mask_options(
    settings: P3SamSettings, *, is_gpu: bool, widths: Widths = PUBLISHED
) -> tuple[MaskOption, ...]:
    """Ways to ask, from the fastest to the smallest, none larger than what the settings allow.

    A batch shares the making of its points' terms, which costs about as much as asking for one
    prompt more; so time grows little until batches are very small. A larger point_chunk saves no
    time, since products have the same rows; so the smallest is taken first.
    """
    limit = min(settings.prompt_batch, settings.prompt_count)
    batches = (limit, *(batch for batch in _BATCHES if batch < limit))
    options = [
        _mask_option(
            replace(settings, prompt_batch=batch, point_chunk=0), is_streamed, is_gpu, widths
        )
        for is_streamed in ((False, True) if is_gpu else (False,))
        for batch in batches
    ]
    options.sort(key=lambda option: (option.relative_time, option.size.peak_bytes))
    kept: list[MaskOption] = []
    for option in options:
        if not kept or option.size.peak_bytes < kept[-1].size.peak_bytes:
            kept.append(option)
    return tuple(kept)


def _mask_option(
    settings: P3SamSettings, is_streamed: bool, is_gpu: bool, widths: Widths
) -> MaskOption:
    stages = _head_stages(widths)
    shared = widths.feature_width * sum(stage.terms_width for stage in stages)
    shared += _STREAM_MULTIPLY_ADDS if is_streamed else 0
    batch = settings.prompt_batch
    return MaskOption(
        batch,
        settings.point_chunk,
        is_streamed,
        mask_bytes(settings, is_gpu=is_gpu, is_streamed=is_streamed, widths=widths),
        1 + shared / (PAIR_MULTIPLY_ADDS * batch),
    )


@dataclass(frozen=True)
class _HeadStage:
    """One of the two passes over the points: three mask MLPs `mask` wide, one summary MLP.

    seen: width of what the pass before saw of the cloud, 0 in the first.
    """

    mask: int
    summary: int
    features: int
    seen: int

    @property
    def terms_width(self) -> int:
        """Of what a point adds to all first layers."""
        return _MASKS * self.mask + self.summary

    def weight_bytes(self, item: int) -> int:
        """Of the copies that are made of weights, which in float32 are the first layers alone."""
        width = self.terms_width
        exact = _EXACT * width * (self.features + 3 + 3 + self.seen + 1)
        from_masks = _MASKS * _MASKS * self.mask if self.seen else 0
        if item == _EXACT:
            return exact + _EXACT * from_masks
        layers = _MASKS * (self.mask**2 + 2 * self.mask + 1)
        layers += 2 * (self.summary**2 + self.summary)
        return exact + item * (from_masks + _MASKS * self.summary + layers)

    def sweep_bytes(self, rows: int, chunk: int, prompts: int, item: int) -> int:
        """At the peak of a pass: while terms are made, or while a prompt is asked for."""
        width = self.terms_width
        making = _EXACT * (self.features + 3)
        making += 0 if item == _EXACT else _EXACT * width
        asking = item * (_MASKS * self.mask + self.mask + 2 * self.summary + _MASKS + 1)
        by_prompt = item * width + _EXACT * (self.summary + self.seen)
        return item * chunk * width + rows * max(making, asking) + prompts * by_prompt

    def largest(self, rows: int, chunk: int, item: int) -> int:
        """The largest tensor of a pass."""
        made = 0 if item == _EXACT else _EXACT * rows
        return self.terms_width * max(item * chunk, made)


def _head_stages(widths: Widths) -> tuple[_HeadStage, _HeadStage]:
    wide, narrow, features = widths.first_width, widths.second_width, widths.feature_width
    return _HeadStage(wide, narrow, features, 0), _HeadStage(narrow, narrow, features, narrow)


@dataclass(frozen=True)
class _Encoder:
    """What lives at the moments of the encoder that may be its peak. item: bytes of a product."""

    voxels: tuple[int, ...]
    item: int
    widths: Widths
    is_gpu: bool

    def level_peaks(self, i: int) -> tuple[int, ...]:
        """In a level: pooled into it, its convolution, attention and MLP."""
        count, width, item = self.voxels[i], self.widths.channels[i], self.item
        held = self._held(i) + self._links(i) + _EXACT * count * width  # what the block was given
        is_cast, hidden = item != _EXACT, self.widths.mlp_ratio * width
        slots = self._slots(i)
        taps = item * _TAPS * width**2 if is_cast else 0
        features = item * count * width if is_cast else 0
        step = 2 * item * width * self._widest_link(i)
        conv = item * count * width + features + taps + step
        cast = item * (slots * width + 3 * width**2) if is_cast else 0
        product = _EXACT * slots * width + cast + 3 * item * slots * width
        heads = _EXACT * slots * self.widths.num_heads[i]
        attention = max(product, 4 * item * slots * width + heads)
        mlp = item * count * (hidden + width) + (item * hidden * width if is_cast else 0)
        norm = _EXACT * count * width
        return self._pooling(i), held + conv, held + norm + attention, held + norm + mlp

    def projection_peaks(self) -> list[int]:
        """As the levels' shares are gathered upwards, from a level to the finer one."""
        width = _EXACT * self.widths.feature_width
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
        cast = 0 if self.item == _EXACT else self.item * (count * width + width**2)
        return self._inputs() + count * width * (_EXACT + self.item) + cast

    def gather_peak(self, point_num: int) -> int:
        """From voxels to points on the host, by numpy."""
        halves = 0 if self.item == _EXACT else self.item * self.voxels[0]
        return self.widths.feature_width * (_EXACT * (self.voxels[0] + point_num) + halves)

    def largest(self) -> int:
        """The largest single tensor."""
        widths, item = self.widths, self.item
        sizes = [_EXACT * self.voxels[0] * widths.feature_width]
        for i, width in enumerate(widths.channels):
            sizes.append(item * self.voxels[i] * widths.mlp_ratio * width)
            sizes.append(3 * item * self._slots(i) * width)
            sizes.append(0 if item == _EXACT else item * _TAPS * width**2)
        return max(sizes)

    def _pooling(self, i: int) -> int:
        """Features of the finer level projected, and the largest of each cell."""
        if not i:
            return 0
        finer, count, width = self.voxels[i - 1], self.voxels[i], self.widths.channels[i]
        cast = self.item * finer * self.widths.channels[i - 1] if self.item != _EXACT else 0
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
        return self.voxels[0] * (3 * _INT + 9 * _EXACT) if self.is_gpu else 0

    def _stages(self, i: int) -> int:
        """The features that the levels finer than i leave."""
        return sum(_EXACT * self.voxels[j] * self.widths.channels[j] for j in range(i))

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


def _item_bytes(precision: str) -> int:
    return _EXACT if precision == "fp32" else 2
