"""The Generate tab in headless Chromium: boxes from a file, settings, the plan before a run."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh

from studio.workflow import Studio
from tests.app.visit import GENERATE, Visit

pytestmark = pytest.mark.browser

BOXES = np.array([[[1.4 * i - 0.6, -0.6, -0.6], [1.4 * i + 0.6, 0.6, 0.6]] for i in range(3)])


def open_generate(page: Visit, mesh: Path) -> None:
    page.upload(mesh)
    page.wait_for_state("ready")
    page.page.get_by_role("tab", name="Generate").click()
    page.page.locator("#generate-advanced button").first.click()


def give_boxes(page: Visit, folder: Path) -> None:
    """Upload a file of three boxes, a body in each."""
    path = folder / "boxes.npy"
    np.save(path, BOXES)
    page.page.set_input_files("#boxes-upload input[type=file]", str(path))


def test_boxes_of_a_file_become_parts_and_are_closed(
    visit: Callable[..., Visit], bodies_glb: Path, tmp_path: Path
) -> None:
    page = visit()
    open_generate(page, bodies_glb)
    give_boxes(page, tmp_path)
    page.page.locator("#boxes-note", has_text="boxes became 3 parts").wait_for()
    page.wait_for("parts().length === 3", GENERATE)
    assert page.page.locator("#boxes-reset").is_enabled()

    page.press("boxes-reset")
    page.page.locator("#boxes-reset[disabled]").wait_for()
    page.press("generate")
    page.wait_for_state("done", GENERATE)
    content = page.download("input with boxes", GENERATE)
    scene = trimesh.load(io.BytesIO(content), file_type="glb")
    assert len(scene.geometry) == 4
    page.page.get_by_role("tab", name="Segment").click()
    assert len(page.parts()) == 3


@pytest.mark.slow
def test_a_file_without_boxes_says_so_and_changes_nothing(
    visit: Callable[..., Visit], bodies_glb: Path, tmp_path: Path
) -> None:
    page = visit()
    open_generate(page, bodies_glb)
    path = tmp_path / "boxes.json"
    path.write_text("{}")
    page.page.set_input_files("#boxes-upload input[type=file]", str(path))
    page.page.locator("#boxes-note [role=alert]", has_text="without the key “aabbs”").wait_for()
    assert page.parts(GENERATE) == []


@pytest.mark.slow
def test_settings_out_of_range_are_told_in_the_plan_s_place(
    visit: Callable[..., Visit], bodies_glb: Path
) -> None:
    page = visit()
    page.upload(bodies_glb)
    page.wait_for_state("ready")
    page.press("segment")
    page.wait_for_state("done")
    page.press("send")
    page.page.locator("#generate-advanced button").first.click()
    field, plan = page.page.locator("#generate-steps input"), page.page.locator("#generate-plan")
    start = page.page.locator("button#generate")
    field.fill("many")
    plan.get_by_text("“steps” holds “many”. Give a whole number").wait_for()
    field.fill("1")
    plan.get_by_text("steps is 1; give 2 to 200").wait_for()
    assert start.is_disabled()
    field.fill("")
    plan.get_by_text("Built-in geometric engine").wait_for()
    page.page.locator("button#generate:not([disabled])").wait_for()
    page.page.locator("#quality input[value=preview]").check()


def chosen(page: Visit) -> int:
    return int(page.page.locator("#chosen-parts .token").count())


def go_to(page: Visit, tab: str) -> None:
    page.page.get_by_role("tab", name=tab).click()


@pytest.mark.slow
def test_a_choice_of_parts_stays_until_the_parts_are_others(
    visit: Callable[..., Visit], bodies_glb: Path
) -> None:
    page = visit()
    page.upload(bodies_glb)
    page.wait_for_state("ready")
    page.press("segment")
    page.wait_for_state("done")
    go_to(page, "Generate")
    page.wait_for_state("ready", GENERATE)
    page.page.locator("#chosen-parts .token-remove").first.click()
    go_to(page, "Segment")
    go_to(page, "Generate")
    page.rest()
    assert chosen(page) == 2

    go_to(page, "Segment")
    page.press("segment")
    page.wait_for("revision() === 2")
    page.wait_for_state("done")
    go_to(page, "Generate")
    page.page.locator("#chosen-parts .token").nth(2).wait_for()
    assert chosen(page) == 3


@pytest.mark.slow
def test_a_tab_hears_of_the_end_of_the_other_tab_s_job(
    visit: Callable[..., Visit], table_glb: Path, studio: Studio
) -> None:
    page = visit()
    page.upload(table_glb)
    page.wait_for_state("ready")
    with studio.lane.place() as other:  # the job waits meanwhile
        other.wait(1)
        page.press("segment")
        page.wait_for_state("queued")
        go_to(page, "Generate")
        page.page.locator("#generate-cancel:not([disabled])").wait_for()
    page.page.locator("button#generate:not([disabled])").wait_for()
    assert page.parts(GENERATE)


@pytest.mark.slow
def test_the_files_of_the_parts_can_be_had_after_their_boxes_changed(
    visit: Callable[..., Visit], bodies_glb: Path, tmp_path: Path
) -> None:
    page = visit()
    open_generate(page, bodies_glb)
    give_boxes(page, tmp_path)
    page.page.locator("#boxes-reset:not([disabled])").wait_for()
    page.press("boxes-reset")
    page.page.locator("#boxes-reset[disabled]").wait_for()
    go_to(page, "Segment")
    page.wait_for("revision() === 2")
    assert page.download("aabb.json", "segment-viewer")


def test_parts_are_closed_for_print_at_the_size_that_a_person_gives(
    visit: Callable[..., Visit], table_glb: Path, tmp_path: Path
) -> None:
    page = visit()
    page.upload(table_glb)
    page.wait_for_state("ready")
    page.press("segment")
    page.wait_for_state("done")
    page.press("send")
    page.page.locator("#generate-printing button").first.click()
    size, note = page.page.locator("#print-size input"), page.page.locator("#print-note")
    size.fill("tall")
    page.page.locator("#generate-plan", has_text="printed size is “tall”").wait_for()
    size.fill("60")
    note.get_by_text("60 mm").wait_for()
    page.page.locator("#wall input").fill("1.5")
    note.get_by_text("sheets made 1.5 mm").wait_for()
    page.press("generate")
    page.wait_for("state().match(/done|partial/)", GENERATE)
    page.wait_for("isIdle", GENERATE)
    assert page.ask("cuts().parts.length", GENERATE) > 0
    assert page.page.locator("#generate-viewer td.pv-c2", has_text="m³").count() > 0
    path = tmp_path / "parts.3mf"
    path.write_bytes(page.download("for printing", GENERATE))
    scene = trimesh.load_scene(path)
    assert max(scene.extents) == pytest.approx(60, rel=1e-3)

    page.page.locator("#print-size input").fill("30")
    page.page.locator("#wall input").fill("0.75")  # the same share of the object
    note.get_by_text("30 mm").wait_for()
    page.wait_for("state().match(/done|partial/)", GENERATE)
    page.page.locator("#wall input").fill("")
    page.wait_for("state() === 'stale'", GENERATE)
