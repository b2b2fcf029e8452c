"""The HTTP routes for programs: start a job on a mesh, follow it, fetch its files; memory.

A request is answered before its job is done, with the job's id. What blocks runs on a thread.
"""

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from partwise.core.errors import AppError, BusyError
from partwise.core.progress import Progress
from partwise.vram.export import status_payload
from partwise.vram.tools import clean_up
from studio import results
from studio.access import api_denial
from studio.catalog import GENERATE, SEGMENT
from studio.file_response import file_response
from studio.jobs import Queued
from studio.mesh_jobs import JobState, MeshJob, MeshJobs
from studio.mesh_recut import RecutRequest, answer_recut, receive_recut
from studio.mesh_upload import TooLarge, Upload
from studio.servers import CLEAR_MEMORY, MEMORY_STATUS
from studio.workflow import Studio

RETRY_AFTER_S = 30
Handler = Callable[[Request], Awaitable[Response]]


class _NotFound(AppError):
    """There is no such job or file."""


def mesh_routes(studio: Studio, control_token: str = "") -> list[BaseRoute]:
    """The routes for programs; `control_token` opens those about memory as well."""
    serve, guarded, control = _MeshApi(studio), _Guard(studio), _Guard(studio, control_token)
    return [
        Route("/api/mesh/segment", guarded(serve.segment), methods=["POST"]),
        Route("/api/mesh/generate", guarded(serve.generate), methods=["POST"]),
        Route("/api/mesh/recut", guarded(serve.recut), methods=["POST"]),
        Route("/api/jobs/{id}", guarded(serve.job), methods=["GET"]),
        Route("/api/jobs/{id}", guarded(serve.cancel), methods=["DELETE"]),
        Route("/api/jobs/{id}/files/{name}", guarded(serve.file), methods=["GET"]),
        Route(MEMORY_STATUS, control(serve.memory), methods=["GET"]),
        Route(CLEAR_MEMORY, control(serve.clear), methods=["POST"]),
    ]


