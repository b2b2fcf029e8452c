"""Pegs and sockets: closed, apart by the clearance, inside the neighbour, nothing else changed."""

import math
from dataclasses import replace

import manifold3d as m3
import numpy as np
import pytest

from partwise.core.errors import ConfigError
from partwise.geometric import plug
from partwise.geometric.complete import CompletedPart, PartState, complete_parts
from partwise.geometric.contacts import find_contacts
from partwise.geometric.plug import check, with_plugs
from partwise.geometry.crossings import crossing_pairs
from partwise.geometry.topology import Floats, face_areas, is_watertight, signed_volume
from tests.geometric.shapes import Shape, box, chair, dumbbell, figure, fuse


def completed(shape: Shape) -> tuple[CompletedPart, ...]:
    return complete_parts(shape.vertices, shape.faces, shape.truth).parts


def two_boxes(depth: float = 1.0, width: float = 2.0) -> tuple[CompletedPart, ...]:
    """A box on a larger one that is `depth` thick under it; they meet at z = 0."""
    lower = box((width, width, depth), (0, 0, -depth / 2))
    return completed(fuse([lower, box((1, 1, 1), (0, 0, 0.5))], 0.3))


def solid_of(part: CompletedPart) -> m3.Manifold:
    mesh = m3.Mesh64(
        vert_properties=np.array(part.vertices, order="C"),
        tri_verts=np.array(part.faces, dtype=np.uint64, order="C"),
    )
    return m3.Manifold(mesh)


def own_corners(part: CompletedPart) -> Floats:
    return np.asarray(part.vertices[part.faces[: len(part.source_faces)]])


def boxed(low: tuple[float, ...], high: tuple[float, ...]) -> CompletedPart:
    """A box as a part whose faces at z = 0 are its cap."""
    mesh = m3.Manifold.cube(np.subtract(high, low).tolist()).translate(low).to_mesh64()
    vertices, faces = mesh.vert_properties[:, :3], np.asarray(mesh.tri_verts, dtype=np.int64)
    is_cap = np.all(vertices[faces][:, :, 2] == 0.0, axis=1)
    faces = np.concatenate([faces[~is_cap], faces[is_cap]])
    volume, area = signed_volume(vertices, faces), float(face_areas(vertices, faces).sum())
    source = np.arange(int((~is_cap).sum()))
    return CompletedPart(0, vertices, faces, source, PartState.CLOSED, "", volume, area, 0.0)


@pytest.mark.parametrize("shape", [chair(), figure(), dumbbell()])
def test_parts_with_plugs_are_closed_apart_and_keep_the_surface(shape: Shape) -> None:
    plain = completed(shape)

    plugged = with_plugs(plain, 0.08, 0.004)

    assert sum(a is not b for a, b in zip(plain, plugged, strict=True)) >= 3
    for before, after in zip(plain, plugged, strict=True):
        assert is_watertight(after.faces)
        assert len(crossing_pairs(after.vertices, after.faces)) == 0
        np.testing.assert_array_equal(after.source_faces, before.source_faces)
        np.testing.assert_array_equal(own_corners(after), own_corners(before))
        areas = face_areas(after.vertices, after.faces)
        assert after.volume == pytest.approx(signed_volume(after.vertices, after.faces))
        assert after.area == pytest.approx(areas.sum())
        assert after.cap_area == pytest.approx(areas[len(after.source_faces) :].sum())
    solids = [solid_of(part) for part in plugged]
    for i, solid in enumerate(solids):
        assert all((solid ^ other).volume() < 1e-12 for other in solids[:i])


def test_the_peg_reaches_into_the_neighbour_and_the_socket_is_wider_by_the_clearance() -> None:
    body, limb = two_boxes()

    wide, peg = with_plugs([body, limb], 0.3, 0.02)

    inside = solid_of(peg).trim_by_plane((0, 0, -1), 1e-9)
    np.testing.assert_allclose(
        inside.bounding_box(), (-0.35, -0.35, -0.3, 0.35, 0.35, 0.0), atol=1e-3
    )
    assert (inside - solid_of(body)).volume() < 1e-12
    side = 2 * inside.bounding_box()[3]
    hole = (side + 0.04) ** 2 * 0.32
    gap = hole - side**2 * 0.3
    assert body.volume - wide.volume == pytest.approx(hole, rel=1e-6)
    assert peg.volume + wide.volume + gap == pytest.approx(body.volume + limb.volume, rel=1e-6)
    below = inside.trim_by_plane((0, 0, -1), 0.05)
    assert below.min_gap(solid_of(wide), 0.1) == pytest.approx(0.02, rel=1e-6)


