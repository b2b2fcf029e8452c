"""A small page with the part viewer on a real document, where each point has the same three masks.

The masks stand in for a model; the edits, the files and the addresses are the application's own.
Run it to look at the point prompt: `python tests/ui/prompt_page.py`, open the address it prints and
type a scene: “chair”, “mesh” (not cut yet), “without” (the engine), “held” (masks come when they
are let go of) or a shape: “wide”, “big”.
"""

import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import gradio as gr
import numpy as np
import trimesh

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from studio import edit, results
from studio.candidates import build_candidates
from studio.document import Document, Part, PartSet
from studio.ui.errors import as_toast
from studio.ui.viewer import (
    MaskCandidate,
    ViewerAction,
    ViewerPart,
    ViewerState,
    build_part_viewer,
    parse_action,
)
from studio.ui.views import hex_colour
from tests.studio.meshes import source_mesh
from tests.ui.viewer_page import SHAPES, chair, serve

FILES = Path(tempfile.mkdtemp(prefix="prompt-page-"))
MASKS = ((0, 2), (2, 3, 4, 5), (2,))  # parts of the chair that each mask covers
IOUS = (0.71, 0.93, 0.52)
LET_GO = threading.Event()
PATIENCE_S = 60.0
REASON = "The neural engine is not installed."


def shape_of(name: str) -> list[tuple[str, trimesh.Trimesh]]:
    """The named parts of a scene."""
    return SHAPES[name]() if name in SHAPES else chair()


def open_scene(name: str) -> Document:
    """The document of a scene, with the shape's own parts unless it is “mesh”."""
    shape = shape_of(name)
    whole = trimesh.util.concatenate([mesh for _, mesh in shape])
    document = Document(source_mesh(np.array(whole.vertices), np.array(whole.faces)), "", key=name)
    labels = shape_labels(shape)
    if name != "mesh":
        document.apply(PartSet(labels, tuple(Part(i, n, i) for i, (n, _) in enumerate(shape))))
    return document


def shape_labels(shape: list[tuple[str, trimesh.Trimesh]]) -> np.ndarray:
    """(F,) int32: the place of each face's part in the list."""
    return np.repeat(np.arange(len(shape), dtype=np.int32), [len(m.faces) for _, m in shape])


def written(name: str, content: bytes) -> str:
    """Put a file where the browser finds it; returns its address."""
    (FILES / name).write_bytes(content)
    return f"partwise/files/{name}"


def state_of(document: Document) -> ViewerState:
    """What the application's own view would show, with files instead of capabilities."""
    kind = results.INPUT if document.parts is None else results.PARTS
    rows = [] if kind == results.INPUT else results.part_rows(document, kind)
    offer = document.candidates
    return ViewerState(
        mesh_key=document.key,
        revision=document.revision,
        glb_url=written(
            f"{document.key}-{document.revision}.glb", results.view_glb(document, kind)
        ),
        state="done" if rows else "ready",
        kind=kind,
        parts=tuple(
            ViewerPart(
                r.part.id, r.part.name, hex_colour(r.part.colour), r.face_count, r.area_percent
            )
            for r in rows
        ),
        can_undo=document.can_undo,
        editable=kind == results.PARTS,
        can_prompt=document.key != "without",
        prompt_hint=REASON if document.key == "without" else "",
        candidates=tuple(
            MaskCandidate(
                i,
                mask.predicted_iou,
                int(mask.faces.sum()),
                mask.area_percent,
                written(name, results.mask_glb(document, name)),
            )
            for i, (mask, name) in enumerate(
                zip(offer.masks, results.mask_names(document), strict=True)
            )
        )
        if offer
        else (),
        prompt_point=offer.point if offer else None,
    )


def answer(document: Document, action: ViewerAction) -> Iterator[ViewerState]:
    """Carry out what the person did; a prompt works a moment, like a job."""
    if action.action == "prompt" and action.point is not None:
        yield replace(
            state_of(document),
            state="running",
            stage="Asking for masks",
            progress=0.5,
            can_prompt=False,
        )
        if document.key == "held":
            LET_GO.wait(PATIENCE_S)
        else:
            time.sleep(0.3)
        labels = shape_labels(shape_of(document.key))
        masks = np.stack([np.isin(labels, ids) for ids in MASKS])
        document.set_candidates(build_candidates(document.source, action.point, masks, IOUS))
    elif action.action == "take" and action.index is not None and document.candidates is not None:
        document.apply(
            edit.take_mask(
                document.parts,
                document.candidates.masks[action.index].faces,
                mode=cast("edit.TakeMode", action.mode),  # checked by parse_action
                part_id=action.part_ids[0] if action.part_ids else None,
                n_faces=len(document.source.faces),
            )
        )
    elif action.action == "dismiss":
        document.set_candidates(None)
    elif action.action == "undo":
        document.undo()
    yield state_of(document)


def build_page() -> gr.Blocks:
    """The viewer, a field for the scene's name, and what the viewer last sent."""
    opened: dict[str, Document] = {}
    with gr.Blocks(analytics_enabled=False, fill_width=True) as page:
        viewer = build_part_viewer("viewer", "Parts")
        scene = gr.Textbox("empty", label="Scene", elem_id="scene")
        last = gr.Textbox(label="Last edit", elem_id="last")
        let_go = gr.Button("Let go", elem_id="let-go")

        def show(name: str) -> dict[str, object]:
            if name == "empty":
                return ViewerState().to_value()
            LET_GO.clear()
            opened["here"] = open_scene(name)
            return state_of(opened["here"]).to_value()

        def edit_parts(event: gr.EventData) -> Iterator[tuple[object, str]]:
            action = parse_action(event._data)
            try:
                for state in answer(opened["here"], action):
                    yield state.to_value(), repr(action)
            except edit.AppError as err:
                raise as_toast(err) from err

        hidden = {"show_progress": "hidden"}
        let_go.click(LET_GO.set, None, None, **hidden)
        scene.submit(show, scene, viewer, queue=False, **hidden)
        viewer.submit(edit_parts, None, [viewer, last], **hidden)
    return page


if __name__ == "__main__":
    serve(build_page(), FILES)
