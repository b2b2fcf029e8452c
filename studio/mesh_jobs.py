"""Jobs that programs start: from an uploaded file to a result that waits to be fetched.

Each job has a session of its own, runs in the same line as the page's jobs and by the same use
cases, and is followed by a thread. Free of gradio and of HTTP.
"""

import contextlib
import threading
import uuid
from collections.abc import Generator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from partwise.core.errors import BusyError, Cancelled
from partwise.core.progress import CancelToken, Progress, ProgressCallback, scaled
from studio import generate, load, results, segment
from studio.asked import GenerateChoice, request_of, set_boxes
from studio.catalog import AUTO, GENERATE, SEGMENT
from studio.document import Document
from studio.failure import text_of
from studio.jobs import Queued, follow_job
from studio.prospect import check_part_count
from studio.workflow import Studio
from studio.workspace import Session

KEPT_JOBS = 16
_READ, _CUT = 0.15, 0.6  # where reading and, before generating, segmenting end of the whole


class JobState(str, Enum):
    """Where a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELLING = "cancelling"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class MeshTask:
    """What a program asks for; `job` is "segment" or "generate".

    name: of the mesh file, by which its format is known. engine: of this job; before generating,
    the mesh is segmented by what "auto" chooses, or has the parts of `labels`, or of `boxes`.
    """

    job: str
    mesh: Path
    name: str
    options: segment.SegmentOptions
    engine: str = AUTO
    labels: Path | None = None
    boxes: Path | None = None
    making: GenerateChoice = field(default_factory=GenerateChoice)

    @property
    def result_kind(self) -> str:
        """Which of a document's results is this job's."""
        return results.COMPLETED if self.job == GENERATE else results.PARTS


class MeshJob:
    """One job and where it stands; safe between threads. Its result is with its session."""

    def __init__(self, task: MeshTask, session: Session) -> None:
        self.id = uuid.uuid4().hex
        self.task = task
        self.visit, self.capability = session.visit, session.capability
        self.cancel_token = session.start_job()
        self.step: Queued | Progress | None = None
        self.message = ""
        self.refusal: BusyError | None = None
        self._end: JobState | None = None
        self._is_placed = threading.Event()

    @property
    def state(self) -> JobState:
        """Where the job is now."""
        if self._end is not None:
            return self._end
        if self.cancel_token.is_cancelled:
            return JobState.CANCELLING
        return JobState.RUNNING if isinstance(self.step, Progress) else JobState.QUEUED

    @property
    def is_over(self) -> bool:
        """Whether nothing of it runs or waits any more."""
        return self._end is not None

    def note(self, step: Queued | Progress) -> None:
        """The job has got so far."""
        self.step = step
        self._is_placed.set()

    def explain(self, error: BaseException) -> JobState:
        """Keep in words why it ends, and return how; the error itself holds the mesh's arrays."""
        if isinstance(error, BusyError) and self.step is None:
            self.refusal = BusyError(error.message)
        self.message = text_of(error)
        return JobState.CANCELLED if isinstance(error, Cancelled) else JobState.FAILED

    def end(self, state: JobState) -> None:
        """It is over."""
        self._end = state
        self._is_placed.set()

    def wait_until_placed(self) -> None:
        """Return when it stands in the line, or is over."""
        self._is_placed.wait()


