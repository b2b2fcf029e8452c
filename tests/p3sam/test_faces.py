"""From masks to face labels: every golden step, and laws of the whole."""

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from partwise.core.progress import Progress
from partwise.geometry.aabb import part_aabbs
from partwise.geometry.sampling import SurfaceSamples
from partwise.p3sam.faces import FaceLabelling, label_connected, label_faces
from partwise.p3sam.prepare import PreparedMesh, prepare_mesh
from partwise.p3sam.settings import P3SamSettings
from tests.p3sam.golden import load_golden
from tests.p3sam.synthetic import golden_masks, golden_mesh, strip

SETTINGS = P3SamSettings(point_num=3000, prompt_num=60)
STEPS = {
    "voted": "0_vote",
    "sampled": "1_fix",
    "without_small": "2_drop_small",
    "filled": "3_fix",
    "placed": "4_final",
    "final": "4_final",
}
CASES = pytest.mark.parametrize("case", ["a", "b", "c"])


@CASES
def test_every_step_equals_the_golden_one(case: str):
    golden = load_golden("postprocess")
    labels = golden[f"{case}_point_labels"].astype(np.int64)

    found = label_connected(golden_mesh(golden, case), labels, SETTINGS)

    for step, name in STEPS.items():
        assert np.array_equal(getattr(found, step), golden[f"{case}_face_ids_{name}"]), step


@CASES
@pytest.mark.parametrize("threshold", [None, 0.95, 0.6])
def test_labels_and_boxes_from_masks_equal_the_golden_ones(case: str, threshold: float | None):
    golden = load_golden("postprocess")
    masks, ious, _ = golden_masks(golden, case)
    suffix = "" if threshold is None else f"_post_{threshold:.2f}"
    settings = replace(
        SETTINGS, is_post_processed=threshold is not None, merge_threshold=threshold or 0.95
    )

    found = label_faces(golden_mesh(golden, case), masks, ious, settings=settings)

    assert np.array_equal(found.face_labels, golden[f"{case}_face_ids{suffix or '_4_final'}"])
    assert np.array_equal(found.aabbs, golden[f"{case}_aabb{suffix}"])


def test_labels_spread_in_at_most_fifty_passes_each_time():
    settings = replace(SETTINGS, promoted_region=1.0)
    mesh = prepare_mesh(*strip([1.0] * 130), settings=replace(settings, is_clean=False))
    samples = SurfaceSamples(mesh.samples.points[:2], np.array([60, 129]))
    chain = replace(mesh, samples=samples)

    found = label_connected(chain, np.array([-1, 4]), settings)

    assert found.sampled.tolist() == [-2] * 10 + [-1] * 119 + [4]  # against the order, 50 faces
    assert np.nonzero(found.filled == 4)[0].tolist() == list(range(79, 130))


def dumbbell(size: float = 1.0) -> trimesh.Trimesh:
    """Two balls and a rod, apart, and a face drawn twice."""
    ball = trimesh.creation.icosphere(subdivisions=2)
    other = ball.copy().apply_translation([4, 0, 0])
    rod = trimesh.creation.box((1.5, 0.3, 0.3)).subdivide().apply_translation([2, 0, 0])
    mesh = trimesh.util.concatenate([ball, other, rod])
    return trimesh.Trimesh(
        mesh.vertices * size, np.concatenate([mesh.faces, mesh.faces[:1]]), process=False
    )


def prepared(mesh: trimesh.Trimesh, settings: P3SamSettings = SETTINGS) -> PreparedMesh:
    return prepare_mesh(np.array(mesh.vertices), np.array(mesh.faces), settings=settings)


def ball_masks(mesh: PreparedMesh) -> tuple[np.ndarray, np.ndarray]:
    """Masks around each prompt, as a network might give."""
    centers = mesh.points[mesh.prompts]
    gaps = np.linalg.norm(mesh.points[None] - centers[:, None], axis=2)
    masks = gaps < np.where(np.abs(centers[:, :1]) > 0.35, 0.7, 0.25)
    return masks, np.linspace(0.9, 0.4, len(masks), dtype=np.float32)


def empty(mesh: PreparedMesh) -> tuple[np.ndarray, np.ndarray]:
    """No masks at all."""
    return np.zeros((0, len(mesh.points)), dtype=bool), np.zeros(0, dtype=np.float32)


