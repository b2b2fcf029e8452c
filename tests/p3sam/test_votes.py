"""How faces get a label from samples."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from partwise.core.progress import Progress
from partwise.geometry.aabb import part_aabbs
from partwise.p3sam.votes import face_points, label_by_nearest, vote
from tests.p3sam.golden import load_golden

TRIANGLES = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 0, 0], [6, 0, 0], [5, 1, 0]])
TRIANGLE_FACES = np.array([[0, 1, 2], [3, 4, 5]])


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(-1, 3)), max_size=60))
def test_a_face_takes_its_most_frequent_label_and_the_smallest_of_equals(
    samples: list[tuple[int, int]],
):
    face_idx, labels = np.array(samples, dtype=np.int64).reshape(-1, 2).T

    voted = vote(face_idx, labels, 7)

    for i in range(7):
        own = [label for face, label in samples if face == i]
        expected = min(own, key=lambda label: (-own.count(label), label)) if own else -2
        assert voted[i] == expected


def test_the_simple_variant_equals_the_golden_one():
    mesh, golden = load_golden("postprocess"), load_golden("postprocess_simple")

    labels = label_by_nearest(
        mesh["vertices"],
        mesh["faces"].astype(np.int64),
        mesh["a_points"],
        mesh["a_point_labels"].astype(np.int64),
        per_face=10,
        generator=np.random.RandomState(int(golden["np_seed"])),
    )

    assert np.array_equal(labels, golden["face_ids"])
    boxes = part_aabbs(
        mesh["vertices"], mesh["faces"].astype(np.int64), labels, np.unique(labels).tolist()
    )
    assert np.array_equal(boxes, golden["aabb"])


def test_face_points_equal_the_golden_ones():
    mesh, golden = load_golden("postprocess"), load_golden("postprocess_simple")
    generator = np.random.RandomState(int(golden["np_seed"]))
    faces = mesh["faces"].astype(np.int64)
    u, v = np.sqrt(generator.random((len(faces), 10, 1))), generator.random((len(faces), 10, 1))

    points = face_points(mesh["vertices"], faces, u, v)[:100]

    assert np.array_equal(points, golden["face_points_head"])


def nearest(labels: list[int], points: list[list[float]], **options: object) -> list[int]:
    return label_by_nearest(
        TRIANGLES,
        TRIANGLE_FACES,
        np.array(points),
        np.array(labels),
        per_face=5,
        generator=np.random.default_rng(0),
        **options,
    ).tolist()


def test_samples_without_label_are_not_asked():
    points = [[0.3, 0.3, 0], [5.3, 0.3, 0], [9, 0, 0]]

    assert nearest([-1, -1, 4], points) == [4, 4]
    assert nearest([7, -1, 4], points) == [7, 4]


def test_no_face_has_a_label_when_no_sample_has_one():
    assert nearest([-1], [[0, 0, 0]]) == [-1, -1]


def test_many_faces_are_labelled_in_batches_as_in_one():
    count = 10_500
    vertices = np.tile(TRIANGLES[:3], (count, 1))
    vertices[:, 2] = np.repeat(np.arange(count), 3)
    faces = np.arange(3 * count).reshape(-1, 3)
    points = vertices[::3] + np.array([0.3, 0.3, 0])
    steps: list[Progress] = []

    labels = label_by_nearest(
        vertices,
        faces,
        points,
        np.arange(count),
        per_face=1,
        generator=np.random.default_rng(0),
        progress=steps.append,
    )

    assert np.array_equal(labels, np.arange(count))
    assert [step.fraction for step in steps] == pytest.approx([0, 10_000 / count])
