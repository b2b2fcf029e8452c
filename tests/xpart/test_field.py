"""The sparse grid and both searches: how many places they ask for, and that they miss nothing."""

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.xpart_fields import (
    COARSEST,
    NARROW,
    WIDE,
    Shape,
    balls,
    plate,
    shapes,
    sphere,
    two_balls,
)
from partwise.core.errors import WeightsError
from partwise.xpart import field as field_module
from partwise.xpart.band import evaluate_all, evaluate_band
from partwise.xpart.extract import surface_of_grid
from partwise.xpart.field import (
    Grid,
    coordinates,
    dilate,
    either_end,
    points_between,
    resolutions,
)
from partwise.xpart.follow import follow_surface
from tests.tiers import slow_but
from tests.xpart.analytic import all_points_of_box, counted, unwatched
from tests.xpart.support import golden

HALF_BOX = np.array([[-0.5] * 3, [0.5] * 3], dtype=np.float32)
CUBE = 129**3


def vertices_of(grid: Grid) -> NDArray[np.float64]:
    return surface_of_grid(grid)[0]


@pytest.mark.parametrize(
    ("finest", "levels"),
    [(1024, [128, 256, 512, 1024]), (512, [128, 256, 512]), (256, [128, 256]), (128, [128])],
)
def test_resolutions_halve_down_to_the_coarsest_of_at_least_95(
    finest: int, levels: list[int]
) -> None:
    assert resolutions(finest) == levels


def test_coordinates_are_the_published_ones() -> None:
    arrays = golden("mc_small")
    points = points_between(np.zeros(3, np.int64), np.full(3, 24))
    places = coordinates(points, 24)
    assert np.array_equal(places[:4], arrays["grid_first_points"])
    assert np.array_equal(places[:25, 2], arrays["grid_axis"])


def test_a_point_has_bit_equal_coordinates_on_every_level() -> None:
    points = np.random.default_rng(0).integers(0, 129, (500, 3))
    assert np.array_equal(coordinates(points, 128), coordinates(8 * points, 1024))


