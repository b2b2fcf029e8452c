"""The bytes foretold, against traces of the real code at full width; FLOPs against counts."""

import math
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch

from benchmarks.flops import counted_flops
from partwise.geometry.voxels import VoxelGrid, build_voxels
from partwise.points.cost import StageBytes, count_levels, expected_levels
from partwise.vram.meter import PeakSink
from partwise.xpart import attention, condition
from partwise.xpart.blocks import Way
from partwise.xpart.conditioner import Conditioner
from partwise.xpart.config import TINY, VaeConfig, XPartConfig
from partwise.xpart.cost import (
    Option,
    condition_bytes,
    condition_flops,
    condition_options,
    condition_result_bytes,
    decode_options,
    latent_bytes,
    sample_options,
    search_bytes,
    unpacked_bytes,
)
from partwise.xpart.cost_sample import NORM_ROWS, Denoising
from partwise.xpart.cost_surfaces import (
    SETS_AT_ONCE,
    decode_bytes,
    encode_surface_flops,
    kept_points,
    query_flops,
    tokens_flops,
)
from partwise.xpart.dit import PartFormer
from partwise.xpart.extract import extract_surface
from partwise.xpart.parts import Conditions, PreparedParts
from partwise.xpart.settings import BAND, RESOLUTIONS, SURFACE, XPartSettings
from partwise.xpart.vae import ShapeDecoder
from tests.xpart.cost_support import (
    traced_conditions,
    traced_decode,
    traced_sample,
    with_depth,
)

ROOT = Path(__file__).parents[2]
CLOSE = 0.01
FULL = XPartConfig()
SHALLOW = replace(FULL, dit=with_depth(FULL.dit, 3, 1))
ITEM = {"fp32": 4, "bf16": 2}
SAMPLES = [  # parts, precision, is_gpu, batch, cached, offloaded
    (1, "bf16", True, 1, 0, 0),
    (1, "fp32", True, 1, 0, 1),
    (3, "fp32", False, 1, 0, 0),
    (3, "bf16", True, 3, 1, 0),
    (10, "bf16", True, 10, 0, 0),
    (10, "bf16", True, 4, 0, 1),
]
SLOW_SAMPLES = [
    (3, "fp32", True, 1, 0, 1),
    (10, "fp32", False, 4, 1, 0),
    (10, "bf16", True, 10, 1, 0),
    (30, "bf16", True, 8, 0, 1),
    (50, "bf16", False, 50, 0, 0),
]
NARROW = VaeConfig(num_latents=512, num_encoder_layers=1, num_decoder_layers=1, pc_size=10240)
FEW_POINTS = replace(FULL, conditioner=replace(FULL.conditioner, geo=NARROW, obj=NARROW))


def assert_close(found: StageBytes, traced: PeakSink, beside: int = 0) -> None:
    assert found.peak_bytes == pytest.approx(traced.peak_bytes + beside, rel=CLOSE)
    assert found.largest_bytes == pytest.approx(traced.largest_bytes, rel=CLOSE)


def assert_foretold(
    config: XPartConfig,
    part_count: int,
    precision: str,
    is_gpu: bool,
    batch: int,
    cached: int,
    offloaded: int,
) -> None:
    knobs = {"part_batch": batch, "is_cached": cached, "is_offloaded": offloaded}
    traced = traced_sample(config, part_count, precision, is_gpu=is_gpu, knobs=knobs)
    way = Denoising(
        config.dit,
        part_count,
        config.vae.num_latents,
        config.conditioner.geo.num_latents,
        ITEM[precision],
        batch,
        bool(cached),
        bool(offloaded),
    )
    # A CPU reads conditions and latents where they are: a trace is not told of them.
    given = 0 if is_gpu else condition_result_bytes(config, part_count, precision)
    assert_close(way.size(), traced, given)


@pytest.mark.parametrize("case", SAMPLES)
def test_the_peak_of_denoising_is_that_of_a_trace(
    case: tuple[int, str, bool, int, int, int],
) -> None:
    assert_foretold(SHALLOW, *case)


