"""A small page with nothing but the part viewer, in any of its states.

Run it to look at the viewer: `python tests/ui/viewer_page.py`, then open the address it prints and
type the name of a scene. The browser tests start it the same way.
"""

import math
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import gradio as gr
import numpy as np
import trimesh
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from partwise.geometry.export import ExportPart, write_parts_glb
from studio.ui.viewer import (
    BUNDLE,
    BUNDLE_URL,
    DownloadLink,
    ViewerPart,
    ViewerState,
    build_part_viewer,
    parse_action,
    viewer_head,
)

FILES = Path(tempfile.mkdtemp(prefix="viewer-page-"))
PALETTE = ["#4a90d9", "#e2803b", "#47a860", "#c5558f", "#8a6fd1", "#c9a227", "#3fb1b5", "#d4574e"]
HOSTILE = [
    "<img src=x onerror=\"document.title='owned'\">",
    "${document.title='owned'}{{constructor}}",
    "\u202etfel ot thgir",
    "</script><script>document.title='owned'</script>",
    "a very long name " * 12,
    "日本語 — naïve",
]


def box(size: tuple[float, float, float], at: tuple[float, float, float]) -> trimesh.Trimesh:
    """A box with rounded-off corners, so that shading is seen."""
    mesh = trimesh.creation.box(extents=size)
    mesh.apply_translation(at)
    return mesh


def chair() -> list[tuple[str, trimesh.Trimesh]]:
    """A chair of six parts, standing on y = 0."""
    legs = [trimesh.creation.cylinder(radius=0.045, height=0.9, sections=32) for _ in range(4)]
    for leg, (x, z) in zip(legs, [(-0.4, -0.4), (0.4, -0.4), (-0.4, 0.4), (0.4, 0.4)], strict=True):
        leg.apply_transform(trimesh.transformations.rotation_matrix(math.pi / 2, [1, 0, 0]))
        leg.apply_translation([x, 0.45, z])
    back = trimesh.creation.annulus(r_min=0.75, r_max=0.83, height=0.75, sections=96)
    back.apply_transform(trimesh.transformations.rotation_matrix(math.pi / 2, [1, 0, 0]))
    keep = back.triangles_center[:, 2] < -0.42
    back.update_faces(keep)
    back.remove_unreferenced_vertices()
    back.apply_translation([0, 1.45, 0.3])
    return [
        ("Seat", box((1.0, 0.1, 1.0), (0, 0.95, 0))),
        ("Back", back),
        *[(f"Leg {i + 1}", leg) for i, leg in enumerate(legs)],
    ]


def nested() -> list[tuple[str, trimesh.Trimesh]]:
    """Balls around one centre."""
    return [
        (f"Shell {i}", trimesh.creation.icosphere(3, radius=r)) for i, r in enumerate((1, 0.6, 0.3))
    ]


def big() -> list[tuple[str, trimesh.Trimesh]]:
    """About a million faces in three parts."""
    balls = [trimesh.creation.icosphere(7) for _ in range(3)]
    for i, ball in enumerate(balls):
        ball.apply_translation([2.2 * i, 0, 0])
    return [(f"Ball {i + 1}", ball) for i, ball in enumerate(balls)]


def tall() -> list[tuple[str, trimesh.Trimesh]]:
    """A thing thirty times as high as wide."""
    return [("Mast", box((0.1, 3, 0.1), (0, 1.5, 0))), ("Foot", box((0.4, 0.05, 0.4), (0, 0, 0)))]


def wide() -> list[tuple[str, trimesh.Trimesh]]:
    """A thing thirty times as wide as high, far from the origin."""
    return [(f"Tile {i}", box((0.9, 0.1, 0.5), (1000 + i, 500, 0))) for i in range(6)]


def write_glb(name: str, parts: dict[int, tuple[str, trimesh.Trimesh]]) -> str:
    """Write a file of named nodes with their part ids; returns its address."""
    written = [
        ExportPart(part_id, part_name, (128, 128, 128), mesh.vertices, mesh.faces)
        for part_id, (part_name, mesh) in parts.items()
    ]
    (FILES / name).write_bytes(write_parts_glb(written))
    return f"partwise/files/{name}"


def table_row(part_id: int, name: str, mesh: trimesh.Trimesh, share: float) -> ViewerPart:
    """The table's row of a part."""
    is_closed = bool(mesh.is_watertight)
    return ViewerPart(
        id=part_id,
        name=name,
        colour=PALETTE[part_id % len(PALETTE)],
        faces=len(mesh.faces),
        area_percent=100 * share,
        state="closed" if is_closed else "open",
        reason="" if is_closed else "One hole of 42 edges where it was cut off.",
        aabb=mesh.bounds.tolist(),
    )


def state_of(
    name: str, parts: dict[int, tuple[str, trimesh.Trimesh]], revision: int
) -> ViewerState:
    """The state “done” with the parts given by id."""
    areas = np.array([mesh.area for _, mesh in parts.values()])
    rows = zip(parts.items(), areas / areas.sum(), strict=True)
    return ViewerState(
        mesh_key=name,
        revision=revision,
        glb_url=write_glb(f"{name}-{revision}.glb", parts),
        state="done",
        kind="parts",
        parts=tuple(table_row(i, label, mesh, share) for (i, (label, mesh)), share in rows),
        editable=True,
        can_undo=revision > 1,
        downloads=(
            DownloadLink("parts.glb", f"partwise/files/{name}-{revision}.glb"),
            DownloadLink("parts-glb.zip", f"partwise/files/{name}-{revision}.glb"),
            DownloadLink("labels .npy", f"partwise/files/{name}-{revision}.glb"),
            DownloadLink("report.json", f"partwise/files/{name}-{revision}.glb"),
        ),
        engine="geometric",
        elapsed_s=1.24,
    )


