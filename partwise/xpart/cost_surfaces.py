"""What encoding surfaces and decoding fields cost: bytes beside the weights, and multiplications.

Counted as an allocation trace of `condition_parts` and `decode_part` finds them. Knows no torch and
no machine.
"""

from dataclasses import dataclass

from partwise.points.cost import EXACT, StageBytes
from partwise.xpart.config import COORDINATES, VaeConfig

MLP_RATIO = 4
SETS_AT_ONCE = 8  # surfaces of which points are chosen together, on a GPU
_INT = 8


@dataclass(frozen=True)
class Rows:
    """What rows of a ShapeVAE's width take in its layers, in bytes a row. item: of a product."""

    config: VaeConfig
    item: int

    @property
    def seen(self) -> int:
        """Keys and values."""
        return 2 * self.item * self.config.width

    @property
    def looking(self) -> int:
        """While keys and values are made: of what, it normed, both of them, the keys' norm."""
        return self._of(EXACT + 3 * self.item) + self._head_norm

    @property
    def asking(self) -> int:
        """In attention to others and the layer after it, the tokens themselves included."""
        return self._asking(MLP_RATIO)

    @property
    def asking_of_places(self) -> int:
        """The same in the field, with the places and their waves."""
        config = self.config
        waves = EXACT * (config.embedded + COORDINATES)
        return self._asking(config.geo_decoder_mlp_expand_ratio) + waves

    @property
    def mixing(self) -> int:
        """In attention among themselves and the layer after it."""
        attention = max(self._of(5 * self.item) + self._head_norm, self._of(8 * self.item))
        return self._of(EXACT) + max(attention, self._mlp(MLP_RATIO))

    def _asking(self, ratio: int) -> int:
        attention = max(self._of(2 * self.item) + self._head_norm, self._of(5 * self.item))
        return self._of(EXACT) + max(attention, self._mlp(ratio))

    def _mlp(self, ratio: int) -> int:
        return self._of((2 + ratio) * self.item)

    @property
    def _head_norm(self) -> int:
        """Norms of heads are exact: a copy of them if they are not, the norm, its two numbers."""
        copy = 0 if self.item == EXACT else EXACT
        return self._of(copy + EXACT) + 2 * EXACT * self.config.heads

    def _of(self, bytes_each: int) -> int:
        return bytes_each * self.config.width


def encode_surface_bytes(
    config: VaeConfig, item: int, point_chunk: int, *, is_gpu: bool
) -> StageBytes:
    """One surface to tokens; on a GPU with the copies that are made there of the surface."""
    rows, count = Rows(config, item), kept_points(config)
    chunk = min(point_chunk, count)
    held = rows.seen * count
    if is_gpu:
        held += EXACT * (COORDINATES + config.point_feats) * count + _INT * config.num_latents
    tokens = config.num_latents * max(rows.asking, rows.mixing)
    widest = config.width * MLP_RATIO * item * config.num_latents
    largest = max(rows.seen // 2 * count, rows.seen * chunk, EXACT * config.width * chunk, widest)
    return StageBytes(held + max(rows.looking * chunk, tokens), largest)


def choose_points_bytes(config: VaeConfig, part_count: int, *, is_gpu: bool) -> int:
    """While points are chosen to look from: places, axes, distances and two more like these."""
    sets = min(SETS_AT_ONCE, part_count) if is_gpu else 1
    axes = 2 * COORDINATES + (COORDINATES if is_gpu else 0)
    return sets * (EXACT * axes * kept_points(config) + _INT * config.num_latents)


def decode_bytes(config: VaeConfig, item: int, query_chunk: int) -> StageBytes:
    """One part's latents to tokens, then the field at places, some at once."""
    rows, tokens = Rows(config, item), config.num_latents
    made = item * config.width  # of which the keys' norm was made
    asking = tokens * (rows.seen + made) + query_chunk * rows.asking_of_places
    hidden = config.geo_decoder_mlp_expand_ratio * item
    largest = config.width * max(hidden, EXACT) * max(query_chunk, tokens)
    given = EXACT * config.embed_dim
    return StageBytes(max(tokens * (given + max(rows.mixing, rows.looking)), asking), largest)


def kept_points(config: VaeConfig) -> int:
    """Points of a surface that its encoder looks at."""
    return min(config.pc_size, config.num_latents * config.downsample_ratio)


def encode_surface_flops(config: VaeConfig, feature_width: int) -> float:
    """Of encoding one surface, with what its tokens are told of points beside them."""
    width, tokens, points = config.width, config.num_latents, kept_points(config)
    made = (points + tokens) * (config.embedded + config.point_feats) * width
    seen = points * 2 * width**2
    asked = tokens * (width * 2 * width + 2 * points * width + 2 * MLP_RATIO * width**2)
    mixed = config.num_encoder_layers * _mixing(width, tokens)
    projected = tokens * (width + feature_width) * width
    return 2.0 * (made + seen + asked + mixed + projected)


def tokens_flops(config: VaeConfig) -> float:
    """Of one part's latents to what places of its field look at."""
    width, tokens = config.width, config.num_latents
    made = tokens * config.embed_dim * width + tokens * 2 * width**2
    return 2.0 * (made + config.num_decoder_layers * _mixing(width, tokens))


def query_flops(config: VaeConfig) -> float:
    """Of the field at one place."""
    width, ratio = config.width, config.geo_decoder_mlp_expand_ratio
    looked = 2 * width**2 + 2 * config.num_latents * width + 2 * ratio * width**2
    return 2.0 * (config.embedded * width + looked + width)


def _mixing(width: int, tokens: int) -> int:
    """Multiplications of a block of attention of tokens among themselves."""
    return tokens * (4 * width**2 + 2 * tokens * width + 2 * MLP_RATIO * width**2)
