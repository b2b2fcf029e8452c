"""A small page with the part viewer and boxes that can be changed, as before a generation.

Run it to look at the boxes: `python tests/ui/boxes_page.py`, open the address it prints and type a
scene: “chair”, “wide”, “edited” (two boxes are), “own” (no boxes are given), “file” (boxes over a
mesh that is not cut), “running 3” (three parts are done), “fixed” (boxes that stay as they are).
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import gradio as gr
import numpy as np
import trimesh

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from studio.ui.viewer import ViewerAction, ViewerBox, ViewerState, build_part_viewer, parse_action
from tests.ui import viewer_page
from tests.ui.viewer_page import SHAPES, chair, serve, state_of, write_glb

FILES = Path(tempfile.mkdtemp(prefix="boxes-page-"))
viewer_page.FILES = FILES
ROOM = 0.06  # by how much the boxes that are given are wider than the parts
PROGRESS = ("closed", "closed", "empty", "failed", "running", "waiting")


def found_boxes(name: str) -> tuple[ViewerBox, ...]:
    """The boxes of a shape's parts, a little wider than they are."""
    room = np.array([[-ROOM], [ROOM]])
    return tuple(
        ViewerBox(i, (mesh.bounds + room).tolist()) for i, (_, mesh) in enumerate(SHAPES[name]())
    )


def opened(scene: str) -> ViewerState:
    """The state of a scene."""
    if scene == "empty":
        return ViewerState()
    mode, _, detail = scene.partition(" ")
    shape = mode if mode in SHAPES else "chair"
    done = replace(
        state_of(shape, dict(enumerate(SHAPES[shape]())), 1),
        boxes=found_boxes(shape),
        can_edit_boxes=mode != "fixed",
        editable=False,
        downloads=(),
    )
    if mode == "edited":
        boxes = [replace(box, is_edited=box.part_id in (0, 3)) for box in done.boxes]
        return replace(done, boxes=tuple(boxes))
    if mode == "own":
        return replace(done, boxes=())
    if mode == "file":
        whole = trimesh.util.concatenate([mesh for _, mesh in chair()])
        return replace(done, glb_url=write_glb("whole.glb", {-1: ("Mesh", whole)}))
    return preview(done, int(detail)) if mode == "running" else done


def preview(done: ViewerState, count: int) -> ViewerState:
    """The state while parts are generated: the first `count` are there."""
    made = dict(list(enumerate(chair()))[:count])
    states = [*PROGRESS[:count], *PROGRESS[-(len(done.parts) - count) :]]
    rows = (replace(part, state=s, reason="") for part, s in zip(done.parts, states, strict=False))
    return replace(
        done,
        revision=10 + count,
        state="running",
        stage=f"Part {count + 1} of 6",
        kind="completed",
        parts=tuple(rows),
        can_edit_boxes=False,
        glb_url=write_glb(f"preview-{count}.glb", made) if made else None,
    )


def changed(state: ViewerState, action: ViewerAction) -> ViewerState:
    """Carry out what the person did with the boxes."""
    boxes = {box.part_id: box for box in state.boxes}
    found = {box.part_id: box for box in found_boxes(state.mesh_key)}
    if action.action == "box" and action.aabb is not None:
        part_id = action.part_ids[0]
        boxes[part_id] = ViewerBox(part_id, action.aabb, is_edited=True)
    elif action.action == "reset_boxes":
        boxes |= {i: found[i] for i in action.part_ids or found}
    return replace(state, boxes=tuple(boxes.values()), revision=state.revision + 1)


def build_page() -> gr.Blocks:
    """The viewer, a field for the scene's name, and all that the viewer sent."""
    shown: dict[str, ViewerState] = {}
    sent: list[str] = []
    with gr.Blocks(analytics_enabled=False, fill_width=True) as page:
        viewer = build_part_viewer("viewer", "Parts")
        scene = gr.Textbox("empty", label="Scene", elem_id="scene")
        last = gr.Textbox(label="Edits", elem_id="last", lines=4)

        def show(name: str) -> tuple[dict[str, object], str]:
            shown["here"] = opened(name)
            sent.clear()
            return shown["here"].to_value(), ""

        def change(event: gr.EventData) -> tuple[dict[str, object], str]:
            action = parse_action(event._data)
            sent.append(repr(action))
            shown["here"] = changed(shown["here"], action)
            return shown["here"].to_value(), "\n".join(sent)

        hidden = {"queue": False, "show_progress": "hidden"}
        scene.submit(show, scene, [viewer, last], **hidden)
        viewer.submit(change, None, [viewer, last], **hidden)
    return page


if __name__ == "__main__":
    serve(build_page(), FILES)
