"""What the page shows of a session: the viewer's state, the facts of the mesh, the plan.

Pure translation: a document and a status in, plain values for the components out.
"""

from collections.abc import Sequence
from dataclasses import replace
from html import escape

from partwise.geometric.complete import closed_count
from partwise.geometry.limits import MEGABYTE
from partwise.geometry.mesh_io import MeshFacts, MeshLimits
from partwise.geometry.parts import hex_colour
from partwise.p3sam.settings import P3SamSettings
from partwise.vram.planner import in_words as plan_in_words
from studio import boxes, results
from studio.catalog import P3SAM, EngineChoice, Engines, in_words
from studio.document import Document, Run
from studio.http import VIEW, file_url
from studio.outlook import Outlook
from studio.prospect import Prospect
from studio.segment import SegmentOptions, look_ahead
from studio.ui.flows import Status, completed_status
from studio.ui.print_views import with_print_facts
from studio.ui.viewer import DownloadLink, MaskCandidate, ViewerBox, ViewerPart, ViewerState
from studio.workspace import Session

EMPTY_SEGMENT = "Drop a mesh above or pick an example."
EMPTY_GENERATE = "Segment a mesh first, then send its parts here."
_DOWNLOAD_LABELS = {
    results.PRINT_FILE: "for printing .3mf",
    "face_ids.npy": "labels .npy",
    "face_ids.json": "labels .json",
    "boxes.glb": "with boxes .glb",
    "input_boxes.glb": "input with boxes .glb",
}
_NAMED = 5  # parts that a message names one by one


def segment_view(
    session: Session, status: Status, why_no_prompts: str = "", *, is_busy: bool = False
) -> dict[str, object]:
    """The viewer of the Segment tab: the parts when there are some, else the mesh."""
    document = session.document
    if document is None:
        return _empty(status, EMPTY_SEGMENT)
    kind = results.INPUT if document.parts is None else results.PARTS
    with document.lock:
        offer = document.candidates
        return replace(
            _filled(session, document, kind, status),
            candidates=_mask_candidates(session, document),
            prompt_point=offer.point if offer else None,
            can_prompt=not why_no_prompts and not is_busy,
            prompt_hint=why_no_prompts,
        ).to_value()


def generate_view(
    session: Session, status: Status, part_ids: Sequence[int] = (), *, is_busy: bool = False
) -> dict[str, object]:
    """The viewer of the Generate tab: the closed parts when there are some, else the parts.

    part_ids: the chosen parts, whose boxes are shown and can be changed.
    """
    document = session.document
    if document is None or document.parts is None:
        return _empty(status, EMPTY_GENERATE)
    with document.lock:
        kind = results.PARTS if document.completed_of is None else results.COMPLETED
        if kind == results.COMPLETED and status.state == "ready":
            status = completed_status(document)
        return replace(
            _filled(session, document, kind, status),
            editable=False,
            boxes=_viewer_boxes(document, part_ids),
            can_edit_boxes=not is_busy,
        ).to_value()


def _viewer_boxes(document: Document, part_ids: Sequence[int]) -> tuple[ViewerBox, ...]:
    known = {part.id for part in document.parts.parts} if document.parts else set()
    ids = [part_id for part_id in part_ids if part_id in known]
    aabbs = boxes.effective_aabbs(document, ids).tolist()
    return tuple(
        ViewerBox(part_id, aabb, is_edited=part_id in document.boxes)
        for part_id, aabb in zip(ids, aabbs, strict=True)
    )


def _empty(status: Status, hint: str) -> dict[str, object]:
    is_idle = status.state in ("ready", "done", "stale")
    state = "empty" if is_idle else status.state
    return ViewerState(
        state=state,
        message=hint if is_idle else status.message,
        stage=status.stage,
        progress=status.progress,
    ).to_value()