class _Guard:
    """Lets in who may come in, and tells failures as JSON with the sentence for people."""

    def __init__(self, studio: Studio, control_token: str = "") -> None:
        self._configuration = studio.configuration
        self._control_token = control_token

    def __call__(self, handler: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            client = request.client.host if request.client else ""
            denial = api_denial(self._configuration, client, request.headers, self._control_token)
            if denial is not None:
                bearer = {"WWW-Authenticate": "Bearer"} if denial.status == 401 else {}
                return _error(denial.status, denial.sentence, bearer)
            try:
                return await handler(request)
            except AppError as err:
                retry = {"Retry-After": str(RETRY_AFTER_S)} if isinstance(err, BusyError) else {}
                return _error(_status_of(err), err.message, retry)

        return handle


def _status_of(error: AppError) -> int:
    if isinstance(error, BusyError):
        return 429
    if isinstance(error, TooLarge):
        return 413
    return 404 if isinstance(error, _NotFound) else 400


def _error(status: int, sentence: str, headers: Mapping[str, str]) -> Response:
    return JSONResponse({"error": sentence}, status_code=status, headers=headers)


class _MeshApi:
    """What the routes do."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._jobs = MeshJobs(studio)

    async def segment(self, request: Request) -> Response:
        """Start cutting a mesh into parts."""
        return await self._start(request, SEGMENT)

    async def generate(self, request: Request) -> Response:
        """Start making each part a closed mesh."""
        return await self._start(request, GENERATE)

    async def recut(self, request: Request) -> Response:
        """Cut the mesh of a finished segmentation into fewer or more parts, at once."""
        wanted = await receive_recut(request)
        job = self._found(wanted.job_id)
        answer = await run_in_threadpool(self._recut, job, wanted)
        return JSONResponse({"job_id": job.id, **answer})

    async def job(self, request: Request) -> Response:
        """Where a job stands."""
        job = self._find(request)
        payload = await run_in_threadpool(_payload, job, self._jobs)
        return JSONResponse(payload)

    async def cancel(self, request: Request) -> Response:
        """Stop a job; remove one that is over, with its result."""
        job = self._find(request)
        state = "removed" if job.is_over else JobState.CANCELLING.value
        await run_in_threadpool(self._jobs.cancel, job)
        return JSONResponse({"job_id": job.id, "state": state})

    async def file(self, request: Request) -> Response:
        """A file of a job's result."""
        job, name = self._find(request), request.path_params["name"]
        state = job.state  # before its result is looked for, which comes first
        document = self._jobs.document_of(job)
        if state is not JobState.DONE or document is None:
            raise _NotFound(f"This job has no files: it is {state.value}.")
        kind = job.task.result_kind
        if name not in results.downloads(document, kind):
            raise _NotFound("There is no such file. The job's status names those that there are.")
        content = await run_in_threadpool(results.download, document, kind, name)
        return file_response(content, name)

    async def memory(self, _: Request) -> Response:
        """What holds the memory now, and which models are loaded or why they are not."""
        return JSONResponse(await run_in_threadpool(self._memory))

    async def clear(self, _: Request) -> Response:
        """Unload the models that nobody uses and give back what is free."""
        return JSONResponse(await run_in_threadpool(self._clear))

    def _memory(self) -> dict[str, object]:
        reading = self._studio.monitor.sample_now()
        payload = status_payload(reading, self._studio.manager.get_status())
        control = self._studio.engines.memory.control
        plan = control.last_plan()
        return {
            "process": os.getpid(),
            **payload,
            "plan": None if plan is None else asdict(plan),
            "preferences": asdict(control.preferences()),
        }

    def _clear(self) -> dict[str, object]:
        before = self._studio.monitor.sample_now()
        report = self._studio.manager.unload_all_models()
        cleaned = clean_up(self._studio.engines.memory.device)
        after = self._studio.monitor.sample_now()
        return {
            "unloaded": report.unloaded,
            "in_use": report.in_use,
            "weight_bytes": report.weight_bytes,
            "before_bytes": before.held_bytes,
            "after_bytes": after.held_bytes,
            "free_before_bytes": before.device.free_bytes,
            "free_after_bytes": after.device.free_bytes,
            "collected_count": cleaned.collected_count,
            "elapsed_s": report.elapsed_s + cleaned.elapsed_s,
        }

    def _recut(self, job: MeshJob, wanted: RecutRequest) -> Mapping[str, Any]:
        document = self._jobs.document_of(job)
        if job.state is not JobState.DONE or document is None:
            raise AppError(f"This job has no parts to cut: it is {job.state.value}.")
        if job.task.job != SEGMENT:
            raise AppError("This job made closed parts. Recut a job of /api/mesh/segment.")
        return answer_recut(document, wanted)

    def _find(self, request: Request) -> MeshJob:
        return self._found(request.path_params["id"])

    def _found(self, job_id: str) -> MeshJob:
        job = self._jobs.find(job_id)
        if job is None:
            raise _NotFound("There is no such job: its result was removed, or it never was.")
        return job

    async def _start(self, request: Request, kind: str) -> Response:
        self._jobs.raise_if_full()
        session = await run_in_threadpool(self._jobs.open_session)
        try:
            upload = Upload(kind, session.folder, self._studio.configuration, self._studio.engines)
            task = await upload.receive(request)
            job = await run_in_threadpool(self._jobs.start, task, session)
        except BaseException:  # also when the client has gone away
            self._jobs.close_session(session)
            raise
        url = _url(job)
        accepted = {"job_id": job.id, "status_url": url}
        return JSONResponse(accepted, status_code=202, headers={"Location": url})


def _url(job: MeshJob) -> str:
    return f"/api/jobs/{job.id}"


def _payload(job: MeshJob, jobs: MeshJobs) -> dict[str, Any]:
    """What is told of a job: its state, and what belongs to that state."""
    state, step = job.state, job.step
    told: dict[str, Any] = {"job_id": job.id, "job": job.task.job, "state": state.value}
    if state is JobState.QUEUED and isinstance(step, Queued):
        return {**told, "position": step.position, "waiting": step.waiting}
    if state is JobState.RUNNING and isinstance(step, Progress):
        return {**told, "stage": step.stage, "detail": step.detail, "fraction": step.fraction}
    if state in (JobState.FAILED, JobState.CANCELLED):
        return {**told, "message": job.message}
    document = jobs.document_of(job) if state is JobState.DONE else None
    if document is not None:
        kind = job.task.result_kind
        names = results.downloads(document, kind)
        files = {name: f"{_url(job)}/files/{quote(name)}" for name in names}
        return {**told, "report": results.report(document, kind), "files": files}
    return told