@pytest.mark.slow
@pytest.mark.parametrize("case", SLOW_SAMPLES)
def test_the_peak_of_denoising_many_parts_is_that_of_a_trace(
    case: tuple[int, str, bool, int, int, int],
) -> None:
    assert_foretold(replace(FULL, dit=with_depth(FULL.dit, 8, 2)), *case)


@pytest.mark.slow
def test_the_peak_at_full_depth_is_that_of_a_trace() -> None:
    assert_foretold(FULL, 10, "bf16", True, 10, 0, 0)


@pytest.mark.parametrize("is_gpu", [True, False])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_peak_of_looking_at_surfaces_is_that_of_a_trace(
    monkeypatch: pytest.MonkeyPatch, precision: str, is_gpu: bool
) -> None:
    monkeypatch.setattr(condition, "describe_voxels", no_features)
    voxels = ball_voxels(2_000)
    assert_conditions(monkeypatch, FEW_POINTS, voxels, 3, precision, is_gpu, 2048)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part_count", "precision", "is_gpu", "point_chunk"),
    [
        (3, "bf16", True, 16384),
        (10, "fp32", False, 4096),
    ],
)
def test_the_peak_of_looking_at_full_surfaces_is_that_of_a_trace(
    monkeypatch: pytest.MonkeyPatch,
    part_count: int,
    precision: str,
    is_gpu: bool,
    point_chunk: int,
) -> None:
    given = FULL.conditioner
    one = replace(given.geo, num_encoder_layers=1)
    config = replace(FULL, conditioner=replace(given, geo=one, obj=one))
    voxels = ball_voxels(given.surface_points)
    assert_conditions(monkeypatch, config, voxels, part_count, precision, is_gpu, point_chunk)


def assert_conditions(
    monkeypatch: pytest.MonkeyPatch,
    config: XPartConfig,
    voxels: VoxelGrid,
    part_count: int,
    precision: str,
    is_gpu: bool,
    point_chunk: int,
) -> None:
    traced = traced_conditions(
        config,
        voxels,
        part_count,
        precision,
        is_gpu=is_gpu,
        point_chunk=point_chunk,
        monkeypatch=monkeypatch,
    )
    levels = count_levels(voxels.grid)
    found = condition_bytes(config, part_count, precision, levels, point_chunk, is_gpu=is_gpu)
    if is_gpu:  # the parts' conditions are made on the host; a trace takes them for the device's
        vae = config.conditioner.geo
        made = ITEM[precision] * part_count * vae.num_latents * vae.width
        found = replace(found, peak_bytes=found.peak_bytes + made)
    features = no_features(None, voxels).nbytes  # in numpy's memory, where `no_features` made them
    is_patched = condition.describe_voxels is no_features
    assert_close(found, traced, features if is_patched and not is_gpu else 0)


def no_features(model: object, voxels: VoxelGrid, check: object = None) -> np.ndarray:
    return np.zeros((len(voxels.grid), FULL.conditioner.feature_width), dtype=np.float32)


def ball_voxels(count: int) -> VoxelGrid:
    directions = np.random.default_rng(0).standard_normal((count, 3))
    points = 0.8 * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    return build_voxels(points, np.zeros_like(points))


@pytest.mark.parametrize("is_gpu", [True, False])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("query_chunk", [500, 8192, 40_000])
def test_the_peak_of_decoding_is_that_of_a_trace(
    precision: str, is_gpu: bool, query_chunk: int
) -> None:
    config = replace(FULL.vae, num_decoder_layers=1)
    traced = traced_decode(config, precision, query_chunk, is_gpu=is_gpu)
    assert_close(decode_bytes(config, ITEM[precision], query_chunk), traced)


def test_constants_are_those_of_the_code() -> None:
    assert NORM_ROWS == attention._NORM_ROWS
    assert condition._SETS_AT_ONCE == SETS_AT_ONCE
    assert kept_points(FULL.conditioner.geo) == FULL.conditioner.surface_points
    assert kept_points(FULL.vae) == 20480


