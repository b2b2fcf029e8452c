import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import trimesh

from benchmarks import meshes, readme
from benchmarks.common import file_stem, resident_peak, running_studio
from benchmarks.figure import build_figure, write_stl
from partwise.core.errors import AppError
from studio.workflow import Studio

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
STEP = {"s": 1.25, "peak_mib": 512.0, "stages_s": {}}


@pytest.fixture(scope="module")
def studio() -> Iterator[Studio]:
    with running_studio() as running:
        yield running


@pytest.fixture(scope="module")
def figure_stl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("figures") / "figure.stl"
    write_stl(path, build_figure(3_000))
    return path


def result(machine: str, **figures: object) -> dict[str, object]:
    return {
        "machine": machine,
        "is_shared": True,
        "date": "2026-01-31",
        "python": "3.11.7",
        "page": {"server_ready_s": 1.234},
        "engines": {"20000": {"load": STEP, "segment": STEP, "complete": STEP}},
        **figures,
    }


def run_script(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, f"benchmarks/{name}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("face_count", [10_000, 30_000])
def test_a_figure_is_closed_and_has_about_the_faces_asked_for(face_count: int) -> None:
    corners = build_figure(face_count)

    mesh = trimesh.Trimesh(corners.reshape(-1, 3), np.arange(3 * len(corners)).reshape(-1, 3))

    assert mesh.is_watertight
    assert mesh.body_count == 1
    assert len(corners) == pytest.approx(face_count, rel=0.1)


def test_a_written_figure_reads_back_the_same(figure_stl: Path) -> None:
    mesh = trimesh.load_mesh(figure_stl)

    assert len(mesh.faces) == (figure_stl.stat().st_size - 84) / 50
    assert mesh.volume == pytest.approx(0.143, rel=0.02)


def test_a_closed_mesh_passes_and_keeps_its_volume(studio: Studio, figure_stl: Path) -> None:
    row = meshes.judge(studio, "figures", figure_stl.name, figure_stl)

    assert row.parts == row.closed == row.watertight > 1
    assert row.volume_ratio == pytest.approx(1, abs=meshes.VOLUME_TOLERANCE)
    assert not row.error


def mesh_of(*bodies: trimesh.Trimesh) -> tuple[np.ndarray, np.ndarray]:
    whole = trimesh.util.concatenate(bodies)
    return np.array(whole.vertices), np.array(whole.faces, dtype=np.int64)


def box_at(x: float, size: float = 1.0, *, is_inward: bool = False) -> trimesh.Trimesh:
    made = trimesh.creation.box((size, size, size)).apply_translation((x, 0, 0))
    if is_inward:
        made.invert()
    return made


def test_what_two_bodies_fill_counts_once() -> None:
    apart, over = mesh_of(box_at(0), box_at(3)), mesh_of(box_at(0), box_at(0.25))

    assert meshes.filled_volume(*apart) == pytest.approx(2)
    assert meshes.filled_volume(*over) == pytest.approx(1.25)
    assert meshes.filled_volume(*mesh_of(box_at(0), box_at(0, 0.5))) == pytest.approx(1)


def test_a_body_that_looks_inward_fills_and_a_cavity_does_not() -> None:
    hollow = box_at(0), box_at(0, 0.5, is_inward=True)

    assert meshes.filled_volume(*mesh_of(box_at(0, is_inward=True))) == pytest.approx(1)
    assert meshes.filled_volume(*mesh_of(*hollow)) == pytest.approx(0.875)
    assert meshes.filled_volume(*mesh_of(*hollow, box_at(3))) == pytest.approx(1.875)


def test_what_bodies_fill_is_not_told_where_it_cannot_be() -> None:
    hollow = box_at(0), box_at(0, 0.5, is_inward=True)
    crossed = box_at(3)
    crossed.vertices[0] += (4, 1, 1)

    assert meshes.filled_volume(*mesh_of(*hollow, box_at(0.6))) is None
    assert meshes.filled_volume(*mesh_of(box_at(0), crossed)) is None


def test_overlapping_boxes_keep_the_volume_of_their_union(studio: Studio, tmp_path: Path) -> None:
    path = tmp_path / "boxes.ply"
    trimesh.util.concatenate([box_at(0), box_at(0.25, 0.8)]).export(path)

    row = meshes.judge(studio, "boxes", path.name, path)

    assert row.is_watertight
    assert row.volume_ratio == pytest.approx(1, abs=1e-4)


def test_a_mesh_that_cannot_be_read_is_a_row_with_its_reason(
    studio: Studio, tmp_path: Path
) -> None:
    path = tmp_path / "broken.glb"
    path.write_bytes(b"no mesh")

    row = meshes.judge(studio, "bad", path.name, path)

    assert "broken.glb" in row.error
    assert meshes.summarize([row])["failed"] == 1


def test_a_fault_is_told_in_words() -> None:
    whole = trimesh.creation.icosphere(1)
    holed = trimesh.Trimesh(whole.vertices, whole.faces[1:], process=False)
    inside_out = trimesh.Trimesh(whole.vertices, whole.faces[:, ::-1], process=False)

    assert meshes.find_fault(whole) == ""
    assert meshes.find_fault(holed).startswith("3 open edges")
    assert meshes.find_fault(inside_out).startswith("volume -")


def test_the_lowest_number_of_each_kind_is_chosen(tmp_path: Path) -> None:
    for name in ("cup_12.ply", "cup_7x.ply", "cup_03.ply", "ant_9.off", "notes.txt", "spot.obj"):
        (tmp_path / name).touch()

    chosen = meshes.find_meshes(tmp_path, first_of_kind=True)

    assert [path.name for path in chosen] == ["ant_9.off", "cup_03.ply", "cup_7x.ply", "spot.obj"]


def test_a_process_that_is_gone_has_no_peak() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()

    assert resident_peak(process.pid) == 0


def test_the_table_has_a_column_for_each_machine_and_says_what_was_not_measured(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.json").write_text(json.dumps(result("2 cores")))
    (tmp_path / "b.json").write_text(json.dumps(result("8 cores", page={})))
    (tmp_path / "b.quick.json").write_text(json.dumps(result("8 cores")))

    rows = readme.table(tmp_path).splitlines()

    assert rows[0] == "| | 2 cores | 8 cores |"
    assert "| server ready after start | 1.2 s | not measured |" in rows
    assert any(row.count("1.2 / 1.2 / 1.2 s, peak 0.5 GiB") == 2 for row in rows)


def test_rewriting_the_readme_twice_changes_only_what_is_between_the_marks(tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    (results / "a.json").write_text(json.dumps(result("2 cores")))
    file = tmp_path / "README.md"
    file.write_text(f"Before\n\n{readme.START}\n\n## After\n")

    readme.rewrite(file, results)
    once = file.read_text()
    readme.rewrite(file, results)

    assert file.read_text() == once
    assert once.startswith(f"Before\n\n{readme.START}\n| | 2 cores |\n")
    assert once.endswith(f"{readme.END}\n\n## After\n")


def test_a_readme_without_the_mark_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text("No figures here.\n")

    with pytest.raises(AppError, match="figures"):
        readme.rewrite(file, tmp_path)


def test_the_meshes_script_writes_names_and_no_paths(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    trimesh.creation.box().export(folder / "box.ply")

    done = run_script("meshes.py", str(folder), "--results", str(tmp_path), "--machine", "A 1")

    assert done.returncode == 0, done.stderr
    text = (tmp_path / f"{file_stem('A 1')}.meshes-set.json").read_text()
    assert json.loads(text)["meshes"][0]["name"] == "box.ply"
    assert str(tmp_path) not in text


@pytest.mark.slow
def test_the_application_script_takes_every_figure_that_needs_no_browser(tmp_path: Path) -> None:
    done = run_script("app.py", "--quick", "--no-browser", "--results", str(tmp_path))

    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.glob("*.json")
    figures = json.loads(file.read_text())
    assert figures["page"]["server_ready_s"] > 0
    assert figures["engines"]["3000"]["closed"] == figures["engines"]["3000"]["parts"]
    assert figures["panel"]["tick_bytes"] < 1024
    assert figures["memory"]["jobs"] == 2
