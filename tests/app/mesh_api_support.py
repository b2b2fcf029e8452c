"""The HTTP routes under other settings, and programs that ask them without a network."""

from dataclasses import replace

from starlette.applications import Starlette
from starlette.testclient import TestClient

from studio.configuration import load_configuration
from studio.http import build_routes
from studio.workflow import Studio


def asked(studio: Studio, environment: dict[str, str] | None = None, **settings: object) -> Studio:
    """The same application under other settings."""
    configuration = load_configuration(environment=environment or {}, overrides=settings)
    return replace(studio, configuration=configuration)


def client_of(studio: Studio, client: str = "127.0.0.1", control_token: str = "") -> TestClient:
    """A program at an address, without a network."""
    app = Starlette(routes=build_routes(studio, control_token))
    return TestClient(app, base_url="http://127.0.0.1:7860", client=(client, 50000))