@pytest.mark.parametrize("part_count", [1, 3, 10, 30])
def test_flops_of_a_step_are_the_published_ones_with_the_object_shared(part_count: int) -> None:
    way = Denoising(FULL.dit, part_count, 1024, 4096, 2, 1)
    object_again = 2 * 21 * (part_count - 1) * 4096 * 2 * 1024 * 2048
    published = part_count * (6.87 + 0.086 * part_count) * 1e12
    assert way.flops(1) + object_again == pytest.approx(published, rel=0.002)


def test_flops_of_surfaces_and_fields_are_the_published_ones() -> None:
    assert encode_surface_flops(FULL.conditioner.geo, 512) == pytest.approx(3.19e12, rel=0.005)
    assert tokens_flops(FULL.vae) == pytest.approx(0.481e12, rel=0.01)
    assert query_flops(FULL.vae) == pytest.approx(25.27e6, rel=0.001)


def test_what_is_cached_is_multiplied_once() -> None:
    plain, cached = (
        Denoising(FULL.dit, 10, 1024, 4096, 2, 10, is_cached).flops(49)
        for is_cached in (False, True)
    )
    seen = 2 * 21 * 11 * 4096 * 2 * 1024 * 2048
    assert plain - cached == pytest.approx(48 * seen)


def test_flops_of_a_tiny_step_are_those_that_torch_counts() -> None:
    config, parts = TINY.dit, 3
    model = PartFormer(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_(std=0.05, generator=torch.Generator().manual_seed(1))
        latents = torch.zeros(parts, 32, config.in_channels)
        conditions = Conditions(torch.zeros(1, 64, 32), torch.zeros(parts, 64, 32))
        with counted_flops() as counter:
            model(latents, 0.5, conditions, torch.arange(parts), Way())
    way = Denoising(config, parts, 32, 64, 4, parts)
    assert way.flops(1) == pytest.approx(counter.get_total_flops(), rel=0.001)


def test_flops_of_a_tiny_field_are_those_that_torch_counts() -> None:
    config = TINY.vae
    model = ShapeDecoder(config).eval()
    with torch.no_grad(), counted_flops() as counter:
        tokens = model.decode(torch.zeros(config.num_latents, config.embed_dim), torch.float32)
        seen = model.geo_decoder.cross_attn_decoder.look(tokens, torch.float32)
        model.geo_decoder(torch.zeros(1000, 3), seen, torch.float32)
    expected = tokens_flops(config) + 1000 * query_flops(config)
    assert expected == pytest.approx(counter.get_total_flops(), rel=0.001)


def test_flops_of_tiny_conditions_are_those_that_torch_counts() -> None:
    config, parts = TINY.conditioner, 2
    torch.manual_seed(0)
    model = Conditioner(config).eval()
    voxels = ball_voxels(config.surface_points)
    surfaces = np.random.default_rng(1).random((1 + parts, config.surface_points, 7))
    prepared = SimpleNamespace(
        aabbs=np.arange(6 * parts, dtype=np.float32).reshape(parts, 2, 3),
        object_surface=surfaces[0].astype(np.float32),
        part_surfaces=surfaces[1:].astype(np.float32),
        voxels=voxels,
    )
    with counted_flops() as counter:
        condition.condition_parts(model, cast("PreparedParts", prepared), 0)
    found = condition_flops(TINY, parts, count_levels(voxels.grid))
    assert found == pytest.approx(counter.get_total_flops(), rel=0.1)  # neighbours are estimated


@pytest.mark.parametrize("config", [FULL, TINY])
@pytest.mark.parametrize("is_gpu", [True, False])
@pytest.mark.parametrize("part_count", [1, 2, 10, 50])
def test_options_fall_in_bytes_and_rise_in_flops(
    config: XPartConfig, is_gpu: bool, part_count: int
) -> None:
    for options in (
        condition_options(config, part_count, "bf16", is_gpu=is_gpu),
        sample_options(config, part_count, 50, "bf16", is_gpu=is_gpu),
        decode_options(config, part_count, 512, SURFACE, "bf16", is_gpu=is_gpu),
    ):
        sizes = [option.size.peak_bytes for option in options]
        flops = [option.flops for option in options]
        assert sizes == sorted(set(sizes), reverse=True)
        assert flops == sorted(flops)
        assert all(0 < option.size.largest_bytes <= option.size.peak_bytes for option in options)


def knobs_of(options: tuple[Option, ...]) -> list[tuple[int, ...]]:
    return [tuple(option.knobs.values()) for option in options]


def test_denoising_goes_from_all_at_once_to_one_part_at_a_time() -> None:
    tried = knobs_of(sample_options(FULL, 30, 50, "bf16", is_gpu=True))
    assert tried[0] == (30, 1, 0)
    assert tried[-1] == (1, 0, 1)
    assert {(30, 0, 0), (4, 0, 0), (1, 0, 0)} <= set(tried)
    on_cpu = knobs_of(sample_options(FULL, 30, 50, "bf16", is_gpu=False))
    assert {offloaded for _, _, offloaded in on_cpu} == {0}


def test_a_single_call_keeps_nothing_for_the_next() -> None:
    options = sample_options(FULL, 3, 2, "bf16", is_gpu=True)
    assert {cached for _, cached, _ in knobs_of(options)} == {0}


@pytest.mark.parametrize("decoding", [SURFACE, BAND])
def test_finer_fields_cost_more(decoding: str) -> None:
    flops = [
        decode_options(FULL, 3, resolution, decoding, "bf16", is_gpu=True)[0].flops
        for resolution in RESOLUTIONS
        if decoding == SURFACE or resolution > 128
    ]
    assert flops == sorted(set(flops))


@pytest.mark.parametrize(("resolution", "decoding"), [(128, SURFACE), (256, SURFACE)])
def test_a_search_holds_no_more_than_is_foretold(resolution: int, decoding: str) -> None:
    settings = XPartSettings(octree_resolution=resolution, decoding=decoding)
    box = np.array([[-0.5] * 3, [0.5] * 3], dtype=np.float32)

    def ball(places: np.ndarray) -> np.ndarray:
        return np.tanh(8 * (0.5 - np.linalg.norm(places, axis=1))).astype(np.float32)

    tracemalloc.start()
    extract_surface(ball, box, settings)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (
        0.3 * search_bytes(resolution, decoding) < peak < 1.1 * search_bytes(resolution, decoding)
    )


def test_what_stays_on_the_host_is_what_the_stages_hand_on() -> None:
    assert condition_result_bytes(FULL, 10, "bf16") == 11 * 4096 * 1024 * 2
    assert latent_bytes(FULL, 10) == 10 * 1024 * 64 * 4


def test_only_quantised_weights_are_unpacked_and_then_the_largest_one() -> None:
    with torch.device("meta"):
        widest = max(math.prod(weight.shape) for weight in PartFormer(FULL.dit).parameters())
    assert unpacked_bytes(FULL, "int8") == unpacked_bytes(FULL, "int4") == 2 * widest
    assert unpacked_bytes(FULL, "bf16") == unpacked_bytes(FULL, "fp32") == 0


def test_a_mesh_not_seen_yet_costs_about_what_it_will() -> None:
    voxels = ball_voxels(81920)
    counted = condition_bytes(FULL, 1, "bf16", count_levels(voxels.grid), 1024, is_gpu=False)
    expected = condition_bytes(FULL, 1, "bf16", expected_levels(81920, 0.8), 1024, is_gpu=False)
    assert expected.peak_bytes == pytest.approx(counted.peak_bytes, rel=0.1)


def test_counting_costs_needs_no_torch() -> None:
    code = "import sys, partwise.xpart.cost; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
