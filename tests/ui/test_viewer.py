"""The part viewer in headless Chromium."""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.tiers import slow_but
from tests.ui.viewer_support import BACK, LEG_1, LEG_2, PARTWISE, SEAT, Viewer, served


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of the viewer's own page."""
    with served("viewer_page.py", tmp_path_factory.mktemp("gradio")) as where:
        yield where


@pytest.fixture(scope="module")
def open_page(browser: Any, address: str) -> Iterator[Viewer]:
    """One page for all tests that need nothing special: opening it takes longer than most tests."""
    context = browser.new_context(reduced_motion="reduce", viewport={"width": 1200, "height": 860})
    yield Viewer(context.new_page(), address)
    context.close()


@pytest.fixture
def viewer(open_page: Viewer) -> Iterator[Viewer]:
    """The page with a chair of six parts, as after loading."""
    open_page.page.mouse.move(2, 2)
    open_page.show("empty", "empty")
    open_page.show("chair")
    yield open_page
    assert open_page.outside == []
    assert open_page.problems == []


def swatch(hex_colour: str) -> tuple[int, ...]:
    return tuple(int(hex_colour[i : i + 2], 16) for i in (1, 3, 5))


def distance(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


@pytest.mark.browser
def test_parts_are_drawn_in_the_colours_of_their_swatches(viewer: Viewer) -> None:
    assert distance(viewer.colour_at(SEAT), swatch("#4a90d9")) < 30
    assert distance(viewer.colour_at(BACK), swatch("#e2803b")) < 45
    assert all(part["isDrawn"] for part in viewer.ask("parts()"))


@pytest.mark.browser
def test_a_click_in_the_picture_selects_the_row_and_shift_adds(viewer: Viewer) -> None:
    viewer.click_part(SEAT)
    assert viewer.selected_rows() == [SEAT]

    viewer.click_part(BACK, ["Shift"])
    assert viewer.selected_rows() == [SEAT, BACK]
    viewer.wait_until_sent("chosen", "part_ids=(0, 1)")

    viewer.page.mouse.click(80, 120)
    assert viewer.selected_rows() == []


@pytest.mark.browser
def test_a_click_on_a_row_highlights_the_part_and_dims_the_others(viewer: Viewer) -> None:
    seat, back = viewer.colour_at(SEAT), viewer.colour_at(BACK)

    viewer.row(BACK).click()

    assert viewer.ask("selected()") == [BACK]
    assert distance(viewer.colour_at(SEAT), seat) > 40
    assert distance(viewer.colour_at(BACK), back) < 30


@pytest.mark.browser
def test_rows_are_chosen_with_the_keyboard(viewer: Viewer) -> None:
    viewer.row(SEAT).click()
    viewer.page.keyboard.press("ArrowDown")
    viewer.page.keyboard.press("Space")
    assert viewer.selected_rows() == [SEAT, BACK]

    viewer.page.keyboard.press("Delete")
    assert len(viewer.ask("parts()")) == 6

    viewer.page.keyboard.press("Escape")
    assert viewer.selected_rows() == []


@pytest.mark.browser
def test_the_slider_moves_parts_apart_and_back(viewer: Viewer) -> None:
    slider = viewer.page.locator(".pv-slider")
    before = viewer.ask("camera()")

    slider.fill("1")
    viewer.settle()
    apart = [part["position"] for part in viewer.ask("parts()")]
    assert sum(any(abs(v) > 0.05 for v in position) for position in apart) >= 5
    for part in viewer.ask("parts()"):
        assert viewer.ask(f"pointOf({part['id']})") is not None, "each part stays in the picture"

    slider.fill("0")
    viewer.settle()
    assert all(abs(v) < 1e-9 for p in viewer.ask("parts()") for v in p["position"])
    assert viewer.ask("camera()")["position"] == pytest.approx(before["position"], abs=1e-3)


@pytest.mark.browser
def test_the_eye_hides_a_part_and_isolate_shows_only_the_selection(viewer: Viewer) -> None:
    viewer.row(SEAT).locator(".pv-eye").click()
    viewer.settle()
    assert viewer.ask(f"pointOf({SEAT})") is None
    assert viewer.ask(f"pointOf({BACK})") is not None

    viewer.page.get_by_role("button", name="Show all").click()
    viewer.row(LEG_1).click()
    viewer.page.get_by_role("button", name="Isolate").click()
    viewer.settle()
    assert [part["id"] for part in viewer.ask("parts()") if part["isShown"]] == [LEG_1]
    assert viewer.ask(f"pointOf({SEAT})") is None


@pytest.mark.browser
def test_merge_goes_to_the_server_and_the_view_stays(viewer: Viewer) -> None:
    merge = viewer.page.get_by_role("button", name="Merge")
    viewer.row(LEG_1).click()
    assert merge.is_disabled()
    viewer.row(LEG_2).click(modifiers=["Control"])
    viewer.page.locator(".pv-slider").fill("0.5")
    viewer.settle()
    camera = viewer.ask("camera()")

    merge.click()
    viewer.page.wait_for_function(f"{PARTWISE}.revision() === 2")
    viewer.settle()

    viewer.wait_until_sent("last", "action='merge', part_ids=(2, 3)")
    assert len(viewer.ask("parts()")) == 5
    assert viewer.ask("selected()") == [LEG_1]
    assert viewer.ask("explode()") == 0.5
    assert viewer.ask("camera()")["position"] == pytest.approx(camera["position"], abs=1e-6)

    viewer.page.locator(".pv-canvas").focus()
    viewer.page.keyboard.press("Control+z")
    viewer.page.wait_for_function(f"{PARTWISE}.revision() === 3")
    assert len(viewer.ask("parts()")) == 6


@pytest.mark.browser
def test_a_name_is_edited_in_its_row(viewer: Viewer) -> None:
    viewer.row(SEAT).click()
    viewer.page.keyboard.press("F2")
    viewer.page.keyboard.type("Cushion")
    viewer.page.keyboard.press("Enter")

    viewer.wait_until_sent("last", "action='rename', part_ids=(0,), name='Cushion'")


@pytest.mark.browser
def test_keys_do_nothing_while_the_focus_is_elsewhere(viewer: Viewer) -> None:
    viewer.row(SEAT).click()
    viewer.row(BACK).click(modifiers=["Shift"])
    viewer.page.locator("#scene textarea, #scene input").focus()

    viewer.page.keyboard.press("m")
    viewer.settle()

    assert viewer.ask("revision()") == 1


@pytest.mark.browser
def test_names_of_parts_are_text_only(viewer: Viewer) -> None:
    viewer.show("hostile")
    viewer.page.mouse.move(*viewer.ask("pointOf(0)").values())
    expect(viewer.page.locator(".pv-tip")).to_contain_text("<img src=x")

    assert viewer.page.title() != "owned"
    assert viewer.page.locator(".pv img, .pv script").count() == 0
    assert viewer.row(0).locator(".pv-name").inner_text().startswith("<img src=x")
    assert viewer.page.locator(".pv-tip").inner_text().startswith("<img src=x")


@pytest.mark.browser
@pytest.mark.parametrize("scene", slow_but(["tall"], ["tall", "wide"]))
def test_long_things_are_framed_whole(viewer: Viewer, scene: str) -> None:
    viewer.show(scene)
    area = viewer.page.locator(".pv-canvas").bounding_box()

    edges = viewer.ask("extent()")

    assert area["x"] < edges["left"]
    assert edges["right"] < area["x"] + area["width"]
    assert area["y"] < edges["top"]
    assert edges["bottom"] < area["y"] + area["height"]
    spread = max(
        (edges["right"] - edges["left"]) / area["width"],
        (edges["bottom"] - edges["top"]) / area["height"],
    )
    assert spread > 0.6


@pytest.mark.slow
@pytest.mark.browser
def test_states_are_told_over_the_picture(viewer: Viewer) -> None:
    viewer.show("error", "error")
    assert "has no faces" in viewer.page.get_by_role("alert").last.inner_text()

    viewer.show("running chair", "running")
    bar = viewer.page.get_by_role("progressbar")
    assert bar.get_attribute("aria-valuenow") == "42"
    assert "Finding boundaries" in viewer.page.locator(".pv-card").first.inner_text()
    assert viewer.page.get_by_role("button", name="Merge").is_disabled()

    viewer.show("stale chair", "stale")
    assert "changed" in viewer.page.locator(".pv-card-stale").inner_text()

    viewer.show("missing", "ready")
    assert "could not be loaded" in viewer.page.locator(".pv-card-error").inner_text()

    viewer.show("empty", "empty")
    assert "Drop a mesh" in viewer.page.locator(".pv-card-empty").inner_text()
    assert viewer.ask("memory()")["geometries"] <= 2, "nothing of the last mesh is kept"


@pytest.mark.slow
@pytest.mark.browser
def test_replacing_meshes_keeps_no_memory(viewer: Viewer) -> None:
    used = []
    for scene in ("nested", "chair", "nested", "chair"):
        viewer.show(scene)
        viewer.page.wait_for_function(f"{PARTWISE}.parts().every((part) => part.isDrawn)")
        viewer.settle()
        used.append(viewer.ask("memory()")["geometries"])

    assert used[0] == used[2]
    assert used[1] == used[3]


@pytest.mark.slow
@pytest.mark.browser
def test_the_view_comes_back_after_the_graphics_context_was_lost(viewer: Viewer) -> None:
    viewer.ask("loseContext()")
    viewer.page.wait_for_selector(".pv-card-error")
    viewer.ask("restoreContext()")
    viewer.page.wait_for_selector(".pv-card-error", state="detached")
    viewer.settle()

    assert distance(viewer.colour_at(SEAT), swatch("#4a90d9")) < 30


@pytest.mark.slow
@pytest.mark.browser
def test_without_webgl_the_table_still_works(browser: Any, address: str) -> None:
    context = browser.new_context()
    context.add_init_script("HTMLCanvasElement.prototype.getContext = () => null;")
    viewer = Viewer(context.new_page(), address)
    viewer.show("chair")
    viewer.row(SEAT).click()

    assert "WebGL" in viewer.page.locator(".pv-card-error").inner_text()
    assert viewer.selected_rows() == [SEAT]
    context.close()


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_everything_without_sideways_scroll(
    browser: Any, address: str, scheme: str
) -> None:
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, color_scheme=scheme, has_touch=True
    )
    viewer = Viewer(context.new_page(), address)
    viewer.show("chair")

    width = viewer.page.evaluate("document.documentElement.scrollWidth")
    sizes = viewer.page.evaluate(
        "[...document.querySelectorAll('.pv button, .pv a')].filter((b) => b.offsetParent)"
        ".map((b) => b.getBoundingClientRect()).map((r) => Math.min(r.width, r.height))"
    )
    canvas = viewer.page.locator(".pv-canvas").bounding_box()
    table = viewer.page.locator(".pv-table").bounding_box()

    assert width <= 390
    assert min(sizes) >= 40
    assert table["y"] > canvas["y"] + canvas["height"]
    viewer.row(BACK).locator(".pv-swatch").tap()
    viewer.row(SEAT).locator(".pv-swatch").tap()
    assert viewer.selected_rows() == [SEAT, BACK]
    context.close()


