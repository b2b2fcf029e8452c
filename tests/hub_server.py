"""A stand-in for the hub on this machine: it speaks the protocol and fails on request.

A file is asked for at its address, which answers with commit, size and checksum and sends on to a
store under another host name, as the real one does; the store honours ranges.
"""

import contextlib
import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OLD_COMMIT = "fedcba9876543210fedcba9876543210fedcba98"
_PIECE_BYTES = 16 * 1024


@dataclass(frozen=True)
class Seen:
    """A request that came."""

    method: str
    path: str
    range: str | None
    authorization: str | None


@dataclass
class HubServer:
    """What it holds, how it misbehaves, what it has seen. Change the fields between requests."""

    repository: str
    files: dict[str, bytes]
    revisions: dict[str, str] = field(default_factory=lambda: {"main": COMMIT, "v1": OLD_COMMIT})
    refusal: tuple[int, str] | None = None  # status and X-Error-Code of every answer
    drop_after: list[int] = field(default_factory=list)  # for each download, bytes until it ends
    stall_after: int | None = None  # bytes after which a download is silent
    piece_pause_s: float = 0.0
    honours_range: bool = True
    has_checksum: bool = True
    stored: dict[str, bytes] = field(default_factory=dict)  # what is sent in place of a file
    seen: list[Seen] = field(default_factory=list)
    url: str = ""

    def downloads(self) -> list[Seen]:
        """The requests for bytes."""
        return [seen for seen in self.seen if seen.path.startswith("/store/")]

    @property
    def port(self) -> str:
        """Where it listens."""
        return self.url.rpartition(":")[2]


@contextmanager
def serve(hub: HubServer) -> Iterator[HubServer]:
    """The server, running until the end of the block."""

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield hub
    finally:
        hub.stall_after = None
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: HubServer
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        path = unquote(self.path)
        self.hub.seen.append(
            Seen(self.command, path, self.headers["Range"], self.headers["Authorization"])
        )
        if path.startswith("/store/"):
            with contextlib.suppress(ConnectionError):  # whoever cancels leaves in the middle
                self._send_bytes(path.removeprefix("/store/"))
        else:
            self._resolve(path)

    def _resolve(self, path: str) -> None:
        hub = self.hub
        repository, _, rest = path.strip("/").partition("/resolve/")
        revision, _, name = rest.partition("/")
        commits = hub.revisions | {commit: commit for commit in hub.revisions.values()}
        if hub.refusal:
            self._refuse(*hub.refusal)
        elif repository != hub.repository:
            self._refuse(404, "RepoNotFound")
        elif revision not in commits:
            self._refuse(404, "RevisionNotFound")
        elif name not in hub.files:
            self._refuse(404, "EntryNotFound")
        else:
            content = hub.files[name]
            checksum = hashlib.sha256(content).hexdigest() if hub.has_checksum else "0" * 40
            self._reply(
                302,
                {
                    "Location": f"http://localhost:{hub.port}/store/{name}",
                    "X-Repo-Commit": commits[revision],
                    "X-Linked-Size": str(len(content)),
                    "X-Linked-ETag": f'"{checksum}"',
                    "Content-Length": "0",
                },
            )

    def _send_bytes(self, name: str) -> None:
        hub = self.hub
        content = hub.stored.get(name, hub.files[name])
        wanted = self.headers["Range"] if hub.honours_range else None
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        headers = {"Content-Length": str(len(content) - start)}
        if wanted:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._reply(206 if wanted else 200, headers)
        stop = start + hub.drop_after.pop(0) if hub.drop_after else len(content)
        for place in range(start, min(stop, len(content)), _PIECE_BYTES):
            self.wfile.write(content[place : min(place + _PIECE_BYTES, stop)])
            time.sleep(hub.piece_pause_s)
            while hub.stall_after is not None and place - start >= hub.stall_after:
                time.sleep(0.02)
        if stop < len(content):
            self.close_connection = True

    def _refuse(self, status: int, code: str) -> None:
        headers = {"X-Error-Code": code} if code else {}
        self._reply(status, {**headers, "Content-Length": "0"})

    def _reply(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
