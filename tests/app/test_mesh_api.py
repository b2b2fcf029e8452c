"""The HTTP routes for programs: jobs from upload to files, their limits, who may ask, memory."""

import asyncio
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import trimesh
from starlette.applications import Starlette

from studio import mesh_jobs
from studio.http import build_routes
from studio.workflow import Studio
from tests.app.mesh_api_support import asked, client_of
from tests.app.support import LINE_LENGTH, Server, session_folders, wait_until

pytestmark = pytest.mark.usefixtures("tidy")
FAST = {"preset": "preview", "engine": "geometric"}


def post(
    server: Server, kind: str, mesh: Path, *, labels: bytes | None = None, **fields: str
) -> httpx.Response:
    files: dict[str, Any] = {"mesh": (mesh.name, mesh.read_bytes())}
    if labels is not None:
        files["labels"] = ("face_ids.npy", labels)
    return httpx.post(f"{server.url}/api/mesh/{kind}", files=files, data={**FAST, **fields})


def follow(server: Server, answer: httpx.Response, state: str = "done") -> dict[str, Any]:
    """The job's status as soon as it is in that state."""
    assert answer.status_code == 202, answer.text
    url = f"{server.url}{answer.json()['status_url']}"

    def reached() -> dict[str, Any] | None:
        told: dict[str, Any] = httpx.get(url).json()
        assert told["state"] != "failed" or state == "failed", told
        return told if told["state"] == state else None

    found: dict[str, Any] = wait_until(reached, f"the job is {state}")
    return found


def labels_file(labels: np.ndarray) -> bytes:  # type: ignore[type-arg]
    buffer = io.BytesIO()
    np.save(buffer, labels)
    return buffer.getvalue()


def test_a_mesh_is_segmented_by_a_form(server: Server, bodies_glb: Path) -> None:
    answer = post(server, "segment", bodies_glb)
    assert answer.headers["location"] == answer.json()["status_url"]
    told = follow(server, answer)
    assert told["job"] == "segment"
    assert told["report"]["engine"] == "geometric"
    assert [part["faces"] for part in told["report"]["parts"]] == [80, 80, 80]
    for name, url in told["files"].items():
        got = httpx.get(f"{server.url}{url}")
        assert got.status_code == 200
        assert got.headers["content-disposition"] == f'attachment; filename="{name}"'
        assert got.headers["x-content-type-options"] == "nosniff"
    face_ids = np.load(
        io.BytesIO(httpx.get(f"{server.url}{told['files']['face_ids.npy']}").content)
    )
    assert np.bincount(face_ids).tolist() == [80, 80, 80]


def test_a_mesh_is_segmented_by_a_plain_body(server: Server, bodies_glb: Path) -> None:
    answer = httpx.post(
        f"{server.url}/api/mesh/segment",
        params={"filename": "../odd name.glb", "parts": "3", **FAST},
        content=bodies_glb.read_bytes(),
    )
    told = follow(server, answer)
    assert told["report"]["source"]["name"] == "odd name.glb"
    assert len(told["report"]["parts"]) == 3


def test_parts_of_given_labels_are_closed(server: Server, bodies_glb: Path) -> None:
    labels = np.repeat([4, 9, -1], 80)
    told = follow(server, post(server, "generate", bodies_glb, labels=labels_file(labels)))
    assert [part["id"] for part in told["report"]["parts"]] == [4, 9]
    assert {part["state"] for part in told["report"]["parts"]} == {"closed"}
    scene = trimesh.load(
        io.BytesIO(httpx.get(f"{server.url}{told['files']['parts.glb']}").content), file_type="glb"
    )
    assert len(scene.geometry) == 2


def test_without_labels_the_mesh_is_segmented_before(server: Server, bodies_glb: Path) -> None:
    told = follow(server, post(server, "generate", bodies_glb))
    assert [part["state"] for part in told["report"]["parts"]] == ["closed"] * 3


