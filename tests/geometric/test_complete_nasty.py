"""Completion of input that is broken in every way we know: always an answer, never an exception."""

import numpy as np
import pytest
import trimesh
from hypothesis import given

from partwise.core.progress import Progress
from partwise.geometric.cap import harmonic
from partwise.geometric.complete import (
    Completion,
    CompletionSettings,
    PartState,
    complete_parts,
)
from partwise.geometric.divide import divide_by_cells
from partwise.geometric.inside import Inside
from partwise.geometric.voxel import voxel_surface
from partwise.geometry import topology
from partwise.geometry.closest import nearest_on_triangles
from partwise.geometry.crossings import crossing_pairs
from tests.tiers import SEEDS, costly


def ball() -> tuple[np.ndarray, np.ndarray]:
    mesh = trimesh.creation.icosphere(subdivisions=2)
    return np.array(mesh.vertices, dtype=np.float64), np.array(mesh.faces, dtype=np.int64)


def grid(bend: float) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.meshgrid(np.linspace(0, 1, 9), np.linspace(0, 1, 9), indexing="ij")
    z = bend * np.sin(np.pi * x) * np.sin(np.pi * y)
    at = np.arange(81).reshape(9, 9)
    a, b, c, d = (part.ravel() for part in (at[:-1, :-1], at[1:, :-1], at[1:, 1:], at[:-1, 1:]))
    faces = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])
    return np.stack([x, y, z], axis=-1).reshape(-1, 3), faces


def one_part(vertices: np.ndarray, faces: np.ndarray) -> Completion:
    return complete_parts(vertices, faces, np.zeros(len(faces), dtype=np.int32))


