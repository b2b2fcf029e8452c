"""The learned part of the built-in engine: two small functions, fitted to made-up assemblies.

One says how likely two bodies belong to different parts, the other how good a cut into K parts
looks. `scripts/train_scorer.py` makes their numbers from labelled objects that the project makes
itself; nothing else was learned from. A few kilobytes, numpy alone.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from partwise.geometry.topology import Floats

FILE = Path(__file__).with_name("part_scorer.npz")
CLIP = 5.0


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
class PartScorer:
    """The numbers of both functions.

    pair, layers: a perceptron on the features of two bodies: (weights, bias) of each layer. count,
    weights: a quadratic form in the features of a cut (`part_count.cut_features`).
    """

    pair: Standard
    layers: tuple[tuple[Floats, Floats], ...]
    count: Standard
    weights: Floats

    def differ(self, features: Floats) -> Floats:
        """(n,) log-odds that the two of each pair belong to different parts.

        features: (n, FEATURE_COUNT) float64 of `affinity.Pieces`.
        """
        values = self.pair(features)
        for weights, bias in self.layers[:-1]:
            values = values @ weights + bias
            values = values / (1.0 + np.exp(-values))
        weights, bias = self.layers[-1]
        return np.asarray((values @ weights + bias)[:, 0])

    def quality(self, features: Floats) -> Floats:
        """(n,) how good each cut looks, 1 for the best of its object; (n, C) float64 features."""
        return np.asarray(quadratic(self.count(features)) @ self.weights)


def quadratic(columns: Floats) -> Floats:
    """(n, 1 + C + C (C + 1) / 2) the constant, the columns and their products."""
    one, other = np.triu_indices(columns.shape[1])
    products = columns[:, one] * columns[:, other]
    return np.concatenate([np.ones((len(columns), 1)), columns, products], axis=1)


@cache
def built_in_scorer() -> PartScorer:
    """The scorer that the engine comes with."""
    with np.load(FILE) as file:
        values = {name: file[name].astype(np.float64) for name in file.files}
    depth = sum(name.startswith("weights_") for name in values)
    layers = tuple((values[f"weights_{i}"], values[f"bias_{i}"]) for i in range(depth))
    pair = Standard(values["pair_mean"], values["pair_deviation"])
    count = Standard(values["count_mean"], values["count_deviation"], COUNT_CLIP)
    return PartScorer(pair, layers, count, values["count_weights"])


COUNT_CLIP = 3.0
