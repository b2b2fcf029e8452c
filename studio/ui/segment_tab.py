"""The Segment tab: a mesh in by upload or example, parts out, edits of the parts."""

from collections.abc import Generator
from dataclasses import asdict, dataclass
from typing import Any

import gradio as gr

from partwise.core.errors import AppError, ConfigError
from partwise.geometric.segment import SegmentSettings
from studio.catalog import AUTO, GEOMETRIC, SEGMENT
from studio.segment import MAX_PART_COUNT, settings_for
from studio.ui import examples, flows, views
from studio.ui.errors import as_toast, shown
from studio.ui.flows import Status, Steps
from studio.ui.uploads import taken_upload
from studio.ui.viewer import build_part_viewer, parse_action
from studio.workflow import Studio
from studio.workspace import Session

FILE_TYPES = [".glb", ".gltf", ".obj", ".ply", ".stl", ".off", ".3mf"]
DEFAULT_PRESET = "balanced"
BUSY_STATES = ("checking", "queued", "loading", "running", "cancelling")
Updates = Generator[tuple[Any, ...], None, None]
JOB: dict[str, Any] = {
    "show_progress": "hidden",
    "api_visibility": "private",
    "concurrency_limit": None,
    "trigger_mode": "once",
}
AT_ONCE: dict[str, Any] = {
    "show_progress": "hidden",
    "api_visibility": "private",
    "queue": False,
    "trigger_mode": "multiple",
}


@dataclass(frozen=True)
class SegmentTab:
    """What the page wires to other tabs."""

    viewer: gr.HTML
    send: gr.Button


@dataclass(frozen=True)
class _Controls:
    preset: gr.Radio
    engine: gr.Dropdown
    is_auto: gr.Checkbox
    part_count: gr.Slider
    detail: gr.Slider
    seed: gr.Number

    def inputs(self) -> list[Any]:
        """The components in the order in which `_Choice` takes their values."""
        return [self.preset, self.engine, self.is_auto, self.part_count, self.detail, self.seed]


class _Choice:
    """What the person has set; the values come from the browser and are checked here."""

    def __init__(self, studio: Studio, values: tuple[Any, ...]) -> None:
        preset, self.engine, is_auto, part_count, detail, seed = values
        self.preset = studio.configuration.preset(str(preset))
        self._part_count = None if is_auto else int(part_count or 0)
        self._detail, self._seed = float(detail or 0), int(seed or 0)

    def settings(self) -> SegmentSettings:
        """The settings of a run; raises `ConfigError` when out of range."""
        return settings_for(
            self.preset, part_count=self._part_count, detail=self._detail, seed=self._seed
        )


class _Page:
    """The components that every event of this tab updates, and their values for a status."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.facts = gr.HTML(views.limits_html(studio.configuration.mesh), elem_id="facts")
        presets = [(preset.title, name) for name, preset in studio.configuration.presets.items()]
        with gr.Row(elem_classes="pw-actions"):
            preset = gr.Radio(
                presets,
                value=DEFAULT_PRESET,
                label="Preset",
                elem_id="preset",
                elem_classes="pw-grow",
            )
            self.start = gr.Button(
                "Segment", variant="primary", interactive=False, elem_id="segment"
            )
            self.stop = gr.Button("Cancel", interactive=False, elem_id="segment-cancel")
            self.send = gr.Button("Send to Generate ▸", interactive=False, elem_id="send")
        self.plan = gr.HTML(elem_id="plan")
        self.controls = _build_controls(preset)
        self.viewer = build_part_viewer("segment-viewer", "Parts of the mesh")

    def outputs(self) -> list[Any]:
        """The components in the order of `show`."""
        return [self.viewer, self.facts, self.plan, self.start, self.stop, self.send]

    def show(self, session: Session, status: Status, choice: _Choice) -> tuple[Any, ...]:
        """The values of all components."""
        document, is_busy = session.document, status.state in BUSY_STATES
        engine = self.studio.engines.choose(SEGMENT, choice.engine)
        return (
            views.segment_view(session, status),
            views.facts_html(session, self.studio.configuration.mesh),
            views.plan_html(session, engine, choice.preset.working_faces),
            gr.Button(interactive=document is not None and not is_busy),
            gr.Button(interactive=is_busy),
            gr.Button(interactive=bool(document and document.parts) and not is_busy),
        )

    def session(self, request: gr.Request) -> Session:
        """The session of the page that sent the event."""
        return self.studio.workspace.session_for(str(request.session_hash))

    def play(self, session: Session, choice: _Choice, steps: Steps[None]) -> Updates:
        """Show each status of a flow, a failure too."""
        for status in shown(steps, Status):
            yield self.show(session, status, choice)


def build_segment_tab(studio: Studio) -> SegmentTab:
    """Build the tab's components and wire their events."""
    with gr.Row(elem_classes="pw-input-row"):
        upload = gr.File(
            label="Mesh",
            file_types=FILE_TYPES,
            type="filepath",
            height=124,
            elem_id="upload",
        )
        cards = examples.build_cards()
    page = _Page(studio)
    _wire_opening(page, upload, cards)
    _wire_cutting(page)
    _wire_edits(page)
    return SegmentTab(page.viewer, page.send)


