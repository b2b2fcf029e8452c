"""What a run of X-Part costs, counted before it starts. Knows no torch and no machine.

Bytes of live tensors at the peak of a stage beside the weights, as an allocation trace of the real
code finds them; workspaces of libraries and an allocator's cuts come on top. `is_gpu`: on a device
with memory of its own; elsewhere what a stage finds and leaves on the host counts, too. precision:
of the products, with weights held in the same. Options go from the fastest to the smallest.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

from partwise.points.cost import (
    EXACT,
    EncoderWidths,
    Levels,
    StageBytes,
    encoder_bytes,
    encoder_flops,
    expected_levels,
    item_bytes,
)
from partwise.xpart.config import XPartConfig
from partwise.xpart.cost_sample import EXPANSION, Denoising
from partwise.xpart.cost_surfaces import (
    choose_points_bytes,
    decode_bytes,
    encode_surface_bytes,
    encode_surface_flops,
    query_flops,
    tokens_flops,
)
from partwise.xpart.settings import BAND

_POINT_CHUNKS = (16384, 8192, 4096, 2048, 1024)
_QUERY_CHUNKS = (32768, 16384, 8192, 4096, 2048, 1024)
_BATCHES = (32, 16, 8, 4, 2, 1)
_CACHED_BATCHES = (8, 1)  # most of what a cached way takes is the cache
_EXTENT = 0.8  # half the longest side of the mesh in the networks' frame
_QUANTIZED = ("int8", "int4")
_HALF = 2  # bytes of a number in 16 bits

# Places of a part's field that are evaluated, in millions, by octree resolution. “surface”: a part
# whose box is half the mesh's along each axis and whose surface is 2, where the mesh is 1.6 wide:
# its box with a margin at the coarsest level, the lattice outside, and 3.4 places for each square
# cell of the surface (specification 15). “band”: the geometric mean of the specification's widest
# and narrowest band around a sphere of radius 0.6; at 1024 four times as many as at 512.
_SURFACE_QUERIES = {128: 0.25, 256: 0.36, 512: 0.69, 1024: 2.0}
_BAND_QUERIES = {256: 4.7, 512: 17.3, 1024: 69.0}

# What numpy holds at most while a part's field is searched, in MB: found with balls of radius 0.6,
# at 1024 with one of 0.4 and room for a larger one; the band at 1024 as four times that at 512.
_SURFACE_SEARCH = {128: 80, 256: 90, 512: 180, 1024: 500}
_BAND_SEARCH = {256: 250, 512: 300, 1024: 1200}


@dataclass(frozen=True)
class Option:
    """A way to run a stage. knobs: as its function takes them. flops: 2 for a multiply and add."""

    knobs: Mapping[str, int]
    size: StageBytes
    flops: float


def condition_options(
    config: XPartConfig,
    part_count: int,
    precision: str,
    *,
    is_gpu: bool,
    levels: Levels | None = None,
) -> tuple[Option, ...]:
    """Ways to look at the surfaces. levels: of the object's voxels, expected ones by default."""
    levels = levels or expected_levels(config.conditioner.surface_points, _EXTENT)
    flops = condition_flops(config, part_count, levels)
    sizes = (
        (chunk, condition_bytes(config, part_count, precision, levels, chunk, is_gpu=is_gpu))
        for chunk in _POINT_CHUNKS
    )
    return _falling(Option({"point_chunk": chunk}, size, flops) for chunk, size in sizes)


def sample_options(
    config: XPartConfig, part_count: int, steps: int, precision: str, *, is_gpu: bool
) -> tuple[Option, ...]:
    """Ways to denoise. steps: as the settings have them; the last one is not computed."""
    return _falling(
        Option(
            {
                "part_batch": way.batch,
                "is_cached": int(way.is_cached),
                "is_offloaded": int(way.is_offloaded),
            },
            way.size(),
            way.flops(steps - 1),
        )
        for way in _ways(config, part_count, steps, precision, is_gpu=is_gpu)
    )


def decode_options(
    config: XPartConfig,
    part_count: int,
    octree_resolution: int,
    decoding: str,
    precision: str,
    *,
    is_gpu: bool,
) -> tuple[Option, ...]:
    """Ways to decode. FLOPs: of as many places as are expected, see `expected_queries`."""
    queries = expected_queries(octree_resolution, decoding)
    flops = part_count * (tokens_flops(config.vae) + queries * query_flops(config.vae))
    held = 0
    if not is_gpu:
        held = latent_bytes(config, part_count) + search_bytes(octree_resolution, decoding)
    sizes = (
        (chunk, decode_bytes(config.vae, item_bytes(precision), chunk)) for chunk in _QUERY_CHUNKS
    )
    return _falling(
        Option({"query_chunk": chunk}, _beside(held, size), flops) for chunk, size in sizes
    )


