"""Many people at once: separate results, a fair line, and nothing left of what was cancelled."""

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from gradio_client import handle_file

from partwise.core.errors import AppError, BusyError, Cancelled
from studio.ui import flows
from studio.workflow import Studio
from studio.workspace import Session
from tests.app.support import (
    LINE_LENGTH,
    Server,
    bodies,
    is_due_soon,
    is_idle,
    options_of,
    session_folders,
    uploads,
    wait_until,
    write_glb,
)


def files_of(session: Session, kind: str = "parts") -> str:
    document = session.document
    assert document is not None
    return f"/partwise/files/{session.capability}/{kind}/{document.revision}"


def run(steps: flows.Steps[None]) -> None:
    for _ in steps:
        pass


@pytest.fixture
def opened(studio: Studio, bodies_glb: Path) -> Iterator[Session]:
    """A session with an open mesh."""
    session = studio.workspace.session_for("opened")
    run(flows.open_mesh(studio, session, bodies_glb, bodies_glb.name))
    yield session
    studio.workspace.close_session("opened")


def test_two_callers_at_once_get_their_own_results(server: Server, tmp_path: Path) -> None:
    def call(count: int) -> tuple[int, str]:
        path = write_glb(tmp_path / f"{count}.glb", bodies(count))
        report, _, face_ids, _ = server.client().predict(handle_file(path), api_name="/segment")
        return len(np.unique(np.load(face_ids))), report["source"]["name"]

    with ThreadPoolExecutor(2) as callers:
        assert list(callers.map(call, (2, 4))) == [(2, "2.glb"), (4, "4.glb")]


def test_the_same_file_at_the_same_time_is_two_uploads(server: Server, bodies_glb: Path) -> None:
    def call(_: int) -> str:
        report, *_ = server.client().predict(handle_file(bodies_glb), api_name="/segment")
        return str(report["source"]["sha256"])

    with ThreadPoolExecutor(3) as callers:
        assert len(set(callers.map(call, range(3)))) == 1


def test_a_link_serves_the_files_of_its_own_session_only(
    server: Server, studio: Studio, tmp_path: Path
) -> None:
    sessions = []
    for count in (1, 2):
        session = studio.workspace.session_for(f"visit {count}")
        path = write_glb(tmp_path / f"{count}.glb", bodies(count))
        run(flows.open_mesh(studio, session, path, path.name))
        run(flows.cut(studio, session, options_of(studio), "auto"))
        sessions.append(session)
    for count, session in enumerate(sessions, start=1):
        report = httpx.get(f"{server.url}{files_of(session)}/report.json").json()
        assert report["source"]["name"] == f"{count}.glb"
        assert len(report["parts"]) == count
    one, other = sessions
    mixed = files_of(one).replace(one.capability, other.folder.name)
    assert httpx.get(f"{server.url}{mixed}/report.json").status_code == 404
    for count in (1, 2):
        studio.workspace.close_session(f"visit {count}")
    assert httpx.get(f"{server.url}{files_of(one)}/report.json").status_code == 404


def test_twenty_queued_jobs_finish_or_are_told_that_the_line_is_full(
    server: Server, studio: Studio, opened: Session
) -> None:
    outcomes: list[str] = []

    def job(i: int) -> None:
        visit = f"queued {i}"
        session = studio.workspace.session_for(visit)
        session.document = opened.document
        try:
            run(cut(studio, session))
            outcomes.append("done")
        except BusyError as error:
            outcomes.append(error.message)
        finally:
            studio.workspace.close_session(visit)

    with studio.lane.place() as first:
        assert first.wait(1) is None
        threads = [threading.Thread(target=job, args=(i,)) for i in range(20)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(outcomes) == 20 - LINE_LENGTH, "the line is full")
        assert httpx.get(f"{server.url}/healthz").json()["waiting"] == LINE_LENGTH
    for thread in threads:
        thread.join(timeout=180)
    refusals = [outcome for outcome in outcomes if outcome != "done"]
    assert len(refusals) == 20 - LINE_LENGTH
    assert all("Nothing was started; try again" in refusal for refusal in refusals)


