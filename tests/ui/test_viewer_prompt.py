"""The point prompt of the part viewer in headless Chromium: from a click to a part."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.tiers import slow
from tests.ui.prompt_page import IOUS, REASON
from tests.ui.prompt_support import Prompter, distance_to, luminance, sorted_masks
from tests.ui.viewer_page import chair, wide
from tests.ui.viewer_support import BACK, LEG_1, LEG_2, PARTWISE, SEAT, served

BEST = int(np.argmax(IOUS))
pytestmark = pytest.mark.browser
SELDOM = [(BACK, 0, "Y"), (SEAT, 0.8, "Y"), (LEG_2, 0, "Z"), (SEAT, 0.8, "Z")]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of the page with masks."""
    with served("prompt_page.py", tmp_path_factory.mktemp("gradio")) as where:
        yield where


@pytest.fixture(scope="module")
def open_page(browser: Any, address: str) -> Iterator[Prompter]:
    context = browser.new_context(reduced_motion="reduce", viewport={"width": 1200, "height": 860})
    yield Prompter(context.new_page(), address)
    context.close()


@pytest.fixture
def viewer(open_page: Prompter) -> Iterator[Prompter]:
    """The page with a chair of six parts, as after loading."""
    open_page.page.mouse.move(2, 2)
    if open_page.ask("state()") != "empty":
        open_page.turn_up("Y")
    open_page.show("empty", "empty")
    open_page.show("chair")
    yield open_page
    assert open_page.outside == []
    assert open_page.problems == []


@pytest.mark.parametrize(
    ("part_id", "explode", "up"),
    [(LEG_2, 0.8, "Y"), *(slow(*case) for case in SELDOM)],
)
def test_a_click_sends_the_point_of_the_surface_in_the_coordinates_of_the_file(
    viewer: Prompter, part_id: int, explode: float, up: str
) -> None:
    viewer.turn_up(up)
    viewer.ask(f"explode({explode})")
    viewer.aim()
    viewer.settle()
    place = viewer.prompt(part_id)

    shape = chair()
    assert distance_to(shape[part_id][1], viewer.sent_point()) < 1e-5
    assert viewer.ask("masks()")["marker"] == pytest.approx(viewer.sent_point().tolist())
    picture, angles = viewer.screen(), np.linspace(0, 2 * np.pi, 16)
    ring = [(place[0] + 8.8 * np.cos(a), place[1] + 8.8 * np.sin(a)) for a in angles]
    brightness = [min(picture.getpixel((round(x), round(y)))) for x, y in ring]
    assert np.mean(brightness) > 170, "the white ring is around the place of the click"


@pytest.mark.slow
def test_points_far_from_the_origin_are_as_exact_as_the_file(viewer: Prompter) -> None:
    viewer.show("wide")
    viewer.aim()
    for tile in (0, 5):
        viewer.prompt(tile)
        assert distance_to(wide()[tile][1], viewer.sent_point()) < 1e-3
        assert 999.5 < viewer.sent_point()[0] < 1005.5


@pytest.mark.slow
def test_turning_the_object_and_clicks_beside_it_ask_nothing(viewer: Prompter) -> None:
    viewer.aim()
    before, camera = viewer.sent(), viewer.ask("camera()")
    x, y = viewer.place_of(SEAT)
    viewer.page.mouse.move(x, y)
    viewer.page.mouse.down()
    viewer.page.mouse.move(x + 60, y + 20, steps=4)
    viewer.page.mouse.up()
    viewer.settle()
    assert viewer.ask("camera()")["position"] != pytest.approx(camera["position"], abs=1e-3)

    x, y = viewer.place_of(BACK)
    viewer.row(BACK).locator(".pv-eye").click()
    viewer.settle()
    assert viewer.ask(f"pickAt({x}, {y})") is None, "only the hidden part was there"
    viewer.page.mouse.click(x, y)
    viewer.page.mouse.click(80, 120)
    viewer.settle()

    assert viewer.sent() == before
    assert viewer.ask("state()") == "done"
    assert viewer.ask("selected()") == []


