"""What the network is given, and that a worker process without torch can make it."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh

from partwise.core.errors import MeshError
from partwise.core.progress import Progress
from partwise.core.worker import WorkerLimits, WorkerPool
from partwise.geometry.sampling import triangle_normals
from partwise.p3sam.prepare import PreparedMesh, prepare_mesh
from partwise.p3sam.prompts import farthest_points
from partwise.p3sam.settings import P3SamSettings

SETTINGS = P3SamSettings(point_num=2000, prompt_num=25)
LIMITS = WorkerLimits(timeout_s=60, memory_bytes=2 << 30)


def torus() -> tuple[np.ndarray, np.ndarray]:
    mesh = trimesh.creation.torus(1.0, 0.3).apply_translation([5, -3, 2])
    return np.array(mesh.vertices), np.array(mesh.faces)


@pytest.fixture(scope="module")
def mesh() -> PreparedMesh:
    return prepare_mesh(*torus(), settings=SETTINGS)


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    pool = WorkerPool(spare=0)
    yield pool
    pool.close()


def test_points_are_the_samples_in_the_network_frame(mesh: PreparedMesh):
    assert np.array_equal(mesh.frame.to_network(mesh.samples.points), mesh.points)
    assert mesh.points.min(axis=0)[2] == 0
    assert np.ptp(mesh.points, axis=0).max() == pytest.approx(2)


def test_normals_are_those_of_the_faces_sampled(mesh: PreparedMesh):
    normals = triangle_normals(mesh.mesh.vertices, mesh.mesh.faces)

    assert np.array_equal(mesh.normals, normals[mesh.samples.face_idx])


def test_point_and_prompt_counts_are_honoured(mesh: PreparedMesh):
    assert len(mesh.points) == len(mesh.voxels.inverse) == 2000
    assert np.array_equal(mesh.prompts, farthest_points(mesh.points, 25))


def test_voxels_and_prompts_can_be_given_for_parity(mesh: PreparedMesh):
    _, first = np.unique(mesh.voxels.inverse[::-1], return_index=True)
    last = len(mesh.points) - 1 - first

    given = prepare_mesh(*torus(), settings=SETTINGS, picked=last, first_prompt=17)

    assert np.array_equal(given.voxels.picked, last)
    assert np.array_equal(given.prompts, farthest_points(mesh.points, 25, start=17))


def test_the_same_seed_gives_the_same_and_another_another(mesh: PreparedMesh):
    again = prepare_mesh(*torus(), settings=SETTINGS)
    other = prepare_mesh(*torus(), settings=replace(SETTINGS, seed=1))

    assert np.array_equal(again.voxels.features, mesh.voxels.features)
    assert np.array_equal(again.prompts, mesh.prompts)
    assert not np.array_equal(other.points, mesh.points)


def test_cleaning_can_be_left_out():
    vertices, faces = torus()
    twice = np.concatenate([faces, faces[:3]])

    clean = prepare_mesh(vertices, twice, settings=SETTINGS)
    given = prepare_mesh(vertices, twice, settings=replace(SETTINGS, is_clean=False))

    assert len(clean.mesh.faces) == len(faces)
    assert len(given.mesh.faces) == len(twice)


@pytest.mark.parametrize("exponent", [-40, 36])
def test_meshes_of_extreme_size_look_the_same_to_the_network(exponent: int):
    vertices, faces = torus()
    vertices = vertices - vertices.mean(axis=0)
    unit = prepare_mesh(vertices * 2.0**-11, faces, settings=SETTINGS)

    extreme = prepare_mesh(vertices * 2.0**exponent, faces, settings=SETTINGS)

    assert np.abs(extreme.points - unit.points).max() < 1e-6
    place = vertices[0] * 2.0**exponent
    back = extreme.frame.to_mesh(extreme.frame.to_network(place))
    assert np.abs(back - place).max() <= 1e-12 * np.abs(place).max()


def test_a_mesh_without_faces_is_refused():
    with pytest.raises(MeshError, match="no faces to segment"):
        prepare_mesh(np.eye(3), np.empty((0, 3), dtype=np.int64), settings=SETTINGS)


def test_a_mesh_without_area_is_refused_also_when_it_is_not_cleaned():
    with pytest.raises(MeshError, match="total area of 0"):
        prepare_mesh(np.eye(3), np.array([[0, 1, 1]]), settings=replace(SETTINGS, is_clean=False))


def test_a_worker_returns_the_same_arrays(pool: WorkerPool, mesh: PreparedMesh):
    steps: list[Progress] = []

    sent = pool.run(
        "partwise.p3sam.prepare:prepare_mesh",
        *torus(),
        settings=SETTINGS,
        limits=LIMITS,
        progress=steps.append,
    )

    assert isinstance(sent, PreparedMesh)
    assert np.array_equal(sent.voxels.features, mesh.voxels.features)
    assert np.array_equal(sent.mesh.faces, mesh.mesh.faces)
    assert sent.frame.to_network(np.ones(3)).tolist() == mesh.frame.to_network(np.ones(3)).tolist()
    assert [step.fraction for step in steps] == [0, 0.6, 0.8, 1]


def test_a_worker_labels_faces(pool: WorkerPool, mesh: PreparedMesh):
    masks = np.stack([mesh.points[:, 0] > 0] * 3 + [mesh.points[:, 0] <= 0] * 3)
    ious = np.linspace(1, 0.5, 6, dtype=np.float32)

    found = pool.run(
        "partwise.p3sam.faces:label_faces", mesh, masks, ious, settings=SETTINGS, limits=LIMITS
    )

    assert found.part_ids.tolist() == [0, 3]
    assert len(found.source_labels) == len(torus()[1])


def test_preparing_and_labelling_need_no_torch():
    code = (
        "import sys, partwise.p3sam.prepare, partwise.p3sam.faces; "
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