def cut(studio: Studio, session: Session) -> flows.Steps[None]:
    return flows.cut(studio, session, options_of(studio), "auto")


@pytest.mark.slow
def test_thirty_cancels_at_random_moments_leave_nothing(studio: Studio, opened: Session) -> None:
    moments, ends = random.Random(0), []
    usual_s = min(0.25, *(timed(cut(studio, opened)) for _ in range(2)))
    for i in range(30):
        timer = threading.Timer(moments.random() * usual_s, opened.cancel_job)
        steps = cut(studio, opened)
        timer.start()
        try:
            if i % 3:
                run(steps)
            else:
                close_after(steps, moments.random() * usual_s)
            ends.append("done")
        except Cancelled:
            ends.append("cancelled")
        timer.join()
        assert not studio.lane.is_taken
        assert not opened.is_busy
    assert ends.count("cancelled") >= 10
    wait_until(lambda: is_idle(studio), "the studio is idle")
    assert session_folders(studio) == [opened.folder]
    assert list(opened.folder.iterdir()) == []
    assert not [thread for thread in threading.enumerate() if thread.name == "job"]


def timed(steps: flows.Steps[None]) -> float:
    """The seconds that a job takes when nobody stops it."""
    started = time.monotonic()
    run(steps)
    return time.monotonic() - started


def close_after(steps: flows.Steps[None], seconds: float) -> None:
    """Leave a job as the web framework does: closing its generator at the next step."""
    deadline = time.monotonic() + seconds
    for _ in steps:
        if time.monotonic() > deadline:
            steps.close()
            return


@pytest.mark.slow
def test_cancelled_calls_leave_no_job_no_session_and_no_upload(
    server: Server, studio: Studio, table_glb: Path
) -> None:
    before, client, moments = set(uploads(studio)), server.client(), random.Random(1)
    for _ in range(6):
        job = client.submit(handle_file(table_glb), api_name="/segment")
        moment = time.monotonic() + moments.random()
        wait_until(lambda until=moment: time.monotonic() > until, "the moment has come")
        job.cancel()
    wait_until(lambda: is_idle(studio), "the studio is idle")
    wait_until(lambda: not session_folders(studio), "the sessions' folders are gone")
    wait_until(
        lambda: all(
            path.name != table_glb.name or is_due_soon(path)
            for path in set(uploads(studio)) - before
        ),
        "what was read is due to go",
    )


def test_a_caller_that_vanishes_in_line_does_not_block_the_others(
    server: Server, studio: Studio, table_glb: Path, opened: Session
) -> None:
    with studio.lane.place() as first:
        assert first.wait(1) is None
        vanish_in_line(server, studio, table_glb)
    run(cut(studio, opened))
    wait_until(lambda: is_idle(studio), "the line is empty again")


def vanish_in_line(server: Server, studio: Studio, mesh: Path) -> None:
    """Queue a call over plain HTTP, then close the connection without a word."""
    with httpx.Client(base_url=f"{server.url}/gradio_api", timeout=60) as caller:
        with mesh.open("rb") as file:
            (path,) = caller.post("/upload", files={"files": (mesh.name, file)}).json()
        given = {"path": path, "meta": {"_type": "gradio.FileData"}}
        data = [given, "preview", 0, 0.5, 0, "auto", None, None]
        event = caller.post("/call/segment", json={"data": data}).json()["event_id"]
        with caller.stream("GET", f"/call/segment/{event}") as answer:
            next(answer.iter_lines())
            wait_until(lambda: studio.lane.waiting_count == 1, "the call waits in line")


def test_a_second_job_of_the_same_page_is_refused_and_the_first_goes_on(
    studio: Studio, opened: Session
) -> None:
    first = cut(studio, opened)
    next(first)
    with pytest.raises(AppError, match="still running"):
        next(cut(studio, opened))
    run(first)
    assert opened.document is not None
    assert opened.document.parts is not None


def test_a_page_that_is_left_stops_its_job(studio: Studio, opened: Session) -> None:
    steps = cut(studio, opened)
    next(steps)
    studio.workspace.abandon("opened")
    with pytest.raises(Cancelled):
        run(steps)
