"""Who may ask the HTTP routes for programs, and what they tell of memory."""

import httpx
import pytest

from studio.workflow import Studio
from tests.app.mesh_api_support import asked, client_of
from tests.app.support import Server

ROUTES = [
    ("POST", "/api/mesh/segment"),
    ("POST", "/api/mesh/generate"),
    ("GET", "/api/jobs/0"),
    ("DELETE", "/api/jobs/0"),
    ("GET", "/api/jobs/0/files/parts.glb"),
    ("GET", "/api/memory/status"),
    ("POST", "/api/mesh/clear_gpu_memory"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_strangers_are_refused_on_every_route(studio: Studio, method: str, path: str) -> None:
    far = client_of(studio, "10.0.0.7").request(method, path)
    assert far.status_code == 403
    assert "PARTWISE_APP_API_TOKEN" in far.json()["error"]
    locked = client_of(asked(studio, api_token="key"), "10.0.0.7")
    answer = locked.request(method, path, headers={"Authorization": "Bearer kez"})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    admitted = locked.request(method, path, headers={"Authorization": "Bearer key"})
    assert admitted.status_code not in (401, 403)


@pytest.mark.parametrize(("method", "path"), ROUTES)
@pytest.mark.parametrize(
    "header", [("Origin", "https://evil.example"), ("Host", "evil.example:7860")]
)
def test_other_websites_are_refused_on_every_route(
    server: Server, method: str, path: str, header: tuple[str, str]
) -> None:
    answer = httpx.request(method, f"{server.url}{path}", headers=dict([header]))
    assert answer.status_code == 403
    assert answer.json()["error"].endswith(".")


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_the_control_token_opens_memory_and_nothing_else(
    studio: Studio, method: str, path: str
) -> None:
    client = client_of(asked(studio, api_token="key"), control_token="mine")
    answer = client.request(method, path, headers={"Authorization": "Bearer mine"})
    is_memory = path in ("/api/memory/status", "/api/mesh/clear_gpu_memory")
    assert answer.status_code == (200 if is_memory else 401)


def test_memory_is_told_as_the_page_knows_it(server: Server) -> None:
    told = httpx.get(f"{server.url}/api/memory/status").json()
    assert told["host"]["total_bytes"] > 0
    names = [each["name"] for each in told["manager"]["components"]]
    assert names == ["p3sam", "xpart.conditioner", "xpart.dit", "xpart.vae"]
    assert told["plan"] is None
    assert told["preferences"]["budget_bytes"] is None


def test_clearing_tells_before_and_after_and_what_is_in_use(server: Server) -> None:
    told = httpx.post(f"{server.url}/api/mesh/clear_gpu_memory").json()
    assert told["before_bytes"] > 0
    assert told["after_bytes"] > 0
    assert told["unloaded"] == []
    assert told["in_use"] == []
