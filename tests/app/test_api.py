"""The functions for programs, called by gradio's own client as the README says."""

import json
import zipfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import trimesh
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

import cli
from partwise.geometric.segment import SegmentSettings
from studio.workflow import Studio
from tests.app.support import Server, is_due_soon, session_folders, stay_open, uploads, wait_until


@pytest.fixture(scope="module")
def client(server: Server) -> Client:
    return server.client()


def call(client: Client, *arguments: object, **options: Any) -> Any:
    """Call an endpoint with files given as paths."""
    given = [handle_file(a) if isinstance(a, Path) else a for a in arguments]
    return client.predict(*given, **options)


def test_the_names_are_the_documented_ones(client: Client) -> None:
    known = client.view_api(return_format="dict", print_info=False)
    assert isinstance(known, dict)
    assert sorted(known["named_endpoints"]) == [
        "/generate",
        "/recut",
        "/segment",
        "/status",
        "/unload",
    ]


def test_segment_gives_the_same_labels_as_the_command_line(
    client: Client, server: Server, table_glb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"preset": "preview", "part_count": 5, "seed": 3}
    report, glb, face_ids, archive = call(client, table_glb, api_name="/segment", **options)

    monkeypatch.setattr(cli, "build_studio", lambda _: stay_open(server.studio))
    command = ["segment", str(table_glb), "-o", str(tmp_path), "--preset", "preview"]
    assert cli.main([*command, "--parts", "5", "--seed", "3"]) == 0

    assert np.array_equal(np.load(face_ids), np.load(tmp_path / "face_ids.npy"))
    assert Path(glb).read_bytes() == (tmp_path / "parts.glb").read_bytes()
    assert zipfile.is_zipfile(archive)
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    for key in ("source", "engine", "settings", "parts"):
        assert report[key] == written[key]
    assert report["state"] == "done"


def test_without_a_seed_the_engine_s_own_is_taken(client: Client, bodies_glb: Path) -> None:
    report, *_ = call(client, bodies_glb, api_name="/segment")
    assert report["settings"]["seed"] == SegmentSettings().seed
    endpoints = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    for name in ("/segment", "/generate"):
        defaults = {
            parameter["parameter_name"]: parameter["parameter_default"]
            for parameter in endpoints[name]["parameters"]
            if parameter["parameter_has_default"]
        }
        assert [defaults[key] for key in ("seed", "points", "prompts")] == [None, None, None]


def test_generate_segments_and_closes(client: Client, table_glb: Path) -> None:
    report, glb, face_ids, _ = call(
        client, table_glb, preset="preview", part_count=5, api_name="/generate"
    )
    assert report["job"] == "generate"
    assert len(report["parts"]) == len(np.unique(np.load(face_ids))) == 5
    scene = trimesh.load(glb)
    for part in report["parts"]:
        assert part["state"] in ("closed", "open")
        assert (part["reason"] == "") == (part["state"] == "closed")
        if part["state"] == "closed":
            assert scene.geometry[part["name"]].is_watertight


def test_generate_takes_labels_and_keeps_their_numbers(
    client: Client, bodies_glb: Path, tmp_path: Path
) -> None:
    faces = len(trimesh.load(bodies_glb, force="mesh").faces)
    labels = np.repeat(np.array([7, -1, 2], dtype=np.int64), faces // 3)
    np.save(tmp_path / "labels.npy", labels)
    report, _, face_ids, _ = call(client, bodies_glb, tmp_path / "labels.npy", api_name="/generate")
    assert [part["id"] for part in report["parts"]] == [2, 7]
    assert np.array_equal(np.load(face_ids), labels)


def test_status_says_who_holds_the_memory(client: Client) -> None:
    memory = client.predict(api_name="/status")
    assert memory["host"]["total_bytes"] > 0
    names = [component["name"] for component in memory["manager"]["components"]]
    assert names == ["p3sam", "xpart.conditioner", "xpart.dit", "xpart.vae"]


def test_unload_answers_with_before_and_after(client: Client) -> None:
    report = client.predict(api_name="/unload")
    assert report["unloaded"] == []
    assert {"before_bytes", "after_bytes", "elapsed_s"} <= set(report)


@pytest.mark.parametrize(
    ("content", "options", "text"),
    [
        (b"glTF and then nothing", {}, "broken.glb"),
        (None, {"preset": "best"}, "is not a preset"),
        (None, {"part_count": -4}, "goes from 1 to"),
        (None, {"engine": "p3sam"}, "weights not present"),
        (None, {"points": 0}, "point_num is 0"),
        (None, {"prompts": 20_000}, "prompt_num is 20000; it goes up to"),
    ],
)
def test_what_is_refused_comes_with_our_text(
    client: Client,
    bodies_glb: Path,
    tmp_path: Path,
    *,
    content: bytes | None,
    options: dict[str, object],
    text: str,
) -> None:
    mesh = bodies_glb
    if content is not None:
        mesh = tmp_path / "broken.glb"
        mesh.write_bytes(content)
    with pytest.raises(AppError, match=text):
        call(client, mesh, api_name="/segment", **options)


@pytest.mark.parametrize("path", ["app.py", "/etc/passwd", "{session}/upload", "uploads/../x"])
def test_paths_of_the_server_are_refused(server: Server, studio: Studio, path: str) -> None:
    session = studio.workspace.session_for("victim")
    (session.folder / "upload").write_bytes(b"private")
    given = {"path": path.format(session=session.folder), "meta": {"_type": "gradio.FileData"}}
    url = f"{server.url}/gradio_api/call/segment"
    data = [given, "balanced", 0, 0.5, 0, "auto", None, None]
    event_id = httpx.post(url, json={"data": data}).json()["event_id"]
    answer = httpx.get(f"{url}/{event_id}").text
    studio.workspace.close_session("victim")
    assert "event: error" in answer
    assert "private" not in answer


def test_progress_is_reported_while_it_runs(client: Client, table_glb: Path) -> None:
    job = client.submit(handle_file(table_glb), preset="preview", api_name="/segment")
    job.result(timeout=180)
    reports = [output[0] for output in job.outputs()]
    assert reports[-1]["state"] == "done"
    running = [report for report in reports if report["state"] in ("running", "checking")]
    assert len({report["stage"] for report in running}) >= 2
    fractions = [report["fraction"] for report in running]
    assert all(0 <= fraction <= 1 for fraction in fractions)


def test_a_call_leaves_no_session_and_no_upload(
    server: Server, studio: Studio, client: Client, bodies_glb: Path
) -> None:
    call(client, bodies_glb, api_name="/segment")
    wait_until(lambda: not session_folders(studio), "the session's folder is gone")
    answers = {"parts.glb", "face_ids.npy", "parts-glb.zip"}
    wait_until(
        lambda: {path.name for path in uploads(studio) if not is_due_soon(path)} <= answers,
        "only the answers stay a while",
    )


def test_a_cancelled_call_ends_the_job(studio: Studio, client: Client, table_glb: Path) -> None:
    job = client.submit(handle_file(table_glb), api_name="/segment")
    wait_until(lambda: studio.pool.busy_count, "the job is at work")
    job.cancel()
    wait_until(lambda: not studio.pool.busy_count, "the worker has ended")
    wait_until(lambda: not session_folders(studio), "the session's folder is gone")
