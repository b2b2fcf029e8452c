"""What a run of P3-SAM costs, counted before it starts. Knows no torch and no machine."""

from partwise.p3sam.settings import P3SamSettings

PAIR_MULTIPLY_ADDS = 1_251_000  # of the heads for one point and one prompt (specification 4)
WEIGHT_BYTES = 450_914_596
_FEATURE_BYTES = 4 * 512
_ENCODER_BYTES = 4 * 1_300  # a point at the encoder's peak: 512 features of it and of its voxel
_LOGIT_BYTES = 4 * 3
_CHUNK_BYTES = 4 * 4_500  # a point of a chunk: first-layer terms and hidden layers
_CHUNK_POINTS = 16_384


def pair_count(settings: P3SamSettings) -> int:
    """How many (point, prompt) pairs the heads look at; almost all of the time goes there."""
    return settings.point_num * settings.prompt_count


def peak_bytes(settings: P3SamSettings) -> int:
    """Bytes at the peak, weights included; does not grow with the number of prompts."""
    points = settings.point_num
    chunk = min(points, max(settings.point_chunk, _CHUNK_POINTS))
    encoding = points * _ENCODER_BYTES
    asking = (
        points * _FEATURE_BYTES
        + points * min(settings.prompt_batch, settings.prompt_count) * _LOGIT_BYTES
        + chunk * _CHUNK_BYTES
    )
    return WEIGHT_BYTES + max(encoding, asking)