def cut_state() -> ViewerState:
    """Two closed halves of a bar, one with a cut surface, as on the Generate side."""
    parts = {}
    for i, name in enumerate(("Left", "Right")):
        mesh = box((1, 1, 1), (1.02 * i, 0, 0))
        is_end = mesh.face_normals[:, 2] > 0.5
        faces = np.concatenate([mesh.faces[~is_end], mesh.faces[is_end]])
        parts[i] = (name, trimesh.Trimesh(mesh.vertices, faces, process=False))
    written = [
        ExportPart(i, name, (128, 128, 128), mesh.vertices, mesh.faces, first_cut=10 if i else None)
        for i, (name, mesh) in parts.items()
    ]
    (FILES / "cuts.glb").write_bytes(write_parts_glb(written, is_shaded=True))
    plain = state_of("cuts", parts, 1)
    thin = "Too thin to print: 0.31 mm thick in places, under 0.8 mm."
    left, right = (replace(p, volume="1.2 cm³", area="34.5 cm²") for p in plain.parts)
    rows = (left, replace(right, state="voxel", warning=thin))
    url = "partwise/files/cuts.glb"
    return replace(plain, glb_url=url, kind="completed", parts=rows, editable=False)


SHAPES = {"chair": chair, "nested": nested, "big": big, "tall": tall, "wide": wide}


def scene_state(name: str) -> ViewerState:
    """The state of a scene such as “chair”, “hostile”, or “running chair”."""
    mode, _, shape = name.rpartition(" ")
    if name == "hostile":
        made = {i: (text, box((0.5, 0.5, 0.5), (i, 0, 0))) for i, text in enumerate(HOSTILE)}
        return state_of(name, made, 1)
    if name == "cuts":
        return cut_state()
    if name in ("empty", "checking", "queued", "error", "missing"):
        return bare_state(name)
    made = dict(enumerate(SHAPES[shape]()))
    done = state_of(shape, made, 1)
    if mode == "input":
        return replace(done, kind="input", state="ready", parts=(), editable=False, downloads=())
    if mode == "running":
        return replace(done, state="running", stage="Finding boundaries", progress=0.42)
    if mode == "stale":
        return replace(done, state="stale")
    if mode == "partial":
        return replace(done, state="partial", kind="completed", message="1 of 6 parts stays open.")
    if mode == "error":
        return replace(done, state="error", message="Not enough memory: needs 9.1 GiB, 6.2 free.")
    return done


def bare_state(name: str) -> ViewerState:
    """A state without a mesh."""
    if name == "missing":
        return ViewerState(mesh_key="missing", state="ready", glb_url="partwise/files/none.glb")
    message = {
        "error": "chair.obj has no faces. Export it as a triangle mesh.",
        "queued": "Waiting: 3 before you",
    }
    return ViewerState(mesh_key=name, state=name, message=message.get(name, ""))


def merged(part_ids: tuple[int, ...]) -> ViewerState:
    """The chair with some of its parts made one."""
    made = dict(enumerate(chair()))
    kept = part_ids[0]
    joined = trimesh.util.concatenate([made[i][1] for i in part_ids])
    made = {i: part for i, part in made.items() if i not in part_ids[1:]}
    made[kept] = (made[kept][0], joined)
    return state_of("chair", made, 2)


def build_page() -> gr.Blocks:
    """The viewer, a field for the scene's name, and what the viewer last sent."""
    with gr.Blocks(analytics_enabled=False, fill_width=True) as page:
        viewer = build_part_viewer("viewer", "Parts")
        scene = gr.Textbox("empty", label="Scene", elem_id="scene")
        last = gr.Textbox(label="Last edit", elem_id="last")
        chosen = gr.Textbox(label="Last selection", elem_id="chosen")

        def edit(event: gr.EventData) -> tuple[object, str]:
            action = parse_action(event._data)
            if action.action == "merge":
                return merged(action.part_ids).to_value(), repr(action)
            if action.action == "undo":
                return replace(scene_state("chair"), revision=3).to_value(), repr(action)
            return gr.skip(), repr(action)

        def select(event: gr.EventData) -> str:
            return repr(parse_action(event._data))

        hidden = {"queue": False, "show_progress": "hidden"}
        scene.submit(lambda name: scene_state(name).to_value(), scene, viewer, **hidden)
        viewer.submit(edit, None, [viewer, last], **hidden)
        viewer.select(select, None, chosen, trigger_mode="multiple", **hidden)
    return page


def serve(page: gr.Blocks, files: str | Path) -> None:
    """Serve a page with viewers, and its files, until killed; prints the address."""
    routes = [
        Mount(f"/{BUNDLE_URL}", StaticFiles(directory=BUNDLE)),
        Mount("/partwise/files", StaticFiles(directory=files)),
    ]
    page.launch(
        server_name="127.0.0.1",
        prevent_thread_lock=True,
        quiet=True,
        ssr_mode=False,
        head=viewer_head(),
        app_kwargs={"routes": routes},
        theme=gr.themes.Base(
            primary_hue="indigo", neutral_hue="slate", font=["system-ui", "sans-serif"]
        ),
    )
    print(page.local_url, flush=True)  # noqa: T201
    page.block_thread()


if __name__ == "__main__":
    serve(build_page(), FILES)
