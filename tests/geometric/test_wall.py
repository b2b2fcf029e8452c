"""Walls for sheets: closed, as thick as asked, the input's faces in place, solids left alone."""

import math

import manifold3d as m3
import numpy as np
import pytest
from numpy.typing import NDArray

from partwise.core.errors import ConfigError
from partwise.geometric.complete import PartState, complete_parts
from partwise.geometric.wall import Thickened, thickened
from partwise.geometry.crossings import crossing_pairs
from partwise.geometry.topology import (
    Floats,
    Ints,
    face_areas,
    is_watertight,
    signed_volume,
    weld,
)
from tests.geometric.shapes import block


def grid(rows: int = 8, columns: int = 12) -> tuple[Floats, Ints]:
    """The unit square, divided; normals along +z."""
    x, y = np.meshgrid(np.linspace(0, 1, columns + 1), np.linspace(0, 1, rows + 1))
    at = np.arange(x.size).reshape(x.shape)
    a, b, c, d = at[:-1, :-1], at[:-1, 1:], at[1:, 1:], at[1:, :-1]
    faces = np.concatenate([np.stack(t, axis=-1).reshape(-1, 3) for t in ((a, b, c), (a, c, d))])
    return np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1), faces


def labels_for(faces: Ints) -> NDArray[np.int64]:
    return np.arange(len(faces), dtype=np.int64) % 3


def bent(vertices: Floats, turn: float) -> Floats:
    """A sheet rolled around the y axis by `turn` radians over its width."""
    angle = vertices[:, 0] * turn
    return np.stack([np.sin(angle) / turn, vertices[:, 1], (1 - np.cos(angle)) / turn], axis=1)


def assert_lawful(vertices: Floats, faces: Ints, result: Thickened) -> None:
    """Input faces first, in place, in order; new ones labelled; every index in range."""
    out, out_faces, labels, source = result
    old = source[source >= 0]
    assert len(out_faces) == len(labels) == len(source)
    assert np.all(source[len(old) :] == -1)
    assert np.all(np.diff(old) > 0)
    np.testing.assert_array_equal(labels[: len(old)], labels_for(faces)[old])
    np.testing.assert_array_equal(
        np.sort(out[out_faces[: len(old)]], axis=1), np.sort(vertices[faces[old]], axis=1)
    )
    np.testing.assert_array_equal(out[: len(vertices)], vertices)


@pytest.mark.parametrize("turn", [1e-9, 0.5, 2.0])
def test_a_sheet_becomes_a_closed_solid_as_thick_as_asked(turn: float) -> None:
    vertices, faces = grid()
    vertices = bent(vertices, turn)

    out, solid, labels, source = result = thickened(vertices, faces, labels_for(faces), 0.02)

    assert_lawful(vertices, faces, result)
    assert len(source[source >= 0]) == len(faces)
    assert is_watertight(solid)
    area = float(face_areas(vertices, faces).sum())
    assert signed_volume(out, solid) == pytest.approx(0.02 * area, rel=0.03)
    np.testing.assert_array_equal(labels[len(faces) : 2 * len(faces)], labels_for(faces))


def test_the_input_is_one_side_and_the_wall_lies_behind_it() -> None:
    vertices, faces = grid()

    out = thickened(vertices, faces, labels_for(faces), 0.1)[0]

    assert out[:, 2].max() == 0.0
    assert out[:, 2].min() == pytest.approx(-0.1)


def test_completion_closes_what_was_an_open_sheet() -> None:
    vertices, faces = grid()
    plain = complete_parts(vertices, faces, np.zeros(len(faces), dtype=np.int64)).parts[0]

    out, solid, _, _ = thickened(vertices, faces, labels_for(faces), 0.02)
    made = complete_parts(out, solid, np.zeros(len(solid), dtype=np.int64)).parts[0]

    assert plain.state is PartState.OPEN
    assert made.state is PartState.CLOSED
    assert made.volume == pytest.approx(0.02)


def test_the_wall_scales_with_the_mesh() -> None:
    vertices, faces = grid()
    vertices = bent(vertices, 1.0)
    base = thickened(vertices, faces, labels_for(faces), 0.05)

    for scale in (1e-6, 1e6):
        out, solid, _, _ = thickened(vertices * scale, faces, labels_for(faces), 0.05 * scale)

        np.testing.assert_array_equal(solid, base[1])
        np.testing.assert_allclose(out / scale, base[0], atol=1e-5)


def test_solids_and_shells_that_a_cap_would_close_stay_as_they_are() -> None:
    shape = block()
    is_top = np.all(shape.vertices[shape.faces][:, :, 2] == 0.3, axis=1)
    ball = m3.Manifold.sphere(1.0, 32).to_mesh64()
    vertices, faces = weld(
        np.array(ball.vert_properties)[:, :3], np.array(ball.tri_verts, dtype=np.int64)
    )
    bowl = faces[vertices[faces].mean(axis=1)[:, 2] < 0.3]
    closed = [(shape.vertices, shape.faces), (shape.vertices, shape.faces[~is_top])]

    for points, kept in [*closed, (vertices, bowl)]:
        out, same, labels, source = thickened(points, kept, labels_for(kept), 0.1)

        assert out is points
        assert same is kept
        np.testing.assert_array_equal(labels, labels_for(kept))
        np.testing.assert_array_equal(source, np.arange(len(kept)))


