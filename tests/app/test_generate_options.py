"""Boxes, parts and settings of Generate by the command line, gradio's client and HTTP."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import trimesh
from gradio_client import handle_file
from gradio_client.exceptions import AppError as ClientError

import cli
from partwise.core.errors import EngineError
from partwise.geometric.complete import CompletedPart, complete_parts
from studio import generate
from studio.generate import GenerateRequest
from tests.app.support import Server, session_folders, stay_open, wait_until
from tests.tiers import slow_but

pytestmark = pytest.mark.usefixtures("tidy")
BOXES = np.array([[[1.4 * i - 0.6, -0.6, -0.6], [1.4 * i + 0.6, 0.6, 0.6]] for i in range(3)])
HOSTILE = {
    "quality": "best",
    "steps": "0",
    "octree_resolution": "300",
    "seed": "-1",
    "decoding": "magic",
    "part_ids": "1;2",
    "engine": "xpart",
    "plug": "-1",
    "clearance": "-2",
    "wall": "-3",
    "print_size": "huge",
    "min_wall": "-4",
}
NUMBERS = ("steps", "octree_resolution", "seed", "plug", "clearance", "wall")


def npy(values: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


@pytest.fixture
def boxes_json(tmp_path: Path) -> Path:
    """The boxes of the three balls, with numbers and names of their own."""
    path = tmp_path / "boxes.json"
    content = {"aabbs": BOXES.tolist(), "part_ids": [4, 7, 9], "names": ["Left", "Mid", "Right"]}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def post(
    server: Server, mesh: Path, kind: str = "generate", *, boxes: bytes | None = None, **fields: str
) -> httpx.Response:
    files: dict[str, Any] = {"mesh": (mesh.name, mesh.read_bytes())}
    if boxes is not None:
        files["boxes"] = ("boxes.npy", boxes)
    data = {"preset": "preview", "engine": "geometric", **fields}
    return httpx.post(f"{server.url}/api/mesh/{kind}", files=files, data=data)


def ended(server: Server, answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 202, answer.text
    url = f"{server.url}{answer.json()['status_url']}"

    def over() -> dict[str, Any] | None:
        told: dict[str, Any] = httpx.get(url).json()
        return told if told["state"] in ("done", "failed") else None

    told: dict[str, Any] = wait_until(over, "the job is over")
    return told


def test_boxes_sent_over_http_become_parts(server: Server, bodies_glb: Path) -> None:
    told = ended(server, post(server, bodies_glb, boxes=npy(BOXES), part_ids="2,0", steps="7"))
    assert [part["id"] for part in told["report"]["parts"]] == [0, 2]
    assert {part["state"] for part in told["report"]["parts"]} == {"closed"}
    assert {"boxes.glb", "input_boxes.glb", "parts.3mf"} <= set(told["files"])
    assert told["report"]["print"]["mm_per_unit"] == pytest.approx(100 / 3.8, rel=1e-3)
    assert httpx.get(f"{server.url}{told['files']['parts.3mf']}").content[:2] == b"PK"
    url = f"{server.url}{told['files']['aabb.json']}"
    assert np.allclose(httpx.get(url).json()["made_from"], BOXES[[0, 2]])


@pytest.mark.parametrize(("field", "value"), HOSTILE.items())
def test_hostile_fields_are_refused_over_http(
    server: Server, bodies_glb: Path, field: str, value: str
) -> None:
    answer = post(server, bodies_glb, **{field: value})
    assert answer.status_code == 400
    assert value in answer.json()["error"] or "weights not present" in answer.json()["error"]
    assert answer.json()["error"].endswith(".")
    assert session_folders(server.studio) == []


def test_what_generate_knows_segment_does_not(server: Server, bodies_glb: Path) -> None:
    refused = post(server, bodies_glb, "segment", quality="preview")
    assert refused.status_code == 400
    assert "“quality” is not an option" in refused.json()["error"]
    refused = post(server, bodies_glb, "segment", boxes=npy(BOXES))
    assert refused.status_code == 400
    assert "“boxes” is not a file" in refused.json()["error"]


@pytest.mark.parametrize(
    ("content", "fields", "text"),
    [
        (b"no boxes", {}, "neither JSON nor"),
        (npy(BOXES + 100), {}, "None of the 3 boxes"),
        (npy(BOXES), {"part_ids": "5"}, "There is no part 5"),
        (npy(np.full((2, 2, 3), np.nan)), {}, "not a finite number"),
        (b"[" * 100_000, {}, "neither JSON nor"),
        (b" " * (2**20 + 1), {}, "larger than 1 MiB"),
    ],
)
def test_boxes_that_are_none_fail_with_their_reason(
    server: Server, bodies_glb: Path, content: bytes, fields: dict[str, str], text: str
) -> None:
    told = ended(server, post(server, bodies_glb, boxes=content, **fields))
    assert told["state"] == "failed"
    assert text in told["message"]
    assert session_folders(server.studio) == []


def test_gradio_s_client_sends_boxes_and_parts(
    server: Server, bodies_glb: Path, boxes_json: Path
) -> None:
    report, *_ = server.client().predict(
        handle_file(bodies_glb),
        boxes=handle_file(boxes_json),
        quality="preview",
        part_ids="9,4",
        api_name="/generate",
    )
    assert [(part["id"], part["name"]) for part in report["parts"]] == [(4, "Left"), (9, "Right")]


@pytest.mark.parametrize("field", slow_but(["quality", "plug"], HOSTILE))
def test_hostile_values_are_refused_by_gradio_s_client(
    server: Server, bodies_glb: Path, field: str
) -> None:
    value = HOSTILE[field]
    given: Any = int(value) if field in NUMBERS else value
    with pytest.raises(ClientError) as caught:
        server.client().predict(
            handle_file(bodies_glb), preset="preview", api_name="/generate", **{field: given}
        )
    assert value in str(caught.value) or "weights not present" in str(caught.value)


Run = Callable[..., int]


@pytest.fixture
def run(server: Server, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in this process; returns its exit status."""
    monkeypatch.setattr(cli, "build_studio", lambda _: stay_open(server.studio))
    return lambda *arguments: cli.main([str(argument) for argument in arguments])


