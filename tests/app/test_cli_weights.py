"""`cli.py weights` as a person starts it: the licence first, a question, a download, a list."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

import cli
from studio.catalog import NEURAL_MODELS
from tests.app.support import ROOT, wait_until
from tests.hub_server import COMMIT, OLD_COMMIT, HubServer, serve

FILE = "p3sam/p3sam.safetensors"
CONTENT = save({"a": np.arange(20_000, dtype=np.float32)})
SOURCE = "ada/parts"
_START = f"""
import dataclasses, sys
import cli
from studio import catalog
small = dataclasses.replace(catalog.NEURAL_MODELS[0], file_bytes={len(CONTENT)}, source={SOURCE!r})
cli.NEURAL_MODELS = catalog.NEURAL_MODELS = (small,)
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.fixture
def hub() -> Iterator[HubServer]:
    """The hub, with a small file in place of the model's."""
    with serve(HubServer(SOURCE, {FILE: CONTENT})) as server:
        yield server


def run(
    *arguments: str | Path, stdin: int = subprocess.DEVNULL, **environment: str
) -> subprocess.CompletedProcess[str]:
    """The command line with a small model in its catalog, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", _START, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1", **environment},
        stdin=stdin,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def answered(answer: str, arguments: Sequence[str | Path], **environment: str) -> tuple[int, str]:
    """Status and output when a person at a terminal answers."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, f"{answer}\n".encode())
        done = run(*arguments, stdin=theirs, **environment)
    finally:
        os.close(ours)
        os.close(theirs)
    return done.returncode, done.stdout + done.stderr


def sizes_of_parts(folder: Path) -> int:
    """Bytes of what has arrived and is not complete."""
    return sum(part.stat().st_size for part in folder.rglob("*.part"))


