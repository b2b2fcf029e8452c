"""The laws of segmentation, and the parts of shapes that a person would name."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from partwise.core.errors import MeshError
from partwise.core.progress import Progress
from partwise.geometric.segment import Segmentation, SegmentSettings, segment_mesh
from partwise.geometry.labels import connected_regions
from partwise.geometry.topology import adjacent_faces, mesh_edges, weld
from tests.geometric import shapes
from tests.geometric.shapes import Shape


def cut(shape: Shape, **options: object) -> Segmentation:
    return segment_mesh(shape.vertices, shape.faces, settings=SegmentSettings(**options))


def agreement(labels: np.ndarray, truth: np.ndarray) -> float:
    """Share of faces that lie in the part that their true part mostly lies in, one to one."""
    table = np.zeros((labels.max() + 1, truth.max() + 1), dtype=np.int64)
    np.add.at(table, (labels, truth), 1)
    best = table.argmax(axis=0)
    if len(set(best.tolist())) != table.shape[1]:
        return 0.0
    return float(table.max(axis=0).sum() / len(labels))


def rand_error(first: np.ndarray, second: np.ndarray) -> float:
    table = np.zeros((first.max() + 1, second.max() + 1))
    np.add.at(table, (first, second), 1)
    squares = (table.sum(0) ** 2).sum() + (table.sum(1) ** 2).sum() - 2 * (table**2).sum()
    return float(squares / len(first) ** 2)


@pytest.fixture(scope="module")
def chair() -> Shape:
    return shapes.chair()


@pytest.fixture(scope="module")
def chair_cut(chair: Shape) -> Segmentation:
    return cut(chair)


@pytest.mark.parametrize(
    ("build", "count"), [(shapes.chair, 6), (shapes.figure, 6), (shapes.dumbbell, 3)]
)
def test_a_fused_shape_is_cut_into_the_parts_it_was_made_of(build, count):
    shape = build()

    found = cut(shape)

    assert found.part_count == count
    assert agreement(found.face_labels, shape.truth) > 0.95


@pytest.mark.parametrize("build", [shapes.block, shapes.ball])
def test_a_shape_without_parts_stays_whole(build):
    assert cut(build()).part_count == 1


def test_a_file_of_several_bodies_is_cut_into_its_bodies():
    shape = shapes.scatter(shapes.block(), shapes.ball(), shapes.block(), shapes.ball(0.7))

    found = cut(shape)

    assert found.part_count == 4
    assert rand_error(found.face_labels, shape.truth) == 0


def test_a_small_body_joins_the_large_one_it_is_next_to():
    shape = shapes.scatter(shapes.block(), shapes.ball(0.02, edge=0.02), shapes.block(), gap=1.2)

    found = cut(shape)

    owner = found.face_labels[shape.truth == 1]
    assert found.part_count == 2
    assert len(np.unique(owner)) == 1


def test_fewer_parts_than_bodies_joins_the_closest_bodies():
    near = shapes.scatter(shapes.block(), shapes.block(), gap=1.1)
    shape = shapes.scatter(near, shapes.block(), gap=6.0)

    found = cut(shape, part_count=2)

    assert rand_error(found.face_labels, shape.truth) == 0


def test_scene_nodes_tell_bodies_apart_where_the_surface_does_not():
    shape = shapes.block()
    nodes = (shape.vertices[shape.faces].mean(axis=1)[:, 0] > 0).astype(np.int64)

    found = segment_mesh(shape.vertices, shape.faces, settings=SegmentSettings(), face_nodes=nodes)

    assert rand_error(found.face_labels, nodes) == 0


@pytest.mark.parametrize("count", [1, 2, 5, 17, 300])
def test_a_given_number_of_parts_is_met(chair, count):
    found = cut(chair, part_count=count)

    assert np.array_equal(np.unique(found.face_labels), np.arange(count))


def test_more_parts_than_faces_gives_each_face_its_own():
    shape = shapes.fuse([shapes.box((1, 1, 1), (0, 0, 0))], edge=2.0)

    found = cut(shape, part_count=5000)

    assert found.part_count == len(shape.faces)


def test_more_detail_never_gives_fewer_parts(chair, chair_cut):
    counts = [chair_cut.tree.count_for(detail) for detail in np.linspace(0, 1, 101)]

    assert counts == sorted(counts)
    assert counts[0] < chair_cut.part_count < counts[-1]
    assert cut(chair, detail=1.0).part_count == counts[-1]


def test_the_same_seed_gives_the_same_labels(chair, chair_cut):
    assert np.array_equal(cut(chair).face_labels, chair_cut.face_labels)


def test_labels_are_numbered_from_large_to_small(chair, chair_cut):
    found = chair_cut

    corners = chair.vertices[chair.faces]
    areas = np.linalg.norm(
        np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1
    )
    total = np.bincount(found.face_labels, areas)
    assert found.face_labels.dtype == np.int32
    assert np.all(np.diff(total) <= 1e-9)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_turning_moving_and_scaling_changes_little(chair, chair_cut, scale):
    turn = np.linalg.qr(np.random.default_rng(3).standard_normal((3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    moved = (chair.vertices @ turn.T + [5, -3, 2]) * scale

    found = segment_mesh(moved, chair.faces, settings=SegmentSettings())

    assert rand_error(found.face_labels, chair_cut.face_labels) < 0.05


@pytest.mark.parametrize("build", [shapes.chair, shapes.figure])
def test_another_mesh_of_the_same_shape_is_cut_alike(build):
    coarse, fine = build(), build(edge=0.045)

    found, again = cut(coarse), cut(fine)

    near = cKDTree(coarse.vertices[coarse.faces].mean(axis=1))
    at = near.query(fine.vertices[fine.faces].mean(axis=1))[1]
    assert found.part_count == again.part_count
    assert rand_error(found.face_labels[at], again.face_labels) < 0.06


def test_windings_that_disagree_do_not_matter(chair, chair_cut):
    faces = chair.faces.copy()
    is_turned = np.random.default_rng(1).random(len(faces)) < 0.5
    faces[is_turned] = faces[is_turned][:, ::-1]

    found = segment_mesh(chair.vertices, faces, settings=SegmentSettings())

    assert rand_error(found.face_labels, chair_cut.face_labels) < 0.01


def test_triangles_of_a_polygon_get_one_label(chair):
    polygons = np.arange(len(chair.faces)) // 2

    found = segment_mesh(
        chair.vertices, chair.faces, settings=SegmentSettings(), file_faces=polygons
    )

    assert np.array_equal(found.face_labels[1::2], found.face_labels[::2])


def test_a_dense_mesh_is_cut_like_a_coarse_one():
    shape = shapes.figure(edge=0.03)

    found = cut(shape, working_faces=5000)

    assert len(shape.faces) > 30_000
    assert found.part_count == 6
    assert agreement(found.face_labels, shape.truth) > 0.95


def test_an_open_shape_is_cut_like_a_closed_one():
    shape = shapes.dumbbell()
    is_kept = shape.vertices[shape.faces].mean(axis=1)[:, 2] < 1.3

    found = segment_mesh(shape.vertices, shape.faces[is_kept], settings=SegmentSettings())

    assert agreement(found.face_labels, shape.truth[is_kept]) > 0.95


def test_double_and_degenerate_faces_change_nothing_else(chair, chair_cut):
    extra = np.concatenate([chair.faces[:300], chair.faces[:100][:, [0, 0, 1]]])
    faces = np.concatenate([chair.faces, extra])

    found = segment_mesh(chair.vertices, faces, settings=SegmentSettings())

    count = len(chair.faces)
    assert rand_error(found.face_labels[:count], chair_cut.face_labels) < 0.01
    assert np.array_equal(found.face_labels[count : count + 300], found.face_labels[:300])


def test_no_part_is_in_several_pieces_of_one_body(chair):
    found = cut(chair, part_count=20)

    pairs = adjacent_faces(mesh_edges(chair.faces))[0]
    assert connected_regions(found.face_labels, pairs).max() + 1 == 20


def test_stages_are_reported_in_rising_order(chair):
    steps: list[Progress] = []

    found = segment_mesh(
        chair.vertices, chair.faces, settings=SegmentSettings(), progress=steps.append
    )

    fractions = [step.fraction for step in steps]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert set(found.stage_seconds) == {step.stage for step in steps[:-1]}


def test_a_mesh_without_faces_is_refused():
    with pytest.raises(MeshError, match="no faces"):
        segment_mesh(np.zeros((0, 3)), np.zeros((0, 3), dtype=np.int64), settings=SegmentSettings())


@given(st.data())
def test_any_heap_of_triangles_gets_labels(data):
    seed = data.draw(st.integers(0, 2**32 - 1))
    point_count, face_count = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 60))
    wanted = data.draw(st.one_of(st.none(), st.integers(1, 70)))
    rng = np.random.default_rng(seed)
    points = np.round(rng.random((point_count, 3)) * 4) / data.draw(st.sampled_from([1, 1e-9, 1e9]))
    points, faces = weld(points, rng.integers(0, point_count, (face_count, 3)))

    found = segment_mesh(
        points, faces, settings=SegmentSettings(part_count=wanted, working_faces=20)
    )

    assert found.face_labels.shape == (face_count,)
    assert np.array_equal(np.unique(found.face_labels), np.arange(found.part_count))
    assert found.part_count <= (wanted or face_count)
