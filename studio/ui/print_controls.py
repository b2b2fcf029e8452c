"""How the parts are to be printed: the controls on the Generate tab, and what was set there."""

from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from partwise.geometric.complete import CompletionSettings
from partwise.geometry.mesh_io import SourceMesh
from studio.print_size import AS_IN_FILE, Printing, mm_per_unit, read_length, read_printing
from studio.ui.fields import number_field

DEFAULT_GAP_MM = 0.2  # around a peg, when a person gives none


@dataclass(frozen=True)
class PrintControls:
    """The components; their values are those of `PrintChoice`, in the same order."""

    size: gr.Textbox
    is_as_in_file: gr.Checkbox
    least_wall: gr.Textbox
    plug: gr.Textbox
    clearance: gr.Textbox
    wall: gr.Textbox

    def inputs(self) -> list[Any]:
        """The components in the order in which `PrintChoice` takes their values."""
        return [getattr(self, field.name) for field in fields(self)]


def build_print_controls() -> PrintControls:
    """Build the fields; lengths are those of the printed thing, in millimetres."""
    given = Printing()
    with gr.Accordion("Printing and fit", open=False, elem_id="generate-printing"):
        with gr.Row():
            size = number_field("Longest side printed, mm", "100", "print-size")
            is_as_in_file = gr.Checkbox(
                False, label="As in the file: a unit is 1 mm", elem_id="print-as-in-file"
            )
            least_wall = number_field(
                "Thinnest wall that prints, mm", f"{given.least_wall_mm:g}", "least-wall"
            )
        with gr.Row():
            plug = number_field("Built-in: pegs, mm long", "no pegs", "plug")
            clearance = number_field(
                "Built-in: gap around pegs, mm", f"{DEFAULT_GAP_MM:g}", "clearance"
            )
            wall = number_field("Built-in: sheets, mm thick", "stay as they are", "wall")
    return PrintControls(size, is_as_in_file, least_wall, plug, clearance, wall)


class PrintChoice:
    """What the person has set; the values come from the browser and are checked here."""

    def __init__(self, values: tuple[Any, ...]) -> None:
        size, self._is_as_in_file, least_wall, *lengths = values
        self._size, self._least_wall = str(size or ""), str(least_wall or "")
        self._lengths = [str(text or "").strip() for text in lengths]

    def printing(self) -> Printing:
        """The printed size; raises `ConfigError` for what is none."""
        size = AS_IN_FILE if self._is_as_in_file else self._size
        return read_printing(size, self._least_wall)

    def settings(self, mesh: SourceMesh | None) -> CompletionSettings:
        """The built-in engine's settings in units of the mesh; raises `ConfigError`."""
        names = ("length of the pegs", "gap around pegs", "thickness for sheets")
        plug, clearance, wall = (
            read_length(name, text, "millimetres, or nothing") if text else None
            for name, text in zip(names, self._lengths, strict=True)
        )
        if clearance is None:
            clearance = min(DEFAULT_GAP_MM, 0.1 * (plug or 0.0))
        scale = mm_per_unit(mesh, self.printing()) if mesh else 1.0
        return CompletionSettings((plug or 0) / scale, clearance / scale, (wall or 0) / scale)
