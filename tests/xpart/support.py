"""Golden arrays, modules with regenerated weights and surfaces, for the tests of X-Part."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from partwise.geometry.voxels import build_voxels
from partwise.xpart.parts import PreparedParts, UnitFrame
from scripts.regenerated_weights import fill_module

DATA = Path(__file__).parents[1] / "data" / "xpart"
Module = TypeVar("Module", bound=nn.Module)


@functools.cache
def golden(name: str) -> Mapping[str, NDArray[np.generic]]:
    """The arrays of a golden file."""
    with np.load(DATA / f"{name}.npz") as arrays:
        return dict(arrays)


def filled(module: Module, prefix: str = "") -> Module:
    """The module with regenerated weights, ready to run; `prefix` as the checkpoint has it."""
    fill_module(module.requires_grad_(False).eval(), prefix)
    return module


def largest_difference(
    found: torch.Tensor | NDArray[np.generic], wanted: torch.Tensor | NDArray[np.generic]
) -> float:
    """Of any two entries; the shapes are the same."""
    first, second = (np.asarray(array, dtype=np.float64) for array in (found, wanted))
    assert first.shape == second.shape
    return float(np.abs(first - second).max())


def relative_rms(found: torch.Tensor, wanted: NDArray[np.generic]) -> float:
    """Root mean square of the error over that of what is wanted."""
    error = found.double().numpy() - wanted
    return float(np.sqrt((error**2).mean() / (wanted.astype(np.float64) ** 2).mean()))


def to_half(module: Module, dtype: torch.dtype) -> Module:
    """The module with its matrices in `dtype`; norms and biases stay float32, as when loaded."""
    for parameter in module.parameters():
        if parameter.dim() > 1:
            parameter.data = parameter.data.to(dtype)
    return module


def prepared_balls(part_count: int, point_count: int, seed: int = 0) -> PreparedParts:
    """Balls in a row, a part each; the object is all of them."""
    generator = np.random.default_rng(seed)
    radius = 0.8 / part_count
    centers = np.zeros((part_count, 3))
    centers[:, 0] = np.linspace(-0.8 + radius, 0.8 - radius, part_count)

    def ball(center: NDArray[np.float64]) -> NDArray[np.float32]:
        normals = generator.standard_normal((point_count, 3))
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        label = np.zeros((point_count, 1))
        return np.hstack([center + radius * normals, normals, label]).astype(np.float32)

    parts = np.stack([ball(center) for center in centers])
    rows = generator.integers(part_count, size=point_count)
    whole = parts[rows, np.arange(point_count)]
    return PreparedParts(
        frame=UnitFrame(np.zeros(3), 1.0),
        kept=np.arange(part_count),
        dropped=(),
        aabbs=np.stack([centers - radius, centers + radius], axis=1).astype(np.float32),
        object_surface=whole,
        part_surfaces=parts,
        voxels=build_voxels(whole[:, :3].astype(np.float64), whole[:, 3:6].astype(np.float64)),
    )
