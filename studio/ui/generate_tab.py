"""The Generate tab: the parts of the Segment tab in, closed parts out."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import gradio as gr

from partwise.core.errors import AppError, ConfigError
from partwise.xpart.settings import BAND, RESOLUTIONS, SURFACE
from studio.boxes import TakenBoxes
from studio.catalog import AUTO, GEOMETRIC, XPART
from studio.configuration import DEFAULT_QUALITY
from studio.document import PartSet
from studio.generate import GenerateOptions, check_lengths, is_stale, options_for
from studio.prospect import prospect_of
from studio.ui import flows, views
from studio.ui.errors import as_toast, shown
from studio.ui.fields import number_field, part_ids_of, whole_number
from studio.ui.flows import Status, Steps
from studio.ui.lagging import GENERATE_TAB, Follower, busy_status
from studio.ui.print_controls import PrintChoice, PrintControls, build_print_controls
from studio.ui.print_views import print_html
from studio.ui.segment_tab import ACTION, AT_ONCE, BUSY_STATES, JOB, Updates
from studio.ui.uploads import taken_upload
from studio.ui.viewer import ViewerAction, build_part_viewer, parse_action
from studio.workflow import Studio
from studio.workspace import Session

BOX_FILE_TYPES = [".json", ".npy"]


@dataclass(frozen=True)
class _Controls:
    chosen: gr.Dropdown
    quality: gr.Radio
    engine: gr.Dropdown
    steps: gr.Textbox
    octree_resolution: gr.Dropdown
    seed: gr.Textbox
    decoding: gr.Dropdown
    printing: PrintControls

    def inputs(self) -> list[Any]:
        """The components in the order in which `_Choice` takes their values."""
        own = [getattr(self, field.name) for field in fields(self) if field.name != "printing"]
        return [*own, *self.printing.inputs()]


class _Choice:
    """What the person has set; the values come from the browser and are checked here."""

    def __init__(self, studio: Studio, values: tuple[Any, ...]) -> None:
        self._studio = studio
        self._chosen, self._quality, engine, *self._values = values
        self.engine = str(engine)
        self._neural, self.printing = self._values[:4], PrintChoice(tuple(self._values[4:]))

    def part_ids(self, session: Session) -> tuple[int, ...]:
        """The chosen parts that there are; those of a mesh before are not."""
        parts = session.document.parts if session.document else None
        known = {part.id for part in parts.parts} if parts else set()
        return tuple(i for i in part_ids_of(self._chosen) if i in known)

    def with_all_of(self, parts: PartSet | None) -> "_Choice":
        """The same with all parts chosen."""
        ids = [part.id for part in parts.parts] if parts else []
        return _Choice(self._studio, (ids, self._quality, self.engine, *self._values))

    def offered(self, session: Session) -> "_Choice":
        """The same; with all parts chosen when they are others than those last chosen from."""
        document = session.document
        if document is None or document.parts is None:
            return self.with_all_of(None)
        if document.offered is document.parts.face_labels:
            return self
        document.offered = document.parts.face_labels
        return self.with_all_of(document.parts)

    def options(self, session: Session) -> GenerateOptions:
        """The settings of a run; raises `ConfigError` when out of range."""
        steps, resolution, seed, decoding = self._neural
        mesh = session.document.source if session.document else None
        geometric = self.printing.settings(mesh)
        check_lengths(geometric, mesh)
        return options_for(
            self._studio.configuration,
            str(self._quality),
            steps=whole_number("steps", steps),
            octree_resolution=whole_number("octree resolution", resolution),
            seed=whole_number("seed", seed),
            decoding=str(decoding) if decoding else None,
            geometric=geometric,
        )


@dataclass(frozen=True)
class GenerateTab:
    """What the page wires to other tabs.

    filled: the components that `fill` gives values for, with the choice of parts that stands, or
    all parts when they are others; inputs: what it wants. new_cut: the event after which the parts
    may be those of a file's boxes. replan: shows the line before the run anew after an event. jobs:
    the events that are jobs. follower: for the jobs of all tabs.
    """

    filled: list[Any]
    inputs: list[Any]
    fill: Callable[..., tuple[Any, ...]]
    new_cut: Any
    replan: Callable[[Any], None]
    jobs: list[Any]
    follower: Follower


class _Page:
    """The components that the events of this tab update, and their values for a status."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        chosen = gr.Dropdown(
            [], multiselect=True, label="Parts to generate", elem_id="chosen-parts"
        )
        qualities = studio.configuration.qualities
        with gr.Row(elem_classes="pw-actions"):
            quality = gr.Radio(
                [(quality.title, name) for name, quality in qualities.items()],
                value=DEFAULT_QUALITY,
                label="X-Part: quality",
                elem_id="quality",
                elem_classes="pw-grow",
            )
            self.start = gr.Button(
                "Generate", variant="primary", interactive=False, elem_id="generate"
            )
            self.stop = gr.Button("Cancel", interactive=False, elem_id="generate-cancel")
        self.plan = gr.HTML(elem_id="generate-plan")
        with gr.Accordion("Advanced", open=False, elem_id="generate-advanced"):
            own = _build_controls()
            self.upload, self.reset, self.note = _build_boxes()
        self.controls = _Controls(chosen, quality, *own, build_print_controls())
        self.printed = gr.HTML(elem_id="print-note")
        self.viewer = build_part_viewer("generate-viewer", "Closed parts")

    def outputs(self) -> list[Any]:
        """The components in the order of `show`."""
        return [self.plan, self.start, self.stop, self.reset, self.printed, self.viewer]

    def show(self, session: Session, status: Status, choice: _Choice) -> tuple[Any, ...]:
        """The values of the components for a status."""
        document, is_busy = session.document, status.state in BUSY_STATES
        has_boxes = document is not None and bool(document.boxes)
        plan, can_run = self._plan(session, choice)
        if document is not None:
            with contextlib.suppress(ConfigError):  # the plan tells it
                document.set_printing(choice.printing.printing())
        return (
            plan,
            gr.Button(interactive=can_run and not is_busy),
            gr.Button(interactive=is_busy),
            gr.Button(interactive=has_boxes and not is_busy),
            self._print_note(session, choice),
            views.generate_view(session, status, choice.part_ids(session), is_busy=is_busy),
        )

    def _print_note(self, session: Session, choice: _Choice) -> str:
        try:
            return print_html(session.document, choice.options(session).geometric)
        except AppError:  # the plan tells it
            return ""

    def show_plan(self, request: gr.Request, *values: Any) -> str:
        """The line before the run, after what jobs may use was changed."""
        return self._plan(self.session(request), _Choice(self.studio, values))[0]

    def _plan(self, session: Session, choice: _Choice) -> tuple[str, bool]:
        """The line before the run, and whether there may be one."""
        count = len(choice.part_ids(session))
        try:
            prospect = prospect_of(
                self.studio.engines, choice.engine, choice.options(session), count
            )
        except AppError as err:
            return views.plan_problem_html(err.message), False
        can_run = count > 0 and not prospect.is_refused
        return views.generate_plan_html(session, prospect), can_run

    def session(self, request: gr.Request) -> Session:
        """The session of the page that sent the event."""
        return self.studio.workspace.session_for(str(request.session_hash))

    def play(self, session: Session, choice: _Choice, steps: Steps[Any]) -> Updates:
        """Show each status of a flow, a failure too."""
        for status in shown(steps, Status):
            yield self.show(session, status, choice)


