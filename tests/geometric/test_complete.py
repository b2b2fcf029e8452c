"""Laws of completion on solids that are cut in known ways."""

import numpy as np
import pytest
import trimesh
from hypothesis import given
from hypothesis import strategies as st

from partwise.geometric.complete import CompletedPart, PartState, complete_parts
from partwise.geometry import topology
from partwise.geometry.closest import nearest_on_triangles
from partwise.geometry.crossings import crossing_pairs
from tests.tiers import SEEDS, costly

Mesh = tuple[np.ndarray, np.ndarray]


def welded(mesh: trimesh.Trimesh) -> Mesh:
    vertices = np.asarray(mesh.vertices, dtype=np.float64)
    return topology.weld(vertices, np.asarray(mesh.faces, dtype=np.int64))


def fine_box() -> Mesh:
    return welded(trimesh.creation.box((2, 1, 1)).subdivide().subdivide().subdivide())


def sphere(subdivisions: int = 3) -> Mesh:
    return welded(trimesh.creation.icosphere(subdivisions=subdivisions))


def torus() -> Mesh:
    return welded(trimesh.creation.torus(1.0, 0.35, major_sections=36, minor_sections=18))


def tube() -> Mesh:
    mesh = trimesh.creation.annulus(r_min=0.7, r_max=1.0, height=3.0, sections=32)
    return welded(mesh.subdivide().subdivide())


SOLIDS = {"box": fine_box, "sphere": sphere, "torus": torus, "tube": tube}


def cut_across(mesh: Mesh, axis: int, places: list[float]) -> np.ndarray:
    middle = mesh[0][mesh[1]].mean(axis=1)
    return np.digitize(middle[:, axis], places).astype(np.int32)


def wedges(mesh: Mesh, count: int) -> np.ndarray:
    middle = mesh[0][mesh[1]].mean(axis=1)
    turn = np.arctan2(middle[:, 1], middle[:, 0]) / (2 * np.pi) % 1.0
    return np.minimum((turn * count).astype(np.int32), count - 1)


def cap_faces(part: CompletedPart) -> set[tuple[tuple[float, ...], ...]]:
    """Each cap face as its three positions, starting from the smallest, so winding is kept."""
    out = set()
    for corners in part.vertices[part.faces[len(part.source_faces) :]].tolist():
        first = min(range(3), key=lambda i: corners[i])
        out.add(tuple(tuple(corners[(first + i) % 3]) for i in range(3)))
    return out


def turned(faces: set[tuple[tuple[float, ...], ...]]) -> set[tuple[tuple[float, ...], ...]]:
    return {(a, c, b) for a, b, c in faces}


def assert_lawful(
    mesh: Mesh, labels: np.ndarray, parts: tuple[CompletedPart, ...], *, is_whole: bool = True
) -> None:
    """What holds for every part; `is_whole`: of those too whose own faces no boolean has cut."""
    vertices, faces = mesh
    for part in parts:
        own = part.faces[: len(part.source_faces)]
        corners, given = part.vertices[own], vertices[faces[part.source_faces]]
        near = nearest_on_triangles(corners.reshape(-1, 3), np.repeat(given, 3, axis=0))
        assert np.allclose(near, corners.reshape(-1, 3), rtol=0, atol=1e-9 * np.ptp(vertices))
        if is_whole or part.state is PartState.OPEN:
            assert np.all(labels[part.source_faces] == part.part_id)
            assert np.array_equal(sorted_corners(corners), sorted_corners(given))
        if part.state is PartState.OPEN:
            assert part.reason
            continue
        assert part.reason == ""
        assert topology.is_watertight(part.faces)
        assert part.volume > 0
        assert part.volume == pytest.approx(topology.signed_volume(part.vertices, part.faces))
    assert_clean(parts)


def sorted_corners(corners: np.ndarray) -> np.ndarray:
    return np.sort(np.ascontiguousarray(corners).view("f8,f8,f8")[..., 0], axis=1)


