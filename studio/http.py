"""The routes beside the page: health, metrics, the viewer's bundle, a session's files, programs'.

They are served by the same server as the page but outside its login, so each has its own rule:
health is open, metrics and the routes for programs answer to this machine or to a token, files to
their capability.
"""

import hmac
import logging
from collections.abc import Callable
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from partwise import __version__
from partwise.vram.export import prometheus_text
from studio import results
from studio.configuration import ROOT
from studio.document import Document
from studio.file_response import file_response
from studio.mesh_api import mesh_routes
from studio.workflow import Studio

logger = logging.getLogger(__name__)

PREFIX = "/partwise"
VIEW = "view.glb"


def build_routes(studio: Studio, control_token: str = "") -> list[BaseRoute]:
    """The routes for the server that also serves the page.

    control_token: opens the routes about memory to this user's command line.
    """
    return [
        *mesh_routes(studio, control_token),
        Route("/healthz", _health(studio)),
        Route("/metrics", _metrics(studio)),
        Route(f"{PREFIX}/files/{{capability}}/{{kind}}/{{revision:int}}/{{name}}", _file(studio)),
        Mount(f"{PREFIX}/viewer", StaticFiles(directory=ROOT / "assets" / "viewer")),
        Mount(f"{PREFIX}/examples", StaticFiles(directory=ROOT / "assets" / "examples")),
    ]


def file_url(capability: str, kind: str, revision: int, name: str) -> str:
    """Where the browser finds a file, relative to the page."""
    return f"{PREFIX.lstrip('/')}/files/{capability}/{kind}/{revision}/{quote(name)}"


def _health(studio: Studio) -> Callable[[Request], Response]:
    def health(_: Request) -> Response:
        return JSONResponse(
            {
                "status": "ok",
                "version": __version__,
                "running": studio.lane.is_taken,
                "waiting": studio.lane.waiting_count,
            }
        )

    return health


def _metrics(studio: Studio) -> Callable[[Request], Response]:
    def metrics(request: Request) -> Response:
        if not _may_read_metrics(request, studio.configuration.app.metrics_token):
            return PlainTextResponse("Metrics need the metrics token.\n", status_code=403)
        text = prometheus_text(
            studio.monitor.latest(),
            studio.manager.get_status(),
            event_counts=studio.monitor.event_counts(),
            plan=studio.memory.control.last_plan(),
        )
        jobs = f"partwise_jobs_running {int(studio.lane.is_taken)}\n"
        jobs += f"partwise_jobs_waiting {studio.lane.waiting_count}\n"
        jobs += f"partwise_sessions {studio.workspace.session_count}\n"
        return PlainTextResponse(text + jobs, media_type="text/plain; version=0.0.4")

    return metrics


def _may_read_metrics(request: Request, token: str) -> bool:
    if token:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        return hmac.compare_digest(given.encode(), token.encode())
    is_forwarded = "x-forwarded-for" in request.headers or "forwarded" in request.headers
    host = request.client.host if request.client else ""
    return host in ("127.0.0.1", "::1") and not is_forwarded


def _file(studio: Studio) -> Callable[[Request], Response]:
    def file(request: Request) -> Response:
        where = request.path_params
        session = studio.workspace.by_capability(where["capability"])
        if session is None or session.document is None:
            return PlainTextResponse("This file is gone: its page was closed.\n", status_code=404)
        is_view = where["name"] == VIEW
        try:
            content = _content(session.document, where["kind"], where["name"], where["revision"])
        except KeyError:
            return PlainTextResponse("There is no such file.\n", status_code=404)
        except _Replaced:
            text = "This result was replaced by a newer one. Use the links on the page.\n"
            return PlainTextResponse(text, status_code=410)
        is_download = not is_view and where["kind"] != results.MASKS
        return file_response(content, where["name"], is_download=is_download)

    return file


class _Replaced(Exception):
    """The file is of an earlier state of the document."""


def _content(document: Document, kind: str, name: str, revision: int) -> bytes:
    """A file of the document as it stood at a revision; a picture may be newer than asked for.

    While parts are being made a picture is often replaced before a slow machine has drawn it; with
    none but the newest allowed, there would be none at all.
    """
    is_mask = kind == results.MASKS
    if not is_mask and kind not in (results.INPUT, results.PARTS, results.COMPLETED):
        raise KeyError(kind)
    if name == VIEW and not is_mask:
        if revision > document.picture_revision:
            raise _Replaced
        return results.view_glb(document, kind)
    with document.lock:
        if revision != document.revision:
            raise _Replaced
        if is_mask:
            return results.mask_glb(document, name)
        return results.download(document, kind, name)
