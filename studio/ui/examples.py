"""The examples that come with Partwise: pictures to click, each opens its mesh."""

import json
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from pathlib import Path

import gradio as gr

from partwise.core.errors import AppError
from studio.configuration import ROOT
from studio.http import PREFIX

FOLDER = ROOT / "assets" / "examples"
_CLICK = """
element.addEventListener('click', (event) => {
  const card = event.target.closest('button[data-name]');
  if (card) trigger('select', { name: card.dataset.name });
});
"""


@dataclass(frozen=True)
class Example:
    """One example: its file and picture in `assets/examples`, what it is."""

    name: str
    title: str
    file: Path
    thumbnail: str
    description: str


@lru_cache(maxsize=1)
def load_examples() -> dict[str, Example]:
    """The examples by name, in the order of their index."""
    rows = json.loads((FOLDER / "index.json").read_text(encoding="utf-8"))
    return {
        row["name"]: Example(
            row["name"],
            row["title"],
            FOLDER / row["file"],
            row["thumbnail"],
            row["description"],
        )
        for row in rows
    }


def build_cards() -> gr.HTML:
    """The pictures; a click triggers `select` with the example's name."""
    cards = "".join(_card(example) for example in load_examples().values())
    return gr.HTML(
        f"<div class='pw-examples' role='group' aria-label='Examples'>{cards}</div>",
        js_on_load=_CLICK,
        elem_id="examples",
    )


def _card(example: Example) -> str:
    picture = f"{PREFIX.lstrip('/')}/examples/{escape(example.thumbnail)}"
    return (
        f"<button type='button' data-name='{escape(example.name)}' "
        f"title='{escape(example.description)}'>"
        f"<img src='{picture}' alt='' loading='lazy' width='104' height='78'>"
        f"<span>{escape(example.title)}</span></button>"
    )


def chosen_example(event: gr.EventData) -> Example:
    """The example of a click; raises `AppError` for a name that is none of ours."""
    data = event._data
    name = data.get("name") if isinstance(data, dict) else None
    example = load_examples().get(name) if isinstance(name, str) else None
    if example is None:
        raise AppError("There is no such example. Pick one of the pictures.")
    return example