class MeshJobs:
    """The jobs of programs that run or wait, and the last `KEPT_JOBS` that are over.

    A result is removed when that many newer jobs are over, or by the janitor with its session.
    """

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._jobs: dict[str, MeshJob] = {}
        self._over: list[MeshJob] = []
        self._lock = threading.Lock()

    def open_session(self) -> Session:
        """A session for one job; `start` takes it over, else `close_session` removes it."""
        return self._studio.workspace.session_for(f"job-{uuid.uuid4().hex}")

    def close_session(self, session: Session) -> None:
        """Remove a session that no job took over."""
        self._studio.workspace.close_session(session.visit)

    def raise_if_full(self) -> None:
        """Raise `BusyError` when a job would find no place in the line now."""
        with self._studio.lane.place():
            return

    def start(self, task: MeshTask, session: Session) -> MeshJob:
        """Put a job in the line; raises `BusyError` when that is full, and nothing was started."""
        job = MeshJob(task, session)
        with self._lock:
            self._jobs[job.id] = job
        follower = threading.Thread(
            target=self._follow, args=(job, session), name="mesh-job", daemon=True
        )
        follower.start()
        job.wait_until_placed()
        if job.refusal is not None:
            self._forget(job)
            raise job.refusal
        return job

    def find(self, job_id: str) -> MeshJob | None:
        """The job of that id; None when there is none or its result was removed."""
        with self._lock:
            job = self._jobs.get(job_id)
        if job is None or job.state is not JobState.DONE or self.document_of(job) is not None:
            return job
        self._forget(job)
        return None

    def document_of(self, job: MeshJob) -> Document | None:
        """The result of a job that is done; None when it has none, or not any more."""
        session = self._studio.workspace.by_capability(job.capability)
        return session.document if session is not None else None

    def cancel(self, job: MeshJob) -> None:
        """Stop a job; one that is over is forgotten with its result."""
        job.cancel_token.cancel()
        if job.is_over:
            self._forget(job)

    def _follow(self, job: MeshJob, session: Session) -> None:
        end = JobState.DONE
        try:
            for step in self._steps(job, session):
                job.note(step)
        except BaseException as error:  # told to whoever asks for the job
            end = job.explain(error)
        self._settle(job, session, end)

    def _steps(self, job: MeshJob, session: Session) -> Generator[Queued | Progress, None, None]:
        def work(progress: ProgressCallback, cancel: CancelToken) -> Document:
            with self._studio.monitor.busy(job.task.job):
                return self._run(job.task, progress, cancel)

        session.document = yield from follow_job(self._studio.lane, work, job.cancel_token)

    def _run(self, task: MeshTask, progress: ProgressCallback, cancel: CancelToken) -> Document:
        document = load.run(
            task.mesh,
            task.name,
            pool=self._studio.pool,
            limits=self._studio.configuration.mesh,
            progress=scaled(progress, 0.0, _READ),
            cancel=cancel,
        )
        if task.job == SEGMENT:
            self._cut(task, document, scaled(progress, _READ, 1.0), cancel)
            return document
        if task.labels is not None:
            parts = load.read_labels(task.labels, document.source, name="The file of labels")
            document.set_segmentation(*parts)
        if task.boxes is not None:
            set_boxes(document, task.boxes, "The file of boxes")
        if document.parts is None:
            self._cut(task, document, scaled(progress, _READ, _CUT), cancel)
        self._close(task, document, scaled(progress, _CUT, 1.0), cancel)
        return document

    def _cut(
        self, task: MeshTask, document: Document, progress: ProgressCallback, cancel: CancelToken
    ) -> None:
        engine = task.engine if task.job == SEGMENT else AUTO
        request = segment.SegmentRequest(document.source, document.mesh_key, task.options, engine)
        result = segment.run(request, self._studio.engines, progress, cancel)
        document.set_segmentation(result.parts, result.run, result.tree)

    def _close(
        self, task: MeshTask, document: Document, progress: ProgressCallback, cancel: CancelToken
    ) -> None:
        options = task.making.options(self._studio.configuration)
        request = request_of(document, task.making, options, task.engine)
        check_part_count(self._studio.engines, task.engine, len(request.chosen_ids))
        result = generate.run(request, self._studio.engines, progress, cancel)
        document.set_completion(request.parts, result.completed, result.run)

    def _settle(self, job: MeshJob, session: Session, end: JobState) -> None:
        """Keep the result, nothing of a job without one; forget the oldest beyond the bound."""
        for path in (job.task.mesh, job.task.labels, job.task.boxes):
            if path is not None:
                with contextlib.suppress(OSError):  # it goes with its folder
                    path.unlink(missing_ok=True)
        if end is JobState.DONE:
            self._studio.workspace.session_for(session.visit)  # its time begins anew
        else:
            self.close_session(session)
        session.end_job()
        with self._lock:
            self._over.append(job)
            excess = self._over[:-KEPT_JOBS]
        job.end(end)
        for old in excess:
            self._forget(old)

    def _forget(self, job: MeshJob) -> None:
        self._studio.workspace.close_session(job.visit)
        with self._lock:
            self._jobs.pop(job.id, None)
            if job in self._over:
                self._over.remove(job)
