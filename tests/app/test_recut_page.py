"""Fewer and more parts in headless Chromium: the slider at the viewer, and what stays as it is."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.app.visit import SEGMENT, Visit

pytestmark = pytest.mark.browser


def wait_for_count(page: Visit, count: int) -> None:
    page.wait_for(f"parts().length === {count}")
    page.wait_for("isIdle")


def test_a_drag_of_the_slider_cuts_again_and_is_one_step_to_undo(
    visit: Callable[..., Visit], table_glb: Path
) -> None:
    page = visit()
    slider, number = page.page.locator(".ps-range"), page.page.locator(".ps-number")
    page.upload(table_glb)
    page.wait_for_state("ready")
    assert not slider.is_visible()
    page.press("segment")
    page.wait_for_state("done")
    before, camera = page.parts(), page.ask("camera()")
    assert number.input_value() == str(len(before))

    box = slider.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.page.mouse.move(box["x"] + 12, middle)
    page.page.mouse.down()
    for share in (0.1, 0.2, 0.4, 0.3, 0.5):
        page.page.mouse.move(box["x"] + share * box["width"], middle, steps=3)
    page.page.mouse.up()
    many = int(number.input_value())
    assert many > len(before)
    wait_for_count(page, many)
    assert page.ask("state()") == "done", "no settings were changed"
    assert page.ask("camera()") == camera
    kept = {part["id"]: part["name"] for part in page.parts()}
    assert {part["id"]: part["name"] for part in before}.items() <= kept.items()

    number.fill("2")
    number.press("Enter")
    wait_for_count(page, 2)
    page.edit("Undo")
    assert [part["id"] for part in page.parts()] == [part["id"] for part in before]
    assert number.input_value() == str(len(before))
    assert (
        not page.page.locator(f"#{SEGMENT}").get_by_role("button", name="Undo").first.is_enabled()
    )
    page.page.locator("#advanced button").first.click()
    page.page.locator("#auto-count input").click()
    page.page.locator("#part-count input[type=number]").fill("3")
    page.page.locator("#part-count input[type=number]").press("Enter")
    wait_for_count(page, 3)
    assert page.ask("state()") == "done", "the number alone needs no new run"
