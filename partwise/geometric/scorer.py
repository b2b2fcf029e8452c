"""The learned part of the built-in engine: whether two neighbours belong to different parts.

Two committees of small perceptrons, one for pieces of a body and one for whole bodies, fitted to
made-up assemblies: `scripts/train_scorer.py` makes their numbers from labelled objects that the
project makes itself; nothing else was learned from. Some kilobytes, numpy alone.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from partwise.geometry.topology import Floats

FILE = Path(__file__).with_name("part_scorer.npz")
CLIP = 5.0
MOST_ODDS = 4.0  # no committee is surer than this, in log-odds

Layers = tuple[tuple[Floats, Floats], ...]


@dataclass(frozen=True)
class Standard:
    """Brings columns to mean 0 and deviation 1, cut off at ±`limit`."""

    mean: Floats
    deviation: Floats
    limit: float = CLIP

    def __call__(self, columns: Floats) -> Floats:
        scaled = (columns - self.mean) / self.deviation
        return np.asarray(np.clip(scaled, -self.limit, self.limit))


@dataclass(frozen=True)
class Committee:
    """Perceptrons fitted alike from different starts, whose log-odds are averaged.

    members: for each perceptron the (weights, bias) of each layer, SiLU between them.
    """

    standard: Standard
    members: tuple[Layers, ...]

    def differ(self, features: Floats) -> Floats:
        """(n,) log-odds that the two of each pair belong to different parts, ±`MOST_ODDS`.

        features: (n, FEATURE_COUNT) float64 of `affinity.PiecePairs`.
        """
        values = self.standard(features)
        odds = np.mean([_odds(layers, values) for layers in self.members], axis=0)
        return np.asarray(np.clip(odds, -MOST_ODDS, MOST_ODDS))


def _odds(layers: Layers, values: Floats) -> Floats:
    for weights, bias in layers[:-1]:
        values = values @ weights + bias
        values = values / (1.0 + np.exp(-values))
    weights, bias = layers[-1]
    return np.asarray((values @ weights + bias)[:, 0])


@dataclass(frozen=True)
class PartScorer:
    """What was learned of pieces of one body, and of whole bodies."""

    pieces: Committee
    bodies: Committee


def save_scorer(scorer: PartScorer, file: Path) -> None:
    """Write the numbers as float32."""
    arrays: dict[str, Floats] = {}
    for name, committee in (("pieces", scorer.pieces), ("bodies", scorer.bodies)):
        arrays[f"{name}_mean"] = committee.standard.mean
        arrays[f"{name}_deviation"] = committee.standard.deviation
        for i in range(len(committee.members[0])):
            for j, kind in enumerate(("weights", "bias")):
                arrays[f"{name}_{kind}_{i}"] = np.stack([one[i][j] for one in committee.members])
    np.savez(file, **{name: values.astype(np.float32) for name, values in arrays.items()})  # type: ignore[arg-type]


def load_scorer(file: Path) -> PartScorer:
    """Read what `save_scorer` wrote."""
    with np.load(file) as content:
        arrays = {name: content[name].astype(np.float64) for name in content.files}
    return PartScorer(_committee(arrays, "pieces"), _committee(arrays, "bodies"))


def _committee(arrays: dict[str, Floats], name: str) -> Committee:
    depth = sum(key.startswith(f"{name}_weights_") for key in arrays)
    layers = [(arrays[f"{name}_weights_{i}"], arrays[f"{name}_bias_{i}"]) for i in range(depth)]
    members = tuple(
        tuple((weights[k], bias[k]) for weights, bias in layers) for k in range(len(layers[0][0]))
    )
    standard = Standard(arrays[f"{name}_mean"], arrays[f"{name}_deviation"])
    return Committee(standard, members)


@cache
def built_in_scorer() -> PartScorer:
    """The scorer that the engine comes with."""
    return load_scorer(FILE)