def test_a_solid_beside_a_sheet_is_not_touched() -> None:
    shape, (sheet, faces) = block(), grid()
    vertices = np.concatenate([shape.vertices, sheet + 2.0])
    both = np.concatenate([faces + len(shape.vertices), shape.faces])

    result = thickened(vertices, both, labels_for(both), 0.05)

    assert_lawful(vertices, both, result)
    np.testing.assert_array_equal(result[1][len(faces) : len(both)], shape.faces)
    assert is_watertight(result[1])


def test_a_flag_held_at_an_edge_of_a_solid_is_closed_by_itself() -> None:
    shape, (sheet, faces) = block(), grid(4, 4)
    flag = sheet * [1, 0.2, 1] + [0.5, 0.0, 0.0]
    vertices, both = weld(
        np.concatenate([shape.vertices, flag]),
        np.concatenate([shape.faces, faces + len(shape.vertices)]),
    )

    result = thickened(vertices, both, labels_for(both), 0.02)

    assert_lawful(vertices, both, result)
    assert is_watertight(result[1])


def test_a_sheet_drawn_on_both_sides_becomes_one_solid() -> None:
    vertices, faces = grid()
    both = np.concatenate([faces, faces[:, ::-1]])
    labels = np.zeros(len(both), dtype=np.int64)

    out, solid, _, source = thickened(vertices, both, labels, 0.02)

    np.testing.assert_array_equal(source[source >= 0], np.arange(len(faces)))
    assert is_watertight(solid)
    assert signed_volume(out, solid) == pytest.approx(0.02)


def test_three_sheets_at_one_edge_and_mixed_windings_are_closed() -> None:
    vertices, faces = grid(4, 4)
    wings = [vertices, vertices[:, [0, 2, 1]], vertices * [1, -1, 1]]
    points, joined = weld(
        np.concatenate(wings),
        np.concatenate([faces, faces[:, ::-1] + len(vertices), faces + 2 * len(vertices)]),
    )
    joined[::2] = joined[::2, ::-1]

    result = thickened(points, joined, labels_for(joined), 0.02)

    assert_lawful(points, joined, result)
    assert is_watertight(result[1])


def test_a_moebius_strip_is_closed() -> None:
    vertices, faces = grid(4, 40)
    angle, across = 2 * np.pi * vertices[:, 0], vertices[:, 1] - 0.5
    radius = 1 + across * np.cos(angle / 2)
    strip = np.stack(
        [radius * np.cos(angle), radius * np.sin(angle), across * np.sin(angle / 2)], axis=1
    )
    points, faces = weld(np.round(strip, 9), faces)

    result = thickened(points, faces, labels_for(faces), 0.02)

    assert_lawful(points, faces, result)
    assert is_watertight(result[1])


def test_a_cloth_folded_closer_than_the_wall_does_not_cross_itself() -> None:
    vertices, faces = grid(8, 16)
    fold = np.abs(vertices[:, 0] - 0.5)
    side = np.sign(vertices[:, 0] - 0.5)
    for outward in (faces, faces[:, ::-1]):
        cloth = np.stack([fold, vertices[:, 1], 0.05 * side * fold], axis=1)

        out, solid, _, _ = thickened(cloth, outward, labels_for(faces), 0.1)

        assert is_watertight(solid)
        assert len(crossing_pairs(out, solid)) == 0
        assert signed_volume(out, solid) > 0


def test_a_tight_curl_keeps_all_faces_of_the_new_side_upright() -> None:
    vertices, faces = grid(4, 24)
    curl = bent(vertices, 2.5)  # bends around a radius of 0.4, to the front or to the back

    for outward in (faces, faces[:, ::-1]):
        out, solid, _, _ = thickened(curl, outward, labels_for(faces), 0.5)
        new = solid[len(faces) : 2 * len(faces)][:, ::-1]
        old = solid[: len(faces)]

        across = [
            np.cross(out[f][:, 1] - out[f][:, 0], out[f][:, 2] - out[f][:, 0]) for f in (old, new)
        ]
        assert is_watertight(solid)
        assert np.all(np.einsum("ij,ij->i", *across) > 0)


def test_broken_faces_and_corners_do_no_harm() -> None:
    vertices, faces = grid()
    vertices = np.concatenate([vertices, [[np.nan, 0, 0]]])
    broken = np.array([[0, 0, 1], [0, 1, len(vertices) - 1], faces[0]])
    faces = np.concatenate([faces, broken])

    out, solid, _, source = thickened(vertices, faces, labels_for(faces), 0.02)

    assert np.all(np.isfinite(out[len(vertices) :]))
    assert len(faces) - 3 not in source
    assert source.max() == len(faces) - 2
    made = complete_parts(out, solid, np.zeros(len(solid), dtype=np.int64)).parts[0]
    assert made.state is PartState.CLOSED


def test_nothing_changes_without_a_wall_or_without_faces() -> None:
    vertices, faces = grid()

    assert thickened(vertices, faces, labels_for(faces), 0.0)[1] is faces
    assert len(thickened(vertices, faces[:0], labels_for(faces[:0]), 0.1)[1]) == 0


@pytest.mark.parametrize("wall", [-0.1, math.nan, math.inf])
def test_a_wall_that_is_no_length_is_refused(wall: float) -> None:
    vertices, faces = grid()

    with pytest.raises(ConfigError, match="wall"):
        thickened(vertices, faces, labels_for(faces), wall)