def test_a_job_is_never_told_as_done_without_its_report(
    server: Server, bodies_glb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document_of = mesh_jobs.MeshJobs.document_of

    def look_as_it_ends(jobs: mesh_jobs.MeshJobs, job: mesh_jobs.MeshJob) -> object:
        found = document_of(jobs, job)
        if found is None:
            wait_until(lambda: job.is_over, "the job is over")
        return found

    monkeypatch.setattr(mesh_jobs.MeshJobs, "document_of", look_as_it_ends)
    assert "report" in follow(server, post(server, "segment", bodies_glb))


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"preset": "best"}, "best"),
        ({"parts": "many"}, "many"),
        ({"parts": "1e3"}, "1e3"),
        ({"parts": "201"}, "201"),
        ({"parts": "9" * 5000}, "form cannot be read"),
        ({"detail": "nan"}, "nan"),
        ({"detail": "2"}, "2"),
        ({"seed": "-1"}, "-1"),
        ({"engine": "magic"}, "magic"),
        ({"engine": "p3sam"}, "weights not present"),
        ({"engine": "xpart"}, "xpart"),
        ({"points": "²"}, "²"),
        ({"prompts": "0"}, "prompt"),
        ({"precision": "fp12"}, "fp12"),
        ({"nearest": "perhaps"}, "perhaps"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_bad_option_is_refused_in_words(
    server: Server, bodies_glb: Path, fields: dict[str, str], found: str
) -> None:
    answer = post(server, "segment", bodies_glb, **fields)
    assert answer.status_code == 400
    assert found in answer.json()["error"]
    assert answer.json()["error"].endswith(".")
    assert session_folders(server.studio) == []


@pytest.mark.parametrize(
    ("request_body", "found"),
    [
        ({"data": {"preset": "preview"}}, "no name"),
        ({"files": {"other": ("a.glb", b"x")}}, "No mesh was sent"),
        ({"files": {"mesh": ("a.glb", b"")}}, "empty"),
        ({"files": {"mesh": ("a.fbx", b"x")}}, ".fbx"),
        ({"files": {"mesh": ("a", b"x")}}, "no extension"),
        ({"files": {"mesh": ("a.glb", b"x"), "labels": ("l.npy", b"x")}}, "labels"),
        ({"params": {"filename": "a.glb"}, "content": b""}, "empty"),
        ({"params": {"filename": "a.glb", "path": "/etc"}, "content": b"x"}, "path"),
        ({"content": b"x"}, "no name"),
        (
            {"content": b"--x\r\noops", "headers": {"content-type": "multipart/form-data"}},
            "form cannot be read",
        ),
    ],
)
def test_a_request_without_a_usable_mesh_is_refused(
    server: Server, request_body: dict[str, Any], found: str
) -> None:
    answer = httpx.post(f"{server.url}/api/mesh/segment", **request_body)
    assert answer.status_code == 400
    assert found in answer.json()["error"]
    assert session_folders(server.studio) == []


def test_a_mesh_that_is_not_sound_fails_with_its_reason(server: Server, tmp_path: Path) -> None:
    broken = tmp_path / "broken.glb"
    broken.write_bytes(b"glTF but not really")
    told = follow(server, post(server, "segment", broken), "failed")
    assert "broken.glb" in told["message"]
    assert "files" not in told
    assert session_folders(server.studio) == []
    files = httpx.get(f"{server.url}/api/jobs/{told['job_id']}/files/parts.glb")
    assert files.status_code == 404


def test_labels_that_do_not_fit_fail_with_their_reason(server: Server, bodies_glb: Path) -> None:
    answer = post(server, "generate", bodies_glb, labels=labels_file(np.zeros(7, dtype=int)))
    assert "(7,)" in follow(server, answer, "failed")["message"]


def test_an_announced_length_beyond_the_limit_is_refused_unread(studio: Studio) -> None:
    small = asked(studio, {"PARTWISE_MESH_MAX_FILE_BYTES": "100000"})
    chunks = _chunks_read(small, chunk_count=1, announced=2 * 10**9)
    assert chunks == (413, 0)


@pytest.mark.parametrize("kind", ["application/octet-stream", "multipart/form-data; boundary=x"])
def test_a_body_is_read_no_further_than_the_limit(studio: Studio, kind: str) -> None:
    small = asked(studio, {"PARTWISE_MESH_MAX_FILE_BYTES": "100000"})
    status, chunks = _chunks_read(small, chunk_count=1000, kind=kind)
    assert status == 413
    assert chunks * 10_000 < 100_000 + 64 * 1024 + 2 * 10_000
    assert session_folders(studio) == []


def _chunks_read(
    studio: Studio,
    *,
    chunk_count: int,
    announced: int | None = None,
    kind: str = "application/octet-stream",
) -> tuple[int, int]:
    """Send chunks of 10 000 bytes; the status, and how many chunks were taken before it."""
    headers = [(b"host", b"127.0.0.1"), (b"content-type", kind.encode())]
    if announced is not None:
        headers.append((b"content-length", str(announced).encode()))
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/api/mesh/segment",
        "query_string": b"filename=a.glb",
        "headers": headers,
        "client": ("127.0.0.1", 50000),
        "http_version": "1.1",
        "scheme": "http",
        "server": ("127.0.0.1", 80),
    }
    head = b'--x\r\nContent-Disposition: form-data; name="mesh"; filename="a.glb"\r\n\r\n'
    taken: list[bytes] = []
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        taken.append((head if "form" in kind and not taken else b"").ljust(10_000, b"."))
        return {"type": "http.request", "body": taken[-1], "more_body": len(taken) < chunk_count}

    async def send(message: Any) -> None:
        statuses.extend([message["status"]] if "status" in message else [])

    with ThreadPoolExecutor(1) as thread:  # the browser's loop runs in this one
        application = Starlette(routes=build_routes(studio))
        thread.submit(asyncio.run, application(scope, receive, send)).result()
    return statuses[0], len(taken)


