"""A raw surface cleaned, placed in the mesh and judged."""

import numpy as np
import pytest

from benchmarks.xpart_fields import WIDE, balls, sphere
from partwise.core.progress import Progress
from partwise.geometry.topology import is_watertight, signed_volume
from partwise.xpart.extract import extract_surface
from partwise.xpart.finish import (
    CUT,
    EMPTY,
    drop_long_edges,
    drop_small_components,
    finish_part,
)
from partwise.xpart.parts import RawSurface, UnitFrame
from partwise.xpart.settings import XPartSettings

FRAME = UnitFrame(np.array([10.0, -20.0, 3.0]), 250.0)
PREVIEW = XPartSettings(octree_resolution=128)


def extracted(*spots: tuple[float, float, float, float]) -> RawSurface:
    """The surface of balls, each given by x, y, z and radius."""
    rows = np.array(spots)
    shape = balls("balls", rows[:, :3], rows[:, 3])
    return extract_surface(shape.field(WIDE), shape.aabb, PREVIEW)


def test_a_closed_part_is_placed_in_the_mesh_and_needs_no_reason() -> None:
    raw = extracted((0.1, 0.2, -0.3, 0.4))
    part = finish_part(raw, FRAME, 128)
    assert part.is_watertight
    assert is_watertight(part.faces)
    assert (part.reason, part.dropped_components) == ("", 0)
    assert np.array_equal(part.vertices, raw.vertices * 250 + FRAME.center)
    assert np.array_equal(part.faces, raw.faces)
    assert signed_volume(part.vertices, part.faces) > 0


def test_components_below_half_a_percent_of_the_largest_are_dropped() -> None:
    # Faces go with the square of the radius: 0.5 % is 0.071 of the largest.
    raw = extracted((-0.4, 0, 0, 0.5), (0.6, 0, 0, 0.06), (0.6, 0.4, 0, 0.02), (0.6, -0.4, 0, 0.03))
    part = finish_part(raw, FRAME, 128)
    assert part.dropped_components == 2
    assert part.is_watertight
    is_near = raw.vertices[raw.faces[:, 0], 0] < 0.2
    is_kept = is_near | (np.abs(raw.vertices[raw.faces[:, 0], 1]) < 0.2)
    assert len(part.faces) == is_kept.sum()
    assert len(np.unique(part.faces)) == len(part.vertices)


def test_a_component_of_exactly_half_a_percent_stays() -> None:
    fan = np.array([[0, i, i + 1] for i in range(1, 201)])
    one = np.array([[300, 301, 302]])
    assert drop_small_components(np.concatenate([fan, one]))[1] == 0
    longer = np.concatenate([fan, [[0, 201, 202]], one])
    kept, dropped = drop_small_components(longer)
    assert dropped == 1
    assert np.array_equal(kept, longer[:-1])


@pytest.mark.parametrize("resolution", [128, 256])
def test_the_limit_of_edges_follows_the_resolution(resolution: int) -> None:
    shape = sphere(radius=0.3)
    settings = XPartSettings(octree_resolution=resolution)
    raw = extract_surface(shape.field(WIDE), shape.aabb, settings)
    assert np.array_equal(drop_long_edges(raw.vertices, raw.faces, 8 / resolution), raw.faces)
    assert finish_part(raw, FRAME, resolution).is_watertight
    assert not finish_part(raw, FRAME, 1024).is_watertight, "edges of the coarse grid are too long"


def test_a_long_edge_takes_all_faces_at_its_face_with_it() -> None:
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 5, 0], [1, -1, 0], [2, -1, 0.0]])
    faces = np.array([[0, 1, 2], [1, 3, 2], [0, 4, 1], [4, 5, 0]])
    assert drop_long_edges(vertices, faces, 3.0).tolist() == [[4, 5, 0]]


def test_an_empty_field_is_reported() -> None:
    raw = RawSurface(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64), 129**3)
    part = finish_part(raw, FRAME, 512)
    assert (part.is_watertight, part.reason) == (False, EMPTY)
    assert part.vertices.shape == part.faces.shape == (0, 3)


def test_a_part_cut_by_the_border_says_so() -> None:
    part = finish_part(extracted((0.9, 0.0, 0.0, 0.3)), FRAME, 128)
    assert (part.is_watertight, part.reason) == (False, CUT)


def test_a_hole_elsewhere_is_counted() -> None:
    raw = extracted((0.0, 0.0, 0.0, 0.3))
    part = finish_part(RawSurface(raw.vertices, raw.faces[1:], raw.query_count), FRAME, 128)
    assert not part.is_watertight
    assert "3 of its" in part.reason


def test_progress_rises() -> None:
    seen: list[Progress] = []
    finish_part(extracted((0.0, 0.0, 0.0, 0.3)), FRAME, 128, progress=seen.append)
    fractions = [step.fraction for step in seen]
    assert len(fractions) > 1
    assert fractions == sorted(fractions)
