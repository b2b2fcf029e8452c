"""What crosses the line between the server and the part viewer in the browser."""

import json
import math

import pytest

from studio.ui.viewer import (
    BUNDLE,
    MaskCandidate,
    ViewerAction,
    ViewerBox,
    ViewerPart,
    ViewerState,
    build_part_viewer,
    parse_action,
    viewer_head,
)

BOX = [[0, 0, 0], [1, 1, 1]]


@pytest.mark.parametrize(
    ("payload", "action"),
    [
        ({"action": "merge", "part_ids": [2, 5]}, ViewerAction("merge", (2, 5))),
        ({"action": "merge", "part_ids": [2, 5, 2]}, ViewerAction("merge", (2, 5))),
        ({"action": "split", "part_ids": [0], "revision": 4}, ViewerAction("split", (0,), "", 4)),
        (
            {"action": "rename", "part_ids": [1], "name": " Seat "},
            ViewerAction("rename", (1,), "Seat"),
        ),
        ({"action": "undo", "part_ids": []}, ViewerAction("undo")),
        ({"action": "undo"}, ViewerAction("undo")),
        ({"action": "select", "part_ids": [], "revision": "x"}, ViewerAction("select")),
        (
            {"action": "prompt", "point": [0.5, -2, 1e15], "part_ids": [], "revision": 3},
            ViewerAction("prompt", revision=3, point=(0.5, -2.0, 1e15)),
        ),
        (
            {"action": "take", "index": 0, "mode": "new"},
            ViewerAction("take", index=0, mode="new"),
        ),
        (
            {"action": "take", "index": 2, "mode": "add", "part_ids": [7], "revision": 9},
            ViewerAction("take", (7,), revision=9, index=2, mode="add"),
        ),
        (
            {"action": "take", "index": 1, "mode": "cut", "part_ids": [0]},
            ViewerAction("take", (0,), index=1, mode="cut"),
        ),
        ({"action": "dismiss", "part_ids": []}, ViewerAction("dismiss")),
        (
            {"action": "box", "part_ids": [4], "aabb": [[0, -1e15, 0.5], [1, 2, 3]], "revision": 2},
            ViewerAction("box", (4,), revision=2, aabb=((0.0, -1e15, 0.5), (1.0, 2.0, 3.0))),
        ),
        ({"action": "reset_boxes", "part_ids": [4]}, ViewerAction("reset_boxes", (4,))),
        ({"action": "reset_boxes", "part_ids": []}, ViewerAction("reset_boxes")),
        ({"action": "reset_boxes", "aabb": "not looked at"}, ViewerAction("reset_boxes")),
    ],
)
def test_what_the_viewer_sends_becomes_an_action(payload: object, action: ViewerAction) -> None:
    assert parse_action(payload) == action


