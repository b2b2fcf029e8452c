"""How parts are shown: cut out of the mesh, named, coloured, pulled apart, boxed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from partwise.geometry.labels import members_by_label
from partwise.geometry.topology import Floats, Ints, used_vertices

GOLDEN_ANGLE = 0.381966011250105
FIRST_HUE = 0.7
# In Oklab's terms: neighbours in the list differ by 137 degrees of hue, and in a lightness step
# that tells apart those that a colour-blind eye would take for one.
LIGHTNESS_STEPS = (0.62, 0.48, 0.76)
# Hues come back almost the same after 21 colours, then paler.
CHROMA_STEPS = (0.15, 0.085)
COLOURS_PER_ROUND = 21
OWN_NODE_SHARE = 0.9
# Shares of the object's diagonal, and the growth of distances, of the exploded view.
CENTRAL = 0.04
CLEARANCE = 0.1
SPREAD = 0.85

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class PartSurface:
    """The faces of one part on their own.

    vertices: (W, 3) float64. faces: (G, 3) int64 into them. source_faces: (G,) int64, the face of
    the whole mesh that each face is.
    """

    part_id: int
    vertices: Floats
    faces: Ints
    source_faces: Ints


def split_by_label(
    vertices: Floats, faces: Ints, face_labels: NDArray[np.integer]
) -> list[PartSurface]:
    """Cut the mesh into its parts, by rising label; faces labelled −1 are in none."""
    return [
        cut_out(vertices, faces, piece, label)
        for label, piece in members_by_label(face_labels).items()
        if label >= 0
    ]


def cut_out(vertices: Floats, faces: Ints, chosen: Ints, part_id: int) -> PartSurface:
    """The (G,) chosen faces on their own, with the vertices that they use."""
    used, local = used_vertices(faces[chosen])
    return PartSurface(part_id, vertices[used], local, chosen)


def part_colour(index: int) -> Colour:
    """The sRGB colour (0 to 255 each) of the part with this colour index, 0 or more.

    A pure function of the index, so a part that keeps its index keeps its colour.
    """
    hue = 2 * np.pi * ((FIRST_HUE + index * GOLDEN_ANGLE) % 1.0)
    lightness = LIGHTNESS_STEPS[index % len(LIGHTNESS_STEPS)]
    chroma = CHROMA_STEPS[index // COLOURS_PER_ROUND % len(CHROMA_STEPS)]
    linear = _linear_srgb(lightness, chroma * np.cos(hue), chroma * np.sin(hue))
    while linear.min() < 0 or linear.max() > 1:
        chroma *= 0.95
        linear = _linear_srgb(lightness, chroma * np.cos(hue), chroma * np.sin(hue))
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    red, green, blue = np.rint(255 * encoded).astype(int).tolist()
    return red, green, blue


def hex_colour(index: int) -> str:
    """The colour of `part_colour` as browsers write it, “#4a90d9”."""
    return "#{:02x}{:02x}{:02x}".format(*part_colour(index))


def _linear_srgb(lightness: float, a: float, b: float) -> Floats:
    """(3,) linear red, green and blue of a colour in Oklab (Ottosson, 2020)."""
    cones = lightness + np.array(
        [
            [0.3963377774, 0.2158037573],
            [-0.1055613458, -0.0638541728],
            [-0.0894841775, -1.2914855480],
        ]
    ) @ [a, b]
    to_linear = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    return np.asarray(to_linear @ cones**3)


def default_part_names(
    face_labels: NDArray[np.integer], face_nodes: NDArray[np.integer], node_names: tuple[str, ...]
) -> tuple[str, ...]:
    """A distinct name for each of the parts 0 … K−1.

    face_labels: (F,), −1 = no part. face_nodes: (F,) scene node of each face, −1 = none. A part of
    which more than 90 % of the faces come from one named node has that node's name, numbered when
    several parts do; the others are "Part 1", "Part 2" and so on by their place in the list.
    """
    count = int(face_labels.max(initial=-1)) + 1
    wanted = [
        _node_name(face_nodes[face_labels == i], node_names) or f"Part {i + 1}"
        for i in range(count)
    ]
    return distinct_names(wanted)


def distinct_names(wanted: Sequence[str]) -> tuple[str, ...]:
    """The names in their order, numbered where one comes several times."""
    names: list[str] = []
    taken: set[str] = set()
    for name in wanted:
        unused = _numbered(name, taken, wanted)
        taken.add(unused)
        names.append(unused)
    return tuple(names)


def _node_name(nodes: NDArray[np.integer], node_names: tuple[str, ...]) -> str:
    counts = np.bincount(nodes[nodes >= 0], minlength=len(node_names))
    if len(node_names) < 2 or not len(nodes) or counts.max() <= OWN_NODE_SHARE * len(nodes):
        return ""
    return " ".join(node_names[int(counts.argmax())].split())


def _numbered(name: str, taken: set[str], wanted: Sequence[str]) -> str:
    number, candidate = 2, name
    while candidate in taken or (candidate != name and candidate in wanted):
        candidate = f"{name} {number}"
        number += 1
    return candidate


def exploded_offsets(aabbs: Floats, amount: float) -> Floats:
    """(K, 3) float64 how far each part moves when the object is pulled apart.

    aabbs: (K, 2, 3) float64. amount: 0 = together, 1 = fully apart. A part moves away from the mean
    of all parts' middles in proportion to its distance from there, plus a clearance. Of the parts
    in the very middle the largest stays and the others spread evenly; parts that share a middle (a
    tyre and its rim) get different clearances. The page's viewer does the same.
    """
    if len(aabbs) < 2 or amount == 0:
        return np.zeros((len(aabbs), 3))
    low, high = aabbs[:, 0].min(axis=0), aabbs[:, 1].max(axis=0)
    diagonal = max(float(np.linalg.norm(high - low)), np.finfo(float).tiny)
    middles = aabbs.mean(axis=1)
    arms = middles - middles.mean(axis=0)
    sizes = np.linalg.norm(aabbs[:, 1] - aabbs[:, 0], axis=1)
    by_size = np.argsort(-sizes, kind="stable")
    lengths = np.linalg.norm(arms, axis=1)
    directions = arms / np.maximum(lengths, np.finfo(float).tiny)[:, None]
    gaps = 1.0 + _ranks_at_one_place(arms, by_size, CENTRAL * diagonal)
    central = by_size[lengths[by_size] < CENTRAL * diagonal]
    directions[central[1:]] = spread_directions(len(central) - 1)
    gaps[central] = 3.0
    offsets = SPREAD * arms + (CLEARANCE * diagonal * gaps)[:, None] * directions
    offsets[central[:1]] = 0.0
    return np.asarray(amount * offsets, dtype=np.float64)


def _ranks_at_one_place(arms: Floats, order: Ints, distance: float) -> Floats:
    """(K,) how many parts before this one in `order` lie less than `distance` from it."""
    ranks = np.zeros(len(arms))
    for place, i in enumerate(order):
        apart = np.linalg.norm(arms[order[:place]] - arms[i], axis=1)
        ranks[i] = np.count_nonzero(apart < distance)
    return ranks


def spread_directions(count: int) -> Floats:
    """(count, 3) float64 unit vectors that cover the sphere evenly (a Fibonacci spiral)."""
    i = np.arange(count)
    height = 1 - 2 * (i + 0.5) / max(count, 1)
    radius = np.sqrt(1 - height**2)
    turn = 2 * np.pi * GOLDEN_ANGLE * i
    return np.stack([radius * np.cos(turn), height, radius * np.sin(turn)], axis=1)
