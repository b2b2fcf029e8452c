"""The functions for programs: segment, generate, status, unload, by gradio's own client.

`segment` and `generate` take a file and answer with a report and files; while they run they yield
reports with "state": "running", so that a program can watch them and cancel.
"""

import tempfile
import threading
from collections import OrderedDict
from collections.abc import Generator, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gradio as gr

from partwise.core.errors import AppError
from partwise.geometric.complete import CompletionSettings
from partwise.vram.export import status_payload
from studio import load, results
from studio.asked import GenerateChoice, read_part_ids, request_of, set_boxes
from studio.configuration import DEFAULT_QUALITY
from studio.document import Document
from studio.generate import GenerateOptions
from studio.print_size import read_printing
from studio.recut import recut
from studio.segment import P3SamChoice, SegmentOptions, options_for
from studio.ui import flows
from studio.ui.errors import as_toast
from studio.ui.flows import Status
from studio.ui.generate_tab import BOX_FILE_TYPES
from studio.ui.segment_tab import BUSY_STATES, FILE_TYPES
from studio.ui.uploads import taken_upload
from studio.workflow import Studio
from studio.workspace import Session

Answer = tuple[dict[str, Any], str | None, str | None, str | None]
Answers = Generator[Answer, None, None]
_FILES = ("parts.glb", "face_ids.npy", "parts-glb.zip")
_CUT_FILES = ("parts.glb", "face_ids.npy")
_KEPT_CUTS = 4  # callers whose last segmentation can be cut again; each holds a mesh


def build_api(studio: Studio) -> None:
    """Add the endpoints; their components are on the page but never shown."""
    with gr.Column(visible=False):
        mesh = gr.File(label="mesh", file_types=FILE_TYPES, type="filepath")
        labels = gr.File(label="labels", file_types=[".npy"], type="filepath")
        settings = [
            gr.Textbox("balanced", label="preset"),
            gr.Number(0, label="part_count", precision=0),
            gr.Number(0.5, label="detail"),
            gr.Number(None, label="seed", precision=0),
            gr.Textbox("auto", label="engine"),
            gr.Number(None, label="points", precision=0),
            gr.Number(None, label="prompts", precision=0),
        ]
        making = [
            gr.File(label="boxes", file_types=BOX_FILE_TYPES, type="filepath"),
            gr.Textbox(DEFAULT_QUALITY, label="quality"),
            gr.Number(None, label="steps", precision=0),
            gr.Number(None, label="octree_resolution", precision=0),
            gr.Textbox("", label="decoding"),
            gr.Textbox("", label="part_ids"),
            gr.Number(0, label="plug"),
            gr.Number(0, label="clearance"),
            gr.Number(0, label="wall"),
            gr.Textbox("", label="print_size"),
            gr.Textbox("", label="min_wall"),
        ]
        count = [gr.Number(0, label="part_count", precision=0), gr.Number(None, label="detail")]
        answer = [
            gr.JSON(label="report"),
            *(gr.File(label=name.replace(".", "_").replace("-", "_")) for name in _FILES),
        ]
        start = gr.Button()
        memory = gr.JSON(label="memory")
    serve = _Endpoints(studio)
    lane: dict[str, Any] = {"concurrency_limit": None, "show_progress": "hidden"}
    start.click(serve.segment, [mesh, *settings], answer, api_name="segment", **lane)
    given = [mesh, labels, *settings, *making]
    start.click(serve.generate, given, answer, api_name="generate", **lane)
    start.click(serve.recut, count, answer[:3], api_name="recut", **lane)
    start.click(serve.status, None, memory, api_name="status", queue=False)
    start.click(serve.unload, None, memory, api_name="unload")


