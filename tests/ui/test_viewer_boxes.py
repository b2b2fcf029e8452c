"""The boxes of the part viewer in headless Chromium: shown, changed by handles and by numbers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tiers import slow
from tests.ui.boxes_page import ROOM
from tests.ui.boxes_support import Editor, given
from tests.ui.viewer_page import chair, wide
from tests.ui.viewer_support import BACK, LEG_1, LEG_2, PARTWISE, SEAT, served

CONTRAST = Path(__file__).with_name("contrast.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of the page with boxes."""
    with served("boxes_page.py", tmp_path_factory.mktemp("gradio")) as where:
        yield where


@pytest.fixture(scope="module")
def open_page(browser: Any, address: str) -> Iterator[Editor]:
    context = browser.new_context(reduced_motion="reduce", viewport={"width": 1200, "height": 860})
    yield Editor(context.new_page(), address)
    context.close()


@pytest.fixture
def viewer(open_page: Editor) -> Iterator[Editor]:
    """The page with a chair of six parts and their boxes."""
    open_page.page.mouse.move(2, 2)
    open_page.show("empty", "empty")
    open_page.show("chair")
    yield open_page
    assert open_page.outside == []
    assert open_page.problems == []


@pytest.mark.browser
def test_boxes_that_are_given_are_drawn_in_place_of_the_parts_own(viewer: Editor) -> None:
    viewer.page.get_by_role("button", name="Boxes of the parts").click()
    low, high = given(BACK)
    assert viewer.drawn(BACK)["min"] == pytest.approx(low)
    assert viewer.drawn(BACK)["max"] == pytest.approx(high)

    viewer.show("edited")
    assert [viewer.drawn(i)["isEdited"] for i in range(6)] == [
        True,
        False,
        False,
        True,
        False,
        False,
    ]
    viewer.show("own")
    assert viewer.drawn(BACK)["min"] == pytest.approx(chair()[BACK][1].bounds[0].tolist())
    viewer.page.get_by_role("button", name="Boxes of the parts").click()
    assert viewer.ask("boxes()")["drawn"] == []


@pytest.mark.browser
@pytest.mark.parametrize(
    ("part_id", "face", "by", "explode"),
    [slow(SEAT, "x max", 0.35, 0), slow(SEAT, "y min", -0.2, 0), (LEG_2, "z max", 0.15, 0.7)],
)
def test_a_handle_is_dragged_along_its_axis_and_sends_one_box(
    viewer: Editor, part_id: int, face: str, by: float, explode: float
) -> None:
    viewer.edit(part_id)
    viewer.ask(f"explode({explode})")
    viewer.settle()
    camera = viewer.ask("camera()")
    expected = given(part_id)
    expected[face.endswith("max")]["xyz".index(face[0])] += by

    viewer.pull(face, by, release=False)
    live = viewer.numbers()
    assert viewer.sent() == [], "nothing is sent before the release"
    viewer.page.mouse.up()
    box = viewer.sent_box()

    assert box == [pytest.approx(corner, abs=0.012) for corner in expected]
    assert live == [pytest.approx(corner, abs=1e-3) for corner in box]
    others = [(i, j) for i in (0, 1) for j in range(3) if box[i][j] != given(part_id)[i][j]]
    assert others == [(int(face.endswith("max")), "xyz".index(face[0]))], "one face moved"
    assert f"part_ids=({part_id},)" in viewer.sent()[0]
    assert "revision=1" in viewer.sent()[0]
    assert viewer.ask("camera()")["position"] == pytest.approx(camera["position"], abs=1e-6)
    assert viewer.drawn(part_id)["isEdited"]
    assert viewer.panel.locator(".pv-boxes-mark").inner_text() == "edited"
    assert viewer.ask("selected()") == [part_id]


@pytest.mark.slow
@pytest.mark.browser
def test_a_face_stops_before_its_opposite(viewer: Editor) -> None:
    viewer.edit(SEAT)

    viewer.pull("x min", 3)
    box = viewer.sent_box()

    assert 0 < box[1][0] - box[0][0] < 0.01
    assert box[1] == pytest.approx(given(SEAT)[1])