def assert_clean(parts: tuple[CompletedPart, ...]) -> None:
    """No part crosses itself or another."""
    closed = [part for part in parts if part.state is not PartState.OPEN]
    for part in closed:
        assert len(crossing_pairs(part.vertices, part.faces)) == 0
    if not closed:
        return
    starts = np.cumsum([0] + [len(part.vertices) for part in closed])
    vertices = np.concatenate([part.vertices for part in closed])
    faces = np.concatenate([p.faces + at for p, at in zip(closed, starts, strict=False)])
    assert len(crossing_pairs(vertices, faces, with_flat=False)) == 0


@pytest.mark.parametrize("shape", SOLIDS)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_solid_cut_into_slices_becomes_closed_parts_that_fill_it(shape: str, axis: int) -> None:
    mesh = SOLIDS[shape]()
    labels = cut_across(mesh, axis, [-0.26, 0.31])
    parts = complete_parts(*mesh, labels).parts
    assert_lawful(mesh, labels, parts)
    assert [part.state for part in parts] == [PartState.CLOSED] * 3
    whole = topology.signed_volume(*mesh)
    assert sum(part.volume for part in parts) == pytest.approx(whole, rel=1e-9)


@pytest.mark.parametrize("shape", SOLIDS)
@pytest.mark.parametrize("count", [3, 5])
def test_parts_that_meet_in_a_point_fit_without_gap_or_overlap(shape: str, count: int) -> None:
    mesh = SOLIDS[shape]()
    labels = wedges(mesh, count)
    parts = complete_parts(*mesh, labels).parts
    assert_lawful(mesh, labels, parts)
    assert all(part.state is PartState.CLOSED for part in parts)
    assert sum(p.volume for p in parts) == pytest.approx(topology.signed_volume(*mesh), rel=1e-9)
    caps = [cap_faces(part) for part in parts]
    for i, cap in enumerate(caps):
        others = set().union(*(other for j, other in enumerate(caps) if j != i))
        assert turned(cap) <= others


def test_two_neighbours_share_one_cap_turned_over() -> None:
    mesh = sphere()
    one, other = complete_parts(*mesh, cut_across(mesh, 2, [0.1])).parts
    assert cap_faces(one)
    assert cap_faces(one) == turned(cap_faces(other))


def test_a_flat_cut_gets_a_flat_cap() -> None:
    mesh = fine_box()
    part = complete_parts(*mesh, cut_across(mesh, 0, [0.0])).parts[0]
    assert np.allclose(part.vertices[part.faces[len(part.source_faces) :]][..., 0], 0.0)
    assert part.cap_area == pytest.approx(1.0)


def test_the_cut_through_a_tube_is_a_ring() -> None:
    mesh = tube()
    labels = cut_across(mesh, 2, [0.0])
    parts = complete_parts(*mesh, labels).parts
    centre = np.hypot(*parts[0].vertices[:, :2].T)
    assert centre.min() > 0.65
    assert parts[0].volume == pytest.approx(parts[1].volume, rel=1e-6)
    assert parts[0].cap_area == pytest.approx(np.pi * (1 - 0.49), rel=0.02)


def test_a_closed_body_gets_nothing_added() -> None:
    mesh = sphere()
    part = complete_parts(*mesh, np.zeros(len(mesh[1]), dtype=np.int32)).parts[0]
    assert len(part.faces) == len(mesh[1])
    assert part.cap_area == 0
    assert np.array_equal(part.vertices, mesh[0])
    assert np.array_equal(part.faces, mesh[1])


def test_a_hollow_solid_keeps_its_cavity() -> None:
    outer, inner = sphere(), sphere(2)
    vertices = np.concatenate([outer[0], 0.5 * inner[0]])
    faces = np.concatenate([outer[1], inner[1][:, ::-1] + len(outer[0])])
    whole = topology.signed_volume(vertices, faces)
    for labels in (np.zeros(len(faces), np.int32), cut_across((vertices, faces), 0, [0.01])):
        parts = complete_parts(vertices, faces, labels).parts
        assert_lawful((vertices, faces), labels, parts)
        assert sum(part.volume for part in parts) == pytest.approx(whole, rel=1e-9)