def test_fetch_shows_the_licence_first_and_then_brings_the_file(
    hub: HubServer, tmp_path: Path
) -> None:
    done = run(
        "weights", "fetch", "p3sam", "--weights", tmp_path, "--accept-licence", HF_ENDPOINT=hub.url
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    notice, outcome = done.stdout.splitlines()
    assert "community licence (it excludes the EU, the UK and South Korea)" in notice
    assert outcome.startswith(f"P3-SAM is complete in {tmp_path}: 0.1 MB downloaded")
    assert COMMIT[:12] in outcome
    assert (tmp_path / FILE).read_bytes() == CONTENT


@pytest.mark.parametrize(("answer", "status"), [("y", 0), ("YES", 0), ("n", 1), ("", 1)])
def test_at_a_terminal_it_asks_and_takes_anything_but_yes_for_no(
    hub: HubServer, tmp_path: Path, answer: str, status: int
) -> None:
    command = ["weights", "fetch", "p3sam", "--quiet", "--weights", tmp_path]
    code, output = answered(answer, command, HF_ENDPOINT=hub.url)
    assert code == status, output
    assert f"Download it to {tmp_path}? [y/N]" in output
    assert (tmp_path / FILE).exists() == (status == 0)
    assert ("Nothing was downloaded." in output) == (status == 1)
    assert bool(hub.seen) == (status == 0)


def test_without_a_terminal_and_without_the_flag_nothing_is_downloaded(
    hub: HubServer, tmp_path: Path
) -> None:
    done = run("weights", "fetch", "p3sam", "--weights", tmp_path, HF_ENDPOINT=hub.url)
    assert done.returncode == 1
    assert "community licence" in done.stdout
    assert done.stderr.startswith("Error: Nobody can answer here")
    assert "--accept-licence" in done.stderr
    assert hub.seen == []


def interrupted(process: subprocess.Popen[str]) -> str:
    """What a process says that is told to stop, again where Python lost it in a finaliser."""
    process.send_signal(signal.SIGINT)
    try:
        return process.communicate(timeout=8)[1]
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        return process.communicate(timeout=60)[1]


def test_ctrl_c_keeps_what_has_arrived(hub: HubServer, tmp_path: Path) -> None:
    hub.stall_after = 20_000
    arguments = ["weights", "fetch", "p3sam", "--weights", str(tmp_path), "--accept-licence"]
    with subprocess.Popen(
        [sys.executable, "-c", _START, *arguments],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1", "HF_ENDPOINT": hub.url},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_until(hub.downloads, "bytes are asked for")
        wait_until(lambda: sizes_of_parts(tmp_path), "bytes have arrived")
        errors = interrupted(process)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "Stopped. Fetch again, and it goes on from here."
    assert not (tmp_path / FILE).exists()
    assert 0 < sizes_of_parts(tmp_path) < len(CONTENT)


@pytest.mark.parametrize("by", ["flag", "setting"])
def test_a_revision_can_be_named(hub: HubServer, tmp_path: Path, by: str) -> None:
    command = ["weights", "fetch", "p3sam", "--weights", tmp_path, "--accept-licence"]
    if by == "flag":
        done = run(*command, "--revision", "v1", HF_ENDPOINT=hub.url)
    else:
        done = run(*command, HF_ENDPOINT=hub.url, PARTWISE_APP_WEIGHTS_REVISION="v1")
    assert OLD_COMMIT[:12] in done.stdout, done.stderr


def test_offline_in_the_environment_is_honoured(hub: HubServer, tmp_path: Path) -> None:
    command = ["weights", "fetch", "p3sam", "--weights", tmp_path, "--accept-licence"]
    done = run(*command, HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="1")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: P3-SAM was not downloaded: HF_HUB_OFFLINE is set")
    assert hub.seen == []


def test_a_hub_out_of_reach_is_one_clear_line(tmp_path: Path) -> None:
    command = ["weights", "fetch", "p3sam", "--weights", tmp_path, "--accept-licence"]
    done = run(*command, HF_ENDPOINT="http://127.0.0.1:9")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: 127.0.0.1:9 cannot be reached")


def test_list_tells_of_each_model_where_it_would_be_and_under_which_licence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["weights", "list", "--weights", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    for model in NEURAL_MODELS:
        assert f"{model.name:<8}{model.title}: not present" in text
        assert model.licence in text
        assert all(file in text for file in model.files)
    assert "0.45 GB" in text
    assert str(tmp_path) in text


def test_list_tells_what_is_there_and_what_is_wrong_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / FILE).parent.mkdir()
    (tmp_path / FILE).write_bytes(CONTENT)
    assert cli.main(["weights", "list", "--weights", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "P3-SAM: present, 0.00 GB (not the published files: " in text
    assert "X-Part: not present" in text
    (tmp_path / FILE).write_bytes(CONTENT[:-7])
    assert cli.main(["weights", "list", "--weights", str(tmp_path)]) == 0
    assert "p3sam.safetensors is not a complete safetensors file" in capsys.readouterr().out


def test_a_model_that_is_not_known_is_refused_with_those_that_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["weights", "fetch", "magic"]) == 1
    assert "“magic” is not a neural model. Known are: p3sam, xpart." in capsys.readouterr().err


def test_the_folder_on_the_command_line_reaches_the_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["memory", "--settings", "--weights", str(tmp_path)]) == 0
    line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("app.weights_dir"))
    assert str(tmp_path) in line
    assert line.endswith("command line")


@pytest.mark.parametrize("command", ["segment", "generate"])
def test_engines_look_for_weights_in_the_folder_on_the_command_line(
    command: str, tmp_path: Path, bodies_glb: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = {"segment": "p3sam", "generate": "xpart"}[command]
    arguments = [command, bodies_glb, "-o", tmp_path / "out", "--engine", engine]
    assert cli.main([*map(str, arguments), "--weights", str(tmp_path / "here")]) == 1
    message = capsys.readouterr().err
    assert str(tmp_path / "here") in message
