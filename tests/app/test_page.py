"""The page in headless Chromium: what a person does with it, from upload to download."""

import inspect
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
import trimesh
from PIL import Image

from partwise.vram.safetensors_file import build_header
from studio.configuration import ROOT
from studio.ui.layout import build_page
from studio.workflow import Studio
from tests.app.support import bodies, wait_until, write_glb
from tests.app.visit import GENERATE, LOOKS, SEGMENT, Visit
from tests.tiers import slow_but

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("look", slow_but(["light"], LOOKS))
def test_from_upload_to_closed_parts(
    visit: Callable[..., Visit], table_glb: Path, tmp_path: Path, look: str
) -> None:
    page = visit(look)

    page.upload(table_glb)
    page.wait_for_state("ready")
    facts = page.page.locator("#facts").inner_text()
    assert "table.glb" in facts
    assert "part_count" not in page.page.locator("body").inner_text()  # the API's own fields
    page.press("segment")
    page.wait_for_state("done")
    before = page.parts()
    assert len(before) >= 3

    page.click_part(before[0]["id"])
    page.wait_for("selected().length === 1")
    assert page.ask("selected()") == [before[0]["id"]]
    page.page.locator(f"#{SEGMENT} .pv-slider").fill("0.8")
    page.wait_for("isIdle")
    assert page.ask("explode()") == pytest.approx(0.8)
    save_screenshot(page, tmp_path / f"segment-{look}.png", look)

    page.ask(f"select([{before[0]['id']}, {before[1]['id']}])")
    page.edit("Merge")
    assert len(page.parts()) == len(before) - 1
    page.edit("Undo")
    assert [part["id"] for part in page.parts()] == [part["id"] for part in before]
    rename(page, before[0]["id"], "Tabletop")

    page.press("send")
    page.wait_for_state("ready", GENERATE)
    page.press("generate")
    page.wait_for("state().match(/^(done|partial)$/)", GENERATE)
    page.wait_for("isIdle", GENERATE)
    save_screenshot(page, tmp_path / f"generate-{look}.png", look)
    check_archive(page.download("parts-stl.zip", GENERATE), table_glb, len(before))


def rename(page: Visit, part_id: int, name: str) -> None:
    revision = page.ask("revision()")
    page.ask(f"select([{part_id}])")
    page.page.locator(f"#{SEGMENT}").get_by_role("button", name="Rename").first.click()
    field = page.page.locator(f"#{SEGMENT} .pv-name-input")
    field.fill(name)
    field.press("Enter")
    page.wait_for(f"revision() > {revision}")
    assert name in [part["name"] for part in page.parts()]