@pytest.mark.parametrize("side", [4, 16, 32])
def test_what_is_asked_is_what_is_wanted_once(side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(field_module, "BRICK", side)
    monkeypatch.setattr(field_module, "BATCH_POINTS", 100)
    points = np.random.default_rng(1).integers(-3, 44, (900, 3))
    grid, asked = Grid(40), []

    def field(places: NDArray[np.float32]) -> NDArray[np.float32]:
        asked.append(places)
        return places.sum(axis=1)

    grid.want(points)
    grid.want(points[::2])
    grid.evaluate(field)

    valid = np.unique(points[((points >= 0) & (points <= 40)).all(axis=1)], axis=0)
    found = np.concatenate(asked)
    assert len(asked) > 1
    assert np.array_equal(np.unique(found, axis=0), np.unique(coordinates(valid, 40), axis=0))
    assert len(found) == len(valid)
    wanted = coordinates(valid, 40).sum(axis=1).astype(np.float16)
    assert np.array_equal(grid.values_at(valid), wanted)
    assert len(grid.evaluate(field)) == 0, "nothing more is wanted"


@pytest.mark.parametrize("side", [4, 16])
def test_padded_bricks_and_blocks_are_parts_of_the_whole(
    side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(field_module, "BRICK", side)
    grid = evaluate_all(lambda places: places @ np.float32([1, 0.1, 0.01]), 40)
    axis = np.arange(-side, 41 + 2 * side)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    inside = ((points >= 0) & (points <= 40)).all(axis=-1)
    whole = np.full(points.shape[:3], np.nan, dtype=np.float16)
    whole[inside] = grid.values_at(points[inside])
    for brick, found in zip(grid.bricks, grid.padded(grid.bricks, 1, 2), strict=True):
        part = tuple(
            slice(s * (b + 1) - 1, s * (b + 2) + 2) for s, b in zip([side] * 3, brick, strict=True)
        )
        assert np.array_equal(found, whole[part], equal_nan=True)
    block = grid.block(np.array([1, 0, 1]), 2)
    part = tuple(slice(side * (one + 1), side * (one + 3) + 1) for one in (1, 0, 1))
    assert np.array_equal(block, whole[part], equal_nan=True)


def test_a_finer_brick_takes_over_the_coarser_values() -> None:
    coarser = evaluate_all(lambda places: places.sum(axis=1), 24)
    finer = Grid(48, coarser)
    finer.make(np.array([[0, 1, 2]]))
    points = points_between(np.array([0, 16, 32]), np.array([15, 31, 47]))
    is_even = (points % 2 == 0).all(axis=1)
    values = finer.values_at(points)
    assert np.array_equal(values[is_even], coarser.values_at(points[is_even] // 2))
    assert np.isnan(values[~is_even]).all()


def test_dilation_and_cube_corners_agree_with_their_definition() -> None:
    mask = np.random.default_rng(2).random((2, 6, 6, 6)) < 0.05
    for index in np.ndindex(2, 4, 4, 4):
        here = (index[0], *(slice(one, one + 3) for one in index[1:]))
        assert dilate(mask)[index] == mask[here].any()
    for index in np.ndindex(2, 5, 5, 5):
        here = (index[0], *(slice(one, one + 2) for one in index[1:]))
        assert either_end(mask)[index] == mask[here].any()


@pytest.mark.parametrize("slope", slow_but([NARROW], [WIDE, NARROW]))
@pytest.mark.parametrize("shape", [sphere(radius=0.3), *shapes()[1:]], ids=lambda shape: shape.name)
def test_following_finds_what_all_points_show(shape: Shape, slope: float) -> None:
    asked = counted(shape.field(slope))
    found = vertices_of(follow_surface(asked, shape.aabb, 256, unwatched))
    assert len(found)
    assert np.array_equal(found, vertices_of(all_points_of_box(shape, slope, 256)))
    assert asked.query_count < 320_000  # the published rule: 2.2 to 4.8 million


@pytest.mark.slow
@pytest.mark.parametrize("shape", [plate(0.8, offset=0.5), two_balls()], ids=lambda one: one.name)
def test_following_finds_what_the_published_band_finds(shape: Shape) -> None:
    found = vertices_of(follow_surface(shape.field(NARROW), shape.aabb, 256, unwatched))
    wanted = vertices_of(evaluate_band(shape.field(NARROW), 256, unwatched))
    assert np.array_equal(found, wanted)


def test_the_size_of_bricks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = plate(0.8, offset=0.5)
    found = []
    for side in (8, 32):
        monkeypatch.setattr(field_module, "BRICK", side)
        ours, published = counted(shape.field(WIDE)), counted(shape.field(WIDE))
        near = evaluate_band(published, 190, unwatched)
        grids = [follow_surface(ours, shape.aabb, 256, unwatched), near]
        found.append([ours.query_count, published.query_count, *map(vertices_of, grids)])
    for other in found[1:]:
        assert found[0][:2] == other[:2]
        assert all(np.array_equal(*pair) for pair in zip(found[0][2:], other[2:], strict=True))


def test_a_part_that_leaves_its_box_is_followed() -> None:
    shape = sphere((0.1, 0.0, 0.0), 0.4)
    box = np.array([[-0.1, -0.2, -0.2], [0.2, 0.1, 0.2]], dtype=np.float32)
    asked = counted(shape.field(NARROW))
    found = vertices_of(follow_surface(asked, box, 256, unwatched))
    whole = vertices_of(follow_surface(shape.field(NARROW), shape.aabb, 256, unwatched))
    assert np.array_equal(found, whole)
    assert asked.query_count < CUBE / 2


@pytest.mark.parametrize("radius", [0.056, 0.2])
def test_a_separate_ball_outside_the_box_is_found(radius: float) -> None:
    centers = np.array([[-0.6, -0.6, -0.6], [0.631, 0.571, 0.601]])
    both = balls("two", centers, np.array([0.1, radius]))
    box = balls("one", centers[:1], np.array([0.1])).aabb
    asked = counted(both.field(NARROW))
    found = vertices_of(follow_surface(asked, box, 256, unwatched))
    whole = vertices_of(follow_surface(both.field(NARROW), both.aabb, 256, unwatched))
    assert np.array_equal(found, whole)
    assert asked.query_count < 150_000


def test_an_empty_box_makes_the_whole_cube_searched() -> None:
    small = sphere((0.631, 0.571, 0.601), 1.2 * COARSEST)
    asked = counted(small.field(NARROW))
    box = sphere((-0.6, -0.6, -0.6), 0.1).aabb
    found = vertices_of(follow_surface(asked, box, 256, unwatched))
    whole = vertices_of(all_points_of_box(small, NARROW, 256))
    assert len(found)
    assert np.array_equal(found, whole)
    assert CUBE < asked.query_count < CUBE + 10_000


@pytest.mark.parametrize("value", [-1.0, 1.0])
def test_a_field_of_one_sign_has_no_surface_and_ends_after_the_whole_cube(value: float) -> None:
    asked = counted(lambda places: np.full(len(places), value, dtype=np.float32))
    grid = follow_surface(asked, HALF_BOX, 256, unwatched)
    assert asked.query_count == CUBE
    assert len(vertices_of(grid)) == 0


def test_values_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(WeightsError, match="not a number at 4 of 8 places"):
        evaluate_all(lambda places: np.where(places[:, 0] > 0, np.nan, 0).astype(np.float32), 1)


def test_values_beyond_float16_stay_finite() -> None:
    grid = evaluate_all(lambda places: (places[:, 0] * 1e30).astype(np.float32), 4)
    assert np.isfinite(grid.values_at(points_between(np.zeros(3, int), np.full(3, 4)))).all()
    assert len(vertices_of(grid))


def test_a_field_that_gives_too_few_values_is_refused() -> None:
    with pytest.raises(ValueError, match="gave \\(7,\\) values for 8 places"):
        evaluate_all(lambda places: np.zeros(len(places) - 1, np.float32), 1)


def test_a_box_beyond_the_cube_is_clipped() -> None:
    box = np.array([[-3.0] * 3, [1.01] * 3], dtype=np.float32)
    asked = counted(sphere().field(NARROW))
    follow_surface(asked, box, 128, unwatched)
    assert asked.query_count == CUBE
