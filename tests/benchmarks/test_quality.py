"""The benchmark of part quality: laws of its measures, and one run on tiny meshes."""

import json
from pathlib import Path

import manifold3d as m3
import numpy as np
import pytest
import trimesh
from hypothesis import given
from numpy.typing import NDArray

from benchmarks import geometric, quality, quality_closing, quality_methods, readme
from benchmarks.geometric_meshes import Mesh, grown, subdivided
from benchmarks.part_scores import part_scores
from benchmarks.quality_case import people
from benchmarks.quality_closing import (
    new_crossings,
    object_volume,
    shared_volume,
    visible_distances,
    visible_points,
)
from benchmarks.quality_methods import COMPONENTS, OWN, PEOPLE, built_in, components, k_means, ward
from benchmarks.quality_rows import tables
from benchmarks.quality_sources import Subject, assemblies, first_of_kinds, labelled_folder, spread
from benchmarks.quality_summary import summarize
from partwise.core.errors import ConfigError
from partwise.geometric.complete import complete_parts
from partwise.geometric.completed import CompletedPart, PartState, closed_part
from partwise.geometry.topology import is_watertight, signed_volume, weld
from scripts import picture_parts
from tests.tiers import SEEDS

pytestmark = pytest.mark.slow
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def mesh_of(solid: m3.Manifold) -> Mesh:
    made = solid.to_mesh64()
    points = np.asarray(made.vert_properties, dtype=np.float64)[:, :3]
    return Mesh(*weld(points, np.asarray(made.tri_verts, dtype=np.int64)))


def side_by_side(*meshes: Mesh) -> Mesh:
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    faces = [mesh.faces + start for mesh, start in zip(meshes, starts, strict=False)]
    return Mesh(np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(faces))


def box(size: float = 1.0, at: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Mesh:
    return mesh_of(m3.Manifold.cube((size, size, size), True).translate(at).refine(4))


def dumbbell() -> tuple[Mesh, Ints]:
    """Two balls and a bar as one surface, and the (F,) true part of each face."""
    balls = [m3.Manifold.sphere(0.5, 20).translate((x, 0, 0)) for x in (-1, 1)]
    bar = m3.Manifold.cube((2.0, 0.2, 0.2), True)
    mesh = mesh_of(m3.Manifold.batch_boolean([bar, *balls], m3.OpType.Add).refine_to_length(0.15))
    middles = mesh.vertices[mesh.faces].mean(axis=1)
    truth = np.where(np.abs(middles[:, 0]) < 0.51, 0, np.where(middles[:, 0] < 0, 1, 2))
    return mesh, truth.astype(np.int64)


def random_labels(seed: int, count: int = 40) -> tuple[Ints, Ints, Floats]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 5, count), rng.integers(0, 3, count), rng.uniform(0.1, 2.0, count)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One tiny mesh of each kind: with people's labels, with fused labels, with nodes."""
    root: Path = tmp_path_factory.mktemp("sources")
    mesh, truth = dumbbell()
    surface = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
    for name in ("people", "fused", "joined"):
        (root / name).mkdir()
    entries = [{"set": "psb", "category": "bell", "name": name} for name in ("bell_1", "bell_2")]
    (root / "people" / "index.json").write_text(json.dumps(entries))
    for entry in entries:
        surface.export(root / "people" / f"{entry['name']}.ply")
        labels = np.stack([truth, truth % 2, truth]).astype(np.uint8)
        np.savez(root / "people" / f"{entry['name']}.gt.npz", labels=labels)
    surface.export(root / "fused" / "bell.ply")
    np.save(root / "fused" / "bell.labels.npy", truth)
    scene = trimesh.Scene()
    for i in range(2):
        piece = box(at=(1.5 * i, 0, 0))
        body = trimesh.Trimesh(piece.vertices, piece.faces, process=False)
        scene.add_geometry(body, node_name=f"box {i}")
    scene.export(root / "joined" / "boxes.glb")
    return root


def test_a_partition_agrees_fully_with_itself() -> None:
    labels, _, areas = random_labels(0)

    scores = part_scores(labels, labels, areas)

    assert scores.rand_error == 0
    assert scores.mean_iou == scores.mean_iou_area == scores.matched_iou == 1
    assert scores.count == scores.true_count == len(np.unique(labels))


@given(SEEDS)
def test_scores_do_not_depend_on_the_names_of_labels(seed: int) -> None:
    found, truth, areas = random_labels(seed)
    names = np.random.default_rng(seed).permutation(50)

    renamed = part_scores(names[found], names[truth], areas)

    for key, value in vars(part_scores(found, truth, areas)).items():
        assert getattr(renamed, key) == pytest.approx(value)


@given(SEEDS)
def test_the_rand_error_is_the_share_of_pairs_of_faces_judged_otherwise(seed: int) -> None:
    found, truth, areas = random_labels(seed)
    first, second = np.triu_indices(len(found), 1)
    differs = (found[first] == found[second]) != (truth[first] == truth[second])

    assert part_scores(found, truth, areas).rand_error == pytest.approx(differs.mean())