def _filled(session: Session, document: Document, kind: str, status: Status) -> ViewerState:
    with document.lock:
        run = {results.PARTS: document.segmentation, results.COMPLETED: document.completion}.get(
            kind
        )
        revision = document.revision
        return ViewerState(
            mesh_key=document.key,
            revision=revision,
            glb_url=file_url(session.capability, kind, document.picture_revision, VIEW),
            state=status.state,
            message=status.message or _done_message(document, kind, status.state, run),
            stage=status.stage,
            progress=status.progress,
            kind=kind,
            parts=_viewer_parts(document, kind),
            can_undo=document.can_undo,
            editable=kind == results.PARTS,
            downloads=_download_links(session, document, kind),
            engine=run.engine if run else "",
            elapsed_s=run.elapsed_s if run else None,
        )


def _mask_candidates(session: Session, document: Document) -> tuple[MaskCandidate, ...]:
    """The masks that wait for a choice, with the addresses of their pictures."""
    if document.candidates is None:
        return ()
    names = results.mask_names(document)
    return tuple(
        MaskCandidate(
            index=i,
            iou=mask.predicted_iou,
            faces=int(mask.faces.sum()),
            area_percent=mask.area_percent,
            glb_url=file_url(session.capability, results.MASKS, document.revision, name),
        )
        for i, (mask, name) in enumerate(zip(document.candidates.masks, names, strict=True))
    )


def _viewer_parts(document: Document, kind: str) -> tuple[ViewerPart, ...]:
    if kind == results.INPUT:
        return ()
    return tuple(_viewer_part(row, document) for row in results.part_rows(document, kind))


def _viewer_part(row: results.PartRow, document: Document) -> ViewerPart:
    part = ViewerPart(
        id=row.part.id,
        name=row.part.name,
        colour=hex_colour(row.part.colour),
        faces=row.face_count,
        area_percent=row.area_percent,
        state=row.state,
        reason=row.reason,
        aabb=row.aabb.tolist(),
    )
    return with_print_facts(part, row, document)


def _download_links(session: Session, document: Document, kind: str) -> tuple[DownloadLink, ...]:
    if kind == results.INPUT:
        return ()
    return tuple(
        DownloadLink(
            _DOWNLOAD_LABELS.get(name, name),
            file_url(session.capability, kind, document.revision, name),
        )
        for name in results.downloads(document, kind)
    )


def _done_message(document: Document, kind: str, state: str, run: Run | None) -> str:
    if state not in ("done", "partial") or run is None:
        return ""
    if kind == results.PARTS and document.parts is not None:
        count = len(document.parts.parts)
        return f"{count} {'part' if count == 1 else 'parts'} in {run.elapsed_s:.1f} s"
    return _completed_message(document, run)


def _completed_message(document: Document, run: Run) -> str:
    """How many parts are closed, which have nothing at all, and that the picture is coarse."""
    closed = closed_count(document.completed)
    count = len(document.completed) + len(document.missing)
    words = f"{closed} of {count} parts closed in {run.elapsed_s:.1f} s"
    rows = results.part_rows(document, results.COMPLETED)
    empty = [row.part.name for row in rows if row.state == results.EMPTY]
    if empty:
        more = f" and {len(empty) - _NAMED} more" if len(empty) > _NAMED else ""
        words += f". Empty: {', '.join(empty[:_NAMED])}{more}; the table says why"
    if results.is_view_simplified(document):
        words += ". The picture is simplified; the downloads are whole"
    return words


def limits_html(limits: MeshLimits) -> str:
    """Which files are taken, before there is one."""
    return (
        "<p class='pw-plan'>glb, gltf, obj, ply, stl, off or 3mf · up to "
        f"{_bytes(limits.max_file_bytes)} and {limits.max_faces:,} faces</p>"
    )


