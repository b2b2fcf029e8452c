"""The part viewer and its part table as a gradio component: its state, its actions, its tags.

The drawing is done in the browser by the bundle in assets/viewer (source in viewer/). Here is what
crosses the line: `ViewerState` goes out as the component's value, `ViewerAction` comes in with its
`submit` and `select` events. What comes in is untrusted and checked.
"""

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import gradio as gr

from partwise.geometry.limits import LARGEST_COORDINATE
from studio.candidates import MAX_CANDIDATES, Point

BUNDLE: Final = Path(__file__).resolve().parents[2] / "assets" / "viewer"
BUNDLE_URL: Final = "partwise/viewer"  # relative, so that it holds under a root path too

STATES: Final = (
    "empty", "checking", "ready", "queued", "loading", "running",
    "cancelling", "done", "partial", "error", "stale",
)  # fmt: skip
KINDS: Final = ("input", "parts", "completed")
PART_STATES: Final = (
    "open", "closed", "voxel", "surface", "waiting", "running", "empty", "failed",
)  # fmt: skip
LEAST_PARTS: Final = {
    "merge": 2, "split": 1, "rename": 1, "undo": 0, "select": 0,
    "prompt": 0, "take": 0, "dismiss": 0,
    "box": 1, "reset_boxes": 0,
}  # fmt: skip
TAKE_MODES: Final = ("new", "add", "cut")
MAX_NAME_LENGTH: Final = 200
MAX_PART_IDS: Final = 10_000
AXES: Final = "xyz"

_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
# gradio finds the names of the events, “submit” and “select”, in this text.
_JS_ON_LOAD = """
const events = ['submit', 'select'];
const start = () => window.PartwiseViewer.mount(element, props, trigger, watch);
const fail = () => { element.textContent = 'The 3D viewer could not be loaded. Reload the page.'; };
if (window.PartwiseViewer) start();
else {
  const patience = setTimeout(fail, 20000);
  const arrived = () => { clearTimeout(patience); start(); };
  window.addEventListener('partwise-viewer', arrived, { once: true });
}
"""


@dataclass(frozen=True)
class ViewerPart:
    """A row of the table. `aabb` is [[x, y, z], [x, y, z]], min then max corner, or None.

    `volume` and `area` are words, as “12.3 cm³”: with them the table shows no count of faces and no
    share of the area. `warning` is a sentence on a part that is there but wrong in some way.
    """

    id: int
    name: str
    colour: str
    faces: int
    area_percent: float
    state: str = "open"
    reason: str = ""
    aabb: Sequence[Sequence[float]] | None = None
    included: bool = True
    volume: str = ""
    area: str = ""
    warning: str = ""

    def __post_init__(self) -> None:
        if not _COLOUR.fullmatch(self.colour):
            raise ValueError(f"a part's colour is like “#4a90d9”, not “{self.colour}”")
        if self.state not in PART_STATES:
            raise ValueError(f"a part's state is one of {PART_STATES}, not “{self.state}”")


@dataclass(frozen=True)
class ViewerBox:
    """The box that the viewer shows for a part in place of the part's own AABB.

    `aabb` is [[x, y, z], [x, y, z]] in mesh coordinates, min then max corner. `is_edited` marks
    one that a person changed.
    """

    part_id: int
    aabb: Sequence[Sequence[float]]
    is_edited: bool = False

    def __post_init__(self) -> None:
        if len(self.aabb) != 2 or any(len(corner) != 3 for corner in self.aabb):
            raise ValueError(f"a box has two corners of three numbers, not {self.aabb}")
        low, high = self.aabb
        if not all(map(math.isfinite, (*low, *high))):
            raise ValueError(f"a box has finite corners, not {self.aabb}")
        if any(least > most for least, most in zip(low, high, strict=True)):
            raise ValueError(f"a box has its least corner first, not {self.aabb}")


@dataclass(frozen=True)
class DownloadLink:
    """A file on offer; `url` is relative to the page."""

    label: str
    url: str


