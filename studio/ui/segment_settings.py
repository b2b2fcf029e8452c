"""The settings of the Segment tab: its components, and what a person has set, checked."""

from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from partwise.core.errors import ConfigError
from partwise.p3sam.settings import PRECISIONS
from studio.catalog import AUTO, GEOMETRIC, P3SAM
from studio.segment import MAX_PART_COUNT, P3SamChoice, SegmentOptions, options_for
from studio.ui.fields import number_field, whole_number
from studio.workflow import Studio

CONNECTED, MERGED, NEAREST = "connected", "merged", "nearest"


@dataclass(frozen=True)
class SegmentControls:
    """The components by which a person sets how to segment."""

    preset: gr.Radio
    engine: gr.Dropdown
    is_auto: gr.Checkbox
    part_count: gr.Slider
    detail: gr.Slider
    seed: gr.Textbox
    point_num: gr.Textbox
    prompt_num: gr.Textbox
    prompt_batch: gr.Textbox
    precision: gr.Dropdown
    variant: gr.Dropdown

    def inputs(self) -> list[Any]:
        """The components in the order in which `SegmentChoice` takes their values."""
        return [getattr(self, field.name) for field in fields(self)]

    def counts(self) -> list[Any]:
        """Those on the number of parts, which another cut of the tree follows at once."""
        return [self.is_auto, self.part_count, self.detail]

    def others(self) -> list[Any]:
        """All but `counts`."""
        return [
            control for control in self.inputs() if all(control is not c for c in self.counts())
        ]


class SegmentChoice:
    """What the person has set; the values come from the browser and are checked here."""

    def __init__(self, studio: Studio, values: tuple[Any, ...]) -> None:
        self._studio = studio
        preset, self.engine, *self._values = values
        self._preset = str(preset)

    def options(self) -> SegmentOptions:
        """The settings of a run; raises `ConfigError` when out of range."""
        is_auto, part_count, detail, seed, *neural = self._values
        point_num, prompt_num, prompt_batch, precision, variant = neural
        chosen = P3SamChoice(
            whole_number("points", point_num),
            whole_number("prompts", prompt_num),
            whole_number("prompts in one pass", prompt_batch),
            str(precision) if precision else None,
            is_connected=None if not variant else variant != NEAREST,
            is_post_processed=None if not variant else variant == MERGED,
        )
        return options_for(
            self._studio.configuration,
            self._preset,
            part_count=None if is_auto else int(part_count or 0),
            detail=float(detail or 0),
            seed=whole_number("seed", seed),
            chosen=chosen,
        )

    def readable(self) -> SegmentOptions | None:
        """The settings; None when they are out of range, which another place tells."""
        try:
            return self.options()
        except ConfigError:
            return None


def build_controls(preset: gr.Radio) -> SegmentControls:
    """Build the settings beside the preset, under “Advanced”."""
    with gr.Accordion("Advanced", open=False, elem_id="advanced"):
        with gr.Row():
            engine = gr.Dropdown(
                [("Automatic", AUTO), ("Built-in geometric", GEOMETRIC), ("P3-SAM", P3SAM)],
                value=AUTO,
                label="Engine",
                elem_id="engine",
            )
            seed = number_field("Seed", "the engine's own", "seed")
        with gr.Row():
            is_auto = gr.Checkbox(
                True, label="Built-in: choose the number of parts", elem_id="auto-count"
            )
            part_count = gr.Slider(
                1, MAX_PART_COUNT, 6, step=1, label="Number of parts", elem_id="part-count"
            )
            detail = gr.Slider(0, 1, 0.5, step=0.05, label="Detail: fewer ↔ more parts")
        with gr.Row():
            point_num = number_field("P3-SAM: points", "the preset's", "point-num")
            prompt_num = number_field("P3-SAM: prompts", "the preset's", "prompt-num")
            prompt_batch = number_field(
                "P3-SAM: prompts in one pass", "as configured; same result", "prompt-batch"
            )
        with gr.Row():
            precision = gr.Dropdown(
                [("As configured", ""), *((name, name) for name in PRECISIONS)],
                value="",
                label="P3-SAM: precision of the heads",
            )
            variant = gr.Dropdown(
                [
                    ("As configured", ""),
                    ("Spread over connected faces", CONNECTED),
                    ("… and small parts merged", MERGED),
                    ("By the nearest points", NEAREST),
                ],
                value="",
                label="P3-SAM: faces",
            )
    return SegmentControls(
        preset, engine, is_auto, part_count, detail, seed,
        point_num, prompt_num, prompt_batch, precision, variant,
    )  # fmt: skip