def picture_of(viewer: Viewer) -> Any:
    """Where a part is seen as it is now, as numbers."""
    viewer.page.mouse.move(2, 2)
    viewer.settle()
    shot = viewer.page.locator(".pv-canvas").screenshot()
    return np.asarray(Image.open(io.BytesIO(shot)).convert("L"), dtype=float)


@pytest.mark.slow
@pytest.mark.browser
def test_cut_surfaces_are_hatched_and_told_until_they_are_switched_off(viewer: Viewer) -> None:
    switch = viewer.page.get_by_role("button", name="Mark cut surfaces")
    legend = viewer.page.locator(".pv-legend")
    assert not switch.is_visible(), "a picture without cut surfaces has no switch"

    viewer.show("cuts")
    viewer.page.get_by_role("button", name="Front").click()
    assert viewer.ask("cuts()") == {"isOn": True, "parts": [1]}
    assert legend.inner_text() == "Cut surface"
    marked = picture_of(viewer)
    switch.click()
    plain = picture_of(viewer)
    assert not legend.is_visible()
    assert switch.get_attribute("aria-pressed") == "false"
    is_other = np.abs(marked - plain) > 12
    left, right = is_other[:, : is_other.shape[1] // 2], is_other[:, is_other.shape[1] // 2 :]
    assert right.sum() > 20 * max(1, left.sum()), "only the part with the cut surface changes"
    assert marked[is_other].std() > 2 * plain[is_other].std(), "stripes"
    viewer.page.keyboard.press("x")
    assert np.abs(picture_of(viewer) - marked).mean() < 1


@pytest.mark.slow
@pytest.mark.browser
def test_closed_parts_tell_volume_area_and_what_is_wrong(viewer: Viewer) -> None:
    viewer.show("cuts")
    head = [cell.strip() for cell in viewer.page.locator(".pv-table th").all_inner_texts()]
    assert head[2:5] == ["Volume", "Area", "Closed?"]
    row = viewer.row(1)
    assert row.locator("td").nth(2).inner_text() == "1.2 cm³"
    assert row.locator("td").nth(3).inner_text() == "34.5 cm²"
    assert row.locator(".pv-closure").inner_text().startswith("Remade")
    assert "0.31 mm" in (row.locator(".pv-closure").get_attribute("title") or "")
    assert row.locator(".pv-thin").is_visible()
    assert viewer.row(0).locator(".pv-thin").count() == 0

    viewer.show("chair")
    head = [cell.strip() for cell in viewer.page.locator(".pv-table th").all_inner_texts()]
    assert head[2:4] == ["Faces", "Area"]
    assert viewer.row(0).locator("td").nth(3).inner_text().endswith("%")
