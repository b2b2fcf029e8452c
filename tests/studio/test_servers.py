"""Which servers are found, which are stale, and that no other process is ever ended."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from partwise.core.errors import EngineError
from studio import servers
from studio.servers import Server, ask, end_server, find_servers, may_be_ended, why_stale

_STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
_LIFE = """
import sys, time
{first}
print("ready", flush=True)
time.sleep(60)
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts processes that only wait; `name` of the file that they run."""
    started = []

    def run(name: str = "app.py", first: str = "") -> subprocess.Popen[str]:
        folder = tmp_path / f"program{len(started)}"
        folder.mkdir()
        (folder / name).write_text(_LIFE.format(first=first))
        process = subprocess.Popen(
            [sys.executable, name], cwd=folder, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def entry_of(process: subprocess.Popen[str], tmp_path: Path, url: str = "") -> Server:
    """What the process would have written, had it been a server at `url`."""
    seen = psutil.Process(process.pid)
    return Server(
        pid=process.pid,
        process_started_s=seen.create_time(),
        command=tuple(seen.cmdline()),
        url=url or "http://127.0.0.1:9",  # nobody listens there
        version="0.1.0",
        started_s=1.0,
        folder=str(tmp_path),
        token="mine",
    )


def write(base: Path, server: Server, mode: int = 0o600) -> Path:
    folder = base / f"{server.pid}-x"
    folder.mkdir(parents=True)
    path = folder / servers.ENTRY
    path.write_text(json.dumps(asdict(server)))
    path.chmod(mode)
    return path


@pytest.fixture
def answering() -> Iterator[str]:
    """The address of a server that is healthy, and answers what it was asked and with what."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told = {"path": self.path, "token": self.headers["Authorization"]}
            body = b"no object" if self.path == "/text" else json.dumps(told).encode()
            self.send_response(403 if self.path == "/refused" else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_server_is_found_by_what_it_wrote(tmp_path: Path) -> None:
    (tmp_path / "1-x").mkdir()
    servers.write_entry(tmp_path / "1-x", "http://127.0.0.1:7860", "mine")
    (found,) = find_servers(tmp_path)
    assert found.pid == os.getpid()
    assert found.url == "http://127.0.0.1:7860"
    assert found.token == "mine"
    assert "mine" not in repr(found)


def test_nobody_else_can_read_the_entry(tmp_path: Path) -> None:
    servers.write_entry(tmp_path, "http://127.0.0.1:7860", "mine")
    (path,) = tmp_path.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.name == servers.ENTRY


def test_a_workspace_without_servers_has_none(tmp_path: Path) -> None:
    (tmp_path / "1-x").mkdir()
    assert find_servers(tmp_path) == []
    assert find_servers(tmp_path / "missing") == []


@pytest.mark.parametrize(
    "change",
    [
        lambda server: replace(server, process_started_s=server.process_started_s - 5),
        lambda server: replace(server, command=("python", "app.py")),
        lambda server: replace(server, pid=2**22 - 1),
    ],
)
def test_an_entry_of_another_process_is_nobody_s_server(
    start: Start, tmp_path: Path, change: Callable[[Server], Server]
) -> None:
    entry = entry_of(start(), tmp_path)
    write(tmp_path / "base", change(entry))
    assert find_servers(tmp_path / "base") == []


def test_a_process_of_another_user_is_nobody_s_server(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start()
    write(tmp_path / "base", entry_of(process, tmp_path))
    own_name = psutil.Process.username
    monkeypatch.setattr(
        psutil.Process,
        "username",
        lambda self: "eve" if self.pid == process.pid else own_name(self),
    )
    assert find_servers(tmp_path / "base") == []


@pytest.mark.parametrize("mode", [0o644, 0o606, 0o620])
def test_an_entry_that_others_may_see_or_change_is_not_believed(
    start: Start, tmp_path: Path, mode: int
) -> None:
    write(tmp_path / "base", entry_of(start(), tmp_path), mode)
    assert find_servers(tmp_path / "base") == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pid": 1}', "\0", '{"pid": "x", "command": 1}'])
def test_half_an_entry_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "1-x" / servers.ENTRY
    path.parent.mkdir()
    path.write_text(text)
    path.chmod(0o600)
    assert find_servers(tmp_path) == []


def test_a_link_is_not_followed(start: Start, tmp_path: Path) -> None:
    real = write(tmp_path / "elsewhere", entry_of(start(), tmp_path))
    folder = tmp_path / "base" / "1-x"
    folder.mkdir(parents=True)
    (folder / servers.ENTRY).symlink_to(real)
    assert find_servers(tmp_path / "base") == []


def test_a_server_that_answers_is_not_stale_and_is_never_ended(
    start: Start, tmp_path: Path, answering: str
) -> None:
    process = start()
    entry = entry_of(process, tmp_path, answering)
    assert why_stale(entry) == ""
    with pytest.raises(ValueError, match="not a stale server"):
        end_server(entry)
    assert process.poll() is None


def test_a_server_is_stale_when_its_address_or_its_folder_is_gone(
    start: Start, tmp_path: Path, answering: str
) -> None:
    entry = entry_of(start(), tmp_path)
    assert "does not answer" in why_stale(entry)
    gone = replace(entry, url=answering, folder=str(tmp_path / "gone"))
    assert "is gone" in why_stale(gone)


@pytest.mark.parametrize("first", ["", _STUBBORN])
def test_a_stale_server_is_ended_even_when_it_does_not_listen(
    start: Start, tmp_path: Path, first: str
) -> None:
    process = start(first=first)
    assert end_server(entry_of(process, tmp_path), grace_s=2.0)
    assert not psutil.pid_exists(process.pid)


def test_a_process_that_is_no_partwise_is_never_ended(start: Start, tmp_path: Path) -> None:
    process = start("other.py")
    entry = entry_of(process, tmp_path)
    assert not may_be_ended(entry)
    with pytest.raises(ValueError, match="not a stale server"):
        end_server(entry)
    assert process.poll() is None


def test_a_number_that_was_given_to_another_process_meanwhile_is_left_alone(
    start: Start, tmp_path: Path
) -> None:
    process = start()
    entry = entry_of(process, tmp_path)
    earlier = replace(entry, process_started_s=entry.process_started_s - 60)
    other_program = replace(entry, command=(*entry.command[:-1], "elsewhere/app.py"))
    for server in (earlier, other_program):
        assert may_be_ended(server)
        assert end_server(server)  # the server itself is gone
    assert process.poll() is None


def test_a_server_is_asked_with_its_own_token(
    start: Start, tmp_path: Path, answering: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # a proxy is not asked for this machine
    entry = entry_of(start(), tmp_path, answering)
    assert ask(entry, "GET", "/x") == {"path": "/x", "token": "Bearer mine"}


@pytest.mark.parametrize(("path", "found"), [("/refused", "403"), ("/text", "does not answer")])
def test_what_a_server_cannot_answer_is_told_in_words(
    start: Start, tmp_path: Path, answering: str, path: str, found: str
) -> None:
    entry = entry_of(start(), tmp_path, answering)
    with pytest.raises(EngineError, match=found):
        ask(entry, "GET", path)
    with pytest.raises(EngineError, match="does not answer"):
        ask(replace(entry, url="http://127.0.0.1:9"), "GET", path)