def test_the_best_mask_is_chosen_at_first_and_keys_choose_others(viewer: Prompter) -> None:
    viewer.aim()
    viewer.prompt(SEAT)
    radios = viewer.page.get_by_role("radio")
    assert [radios.nth(i).get_attribute("aria-label") for i in range(3)] == [
        "Mask 1 · IoU 0.71 · 140 faces",
        "Mask 2 · IoU 0.93 · 512 faces",
        "Mask 3 · IoU 0.52 · 128 faces",
    ]
    assert radios.nth(BEST).is_checked()
    camera = viewer.ask("camera()")

    for key in (1, 3, 2):
        viewer.page.keyboard.press(str(key))
        assert viewer.page.get_by_role("radio", checked=True).get_attribute("value") == str(key - 1)
        assert viewer.ask("masks()")["shown"] == key - 1
    viewer.settle()

    now = viewer.ask("camera()")["position"]
    assert now == pytest.approx(camera["position"], abs=1e-3), "the keys turn to no view meanwhile"


@pytest.mark.slow
def test_hovering_previews_a_mask_and_leaving_shows_the_chosen_one(viewer: Prompter) -> None:
    viewer.aim()
    viewer.prompt(SEAT)

    viewer.page.locator(".pv-mask").nth(0).hover()
    assert viewer.ask("masks()")["shown"] == 0
    assert [mask["isShown"] for mask in sorted_masks(viewer)] == [True, False, False]

    viewer.page.mouse.move(2, 2)
    assert viewer.ask("masks()")["shown"] == BEST
    assert viewer.page.get_by_role("radio").nth(BEST).is_checked()


@pytest.mark.slow
def test_a_mask_is_striped_over_its_faces_only_and_moves_with_the_parts(viewer: Prompter) -> None:
    viewer.aim()
    plain = {part: viewer.colour_at(part) for part in (SEAT, BACK)}
    viewer.prompt(LEG_2)
    viewer.page.keyboard.press("1")
    viewer.page.mouse.move(2, 2)
    viewer.settle()

    for explode in (0, 0.7):
        viewer.ask(f"explode({explode})")
        viewer.settle()
        assert np.ptp(greens_across(viewer, SEAT)) > 90, "light and dark stripes"
        assert np.ptp(greens_across(viewer, BACK)) < 30, "the other parts are plain"
    viewer.ask("explode(0)")

    viewer.page.keyboard.press("Escape")
    viewer.wait_until_dismissed()
    assert viewer.colour_at(SEAT) == pytest.approx(plain[SEAT], abs=8)
    assert viewer.colour_at(BACK) == pytest.approx(plain[BACK], abs=8)


def greens_across(viewer: Prompter, part_id: int) -> list[int]:
    """The greens of 17 pixels in a row, across the stripes, in the middle of a part."""
    x, y = viewer.place_of(part_id)
    picture = viewer.screen()
    return [picture.getpixel((round(x) + step, round(y)))[1] for step in range(-8, 9)]


def test_a_mask_becomes_a_new_part_and_undo_takes_it_back(viewer: Prompter) -> None:
    viewer.aim()
    viewer.prompt(SEAT)
    viewer.button("New part").click()

    after = viewer.parts_after(2)
    viewer.wait_until_dismissed()
    assert after == {"Seat": 12, "Back": 246, "Part 7": 512}
    assert "action='take', part_ids=()" in viewer.sent()
    assert "index=1, mode='new'" in viewer.sent()
    assert viewer.ask("masks()")["marker"] is None

    viewer.page.keyboard.press("Control+z")
    assert viewer.parts_after(3)["Leg 4"] == 128


@pytest.mark.slow
def test_a_mask_is_added_to_or_cut_from_the_one_selected_part(viewer: Prompter) -> None:
    viewer.row(SEAT).click()
    viewer.aim()
    viewer.prompt(SEAT)
    viewer.page.keyboard.press("3")
    viewer.row(BACK).click(modifiers=["Control"])
    assert viewer.button("Add to").is_disabled()
    assert viewer.button("Cut from").is_disabled()

    viewer.row(BACK).click(modifiers=["Control"])
    viewer.button("Add to Seat").click()
    assert viewer.parts_after(2) == {"Seat": 140, "Back": 246} | dict.fromkeys(
        ("Leg 2", "Leg 3", "Leg 4"), 128
    )
    assert "part_ids=(0,)" in viewer.sent()
    assert "index=2, mode='add'" in viewer.sent()

    viewer.prompt(SEAT)
    viewer.page.keyboard.press("3")
    viewer.button("Cut from Seat").click()
    assert viewer.parts_after(3)["Part 6"] == 128
    assert "index=2, mode='cut'" in viewer.sent()