def facts_html(session: Session, limits: MeshLimits) -> str:
    """The facts of the open mesh as a definition list, every word of the file escaped."""
    if session.document is None:
        return limits_html(limits)
    source = session.document.source
    facts = source.facts
    pairs = [
        ("File", f"{source.name} · {_bytes(facts.file_bytes)}"),
        ("Faces", _faces(facts)),
        ("Vertices", f"{facts.n_vertices:,}"),
        ("Bodies", f"{facts.n_components:,}"),
        ("Nodes", f"{facts.n_nodes:,}"),
        ("Watertight", "yes" if facts.is_watertight else "no"),
        ("Size", _extents(facts)),
    ]
    items = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in pairs)
    notes = "".join(f"<li>{escape(note)}</li>" for note in facts.notes)
    return f"<dl class='pw-facts'>{items}</dl>" + (
        f"<ul class='pw-notes'>{notes}</ul>" if notes else ""
    )


def _faces(facts: MeshFacts) -> str:
    if facts.n_file_faces == facts.n_faces:
        return f"{facts.n_faces:,}"
    return f"{facts.n_file_faces:,} polygons, {facts.n_faces:,} triangles"


def _extents(facts: MeshFacts) -> str:
    unit = f" {facts.unit}" if facts.unit else ""
    return " × ".join(f"{length:.3g}" for length in facts.extents) + unit


def _bytes(count: int) -> str:
    return f"{count / MEGABYTE:.3g} MB" if count >= MEGABYTE else f"{count / 1024:.0f} kB"


def plan_html(
    session: Session, choice: EngineChoice, options: SegmentOptions, engines: Engines
) -> str:
    """One line before the run: which engine, why, how much work it is."""
    document = session.document
    ahead = None
    if choice.name == P3SAM:
        ahead = look_ahead(engines, options.p3sam, document.mesh_key if document else None)
    line = f"<strong>{escape(choice.title)}</strong> {_where(choice, ahead)}"
    if choice.reason:
        line += f" ({escape(choice.reason)})"
    if ahead is not None:
        line += f". {_neural_plan(ahead, options.p3sam, engines)}"
    elif document is not None:
        faces, working = document.source.facts.n_faces, options.geometric.working_faces
        line += (
            f". {faces:,} faces are simplified to {working:,} to find the cuts."
            if faces > working
            else f". All {faces:,} faces are used."
        )
    return f"<p class='pw-plan'>{line}</p>"


def _where(choice: EngineChoice, ahead: Outlook | None) -> str:
    if not choice.needs_gpu:
        return "on the CPU, no GPU memory needed"
    return "on the CPU" if ahead and ahead.plan and ahead.plan.is_on_host else "on the GPU"


def _neural_plan(ahead: Outlook, settings: P3SamSettings, engines: Engines) -> str:
    work = f"{settings.point_num:,} points, {settings.prompt_count:,} prompts"
    if not ahead.seconds:
        return f"{work}: the masks are kept from before, so only the faces are labelled anew."
    plan = ahead.plan
    if plan is None:
        memory = "the GPU tells its memory when the first model is loaded."
    elif not plan.fits:
        return f"{work}. <span role='alert'>{escape(plan_in_words(plan))}</span>"
    else:
        memory = f"{escape(plan_in_words(plan))}."
    is_known = engines.pace.is_measured(settings.precision) and not (plan and plan.is_on_host)
    basis = "by the last run here" if is_known else "assumed"
    return f"{work}: about {in_words(ahead.seconds)} ({basis}); {memory}"


def plan_problem_html(message: str) -> str:
    """The line in the plan's place when the settings cannot run."""
    return f"<p class='pw-plan' role='alert'>{escape(message)}</p>"


def note_html(message: str) -> str:
    """A line that says what was done."""
    return f"<p class='pw-plan' role='status'>{escape(message)}</p>"


def generate_plan_html(session: Session, prospect: Prospect) -> str:
    """One line before the run of Generate: which engine, why, what it does."""
    line = f"<strong>{escape(prospect.choice.title)}</strong> {escape(prospect.words)}"
    if prospect.problem:
        line += f' <span role="alert">{escape(prospect.problem)}</span>'
    if session.document is not None and session.document.is_completion_stale:
        line += " <strong>The parts or boxes were changed since the last run.</strong>"
    return f"<p class='pw-plan'>{line}</p>"