def check_archive(content: bytes, source: Path, count: int) -> None:
    """The archive holds what its manifest says, and each part that is called closed is closed."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        manifest = json.loads(archive.read("manifest.json"))
        face_ids = np.load(io.BytesIO(archive.read("face_ids.npy")))
        files = {
            name: trimesh.load(io.BytesIO(archive.read(name)), file_type="stl")
            for name in archive.namelist()
            if name.endswith(".stl")
        }
    assert len(manifest["parts"]) == count
    assert sorted(files) == sorted(part["file"] for part in manifest["parts"])
    assert "Tabletop" in [part["name"] for part in manifest["parts"]]
    assert len(face_ids) == len(trimesh.load(source, force="mesh").faces)
    assert set(np.unique(face_ids)) == {part["id"] for part in manifest["parts"]}
    for part in manifest["parts"]:
        if part["state"] == "closed":
            assert files[part["file"]].is_watertight
        else:
            assert part["reason"]


def save_screenshot(page: Visit, path: Path, look: str) -> None:
    """Save the page as seen; it fits the width, is not blank and has the colours of its look."""
    width = page.page.evaluate("Math.max(innerWidth, document.documentElement.scrollWidth)")
    assert width == page.page.viewport_size["width"], "the page scrolls sideways or is shrunk"
    page.page.screenshot(path=path, full_page=True)
    picture = np.asarray(Image.open(path).convert("L"), dtype=float)
    assert picture.std() > 5
    assert (np.median(picture) < 100) == (look == "dark")


def test_the_examples_open_by_a_click(visit: Callable[..., Visit]) -> None:
    page = visit()
    rows = json.loads((ROOT / "assets/examples/index.json").read_text(encoding="utf-8"))
    smallest = min(rows, key=lambda row: (ROOT / "assets/examples" / row["file"]).stat().st_size)
    cards = page.page.locator("#examples button")
    assert cards.count() == len(rows)
    for picture in page.page.locator("#examples img").all():
        picture.scroll_into_view_if_needed()
        wait_until(lambda seen=picture: seen.evaluate("seen => seen.naturalWidth"), "a picture")

    page.page.locator(f"#examples button[data-name='{smallest['name']}']").click()
    page.wait_for_state("ready")
    assert smallest["file"] in page.page.locator("#facts").inner_text()


def test_a_corrupt_file_shows_a_message_and_the_mesh_before_stays(
    visit: Callable[..., Visit], bodies_glb: Path, tmp_path: Path
) -> None:
    page = visit()
    broken, hostile = tmp_path / "broken.glb", tmp_path / "<img src=x onerror=alert(1)>.stl"
    for path in (broken, hostile):
        path.write_bytes(b"glTF\x02\x00\x00\x00 and then nothing of use")
    page.upload(broken)
    text = page.alert()
    assert text.startswith("broken.glb")
    assert text.rstrip().endswith(".")

    page.upload(bodies_glb)
    page.wait_for_state("ready")
    page.upload(hostile)
    assert "img" in page.alert()
    assert page.page.locator("img[src='x']").count() == 0
    assert "bodies.glb" in page.page.locator("#facts").inner_text()


def test_a_job_can_be_cancelled_and_the_page_goes_on(
    visit: Callable[..., Visit], studio: Studio, tmp_path: Path
) -> None:
    page = visit()
    big = trimesh.creation.icosphere(6).subdivide()
    page.upload(write_glb(tmp_path / "big.glb", big))
    page.wait_for_state("ready")
    page.page.locator("#preset input[value=quality]").check()
    page.press("segment")
    wait_until(lambda: studio.pool.busy_count, "the job is at work")
    page.press("segment-cancel")
    page.wait_for_state("ready")
    wait_until(lambda: not studio.pool.busy_count, "the worker has ended")
    assert page.page.locator("button#segment").is_enabled()
    assert page.parts() == []


@pytest.mark.slow
def test_results_are_marked_as_old_when_what_they_came_from_changes(
    visit: Callable[..., Visit], bodies_glb: Path
) -> None:
    page = visit()
    page.upload(bodies_glb)
    page.wait_for_state("ready")
    page.press("segment")
    page.wait_for_state("done")
    page.page.locator("#preset input[value=preview]").check()
    page.wait_for_state("stale")
    assert "settings were changed" in page.page.locator(f"#{SEGMENT}").inner_text()
    page.page.locator("#preset input[value=balanced]").check()
    page.wait_for_state("done")

    page.press("send")
    page.wait_for_state("ready", GENERATE)
    page.press("generate")
    page.wait_for_state("done", GENERATE)
    page.page.get_by_role("tab", name="Segment").click()
    first, second, _ = (part["id"] for part in page.parts())
    page.ask(f"select([{first}, {second}])")
    page.edit("Merge")
    page.page.get_by_role("tab", name="Generate").click()
    page.wait_for_state("stale", GENERATE)
    assert len(page.parts(GENERATE)) == 3


def test_the_memory_panel_is_there_and_says_that_there_is_no_gpu(
    visit: Callable[..., Visit], studio: Studio
) -> None:
    if studio.monitor.latest().device.is_gpu:
        pytest.skip("this machine has a GPU")
    page = visit()
    panel = page.page.locator("#memory-panel")
    wait_until(lambda: "GPU" in panel.inner_text(), "the panel says that there is no GPU")
    assert "GiB" in panel.inner_text()
    assert panel.get_by_role("button", name="Unload now").is_visible()
    assert nameless_controls(page) == []


def nameless_controls(page: Visit) -> list[str]:
    """What a person who does not see the page could not tell apart."""
    found: list[str] = page.page.evaluate(
        """[...document.querySelectorAll('button, input, select, textarea, canvas')]
        .filter((e) => e.checkVisibility() && !e.ariaLabel && !e.title && !e.innerText.trim()
          && !(e.labels && e.labels.length) && !e.getAttribute('aria-labelledby'))
        .map((e) => e.outerHTML.slice(0, 120))"""
    )
    return found


@pytest.mark.slow
def test_the_header_and_the_plan_follow_weights_that_come_and_go(
    visit: Callable[..., Visit], studio: Studio, bodies_glb: Path
) -> None:
    page = visit()
    chip = page.page.locator("#header .pw-chip").nth(1)
    assert chip.inner_text() == "Built-in engine"
    page.upload(bodies_glb)
    page.wait_for_state("ready")
    file = studio.engines.weights_dir / "p3sam.safetensors"
    file.write_bytes(b"broken")
    try:
        page.page.locator("#preset input[value=preview]").check()
        page.page.locator("#plan", has_text="not a complete safetensors file").wait_for()
        file.write_bytes(build_header({"mlp.0.weight": ("F32", (0,))}))
        page.page.locator("#preset input[value=balanced]").check()
        page.page.locator("#plan", has_text="30,000 points, 150 prompts").wait_for()
        page.page.locator("#preset input[value=preview]").check()
        page.page.locator("#plan", has_text="15,000 points, 75 prompts").wait_for()
        page.page.reload()
        chip.get_by_text("P3-SAM").wait_for()
        page.page.locator("#header .pw-theme").click()
        assert page.page.evaluate("document.body.classList.contains('dark')")
    finally:
        file.unlink()
    page.page.reload()
    chip.get_by_text("Built-in engine").wait_for()


@pytest.mark.slow
def test_a_number_that_is_none_is_told_where_the_plan_stands(
    visit: Callable[..., Visit], bodies_glb: Path
) -> None:
    page = visit()
    page.upload(bodies_glb)
    page.wait_for_state("ready")
    page.page.locator("#advanced button").first.click()
    field, plan = page.page.locator("#point-num input"), page.page.locator("#plan")
    field.fill("many")
    plan.get_by_text("“points” holds “many”. Give a whole number").wait_for()
    field.fill("0")
    plan.get_by_text("at least 1").wait_for()
    field.fill("")
    plan.get_by_text("Built-in geometric engine").wait_for()
    page.wait_for_state("ready")


@pytest.mark.slow
def test_two_pages_work_side_by_side(visit: Callable[..., Visit], tmp_path: Path) -> None:
    pages = [visit(), visit()]
    for count, page in enumerate(pages, start=2):
        page.upload(write_glb(tmp_path / f"{count}.glb", bodies(count)))
    for page in pages:
        page.wait_for_state("ready")
    for page in pages:
        page.press("segment")
    for count, page in enumerate(pages, start=2):
        page.wait_for_state("done")
        assert len(page.parts()) == count
        report = json.loads(page.download("report.json", SEGMENT))
        assert report["source"]["name"] == f"{count}.glb"


def test_no_event_that_carries_data_waits_for_another(studio: Studio) -> None:
    events = [event for event in build_page(studio).fns.values() if event.fn is not None]
    with_data = [event for event in events if takes_data(event.fn)]
    assert len(with_data) > 5
    waiting = [event.fn.__qualname__ for event in with_data if event.trigger_mode == "always_last"]
    assert waiting == [], "gradio loses the data of an event that waits"


def takes_data(handler: Callable[..., object]) -> bool:
    parameters = inspect.signature(handler).parameters.values()
    return any(parameter.annotation is gr.EventData for parameter in parameters)
