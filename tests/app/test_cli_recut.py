"""Fewer and more parts from the command line: several cuts of one run, and of its saved tree."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import cli
from tests.app.support import Server, stay_open

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process: exit status, output, errors."""
    monkeypatch.setattr(cli, "build_studio", lambda _: stay_open(server.studio))

    def command(*arguments: str | Path) -> tuple[int, str, str]:
        status = cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return command


def test_one_run_gives_several_cuts_and_a_tree_that_gives_the_others(
    run: Run, table_glb: Path, tmp_path: Path
) -> None:
    many, single, again = tmp_path / "many", tmp_path / "single", tmp_path / "new" / "ids.npy"
    status, out, err = run(
        *("segment", table_glb, "-o", many, "--preset", "preview", "--also", "5,2"), "--save-tree"
    )
    assert (status, err) == (0, "")
    assert "face_ids.5.npy, face_ids.2.npy, parts.tree.npz" in out
    assert run("segment", table_glb, "-o", single, "--preset", "preview", "--parts", "5")[0] == 0
    five = np.load(many / "face_ids.5.npy")
    assert np.array_equal(five, np.load(single / "face_ids.npy"))
    assert not (single / "parts.tree.npz").exists()

    started = time.perf_counter()
    assert run("recut", many / "parts.tree.npz", "--parts", "5", "-o", again)[0] == 0
    print(f"recut in {1000 * (time.perf_counter() - started):.0f} ms")  # noqa: T201
    assert np.array_equal(np.load(again), five)
    assert run("recut", many / "parts.tree.npz", "--detail", "0.5", "-o", again)[0] == 0
    assert np.array_equal(np.load(again), np.load(many / "face_ids.npy"))


def test_recut_needs_no_server_nor_workers(
    run: Run, bodies_glb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("segment", bodies_glb, "-o", tmp_path, "--save-tree")[0] == 0
    monkeypatch.setattr(cli, "build_studio", None)
    tree, ids = tmp_path / "parts.tree.npz", tmp_path / "ids.npy"
    assert run("recut", tree, "--parts", "3", "-o", ids)[0] == 0
    assert sorted(np.unique(np.load(ids))) == [0, 1, 2]
    status, _, err = run("recut", tree, "--parts", "0", "-o", ids)
    assert status == 1
    assert "The number of parts is 0" in err
    status, _, err = run("recut", bodies_glb, "--parts", "3", "-o", ids)
    assert status == 1
    assert "bodies.glb is not a tree of parts" in err


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (("--also", "4,x"), "4,x"),
        (("--also", "0"), "“0”"),
        (("--also", "201"), "201"),
        (("--also", "4", "--engine", "p3sam"), "need the built-in engine, not p3sam"),
        (("--save-tree", "--engine", "p3sam"), "need the built-in engine, not p3sam"),
    ],
)
def test_a_wish_that_cannot_be_is_refused_before_the_run(
    run: Run, bodies_glb: Path, tmp_path: Path, options: tuple[str, ...], found: str
) -> None:
    status, _, err = run("segment", bodies_glb, "-o", tmp_path / "out", *options)
    assert status == 1
    assert found in err
    assert not (tmp_path / "out").exists()