def condition_bytes(
    config: XPartConfig,
    part_count: int,
    precision: str,
    levels: Levels,
    point_chunk: int,
    *,
    is_gpu: bool,
) -> StageBytes:
    """Looking at the surfaces: the points' features, points to look from, then each surface."""
    given, item = config.conditioner, item_bytes(precision)
    features = encoder_bytes(levels, _widths(config), is_gpu=is_gpu)
    surfaces = [
        encode_surface_bytes(vae, item, point_chunk, is_gpu=is_gpu)
        for vae in (given.geo, given.obj)
    ]
    chosen = choose_points_bytes(given.geo, part_count, is_gpu=is_gpu)
    left = parts = 0  # on the host: of the points, of the object, of the parts
    if not is_gpu:
        parts = condition_result_bytes(config, part_count - 1, precision)
        left = EXACT * levels.voxels[0] * given.feature_width
        left += condition_result_bytes(config, part_count, precision)
    peak = max(chosen, *(size.peak_bytes for size in surfaces))
    largest = max(parts, features.largest_bytes, *(size.largest_bytes for size in surfaces))
    return StageBytes(max(features.peak_bytes, left + peak), largest)


def condition_result_bytes(config: XPartConfig, part_count: int, precision: str) -> int:
    """Of what the first stage leaves on the host: the object's condition and each part's."""
    tokens, width = config.conditioner.geo.num_latents, config.conditioner.geo.width
    return item_bytes(precision) * (1 + part_count) * tokens * width


def latent_bytes(config: XPartConfig, part_count: int) -> int:
    """Of the latents on the host."""
    return EXACT * part_count * config.vae.num_latents * config.dit.in_channels


def condition_flops(config: XPartConfig, part_count: int, levels: Levels) -> float:
    """Of the first stage: the points once, the object once, each part."""
    given = config.conditioner
    whole = encode_surface_flops(given.obj, given.feature_width)
    part = encode_surface_flops(given.geo, given.feature_width)
    return encoder_flops(levels, _widths(config)) + whole + part_count * part


def expected_queries(octree_resolution: int, decoding: str) -> float:
    """Places of the field that one part takes, roughly; half or twice as many are common."""
    table = _BAND_QUERIES if decoding == BAND else _SURFACE_QUERIES
    return 1e6 * table[octree_resolution]


def search_bytes(octree_resolution: int, decoding: str) -> int:
    """What the host holds while a part's field is searched, roughly."""
    table = _BAND_SEARCH if decoding == BAND else _SURFACE_SEARCH
    return 10**6 * table[octree_resolution]


def unpacked_bytes(config: XPartConfig, precision: str) -> int:
    """Of the PartFormer's largest matrix in 16 bits, which int8 and int4 make for its product."""
    if precision not in _QUANTIZED:
        return 0
    return _HALF * EXPANSION * config.dit.hidden_size**2


def _ways(
    config: XPartConfig, part_count: int, steps: int, precision: str, *, is_gpu: bool
) -> Iterator[Denoising]:
    def ways(batches: tuple[int, ...], *, is_cached: bool, is_offloaded: bool) -> list[Denoising]:
        return [
            Denoising(
                config.dit,
                part_count,
                config.vae.num_latents,
                config.conditioner.geo.num_latents,
                item_bytes(precision),
                batch,
                is_cached,
                is_offloaded,
            )
            for batch in (part_count, *(batch for batch in batches if batch < part_count))
        ]

    cached = ways(_CACHED_BATCHES, is_cached=True, is_offloaded=False) if steps > 2 else []
    plain = ways(_BATCHES, is_cached=False, is_offloaded=False)
    offloaded = ways(_BATCHES, is_cached=False, is_offloaded=True) if is_gpu else []
    return chain(cached, plain, offloaded)


def _widths(config: XPartConfig) -> EncoderWidths:
    sonata = config.conditioner.sonata
    return EncoderWidths(
        depths=sonata.depths,
        channels=sonata.channels,
        num_heads=sonata.num_heads,
        patch_size=sonata.patch_size,
        feature_width=config.conditioner.feature_width,
    )


def _beside(held: int, size: StageBytes) -> StageBytes:
    return StageBytes(held + size.peak_bytes, size.largest_bytes)


def _falling(options: Iterator[Option]) -> tuple[Option, ...]:
    """Those that take less than every faster one."""
    kept: list[Option] = []
    for option in options:
        if not kept or option.size.peak_bytes < kept[-1].size.peak_bytes:
            kept.append(option)
    return tuple(kept)
