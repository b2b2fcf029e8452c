"""What becomes of regions: dropped, promoted, placed, merged."""

from dataclasses import replace

import numpy as np
import pytest

from partwise.geometry.sampling import triangle_areas
from partwise.geometry.topology import two_sided_pairs
from partwise.p3sam.regions import (
    Surface,
    drop_small_regions,
    find_regions,
    merge_small_parts,
    place_unlabelled,
)
from partwise.p3sam.settings import P3SamSettings
from tests.p3sam.synthetic import strip

SETTINGS = P3SamSettings()


def surface(*strips: list[float]) -> Surface:
    """Chains of triangles with the given areas, apart from each other."""
    vertices, faces, count = [], [], 0
    for i, areas in enumerate(strips):
        corners, corner_faces = strip([2 * area for area in areas])
        vertices.append(corners + np.array([0, 5 * i, 0]))
        faces.append(corner_faces + count)
        count += len(corners)
    joined = np.concatenate(vertices), np.concatenate(faces)
    return Surface(*joined, triangle_areas(*joined), two_sided_pairs(joined[1]))


def test_regions_are_connected_faces_of_one_label_by_their_first_face():
    found = find_regions(surface([1, 1, 1, 1], [1]), np.array([4, -1, -1, 4, 4]))

    assert found.face_region.tolist() == [0, 1, 1, 2, 3]
    assert found.labels.tolist() == [4, -1, 4, 4]
    assert found.areas == pytest.approx([1, 2, 1, 1])
    assert found.pairs.tolist() == [[0, 1], [1, 0], [1, 2], [2, 1]]


@pytest.mark.parametrize(("area", "kept"), [(0.0009, -1), (0.0012, 7)])
def test_a_region_with_a_thousandth_of_its_component_or_less_loses_its_label(
    area: float, kept: int
):
    labels = drop_small_regions(surface([1, area], [1000]), np.array([5, 7, 6]), SETTINGS)

    assert labels.tolist() == [5, kept, 6]


def test_the_share_is_of_the_component_and_not_of_the_whole():
    labels = drop_small_regions(surface([0.0005], [1000]), np.array([5, 6]), SETTINGS)

    assert labels.tolist() == [5, 6]


@pytest.mark.parametrize(("area", "kept"), [(9e-11, -1), (2e-10, 5)])
def test_a_component_counts_as_a_little_larger_than_it_is(area: float, kept: int):
    # Alone in its component: its share is area / (area + 1e-7), 0.0009 and 0.002.
    labels = drop_small_regions(surface([area], [1]), np.array([5, 6]), SETTINGS)

    assert labels.tolist() == [kept, 6]


def test_unlabelled_regions_count_as_regions():
    labels = drop_small_regions(surface([1, 0.0005, 1]), np.array([-2, -2, -1]), SETTINGS)

    assert labels.tolist() == [-2, -2, -1]


@pytest.mark.parametrize(("area", "label"), [(0.0009, 3), (0.0012, 4)])
def test_an_unlabelled_region_of_more_than_a_thousandth_becomes_a_part(area: float, label: int):
    labels = place_unlabelled(surface([1, area]), np.array([3, -1]), SETTINGS)

    assert labels.tolist() == [3, label]


def test_new_parts_are_numbered_after_the_largest_label_in_order_of_regions():
    labels = place_unlabelled(surface([1, 1, 1], [1]), np.array([-2, 8, -1, -1]), SETTINGS)

    assert labels.tolist() == [9, 8, 10, 11]


def test_new_parts_start_at_zero_when_nothing_is_labelled():
    mixed = place_unlabelled(surface([1, 1], [1]), np.array([-2, -1, -2]), SETTINGS)
    unsampled = place_unlabelled(surface([1], [1]), np.array([-2, -2]), SETTINGS)

    assert mixed.tolist() == [0, 1, 2]
    assert unsampled.tolist() == [0, 1]


def test_a_tiny_region_stays_unlabelled_when_nothing_is_labelled():
    settings = replace(SETTINGS, promoted_region=1.0)

    labels = place_unlabelled(surface([1, 1]), np.array([-1, -2]), settings)

    assert labels.tolist() == [-1, -2]


def test_a_region_beside_a_new_part_may_join_it():
    labels = place_unlabelled(surface([0.0005, 1], [1]), np.array([-2, -1, 3]), SETTINGS)

    assert labels.tolist() == [4, 4, 3]


def test_an_island_joins_a_part_that_it_does_not_touch():
    labels = place_unlabelled(surface([1], [0.0005], [1]), np.array([3, -2, -2]), SETTINGS)

    assert labels[0] == 3
    assert labels[2] == 4
    assert labels[1] in (3, 4)


@pytest.mark.parametrize(("area", "label"), [(0.9, 0), (1.1, 1)])
def test_a_part_of_less_than_a_hundredth_joins_its_neighbour(area: float, label: int):
    labels = merge_small_parts(surface([94, area], [6 - area]), np.array([0, 1, 2]), SETTINGS)

    assert labels.tolist() == [0, label, 2]


@pytest.mark.parametrize(("threshold", "label"), [(0.95, 0), (0.999, 1)])
def test_small_parts_are_merged_only_beyond_the_cumulative_area(threshold: float, label: int):
    settings = replace(SETTINGS, merge_threshold=threshold)

    labels = merge_small_parts(surface([94, 0.5], [5.3], [0.2]), np.arange(4), settings)

    assert labels.tolist() == [0, label, 2, 3]


def test_a_small_part_joins_the_largest_of_its_neighbours():
    settings = replace(SETTINGS, merge_threshold=0.996)

    labels = merge_small_parts(surface([30, 0.5, 69.5]), np.array([0, 1, 2]), settings)

    assert labels.tolist() == [0, 2, 2]


def test_a_small_part_joins_no_neighbour_beyond_the_cumulative_area():
    labels = merge_small_parts(surface([94], [5.5, 0.5]), np.array([0, 1, 2]), SETTINGS)
    alone = merge_small_parts(surface([96, 0.5], [3.5]), np.array([0, 1, 2]), SETTINGS)

    assert labels.tolist() == [0, 1, 2]
    assert alone.tolist() == [0, 1, 2]  # the first alone is beyond it


def test_pieces_of_one_label_are_merged_one_by_one():
    labels = merge_small_parts(surface([94, 0.5], [5.5]), np.array([0, 1, 1]), SETTINGS)

    assert labels.tolist() == [0, 0, 1]
