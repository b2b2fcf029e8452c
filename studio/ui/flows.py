"""What the page's buttons do, as generators of page states. Knows sessions and use cases.

Each flow runs one job of one session through the line of jobs and tells, while it runs, what the
viewer should show. The tabs translate to and from gradio's components.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

from partwise.core.errors import AppError
from partwise.core.progress import CancelToken, Progress, ProgressCallback
from studio import edit, generate, load, prompt, segment
from studio.candidates import Candidates, Point
from studio.catalog import P3SAM, SEGMENT
from studio.document import Document, Run
from studio.jobs import Queued, follow_job
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

    session.document = yield from _job(studio, session, "open", work, state="checking")
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
        document.set_segmentation(result.parts, result.run)
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
    studio: Studio, session: Session, part_ids: tuple[int, ...], engine: str
) -> Steps[None]:
    """Generate the chosen parts of the session's mesh."""
    document = session.require_document()
    parts = document.parts
    if parts is None:
        raise AppError("There are no parts yet. Segment the mesh first.")
    known = {part.id for part in parts.parts}
    chosen = tuple(part_id for part_id in part_ids if part_id in known)

    def work(progress: ProgressCallback, cancel: CancelToken) -> generate.GenerateResult:
        request = generate.GenerateRequest(document.source, parts, chosen, engine)
        return generate.run(request, studio.engines, progress, cancel)

    result = yield from _job(studio, session, "generate", work)
    with document.lock:
        document.set_completion(parts, result.completed, result.run)
    is_whole = all(not done.reason for done in result.completed)
    yield Status("done" if is_whole else "partial")


def apply_edit(session: Session, action: ViewerAction) -> None:
    """Carry out an edit of the parts; raises `AppError` with what to do instead."""
    document = session.require_document()
    if session.is_busy:
        raise AppError("A job is running. Edit the parts when it is done, or cancel it.")
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