@pytest.mark.slow
@pytest.mark.browser
def test_escape_leaves_a_drag_then_the_mode(viewer: Editor) -> None:
    viewer.edit(SEAT)
    before, camera = viewer.numbers(), viewer.ask("camera()")

    viewer.pull("z max", 0.3, release=False)
    assert viewer.numbers() != before
    viewer.page.keyboard.press("Escape")
    assert viewer.numbers() == before
    x, y = viewer.grip("z max")
    viewer.page.mouse.move(x + 120, y + 90, steps=3)
    viewer.page.mouse.up()
    viewer.settle()

    assert viewer.numbers() == before
    assert viewer.drawn(SEAT)["max"] == pytest.approx(given(SEAT)[1])
    assert viewer.ask("camera()")["position"] == pytest.approx(camera["position"], abs=1e-6)
    viewer.page.keyboard.press("Escape")
    assert viewer.panel.is_hidden()
    assert viewer.toggle.get_attribute("aria-pressed") == "false"
    assert viewer.sent() == []


@pytest.mark.slow
@pytest.mark.browser
def test_beside_the_handles_the_object_turns_and_parts_are_picked(viewer: Editor) -> None:
    viewer.edit(SEAT)
    camera = viewer.ask("camera()")
    area = viewer.page.locator(".pv-canvas").bounding_box()
    x, y = area["x"] + 40, area["y"] + area["height"] - 30

    viewer.page.mouse.move(x, y)
    viewer.page.mouse.down()
    viewer.page.mouse.move(x + 60, y - 20, steps=4)
    viewer.page.mouse.up()
    viewer.settle()
    assert viewer.ask("camera()")["position"] != pytest.approx(camera["position"], abs=1e-3)

    viewer.click_part(BACK)
    assert viewer.selected_rows() == [BACK]
    assert viewer.numbers() == [pytest.approx(corner, abs=1e-4) for corner in given(BACK)]
    assert viewer.sent() == []


@pytest.mark.browser
def test_a_number_is_typed_and_only_that_number_changes(viewer: Editor) -> None:
    viewer.edit(LEG_1)
    expected = given(LEG_1)
    expected[1][1] = 1.25

    viewer.field("y max").fill("1.25")
    assert viewer.drawn(LEG_1)["max"][1] == 1.25, "seen at once"
    viewer.field("y max").press("Enter")

    assert viewer.sent_box() == expected
    viewer.field("y max").press("Tab")
    viewer.settle()
    assert len(viewer.sent()) == 1, "leaving the field sends it no second time"


@pytest.mark.slow
@pytest.mark.browser
def test_arrow_keys_step_a_number_and_send_it_once(viewer: Editor) -> None:
    viewer.edit(SEAT)
    field = viewer.field("x min")
    field.focus()

    for key in ("ArrowUp", "ArrowUp", "ArrowDown", "Shift+ArrowDown"):
        field.press(key)
    stepped = viewer.numbers()[0][0]
    box = viewer.sent_box()

    assert box[0][0] == pytest.approx(stepped)
    assert stepped == pytest.approx(given(SEAT)[0][0] - 0.09, abs=1e-3)
    assert field.evaluate("(node) => node === document.activeElement")


@pytest.mark.browser
@pytest.mark.parametrize(
    ("text", "told"), [("-4", "greater than x min"), slow("", "needs a number")]
)
def test_numbers_that_make_no_box_are_told_and_not_sent(
    viewer: Editor, text: str, told: str
) -> None:
    viewer.edit(SEAT)
    field = viewer.field("x max")

    field.fill(text)
    field.press("Enter")

    assert told in viewer.panel.locator(".pv-boxes-note").inner_text()
    assert field.get_attribute("aria-invalid") == "true"
    assert viewer.drawn(SEAT)["max"] == pytest.approx(given(SEAT)[1])
    field.press("Escape")
    assert viewer.numbers() == [pytest.approx(corner) for corner in given(SEAT)]
    assert viewer.panel.locator(".pv-boxes-note").inner_text() == ""
    assert viewer.panel.is_visible()
    assert viewer.sent() == []


