"""A page of the browser that notes what it asks for, what fails in it, and when it is at rest."""

import time
from typing import Any

_TWO_FRAMES = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
_STREAMS = ("/queue/data", "/heartbeat/")  # these end with a job or with the page
_PATIENCE_S = 30.0
_LOOK_AGAIN_MS = 10


class WatchedPage:
    """One page; remembers each request that left the server, and each error of its scripts."""

    def __init__(self, page: Any, address: str) -> None:
        self.page = page
        self.address = address.rstrip("/")
        self.outside: list[str] = []
        self.problems: list[str] = []
        self._unanswered: set[Any] = set()
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("request", self._note_request)
        page.on("requestfinished", self._note_answer)
        page.on("requestfailed", self._note_answer)

    def _note_request(self, request: Any) -> None:
        if not request.url.startswith((f"{self.address}/", "blob:", "data:")):
            self.outside.append(request.url)
        elif not any(stream in request.url for stream in _STREAMS):
            self._unanswered.add(request)

    def _note_answer(self, request: Any) -> None:
        self._unanswered.discard(request)

    def rest(self) -> None:
        """Wait until the page has drawn, and every request that it made is answered."""
        deadline = time.monotonic() + _PATIENCE_S
        self.page.evaluate(_TWO_FRAMES)
        while self._unanswered:
            assert time.monotonic() < deadline, [request.url for request in self._unanswered]
            self.page.wait_for_timeout(_LOOK_AGAIN_MS)
        self.page.evaluate(_TWO_FRAMES)