def test_a_client_that_goes_away_leaves_nothing(server: Server) -> None:
    def broken_off() -> Iterator[bytes]:
        yield b"glTF"
        raise ConnectionAbortedError

    url = f"{server.url}/api/mesh/segment?filename=a.glb"
    with pytest.raises(ConnectionAbortedError):
        httpx.post(url, content=broken_off(), headers={"content-length": "100000"})
    wait_until(lambda: session_folders(server.studio) == [], "the session is gone")
    assert httpx.get(f"{server.url}/healthz").json()["running"] is False


def test_jobs_wait_their_turn_and_can_be_cancelled(
    server: Server, studio: Studio, bodies_glb: Path
) -> None:
    with studio.lane.place() as place:
        assert place.wait(1) is None
        first, second = (post(server, "segment", bodies_glb) for _ in range(2))
        told = follow(server, second, "queued")
        assert (told["position"], told["waiting"]) == (2, 2)
        answer = httpx.delete(f"{server.url}{first.json()['status_url']}")
        assert answer.json()["state"] == "cancelling"
        told = follow(server, first, "cancelled")
        assert told["message"].startswith("Cancelled")
        wait_until(
            lambda: httpx.get(f"{server.url}{second.json()['status_url']}").json()["position"] == 1,
            "the other moved up",
        )
    follow(server, second)
    assert len(session_folders(studio)) == 1


def test_a_running_job_tells_how_far_it_is_and_stops_on_request(
    server: Server, tmp_path: Path
) -> None:
    large = tmp_path / "large.stl"
    large.write_bytes(trimesh.creation.icosphere(7).export(file_type="stl"))
    answer = post(server, "segment", large, preset="quality")
    told = follow(server, answer, "running")
    assert told["stage"]
    assert 0 <= told["fraction"] <= 1
    httpx.delete(f"{server.url}{answer.json()['status_url']}")
    follow(server, answer, "cancelled")
    assert session_folders(server.studio) == []