@pytest.mark.slow
@pytest.mark.browser
def test_a_number_that_was_just_typed_is_reset_by_one_click(viewer: Editor) -> None:
    viewer.edit(LEG_1)
    reset = viewer.panel.get_by_role("button", name="Reset this box")
    assert reset.is_disabled()

    viewer.field("y max").fill("1.25")
    reset.click()

    viewer.wait_until_sent("last", f"action='reset_boxes', part_ids=({LEG_1},)")
    viewer.settle()
    assert len(viewer.sent()) == 1, "what was typed is not sent"
    assert viewer.numbers() == [pytest.approx(corner, abs=1e-4) for corner in given(LEG_1)]


@pytest.mark.slow
@pytest.mark.browser
def test_one_box_or_all_are_reset(viewer: Editor) -> None:
    viewer.show("edited")
    viewer.edit(BACK)
    one = viewer.panel.get_by_role("button", name="Reset this box")
    assert one.is_disabled(), "the box of the back is not edited"
    assert "2 boxes edited" in viewer.panel.inner_text()

    viewer.row(SEAT).click()
    one.click()
    viewer.wait_until_sent("last", f"action='reset_boxes', part_ids=({SEAT},)")
    viewer.page.wait_for_function(f"{PARTWISE}.revision() === 2")
    assert "1 box edited" in viewer.panel.inner_text()

    viewer.panel.get_by_role("button", name="Reset all").click()
    viewer.wait_until_sent("last", "action='reset_boxes', part_ids=()")
    viewer.page.wait_for_function(f"{PARTWISE}.revision() === 3")
    assert not any(box["isEdited"] for box in viewer.ask("boxes()")["drawn"])
    assert viewer.panel.get_by_role("button", name="Reset all").is_disabled()


@pytest.mark.slow
@pytest.mark.browser
def test_boxes_far_from_the_origin_keep_their_exact_faces(viewer: Editor) -> None:
    viewer.show("wide")
    viewer.edit(3)
    low, high = wide()[3][1].bounds.tolist()

    viewer.pull("y max", 0.4)
    box = viewer.sent_box()

    assert box[0] == [v - ROOM for v in low]
    assert [box[1][0], box[1][2]] == [high[0] + ROOM, high[2] + ROOM]
    assert box[1][1] == pytest.approx(high[1] + ROOM + 0.4, abs=0.02)


@pytest.mark.slow
@pytest.mark.browser
def test_boxes_of_parts_that_the_file_does_not_hold_are_drawn_and_changed(viewer: Editor) -> None:
    viewer.show("file")
    viewer.edit(LEG_2)
    assert sorted(box["id"] for box in viewer.ask("boxes()")["drawn"]) == list(range(6))

    viewer.pull("y min", -0.25)

    assert viewer.sent_box()[0][1] == pytest.approx(given(LEG_2)[0][1] - 0.25, abs=0.012)


@pytest.mark.browser
def test_without_leave_to_edit_there_is_no_mode(viewer: Editor) -> None:
    viewer.show("fixed")
    viewer.row(SEAT).click()
    viewer.page.locator(".pv-canvas").focus()
    viewer.page.keyboard.press("e")

    assert viewer.toggle.is_hidden()
    assert viewer.panel.is_hidden()
    assert viewer.ask("boxes()")["hasHandles"] is False