@dataclass(frozen=True)
class MaskCandidate:
    """One of the masks that answer a point. `glb_url` is relative to the page: the mask's faces,
    in a node for each part (`extras.part_id`) that they lie in."""

    index: int
    iou: float
    faces: int
    area_percent: float
    glb_url: str

    def __post_init__(self) -> None:
        if not 0 <= self.index < MAX_CANDIDATES:
            raise ValueError(f"a mask is number 0 to {MAX_CANDIDATES - 1}, not {self.index}")
        if not math.isfinite(self.iou):
            raise ValueError(f"a mask's predicted IoU is a finite number, not {self.iou}")


@dataclass(frozen=True)
class ViewerState:
    """All that the component shows.

    While `mesh_key` stays the same the browser keeps camera, explosion, selection and hidden parts.
    `glb_url` is relative to the page and changes when the file's content does; the file has one
    named node per part with `extras.part_id`. `progress` is in [0, 1] or None for unknown.
    `prompt_hint` says why points cannot be clicked; without it and without `can_prompt` the page
    does not speak of them. `prompt_point` is in mesh coordinates. `boxes` are shown in place of
    their parts' own AABBs; with `can_edit_boxes` a person may change them (actions “box” and
    “reset_boxes”).
    """

    mesh_key: str = ""
    revision: int = 0
    glb_url: str | None = None
    state: str = "empty"
    message: str = ""
    progress: float | None = None
    stage: str = ""
    kind: str = "input"
    parts: tuple[ViewerPart, ...] = ()
    can_undo: bool = False
    editable: bool = False
    downloads: tuple[DownloadLink, ...] = ()
    engine: str = ""
    elapsed_s: float | None = None
    can_prompt: bool = False
    prompt_hint: str = ""
    candidates: tuple[MaskCandidate, ...] = ()
    prompt_point: Point | None = None
    boxes: tuple[ViewerBox, ...] = ()
    can_edit_boxes: bool = False

    def __post_init__(self) -> None:
        if self.state not in STATES:
            raise ValueError(f"a viewer's state is one of {STATES}, not “{self.state}”")
        if self.kind not in KINDS:
            raise ValueError(f"a viewer shows one of {KINDS}, not “{self.kind}”")
        if self.progress is not None and not math.isfinite(self.progress):
            raise ValueError(f"progress is a share from 0 to 1 or None, not {self.progress}")
        if len({mask.index for mask in self.candidates}) != len(self.candidates):
            raise ValueError(f"two of the masks have one number: {self.candidates}")
        if self.prompt_point is not None and not all(map(math.isfinite, self.prompt_point)):
            raise ValueError(f"a point has three finite coordinates, not {self.prompt_point}")
        if len({box.part_id for box in self.boxes}) != len(self.boxes):
            raise ValueError(f"two of the boxes are of one part: {self.boxes}")

    def to_value(self) -> dict[str, object]:
        """The state as the component's value, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class ViewerAction:
    """What the person did: an edit (merge, split, rename, undo), a new selection, a step with a
    point prompt (prompt, take, dismiss), or a change of the boxes (box, reset_boxes).

    `revision` is the one that was on the screen, or None. `point` is that of a prompt, in mesh
    coordinates; `index` and `mode` (one of `TAKE_MODES`) are those of a mask that is taken. `aabb`
    is the new box of the one part, in mesh coordinates, min below max on each axis. `reset_boxes`
    without parts means all of them.
    """

    action: str
    part_ids: tuple[int, ...] = ()
    name: str = ""
    revision: int | None = None
    point: Point | None = None
    index: int | None = None
    mode: str = ""
    aabb: tuple[Point, Point] | None = None


def parse_action(payload: object) -> ViewerAction:
    """The action in an event's data, as the browser sent it.

    Raises `ValueError` with a sentence for anything that the viewer itself would not send.
    """
    if not isinstance(payload, dict):
        raise ValueError("The viewer sent something that is not an action. Reload the page.")
    action = payload.get("action")
    if not isinstance(action, str) or action not in LEAST_PARTS:
        known = ", ".join(LEAST_PARTS)
        raise ValueError(f"The viewer sent an unknown action. Known are: {known}.")
    part_ids = _part_ids(payload.get("part_ids", []))
    if len(part_ids) < LEAST_PARTS[action]:
        raise ValueError(
            f"To {_doing(action)}, select at least {LEAST_PARTS[action]}; {len(part_ids)} selected."
        )
    if action in ("split", "rename", "box") and len(part_ids) > 1:
        raise ValueError(
            f"To {_doing(action)}, select one part only; {len(part_ids)} are selected."
        )
    name = _name(payload.get("name")) if action == "rename" else ""
    revision = payload.get("revision")
    parsed = ViewerAction(action, part_ids, name, revision if _is_id(revision) else None)
    if action == "prompt":
        return replace(parsed, point=_point(payload.get("point")))
    if action == "take":
        return _take(parsed, payload)
    if action == "box":
        return replace(parsed, aabb=_aabb(payload.get("aabb")))
    return parsed


def _doing(action: str) -> str:
    return "change a box" if action == "box" else action


def _take(parsed: ViewerAction, payload: dict[Any, Any]) -> ViewerAction:
    index, mode = payload.get("index"), payload.get("mode")
    if not isinstance(index, int) or not _is_id(index) or index >= MAX_CANDIDATES:
        raise ValueError(f"The viewer chose a mask that cannot exist; there are {MAX_CANDIDATES}.")
    if not isinstance(mode, str) or mode not in TAKE_MODES:
        raise ValueError("A mask becomes a new part, is added to a part, or is cut from one.")
    if mode != "new" and len(parsed.part_ids) != 1:
        raise ValueError(
            f"Select the one part to {mode} the mask {'to' if mode == 'add' else 'from'}; "
            f"{len(parsed.part_ids)} are selected."
        )
    return replace(parsed, index=index, mode=mode)


def _point(given: object) -> Point:
    if not isinstance(given, list) or not _is_corner(given):
        raise ValueError("The viewer sent a point that cannot lie on the mesh. Click again.")
    x, y, z = map(float, given)
    return x, y, z


def _aabb(given: object) -> tuple[Point, Point]:
    if not isinstance(given, list) or len(given) != 2 or not all(map(_is_corner, given)):
        raise ValueError("A box has six finite numbers. Type a number in each field.")
    low, high = ((float(x), float(y), float(z)) for x, y, z in given)
    for axis, least, most in zip(AXES, low, high, strict=True):
        if not least < most:
            raise ValueError(
                f"Along {axis} the box begins at {least:g} and ends at {most:g}. "
                f"Make its least {axis} smaller than its greatest."
            )
    return low, high


def _is_corner(given: object) -> bool:
    return isinstance(given, list) and len(given) == 3 and all(map(_is_coordinate, given))


def _is_coordinate(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return abs(value) <= LARGEST_COORDINATE  # false for NaN too


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _part_ids(given: object) -> tuple[int, ...]:
    if not isinstance(given, list) or len(given) > MAX_PART_IDS or not all(map(_is_id, given)):
        raise ValueError("The viewer sent parts that cannot exist. Reload the page.")
    return tuple(dict.fromkeys(given))


def _name(given: object) -> str:
    if not isinstance(given, str) or not given.strip():
        raise ValueError("A part needs a name. Type at least one character.")
    if len(given) > MAX_NAME_LENGTH:
        raise ValueError(
            f"A name has at most {MAX_NAME_LENGTH} characters; this one has {len(given)}."
        )
    return given.strip()


def build_part_viewer(elem_id: str, label: str) -> gr.HTML:
    """The component, empty. Wire its `submit` (edits) and `select` (selection) events.

    Use it as an output only: as an input its value would come back from the browser, unchecked.
    """
    return gr.HTML(
        ViewerState().to_value(),
        label=label,
        html_template="",
        js_on_load=_JS_ON_LOAD,
        apply_default_css=False,
        elem_id=elem_id,
    )


def viewer_head() -> str:
    """The tags for the page's head; the files' hash in their address renews browser caches."""
    style, script = (f"{BUNDLE_URL}/{name}?v={_hash(name)}" for name in ("viewer.css", "viewer.js"))
    return f'<link rel="stylesheet" href="{style}"><script defer src="{script}"></script>'


def _hash(name: str) -> str:
    return hashlib.sha256((BUNDLE / name).read_bytes()).hexdigest()[:12]
