"""The running server and its page in headless Chromium: start-up, first page, upload, cancel."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil
from gradio_client import Client, handle_file

from benchmarks.common import ROOT, Payload, mib
from studio.gradio_environment import without_proxy

_START_TIMEOUT_S = 120.0
_PAGE_TIMEOUT_MS = 120_000
_POLL_S = 0.005
_SETTLE_S = 5.0
_TICKS_S = 8.0
_CALLS = "/gradio_api/"
_VIEWER = "document.querySelector('#segment-viewer .pv')?.partwise"
_USABLE = f"{_VIEWER}?.state() === 'empty' && document.querySelector('#upload input[type=file]')"
_PREVIEW = f"{_VIEWER}?.state() === 'ready' && {_VIEWER}.isIdle && {_VIEWER}.memory().faces > 0"


@dataclass(frozen=True)
class Server:
    """A server process of ours; `ready_s` from its start to the first healthy answer."""

    process: psutil.Process
    url: str
    ready_s: float

    def is_running_a_job(self) -> bool:
        """Whether /healthz tells of a job."""
        with urllib.request.urlopen(f"{self.url}/healthz", timeout=10) as answer:
            return bool(json.load(answer)["running"])

    def resident_bytes(self) -> int:
        """Resident size of the server itself, without its workers."""
        return int(self.process.memory_info().rss)

    def worker_bytes(self) -> int:
        """Resident sizes of its workers together."""
        return sum(int(child.memory_info().rss) for child in self.process.children())


@contextmanager
def running_server() -> Iterator[Server]:
    """`app.py` in a process and a folder of its own, both gone afterwards; asked directly."""
    with (
        without_proxy(),
        tempfile.TemporaryDirectory(prefix="benchmark-") as folder,
        tempfile.TemporaryFile() as log,
    ):
        port = _free_port()
        url = f"http://127.0.0.1:{port}"
        environment = dict(os.environ, PARTWISE_APP_WORKSPACE=folder, OMP_WAIT_POLICY="PASSIVE")
        started = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "app.py", "--no-browser", "--host", "127.0.0.1", "--port", str(port)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
        try:
            _wait(lambda: _is_healthy(process, url, log), _START_TIMEOUT_S, "the server is ready")
            yield Server(psutil.Process(process.pid), url, time.perf_counter() - started)
        finally:
            _end(process)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _is_healthy(process: subprocess.Popen[bytes], url: str, log: IO[bytes]) -> bool:
    if process.poll() is not None:
        log.seek(0)
        words = log.read().decode(errors="replace").strip()[-2000:]
        raise RuntimeError(f"app.py ended with {process.returncode}: {words}")
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=2) as answer:
            return bool(json.load(answer)["status"] == "ok")
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=15)
    process.kill()
    process.wait()


def _wait(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {timeout_s:.0f} s still not: {what}")
        time.sleep(_POLL_S)


def first_answer(server: Server) -> Payload:
    """The page's HTML alone, as a client that understands gzip gets it."""
    request = urllib.request.Request(f"{server.url}/", headers={"Accept-Encoding": "gzip"})
    started = time.perf_counter()
    with urllib.request.urlopen(request, timeout=30) as answer:
        content = answer.read()
    return {"bytes": len(content), "s": round(time.perf_counter() - started, 3)}


