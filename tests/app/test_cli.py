"""The command line as a person starts it: a process, its files, its last line."""

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh

import cli
from tests.app.support import ROOT, Server, stay_open


def run_cli(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "cli.py", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def assert_one_clear_line(stderr: str) -> str:
    """One sentence on standard error, nothing else."""
    (line,) = stderr.strip().splitlines()
    assert line.startswith("Error: ")
    assert line.endswith(".")
    return line


Refuse = Callable[..., str]


@pytest.fixture
def refuse(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Refuse:
    """Runs a command in this process, where it must be refused; returns its one line."""
    monkeypatch.setattr(cli, "build_studio", lambda _: stay_open(server.studio))

    def run(*arguments: str | Path) -> str:
        assert cli.main([str(argument) for argument in arguments]) == 1
        return assert_one_clear_line(capsys.readouterr().err)

    return run


@pytest.fixture(scope="module")
def segmented(bodies_glb: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with what `segment` wrote."""
    folder = tmp_path_factory.mktemp("cli") / "new" / "folder"
    done = run_cli("segment", bodies_glb, "-o", folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "3 parts" in done.stdout or done.stdout.count(" faces") == 3
    return folder


def test_segment_writes_every_file_and_one_label_for_each_face(
    segmented: Path, bodies_glb: Path
) -> None:
    faces = len(trimesh.load(bodies_glb, force="mesh").faces)
    face_ids = np.load(segmented / "face_ids.npy")
    assert face_ids.shape == (faces,)
    assert sorted(np.unique(face_ids)) == [0, 1, 2]
    names = {path.name for path in segmented.iterdir()}
    assert {"parts.glb", "exploded.glb", "parts-glb.zip", "parts-obj.zip"} <= names
    assert {"parts-stl.zip", "face_ids.json", "aabb.json", "report.json"} <= names
    assert not any(name.startswith(".") for name in names)


def test_generate_with_labels_closes_the_parts_of_those_labels(
    segmented: Path, bodies_glb: Path, tmp_path: Path
) -> None:
    done = run_cli("generate", bodies_glb, "-o", tmp_path, "--labels", segmented / "face_ids.npy")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert [part["state"] for part in report["parts"]] == ["closed"] * 3
    assert np.array_equal(np.load(tmp_path / "face_ids.npy"), np.load(segmented / "face_ids.npy"))


def test_generate_alone_segments_first(table_glb: Path, tmp_path: Path) -> None:
    done = run_cli("generate", table_glb, "-o", tmp_path, "--preset", "preview", "--parts", "5")
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(tmp_path / "parts-stl.zip") as archive:
        manifest = json.loads(archive.read("manifest.json"))
        meshes = [name for name in archive.namelist() if name.endswith(".stl")]
    assert len(manifest["parts"]) == 5
    assert sorted(meshes) == sorted(part["file"] for part in manifest["parts"])


def test_memory_says_who_holds_it() -> None:
    done = run_cli("memory")
    assert done.returncode == 0, done.stderr
    assert "Host" in done.stdout
    assert "GiB" in done.stdout
    assert "weights not present" in done.stdout


def test_memory_as_json_is_one_object_a_line() -> None:
    done = run_cli("memory", "--json")
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["host"]["total_bytes"] > 0


def test_settings_tell_where_each_value_comes_from_and_hide_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PARTWISE_APP_PORT", "7999")
    monkeypatch.setenv("PARTWISE_APP_METRICS_TOKEN", "very-secret")
    done = run_cli("memory", "--settings")
    assert done.returncode == 0, done.stderr
    port = next(line for line in done.stdout.splitlines() if line.startswith("app.port"))
    assert "7999" in port
    assert "PARTWISE_APP_PORT" in port
    assert "very-secret" not in done.stdout


def test_a_bad_setting_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARTWISE_APP_PORT", "many")
    done = run_cli("memory")
    assert done.returncode == 1
    assert "PARTWISE_APP_PORT" in assert_one_clear_line(done.stderr)


def test_a_bad_mesh_ends_the_process_with_status_1(tmp_path: Path) -> None:
    (tmp_path / "broken.glb").write_bytes(b"glTF but not really")
    done = run_cli("segment", tmp_path / "broken.glb", "-o", tmp_path / "out")
    assert done.returncode == 1
    assert "broken.glb" in assert_one_clear_line(done.stderr)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["missing.glb", "text.xyz", "folder.glb"])
def test_a_bad_mesh_is_refused_in_one_line(refuse: Refuse, tmp_path: Path, name: str) -> None:
    (tmp_path / "text.xyz").write_text("1 2 3")
    (tmp_path / "folder.glb").mkdir()
    assert name in refuse("segment", tmp_path / name, "-o", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--preset", "best"),
        ("--parts", "0"),
        ("--detail", "nan"),
        ("--seed", "-1"),
        ("--engine", "magic"),
        ("--engine", "p3sam"),
    ],
)
def test_options_out_of_range_are_refused_in_one_line(
    refuse: Refuse, bodies_glb: Path, tmp_path: Path, option: str, value: str
) -> None:
    line = refuse("segment", bodies_glb, "-o", tmp_path / "out", option, value)
    assert value in line or "weights not present" in line
    assert not (tmp_path / "out").exists()


def test_labels_that_do_not_fit_are_refused_in_one_line(
    refuse: Refuse, bodies_glb: Path, tmp_path: Path
) -> None:
    labels = tmp_path / "labels.npy"
    np.save(labels, np.zeros(7, dtype=np.int32))
    assert "(7,)" in refuse("generate", bodies_glb, "-o", tmp_path, "--labels", labels)


def test_a_folder_that_cannot_be_written_is_told(
    refuse: Refuse, bodies_glb: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert "Choose another folder" in refuse("segment", bodies_glb, "-o", tmp_path / "file")


def test_a_terminal_without_our_letters_still_shows_the_help(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="ascii"))
    with pytest.raises(SystemExit, match="0"):
        cli.main(["segment", "--help"])
    sys.stdout.flush()
    assert b"0 few parts ? 1 many parts" in shown.getvalue()