def build_generate_tab(studio: Studio) -> GenerateTab:
    """Build the tab's components and wire their events."""
    page = _Page(studio)
    inputs, filled = page.controls.inputs(), [page.controls.chosen, *page.outputs()]
    start = _wire_running(page)
    _wire_viewer(page)
    new_cut = _wire_box_file(page)

    def fill(request: gr.Request, *values: Any) -> tuple[Any, ...]:
        session = page.session(request)
        choice = _Choice(studio, values).offered(session)
        listed = _part_choices(session, choice)
        return (listed, *page.show(session, idle_status(session, choice), choice))

    def replan(event: Any) -> None:
        event.then(page.show_plan, inputs, page.plan, **AT_ONCE)

    follower = Follower(GENERATE_TAB, page.session, fill, inputs, filled)
    return GenerateTab(filled, inputs, fill, new_cut, replan, [start, new_cut], follower)


def _build_controls() -> tuple[gr.Dropdown, gr.Textbox, gr.Dropdown, gr.Textbox, gr.Dropdown]:
    with gr.Row():
        engine = gr.Dropdown(
            [("Automatic", AUTO), ("Built-in geometric", GEOMETRIC), ("X-Part", XPART)],
            value=AUTO,
            label="Engine",
            elem_id="generate-engine",
        )
        steps = number_field("X-Part: steps", "the quality's", "generate-steps")
        octree_resolution = gr.Dropdown(
            [("The quality's", ""), *((f"{cells}³", str(cells)) for cells in RESOLUTIONS)],
            value="",
            label="X-Part: cells",
            elem_id="octree-resolution",
        )
    with gr.Row():
        seed = number_field("X-Part: seed", "as configured", "generate-seed")
        decoding = gr.Dropdown(
            [
                ("As configured", ""),
                ("Follow the surface", SURFACE),
                ("The published wide band; slower", BAND),
            ],
            value="",
            label="X-Part: decoding",
            elem_id="decoding",
        )
    return engine, steps, octree_resolution, seed, decoding


def _build_boxes() -> tuple[gr.File, gr.Button, gr.HTML]:
    with gr.Row():
        upload = gr.File(
            label="X-Part: boxes from a file (.json, .npy)",
            file_types=BOX_FILE_TYPES,
            type="filepath",
            height=112,
            elem_id="boxes-upload",
        )
        with gr.Column():
            reset = gr.Button("Use the parts' own boxes", interactive=False, elem_id="boxes-reset")
            note = gr.HTML(elem_id="boxes-note")
    return upload, reset, note


