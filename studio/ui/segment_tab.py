"""The Segment tab: a mesh in by upload or example, parts out, edits of the parts."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from partwise.core.errors import AppError, ConfigError
from studio.candidates import Point
from studio.catalog import P3SAM, find_model
from studio.configuration import DEFAULT_PRESET
from studio.segment import choose_engine, is_stale
from studio.ui import examples, flows, views
from studio.ui.errors import as_toast, shown
from studio.ui.flows import Status, Steps
from studio.ui.lagging import SEGMENT_TAB, Follower, busy_status
from studio.ui.part_slider import Wish, build_part_slider, parse_wish, slider_value
from studio.ui.segment_settings import SegmentChoice, build_controls
from studio.ui.uploads import taken_upload
from studio.ui.viewer import build_part_viewer, parse_action
from studio.workflow import Studio
from studio.workspace import Session

FILE_TYPES = [".glb", ".gltf", ".obj", ".ply", ".stl", ".off", ".3mf"]
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
        self.controls = build_controls(preset)
        self.slider = build_part_slider()
        self.viewer = build_part_viewer("segment-viewer", "Parts of the mesh")

    def outputs(self) -> list[Any]:
        """The components in the order of `show`."""
        return [*self.cut_outputs(), self.facts, self.plan, self.start, self.stop, self.send]

    def cut_outputs(self) -> list[Any]:
        """The components in the order of `show_cut`: what another cut alone changes."""
        return [self.viewer, self.slider]

    def show_cut(
        self,
        session: Session,
        status: Status,
        choice: SegmentChoice,
        *,
        serial: int | None = None,
        problem: str = "",
    ) -> tuple[Any, ...]:
        """The viewer and the slider. serial, problem: of the slider's question that is answered."""
        is_busy = status.state in BUSY_STATES
        slider = slider_value(
            session.document, choice.readable(), is_busy=is_busy, serial=serial, problem=problem
        )
        view = views.segment_view(session, status, self._why_no_prompts(), is_busy=is_busy)
        return view, slider

    def show(self, session: Session, status: Status, choice: SegmentChoice) -> tuple[Any, ...]:
        """The values of all components."""
        document, is_busy = session.document, status.state in BUSY_STATES
        return (
            *self.show_cut(session, status, choice),
            views.facts_html(session, self.studio.configuration.mesh),
            self._plan(session, choice),
            gr.Button(interactive=document is not None and not is_busy),
            gr.Button(interactive=is_busy),
            gr.Button(interactive=bool(document and document.parts) and not is_busy),
        )

    def show_plan(self, request: gr.Request, *values: Any) -> str:
        """The line before the run, after what jobs may use was changed."""
        return self._plan(self.session(request), SegmentChoice(self.studio, values))

    def _plan(self, session: Session, choice: SegmentChoice) -> str:
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

    def play(self, session: Session, choice: SegmentChoice, steps: Steps[None]) -> Updates:
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
        session, choice = page.session(request), SegmentChoice(studio, values)
        return page.show(session, idle_status(session, choice), choice)

    jobs = [*_wire_opening(page, upload, cards), _wire_cutting(page, show), _wire_edits(page)]
    _wire_slider(page, show)

    def refresh(listen: Callable[..., Any]) -> None:
        listen(show, inputs, page.outputs(), **AT_ONCE)

    def replan(event: Any) -> None:
        event.then(page.show_plan, inputs, page.plan, **AT_ONCE)

    follower = Follower(SEGMENT_TAB, page.session, show, inputs, page.outputs())
    return SegmentTab(page.viewer, page.send, refresh, replan, jobs, follower)