def test_too_many_parts_lower_the_matched_iou_and_not_the_best_one() -> None:
    truth = np.repeat([0, 1], 100)
    areas = np.ones(200)
    split = truth.copy()
    split[:40] = np.arange(2, 42)  # single faces cut off the first part

    few, many = part_scores(truth, truth, areas), part_scores(split, truth, areas)

    assert many.mean_iou == pytest.approx((0.6 + 1.0) / 2)
    assert many.matched_iou == pytest.approx((0.6 + 1.0) / 42)
    assert many.matched_iou < 0.05 < few.matched_iou


def test_people_are_scored_as_partitions_of_each_other() -> None:
    mesh, truth = dumbbell()
    one = part_scores(truth, truth % 2, np.ones(len(truth)))

    row = people(Subject(mesh.vertices, mesh.faces, np.stack([truth, truth % 2])))

    assert row.rand_error == pytest.approx(one.rand_error)
    assert row.true_parts == 2.5


@pytest.mark.parametrize("method", [components, k_means, ward])
def test_simple_methods_tell_bodies_far_apart(method: quality_methods.Method) -> None:
    mesh = side_by_side(box(), box(at=(9.0, 0, 0)))
    truth = np.repeat([0, 1], len(mesh.faces) // 2)

    labels = method(mesh.vertices, mesh.faces, 2)

    assert part_scores(labels, truth, np.ones(len(truth))).rand_error == 0


def test_a_point_goes_to_the_hull_that_it_is_in() -> None:
    hulls = [box(), box(at=(2.0, 0, 0))]
    corners = np.concatenate([hull.vertices[hull.faces] for hull in hulls])
    corners[::2] = corners[::2, ::-1]  # whichever way they are wound
    owners = np.repeat([0, 1], len(hulls[0].faces))
    points = np.array([[0.2, 0, 0], [1.8, 0.3, 0], [0.8, 0, 0], [9.0, 0, 0]])

    assert quality_methods.nearest_hull(points, corners, owners).tolist() == [0, 1, 0, 1]


def test_bodies_that_overlap_count_once_in_the_volume() -> None:
    apart = side_by_side(box(), box(at=(2.0, 0, 0)))
    within = side_by_side(box(), box(at=(0.5, 0, 0)))

    assert object_volume(apart.vertices, apart.faces) == pytest.approx(2.0)
    assert object_volume(within.vertices, within.faces) == pytest.approx(1.5)
    assert object_volume(apart.vertices, apart.faces[1:]) is None


def as_part(label: int, mesh: Mesh, sources: Ints) -> CompletedPart:
    return closed_part(label, mesh.vertices, mesh.faces, sources, PartState.CLOSED)


def test_parts_that_overlap_are_told_from_parts_that_touch() -> None:
    none = np.zeros(0, dtype=np.int64)
    one = as_part(0, box(), none)

    assert shared_volume((one, as_part(1, box(at=(1.0, 0, 0)), none))) == pytest.approx(0.0)
    assert shared_volume((one, as_part(1, box(at=(0.5, 0, 0)), none))) == pytest.approx(0.25)


def test_only_crossings_that_the_input_does_not_have_are_counted() -> None:
    mesh = side_by_side(box(), box(0.7, at=(0.55, 0.1, 0.13)))
    as_it_was = as_part(0, mesh, np.arange(len(mesh.faces)))
    made_up = as_part(0, mesh, np.zeros(0, dtype=np.int64))

    counts = [
        new_crossings(mesh.vertices, mesh.faces, (part,), with_flat=True)
        for part in (as_it_was, made_up)
    ]

    assert counts[0] == 0 < counts[1]


def test_what_lies_inside_a_closed_body_is_not_visible() -> None:
    mesh = side_by_side(box(), box(0.4))

    points = visible_points(mesh.vertices, mesh.faces)

    assert len(points) > 1000
    assert np.abs(points).max(axis=1).min() == pytest.approx(0.5)


def test_distances_are_those_of_the_visible_surface_in_longest_sides() -> None:
    mesh, moved = box(2.0), box(2.02)
    same = as_part(0, mesh, np.zeros(0, dtype=np.int64))
    larger = as_part(0, moved, np.zeros(0, dtype=np.int64))

    assert max(visible_distances(mesh.vertices, mesh.faces, (same,))) < 1e-12
    assert visible_distances(mesh.vertices, mesh.faces, (larger,))[0] == pytest.approx(0.005)


def test_the_engines_parts_of_a_dumbbell_pass_every_measure_of_closing() -> None:
    mesh, _ = dumbbell()
    labels = built_in(mesh.vertices, mesh.faces).tree.cut(3)

    closing = quality_closing_of(mesh, labels)

    assert closing.watertight == closing.parts == 3
    assert closing.crossings == closing.flat_crossings == 0
    assert closing.volume_ratio == pytest.approx(1.0)
    assert closing.distances[2] < quality_closing.NEAR


def quality_closing_of(mesh: Mesh, labels: NDArray[np.int32]) -> quality_closing.Closing:
    done = complete_parts(mesh.vertices, mesh.faces, labels)
    return quality_closing.judge_closing(mesh.vertices, mesh.faces, done)


def test_meshes_are_chosen_evenly_and_one_of_each_kind() -> None:
    cases = assemblies(8, ["axe", "mug"])

    assert [case.place for case in spread(cases, 2)] == [0, 7, 0, 7]
    assert [(case.kind, case.place) for case in first_of_kinds(cases, 9)] == [
        ("axe", 0),
        ("mug", 1),
    ] * 2


def test_halves_are_those_of_even_and_odd_places_with_the_difference_by_chance() -> None:
    def mesh(place: int, value: float) -> dict[str, object]:
        row = dict.fromkeys(
            ("rand_error", "mean_iou", "mean_iou_area", "matched_iou", "parts", "true_parts"), value
        )
        one = {"source": "psb", "name": f"{place}", "place": place, "errors": {}, "closing": None}
        return one | {"rows": {OWN: row | {"seconds": 1.0}}}

    found = [mesh(0, 0.2), mesh(1, 0.5), mesh(2, 0.4), mesh(3, 0.5)]
    for one in found:
        one["rows"][quality_methods.GIVEN] = one["rows"][OWN]

    half = summarize(found)["psb"]["halves"][OWN]

    assert half["even"]["mean_iou"] == pytest.approx(0.3)
    assert half["odd"]["mean_iou"] == pytest.approx(0.5)
    assert half["standard_error"]["mean_iou"] == pytest.approx(0.1)


def test_a_folder_without_an_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"index\.json"):
        labelled_folder(tmp_path)


