"""From a field to a raw surface: marching cubes by blocks, closed, equal to the published one."""

import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes

from benchmarks.xpart_fields import WIDE, noise, plate, sphere, two_balls
from partwise.core.errors import Cancelled
from partwise.core.progress import CancelToken, Progress
from partwise.geometry.topology import is_watertight, signed_volume
from partwise.xpart import extract as extract_module
from partwise.xpart.band import evaluate_all
from partwise.xpart.extract import extract_surface, surface_of_grid
from partwise.xpart.field import HALF_WIDTH, LEVEL, Grid, points_between
from partwise.xpart.follow import follow_surface
from partwise.xpart.settings import BAND, SURFACE, XPartSettings
from tests.tiers import SEEDS, costly
from tests.xpart.analytic import all_points_of_box, unwatched
from tests.xpart.support import golden

PREVIEW = XPartSettings(octree_resolution=128)
UNIT_BOX = np.array([[-0.5] * 3, [0.5] * 3], dtype=np.float32)


def grid_of(values: NDArray[np.float32]) -> Grid:
    """A grid that holds (R + 1)^3 values."""
    resolution = len(values) - 1
    return evaluate_all(lambda places: values.reshape(-1)[_order(places, resolution)], resolution)


def _order(places: NDArray[np.float32], resolution: int) -> NDArray[np.int64]:
    points = np.rint((places + HALF_WIDTH) * resolution / (2 * HALF_WIDTH)).astype(np.int64)
    return (points[:, 0] * (resolution + 1) + points[:, 1]) * (resolution + 1) + points[:, 2]


