"""X-Part end to end: a tiny checkpoint whose fields are balls, on a real mesh, in the browser.

The balls are not the parts' shapes; that everything runs, is shown and goes away again is what
counts here.
"""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import trimesh
from gradio_client import handle_file

from studio.catalog import XPART
from studio.workflow import Studio
from tests.app.support import ROOT, Server, is_idle, served, wait_until
from tests.app.visit import GENERATE, SEGMENT, Visit
from tests.xpart_support import write_tiny_weights

# In the page, so that the job cannot end before a slow browser has looked; counts those that wait.
CANCEL_AT_FIRST_PART = """(selector) => new Promise((done) => {
    const look = () => {
        const rows = [...document.querySelectorAll(selector)].map(
            (row) => row.textContent.toLowerCase());
        if (!rows.some((text) => text.includes("closed"))) return setTimeout(look, 20);
        document.querySelector("button#generate-cancel, #generate-cancel button").click();
        done(rows.filter((text) => text.includes("waiting")).length);
    };
    look();
})"""
MESH = ROOT / "assets" / "examples" / "chair.glb"
QUICK = {"PARTWISE_XPART_STEPS": "4", "PARTWISE_XPART_OCTREE_RESOLUTION": "128"}


@pytest.fixture(scope="module")
def weights_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny set; of ten parts about one gets a ball of less than no size."""
    folder = tmp_path_factory.mktemp("weights")
    write_tiny_weights(folder, radius=0.2, spread=0.02)
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, weights_dir: Path) -> Iterator[Server]:
    with served(tmp_path_factory, QUICK, weights_dir=weights_dir) as running:
        yield running


@pytest.fixture(scope="module")
def mesh() -> trimesh.Trimesh:
    return trimesh.load(MESH, force="mesh")


def write_boxes(path: Path, mesh: trimesh.Trimesh, count: int) -> Path:
    """As many boxes as wanted, each around as many faces, cut across the longest side in turn."""
    groups = [np.arange(len(mesh.faces))]
    while len(groups) < count:
        largest = groups.pop(int(np.argmax([len(group) for group in groups])))
        places = mesh.triangles_center[largest]
        order = np.argsort(places[:, np.ptp(places, axis=0).argmax()], kind="stable")
        groups += np.array_split(largest[order], 2)
    corners = [mesh.triangles[group].reshape(-1, 3) for group in groups]
    np.save(path, np.array([[points.min(axis=0), points.max(axis=0)] for points in corners]))
    return path


def open_with_boxes(page: Visit, boxes: Path) -> None:
    page.upload(MESH)
    page.wait_for_state("ready")
    page.page.get_by_role("tab", name="Generate").click()
    page.page.locator("#generate-advanced button").first.click()
    page.page.set_input_files("#boxes-upload input[type=file]", str(boxes))
    page.page.locator("button#generate:not([disabled])").wait_for()


def looks(page: Visit, viewer: str) -> dict[int, tuple[str, str]]:
    """Name and colour of each part."""
    parts = json.loads(page.download("report", viewer))["parts"]
    return {part["id"]: (part["name"], part["colour"]) for part in parts}


def wait_for_end(page: Visit) -> str:
    """How it ended; tiny models take a second a part here."""
    surface = f"document.querySelector('#{GENERATE} .pv')?.partwise"
    page.page.wait_for_function(
        f"['done', 'partial', 'error'].includes({surface}?.state())", timeout=240_000
    )
    page.wait_for("isIdle", GENERATE)
    return str(page.ask("state()", GENERATE))


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("count", [1, 10, 50])
def test_boxes_on_a_mesh_become_closed_parts(
    visit: Callable[..., Visit], mesh: trimesh.Trimesh, tmp_path: Path, studio: Studio, count: int
) -> None:
    page = visit()
    open_with_boxes(page, write_boxes(tmp_path / "boxes.npy", mesh, count))
    page.press("generate")
    page.wait_for("state() === 'running'", GENERATE)
    ended = wait_for_end(page)
    rows = page.parts(GENERATE)
    report = json.loads(page.download("report", GENERATE))
    assert report["engine"] == XPART
    assert len(rows) == len(report["parts"]) == count
    closed = [part for part in report["parts"] if part["state"] == "closed"]
    left = [part for part in report["parts"] if part["state"] != "closed"]
    assert closed
    assert ended == ("partial" if left else "done")
    assert all(part["reason"] for part in left)
    scene = trimesh.load(io.BytesIO(page.download("parts.glb", GENERATE)), file_type="glb")
    assert len(scene.geometry) == len(closed)
    assert all(mesh.is_watertight and mesh.volume > 0 for mesh in scene.geometry.values())
    wait_until(lambda: is_idle(studio), "nothing runs")
    assert studio.manager.resident_weights() == {}


@pytest.mark.browser
def test_parts_of_the_segmentation_go_over_with_their_names_and_colours(
    visit: Callable[..., Visit], bodies_glb: Path
) -> None:
    page = visit()
    page.upload(bodies_glb)
    page.wait_for_state("ready")
    page.press("segment")
    page.wait_for_state("done")
    before = looks(page, SEGMENT)
    page.press("send")
    page.page.locator("button#generate:not([disabled])").wait_for()
    assert "X-Part" in page.page.locator("#generate-plan").inner_text()
    page.press("generate")
    wait_for_end(page)
    assert looks(page, GENERATE) == before


@pytest.mark.slow
@pytest.mark.browser
def test_finished_parts_are_seen_while_others_wait_and_a_cancel_keeps_them(
    visit: Callable[..., Visit], mesh: trimesh.Trimesh, tmp_path: Path, studio: Studio
) -> None:
    page = visit()
    open_with_boxes(page, write_boxes(tmp_path / "boxes.npy", mesh, 20))
    page.press("generate")
    rows = page.page.locator(f"#{GENERATE} tbody tr")
    assert page.page.evaluate(CANCEL_AT_FIRST_PART, f"#{GENERATE} tbody tr") > 0
    assert wait_for_end(page) == "partial"
    assert rows.filter(has_text="closed").count() > 0
    scene = trimesh.load(io.BytesIO(page.download("parts.glb", GENERATE)), file_type="glb")
    assert 0 < len(scene.geometry) < 20
    wait_until(lambda: is_idle(studio), "nothing runs")
    assert studio.manager.resident_weights() == {}


@pytest.mark.slow
def test_a_program_gets_parts_too(server: Server) -> None:
    report, glb, _, _ = server.client().predict(
        handle_file(str(MESH)), engine=XPART, part_count=2, api_name="/generate"
    )
    assert report["engine"] == XPART
    assert len(trimesh.load(glb).geometry) >= 1
