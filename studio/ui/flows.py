"""What the page's buttons do, as generators of page states. Knows sessions and use cases.

Each flow runs one job of one session through the line of jobs and tells, while it runs, what the
viewer should show. The tabs translate to and from gradio's components.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import numpy as np

from partwise.core.errors import AppError, Cancelled
from partwise.core.progress import CancelToken, Progress, ProgressCallback
from partwise.geometry.aabb_file import read_aabbs
from studio import boxes, edit, generate, load, prompt, recut, segment
from studio.boxes import TakenBoxes
from studio.candidates import Candidates, Point
from studio.catalog import P3SAM, SEGMENT
from studio.document import Document, PartSet, Run
from studio.failure import text_of
from studio.finished import CANCELLED, FAILED, FinishedParts
from studio.generate import GenerateOptions, GenerateRequest, GenerateResult
from studio.jobs import Queued, follow_job
from studio.prospect import check_part_count
from studio.ui.viewer import ViewerAction
from studio.workflow import Studio
from studio.workspace import Session

T = TypeVar("T")


@dataclass(frozen=True)
class Status:
    """What the viewer says over its picture: one of its states, a text, how far a job is."""

    state: str
    message: str = ""
    stage: str = ""
    progress: float | None = None


Steps = Generator[Status, None, T]
_BUSY = "A job is running. Edit the parts when it is done, or cancel it."


def open_mesh(studio: Studio, session: Session, path: Path, name: str) -> Steps[None]:
    """Read a mesh into the session; the one before stays when the new one is refused."""

    def work(progress: ProgressCallback, cancel: CancelToken) -> Document:
        return load.run(
            path,
            name,
            pool=studio.pool,
            limits=studio.configuration.mesh,
            progress=progress,
            cancel=cancel,
        )

    opened = yield from _job(studio, session, "open", work, state="checking")
    if session.document is not None:
        opened.follow(session.document)
    session.document = opened
    yield Status("ready")


def cut(
    studio: Studio, session: Session, options: segment.SegmentOptions, engine: str
) -> Steps[None]:
    """Segment the session's mesh."""
    document = session.require_document()

    def work(progress: ProgressCallback, cancel: CancelToken) -> segment.SegmentResult:
        request = segment.SegmentRequest(document.source, document.mesh_key, options, engine)
        return segment.run(request, studio.engines, progress, cancel)

    result = yield from _job(studio, session, "segment", work)
    with document.lock:
        document.set_segmentation(result.parts, result.run, result.tree)
    yield Status("done")


def ask_at(
    studio: Studio, session: Session, place: Point, options: segment.SegmentOptions
) -> Steps[None]:
    """Offer the masks that P3-SAM sees at a place of the session's mesh."""
    document = session.require_document()

    def work(progress: ProgressCallback, cancel: CancelToken) -> Candidates:
        request = prompt.PromptRequest(document.source, document.mesh_key, place, options.p3sam)
        return prompt.run(request, studio.engines, progress, cancel)

    candidates = yield from _job(studio, session, "prompt", work)
    with document.lock:
        document.set_candidates(candidates)
    yield Status("ready" if document.parts is None else "done")


def close_parts(
    studio: Studio,
    session: Session,
    part_ids: tuple[int, ...],
    engine: str,
    options: GenerateOptions | None = None,
) -> Steps[None]:
    """Generate the chosen parts of the session's mesh; what is done is shown before all is.

    What was finished stays when the run is cancelled or fails.
    """
    document = session.require_document()
    request = _request(document, part_ids, engine, options or GenerateOptions())
    count = len(request.chosen_ids)
    check_part_count(studio.engines, engine, count)
    choice = generate.choose_engine(studio.engines, engine, request.options, count)
    finished = FinishedParts(document, request, choice)

    def work(progress: ProgressCallback, cancel: CancelToken) -> GenerateResult:
        return generate.run(request, studio.engines, progress, cancel, finished.put)

    try:
        finished.finish((yield from _shown(_job(studio, session, "generate", work), finished)))
    except Cancelled:
        if not finished.has_parts:
            raise
        finished.keep(CANCELLED, "Cancelled.")
    except GeneratorExit:
        finished.keep(CANCELLED, "The page was left.")
        raise
    except BaseException as err:
        if not finished.has_parts:
            raise
        raise AppError(finished.keep(FAILED, text_of(err))) from err
    yield completed_status(document)


def _request(
    document: Document, part_ids: tuple[int, ...], engine: str, options: GenerateOptions
) -> GenerateRequest:
    """The parts and boxes as they stand now."""
    with document.lock:
        parts = document.parts
        if parts is None:
            raise AppError("There are no parts yet. Segment the mesh first.")
        known = {part.id for part in parts.parts}
        chosen = tuple(part_id for part_id in part_ids if part_id in known)
        aabbs = boxes.effective_aabbs(document, chosen)
    return GenerateRequest(document.source, parts, chosen, engine, options, aabbs)


def _shown(steps: Steps[T], finished: FinishedParts) -> Steps[T]:
    """Pass on a job's statuses; what it has finished is in the document by then."""
    try:
        while True:
            status = next(steps)
            finished.show()
            yield status
    except StopIteration as stop:
        result: T = stop.value
        return result
    finally:
        steps.close()


