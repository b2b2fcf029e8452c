"""The command line on memory: it asks a running server, and ends what is stale after a question."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

import cli
from studio import servers
from studio.servers import Server as Entry
from tests.app.support import ROOT, Server, stay_open

_WAIT = "import sys, time\nprint('ready', flush=True)\ntime.sleep(60)\n"
Free = Callable[..., tuple[int, str]]


@pytest.fixture
def stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """A process that runs an app.py and whose entry names an address where nobody listens."""
    monkeypatch.setattr(servers, "_HEALTH_S", 0.2)
    program, base = tmp_path / "program", tmp_path / "base"
    program.mkdir()
    (program / "app.py").write_text(_WAIT)
    process = subprocess.Popen(
        [sys.executable, "app.py"], cwd=program, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        seen = psutil.Process(process.pid)
        entry = Entry(
            pid=process.pid,
            process_started_s=seen.create_time(),
            command=tuple(seen.cmdline()),
            url="http://127.0.0.1:9",
            version="0.1.0",
            started_s=1.0,
            folder=str(program),
            token="",
        )
        path = base / f"{process.pid}-x" / servers.ENTRY
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(asdict(entry)))
        path.chmod(0o600)
        monkeypatch.setenv("PARTWISE_APP_WORKSPACE", str(base))
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def free(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Free:
    """Runs `memory --free` in this process, at a terminal where `answer` is typed."""

    def run(*arguments: str, answer: str | None = None) -> tuple[int, str]:
        monkeypatch.setattr(sys.stdin, "isatty", lambda: answer is not None, raising=False)
        monkeypatch.setattr("builtins.input", lambda _: answer)
        status = cli.main(["memory", "--free", *arguments])
        return status, capsys.readouterr().out

    return run


def test_without_servers_there_is_nothing_to_free(
    free: Free, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PARTWISE_APP_WORKSPACE", str(tmp_path / "none"))
    status, said = free()
    assert status == 0
    assert "No Partwise server of yours runs" in said
    assert not (tmp_path / "none").exists()


def test_a_running_server_unloads_and_tells_before_and_after(
    free: Free, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARTWISE_APP_WORKSPACE", str(server.studio.workspace.root.parent))
    status, said = free("--yes")
    assert status == 0
    assert f"The server at {server.url} held" in said
    assert "stale" not in said


@pytest.mark.parametrize("answer", ["", "n", "no", "what", "yesterday"])
def test_a_stale_server_goes_on_unless_the_person_agrees(
    free: Free, stale: subprocess.Popen[str], answer: str
) -> None:
    status, said = free(answer=answer)
    assert status == 0
    assert f"process {stale.pid}) is stale: http://127.0.0.1:9 does not answer" in said
    assert "It goes on." in said
    assert stale.poll() is None


@pytest.mark.parametrize("answer", ["y", "Yes "])
def test_a_stale_server_ends_when_the_person_agrees(
    free: Free, stale: subprocess.Popen[str], answer: str
) -> None:
    status, said = free(answer=answer)
    assert status == 0
    assert "It has ended." in said
    assert not psutil.pid_exists(stale.pid)


def test_where_nobody_can_be_asked_agreement_comes_before(
    free: Free, stale: subprocess.Popen[str]
) -> None:
    status, said = free()
    assert status == 1
    assert "Add --yes" in said
    assert stale.poll() is None
    status, said = free("--yes")
    assert status == 0
    assert "It has ended." in said


def test_a_process_around_the_program_is_left_alone(
    free: Free, stale: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "may_be_ended", lambda _: False)
    status, said = free("--yes")
    assert status == 0
    assert "left alone" in said
    assert stale.poll() is None


def test_the_diagnosis_is_of_the_running_server(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "build_studio", lambda _: stay_open(server.studio))
    assert cli.main(["memory", "--diagnose"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"This is what the server at {server.url} says.\n")
    assert "What holds it, largest first:" in said
    assert f"Partwise 0.1.0 at {server.url}" in said


def test_without_a_server_the_diagnosis_is_of_the_command_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "cli.py", "memory", "--diagnose"],
        cwd=ROOT,
        env={**psutil.Process().environ(), "PARTWISE_APP_WORKSPACE": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith("No server of yours runs here")
    assert "What holds it, largest first:" in done.stdout


def test_a_watch_ends_quietly_when_nobody_reads_on(tmp_path: Path) -> None:
    environment = {**psutil.Process().environ(), "PARTWISE_APP_WORKSPACE": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "cli.py", "memory", "--watch", "--json"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as watching:
        assert watching.stdout is not None
        assert watching.stderr is not None
        assert json.loads(watching.stdout.readline())["host"]
        watching.stdout.close()
        assert watching.stderr.read() == ""
        assert watching.wait(timeout=60) == 0


def test_the_settings_hide_the_token_for_programs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PARTWISE_APP_API_TOKEN", "very-secret")
    assert cli.main(["memory", "--settings"]) == 0
    said = capsys.readouterr().out
    assert "app.api_token" in said
    assert "very-secret" not in said
