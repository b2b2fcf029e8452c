"""P3-SAM end to end: checkpoints with regenerated weights, few points.

The masks of such weights mean nothing; that everything runs, is shown and goes away again does.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from gradio_client import handle_file
from safetensors.torch import load_file

import cli
from benchmarks.common import open_mesh
from partwise.core.errors import AppError, Cancelled, WeightsError
from partwise.core.progress import CancelToken, Progress, ignore_progress
from partwise.p3sam import model
from partwise.p3sam.model import P3SAM as P3SAMModel
from partwise.p3sam.model import TINY
from partwise.vram.readings import ComponentState
from scripts import make_checkpoint
from studio.catalog import P3SAM
from studio.configuration import load_configuration
from studio.segment import P3SamChoice, SegmentRequest, options_for, run
from studio.ui import flows
from studio.workflow import Studio, build_studio
from tests.app.support import Server, served, stay_open, wait_until
from tests.app.visit import SEGMENT, Visit
from tests.tiers import slow

FEW = {"PARTWISE_P3SAM_POINT_NUM": "1500", "PARTWISE_P3SAM_PROMPT_NUM": "6"}
IDLE_UNLOAD_S = 4.0
OTHERS_BYTES = 2**25  # what other threads may take in the meantime


class TinyP3SAM(P3SAMModel):
    """The tiny network where the published one is asked for."""

    def __init__(self) -> None:
        super().__init__(TINY)


@pytest.fixture(scope="module", params=["tiny", slow("full")])
def weights_dir(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A folder with a checkpoint, and the application takes a network of its size."""
    folder = tmp_path_factory.mktemp("weights")
    is_tiny = request.param == "tiny"
    make_checkpoint.main([str(folder), *(["--tiny"] if is_tiny else [])])
    with pytest.MonkeyPatch.context() as patch:
        if is_tiny:
            patch.setattr(model, "P3SAM", TinyP3SAM)
        yield folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, weights_dir: Path) -> Iterator[Server]:
    """A server with weights, which unloads soon."""
    environment = {**FEW, "PARTWISE_VRAM_IDLE_UNLOAD_S": str(IDLE_UNLOAD_S)}
    with served(tmp_path_factory, environment, weights_dir=weights_dir) as running:
        yield running


def weight_bytes(folder: Path) -> int:
    """What the weights of a checkpoint take in memory."""
    (path,) = folder.rglob("*.safetensors")
    return sum(tensor.nbytes for tensor in load_file(path).values())


def is_loaded(studio: Studio) -> bool:
    return P3SAM in studio.manager.resident_weights()


@pytest.mark.browser
def test_the_page_runs_it_and_shows_the_weights_come_and_go(
    visit: Callable[..., Visit], studio: Studio, table_glb: Path
) -> None:
    page = visit()
    assert "P3-SAM" in page.page.locator("#header").inner_text()
    page.upload(table_glb)
    page.wait_for_state("ready")
    assert "1,500 points, 6 prompts" in page.page.locator("#plan").inner_text()
    models = page.page.locator("#memory-panel .pm-models")
    not_there = models.get_by_text("loads when it is needed")
    not_there.wait_for()
    page.press("segment")
    wait_until(lambda: is_loaded(studio), "the weights are there")
    not_there.wait_for(state="hidden")
    page.wait_for_state("done")
    report = json.loads(page.download("report", SEGMENT))
    assert report["engine"] == P3SAM
    wait_until(lambda: not is_loaded(studio), "the weights are gone")
    not_there.wait_for()


@pytest.mark.browser
def test_a_click_gives_masks_and_one_becomes_a_part_that_can_be_undone(
    visit: Callable[..., Visit], studio: Studio, bodies_glb: Path
) -> None:
    page = visit()
    page.upload(bodies_glb)
    page.wait_for_state("ready")
    viewer = page.page.locator(f"#{SEGMENT}")
    viewer.get_by_role("button", name="Point prompt").click()
    page.page.locator(f"#{SEGMENT} canvas").scroll_into_view_if_needed()
    box = page.page.locator(f"#{SEGMENT} canvas").bounding_box()
    assert box is not None
    page.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    masks = viewer.get_by_role("radio")
    masks.first.wait_for(timeout=60_000)
    assert masks.count() == 3
    page.edit("New part")
    assert [part["name"] for part in page.parts()] == ["Part 1"]
    page.edit("Undo")
    assert page.parts() == []
    assert studio.engines.encoded.total_bytes > 0


@pytest.mark.slow
@pytest.mark.browser
def test_the_line_before_the_run_follows_the_budget_as_it_is_set(
    visit: Callable[..., Visit], studio: Studio, bodies_glb: Path
) -> None:
    page = visit()
    page.upload(bodies_glb)
    page.wait_for_state("ready")
    line, budget = page.page.locator("#plan"), page.page.get_by_label("Budget, GiB")
    try:
        budget.fill("0.26")
        budget.press("Enter")
        line.get_by_text("does not fit in the memory").wait_for()
        budget.fill("")
        budget.press("Enter")
        line.get_by_text("its weights are here").wait_for()
    finally:
        studio.memory.control.set_budget(None)


def test_a_run_is_the_same_again_and_costs_no_network_the_second_time(
    studio: Studio, table_glb: Path
) -> None:
    document = open_mesh(studio, table_glb)
    options = options_for(studio.configuration, "preview", chosen=P3SamChoice(point_num=1400))
    request = SegmentRequest(document.source, document.mesh_key, options, P3SAM)
    first = run(request, studio.engines, ignore_progress, CancelToken())
    again = run(request, studio.engines, ignore_progress, CancelToken())
    assert np.array_equal(first.parts.face_labels, again.parts.face_labels)
    assert set(first.run.stage_seconds) == {"prepare", "load", "encode", "masks", "label"}
    assert set(again.run.stage_seconds) == {"label"}
    merged = options_for(
        studio.configuration,
        "preview",
        chosen=P3SamChoice(point_num=1400, is_post_processed=True),
    )
    other = replace(request, options=merged)
    assert set(run(other, studio.engines, ignore_progress, CancelToken()).run.stage_seconds) == {
        "label"
    }