@pytest.mark.parametrize(
    "payload",
    [
        None,
        "merge",
        [],
        {},
        {"action": "delete", "part_ids": [1]},
        {"action": ["merge"], "part_ids": [1, 2]},
        {"action": "merge", "part_ids": [1]},
        {"action": "merge", "part_ids": [1, 1]},
        {"action": "merge", "part_ids": [1, -2]},
        {"action": "merge", "part_ids": [1, 2.5]},
        {"action": "merge", "part_ids": [1, True]},
        {"action": "merge", "part_ids": [1, [2]]},
        {"action": "merge", "part_ids": [1, 2**40]},
        {"action": "merge", "part_ids": list(range(20_000))},
        {"action": "merge", "part_ids": {"0": 1}},
        {"action": "split", "part_ids": [1, 2]},
        {"action": "rename", "part_ids": [1]},
        {"action": "rename", "part_ids": [1], "name": "   "},
        {"action": "rename", "part_ids": [1], "name": "x" * 201},
        {"action": "rename", "part_ids": [1], "name": 7},
        {"action": "prompt"},
        {"action": "prompt", "point": None},
        {"action": "prompt", "point": [0, 0]},
        {"action": "prompt", "point": [0, 0, 0, 0]},
        {"action": "prompt", "point": {"x": 0, "y": 0, "z": 0}},
        {"action": "prompt", "point": [0, 0, math.nan]},
        {"action": "prompt", "point": [0, math.inf, 0]},
        {"action": "prompt", "point": [0, -1.1e15, 0]},
        {"action": "prompt", "point": [0, 10**400, 0]},
        {"action": "prompt", "point": [0, True, 0]},
        {"action": "prompt", "point": [0, "1", 0]},
        {"action": "prompt", "point": [[0], [0], [0]]},
        {"action": "take", "mode": "new"},
        {"action": "take", "index": 3, "mode": "new"},
        {"action": "take", "index": -1, "mode": "new"},
        {"action": "take", "index": True, "mode": "new"},
        {"action": "take", "index": 1.0, "mode": "new"},
        {"action": "take", "index": "1", "mode": "new"},
        {"action": "take", "index": 1},
        {"action": "take", "index": 1, "mode": "eat"},
        {"action": "take", "index": 1, "mode": ["new"]},
        {"action": "take", "index": 1, "mode": "add"},
        {"action": "take", "index": 1, "mode": "add", "part_ids": []},
        {"action": "take", "index": 1, "mode": "cut", "part_ids": [1, 2]},
        {"action": "take", "index": 1, "mode": "cut", "part_ids": [-1]},
        {"action": "reset_boxes", "part_ids": [-1]},
        {"action": "box", "aabb": BOX},
        {"action": "box", "part_ids": [], "aabb": BOX},
        {"action": "box", "part_ids": [1, 2], "aabb": BOX},
        {"action": "box", "part_ids": [True], "aabb": BOX},
        {"action": "box", "part_ids": [1]},
        {"action": "box", "part_ids": [1], "aabb": None},
        {"action": "box", "part_ids": [1], "aabb": [0, 0, 0, 1, 1, 1]},
        {"action": "box", "part_ids": [1], "aabb": [[0, 0, 0]]},
        {"action": "box", "part_ids": [1], "aabb": [*BOX, [2, 2, 2]]},
        {"action": "box", "part_ids": [1], "aabb": [[0, 0], [1, 1]]},
        {"action": "box", "part_ids": [1], "aabb": [{"x": 0, "y": 0, "z": 0}, [1, 1, 1]]},
        {"action": "box", "part_ids": [1], "aabb": [[0, 0, math.nan], [1, 1, 1]]},
        {"action": "box", "part_ids": [1], "aabb": [[0, 0, 0], [1, math.inf, 1]]},
        {"action": "box", "part_ids": [1], "aabb": [[0, 0, -(10**400)], [1, 1, 1]]},
        {"action": "box", "part_ids": [1], "aabb": [[0, 0, 0], [1, 1, 1.1e15]]},
        {"action": "box", "part_ids": [1], "aabb": [[False, 0, 0], [1, 1, 1]]},
        {"action": "box", "part_ids": [1], "aabb": [["0", 0, 0], [1, 1, 1]]},
        {"action": "box", "part_ids": [1], "aabb": [[0, 0, 0], [1, 0, 1]]},
        {"action": "box", "part_ids": [1], "aabb": [[0, 0, 2], [1, 1, 1]]},
    ],
)
def test_anything_else_is_refused_with_a_sentence(payload: object) -> None:
    with pytest.raises(ValueError, match=r"^[A-Z].*\.$"):
        parse_action(payload)


def test_a_state_goes_through_json_unchanged() -> None:
    part = ViewerPart(3, "Seat", "#4a90d9", 12, 40.0, aabb=[[0, 0, 0], [1, 1, 1]])

    value = ViewerState(mesh_key="a", state="done", kind="parts", parts=(part,)).to_value()

    assert json.loads(json.dumps(value))["parts"][0]["name"] == "Seat"


