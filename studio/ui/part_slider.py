"""Fewer or more parts: the slider at the viewer that cuts the tree of a segmentation again.

Its page side is `part_slider.*` in `assets/`. It asks while a person slides, one question after
another; each answer is the component's value, with the number of the question that it answers.
"""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from studio.configuration import ROOT
from studio.document import Document
from studio.segment import SegmentOptions

_REPLACES = "Changed by hand since. Another number replaces that; Undo brings it back."
_NO_TREE = (
    "These parts cannot be cut into fewer or more at once: only the built-in geometric engine "
    "keeps what that takes. Choose it under Advanced and segment, or merge and split parts."
)


@dataclass(frozen=True)
class Wish:
    """How many parts a person asks for. serial: which question of this page it is."""

    count: int
    serial: int


def build_part_slider() -> gr.HTML:
    """The component, hidden until there are parts. Wire its `recut` event; an output only."""
    return gr.HTML(
        {},
        html_template=_asset("html"),
        css_template=_asset("css"),
        js_on_load=_asset("js"),
        apply_default_css=False,
        elem_id="part-slider",
        label="fewer or more parts",
    )


def parse_wish(payload: object) -> Wish:
    """What the page asks for; raises `ValueError` with a sentence for anything else."""
    count, serial = (
        payload.get(name) if isinstance(payload, dict) else None for name in ("count", "serial")
    )
    if not (_is_number(count) and _is_number(serial)):
        raise ValueError("The page asked for a number of parts that is none. Reload the page.")
    return Wish(int(count or 0), int(serial or 0))


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def slider_value(
    document: Document | None,
    options: SegmentOptions | None,
    *,
    is_busy: bool = False,
    serial: int | None = None,
    problem: str = "",
) -> dict[str, Any]:
    """What the slider shows. options: None when they cannot be read; serial: that of an answer."""
    if document is None or document.parts is None:
        return {"serial": serial}
    with document.lock:
        tree, count = document.tree, len(document.parts.parts)
        is_edited = document.is_edited
    value = {"count": count, "serial": serial, "problem": problem, "is_on": False}
    if tree is None:
        return value | {"hint": _NO_TREE}
    if options is not None:
        value["suggestion"] = tree.count_for(options.geometric.detail)
    hint = _REPLACES if is_edited else ""
    is_on = not is_busy and tree.least < tree.most
    return value | {"least": tree.least, "most": tree.most, "is_on": is_on, "hint": hint}


def _asset(extension: str) -> str:
    return (ROOT / "assets" / f"part_slider.{extension}").read_text(encoding="utf-8")