def completed_status(document: Document) -> Status:
    """Whether the closed parts are whole, partly closed, or older than the parts."""
    if document.is_completion_stale:
        return Status(
            "stale",
            "The parts or boxes were changed since. Generate again to bring this up to date.",
        )
    run = document.completion
    is_whole = not document.missing and all(not part.reason for part in document.completed)
    return Status("done") if is_whole else Status("partial", run.ended if run else "")


def take_boxes(studio: Studio, session: Session, path: Path, name: str) -> Steps[TakenBoxes]:
    """Give the parts the boxes of a file, or make each box a part."""
    document = session.require_document()
    found = read_aabbs(path, name=name)
    if boxes.are_of_the_parts(document.parts, found):
        if session.is_busy:
            raise AppError(_BUSY)
        return boxes.set_file(document, found)

    def work(_: ProgressCallback, __: CancelToken) -> tuple[PartSet, Run, TakenBoxes]:
        return boxes.cut_by_file(document.source, found, name)

    parts, run, taken = yield from _job(studio, session, "boxes", work)
    with document.lock:
        document.set_segmentation(parts, run)
    yield Status("done")
    return taken


def recut_parts(session: Session, part_count: int) -> None:
    """Cut the session's mesh into fewer or more parts at once; raises `AppError` when it cannot."""
    document = session.require_document()
    if session.is_busy:
        raise AppError(_BUSY)
    recut.recut(document, part_count)


def follow_settings(session: Session, options: segment.SegmentOptions, engine: str) -> None:
    """Cut the tree as changed settings say, if no more than that is needed and no job runs."""
    document = session.document
    if document is None or session.is_busy or segment.is_stale(document, options, engine):
        return
    recut.follow(document, options.geometric)


def apply_edit(session: Session, action: ViewerAction) -> None:
    """Carry out an edit of the parts; raises `AppError` with what to do instead."""
    document = session.require_document()
    if session.is_busy:
        raise AppError(_BUSY)
    with document.lock:
        try:
            _edit(document, action)
        except ValueError as err:
            raise AppError(f"That edit is not possible: {err}.") from err


def _edit(document: Document, action: ViewerAction) -> None:
    if action.action == "dismiss":
        document.set_candidates(None)
        return
    if action.action == "take":
        _take(document, action)
        return
    parts = document.parts
    if parts is None:
        raise AppError("There are no parts yet. Segment the mesh first.")
    if action.action == "undo":
        document.undo()
    elif action.action == "merge":
        document.apply(edit.merge(parts, action.part_ids))
    elif action.action == "split":
        document.apply(edit.split(parts, action.part_ids[0], document.source))
    elif action.action == "rename":
        document.apply(edit.rename(parts, action.part_ids[0], action.name))
    elif action.action == "box" and action.aabb is not None:
        if action.revision is not None and action.revision < document.picture_revision:
            raise AppError("The parts were changed since. Look at them, then change the box again.")
        document.set_box(action.part_ids[0], np.array(action.aabb))
    elif action.action == "reset_boxes":
        document.reset_boxes(action.part_ids or None)


def _take(document: Document, action: ViewerAction) -> None:
    """Make one of the offered masks a part, or a piece of one."""
    offer, index = document.candidates, action.index
    if offer is None or index is None or index >= len(offer.masks):
        raise AppError("These masks are gone: the parts were changed since. Click the place again.")
    n_faces = len(document.source.faces)
    taken = edit.take_mask(
        document.parts,
        offer.masks[index].faces,
        mode=cast("edit.TakeMode", action.mode),  # checked where it came in
        part_id=action.part_ids[0] if action.part_ids else None,
        n_faces=n_faces,
    )
    if document.parts is None:  # so that the first one can be undone too
        run = Run(SEGMENT, P3SAM, "by clicked points", {}, {}, 0.0)
        document.set_segmentation(edit.no_parts(n_faces), run)
    document.apply(taken)


def _job(
    studio: Studio,
    session: Session,
    name: str,
    work: Callable[[ProgressCallback, CancelToken], T],
    *,
    state: str = "running",
) -> Steps[T]:
    def watched(progress: ProgressCallback, cancel: CancelToken) -> T:
        with studio.monitor.busy(name):
            return work(progress, cancel)

    cancel = session.start_job()
    try:
        yield Status(state, stage="Starting", progress=0.0)
        steps = follow_job(studio.lane, watched, cancel)
        try:
            while True:
                yield _status_of(next(steps), state, cancel)
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            steps.close()
    finally:
        session.end_job()


def _status_of(step: Queued | Progress, state: str, cancel: CancelToken) -> Status:
    if cancel.is_cancelled:
        return Status("cancelling", "Stopping …")
    if isinstance(step, Queued):
        return Status("queued", f"Waiting: number {step.position} of {step.waiting} in line")
    stage = f"{step.stage}: {step.detail}" if step.detail else step.stage
    return Status(state, stage=stage, progress=step.fraction)
