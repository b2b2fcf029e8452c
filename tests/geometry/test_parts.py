from pathlib import Path

import numpy as np
import pytest

from partwise.geometry.parts import (
    default_part_names,
    exploded_offsets,
    part_colour,
    split_by_label,
)


def contrast_with(colour: tuple[int, int, int], other: float) -> float:
    channels = np.array(colour) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    light = float(linear @ [0.2126, 0.7152, 0.0722])
    return (max(light, other) + 0.05) / (min(light, other) + 0.05)


def test_splitting_keeps_every_labelled_face_once_with_its_positions() -> None:
    rng = np.random.default_rng(1)
    vertices, faces = rng.normal(size=(30, 3)), rng.integers(0, 30, size=(40, 3))
    labels = rng.integers(-1, 3, size=40)
    parts = split_by_label(vertices, faces, labels)
    seen = np.concatenate([part.source_faces for part in parts])
    assert sorted(seen.tolist()) == np.nonzero(labels >= 0)[0].tolist()
    for part in parts:
        assert np.all(labels[part.source_faces] == part.part_id)
        assert np.array_equal(part.vertices[part.faces], vertices[faces[part.source_faces]])


def test_a_mesh_without_labels_splits_into_nothing() -> None:
    assert split_by_label(np.zeros((3, 3)), np.array([[0, 1, 2]]), np.array([-1])) == []


def test_the_first_forty_colours_all_differ_clearly() -> None:
    colours = np.array([part_colour(i) for i in range(40)], dtype=float)
    apart = np.linalg.norm(colours[:, None] - colours[None], axis=2)
    assert apart[~np.eye(40, dtype=bool)].min() > 8


def test_colours_are_neither_near_white_nor_near_black() -> None:
    for i in range(500):
        assert contrast_with(part_colour(i), 1.0) > 1.25
        assert contrast_with(part_colour(i), 0.0) > 2.0


def test_neighbouring_colours_differ_in_lightness_for_the_colour_blind() -> None:
    for i in range(100):
        one, other = part_colour(i), part_colour(i + 1)
        assert abs(contrast_with(one, 0.0) - contrast_with(other, 0.0)) > 0.3


def test_a_part_of_one_node_has_its_name_and_others_a_number() -> None:
    labels = np.repeat([0, 1, 2], 20)
    nodes = np.repeat([0, 1, 0, 1], [20, 20, 10, 10])
    assert default_part_names(labels, nodes, ("seat", "leg")) == ("seat", "leg", "Part 3")


def test_names_are_distinct_even_when_nodes_are_called_alike() -> None:
    labels = np.repeat([0, 1, 2, 3], 4)
    names = default_part_names(labels, labels, ("leg", "leg", "leg 2", "Part 1"))
    assert len(set(names)) == 4
    assert names[0] == "leg"
    assert names[2] == "leg 2"


def test_an_unnamed_node_gives_no_name() -> None:
    labels = np.array([0, 0, 1, 1])
    assert default_part_names(labels, labels, ("", " ")) == ("Part 1", "Part 2")


def test_one_node_for_the_whole_object_names_no_part() -> None:
    labels = np.array([0, 1])
    assert default_part_names(labels, np.zeros(2, dtype=int), ("Mesh",)) == ("Part 1", "Part 2")


def random_boxes(count: int) -> np.ndarray:
    corners = np.random.default_rng(count).normal(size=(count, 2, 3))
    return np.sort(corners, axis=1)


def test_parts_stay_in_place_at_zero_and_move_in_proportion_to_the_amount() -> None:
    boxes = random_boxes(7)
    assert not exploded_offsets(boxes, 0.0).any()
    assert exploded_offsets(boxes, 1.0) == pytest.approx(2 * exploded_offsets(boxes, 0.5))


def test_exploding_scales_with_the_object_and_ignores_where_it_stands() -> None:
    boxes = random_boxes(6)
    assert exploded_offsets(1000 * boxes + 5, 1.0) == pytest.approx(
        1000 * exploded_offsets(boxes, 1.0)
    )


def test_parts_move_the_way_they_do_in_the_published_exploded_view() -> None:
    with np.load(Path(__file__).parents[1] / "data" / "xpart" / "explode.npz") as golden:
        middles, half, expected = golden["centers"], golden["extents"] / 2, golden["offsets"]

    offsets = exploded_offsets(np.stack([middles - half, middles + half], axis=1), 1.0)

    lengths, expected_lengths = (np.linalg.norm(each, axis=1) for each in (offsets, expected))
    assert offsets / lengths[:, None] == pytest.approx(
        expected / expected_lengths[:, None], abs=1e-6
    )


def test_nested_parts_come_apart_while_the_largest_stays() -> None:
    half = np.array([1.0, 0.8, 0.6])[:, None] * np.ones(3)
    offsets = exploded_offsets(np.stack([-half, half], axis=1), 1.0)
    assert not offsets[0].any()
    assert len(np.unique(offsets.round(9), axis=0)) == 3


def test_a_lone_part_and_no_part_do_not_move() -> None:
    assert not exploded_offsets(random_boxes(1), 1.0).any()
    assert exploded_offsets(np.zeros((0, 2, 3)), 1.0).shape == (0, 3)