def test_a_run_judges_every_source_and_writes_no_paths(
    folders: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in quality.ENVIRONMENT:
        monkeypatch.setenv(name, "1")  # the run sets them; they are put back afterwards
    monkeypatch.setattr(quality_methods, "HULL_PACKAGE", "a_package_that_is_not_there")
    given = [f"--{option}={folders / name}" for option, name in NAMES.items()]

    status = quality.main(
        [*given, "--quick", "--workers=1", "--machine=A 1", f"--results={tmp_path}"]
    )

    text = (tmp_path / "a-1.quality.quick.json").read_text(encoding="utf-8")
    payload = json.loads(text)
    printed = capsys.readouterr().out
    assert status == 0
    assert str(folders) not in text + printed
    assert [payload["quality"][name]["meshes"] for name in ("psb", "fused", "joined")] == [2, 1, 1]
    assert payload["quality"]["psb"]["methods"][PEOPLE]["matched_iou"] < 1
    assert payload["quality"]["joined"]["methods"][COMPONENTS]["mean_iou"] == 1
    assert payload["quality"]["fused"]["closing"]["watertight"] >= 1
    assert tables(payload) in printed
    assert "CoACD is not installed" in printed


NAMES = {"psb": "people", "fused": "fused", "joined": "joined"}


def test_a_subdivided_mesh_is_the_same_surface_in_four_times_the_faces() -> None:
    mesh = box()

    fine = subdivided(mesh)

    assert len(fine.faces) == 4 * len(mesh.faces)
    assert is_watertight(fine.faces)
    assert signed_volume(fine.vertices, fine.faces) == pytest.approx(1.0)


@pytest.mark.parametrize("count", [900, 5000])
def test_a_grown_mesh_has_about_the_faces_asked_for(count: int) -> None:
    assert len(grown(box(), count).faces) == pytest.approx(count, rel=0.12)


def test_a_fresh_process_reports_seconds_parts_and_peaks() -> None:
    figures = geometric.in_fresh_process(dumbbell()[0])

    assert figures["closed"] == figures["parts"] > 1
    assert figures["segment_s"] > 0
    assert figures["peak_mib"] >= figures["segment_peak_mib"] > figures["start_mib"] > 0


def test_the_readmes_figures_have_the_tables_of_parts(tmp_path: Path) -> None:
    step = {"s": 1.0, "peak_mib": 1024.0}
    common = {"machine": "A", "is_shared": False, "date": "2026-01-31", "python": "3.11.7"}
    row = {"shape": "ball", "faces": 20_000, "parts": 3, "segment_s": 1.25, "complete_s": 0.5}
    files = {
        "a": {"engines": {"20000": dict.fromkeys(("load", "segment", "complete"), step)}},
        "a.geometric": {"geometric": [row | {"peak_mib": 512.0}]},
        "a.quality": {"quality": {}},
    }
    for name, figures in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(common | figures))

    text = readme.table(tmp_path)

    assert "| ball | 20 000 | 3 | 1.2 s | 0.5 s | 0.50 GiB |" in text
    assert "RIe: 1 − Rand index" in text


def test_pictures_draw_sharp_edges_sharp_and_round_ones_round() -> None:
    cube, ball = box(), mesh_of(m3.Manifold.sphere(1.0, 64))

    sharp, smooth = picture_parts.creased(cube), picture_parts.creased(ball)

    assert len(sharp.vertices) == 6 * 25  # each side of the box has its own 5 × 5 points
    assert len(smooth.vertices) == len(ball.vertices)
    assert np.array_equal(sharp.vertices[sharp.faces], cube.vertices[cube.faces])
