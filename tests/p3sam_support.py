"""Golden arrays and models with regenerated weights, for the tests of P3-SAM and its encoder."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from partwise.geometry.voxels import VoxelGrid, build_voxels
from partwise.p3sam.model import P3SAM, TINY, P3SAMConfig
from partwise.points.sonata import StageFeatures
from scripts.regenerated_weights import fill_module
from tests.p3sam.golden import load_golden

DATA = Path(__file__).parent / "data" / "p3sam"


@functools.cache
def golden(name: str) -> Mapping[str, NDArray[np.generic]]:
    """The arrays of a golden file."""
    return load_golden(name)


@functools.cache
def tiny_model() -> P3SAM:
    """The tiny model with its regenerated weights, ready to run."""
    return filled(TINY)


def filled(config: P3SAMConfig | None = None) -> P3SAM:
    """A model with regenerated weights, ready to run."""
    model = P3SAM(config).requires_grad_(False).eval()
    fill_module(model)
    return model


def golden_voxels(arrays: Mapping[str, NDArray[np.generic]], prefix: str = "") -> VoxelGrid:
    """The voxels of a golden cloud, the reference's own picks."""
    points = arrays[f"{prefix}points"]
    low, high = points.min(axis=0), points.max(axis=0)
    shifted = points - [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]]
    return build_voxels(shifted, arrays[f"{prefix}normals"], picked=arrays[f"{prefix}picked"])


def tensors(voxels: VoxelGrid) -> tuple[torch.Tensor, torch.Tensor]:
    """Grid and features for the encoder."""
    return torch.from_numpy(voxels.grid), torch.from_numpy(voxels.features)


def side_by_side(stages: Sequence[StageFeatures]) -> torch.Tensor:
    """(M, C of all stages) features of every stage on the finest one's points."""
    wide = stages[-1].features
    for finer, coarser in zip(stages[-2::-1], stages[:0:-1], strict=True):
        wide = torch.cat([finer.features, wide[coarser.cluster]], dim=1)
    return wide


def largest_difference(found: torch.Tensor, wanted: NDArray[np.generic]) -> float:
    """Of any two entries."""
    return float(np.abs(found.numpy().astype(np.float64) - wanted).max())