@pytest.mark.slow
@pytest.mark.browser
def test_parts_appear_while_others_are_made_and_nothing_jumps(viewer: Editor) -> None:
    viewer.row(BACK).click()
    viewer.ask("explode(0.6)")
    viewer.page.get_by_role("button", name="Boxes of the parts").click()
    viewer.settle()
    camera = viewer.ask("camera()")
    place = {part["id"]: part["position"] for part in viewer.ask("parts()")}
    kept = viewer.ask("memory()")["geometries"]

    for count in (1, 3, 5, 3, 1, 5):
        viewer.preview(count)
        now = {part["id"]: part["position"] for part in viewer.ask("parts()") if part["isDrawn"]}
        assert now == {i: pytest.approx(place[i]) for i in now}
        assert viewer.ask("camera()") == {
            name: pytest.approx(camera[name]) for name in ("position", "target")
        }
        assert viewer.ask("selected()") == [BACK]
        assert viewer.ask("memory()")["geometries"] < kept
    assert [viewer.row(i).locator(".pv-closure").inner_text() for i in range(6)] == [
        "Closed", "Closed", "Empty", "Failed", "Running", "Waiting",
    ]  # fmt: skip
    viewer.page.get_by_role("button", name="Boxes of the parts").click()


@pytest.mark.slow
@pytest.mark.browser
def test_the_first_part_is_shown_in_the_place_that_it_has_in_the_whole(viewer: Editor) -> None:
    whole = viewer.ask("camera()")
    viewer.show("empty", "empty")

    for count in (1, 4):
        viewer.preview(count)
        assert viewer.ask("camera()") == {
            name: pytest.approx(whole[name], abs=1e-3) for name in ("position", "target")
        }


@pytest.mark.slow
@pytest.mark.browser
def test_the_picture_is_never_empty_between_two_previews(viewer: Editor) -> None:
    viewer.preview(2)
    viewer.page.evaluate(
        f"""() => {{
            window.blank = 0;
            const look = () => {{
                const parts = {PARTWISE}.parts();
                if (!parts.some((part) => part.isDrawn)) window.blank += 1;
                if (!window.looked) requestAnimationFrame(look);
            }};
            requestAnimationFrame(look);
        }}"""
    )
    for count in (3, 4, 5):
        viewer.preview(count)

    assert viewer.page.evaluate("window.looked = true, window.blank") == 0


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_finger_drags_a_handle_on_a_phone(browser: Any, address: str, scheme: str) -> None:
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, color_scheme=scheme, has_touch=True
    )
    viewer = Editor(context.new_page(), address)
    viewer.show("chair")
    viewer.edit(SEAT)
    viewer.page.locator(".pv-canvas").scroll_into_view_if_needed()
    camera = viewer.ask("camera()")
    start, end = viewer.grip("x max"), viewer.grip("x max", -0.3)

    touch = context.new_cdp_session(viewer.page)
    for kind, (x, y) in (("touchStart", start), ("touchMove", end)):
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    assert viewer.sent_box()[1][0] == pytest.approx(given(SEAT)[1][0] - 0.3, abs=0.02)
    assert viewer.ask("camera()")["position"] == pytest.approx(camera["position"], abs=1e-6)
    sizes = viewer.panel.evaluate(
        "(node) => [...node.querySelectorAll('button, input')].map((b) => b.offsetHeight)"
    )
    assert min(sizes) >= 40
    assert viewer.page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_words_of_the_panel_and_of_the_states_are_read_easily(
    browser: Any, address: str, scheme: str
) -> None:
    context = browser.new_context(
        reduced_motion="reduce", viewport={"width": 1200, "height": 860}, color_scheme=scheme
    )
    viewer = Editor(context.new_page(), address)
    viewer.show("edited")
    viewer.edit(SEAT)
    viewer.field("x max").fill("-9")
    viewer.field("x max").press("Enter")
    assert viewer.page.evaluate(CONTRAST, ".pv-boxes-head")["ratio"] >= 4.5
    assert viewer.page.evaluate(CONTRAST, ".pv-boxes-fields")["ratio"] >= 4.5
    viewer.preview(3)
    assert viewer.page.evaluate(CONTRAST, ".pv-table tbody")["ratio"] >= 4.5
    context.close()
