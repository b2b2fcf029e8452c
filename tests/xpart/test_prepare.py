"""What X-Part is given of a mesh and boxes, and that a worker process without torch can make it."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import trimesh

from partwise.core.errors import MeshError
from partwise.core.progress import Progress
from partwise.core.worker import WorkerLimits, WorkerPool
from partwise.geometry.voxels import CELL_SIZE
from partwise.xpart.parts import PreparedParts
from partwise.xpart.prepare import prepare_parts

DATA = Path(__file__).parents[1] / "data" / "xpart"
LIMITS = WorkerLimits(timeout_s=60, memory_bytes=2 << 30)
POINTS = 512
HALVES = np.array([[[-2.0, -2, -2], [0, 2, 2]], [[0, -2, -2], [2, 2, 2]]])
BESIDE = np.array([[[5.0, 5, 5], [6, 6, 6]]])
Mesh = tuple[np.ndarray, np.ndarray]


def torus() -> Mesh:
    """A torus whose places are whole multiples of 1/4096, so that moving it rounds nothing."""
    mesh = trimesh.creation.torus(1.0, 0.25)
    return np.round(np.array(mesh.vertices) * 4096) / 4096, np.array(mesh.faces)


@pytest.fixture(scope="module")
def parts() -> PreparedParts:
    return prepare_parts(*torus(), HALVES, point_count=POINTS)


def arrays_of(parts: PreparedParts) -> list[np.ndarray]:
    voxels = parts.voxels
    return [
        parts.kept,
        parts.aabbs,
        parts.object_surface,
        parts.part_surfaces,
        voxels.grid,
        voxels.inverse,
        voxels.features,
    ]


def are_equal(one: PreparedParts, other: PreparedParts) -> bool:
    pairs = zip(arrays_of(one), arrays_of(other), strict=True)
    return one.dropped == other.dropped and all(np.array_equal(a, b) for a, b in pairs)


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    pool = WorkerPool(spare=0)
    yield pool
    pool.close()


def test_the_golden_mesh_and_boxes_give_the_golden_arrays_and_the_third_box_is_dropped():
    with np.load(DATA / "surface.npz") as golden:
        made = prepare_parts(
            golden["vertices"],
            golden["faces"].astype(np.int64),
            golden["aabb_in"].astype(np.float64),
        )

        assert made.kept.tolist() == np.nonzero(golden["valid"])[0].tolist()
        assert made.dropped == (2,)
        assert np.array_equal(made.aabbs, golden["aabb_norm"][:2])
        rows = golden["rows"]
        assert np.array_equal(made.object_surface[rows], golden["obj_surface_rows"])
        expected = golden["part_surface_rows"].astype(np.float32)
        assert np.array_equal(made.part_surfaces[:, rows], expected)


def test_shapes_and_types_are_as_the_networks_take_them(parts: PreparedParts):
    assert parts.part_surfaces.shape == (2, POINTS, 7)
    assert parts.object_surface.shape == (POINTS, 7)
    assert parts.part_surfaces.dtype == parts.object_surface.dtype == np.float32
    assert parts.aabbs.dtype == np.float32
    assert parts.kept.dtype == np.int64


def test_voxels_are_of_the_object_on_the_floor_and_of_its_own_size(parts: PreparedParts):
    places = parts.object_surface[:, :3]
    shown = parts.voxels.features

    assert len(parts.voxels.inverse) == POINTS
    assert np.abs(np.ptp(shown[:, :3], axis=0) - np.ptp(places, axis=0)).max() < 1.01 * CELL_SIZE
    assert shown[:, 2].min() < CELL_SIZE
    assert shown[:, 2].min() >= 0
    picked = parts.object_surface[parts.voxels.picked]
    assert np.array_equal(shown[:, 6:], picked[:, 3:6])
    assert np.abs(np.ptp(shown[:, :3] - picked[:, :3], axis=0)).max() < 1e-6


def test_the_same_seed_gives_the_same_and_another_another(parts: PreparedParts):
    again = prepare_parts(*torus(), HALVES, point_count=POINTS)
    other = prepare_parts(*torus(), HALVES, point_count=POINTS, seed=1)

    assert are_equal(again, parts)
    assert not np.array_equal(other.object_surface, parts.object_surface)
    assert not np.array_equal(other.part_surfaces, parts.part_surfaces)


def test_a_part_does_not_depend_on_the_other_parts_or_their_order(parts: PreparedParts):
    given = np.concatenate([BESIDE, HALVES[1:], HALVES[1:], BESIDE, HALVES[:1]])

    found = prepare_parts(*torus(), given, point_count=POINTS)

    assert found.kept.tolist() == [1, 2, 4]
    assert found.dropped == (0, 3)
    for mine, alone in ((0, 1), (1, 1), (2, 0)):
        assert np.array_equal(found.part_surfaces[mine], parts.part_surfaces[alone])
        assert np.array_equal(found.aabbs[mine], parts.aabbs[alone])
    assert np.array_equal(found.object_surface, parts.object_surface)


@pytest.mark.parametrize("exponent", [-300, -40, -1, 10, 90, 300])
def test_a_mesh_scaled_by_a_power_of_two_looks_the_same(exponent: int, parts: PreparedParts):
    vertices, faces = torus()

    scaled = prepare_parts(
        vertices * 2.0**exponent, faces, HALVES * 2.0**exponent, point_count=POINTS
    )

    assert are_equal(scaled, parts)
    assert scaled.frame.scale == parts.frame.scale * 2.0**exponent


@pytest.mark.parametrize("exponent", [-3, 4, 20, 35])
def test_a_mesh_moved_by_a_power_of_two_looks_the_same(exponent: int, parts: PreparedParts):
    vertices, faces = torus()
    shift = 2.0**exponent * np.array([1, -1, 1])

    moved = prepare_parts(vertices + shift, faces, HALVES + shift, point_count=POINTS)

    assert are_equal(moved, parts)


def test_vertices_that_no_face_uses_change_nothing(parts: PreparedParts):
    vertices, faces = torus()

    found = prepare_parts(
        np.concatenate([vertices, [[1e6, 5, 5]]]), faces, HALVES, point_count=POINTS
    )

    assert are_equal(found, parts)


def test_one_face_is_enough():
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    box = np.array([[[-1.0, -1, -1], [0.5, 0.5, 1]]])

    found = prepare_parts(vertices, np.array([[0, 1, 2]]), box, point_count=POINTS)

    for points in (found.object_surface, found.part_surfaces[0]):
        assert np.abs(points[:, 3:] - [0, 0, 1, 0]).max() == 0
        assert not points[:, 2].any()


def test_when_no_box_holds_a_part_both_places_are_named():
    with pytest.raises(MeshError, match=r"any of the 1 boxes.*\(1.25, 1.25, 0.25\)") as caught:
        prepare_parts(*torus(), BESIDE, point_count=POINTS)

    assert "from (5, 5, 5) to (6, 6, 6)" in caught.value.message


def test_what_cannot_be_sampled_or_told_apart_is_refused():
    vertices, faces = torus()

    with pytest.raises(MeshError, match="no faces"):
        prepare_parts(vertices, faces[:0], HALVES)
    with pytest.raises(MeshError, match="next to no area"):
        prepare_parts(vertices, np.array([[0, 1, 1]]), HALVES)
    with pytest.raises(MeshError, match="box 1 reaches"):
        prepare_parts(vertices, faces, HALVES[:, ::-1])
    with pytest.raises(MeshError, match="at most 50"):
        prepare_parts(vertices, faces, np.tile(HALVES, (26, 1, 1)))


def test_a_worker_returns_the_same_arrays_and_reports_each_part(
    pool: WorkerPool, parts: PreparedParts
):
    steps: list[Progress] = []

    sent = pool.run(
        "partwise.xpart.prepare:prepare_parts",
        *torus(),
        HALVES,
        point_count=POINTS,
        limits=LIMITS,
        progress=steps.append,
    )

    assert isinstance(sent, PreparedParts)
    assert are_equal(sent, parts)
    assert sent.frame.scale == parts.frame.scale
    fractions = [step.fraction for step in steps]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0
    assert fractions[-1] == 1
    assert [step.detail for step in steps if step.detail] == ["1 of 2", "2 of 2"]
    assert list(sent.stage_seconds) == list(dict.fromkeys(s.stage for s in steps[:-1]))


def test_preparing_needs_no_torch():
    code = (
        "import sys, partwise.xpart.prepare, partwise.geometry.aabb_file; "
        "print([name for name in ('torch', 'trimesh', 'networkx') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
