"""Random labelled objects of the project's own: ground to train and test segmentation on.

`make_assembly` builds an object of parts; `fused_surface` and `joined_surface` turn it into one
labelled surface. Everything follows from the family's name and the seed.
"""

import zlib

import numpy as np

from scripts.assemblies import families
from scripts.assemblies.kit import Kit
from scripts.assemblies.surface import (
    Assembly,
    Fusing,
    Labelled,
    fused_surface,
    joined_surface,
)

__all__ = [
    "FAMILIES",
    "LEARNED",
    "UNSEEN",
    "Assembly",
    "Fusing",
    "Labelled",
    "fused_surface",
    "joined_surface",
    "make_assembly",
]

LEARNED: tuple[str, ...] = tuple(families.BUILDERS)
UNSEEN: tuple[str, ...] = tuple(families.UNSEEN)  # never learned from: they judge what is learned
FAMILIES: tuple[str, ...] = LEARNED + UNSEEN
BUILDERS = families.BUILDERS | families.UNSEEN


def make_assembly(family: str, seed: int) -> Assembly:
    """An object of the family; raises `ValueError` when there is no such family."""
    if family not in BUILDERS:
        raise ValueError(f"no family {family!r}; there are {', '.join(FAMILIES)}")
    rng = np.random.default_rng([seed, zlib.crc32(family.encode())])
    return Assembly(family, seed, tuple(BUILDERS[family](Kit(rng))))