def _wire_opening(page: _Page, upload: gr.File, cards: gr.HTML) -> list[Any]:
    """Wire the ways to open a mesh; returns their events."""
    studio = page.studio

    def open_upload(path: str, request: gr.Request, *values: Any) -> Updates:
        session, choice = page.session(request), SegmentChoice(studio, values)

        def steps() -> Steps[None]:
            with taken_upload(session, path) as (own, name):
                yield from flows.open_mesh(studio, session, own, name)

        for update in page.play(session, choice, steps()):
            yield (None, *update)

    def open_example(event: gr.EventData, request: gr.Request, *values: Any) -> Updates:
        example = examples.chosen_example(event)
        steps = flows.open_mesh(studio, page.session(request), example.file, example.file.name)
        yield from page.play(page.session(request), SegmentChoice(studio, values), steps)

    inputs = page.controls.inputs()
    return [
        upload.upload(open_upload, [upload, *inputs], [upload, *page.outputs()], **JOB),
        cards.select(open_example, inputs, page.outputs(), **JOB),
    ]


def _wire_cutting(page: _Page, show: Callable[..., tuple[Any, ...]]) -> Any:
    """Wire the buttons and settings; returns the event of the job."""
    studio, controls = page.studio, page.controls

    def cut(request: gr.Request, *values: Any) -> Updates:
        session, choice = page.session(request), SegmentChoice(studio, values)

        def steps() -> Steps[None]:
            yield from flows.cut(studio, session, choice.options(), choice.engine)

        yield from page.play(session, choice, steps())

    def cancel(request: gr.Request) -> gr.Button:
        page.session(request).cancel_job()
        return gr.Button(interactive=False)

    page.stop.click(cancel, None, page.stop, **AT_ONCE)
    for control in controls.others():
        is_typed = isinstance(control, gr.Textbox)  # pasted text comes with no input event
        changed = control.change if is_typed else control.input
        changed(show, controls.inputs(), page.outputs(), **AT_ONCE)
    return page.start.click(cut, controls.inputs(), page.outputs(), **JOB)


def _wire_slider(page: _Page, show: Callable[..., tuple[Any, ...]]) -> None:
    """Wire fewer and more parts, by the slider and by the settings on their number."""
    controls = page.controls

    def wish_of(event: gr.EventData) -> Wish:
        try:
            return parse_wish(event._data)
        except ValueError as err:
            raise as_toast(AppError(str(err))) from err

    def recut(event: gr.EventData, request: gr.Request, *values: Any) -> tuple[Any, ...]:
        session, choice = page.session(request), SegmentChoice(page.studio, values)
        problem, wish = "", wish_of(event)
        try:
            flows.recut_parts(session, wish.count)
        except AppError as err:
            problem = err.message
        status = idle_status(session, choice)
        cut = page.show_cut(session, status, choice, serial=wish.serial, problem=problem)
        return gr.Slider() if problem else gr.Slider(value=wish.count), *cut

    def follow(request: gr.Request, *values: Any) -> tuple[Any, ...]:
        choice = SegmentChoice(page.studio, values)
        options = choice.readable()
        if options is not None:
            flows.follow_settings(page.session(request), options, choice.engine)
        return show(request, *values)

    in_turn = AT_ONCE | {"trigger_mode": "always_last"}
    outputs = [controls.part_count, *page.cut_outputs()]
    page.slider.recut(recut, controls.inputs(), outputs, **AT_ONCE)
    for control in controls.counts():
        control.input(follow, controls.inputs(), page.outputs(), **in_turn)


def _wire_edits(page: _Page) -> Any:
    """Wire what is done in the viewer; returns the event, which may be a job."""

    def act(event: gr.EventData, request: gr.Request, *values: Any) -> Updates:
        session, choice = page.session(request), SegmentChoice(page.studio, values)
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

    def ask(session: Session, choice: SegmentChoice, point: Point) -> Updates:
        def steps() -> Steps[None]:
            yield from flows.ask_at(page.studio, session, point, choice.options())

        yield from page.play(session, choice, steps())

    return page.viewer.submit(act, page.controls.inputs(), page.outputs(), **ACTION)


def idle_status(session: Session, choice: SegmentChoice) -> Status:
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