def sorted_faces(faces: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each face from its smallest vertex on, the faces in order."""
    first = faces.argmin(axis=1)[:, None]
    turned = np.take_along_axis(faces, (first + np.arange(3)) % 3, axis=1)
    return turned[np.lexsort(turned.T[::-1])]


def test_a_small_grid_gives_the_published_surface() -> None:
    arrays = golden("mc_small")
    vertices, faces = surface_of_grid(grid_of(arrays["grid"]))
    distance, place = cKDTree(arrays["vertices"]).query(vertices)
    assert len(vertices) == len(arrays["vertices"])
    assert len(np.unique(place)) == len(vertices)
    # The golden field is float32; ours is kept as float16.
    assert distance.max() < 2e-4
    assert np.array_equal(
        sorted_faces(place[faces]), sorted_faces(arrays["faces_output"].astype(np.int64))
    )


def test_progress_never_falls_when_the_whole_cube_has_to_be_searched() -> None:
    heard: list[Progress] = []
    settings = XPartSettings(octree_resolution=256)
    extract_surface(
        lambda places: np.full(len(places), -1, np.float32),
        UNIT_BOX,
        settings,
        progress=heard.append,
    )
    fractions = [step.fraction for step in heard]
    assert len(set(fractions)) > 2
    assert fractions == sorted(fractions)


@pytest.mark.parametrize("decoding", [SURFACE, BAND])
def test_a_sphere_at_256_gives_the_published_surface(decoding: str) -> None:
    arrays = golden("mc_hier256")
    shape = sphere(tuple(arrays["center"]), float(arrays["radius"]))
    settings = XPartSettings(octree_resolution=256, decoding=decoding)
    surface = extract_surface(shape.field(float(arrays["slope"])), shape.aabb, settings)
    vertices, faces = surface.vertices, surface.faces
    assert (len(vertices), len(faces)) == (arrays["num_vertices"], arrays["num_faces"])
    assert np.abs([vertices.min(axis=0), vertices.max(axis=0)] - arrays["bounds"]).max() < 1e-6
    assert abs(signed_volume(vertices, faces) - arrays["volume"]) < 1e-7
    in_order = vertices[np.lexsort(vertices.T[::-1])][:: int(arrays["sorted_vertex_step"])]
    assert np.abs(in_order - arrays["sorted_vertex_sample"]).max() < 1e-5
    assert is_watertight(faces)
    assert (
        surface.query_count < 1_000_000 if decoding == SURFACE else surface.query_count == 7_191_234
    )


@pytest.mark.parametrize("points", [16, 48])
def test_the_size_of_blocks_changes_nothing(points: int, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = follow_surface(two_balls().field(WIDE), two_balls().aabb, 128, unwatched)
    vertices, faces = surface_of_grid(grid)
    monkeypatch.setattr(extract_module, "_BLOCK_POINTS", points)
    other_vertices, other_faces = surface_of_grid(grid)
    # Vertices inside a cube are rounded to float32 of a place in the block.
    assert np.abs(vertices - other_vertices).max() < 1e-7
    assert np.array_equal(sorted_faces(faces), sorted_faces(other_faces))


@costly(0.1)
@given(SEEDS)
def test_random_values_give_a_surface_closed_but_at_the_border(seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(41,) * 3).astype(np.float32)
    values[[0, -1]] = values[:, [0, -1]] = values[:, :, [0, -1]] = -1
    values[values > 1] = LEVEL  # many points exactly on the surface
    vertices, faces = surface_of_grid(grid_of(values))
    assert is_watertight(faces)
    assert len(np.unique(vertices, axis=0)) == len(vertices)


def test_random_values_give_the_vertices_of_marching_cubes_on_the_whole() -> None:
    values = np.random.default_rng(7).normal(size=(41,) * 3).astype(np.float16).astype(np.float32)
    vertices, faces = surface_of_grid(grid_of(values))
    wanted, wanted_faces, _, _ = marching_cubes(values, LEVEL)
    distance = cKDTree(vertices).query(wanted / 40 * 2 * HALF_WIDTH - HALF_WIDTH)[0]
    # Vertices are kept 2^-13 of a cell from the ends of their edges; those inside a cube whose
    # corners are nearly on the surface differ by some thousandths of a cell.
    assert np.mean(distance < 1e-5) > 0.9999
    assert distance.max() < 0.005 * 2 * HALF_WIDTH / 40
    assert len(vertices) == len(wanted)
    assert len(faces) == len(wanted_faces)


def test_a_rough_field_followed_is_as_closed_as_all_its_points() -> None:
    shape = noise(0.01)
    found = extract_surface(shape.field(WIDE), shape.aabb, PREVIEW)
    vertices, faces = surface_of_grid(all_points_of_box(shape, WIDE, 128))
    assert is_watertight(found.faces)
    assert np.array_equal(found.vertices, vertices)
    assert np.array_equal(sorted_faces(found.faces), sorted_faces(faces))
    assert found.query_count < 129**3 / 4


def test_faces_look_outward() -> None:
    shape = sphere(radius=0.3)
    surface = extract_surface(shape.field(WIDE), shape.aabb, PREVIEW)
    assert signed_volume(surface.vertices, surface.faces) == pytest.approx(0.1131, rel=0.02)


def test_a_surface_that_meets_the_border_is_open_there_alone() -> None:
    shape = sphere((0.9, 0.0, 0.0), 0.3)
    surface = extract_surface(shape.field(WIDE), shape.aabb, PREVIEW)
    sides = np.sort(surface.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    edges, counts = np.unique(sides, axis=0, return_counts=True)
    assert set(counts) == {1, 2}
    assert (surface.vertices[edges[counts == 1], 0] == HALF_WIDTH).all()


def test_unknown_points_end_the_surface_without_inventing_any() -> None:
    grid = Grid(32)
    grid.want(points_between(np.zeros(3, np.int64), np.array([16, 32, 32])))
    grid.evaluate(sphere((0.0, 0.0, 0.0), 0.5).field(WIDE))
    vertices, faces = surface_of_grid(grid)
    assert len(faces)
    assert vertices[:, 0].max() <= 0
    assert np.isfinite(vertices).all()
    assert len(np.unique(faces)) == len(vertices)


@pytest.mark.parametrize(("decoding", "value"), [(SURFACE, 1.0), (BAND, -1.0)])
def test_a_field_of_one_sign_has_no_faces(decoding: str, value: float) -> None:
    settings = XPartSettings(octree_resolution=256, decoding=decoding)
    surface = extract_surface(
        lambda places: np.full(len(places), value, np.float32), UNIT_BOX, settings
    )
    assert surface.vertices.shape == surface.faces.shape == (0, 3)
    assert surface.query_count == 129**3


@pytest.mark.parametrize("calls", [1, 3])
def test_a_cancel_ends_the_search_before_the_next_question(calls: int) -> None:
    token, shape, asked = CancelToken(), plate(1.5), []

    def field(places: NDArray[np.float32]) -> NDArray[np.float32]:
        asked.append(len(places))
        if len(asked) == calls:
            token.cancel()
        return shape.field(WIDE)(places)

    settings = XPartSettings(octree_resolution=256)
    with pytest.raises(Cancelled):
        extract_surface(field, shape.aabb, settings, cancel=token)
    assert len(asked) == calls


def test_a_cancel_ends_the_extraction_between_blocks() -> None:
    token, seen = CancelToken(), []

    def progress(step: Progress) -> None:
        seen.append(step)
        if step.stage == "Extracting the surface":
            token.cancel()

    with pytest.raises(Cancelled):
        extract_surface(
            sphere().field(WIDE), sphere().aabb, PREVIEW, progress=progress, cancel=token
        )
    assert [step.stage for step in seen].count("Extracting the surface") == 1


def test_progress_rises_to_the_end() -> None:
    seen: list[Progress] = []
    shape = sphere(radius=0.3)
    extract_surface(
        shape.field(WIDE), shape.aabb, XPartSettings(octree_resolution=256), progress=seen.append
    )
    fractions = [step.fraction for step in seen]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0
    assert 0.9 < fractions[-1] <= 1