def test_a_full_line_says_when_to_come_again(
    server: Server, studio: Studio, bodies_glb: Path
) -> None:
    with studio.lane.place() as place:
        assert place.wait(1) is None
        waiting = [post(server, "segment", bodies_glb) for _ in range(LINE_LENGTH)]
        folders = session_folders(studio)
        refused = post(server, "segment", bodies_glb)
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) > 0
        assert "jobs are waiting" in refused.json()["error"]
        assert session_folders(studio) == folders
        for answer in waiting:
            httpx.delete(f"{server.url}{answer.json()['status_url']}")


def test_a_place_lost_while_uploading_is_told_the_same_way(
    studio: Studio, bodies_glb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mesh_jobs.MeshJobs, "raise_if_full", lambda _: None)
    with studio.lane.place() as place:
        assert place.wait(1) is None
        client = client_of(studio)
        query = "/api/mesh/segment?filename=a.glb"
        waiting = [client.post(query, content=b"x") for _ in range(LINE_LENGTH)]
        refused = client.post(query, content=b"x")
        assert refused.status_code == 429
        assert len(session_folders(studio)) == LINE_LENGTH
        for answer in waiting:
            client.delete(answer.json()["status_url"])


def test_a_job_that_is_over_is_removed_with_its_result(server: Server, bodies_glb: Path) -> None:
    told = follow(server, post(server, "segment", bodies_glb))
    url = f"{server.url}/api/jobs/{told['job_id']}"
    assert httpx.delete(url).json()["state"] == "removed"
    assert httpx.get(url).status_code == 404
    assert httpx.get(f"{server.url}{told['files']['parts.glb']}").status_code == 404
    assert session_folders(server.studio) == []


def test_the_janitor_removes_a_result_with_its_session(server: Server, bodies_glb: Path) -> None:
    told = follow(server, post(server, "segment", bodies_glb))
    (session,) = server.studio.workspace._sessions.values()
    session.last_used -= 7 * 3600
    server.studio.workspace.sweep()
    answer = httpx.get(f"{server.url}/api/jobs/{told['job_id']}")
    assert answer.status_code == 404
    assert "removed" in answer.json()["error"]


@pytest.mark.slow
def test_only_the_last_results_are_kept(
    studio: Studio, bodies_glb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mesh_jobs, "KEPT_JOBS", 2)
    client, urls = client_of(studio), []
    for _ in range(4):
        answer = client.post(
            "/api/mesh/segment?filename=a.glb&preset=preview", content=bodies_glb.read_bytes()
        )
        url = answer.json()["status_url"]
        urls.append(url)
        wait_until(lambda url=url: client.get(url).json().get("state") == "done", "it is done")
    wait_until(lambda: len(session_folders(studio)) == 2, "the older ones are gone")
    assert [client.get(url).status_code for url in urls] == [404, 404, 200, 200]


def test_other_names_than_the_files_find_nothing(server: Server, bodies_glb: Path) -> None:
    told = follow(server, post(server, "segment", bodies_glb))
    url = f"{server.url}/api/jobs/{told['job_id']}/files"
    for name in ("x.glb", "..%2f..%2fetc%2fpasswd", "view.glb", "PARTS.GLB", "", "%2e%2e"):
        assert httpx.get(f"{url}/{name}").status_code == 404
    assert httpx.get(f"{server.url}/api/jobs/{'0' * 32}").status_code == 404


@pytest.mark.parametrize("twice", ["mesh", "seed"])
def test_what_is_sent_twice_is_refused_and_nothing_starts(
    server: Server, bodies_glb: Path, twice: str
) -> None:
    files = [("mesh", ("bodies.glb", bodies_glb.read_bytes()))]
    files += files if twice == "mesh" else [("seed", (None, seed)) for seed in (b"1", b"2")]
    answer = httpx.post(f"{server.url}/api/mesh/segment", files=files)
    assert answer.status_code == 400
    assert f"“{twice}” was sent more than once" in answer.json()["error"]
    assert not server.studio.lane.is_taken