def _build_controls(preset: gr.Radio) -> _Controls:
    with gr.Accordion("Advanced", open=False), gr.Row():
        engine = gr.Dropdown(
            [("Automatic", AUTO), ("Built-in geometric", GEOMETRIC)], value=AUTO, label="Engine"
        )
        is_auto = gr.Checkbox(True, label="Choose the number of parts", elem_id="auto-count")
        part_count = gr.Slider(
            1, MAX_PART_COUNT, 6, step=1, label="Number of parts", elem_id="part-count"
        )
        detail = gr.Slider(0, 1, 0.5, step=0.05, label="Detail: fewer ↔ more parts")
        seed = gr.Number(0, label="Seed", precision=0, minimum=0)
    return _Controls(preset, engine, is_auto, part_count, detail, seed)


def _wire_opening(page: _Page, upload: gr.File, cards: gr.HTML) -> None:
    studio = page.studio

    def open_upload(path: str, request: gr.Request, *values: Any) -> Updates:
        session, choice = page.session(request), _Choice(studio, values)

        def steps() -> Steps[None]:
            with taken_upload(session, path) as (own, name):
                yield from flows.open_mesh(studio, session, own, name)

        for update in page.play(session, choice, steps()):
            yield (None, *update)

    def open_example(event: gr.EventData, request: gr.Request, *values: Any) -> Updates:
        example = examples.chosen_example(event)
        steps = flows.open_mesh(studio, page.session(request), example.file, example.file.name)
        yield from page.play(page.session(request), _Choice(studio, values), steps)

    inputs = page.controls.inputs()
    upload.upload(open_upload, [upload, *inputs], [upload, *page.outputs()], **JOB)
    cards.select(open_example, inputs, page.outputs(), **JOB)


def _wire_cutting(page: _Page) -> None:
    studio, controls = page.studio, page.controls

    def cut(request: gr.Request, *values: Any) -> Updates:
        session, choice = page.session(request), _Choice(studio, values)

        def steps() -> Steps[None]:
            yield from flows.cut(studio, session, choice.settings(), choice.engine)

        yield from page.play(session, choice, steps())

    def settings_changed(request: gr.Request, *values: Any) -> tuple[Any, ...]:
        session, choice = page.session(request), _Choice(studio, values)
        return page.show(session, idle_status(session, choice), choice)

    def cancel(request: gr.Request) -> gr.Button:
        page.session(request).cancel_job()
        return gr.Button(interactive=False)

    page.start.click(cut, controls.inputs(), page.outputs(), **JOB)
    page.stop.click(cancel, None, page.stop, **AT_ONCE)
    for control in controls.inputs():
        control.input(settings_changed, controls.inputs(), page.outputs(), **AT_ONCE)


def _wire_edits(page: _Page) -> None:
    def edit_parts(event: gr.EventData, request: gr.Request, *values: Any) -> tuple[Any, ...]:
        session, choice = page.session(request), _Choice(page.studio, values)
        try:
            flows.apply_edit(session, parse_action(event._data))
        except AppError as err:
            raise as_toast(err) from err
        except ValueError as err:  # the viewer's own checks, in words for the person
            raise as_toast(AppError(str(err))) from err
        return page.show(session, idle_status(session, choice), choice)

    page.viewer.submit(edit_parts, page.controls.inputs(), page.outputs(), **AT_ONCE)


def idle_status(session: Session, choice: _Choice) -> Status:
    """What to say when nothing runs: ready, done, or that the settings changed since the run."""
    document = session.document
    if session.is_busy:
        return Status("running")
    try:
        settings = choice.settings()
    except ConfigError as err:
        return Status("error", err.message)
    if document is None or document.segmentation is None:
        return Status("ready")
    if document.segmentation.settings not in ({}, asdict(settings)):
        return Status("stale", "The settings were changed. Segment again to apply them.")
    return Status("done")
