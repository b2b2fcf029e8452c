"""Levels and operations of the point encoder, counted without it, against the encoder itself."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.flops import counted_flops
from partwise.geometry.voxels import VoxelGrid, build_voxels
from partwise.points.cost import (
    EncoderWidths,
    Levels,
    count_levels,
    encoder_bytes,
    encoder_flops,
    expected_levels,
)
from partwise.points.projection import Mlp, project_stages
from partwise.points.sonata import Sonata, SonataConfig, pool_grid

ROOT = Path(__file__).parents[2]
SMALL = EncoderWidths(
    depths=(1, 1, 1, 2, 1),
    channels=(16, 24, 32, 48, 64),
    num_heads=(2, 3, 4, 6, 8),
    patch_size=64,
    feature_width=32,
)


def ball_voxels(count: int, radius: float = 1.0) -> VoxelGrid:
    directions = np.random.default_rng(0).standard_normal((count, 3))
    points = radius * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    return build_voxels(points, np.zeros_like(points))


def test_levels_are_those_of_the_encoder() -> None:
    voxels = ball_voxels(3_000)
    counts, grid = [len(voxels.grid)], torch.from_numpy(voxels.grid)
    for _ in range(4):
        grid, _cluster = pool_grid(grid, 2)
        counts.append(len(grid))
    assert count_levels(voxels.grid) == Levels(tuple(counts))


@pytest.mark.parametrize("extent", [0.5, 0.8, 1.0])
def test_a_smaller_mesh_is_expected_to_have_as_many_fewer_voxels(extent: float) -> None:
    counted = count_levels(ball_voxels(50_000, extent).grid)
    expected = expected_levels(50_000, extent)
    for found, foretold in zip(counted.voxels, expected.voxels, strict=True):
        assert 0.6 * found < foretold < 1.4 * found


def test_wider_products_and_more_voxels_take_more() -> None:
    levels = expected_levels(20_000)
    more = expected_levels(40_000)
    assert (
        encoder_bytes(levels, SMALL, precision="bf16", is_gpu=True).peak_bytes
        < encoder_bytes(levels, SMALL, is_gpu=True).peak_bytes
        < encoder_bytes(more, SMALL, is_gpu=True).peak_bytes
    )
    assert encoder_flops(levels, SMALL) < encoder_flops(more, SMALL)


def test_operations_are_those_that_torch_counts() -> None:
    voxels = ball_voxels(4_000, 0.3)
    config = SonataConfig(
        depths=SMALL.depths,
        channels=SMALL.channels,
        num_heads=SMALL.num_heads,
        patch_size=SMALL.patch_size,
    )
    torch.manual_seed(0)
    encoder = Sonata(config).eval()
    mlp = Mlp(sum(SMALL.channels), SMALL.feature_width, SMALL.feature_width)
    with torch.no_grad(), counted_flops() as counter:
        grid, features = torch.from_numpy(voxels.grid), torch.from_numpy(voxels.features)
        project_stages(encoder(grid, features), mlp)
    found = encoder_flops(count_levels(voxels.grid), SMALL)
    assert found == pytest.approx(counter.get_total_flops(), rel=0.1)  # neighbours are estimated


def test_a_deeper_encoder_takes_no_more_memory_but_longer() -> None:
    levels = expected_levels(10_000)
    deeper = replace(SMALL, depths=(4, 4, 4, 8, 4))
    at_most = encoder_bytes(levels, replace(SMALL, depths=(4, 4, 4, 4, 4)), is_gpu=False)
    assert encoder_bytes(levels, deeper, is_gpu=False) == at_most
    assert encoder_flops(levels, deeper) > encoder_flops(levels, SMALL)


def test_counting_costs_needs_no_torch() -> None:
    code = "import sys, partwise.points.cost; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