def test_a_cancel_within_a_prompt_batch_leaves_everything_clean(
    studio: Studio, table_glb: Path
) -> None:
    document = open_mesh(studio, table_glb)
    cancel, heard = CancelToken(), []

    def stop_at_masks(step: Progress) -> None:
        if step.stage == "Predicting masks":
            heard.append(time.perf_counter())
            cancel.cancel()

    options = options_for(
        studio.configuration, "preview", chosen=P3SamChoice(point_num=9000, prompt_num=200)
    )
    request = SegmentRequest(document.source, document.mesh_key, options, P3SAM)
    with pytest.raises(Cancelled):
        run(request, studio.engines, stop_at_masks, cancel)
    assert len(heard) == 1
    status = next(c for c in studio.manager.get_status().components if c.name == P3SAM)
    assert status.lease_count == 0
    assert status.state is ComponentState.LOADED


def test_the_command_line_runs_it(
    server: Server,
    weights_dir: Path,
    table_glb: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(cli, "build_studio", lambda _: stay_open(server.studio))
    arguments = ["segment", str(table_glb), "-o", str(tmp_path), "--engine", P3SAM, "--quiet"]
    few = ["--points", "1300", "--prompts", "5", "--weights", str(weights_dir)]
    assert cli.main([*arguments, *few]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["engine"] == P3SAM
    assert report["settings"]["point_num"] == 1300
    assert len(np.load(tmp_path / "face_ids.npy")) == len(trimesh.load(table_glb).to_mesh().faces)


def test_programs_choose_points_and_prompts(server: Server, bodies_glb: Path) -> None:
    report, *_ = server.client().predict(
        handle_file(bodies_glb), engine=P3SAM, points=1200, prompts=4, api_name="/segment"
    )
    assert report["engine"] == P3SAM
    assert (report["settings"]["point_num"], report["settings"]["prompt_num"]) == (1200, 4)
    assert report["settings"]["seed"] == 42


def test_scripts_get_the_loaded_model(studio: Studio, weights_dir: Path) -> None:
    size = weight_bytes(weights_dir)
    model = studio.manager.get_p3sam_model()
    assert isinstance(model, P3SAMModel)
    assert model is studio.manager.get_p3sam_model()
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    assert sum(tensor.nbytes for tensor in model.parameters()) == size
    assert is_loaded(studio)
    report = studio.manager.unload_all_models()
    assert report.weight_bytes >= size
    assert report.before_bytes - report.after_bytes > 0.9 * size - OTHERS_BYTES


@pytest.mark.slow
def test_a_click_and_a_run_of_two_pages_wait_for_each_other(
    studio: Studio, table_glb: Path, bodies_glb: Path
) -> None:
    clicking, cutting = (studio.workspace.session_for(visit) for visit in ("clicks", "cuts"))
    for session, path in ((clicking, bodies_glb), (cutting, table_glb)):
        session.document = open_mesh(studio, path)
    options = options_for(studio.configuration, "preview", chosen=P3SamChoice(point_num=1700))
    run_of_one = flows.cut(studio, cutting, options, P3SAM)
    states = [next(run_of_one).state, next(run_of_one).state]
    steps = flows.ask_at(studio, clicking, (0.0, 0.0, 0.5), options)
    assert [next(steps).state, next(steps).state] == ["running", "queued"]
    with pytest.raises(AppError, match="still running"):
        next(flows.open_mesh(studio, clicking, table_glb, table_glb.name))
    states += [status.state for status in run_of_one]
    assert (states[0], states[-1]) == ("running", "done")
    assert [status.state for status in steps][-1] == "ready"
    masks = clicking.require_document().candidates
    assert masks is not None
    faces = len(clicking.require_document().source.faces)
    assert {mask.faces.shape for mask in masks.masks} == {(faces,)}
    assert cutting.require_document().candidates is None
    for visit in ("clicks", "cuts"):
        studio.workspace.close_session(visit)


def test_unloading_during_a_run_leaves_the_model_to_it(studio: Studio, table_glb: Path) -> None:
    document, reports = open_mesh(studio, table_glb), []

    def unload(step: Progress) -> None:
        if step.stage == "Predicting masks":
            reports.append(studio.manager.unload_all_models())

    options = options_for(studio.configuration, "preview", chosen=P3SamChoice(point_num=1800))
    request = SegmentRequest(document.source, document.mesh_key, options, P3SAM)
    assert "masks" in run(request, studio.engines, unload, CancelToken()).run.stage_seconds
    assert {report.in_use for report in reports} == {(P3SAM,)}
    assert {report.unloaded for report in reports} == {()}


def test_damaged_weights_end_in_a_clear_error_and_nothing_is_loaded(
    tmp_path_factory: pytest.TempPathFactory, table_glb: Path
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    (folder / "p3sam.safetensors").write_bytes(b"not a checkpoint")
    configuration = load_configuration(environment=FEW, overrides={"weights_dir": folder})
    studio = build_studio(configuration)
    try:
        document = open_mesh(studio, table_glb)
        options = options_for(configuration, "preview")
        request = SegmentRequest(document.source, document.mesh_key, options, P3SAM)
        with pytest.raises(WeightsError, match=r"p3sam\.safetensors"):
            run(request, studio.engines, ignore_progress, CancelToken())
        assert studio.manager.resident_weights() == {}
    finally:
        studio.close()
