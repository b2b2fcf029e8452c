"""What a run of P3-SAM costs, counted before it starts. Knows no torch and no machine.

Bytes of live tensors at the peak of a stage beside the weights, as an allocation trace of the real
code finds them; workspaces of libraries and an allocator's cuts come on top. `is_gpu`: on a device
with memory of its own, where inputs are copied to it and products have more rows than on a CPU.
"""

from dataclasses import dataclass, replace

from partwise.p3sam.settings import P3SamSettings
from partwise.points.cost import (
    EXACT,
    EncoderWidths,
    Levels,
    StageBytes,
    encoder_bytes,
    expected_levels,
    item_bytes,
)

PAIR_MULTIPLY_ADDS = 1_251_000  # of the heads for one point and one prompt (specification 4)
WEIGHT_BYTES = 450_914_596
PRODUCT_ROWS_CPU = 2048  # small enough that a step's operands stay in the caches
PRODUCT_ROWS_GPU = 16384
_MASKS = 3  # per prompt
_BATCHES = (64, 32, 16, 8, 4, 2, 1)
# sending a point's features to a GPU anew, as many multiplications: 4 KB at 10 GB/s, 10 T a second
_STREAM_MULTIPLY_ADDS = 4_000_000


@dataclass(frozen=True)
class Widths(EncoderWidths):
    """Sizes of the network; the defaults are the published configuration."""

    first_width: int = 512
    second_width: int = 256


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
    return EXACT * point_num * widths.feature_width


def encode_bytes(
    levels: Levels,
    point_num: int,
    *,
    precision: str = "fp32",
    is_gpu: bool,
    widths: Widths = PUBLISHED,
) -> StageBytes:
    """Encoding the mesh. precision: of the encoder's matrix products."""
    size = encoder_bytes(levels, widths, precision=precision, is_gpu=is_gpu)
    if is_gpu:
        return size
    gathered = feature_bytes(point_num, widths)  # by numpy, beside the voxels' features
    halves = 0 if precision == "fp32" else item_bytes(precision) * levels.voxels[0]
    of_voxels = widths.feature_width * (EXACT * levels.voxels[0] + halves)
    return StageBytes(max(size.peak_bytes, gathered + of_voxels), max(size.largest_bytes, gathered))


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
    count, item = settings.point_num, item_bytes(settings.precision)
    prompts = min(settings.prompt_batch, settings.prompt_count)
    rows = PRODUCT_ROWS_GPU if is_gpu else PRODUCT_ROWS_CPU
    chunk = min(rows * max(1, settings.point_chunk // rows), count)
    rows = min(rows, chunk)
    features = feature_bytes(count, widths) if is_gpu and not is_streamed else 0
    points = EXACT * 3 * count if is_gpu else 0
    logits = EXACT * _MASKS * prompts * count
    stages = _head_stages(widths)
    held = features + points + logits + sum(stage.weight_bytes(item) for stage in stages)
    sweeps = [stage.sweep_bytes(rows, chunk, prompts, item) for stage in stages]
    choice = (EXACT + 1) * prompts * count  # the best of the three, and whether above zero
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
        exact = EXACT * width * (self.features + 3 + 3 + self.seen + 1)
        from_masks = _MASKS * _MASKS * self.mask if self.seen else 0
        if item == EXACT:
            return exact + EXACT * from_masks
        layers = _MASKS * (self.mask**2 + 2 * self.mask + 1)
        layers += 2 * (self.summary**2 + self.summary)
        return exact + item * (from_masks + _MASKS * self.summary + layers)

    def sweep_bytes(self, rows: int, chunk: int, prompts: int, item: int) -> int:
        """At the peak of a pass: while terms are made, or while a prompt is asked for."""
        width = self.terms_width
        making = EXACT * (self.features + 3)
        making += 0 if item == EXACT else EXACT * width
        asking = item * (_MASKS * self.mask + self.mask + 2 * self.summary + _MASKS + 1)
        by_prompt = item * width + EXACT * (self.summary + self.seen)
        return item * chunk * width + rows * max(making, asking) + prompts * by_prompt

    def largest(self, rows: int, chunk: int, item: int) -> int:
        """The largest tensor of a pass."""
        made = 0 if item == EXACT else EXACT * rows
        return self.terms_width * max(item * chunk, made)


def _head_stages(widths: Widths) -> tuple[_HeadStage, _HeadStage]:
    wide, narrow, features = widths.first_width, widths.second_width, widths.feature_width
    return _HeadStage(wide, narrow, features, 0), _HeadStage(narrow, narrow, features, narrow)
