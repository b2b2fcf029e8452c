"""Start and stop: the server as a process of its own, behind a login, on a port that is taken."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

import app
from tests.app.support import ROOT, free_port, served, wait_until

_START = """
import sys, threading
import app
def tell():
    while sys.stdin.readline():
        print(sorted({name.split('.')[0] for name in sys.modules}), flush=True)
threading.Thread(target=tell, daemon=True).start()
sys.exit(app.main(sys.argv[1:]))
"""


@dataclass(frozen=True)
class Process:
    """A server in a process of its own, behind a login."""

    popen: subprocess.Popen[str]
    url: str
    workspace: Path
    temporary: Path


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """The process, ready to answer, where a start is not easy.

    All requests are to go through a proxy that is not there, and gradio cannot use its usual
    folder (another user's would be open to root).
    """
    port, workspace = free_port(), tmp_path_factory.mktemp("workspace")
    temporary = tmp_path_factory.mktemp("temporary")
    (temporary / "gradio").write_bytes(b"")
    proxy = {"http_proxy": "http://127.0.0.1:9", "all_proxy": "socks://127.0.0.1:9"}
    environment = {
        "GRADIO_TEMP_DIR": "",
        "TMPDIR": str(temporary),
        "no_proxy": "",
        **proxy,
        "PARTWISE_APP_WORKSPACE": str(workspace),
        "PARTWISE_APP_USERNAME": "ada",
        "PARTWISE_APP_PASSWORD": "engine",
    }
    popen = subprocess.Popen(
        [sys.executable, "-c", _START, "--port", str(port), "--no-browser"],
        cwd=ROOT,
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: answers(url), "the server answers", timeout_s=180)
        yield Process(popen, url, workspace, temporary)
    finally:
        popen.kill()
        popen.communicate()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz").status_code == 200
    except httpx.TransportError:
        return False


def test_a_login_covers_the_page_but_not_health(process: Process) -> None:
    assert httpx.get(f"{process.url}/config").status_code == 401
    assert httpx.get(f"{process.url}/healthz").status_code == 200
    wrong = {"username": "ada", "password": "loom"}
    assert httpx.post(f"{process.url}/login", data=wrong).status_code == 400
    with httpx.Client(base_url=process.url, timeout=60) as person:
        right = {"username": "ada", "password": "engine"}
        assert person.post("/login", data=right).status_code == 200
        assert person.get("/config").status_code == 200


def test_starts_behind_a_proxy_and_without_gradios_usual_folder(process: Process) -> None:
    assert httpx.get(f"{process.url}/healthz").status_code == 200
    assert [path.name for path in process.temporary.iterdir()] == ["gradio"]


def test_the_first_page_needs_no_torch(process: Process) -> None:
    assert httpx.get(f"{process.url}/").status_code == 200
    stdin, stdout = process.popen.stdin, process.popen.stdout
    assert stdin is not None
    assert stdout is not None
    stdin.write("modules\n")
    stdin.flush()
    modules = stdout.readline()
    assert "'gradio'" in modules
    assert "'torch'" not in modules


def test_a_stopped_server_leaves_nothing_behind(process: Process) -> None:
    children = psutil.Process(process.popen.pid).children(recursive=True)
    assert children
    assert len(list(process.workspace.iterdir())) == 1
    process.popen.send_signal(signal.SIGTERM)
    assert process.popen.wait(timeout=60) == 0
    assert list(process.workspace.iterdir()) == []
    assert [path.name for path in process.temporary.iterdir()] == ["gradio"]
    _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []


@pytest.fixture
def fail_to_start(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[int], str]:
    """Starts the application in this process; returns the one sentence with which it ends."""
    monkeypatch.setenv("PARTWISE_APP_WORKSPACE", str(tmp_path))
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def start(port: int) -> str:
        assert app.main(["--port", str(port), "--no-browser"]) == 1
        assert list(tmp_path.iterdir()) == []
        said = capsys.readouterr().err
        assert "Traceback" not in said
        (line,) = [line for line in said.splitlines() if "Partwise:" in line]
        return line

    return start


def test_a_port_in_use_is_told_in_one_sentence(fail_to_start: Callable[[int], str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = fail_to_start(port)
    assert line.startswith(f"Partwise: Port {port} on 127.0.0.1 cannot be used")
    assert line.endswith("choose another with --port.")


@pytest.mark.parametrize(
    ("error", "said"),
    [(Exception("no answer"), "could not be started"), (OSError("no port"), "did not begin")],
)
def test_a_launch_that_fails_is_told_in_one_sentence(
    fail_to_start: Callable[[int], str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    said: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("gradio.Blocks.launch", fail)
    port = free_port()
    line = fail_to_start(port)
    assert said in line
    assert f"http://127.0.0.1:{port}" in line


def test_starts_on_a_machine_that_is_too_slow_for_gradios_check(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gradio.networking.url_ok", lambda url: False)
    with served(tmp_path_factory) as server:
        assert answers(server.url)


@pytest.mark.parametrize("port", ["70000", "-1"])
def test_a_port_that_cannot_exist_is_told(capsys: pytest.CaptureFixture[str], port: str) -> None:
    assert app.main(["--port", port]) == 1
    assert "ports go from 0 to 65535" in capsys.readouterr().err
