"""Parts made of bodies that stand in each other share no space."""

import manifold3d as m3
import numpy as np
import pytest

from partwise.geometric.complete import complete_parts
from partwise.geometric.completed import CompletedPart, PartState, closed_part
from partwise.geometric.overlaps import without_overlaps
from partwise.geometric.solids import solid_of
from partwise.geometry.topology import is_watertight, weld
from tests.geometric.shapes import box, capsule


def bodies(*solids: m3.Manifold) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The solids as one mesh of separate bodies, each with its own label."""
    vertices, faces, labels = [], [], []
    start = 0
    for i, solid in enumerate(solids):
        mesh = solid.to_mesh64()
        vertices.append(np.asarray(mesh.vert_properties)[:, :3])
        faces.append(np.asarray(mesh.tri_verts, dtype=np.int64) + start)
        labels.append(np.full(len(faces[-1]), i))
        start += len(vertices[-1])
    points, welded = weld(np.concatenate(vertices), np.concatenate(faces))
    return points, welded, np.concatenate(labels).astype(np.int32)


def shared(parts: tuple[CompletedPart, ...]) -> float:
    solids = [solid_of(part) for part in parts]
    assert all(solid is not None for solid in solids)
    pairs = [(a, b) for i, a in enumerate(solids) for b in solids[i + 1 :]]
    return max(float((a[0] ^ b[0]).volume()) for a, b in pairs)


def axle_in_wheels() -> list[m3.Manifold]:
    axle = capsule((-1, 0, 0), (1, 0, 0), 0.1)
    return [axle, *(box((0.3, 1, 1), (x, 0, 0)) for x in (-0.8, 0.8))]


def test_the_larger_part_gives_way_and_the_sum_is_that_of_the_union():
    solids = axle_in_wheels()
    union = m3.Manifold.batch_boolean(solids, m3.OpType.Add).volume()

    parts = complete_parts(*bodies(*solids)).parts

    assert [part.state for part in parts] == [PartState.CLOSED] * 3
    assert all(is_watertight(part.faces) for part in parts)
    assert shared(parts) < 1e-9
    assert sum(part.volume for part in parts) == pytest.approx(union, rel=1e-6)
    assert parts[0].volume == pytest.approx(solids[0].volume(), rel=1e-6)


def test_what_is_new_in_a_hollow_is_a_cap():
    solids = axle_in_wheels()
    vertices, faces, labels = bodies(*solids)

    wheel = complete_parts(vertices, faces, labels).parts[1]

    own = len(wheel.source_faces)
    assert np.all(labels[wheel.source_faces] == 1)
    assert len(wheel.faces) > own
    middles = wheel.vertices[wheel.faces[own:]].mean(axis=1)
    assert np.all(np.linalg.norm(middles[:, 1:], axis=1) < 0.1001)
    assert wheel.cap_area > 0


def test_the_same_parts_come_whichever_are_asked_for():
    mesh = bodies(*axle_in_wheels())

    alone = complete_parts(*mesh, part_ids=[2]).parts[0]

    together = complete_parts(*mesh).parts[2]
    assert np.array_equal(alone.faces, together.faces)
    assert np.array_equal(alone.vertices, together.vertices)


def test_parts_that_only_touch_stay_as_they_are():
    vertices, faces, labels = bodies(box((1, 1, 1), (0, 0, 0)), box((1, 1, 1), (1, 0, 0)))

    parts = complete_parts(vertices, faces, labels).parts

    assert [len(part.source_faces) for part in parts] == [12, 12]
    assert [part.cap_area for part in parts] == [0.0, 0.0]


def test_a_part_that_lies_wholly_in_another_of_its_size_is_kept():
    vertices, faces, labels = bodies(box((1, 1, 1), (0, 0, 0)), box((1.001, 1, 1), (0, 0, 0)))

    parts = complete_parts(vertices, faces, labels).parts

    assert [part.state for part in parts] == [PartState.CLOSED] * 2
    assert all(part.volume > 0.99 for part in parts)


def closed_body(label: int, solid: m3.Manifold) -> CompletedPart:
    mesh = solid.to_mesh64()
    vertices = np.asarray(mesh.vert_properties)[:, :3]
    faces = np.asarray(mesh.tri_verts, dtype=np.int64)
    return closed_part(label, vertices, faces, np.arange(len(faces)), PartState.CLOSED)


def crumpled_ball() -> m3.Manifold:
    """A ball that crosses itself so often that booleans with it lose or win volume."""
    waves = 1.5 * np.random.default_rng(3).standard_normal((3, 3))
    return m3.Manifold.sphere(1, 16).warp_batch(
        lambda points: points + 0.8 * np.sin(2 * points @ waves) + np.array([1.5, 0, 0])
    )


def test_a_neighbour_that_cannot_be_cut_out_does_not_keep_another_in() -> None:
    solids = [box((4, 4, 4), (0, 0, 0)), crumpled_ball(), box((0.5, 0.5, 6), (1.6, 1.6, 0))]
    parts = [closed_body(i, solid) for i, solid in enumerate(solids)]
    left = (solids[0] - solids[1]).volume() + (solids[0] ^ solids[1]).volume()
    assert abs(left - 64) > 0.1, "the ball can be cut out after all"

    block, ball, rod = without_overlaps(parts)

    assert shared((block, rod)) < 1e-9
    assert is_watertight(block.faces)
    assert block.volume == pytest.approx(64 - 0.5 * 0.5 * 4, rel=1e-6)
    assert (ball.volume, rod.volume) == (parts[1].volume, parts[2].volume)


def test_open_parts_pass_through():
    vertices, faces, labels = bodies(box((1, 1, 1), (0, 0, 0)), box((0.5, 0.5, 3), (0, 0, 0)))
    sheet = np.array([[0.0, 0, 0], [3, 0, 0], [0, 3, 0]])
    faces = np.concatenate([faces, [[len(vertices), len(vertices) + 1, len(vertices) + 2]]])
    labels = np.append(labels, 2)

    parts = complete_parts(np.concatenate([vertices, sheet]), faces, labels).parts

    assert parts[2].state is PartState.OPEN
    assert shared(parts[:2]) < 1e-9
    assert without_overlaps(parts[2:])[0] is parts[2]