def labelled(mesh: PreparedMesh, settings: P3SamSettings = SETTINGS) -> FaceLabelling:
    return label_faces(mesh, *ball_masks(mesh), settings=settings)


VARIANTS = pytest.mark.parametrize(
    "settings",
    [
        SETTINGS,
        replace(SETTINGS, is_post_processed=True),
        replace(SETTINGS, is_connected=False),
        replace(SETTINGS, is_clean=False),
    ],
    ids=["connected", "post-processed", "nearest", "as given"],
)


@VARIANTS
def test_every_face_of_the_upload_has_a_label_of_the_list(settings: P3SamSettings):
    mesh = dumbbell()

    found = labelled(prepared(mesh, settings), settings)

    assert found.source_labels.shape == (len(mesh.faces),)
    assert np.array_equal(np.unique(found.source_labels), found.part_ids)
    assert len(found.part_ids) > 1
    assert len(found.aabbs) == len(found.part_ids)


@VARIANTS
def test_boxes_hold_the_faces_of_their_part_in_the_coordinates_of_the_upload(
    settings: P3SamSettings,
):
    mesh = dumbbell()

    found = labelled(prepared(mesh, settings), settings)

    exact = part_aabbs(
        np.array(mesh.vertices), np.array(mesh.faces), found.source_labels, found.part_ids.tolist()
    )
    assert np.array_equal(found.aabbs, exact)


@VARIANTS
def test_the_result_depends_neither_on_the_run_nor_on_meshes_before(settings: P3SamSettings):
    first = labelled(prepared(dumbbell(), settings), settings)
    labelled(prepared(trimesh.creation.torus(1, 0.3), settings), settings)

    again = labelled(prepared(dumbbell(), settings), settings)

    assert np.array_equal(first.source_labels, again.source_labels)
    assert np.array_equal(first.aabbs, again.aabbs)


def test_a_repeated_face_has_the_label_of_the_face_it_repeats():
    found = labelled(prepared(dumbbell()))

    assert len(found.source_labels) == len(found.face_labels) + 1
    assert found.source_labels[-1] == found.source_labels[0]


@pytest.mark.parametrize("exponent", [-30, 34])
def test_meshes_of_extreme_size_get_the_same_parts(exponent: int):
    ordinary = labelled(prepared(dumbbell(2.0**-8)))  # just above the size where units begin

    extreme = labelled(prepared(dumbbell(2.0**exponent)))

    assert same_partition(extreme.source_labels, ordinary.source_labels)
    assert np.allclose(extreme.aabbs, ordinary.aabbs * 2.0 ** (exponent + 8), rtol=1e-12, atol=0)


def same_partition(first: np.ndarray, second: np.ndarray) -> bool:
    pairs = np.unique(np.stack([first, second]), axis=1)
    return pairs.shape[1] == len(np.unique(first)) == len(np.unique(second))


def test_faces_stay_without_part_when_there_are_no_masks_and_none_may_be_new():
    settings = replace(SETTINGS, promoted_region=1.0)
    mesh = prepared(dumbbell(), settings)

    found = label_faces(mesh, *empty(mesh), settings=settings)

    assert (found.source_labels == -1).all()
    assert found.aabbs.shape == (0, 2, 3)
    assert found.part_ids.tolist() == []


def test_without_masks_each_large_piece_becomes_a_part():
    mesh = prepared(dumbbell())

    found = label_faces(mesh, *empty(mesh), settings=SETTINGS)

    assert found.part_ids.tolist() == [0, 1, 2]


def test_without_masks_the_nearest_variant_labels_nothing():
    settings = replace(SETTINGS, is_connected=False)
    mesh = prepared(dumbbell(), settings)

    found = label_faces(mesh, *empty(mesh), settings=settings)

    assert (found.source_labels == -1).all()


def test_one_face_alone_is_a_part():
    triangle = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    mesh = prepare_mesh(triangle, np.array([[0, 1, 2]]), settings=SETTINGS)

    found = labelled(mesh)

    assert len(found.part_ids) == 1
    assert found.aabbs[0].tolist() == [[0, 0, 0], [1, 1, 0]]


def test_progress_rises_to_the_end_and_stages_are_timed():
    steps: list[Progress] = []
    mesh = prepared(dumbbell())

    found = label_faces(mesh, *ball_masks(mesh), settings=SETTINGS, progress=steps.append)

    fractions = [step.fraction for step in steps]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert list(found.stage_seconds) == ["Merging masks", "Labelling faces", "Boxing parts"]