def test_the_lining_of_a_cup_becomes_part_of_its_wall() -> None:
    mesh = welded(
        trimesh.creation.revolve(
            np.array([[0, 0], [1, 0], [1, 2], [0.8, 2], [0.8, 0.2], [0, 0.2]]), sections=32
        )
        .subdivide()
        .subdivide()
    )
    middle = mesh[0][mesh[1]].mean(axis=1)
    is_lining = (np.hypot(*middle[:, :2].T) < 0.82) & (middle[:, 2] > 0.19)
    labels = is_lining.astype(np.int32)
    parts = complete_parts(*mesh, labels).parts
    assert_lawful(mesh, labels, parts)
    whole = topology.signed_volume(*mesh)
    assert sum(part.volume for part in parts) == pytest.approx(whole, rel=1e-9)
    assert 0.1 * whole < parts[1].volume < 0.8 * whole


def test_a_face_of_a_box_becomes_a_thin_part_within_the_box() -> None:
    mesh = fine_box()
    labels = (mesh[0][mesh[1]].mean(axis=1)[:, 2] > 0.4999).astype(np.int32)
    parts = complete_parts(*mesh, labels).parts
    assert [part.state for part in parts] == [PartState.CLOSED] * 2
    assert sum(part.volume for part in parts) == pytest.approx(2.0)
    assert parts[1].vertices[:, 2].min() > 0


@costly(0.1)
@given(st.sampled_from([2, 6, 25]), SEEDS)
def test_random_cuts_of_a_sphere_end_closed_or_with_a_reason(count: int, seed: int) -> None:
    mesh = sphere(1)
    labels = np.random.default_rng(seed).integers(0, count, len(mesh[1])).astype(np.int32)
    parts = complete_parts(*mesh, labels).parts
    assert [part.part_id for part in parts] == np.unique(labels).tolist()
    assert_lawful(mesh, labels, parts, is_whole=False)


@costly(0.1)
@given(SEEDS)
def test_random_regions_of_a_sphere_all_close_and_fill_it(seed: int) -> None:
    mesh = sphere()
    middle = mesh[0][mesh[1]].mean(axis=1)
    seeds = np.random.default_rng(seed).normal(size=(9, 3))
    labels = np.argmax(middle @ seeds.T, axis=1).astype(np.int32)
    parts = complete_parts(*mesh, labels).parts
    assert_lawful(mesh, labels, parts)
    assert all(part.state is PartState.CLOSED for part in parts)
    assert sum(p.volume for p in parts) == pytest.approx(topology.signed_volume(*mesh), rel=1e-9)


def test_asking_for_some_parts_gives_the_same_parts_in_the_order_asked() -> None:
    mesh = torus()
    labels = wedges(mesh, 4)
    everything = complete_parts(*mesh, labels).parts
    some = complete_parts(*mesh, labels, part_ids=[3, 1]).parts
    assert [part.part_id for part in some] == [3, 1]
    for part in some:
        assert np.array_equal(part.vertices, everything[part.part_id].vertices)
        assert np.array_equal(part.faces, everything[part.part_id].faces)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_units_and_place_do_not_matter(scale: float) -> None:
    vertices, faces = sphere(2)
    labels = cut_across((vertices, faces), 0, [0.2])
    parts = complete_parts(scale * (vertices + np.array([3.0, 4, 5])), faces, labels).parts
    assert [part.state for part in parts] == [PartState.CLOSED] * 2
    whole = scale**3 * topology.signed_volume(vertices, faces)
    assert sum(part.volume for part in parts) == pytest.approx(whole, rel=1e-6)