def test_without_a_clearance_peg_and_socket_touch_and_volumes_add_up() -> None:
    plain = two_boxes()

    plugged = with_plugs(plain, 0.3, 0.0)

    assert plugged[1].volume > plain[1].volume + 0.1
    assert sum(p.volume for p in plugged) == pytest.approx(sum(p.volume for p in plain))


def test_a_neighbour_that_is_too_thin_keeps_a_plain_cut() -> None:
    plain = two_boxes(depth=0.1, width=4.0)

    assert all(a is b for a, b in zip(plain, with_plugs(plain, 0.3, 0.02), strict=True))


def test_a_peg_is_shorter_where_the_neighbour_is_thinner_and_never_shows_outside() -> None:
    plain = two_boxes(depth=0.4)

    body, limb = with_plugs(plain, 0.3, 0.02)

    low = limb.vertices[:, 2].min()
    assert -0.3 < low < -0.08
    np.testing.assert_array_equal(own_corners(body), own_corners(plain[0]))


def test_the_order_of_the_parts_changes_nothing() -> None:
    plain = completed(figure())

    forward = with_plugs(plain, 0.08, 0.004)
    backward = with_plugs(plain[::-1], 0.08, 0.004)[::-1]

    for one, other in zip(forward, backward, strict=True):
        assert one.part_id == other.part_id
        assert one.volume == pytest.approx(other.volume, rel=1e-12)
        assert len(one.faces) == len(other.faces)


def test_caps_that_coincide_but_are_divided_otherwise_get_a_peg() -> None:
    limb, body = boxed((0, 0, 0), (1, 1, 1)), boxed((-1, -1, -2), (2, 2, 0))

    contacts = find_contacts([body, limb])
    wide, peg = with_plugs([body, limb], 0.4, 0.05)

    assert [(c.limb, c.body, len(c.faces)) for c in contacts] == [(1, 0, 2)]
    assert peg.volume > limb.volume
    assert wide.volume < body.volume


def test_a_cap_like_a_ring_gets_a_peg_like_a_ring() -> None:
    tube = m3.Manifold.cylinder(4.0, 1.0, 1.0, 48) - m3.Manifold.cylinder(4.0, 0.5, 0.5, 48)
    upper = tube.trim_by_plane((0, 0, 1), 2.5)
    lower = tube.trim_by_plane((0, 0, -1), -2.5)
    shape = fuse([upper, lower], 0.25)
    plain = completed(shape)

    plugged = with_plugs(plain, 0.2, 0.01)

    grown = [b.volume - a.volume for a, b in zip(plain, plugged, strict=True)]
    ring = np.pi * (0.925**2 - 0.575**2) * 0.2
    assert max(grown) == pytest.approx(ring, rel=0.05)
    assert solid_of(plugged[0]).genus() == solid_of(plugged[1]).genus() == 1


def test_a_cap_too_small_for_the_clearance_stays_plain() -> None:
    plain = two_boxes()

    plugged = with_plugs(plain, 0.9, 0.3)

    assert all(a is b for a, b in zip(plain, plugged, strict=True))


def test_parts_whose_plugs_come_out_broken_stay_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = completed(chair())
    broken = next(p for p in with_plugs(plain, 0.08, 0.004) if p.part_id == 2)
    monkeypatch.setattr(plug, "is_watertight", lambda faces: len(faces) != len(broken.faces))

    plugged = with_plugs(plain, 0.08, 0.004)

    # All four legs are alike, so none gets a peg, and so the seat gets no socket for them.
    assert all(plugged[i] is plain[i] for i in (2, 3, 4, 5))


def test_open_parts_and_a_plug_of_zero_change_nothing() -> None:
    plain = two_boxes()
    opened = [replace(part, state=PartState.OPEN) for part in plain]

    assert with_plugs(plain, 0.0, 0.1) == tuple(plain)
    assert with_plugs(opened, 0.3, 0.02) == tuple(opened)
    assert with_plugs([], 0.3, 0.02) == ()


@pytest.mark.parametrize(
    ("length", "clearance"),
    [(-0.1, 0.0), (0.1, -0.01), (math.nan, 0.0), (0.1, math.inf), (0.1, 0.1), (0.1, 0.2)],
)
def test_lengths_that_make_no_peg_are_refused(length: float, clearance: float) -> None:
    with pytest.raises(ConfigError, match=r"plug|clearance"):
        check(length, clearance)
    with pytest.raises(ConfigError):
        with_plugs([], length, clearance)