def test_the_command_line_takes_boxes_and_parts(
    run: Run,
    bodies_glb: Path,
    boxes_json: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    assert run("generate", bodies_glb, "-o", out, "--boxes", boxes_json, "--only", "4,9") == 0
    said = capsys.readouterr().out
    assert "boxes became 3 parts" in said
    assert "Built-in geometric engine on the CPU" in said
    assert said.count(" closed") >= 2
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert [part["id"] for part in report["parts"]] == [4, 9]
    assert (out / "input_boxes.glb").exists()


def test_the_command_line_writes_one_format_at_a_printed_size(
    run: Run, bodies_glb: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    asked = ("--format", "3mf", "--print-size", "84", "--min-wall", "1")
    assert run("generate", bodies_glb, "-o", out, "--parts", "3", *asked) == 0
    names = {path.name for path in out.iterdir()}
    assert names == {"parts.3mf", "face_ids.npy", "face_ids.json", "aabb.json", "report.json"}
    assert max(trimesh.load_scene(out / "parts.3mf").extents) == pytest.approx(84, rel=1e-3)
    said = capsys.readouterr().out
    assert "Printed, the object is 84 ×" in said
    assert said.count("cm³") == 3
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["print"]["least_wall_mm"] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--quality", "best"],
        ["--steps", "0"],
        ["--octree", "300"],
        ["--decoding", "magic"],
        ["--only", "1;2"],
        ["--only", "77"],
        ["--plug", "-1"],
        ["--wall", "99"],
        ["--print-size", "huge"],
        ["--preview", "--decoding", "band"],
        ["--boxes", "missing.json"],
    ],
)
def test_hostile_options_are_refused_in_one_line(
    run: Run,
    bodies_glb: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
) -> None:
    out = tmp_path / "out"
    assert run("generate", bodies_glb, "-o", out, "--parts", "3", *arguments) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("Error: ")
    assert arguments[-1] in line
    assert not out.exists()


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (KeyboardInterrupt(), 130, "Cancelled. 1 of 3 parts was finished and kept."),
        (EngineError("It crashed."), 1, "Error: It crashed. 1 of 3 parts was finished and kept."),
    ],
)
def test_what_was_finished_is_written_when_the_command_ends_early(
    run: Run,
    bodies_glb: Path,
    boxes_json: Path,
    tmp_path: Path,
    *,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    line: str,
) -> None:
    def broken_off(
        request: GenerateRequest,
        _: object,
        __: object,
        ___: object,
        on_part: Callable[[CompletedPart], None],
    ) -> None:
        mesh, labels = request.mesh, request.parts.face_labels
        (first,) = complete_parts(mesh.vertices, mesh.faces, labels, part_ids=[4]).parts
        on_part(first)
        raise error

    monkeypatch.setattr(generate, "run", broken_off)
    out = tmp_path / "out"
    assert run("generate", bodies_glb, "-o", out, "--boxes", boxes_json) == status
    told = capsys.readouterr()
    assert told.err.strip().splitlines()[-1] == line
    assert told.out.count("failed: The run") == 2
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert [part["state"] for part in report["parts"]] == ["closed", "failed", "failed"]