def test_escape_leaves_one_thing_after_the_other(viewer: Prompter) -> None:
    viewer.row(LEG_1).click()
    viewer.page.locator(".pv-canvas").focus()
    viewer.page.keyboard.press("p")
    assert viewer.toggle.get_attribute("aria-pressed") == "true"
    viewer.prompt(SEAT)

    viewer.page.keyboard.press("Escape")
    viewer.wait_until_dismissed()
    assert "action='dismiss'" in viewer.sent()
    assert viewer.toggle.get_attribute("aria-pressed") == "true"
    assert viewer.ask("selected()") == [LEG_1]

    viewer.page.keyboard.press("Escape")
    assert viewer.toggle.get_attribute("aria-pressed") == "false"
    assert viewer.ask("selected()") == [LEG_1]

    viewer.page.keyboard.press("Escape")
    assert viewer.ask("selected()") == []
    viewer.click_part(BACK)
    assert viewer.ask("selected()") == [BACK], "a click picks again"


def test_the_keyboard_alone_gets_from_the_mesh_to_a_part(viewer: Prompter) -> None:
    canvas = viewer.page.locator(".pv-canvas").bounding_box()
    middle = (canvas["x"] + canvas["width"] / 2, canvas["y"] + canvas["height"] / 2)
    viewer.page.locator(".pv-canvas").focus()
    viewer.page.keyboard.press("p")
    for _ in range(12):
        if viewer.ask("pickAt({}, {})".format(*middle)) is not None:
            break
        viewer.page.keyboard.press("ArrowUp")
        viewer.settle()
    viewer.page.keyboard.press("Enter")
    viewer.wait_for_masks()
    assert min(distance_to(mesh, viewer.sent_point()) for _, mesh in chair()) < 1e-5

    viewer.page.get_by_role("radio", checked=True).focus()
    viewer.page.keyboard.press("ArrowUp")
    assert viewer.ask("masks()")["shown"] == 0
    viewer.page.keyboard.press("Tab")
    viewer.page.keyboard.press("Enter")
    assert viewer.parts_after(2)["Part 7"] == 140
    assert viewer.page.evaluate("document.activeElement.className") == "pv-canvas"


@pytest.mark.slow
def test_a_mesh_without_parts_gets_its_first_and_the_rest_stays_in_grey(viewer: Prompter) -> None:
    viewer.show("mesh", "ready")
    viewer.aim()
    viewer.prompt(0)
    viewer.page.keyboard.press("1")
    viewer.button("New part").click()

    assert viewer.parts_after(1) == {"Part 1": 140}
    viewer.wait_until_dismissed()
    viewer.page.keyboard.press("Escape")
    place = viewer.place_of(-1)
    red, green, blue = viewer.screen().getpixel((round(place[0]), round(place[1])))
    assert max(red, green, blue) - min(red, green, blue) < 40, "the rest is drawn, in grey"
    viewer.page.mouse.move(*place)
    expect(viewer.page.locator(".pv-tip")).to_have_text("No part")
    viewer.page.mouse.click(*place)
    assert viewer.ask("selected()") == []

    viewer.row(0).click()
    viewer.page.get_by_role("button", name="Isolate").click()
    viewer.settle()
    assert viewer.ask("pointOf(-1)") is None
    viewer.page.get_by_role("button", name="Show all").click()
    viewer.settle()
    assert viewer.ask("pointOf(-1)") is not None


def test_while_the_model_works_nothing_else_is_asked(viewer: Prompter) -> None:
    viewer.hold()
    viewer.aim()
    x, y = viewer.place_of(SEAT)
    viewer.page.mouse.click(x, y)
    viewer.page.wait_for_function(f"{PARTWISE}.state() === 'running'")
    assert viewer.toggle.is_disabled()
    assert viewer.toggle.get_attribute("aria-pressed") == "true"
    assert viewer.ask("masks()")["marker"] is not None, "the point under way is marked"
    first = viewer.sent_point()
    viewer.page.mouse.click(x + 4, y)
    viewer.let_go()
    viewer.page.wait_for_function(f"{PARTWISE}.state() === 'done'")
    viewer.settle()

    assert viewer.ask("state()") == "done"
    assert viewer.sent_point() == pytest.approx(first)


