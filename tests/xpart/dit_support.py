"""The PartFormer with regenerated weights, and what it is asked in the golden files."""

import functools

import numpy as np
import torch
from torch import Tensor

from partwise.xpart.blocks import Way
from partwise.xpart.config import TINY, DitConfig
from partwise.xpart.dit import PartFormer
from partwise.xpart.parts import Conditions
from tests.xpart.support import filled, golden


def tensor(name: str, array: str) -> Tensor:
    """A copy of one array of a golden file."""
    return torch.from_numpy(golden(name)[array].copy())


def filled_dit(config: DitConfig) -> PartFormer:
    """A model with regenerated weights, ready to run."""
    return filled(PartFormer(config))


@functools.cache
def tiny_dit() -> PartFormer:
    """The tiny model; nobody may change it."""
    return filled_dit(TINY.dit)


def normal(seed: int, *shape: int) -> Tensor:
    """The golden files' inputs that are named by a seed."""
    values = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return torch.from_numpy(values)


def conditions_of(name: str) -> Conditions:
    """The conditions of a golden file."""
    return Conditions(tensor(name, "obj_cond"), tensor(name, "geo_cond"))


def velocity(
    model: PartFormer, latents: Tensor, conditions: Conditions, way: Way | None = None
) -> Tensor:
    """At time 0.4 with the parts numbered 3, 4, 5 …"""
    ids = torch.arange(3, 3 + len(latents))
    with torch.inference_mode():
        return model(latents, 0.4, conditions, ids, way or Way())


def ask_fullwidth(model: PartFormer, seeds: tuple[int, int, int], name: str) -> Tensor:
    """What a model of full width says to the inputs of a golden file."""
    latents, condition, part = (
        normal(seed, 2, *shape)
        for seed, shape in zip(seeds, [(64, 64), (96, 1024), (80, 1024)], strict=True)
    )
    ids = tensor(name, "part_ids").long()
    time = float(golden(name)["t"])
    with torch.inference_mode():
        return model(latents, time, Conditions(condition, part), ids, Way())
