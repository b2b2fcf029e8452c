"""All ways to cut one mesh into parts, from few to many, each had in milliseconds.

The finest cut is made of atoms, small pieces whose borders are already straight; every coarser
one joins atoms in the order of a merge tree, so nothing is computed anew when a person asks for
fewer or more parts.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from partwise.geometric.merge_tree import MergeTree
from partwise.geometric.part_count import choose_part_count
from partwise.geometry.labels import number_by_area, sum_by_group
from partwise.geometry.topology import Floats


@dataclass(frozen=True)
class PartTree:
    """Nested partitions of a mesh.

    face_atoms: (F,) int32 atom 0 … A−1 of each face. atom_areas: (A,) float64, any unit. tree: the
    merges of atoms, leaves are atoms. scores: (J,) float64 how good the cuts into `least`,
    `least` + 1, … parts look; those into more look like the last.
    """

    face_atoms: NDArray[np.int32]
    atom_areas: Floats
    tree: MergeTree
    scores: Floats

    @property
    def least(self) -> int:
        """The smallest number of parts there is."""
        return self.tree.leaf_count - len(self.tree.joins)

    @property
    def most(self) -> int:
        """The largest number of parts there is."""
        return self.tree.leaf_count

    def count_for(self, detail: float) -> int:
        """How many parts `detail`, 0 (few) … 1 (many), stands for; never falls as it rises."""
        return choose_part_count(self.tree, self.scores, detail)

    def cut(self, part_count: int) -> NDArray[np.int32]:
        """(F,) int32 labels 0 … K−1 from the largest part to the smallest.

        K is `part_count`, or the nearest number that the tree has.
        """
        part = self.tree.cut_to(part_count)
        areas = sum_by_group(part, self.atom_areas, int(part.max()) + 1)
        rank = number_by_area(np.arange(len(areas)), areas)
        return np.asarray(rank[part].astype(np.int32)[self.face_atoms])


def labels_for(
    tree: PartTree, part_count: int | None = None, detail: float = 0.5
) -> NDArray[np.int32]:
    """(F,) int32 labels for a number of parts, or for a level of detail when that is None."""
    return tree.cut(tree.count_for(detail) if part_count is None else part_count)