def _wire_running(page: _Page) -> Any:
    """Wire the buttons and settings; returns the event of the job."""
    studio, inputs = page.studio, page.controls.inputs()

    def close_parts(request: gr.Request, *values: Any) -> Updates:
        session, choice = page.session(request), _Choice(studio, values)

        def steps() -> Steps[None]:
            ids, options = choice.part_ids(session), choice.options(session)
            yield from flows.close_parts(studio, session, ids, choice.engine, options)

        yield from page.play(session, choice, steps())

    def settings_changed(request: gr.Request, *values: Any) -> tuple[Any, ...]:
        session, choice = page.session(request), _Choice(studio, values)
        return page.show(session, idle_status(session, choice), choice)

    def cancel(request: gr.Request) -> gr.Button:
        page.session(request).cancel_job()
        return gr.Button(interactive=False)

    page.stop.click(cancel, None, page.stop, **AT_ONCE)
    changes = [  # pasted text comes with no input event
        control.change if isinstance(control, gr.Textbox) else control.input for control in inputs
    ]
    # as one event, one after the other: else an answer to what was set before may come last
    in_turn = AT_ONCE | {"trigger_mode": "always_last"}
    gr.on(changes, settings_changed, inputs, page.outputs(), **in_turn)
    return page.start.click(close_parts, inputs, page.outputs(), **JOB)


def _wire_viewer(page: _Page) -> None:
    def act(event: gr.EventData, request: gr.Request, *values: Any) -> tuple[Any, ...]:
        session, choice = page.session(request), _Choice(page.studio, values)
        try:
            flows.apply_edit(session, parse_action(event._data))
        except (AppError, ValueError) as err:  # ValueError: the viewer's own checks, in words
            raise as_toast(err if isinstance(err, AppError) else AppError(str(err))) from err
        return page.show(session, idle_status(session, choice), choice)

    def reset(request: gr.Request, *values: Any) -> tuple[Any, ...]:
        session, choice = page.session(request), _Choice(page.studio, values)
        try:
            flows.apply_edit(session, ViewerAction("reset_boxes"))
        except AppError as err:
            raise as_toast(err) from err
        return ("", *page.show(session, idle_status(session, choice), choice))

    inputs = page.controls.inputs()
    page.viewer.submit(act, inputs, page.outputs(), **ACTION)
    page.reset.click(reset, inputs, [page.note, *page.outputs()], **AT_ONCE)


def _wire_box_file(page: _Page) -> Any:
    """Wire the upload of boxes; returns the event after which the parts may be others."""
    studio, chosen = page.studio, page.controls.chosen

    def take(path: str, request: gr.Request, *values: Any) -> Updates:
        session, choice = page.session(request), _Choice(studio, values)
        taken: list[TakenBoxes] = []

        def steps() -> Steps[None]:
            with taken_upload(session, path) as (own, name):
                taken.append((yield from flows.take_boxes(studio, session, own, name)))

        for status in shown(steps(), Status):
            note = views.plan_problem_html(status.message) if status.state == "error" else ""
            now = idle_status(session, choice) if note else status
            yield (None, note, gr.skip(), *page.show(session, now, choice))
        if taken:
            yield (None, *_after_boxes(page, session, choice, taken[0]))

    outputs = [page.upload, page.note, chosen, *page.outputs()]
    return page.upload.upload(take, [page.upload, *page.controls.inputs()], outputs, **JOB)


def _after_boxes(
    page: _Page, session: Session, choice: _Choice, taken: TakenBoxes
) -> tuple[Any, ...]:
    """The note, the list of parts and all the rest, with the boxes of a file taken."""
    chosen = choice.offered(session)
    listed = _part_choices(session, chosen) if taken.is_new_cut else gr.skip()
    note = views.note_html(taken.message)
    return (note, listed, *page.show(session, idle_status(session, chosen), chosen))


def idle_status(session: Session, choice: _Choice) -> Status:
    """What to say when nothing is done here: nothing, or that the settings were changed since."""
    if session.is_busy:
        return busy_status(session, GENERATE_TAB)
    document = session.document
    try:
        if document is not None and is_stale(document, choice.options(session)):
            return Status("stale", "The settings were changed. Generate again to apply them.")
    except ConfigError:  # the plan tells it
        return Status("ready")
    return Status("ready")


def _part_choices(session: Session, choice: _Choice) -> gr.Dropdown:
    """The list of parts to choose from, with those that are chosen."""
    parts = session.document.parts if session.document else None
    known = parts.parts if parts else ()
    return gr.Dropdown(
        choices=[(part.name, part.id) for part in known], value=list(choice.part_ids(session))
    )
