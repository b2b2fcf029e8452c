"""The routes beside the page: health, metrics, the viewer's bundle, the files of a session."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from studio import results
from studio.candidates import build_candidates
from studio.configuration import load_configuration
from studio.http import build_routes
from studio.ui import flows
from studio.ui.flows import Status
from studio.ui.views import segment_view
from studio.workflow import Studio
from studio.workspace import Session
from tests.app.support import Server, open_and_cut


@pytest.fixture(scope="module")
def session(server: Server, bodies_glb: Path) -> Iterator[Session]:
    """A session with a mesh in three parts, not closed yet; the tests only read it."""
    opened = open_and_cut(server.studio, "http", bodies_glb)
    yield opened
    server.studio.workspace.close_session("http")


def address(server: Server, session: Session, *, kind: str, name: str, revision: int = 1) -> str:
    return f"{server.url}/partwise/files/{session.capability}/{kind}/{revision}/{name}"


def test_health_says_that_the_server_is_up(server: Server) -> None:
    answer = httpx.get(f"{server.url}/healthz")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok"
    assert answer.json()["running"] is False


def test_metrics_answer_to_this_machine(server: Server) -> None:
    answer = httpx.get(f"{server.url}/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'partwise_host_memory_bytes{kind="total"}' in answer.text
    assert "partwise_jobs_running 0" in answer.text


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded"])
def test_metrics_refuse_what_came_through_a_proxy(server: Server, header: str) -> None:
    answer = httpx.get(f"{server.url}/metrics", headers={header: "127.0.0.1"})
    assert answer.status_code == 403
    assert "partwise_" not in answer.text


def test_metrics_with_a_token_answer_to_that_token_only(studio: Studio) -> None:
    configuration = load_configuration(environment={}, overrides={"metrics_token": "key-1"})
    routes = build_routes(replace(studio, configuration=configuration))
    client = TestClient(Starlette(routes=routes), client=("127.0.0.1", 50000))
    assert client.get("/metrics").status_code == 403
    assert client.get("/metrics", headers={"Authorization": "Bearer key-2"}).status_code == 403
    assert client.get("/metrics", headers={"Authorization": "Bearer key-1"}).status_code == 200


def test_metrics_without_a_token_refuse_other_machines(studio: Studio) -> None:
    client = TestClient(Starlette(routes=build_routes(studio)), client=("10.0.0.7", 50000))
    assert client.get("/metrics").status_code == 403
    assert client.get("/healthz").status_code == 200


def test_the_bundle_of_the_viewer_is_served_and_nothing_beside_it(server: Server) -> None:
    script = httpx.get(f"{server.url}/partwise/viewer/viewer.js")
    assert script.status_code == 200
    assert "javascript" in script.headers["content-type"]
    assert httpx.get(f"{server.url}/partwise/viewer/viewer.css").status_code == 200
    assert httpx.get(f"{server.url}/partwise/viewer/../style.css").status_code == 404
    assert httpx.get(f"{server.url}/partwise/viewer/%2e%2e/style.css").status_code == 404


def test_every_file_on_offer_is_served_safely(server: Server, session: Session) -> None:
    document = session.document
    assert document is not None
    for name in results.downloads(document, results.PARTS):
        answer = httpx.get(address(server, session, kind="parts", name=name))
        assert answer.status_code == 200
        assert answer.content == results.download(document, results.PARTS, name) or "zip" in name
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "private, no-store"
        assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'


def test_the_file_of_the_viewer_is_no_attachment(server: Server, session: Session) -> None:
    answer = httpx.get(address(server, session, kind="parts", name="view.glb"))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "model/gltf-binary"
    assert "content-disposition" not in answer.headers
    assert answer.content[:4] == b"glTF"


def test_the_masks_of_a_point_are_served_while_they_are_on_offer(
    server: Server, session: Session
) -> None:
    document = session.document
    assert document is not None
    masks = np.zeros((3, len(document.source.faces)), dtype=bool)
    masks[:, :7] = True
    document.set_candidates(build_candidates(document.source, (0, 0, 0), masks, (0.1, 0.2, 0.3)))
    view = segment_view(session, Status("done"))
    offered = view["candidates"]
    assert isinstance(offered, tuple)
    assert [mask["faces"] for mask in offered] == [7, 7, 7]
    for mask in offered:
        answer = httpx.get(f"{server.url}/{mask['glb_url']}")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "model/gltf-binary"
        assert answer.headers["cache-control"] == "private, no-store"
        assert "content-disposition" not in answer.headers
        assert answer.content[:4] == b"glTF"
    document.set_candidates(None)
    assert httpx.get(f"{server.url}/{offered[0]['glb_url']}").status_code == 404
    assert segment_view(session, Status("done"))["candidates"] == ()


def test_a_wrong_capability_finds_nothing(server: Server, session: Session) -> None:
    right = address(server, session, kind="parts", name="parts.glb")
    for wrong in ("0" * 32, session.capability[:-1], session.capability.upper(), "%2e%2e"):
        assert httpx.get(right.replace(session.capability, wrong)).status_code == 404


def test_an_older_revision_is_gone(server: Server, session: Session) -> None:
    for revision in (0, 2, 10**30):
        url = address(server, session, kind="parts", name="parts.glb", revision=revision)
        answer = httpx.get(url)
        assert answer.status_code == 410
        assert "replaced" in answer.text


def test_a_picture_may_be_newer_than_asked_for_but_not_older(
    server: Server, session: Session
) -> None:
    statuses = [
        httpx.get(
            address(server, session, kind="parts", name="view.glb", revision=revision)
        ).status_code
        for revision in (0, 1, 2)
    ]
    assert statuses == [200, 200, 410]


@pytest.mark.parametrize("name", ["view.glb", "parts-obj.zip", "aabb.json", "report.json"])
def test_files_that_do_not_exist_yet_are_not_found(
    server: Server, session: Session, name: str
) -> None:
    answer = httpx.get(address(server, session, kind="completed", name=name))
    assert answer.status_code == 404
    assert answer.text == "There is no such file.\n"


@pytest.mark.parametrize(
    "name",
    [
        "..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e",
        "../report.json",
        "parts.glb%00.json",
        "parts.glb/..",
        "PARTS.GLB",
        "%2Fetc%2Fpasswd",
    ],
)
def test_paths_in_a_name_find_nothing(server: Server, session: Session, name: str) -> None:
    url = address(server, session, kind="parts", name=name)
    assert httpx.get(url).status_code == 404
    assert httpx.get(address(server, session, kind=name, name="parts.glb")).status_code == 404


def test_the_folders_on_disk_are_not_served(server: Server, session: Session) -> None:
    (session.folder / "secret.txt").write_text("mine")
    for path in (session.folder / "secret.txt", Path("/etc/passwd"), Path("app.py").resolve()):
        assert httpx.get(f"{server.url}/gradio_api/file={path}").status_code in (403, 404)


def test_links_of_a_closed_page_are_gone(server: Server, session: Session) -> None:
    other = server.studio.workspace.session_for("closed")
    other.document = session.document
    url = address(server, other, kind="parts", name="parts.glb")
    assert httpx.get(url).status_code == 200
    server.studio.workspace.close_session("closed")
    assert httpx.get(url).status_code == 404


def test_a_busy_server_still_answers(server: Server, studio: Studio, session: Session) -> None:
    with studio.lane.place() as place:
        assert place.wait(1) is None
        steps = flows.close_parts(studio, session, (0, 1, 2), "auto")
        next(steps)
        assert next(steps).state == "queued"
        answer = httpx.get(f"{server.url}/healthz").json()
        assert answer["running"] is True
        assert answer["waiting"] == 1
        steps.close()
