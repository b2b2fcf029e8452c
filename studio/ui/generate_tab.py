"""The Generate tab: the parts of the Segment tab in, closed parts out."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from studio.catalog import AUTO, GENERATE, GEOMETRIC
from studio.document import PartSet
from studio.ui import flows, views
from studio.ui.errors import shown
from studio.ui.flows import Status
from studio.ui.segment_tab import AT_ONCE, BUSY_STATES, JOB, Updates
from studio.ui.viewer import build_part_viewer
from studio.workflow import Studio
from studio.workspace import Session


@dataclass(frozen=True)
class GenerateTab:
    """The components that the page fills when parts are sent here."""

    chosen: gr.Dropdown
    plan: gr.HTML
    start: gr.Button
    stop: gr.Button
    viewer: gr.HTML

    def outputs(self) -> list[Any]:
        """The components in the order of `show`."""
        return [self.plan, self.start, self.stop, self.viewer]

    def show(self, studio: Studio, session: Session, status: Status) -> tuple[Any, ...]:
        """The values of the components for a status."""
        document, is_busy = session.document, status.state in BUSY_STATES
        has_parts = document is not None and document.parts is not None
        choice = studio.engines.choose(GENERATE)
        return (
            views.generate_plan_html(session, choice),
            gr.Button(interactive=has_parts and not is_busy),
            gr.Button(interactive=is_busy),
            views.generate_view(session, status),
        )


def build_generate_tab(studio: Studio) -> GenerateTab:
    """Build the tab's components and wire their events."""
    with gr.Row():
        chosen = gr.Dropdown(
            [], multiselect=True, label="Parts to generate", elem_id="chosen-parts", scale=3
        )
        engine = gr.Dropdown(
            [("Automatic", AUTO), ("Built-in geometric", GEOMETRIC)], value=AUTO, label="Engine"
        )
    with gr.Row(elem_classes="pw-actions"):
        plan = gr.HTML(elem_id="generate-plan", elem_classes="pw-grow")
        start = gr.Button("Generate", variant="primary", interactive=False, elem_id="generate")
        stop = gr.Button("Cancel", interactive=False, elem_id="generate-cancel")
    viewer = build_part_viewer("generate-viewer", "Closed parts")
    tab = GenerateTab(chosen, plan, start, stop, viewer)

    def close_parts(part_ids: list[Any], engine_name: str, request: gr.Request) -> Updates:
        session = studio.workspace.session_for(str(request.session_hash))
        ids = tuple(int(part_id) for part_id in part_ids)
        steps = flows.close_parts(studio, session, ids, engine_name)
        for status in shown(steps, Status):
            yield tab.show(studio, session, status)

    def cancel(request: gr.Request) -> gr.Button:
        studio.workspace.session_for(str(request.session_hash)).cancel_job()
        return gr.Button(interactive=False)

    start.click(close_parts, [chosen, engine], tab.outputs(), **JOB)
    stop.click(cancel, None, stop, **AT_ONCE)
    return tab


def part_choices(parts: PartSet | None) -> gr.Dropdown:
    """The list of parts to choose from, all chosen."""
    known = parts.parts if parts else ()
    return gr.Dropdown(
        choices=[(part.name, part.id) for part in known], value=[part.id for part in known]
    )
