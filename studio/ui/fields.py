"""Fields that a person types into, and what comes back from them, checked."""

from typing import Any

import gradio as gr

from partwise.core.errors import ConfigError

MAX_DIGITS = 12


def number_field(label: str, when_empty: str, elem_id: str) -> gr.Textbox:
    """A field for a whole number or nothing; when_empty: what holds then."""
    return gr.Textbox(
        label=label, placeholder=when_empty, max_lines=1, max_length=MAX_DIGITS, elem_id=elem_id
    )


def whole_number(name: str, text: Any) -> int | None:
    """A number that a person typed; None when the field is empty."""
    digits = str(text or "").strip()
    if not digits:
        return None
    if not digits.isdecimal() or len(digits) > MAX_DIGITS:
        raise ConfigError(f"The field “{name}” holds “{digits[:20]}”. Give a whole number or none.")
    return int(digits)


def part_ids_of(values: Any) -> tuple[int, ...]:
    """The parts chosen in a list, each once; what is no part's number is left out."""
    chosen = values if isinstance(values, list) else []
    ids = (i for i in chosen if isinstance(i, int) and not isinstance(i, bool))
    return tuple(dict.fromkeys(ids))