class _Endpoints:
    """What the endpoints do; their first lines are their descriptions for programs."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._cuts = _LastCuts()

    def segment(
        self,
        request: gr.Request,
        mesh: str,
        preset: str = "balanced",
        part_count: int = 0,
        detail: float = 0.5,
        seed: int | None = None,
        engine: str = "auto",
        points: int | None = None,
        prompts: int | None = None,
    ) -> Answers:
        """Cut a mesh into parts. part_count 0 lets the engine choose the number.

        points, prompts: P3-SAM's; None leaves the preset's.
        """
        with _Call(self._studio, request) as call:
            chosen = P3SamChoice(points, prompts)
            options = call.options(preset, part_count, detail, seed, chosen)
            yield from call.open(mesh)
            yield from call.cut(options, engine)
            self._cuts.keep(request, call.document)
            yield call.answer(results.PARTS)

    def recut(
        self, request: gr.Request, part_count: int = 0, detail: float | None = None
    ) -> tuple[dict[str, Any], str, str]:
        """Cut the mesh of your last /segment into fewer or more parts, at once.

        Give part_count or detail; 0 and None are neither.
        """
        try:
            document = self._cuts.of(request)
            with document.lock:
                recut(document, int(part_count) or None, detail=detail)
                report = {"state": "done", **results.report(document, results.PARTS)}
                glb, labels = _written(self._studio, document, results.PARTS, _CUT_FILES)
        except AppError as error:
            raise as_toast(error) from error
        return report, glb, labels

    def generate(
        self,
        request: gr.Request,
        mesh: str,
        labels: str | None = None,
        preset: str = "balanced",
        part_count: int = 0,
        detail: float = 0.5,
        seed: int | None = None,
        engine: str = "auto",
        points: int | None = None,
        prompts: int | None = None,
        boxes: str | None = None,
        quality: str = DEFAULT_QUALITY,
        steps: int | None = None,
        octree_resolution: int | None = None,
        decoding: str = "",
        part_ids: str = "",
        plug: float = 0,
        clearance: float = 0,
        wall: float = 0,
        print_size: str = "",
        min_wall: str = "",
    ) -> Answers:
        """Make each part a closed mesh; labels: a .npy of one integer per face, else segmented.

        boxes: a .json or .npy of boxes; without labels each becomes a part. quality, steps,
        octree_resolution, decoding: X-Part's. part_ids: those to make, as in 0,2,5. plug,
        clearance, wall: the built-in engine's, in units of the mesh; 0 = none. print_size: largest
        side in mm, or file; min_wall: in mm.
        """
        with _Call(self._studio, request) as call:
            chosen = P3SamChoice(points, prompts)
            options = call.options(preset, part_count, detail, seed, chosen)
            choice = GenerateChoice(
                quality,
                _whole(steps),
                _whole(octree_resolution),
                _whole(seed),
                decoding or None,
                read_part_ids(part_ids),
                CompletionSettings(float(plug or 0), float(clearance or 0), float(wall or 0)),
                read_printing(print_size, min_wall),
            )
            making = choice.options(self._studio.configuration)
            yield from call.open(mesh)
            if labels:
                call.take_labels(labels)
            if boxes:
                call.take_boxes(boxes)
            if not labels and not boxes:
                yield from call.cut(options, "auto")
            yield from call.close_parts(engine, choice, making)
            yield call.answer(results.COMPLETED)

    def status(self) -> dict[str, Any]:
        """What holds the memory now, and which models are loaded or why they are not."""
        return status_payload(self._studio.monitor.sample_now(), self._studio.manager.get_status())

    def unload(self) -> dict[str, Any]:
        """Unload every model that is not in use; answers with bytes before and after."""
        return asdict(self._studio.manager.unload_all_models())


class _LastCuts:
    """The last segmentation of each of the last callers, to be cut again."""

    def __init__(self) -> None:
        self._documents: OrderedDict[str, Document] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, request: gr.Request, document: Document) -> None:
        """This is the caller's last one; the longest unused beyond the bound is forgotten."""
        with self._lock:
            self._documents[str(request.session_hash)] = document
            self._documents.move_to_end(str(request.session_hash))
            while len(self._documents) > _KEPT_CUTS:
                self._documents.popitem(last=False)

    def of(self, request: gr.Request) -> Document:
        """The caller's last one; raises `AppError` when there is none any more."""
        with self._lock:
            document = self._documents.get(str(request.session_hash))
            if document is None:
                raise AppError(
                    "There is no segmentation to cut again: you made none, or others came since. "
                    "Call /segment first, with the same client."
                )
            self._documents.move_to_end(str(request.session_hash))
            return document


class _Call:
    """One call: a session of its own, gone when the call ends; its answer stays a while."""

    def __init__(self, studio: Studio, request: gr.Request) -> None:
        self._studio = studio
        self._visit = f"call-{request.session_hash}-{id(self)}"
        self._session: Session = studio.workspace.session_for(self._visit)

    def __enter__(self) -> "_Call":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        self._session.end_job()
        self._studio.workspace.close_session(self._visit)
        if isinstance(error, Exception):
            raise as_toast(error) from error

    def open(self, mesh: str | None) -> Answers:
        if not mesh:
            raise AppError("No mesh was given. Pass a file as the first argument.")
        with taken_upload(self._session, mesh) as (own, name):
            yield from self._follow(flows.open_mesh(self._studio, self._session, own, name))

    def options(
        self,
        preset: str,
        part_count: int,
        detail: float,
        seed: int | None,
        chosen: P3SamChoice,
    ) -> SegmentOptions:
        return options_for(
            self._studio.configuration,
            preset,
            part_count=int(part_count) or None,
            detail=float(detail),
            seed=_whole(seed),
            chosen=chosen,
        )

    def cut(self, options: SegmentOptions, engine: str) -> Answers:
        yield from self._follow(flows.cut(self._studio, self._session, options, engine))

    def take_labels(self, labels: str) -> None:
        document = self._session.require_document()
        with taken_upload(self._session, labels) as (own, name):
            document.set_segmentation(*load.read_labels(own, document.source, name=name))

    def take_boxes(self, boxes: str) -> None:
        document = self._session.require_document()
        with taken_upload(self._session, boxes) as (own, name):
            set_boxes(document, own, name)

    def close_parts(self, engine: str, choice: GenerateChoice, options: GenerateOptions) -> Answers:
        document = self._session.require_document()
        ids = request_of(document, choice, options, engine).chosen_ids
        steps = flows.close_parts(self._studio, self._session, ids, engine, options)
        yield from self._follow(steps)

    @property
    def document(self) -> Document:
        """What the call works on."""
        return self._session.require_document()

    def answer(self, kind: str) -> Answer:
        document = self.document
        glb, labels, archive = _written(self._studio, document, kind, _FILES)
        return {"state": "done", **results.report(document, kind)}, glb, labels, archive

    def _follow(self, steps: flows.Steps[None]) -> Answers:
        for status in steps:
            if status.state in BUSY_STATES:
                yield _running(status), None, None, None


def _written(studio: Studio, document: Document, kind: str, names: Iterable[str]) -> list[str]:
    """The paths of files of a result, where gradio hands them out; the janitor removes them."""
    folder = Path(tempfile.mkdtemp(dir=studio.workspace.uploads))
    for name in names:
        (folder / name).write_bytes(results.download(document, kind, name))
    return [str(folder / name) for name in names]


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)


def _running(status: Status) -> dict[str, Any]:
    return {
        "state": status.state,
        "stage": status.stage or status.message,
        "fraction": status.progress,
    }