def halves(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    return (vertices[faces].mean(axis=1)[:, 0] > 0.05).astype(np.int32)


def test_a_point_where_a_group_of_faces_has_its_centre_is_judged_like_any_other() -> None:
    inside = Inside(*ball())
    of_several = inside._stops - inside._starts > 1  # one face's centre lies on the surface
    assert of_several.sum() > 10
    assert inside.contains(inside._centres[of_several]).all()


def test_a_cap_whose_faces_have_no_area_still_has_its_middle_in_the_middle() -> None:
    rim = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    faces = np.array([[i, (i + 1) % 4, 4] for i in range(4)])
    values = np.concatenate([rim, [[9.0, 9, 9]]])
    found = harmonic(np.zeros((5, 3)), faces, values, fixed=4)
    assert np.allclose(found, [*rim, [0.5, 0.5, 0]])


def test_a_flat_sheet_stays_open_with_its_reason_and_its_faces() -> None:
    vertices, faces = grid(0.0)
    part = one_part(vertices, faces).parts[0]
    assert part.state is PartState.OPEN
    assert "sheet" in part.reason
    assert len(part.faces) == len(faces)
    assert part.area == pytest.approx(1.0)
    assert (part.volume, part.cap_area) == (0.0, 0.0)


def test_a_bulging_sheet_is_closed_over_its_rim() -> None:
    vertices, faces = grid(0.4)
    part = one_part(vertices, faces).parts[0]
    assert part.state is PartState.CLOSED
    assert topology.is_watertight(part.faces)
    assert part.volume > 0.1


def test_a_waving_flag_stays_open_because_its_cap_would_cut_through_it() -> None:
    vertices, faces = grid(0.0)
    vertices[:, 2] = 0.2 * np.sin(2 * np.pi * vertices[:, 0]) + 0.03 * vertices[:, 0]
    part = one_part(vertices, faces).parts[0]
    assert part.state is PartState.OPEN
    assert part.reason


def test_a_flat_sheet_drawn_on_both_sides_stays_open() -> None:
    vertices, faces = grid(0.0)
    part = one_part(vertices, np.concatenate([faces, faces[:, ::-1]])).parts[0]
    assert part.state is PartState.OPEN


def test_holes_of_the_input_are_closed() -> None:
    vertices, faces = ball()
    holed = np.delete(faces, [3, 50, 51, 200], axis=0)
    for labels in (np.zeros(len(holed), dtype=np.int32), halves(vertices, holed)):
        parts = complete_parts(vertices, holed, labels).parts
        assert all(part.state is PartState.CLOSED for part in parts)
        whole = topology.signed_volume(vertices, faces)
        assert sum(part.volume for part in parts) == pytest.approx(whole, rel=0.05)


def test_faces_that_look_the_wrong_way_are_turned() -> None:
    vertices, faces = ball()
    mixed = faces.copy()
    mixed[::3] = mixed[::3, ::-1]
    whole = topology.signed_volume(vertices, faces)
    for turned in (mixed, faces[:, ::-1]):
        parts = complete_parts(vertices, turned, halves(vertices, turned)).parts
        assert all(topology.is_watertight(part.faces) for part in parts)
        assert sum(part.volume for part in parts) == pytest.approx(whole, rel=1e-9)


def test_useless_faces_are_left_out_and_the_map_says_so() -> None:
    vertices, faces = ball()
    vertices = np.concatenate([vertices, [[np.nan, 0, 0]]])
    useless = [[0, 0, 1], [5, 5, 5], faces[7], [0, 1, len(vertices) - 1]]
    part = one_part(vertices, np.concatenate([faces, useless])).parts[0]
    assert part.state is PartState.CLOSED
    assert np.array_equal(part.source_faces, np.arange(len(faces)))


def test_bodies_that_touch_in_a_point_an_edge_or_a_face_stay_apart() -> None:
    box = trimesh.creation.box()
    for offset in ([1, 1, 1], [1, 1, 0], [1, 0, 0]):
        vertices = np.concatenate([box.vertices, box.vertices + offset])
        faces = np.concatenate([box.faces, box.faces + 8]).astype(np.int64)
        vertices, faces = topology.weld(np.asarray(vertices, dtype=np.float64), faces)
        for labels in (np.repeat([0, 1], 12), np.zeros(24, dtype=np.int64)):
            parts = complete_parts(vertices, faces, labels).parts
            assert all(topology.is_watertight(part.faces) for part in parts)
            assert sum(part.volume for part in parts) == pytest.approx(2.0)
            assert sum(part.cap_area for part in parts) == 0


def test_a_wall_inside_a_body_does_not_stop_its_neighbours() -> None:
    vertices, faces = ball()
    middle = len(vertices)
    wall = [[int(faces[0, 0]), int(faces[0, 1]), middle]]
    vertices = np.concatenate([vertices, [[0.0, 0, 0]]])
    faces = np.concatenate([faces, wall])
    labels = halves(vertices, faces)
    for part in complete_parts(vertices, faces, labels).parts:
        assert part.state is PartState.OPEN or topology.is_watertight(part.faces)


def test_a_moebius_strip_gets_an_answer() -> None:
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    side = np.array([-0.3, 0.3])[:, None]
    radius = 1 + side * np.cos(turn / 2)
    vertices = np.stack(
        [radius * np.cos(turn), radius * np.sin(turn), side * np.sin(turn / 2)], axis=-1
    ).reshape(-1, 3)
    low, high = np.arange(24), np.arange(24, 48)
    next_low, next_high = np.append(low[1:], 24), np.append(high[1:], 0)
    faces = np.concatenate(
        [np.stack([low, next_low, next_high], axis=1), np.stack([low, next_high, high], axis=1)]
    )
    part = one_part(vertices, faces).parts[0]
    assert part.state is PartState.OPEN or topology.is_watertight(part.faces)


def test_a_part_of_several_pieces_and_a_single_triangle_close() -> None:
    vertices, faces = ball()
    middle = vertices[faces].mean(axis=1)
    labels = (np.abs(middle[:, 2]) > 0.6).astype(np.int32)
    labels[np.argmin(np.abs(middle[:, 2]))] = 1
    parts = complete_parts(vertices, faces, labels).parts
    assert all(part.state is PartState.CLOSED for part in parts)
    whole = topology.signed_volume(vertices, faces)
    assert sum(part.volume for part in parts) == pytest.approx(whole, rel=1e-9)


def test_faces_without_a_part_are_left_out_but_still_shape_their_neighbours() -> None:
    vertices, faces = ball()
    labels = halves(vertices, faces) - 1
    parts = complete_parts(vertices, faces, labels).parts
    assert [part.part_id for part in parts] == [0]
    assert parts[0].state is PartState.CLOSED


def test_a_part_without_faces_is_reported_and_not_dropped() -> None:
    vertices, faces = ball()
    labels = np.zeros(len(faces), dtype=np.int32)
    parts = complete_parts(vertices, faces, labels, part_ids=[0, 9]).parts
    assert [part.part_id for part in parts] == [0, 9]
    assert parts[1].state is PartState.OPEN
    assert "no face" in parts[1].reason


def test_nothing_at_all_gives_no_parts() -> None:
    empty = np.zeros((0, 3), dtype=np.int64)
    assert complete_parts(np.zeros((0, 3)), empty, np.zeros(0, dtype=np.int32)).parts == ()


@costly(0.12)
@given(SEEDS)
def test_random_triangles_get_an_answer(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vertices = rng.normal(size=(12, 3)).round(1)
    faces = rng.integers(0, 12, size=(60, 3))
    labels = rng.integers(-1, 4, size=60).astype(np.int32)
    vertices, faces = topology.weld(vertices, faces)
    for part in complete_parts(vertices, faces, labels).parts:
        assert part.state is PartState.OPEN or topology.is_watertight(part.faces)


def test_a_surface_that_crosses_itself_is_remade_on_a_grid_near_the_old_one() -> None:
    vertices, faces = ball()
    holed = faces[np.abs(vertices[faces].mean(axis=1)[:, 2]) < 0.5]
    bent = vertices.copy()
    bent[:, 0] += 1.5 * np.sign(vertices[:, 2]) * (np.abs(vertices[:, 2]) > 0.4) * vertices[:, 0]
    for part in one_part(bent, holed).parts:
        assert part.state is PartState.OPEN or topology.is_watertight(part.faces)
    points, made = voxel_surface(*crossed_tube())
    assert topology.is_watertight(made)
    assert len(crossing_pairs(points, made)) == 0
    whole = one_part(*crossed_tube()).parts[0].volume
    assert topology.signed_volume(points, made) == pytest.approx(whole, rel=0.05)


def crossed_tube() -> tuple[np.ndarray, np.ndarray]:
    """Two balls that reach into each other, as one list of faces."""
    vertices, faces = ball()
    both = np.concatenate([vertices, vertices + np.array([0.9, 0.0, 0.0])])
    return both / 3.0, np.concatenate([faces, faces + len(vertices)])


def test_bodies_of_a_part_that_reach_into_each_other_become_one() -> None:
    vertices, faces = crossed_tube()
    part = one_part(vertices, faces).parts[0]
    assert part.state is PartState.CLOSED
    assert topology.is_watertight(part.faces)
    assert len(crossing_pairs(part.vertices, part.faces)) == 0
    assert part.volume < 0.95 * topology.signed_volume(vertices, faces)


def test_cells_divide_a_solid_without_gap_or_overlap_along_its_own_faces() -> None:
    vertices, faces = ball()
    labels = halves(vertices, faces)
    surfaces = {3: faces[labels == 1], 7: faces[labels == 0]}
    pieces = divide_by_cells(vertices, surfaces)
    assert pieces is not None
    volumes = {k: topology.signed_volume(p.points, p.faces) for k, p in pieces.items()}
    assert sum(volumes.values()) == pytest.approx(topology.signed_volume(vertices, faces))
    assert min(volumes.values()) > 1.5
    given = np.concatenate(list(surfaces.values()))
    for piece in pieces.values():
        assert topology.is_watertight(piece.faces)
        assert len(crossing_pairs(piece.points, piece.faces)) == 0
        own = piece.source >= 0
        corners = vertices[given[piece.source[own]]]
        for i in range(3):
            at = piece.points[piece.faces[own, i]]
            assert np.allclose(nearest_on_triangles(at, corners), at, atol=1e-9)


def test_a_surface_that_is_open_is_not_divided_by_cells() -> None:
    vertices, faces = ball()
    assert divide_by_cells(vertices, {0: faces[:100], 1: faces[100:-1]}) is None


def test_a_wall_closes_a_sheet_and_a_plug_joins_neighbours() -> None:
    vertices, faces = grid(0.0)
    labels = np.zeros(len(faces), dtype=np.int32)
    thick = complete_parts(vertices, faces, labels, settings=CompletionSettings(wall=0.05))
    assert thick.parts[0].state is PartState.CLOSED
    assert thick.parts[0].volume == pytest.approx(0.05, rel=0.05)
    assert thick.parts[0].thickness == pytest.approx(0.05, rel=0.1)
    vertices, faces = ball()
    settings = CompletionSettings(plug=0.2, clearance=0.02)
    plain = complete_parts(vertices, faces, halves(vertices, faces)).parts
    fitting = complete_parts(vertices, faces, halves(vertices, faces), settings=settings).parts
    changes = [b.volume - a.volume for a, b in zip(plain, fitting, strict=True)]
    assert min(changes) < 0 < max(changes)
    some = complete_parts(
        vertices, faces, halves(vertices, faces), part_ids=[1], settings=settings
    ).parts
    assert np.array_equal(some[0].vertices, fitting[1].vertices)


def test_progress_rises_from_zero_to_one() -> None:
    vertices, faces = ball()
    seen: list[Progress] = []
    complete_parts(vertices, faces, halves(vertices, faces), progress=seen.append)
    fractions = [step.fraction for step in seen]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0.0, 1.0)


def test_a_jagged_border_of_a_thousand_points_closes_in_good_time() -> None:
    mesh = trimesh.creation.icosphere(subdivisions=4)
    vertices, faces = np.array(mesh.vertices), np.array(mesh.faces, dtype=np.int64)
    middle = vertices[faces].mean(axis=1)
    turn = np.arctan2(middle[:, 1], middle[:, 0])
    labels = (middle[:, 2] > 0.5 * np.sin(20 * turn)).astype(np.int32)
    done = complete_parts(vertices, faces, labels)
    assert all(part.state is PartState.CLOSED for part in done.parts)
    whole = topology.signed_volume(vertices, faces)
    assert sum(part.volume for part in done.parts) == pytest.approx(whole, rel=1e-9)