class Visit:
    """One page of its own in a browser without cache, and what went over its wire."""

    def __init__(self, browser: Any, url: str) -> None:
        self._context = browser.new_context(viewport={"width": 1440, "height": 1000})
        self.page = self._context.new_page()
        self.page.set_default_timeout(_PAGE_TIMEOUT_MS)
        self._addresses: dict[str, str] = {}
        self._sizes: dict[str, list[int]] = defaultdict(list)
        wire = self._context.new_cdp_session(self.page)
        wire.on("Network.requestWillBeSent", self._note_request)
        wire.on("Network.loadingFinished", self._note_size)
        wire.send("Network.enable")
        started = time.perf_counter()
        self.page.goto(url, wait_until="commit")
        self.wait(_USABLE)
        self.usable_s = time.perf_counter() - started
        self.first_bytes = sum(sum(sizes) for sizes in self._sizes.values())
        self.first_requests = sum(len(sizes) for sizes in self._sizes.values())

    def _note_request(self, event: Any) -> None:
        self._addresses[event["requestId"]] = event["request"]["url"]

    def _note_size(self, event: Any) -> None:
        address = self._addresses.get(event["requestId"], "")
        self._sizes[address].append(int(event["encodedDataLength"]))

    def wait(self, expression: str) -> None:
        """Wait until an expression is true in the page."""
        self.page.wait_for_function(expression, polling=20)

    def upload(self, path: Path) -> None:
        """Give the page a file."""
        self.page.set_input_files("#upload input[type=file]", str(path))

    def press(self, name: str) -> None:
        """Press the button of that element id."""
        self.page.locator(f"button#{name}, #{name} button").first.click()

    def settled_bytes(self) -> int:
        """All that the visit was sent some seconds after it could be used; ticks included."""
        self.page.wait_for_timeout(1000 * _SETTLE_S)
        return sum(sum(sizes) for sizes in self._sizes.values())

    def tick_bytes(self) -> Payload:
        """What the memory panel's ticks answer while nothing else happens, headers included."""
        before = {address: len(sizes) for address, sizes in self._sizes.items()}
        self.page.wait_for_timeout(1000 * _TICKS_S)
        new = [
            size
            for address, sizes in self._sizes.items()
            if _CALLS in address
            for size in sizes[before.get(address, 0) :]
        ]
        per_tick = round(sum(new) / len(new)) if new else 0
        return {"answers_per_s": round(len(new) / _TICKS_S, 2), "wire_bytes": per_tick}

    def close(self) -> None:
        """Leave the page."""
        self._context.close()


def measure_first_page(browser: Any, server: Server) -> tuple[Payload, Payload]:
    """A first visit with an empty cache: seconds until usable, bytes; then the panel's ticks."""
    visit = Visit(browser, server.url)
    page = {
        "usable_s": round(visit.usable_s, 2),
        "wire_bytes_when_usable": visit.first_bytes,
        "requests_when_usable": visit.first_requests,
        "wire_bytes": visit.settled_bytes(),
    }
    ticks = visit.tick_bytes()
    visit.close()
    return page, ticks


def measure_preview(browser: Any, server: Server, mesh: Path) -> Payload:
    """From giving a file to the page until its preview is drawn."""
    visit = Visit(browser, server.url)
    started = time.perf_counter()
    visit.upload(mesh)
    visit.wait(_PREVIEW)
    elapsed_s = time.perf_counter() - started
    visit.close()
    return {"file_bytes": mesh.stat().st_size, "s": round(elapsed_s, 2)}


def measure_cancel(browser: Any, server: Server, mesh: Path) -> Payload:
    """Press Cancel while the file is read and again while it is cut; seconds until all is still."""
    visit = Visit(browser, server.url)
    visit.upload(mesh)
    reading_s = _cancel(visit, server, "checking")
    visit.upload(mesh)
    visit.wait(_PREVIEW)
    visit.press("segment")
    segmenting_s = _cancel(visit, server, "running")
    visit.close()
    return {"while_reading_s": reading_s, "while_segmenting_s": segmenting_s}


def _cancel(visit: Visit, server: Server, state: str) -> float:
    visit.wait(f"{_VIEWER}?.state() === '{state}'")
    _wait(server.is_running_a_job, _START_TIMEOUT_S, "the job runs")
    started = time.perf_counter()
    visit.press("segment-cancel")
    visit.wait(f"!['checking', 'running', 'cancelling'].includes({_VIEWER}.state())")
    _wait(lambda: not server.is_running_a_job(), _START_TIMEOUT_S, "the job has ended")
    return round(time.perf_counter() - started, 3)


def measure_growth(mesh: Path, job_count: int) -> Payload:
    """Resident memory of a fresh server, then after jobs that programs send: load, cut, close."""
    with running_server() as server:
        client = Client(server.url, verbose=False, download_files=False)
        first_answer(server)
        time.sleep(2)
        idle, workers = server.resident_bytes(), server.worker_bytes()
        sizes, started = [], time.perf_counter()
        for _ in range(job_count):
            client.predict(handle_file(mesh), None, api_name="/generate")
            sizes.append(server.resident_bytes())
        elapsed_s = time.perf_counter() - started
        time.sleep(2)
        after = server.resident_bytes()
        client.close()
    return {
        "server_ready_s": round(server.ready_s, 2),
        "idle_mib": mib(idle),
        "idle_workers_mib": mib(workers),
        "jobs": job_count,
        "s_per_job": round(elapsed_s / job_count, 2),
        "after_first_job_mib": mib(sizes[0]),
        "after_jobs_mib": mib(after),
        "peak_mib": mib(max(sizes)),
        "growth_mib": mib(after - idle),
    }