@pytest.mark.slow
def test_another_point_brings_other_masks_and_keeps_no_memory(viewer: Prompter) -> None:
    viewer.aim()
    used = []
    for part_id in (SEAT, BACK, SEAT):
        before = {mask["url"] for mask in sorted_masks(viewer)}
        viewer.page.mouse.click(*viewer.place_of(part_id))
        viewer.page.wait_for_function(
            f"(before) => {PARTWISE}.masks().loaded.length === 3"
            f" && {PARTWISE}.masks().loaded.every((mask) => !before.includes(mask.url))",
            arg=list(before),
        )
        for key in "123":
            viewer.page.keyboard.press(key)
            viewer.settle()
        used.append(viewer.ask("memory()")["geometries"])
    assert used[0] == used[1] == used[2]


@pytest.mark.slow
def test_a_mask_that_cannot_be_drawn_is_told_until_the_next_point(viewer: Prompter) -> None:
    viewer.aim()
    viewer.page.route("**/*-0.glb", lambda route: route.fulfill(status=410))
    viewer.page.mouse.click(*viewer.place_of(SEAT))
    viewer.page.wait_for_selector(".pv-card-error")
    assert "Mask 1 could not be drawn" in viewer.page.locator(".pv-card-error").inner_text()
    assert viewer.button("New part").is_enabled()

    viewer.page.unroute("**/*-0.glb")
    viewer.prompt(SEAT)
    assert viewer.page.locator(".pv-card-error").count() == 0


def test_why_points_cannot_be_clicked_is_said(viewer: Prompter) -> None:
    viewer.show("without")
    assert viewer.toggle.is_disabled()
    assert viewer.toggle.get_attribute("title") == REASON
    viewer.page.locator(".pv-canvas").focus()
    viewer.page.keyboard.press("p")
    assert viewer.toggle.get_attribute("aria-pressed") == "false"
    viewer.click_part(SEAT)
    assert viewer.ask("selected()") == [SEAT]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_masks_and_buttons_whole(browser: Any, address: str, scheme: str) -> None:
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, color_scheme=scheme, has_touch=True
    )
    viewer = Prompter(context.new_page(), address)
    viewer.show("chair")
    viewer.toggle.tap()
    viewer.page.touchscreen.tap(*viewer.place_of(SEAT))
    viewer.wait_for_masks()
    viewer.row(SEAT).locator(".pv-swatch").tap()

    picture = viewer.page.locator(".pv-picture").bounding_box()
    panel = viewer.page.locator(".pv-masks").bounding_box()
    sizes = viewer.page.evaluate(
        "[...document.querySelectorAll('.pv-masks button, .pv-mask, .pv-prompt button')].map((b) =>"
        " [b.getBoundingClientRect().height, b.scrollWidth - b.clientWidth, b.textContent])"
    )
    assert viewer.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert panel["x"] >= picture["x"]
    assert panel["x"] + panel["width"] <= picture["x"] + picture["width"]
    assert panel["y"] > picture["y"] + 0.4 * picture["height"], "the object stays in view"
    assert all(height >= 40 and overflow <= 0 for height, overflow, _ in sizes), sizes

    viewer.page.locator(".pv-mask").nth(2).tap()
    viewer.button("Add to Seat").tap()
    assert viewer.parts_after(2)["Seat"] == 140
    context.close()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_words_of_the_panel_stand_out_in_both_themes(
    browser: Any, address: str, scheme: str
) -> None:
    context = browser.new_context(
        reduced_motion="reduce", viewport={"width": 1200, "height": 860}, color_scheme=scheme
    )
    viewer = Prompter(context.new_page(), address)
    viewer.show("chair")
    viewer.aim()
    viewer.prompt(SEAT)

    for selector in (".pv-mask b", ".pv-mask-text", ".pv-primary", ".pv-prompt .pv-button"):
        box = viewer.page.locator(selector).first.bounding_box()
        corners = (box["x"], box["y"], box["x"] + box["width"], box["y"] + box["height"])
        words = np.asarray(viewer.screen().crop(tuple(map(round, corners))), dtype=float) / 255
        light = luminance(words)
        assert (light.max() + 0.05) / (light.min() + 0.05) >= 4.5, selector
    context.close()
