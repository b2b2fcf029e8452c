"""The Segment tab: a mesh in by upload or example, parts out, edits of the parts."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from partwise.core.errors import AppError, ConfigError
from partwise.p3sam.settings import PRECISIONS
from studio.candidates import Point
from studio.catalog import AUTO, GEOMETRIC, P3SAM, find_model
from studio.configuration import DEFAULT_PRESET
from studio.segment import (
    MAX_PART_COUNT,
    P3SamChoice,
    SegmentOptions,
    choose_engine,
    is_stale,
    options_for,
)
from studio.ui import examples, flows, views
from studio.ui.errors import as_toast, shown
from studio.ui.fields import number_field, whole_number
from studio.ui.flows import Status, Steps
from studio.ui.lagging import SEGMENT_TAB, Follower, busy_status
from studio.ui.uploads import taken_upload
from studio.ui.viewer import build_part_viewer, parse_action
from studio.workflow import Studio
from studio.workspace import Session

FILE_TYPES = [".glb", ".gltf", ".obj", ".ply", ".stl", ".off", ".3mf"]
CONNECTED, MERGED, NEAREST = "connected", "merged", "nearest"
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


ACTION: dict[str, Any] = JOB | {"trigger_mode": "multiple"}


@dataclass(frozen=True)
class SegmentTab:
    """What the page wires to other tabs.

    refresh: shows all of the tab anew when an event comes that it is given the listener of; replan:
    the line before the run alone, after an event. jobs: the events that are jobs. follower: for the
    jobs of all tabs.
    """

    viewer: gr.HTML
    send: gr.Button
    refresh: Callable[[Callable[..., Any]], None]
    replan: Callable[[Any], None]
    jobs: list[Any]
    follower: Follower


@dataclass(frozen=True)
class _Controls:
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
        """The components in the order in which `_Choice` takes their values."""
        return [getattr(self, field.name) for field in fields(self)]


class _Choice:
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
        return (
            views.segment_view(session, status, self._why_no_prompts(), is_busy=is_busy),
            views.facts_html(session, self.studio.configuration.mesh),
            self._plan(session, choice),
            gr.Button(interactive=document is not None and not is_busy),
            gr.Button(interactive=is_busy),
            gr.Button(interactive=bool(document and document.parts) and not is_busy),
        )

    def show_plan(self, request: gr.Request, *values: Any) -> str:
        """The line before the run, after what jobs may use was changed."""
        return self._plan(self.session(request), _Choice(self.studio, values))

    def _plan(self, session: Session, choice: _Choice) -> str:
        """The line before the run, or why these settings cannot run."""
        engines, document = self.studio.engines, session.document
        try:
            options = choice.options()
            engine = choose_engine(
                engines, choice.engine, options, document.mesh_key if document else None
            )
            return views.plan_html(session, engine, options, engines)
        except AppError as err:
            return views.plan_problem_html(err.message)

    def _why_no_prompts(self) -> str:
        return find_model(P3SAM).why_unavailable(self.studio.engines.weights_dir) or ""

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
    inputs = page.controls.inputs()

    def show(request: gr.Request, *values: Any) -> tuple[Any, ...]:
        session, choice = page.session(request), _Choice(studio, values)
        return page.show(session, idle_status(session, choice), choice)

    jobs = [*_wire_opening(page, upload, cards), _wire_cutting(page, show), _wire_edits(page)]

    def refresh(listen: Callable[..., Any]) -> None:
        listen(show, inputs, page.outputs(), **AT_ONCE)

    def replan(event: Any) -> None:
        event.then(page.show_plan, inputs, page.plan, **AT_ONCE)

    follower = Follower(SEGMENT_TAB, page.session, show, inputs, page.outputs())
    return SegmentTab(page.viewer, page.send, refresh, replan, jobs, follower)


def _build_controls(preset: gr.Radio) -> _Controls:
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
    return _Controls(
        preset, engine, is_auto, part_count, detail, seed,
        point_num, prompt_num, prompt_batch, precision, variant,
    )  # fmt: skip


def _wire_opening(page: _Page, upload: gr.File, cards: gr.HTML) -> list[Any]:
    """Wire the ways to open a mesh; returns their events."""
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
    return [
        upload.upload(open_upload, [upload, *inputs], [upload, *page.outputs()], **JOB),
        cards.select(open_example, inputs, page.outputs(), **JOB),
    ]


def _wire_cutting(page: _Page, show: Callable[..., tuple[Any, ...]]) -> Any:
    """Wire the buttons and settings; returns the event of the job."""
    studio, controls = page.studio, page.controls

    def cut(request: gr.Request, *values: Any) -> Updates:
        session, choice = page.session(request), _Choice(studio, values)

        def steps() -> Steps[None]:
            yield from flows.cut(studio, session, choice.options(), choice.engine)

        yield from page.play(session, choice, steps())

    def cancel(request: gr.Request) -> gr.Button:
        page.session(request).cancel_job()
        return gr.Button(interactive=False)

    page.stop.click(cancel, None, page.stop, **AT_ONCE)
    for control in controls.inputs():
        is_typed = isinstance(control, gr.Textbox)  # pasted text comes with no input event
        changed = control.change if is_typed else control.input
        changed(show, controls.inputs(), page.outputs(), **AT_ONCE)
    return page.start.click(cut, controls.inputs(), page.outputs(), **JOB)


def _wire_edits(page: _Page) -> Any:
    """Wire what is done in the viewer; returns the event, which may be a job."""

    def act(event: gr.EventData, request: gr.Request, *values: Any) -> Updates:
        session, choice = page.session(request), _Choice(page.studio, values)
        try:
            action = parse_action(event._data)
        except ValueError as err:  # the viewer's own checks, in words for the person
            raise as_toast(AppError(str(err))) from err
        if action.action == "prompt" and action.point is not None:
            yield from ask(session, choice, action.point)
            return
        try:
            flows.apply_edit(session, action)
        except AppError as err:
            raise as_toast(err) from err
        yield page.show(session, idle_status(session, choice), choice)

    def ask(session: Session, choice: _Choice, point: Point) -> Updates:
        def steps() -> Steps[None]:
            yield from flows.ask_at(page.studio, session, point, choice.options())

        yield from page.play(session, choice, steps())

    return page.viewer.submit(act, page.controls.inputs(), page.outputs(), **ACTION)


def idle_status(session: Session, choice: _Choice) -> Status:
    """What to say when nothing runs: ready, done, or that the settings changed since the run."""
    document = session.document
    if session.is_busy:
        return busy_status(session, SEGMENT_TAB)
    try:
        options = choice.options()
    except ConfigError as err:
        return Status("error", err.message)
    if document is None or document.segmentation is None:
        return Status("ready")
    if is_stale(document, options, str(choice.engine)):
        return Status("stale", "The settings were changed. Segment again to apply them.")
    return Status("done")
