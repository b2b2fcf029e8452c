"""Another cut of a job's parts over HTTP, and of a caller's by gradio's own client."""

import io
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError

from studio.ui import api
from tests.app.support import Server, wait_until

FAST = {"preset": "preview", "engine": "geometric"}


@pytest.fixture(scope="module")
def job(server: Server, table_glb: Path) -> dict[str, Any]:
    """A finished segmentation of the table."""
    return finished(server, "segment", table_glb, **FAST)


def finished(server: Server, kind: str, mesh: Path, **fields: str) -> dict[str, Any]:
    files = {"mesh": (mesh.name, mesh.read_bytes())}
    answer = httpx.post(f"{server.url}/api/mesh/{kind}", files=files, data=fields)
    url = f"{server.url}{answer.json()['status_url']}"

    def done() -> dict[str, Any] | None:
        told: dict[str, Any] = httpx.get(url).json()
        return told if told["state"] == "done" else None

    found: dict[str, Any] = wait_until(done, "the job is done")
    return found


def recut(server: Server, **fields: object) -> httpx.Response:
    return httpx.post(f"{server.url}/api/mesh/recut", json=fields)


def test_a_job_is_cut_again_at_once_and_its_files_are_of_the_new_cut(
    server: Server, job: dict[str, Any]
) -> None:
    started = time.perf_counter()
    told = recut(server, job_id=job["job_id"], parts=4).json()
    print(f"answered in {1000 * (time.perf_counter() - started):.0f} ms")  # noqa: T201
    assert len(told["parts"]) == told["recut_to"] == 4
    assert told["least"] <= 4 <= told["most"]
    ids = {part["id"] for part in told["parts"]}
    assert set(told["face_ids"]) == ids
    file = httpx.get(f"{server.url}{job['files']['face_ids.npy']}").content
    assert np.load(io.BytesIO(file)).tolist() == told["face_ids"]
    report = httpx.get(f"{server.url}/api/jobs/{job['job_id']}").json()["report"]
    assert {part["id"] for part in report["parts"]} == ids


def test_a_request_is_taken_as_json_form_upload_or_query(
    server: Server, job: dict[str, Any]
) -> None:
    url, fields = f"{server.url}/api/mesh/recut", {"job_id": job["job_id"], "detail": "0.5"}
    ways: list[dict[str, Any]] = [
        {"json": fields | {"parts": None}},
        {"data": fields},
        {"params": fields},
        {"files": {name: (None, value) for name, value in fields.items()}},
    ]
    answers = [httpx.post(url, **way).json()["face_ids"] for way in ways]
    assert all(answer == answers[0] for answer in answers)


@pytest.mark.parametrize(
    ("fields", "status", "found"),
    [
        ({"parts": 4, "job_id": "x"}, 404, "no such job"),
        ({"parts": 4, "job_id": None}, 400, "job_id"),
        ({}, 400, "one of the two"),
        ({"parts": 4, "detail": 0.5}, 400, "one of the two"),
        ({"parts": 0}, 400, "is 0"),
        ({"parts": 10**6}, 400, "is 1000000"),
        ({"parts": "many"}, 400, "many"),
        ({"parts": True}, 400, "neither a number nor a text"),
        ({"detail": 2}, 400, "Detail is 2"),
        ({"colour": "red"}, 400, "colour"),
    ],
)
def test_a_wrong_wish_is_refused_in_words(
    server: Server, job: dict[str, Any], fields: dict[str, object], status: int, found: str
) -> None:
    answer = recut(server, **({"job_id": job["job_id"]} | fields))
    assert answer.status_code == status
    assert found in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[4]", "application/json", 400),
        (b"[" * 10_000, "application/json", 400),
        (b"\xff\x00=3", "application/x-www-form-urlencoded", 400),
        (b"--", "multipart/form-data; boundary=x", 400),
        (b"x", "multipart/form-data", 400),
        (b"a" * 20_000, "application/octet-stream", 413),
    ],
)
def test_a_body_that_is_none_is_refused_in_words(
    server: Server, body: bytes, kind: str, status: int
) -> None:
    url = f"{server.url}/api/mesh/recut"
    answer = httpx.post(url, content=body, headers={"content-type": kind})
    assert answer.status_code == status
    assert answer.json()["error"].endswith(".")


def test_closed_parts_are_not_cut_again(server: Server, bodies_glb: Path) -> None:
    job = finished(server, "generate", bodies_glb, preset="preview")
    answer = recut(server, job_id=job["job_id"], parts=2)
    assert answer.status_code == 400
    assert "closed parts" in answer.json()["error"]


def test_a_caller_s_last_segmentation_is_cut_again(server: Server, table_glb: Path) -> None:
    client = server.client()
    with pytest.raises(AppError, match="Call /segment first"):
        client.predict(part_count=4, api_name="/recut")
    client.predict(handle_file(table_glb), preset="preview", api_name="/segment")
    report, glb, face_ids = client.predict(part_count=4, api_name="/recut")
    assert len(report["parts"]) == len(np.unique(np.load(face_ids))) == 4
    assert Path(glb).read_bytes()[:4] == b"glTF"
    report, *_ = client.predict(detail=0.5, api_name="/recut")
    assert report["recut_to"] is None, "the cut that it began with"
    with pytest.raises(AppError, match="one of the two"):
        client.predict(api_name="/recut")


@pytest.mark.slow
def test_the_longest_unused_segmentation_is_forgotten(
    server: Server, bodies_glb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "_KEPT_CUTS", 1)
    first, second = server.client(), server.client()
    for client in (first, second):
        client.predict(handle_file(bodies_glb), preset="preview", api_name="/segment")
    assert second.predict(part_count=3, api_name="/recut")
    with pytest.raises(AppError, match="others came since"):
        first.predict(part_count=3, api_name="/recut")