def test_states_and_colours_that_the_browser_does_not_know_are_refused() -> None:
    with pytest.raises(ValueError, match="finished"):
        ViewerState(state="finished")
    with pytest.raises(ValueError, match="red"):
        ViewerPart(0, "Seat", "red", 1, 1.0)


def test_masks_and_a_point_go_through_json_unchanged() -> None:
    mask = MaskCandidate(1, 0.93, 1204, 12.5, "partwise/files/a.glb")

    state = ViewerState(can_prompt=True, candidates=(mask,), prompt_point=(0.0, 1.0, 2.0))
    value = json.loads(json.dumps(state.to_value(), allow_nan=False))

    assert value["candidates"] == [
        {"index": 1, "iou": 0.93, "faces": 1204, "area_percent": 12.5, "glb_url": mask.glb_url}
    ]
    assert value["prompt_point"] == [0, 1, 2]
    assert value["can_prompt"] is True


def test_masks_and_points_that_cannot_be_shown_are_refused() -> None:
    mask = MaskCandidate(0, 0.5, 1, 1.0, "a.glb")
    with pytest.raises(ValueError, match="not 3"):
        MaskCandidate(3, 0.5, 1, 1.0, "a.glb")
    with pytest.raises(ValueError, match="not nan"):
        MaskCandidate(0, math.nan, 1, 1.0, "a.glb")
    with pytest.raises(ValueError, match="one number"):
        ViewerState(candidates=(mask, mask))
    with pytest.raises(ValueError, match="inf"):
        ViewerState(prompt_point=(0.0, math.inf, 0.0))


def test_a_box_turned_inside_out_is_refused_with_its_axis_and_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"Along y .* begins at 2 .*ends at 1\..*least y smaller"):
        parse_action({"action": "box", "part_ids": [1], "aabb": [[0, 2, 0], [1, 1, 1]]})


def test_boxes_go_through_json_unchanged() -> None:
    box = ViewerBox(3, [[0, 0, 0.25], [1, 1, 1]], is_edited=True)

    value = json.loads(json.dumps(ViewerState(boxes=(box,), can_edit_boxes=True).to_value()))

    assert value["boxes"] == [{"part_id": 3, "aabb": [[0, 0, 0.25], [1, 1, 1]], "is_edited": True}]
    assert value["can_edit_boxes"] is True


def test_boxes_that_cannot_be_shown_are_refused() -> None:
    with pytest.raises(ValueError, match="two corners"):
        ViewerBox(0, [[0, 0, 0]])
    with pytest.raises(ValueError, match="finite"):
        ViewerBox(0, [[0, 0, 0], [1, 1, math.nan]])
    with pytest.raises(ValueError, match="least corner first"):
        ViewerBox(0, [[0, 2, 0], [1, 1, 1]])
    with pytest.raises(ValueError, match="one part"):
        ViewerState(boxes=(ViewerBox(1, BOX), ViewerBox(1, BOX)))


@pytest.mark.parametrize("state", ["waiting", "running", "closed", "open", "empty", "failed"])
def test_a_part_tells_how_far_its_making_is(state: str) -> None:
    assert ViewerPart(0, "Seat", "#4a90d9", 1, 1.0, state=state).state == state


def test_the_tags_name_files_that_are_there_by_relative_addresses() -> None:
    head = viewer_head()

    for name in ("viewer.js", "viewer.css"):
        assert f'"partwise/viewer/{name}?v=' in head
        assert (BUNDLE / name).stat().st_size < 750_000
    assert "://" not in head
    assert "MIT License" in (BUNDLE / "three.LICENSE.txt").read_text(encoding="utf-8")


def test_gradio_offers_the_events_of_edits_and_selection() -> None:
    viewer = build_part_viewer("viewer", "Parts")

    assert callable(viewer.submit)
    assert callable(viewer.select)
