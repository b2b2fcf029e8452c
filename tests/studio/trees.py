"""Documents whose parts come from a tree, for the tests of cutting it again."""

import numpy as np

from partwise.geometric.merge_tree import build_tree
from partwise.geometric.part_tree import PartTree
from partwise.geometric.segment import SegmentSettings
from studio.document import Document, Run
from studio.segment import name_parts
from tests.studio.meshes import boxes, source_mesh


def random_tree(seed: int, atoms: int, *, faces_each: int = 12, least: int = 1) -> PartTree:
    """A tree of `atoms` pieces of random areas, merged at random until `least` are left."""
    draw = np.random.default_rng(seed)
    groups, joins = [[i] for i in range(atoms)], []
    while len(groups) > least:
        first, second = draw.choice(len(groups), 2, replace=False)
        joins.append([draw.choice(groups[first]), draw.choice(groups[second])])
        groups[first] = groups[first] + groups[second]
        del groups[second]
    heights = np.sort(draw.random(len(joins)))
    tree = build_tree(atoms, np.array(joins, dtype=np.int64).reshape(-1, 2), heights)
    face_atoms = np.repeat(np.arange(atoms, dtype=np.int32), faces_each)
    scores = draw.standard_normal(max(len(tree.joins) // 2, 1))
    return PartTree(face_atoms, draw.random(atoms) + 0.1, tree, scores)


def tree_document(seed: int = 0, atoms: int = 12, *, count: int = 5, least: int = 1) -> Document:
    """As many boxes in a row as there are atoms, cut into `count` parts by the built-in engine."""
    document = Document(source_mesh(*boxes(atoms)), "hash")
    tree = random_tree(seed, atoms, least=least)
    settings = {"part_count": None, "detail": 0.5, "working_faces": 20_000, "seed": 0}
    assert set(settings) <= set(SegmentSettings.__dataclass_fields__)
    run = Run("segment", "geometric", "", dict(settings), {}, 1.0)
    document.set_segmentation(name_parts(tree.cut(count), document.source), run, tree)
    return document
