"""The benchmark of X-Part on a GPU: its weights, its runs by strategy, what a failure leaves."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from benchmarks import gpu, gpu_rows, xpart_gpu
from benchmarks.common import Payload
from benchmarks.gpu_setting import CUDA, SIMULATED, Setting, open_example, running_studio
from benchmarks.xpart_gpu import asks, budgets_of, judge, largest_boxes, row_json, streamed_speed
from benchmarks.xpart_gpu_rates import matrix_rates, send_rate
from benchmarks.xpart_gpu_rows import Ask, StageFigures, XPartRow
from benchmarks.xpart_gpu_run import STRATEGIES, StepClock, Subject, run_xpart
from benchmarks.xpart_gpu_weights import RADIUS, is_there, require_room, write_weights
from partwise.core.errors import AppError
from partwise.core.progress import Progress
from partwise.xpart.config import TINY
from partwise.xpart.prepare import prepare_parts
from partwise.xpart.settings import XPartSettings
from scripts.make_checkpoint import main as make_checkpoint
from scripts.xpart_checkpoint import xpart_files
from studio.workflow import Studio

pytestmark = pytest.mark.slow
GIB = 2**30
HERE = Setting(SIMULATED)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    write_weights(folder, is_tiny=True)
    return folder


def row(strategy: str, budget: float | None, step_s: float, **given: object) -> XPartRow:
    """A run that denoised with steps of that length."""
    stage = StageFigures(1.0, 4e12, {"part_batch": 2}, 0, 0, None, None, step_s, 2e12)
    made = XPartRow(Ask(strategy, budget), "ran", stages={"sample": stage})
    return replace(made, **given)  # type: ignore[arg-type]


def test_the_set_is_the_public_one_but_for_the_ball(weights: Path, tmp_path: Path) -> None:
    assert make_checkpoint([str(tmp_path), "--tiny", "--model", "xpart"]) == 0
    changed = []
    for file in xpart_files(is_tiny=True):
        made, plain = (load_file(folder / file.name) for folder in (weights, tmp_path))
        assert set(made) == set(plain)
        changed += [key for key in made if not made[key].equal(plain[key])]
    assert changed
    assert all(key.startswith("geo_decoder.") for key in changed)
    assert is_there(weights, is_tiny=True)
    assert not is_there(weights, is_tiny=False)


def test_several_processes_write_the_same_files(weights: Path, tmp_path: Path) -> None:
    write_weights(tmp_path, is_tiny=True, processes=2)
    for file in xpart_files(is_tiny=True):
        assert (tmp_path / file.name).read_bytes() == (weights / file.name).read_bytes()


def test_a_disk_without_room_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AppError, match="--xpart-weights"):
        require_room(tmp_path, 10**18)


def test_a_step_is_the_median_of_those_in_the_middle() -> None:
    times = iter([0.0, 5.0, 6.0, 8.0, 9.0])
    clock = StepClock(lambda: next(times))
    clock(Progress("Shaping the parts", 0.0))
    for step in range(1, 6):
        for _ in range(2):  # several blocks to a step
            clock(Progress("Shaping the parts", 0.1, f"step {step} of 6"))
    assert clock.later_s == 1.0
    assert StepClock().later_s is None


def test_latents_are_compared_within_a_precision_and_within_the_same_batches() -> None:
    ones = np.ones((2, 3, 4), np.float32)
    first, other = row("A", None, 1.0, latents=ones), row("C", 8.0, 1.0, latents=ones + 0.5)
    exact = row("B", None, 1.0, latents=ones, ask=Ask("B", precision="fp32"))
    found = other.compared([exact, first])
    assert (found.difference, found.relative, found.twin_difference) == (0.5, 0.5, 0.5)
    assert other.compared([exact]).difference is None
    apart = replace(first.stages["sample"], knobs={"part_batch": 1})
    unlike = replace(other, stages={"sample": apart}).compared([first])
    assert (unlike.difference, unlike.twin_difference) == (0.5, None)


def test_streamed_steps_are_compared_with_resident_ones_of_the_same_budget() -> None:
    here = Setting(CUDA)
    rows = [row("A", None, 1.0), row("C", 8.0, 2.0)]
    assert streamed_speed(rows, here) == 0.5
    assert streamed_speed([*rows, row("B", 8.0, 1.8)], here) == 0.9
    assert streamed_speed(rows[:1], here) is None
    assert streamed_speed([*rows[:1], replace(rows[1], outcome="stopped")], here) is None


def test_a_stage_is_told_beside_the_rate_of_matrix_products() -> None:
    told = row_json(row("A", None, 0.5), {"bf16": 8.0})
    assert told["stages"]["sample"]["tflop_s"] == 4.0
    assert told["stages"]["sample"]["share_of_matrix_rate"] == 0.5
    assert row_json(row("A", None, 0.5), {})["stages"]["sample"]["share_of_matrix_rate"] is None


def test_a_budget_that_is_passed_misses_its_target() -> None:
    held = row("C", 8.0, 1.0, held_bytes=9 * GIB)
    found = judge([row("A", None, 1.0), held], HERE)
    assert found["held_of_budget"]["is_met"] is False
    assert found["nothing_left"]["is_met"] is True
    assert judge([replace(held, left_bytes=1)], HERE)["nothing_left"]["is_met"] is False
    assert judge([], HERE)["nothing_left"]["is_met"] is None


def test_every_strategy_runs_in_every_budget_that_the_card_has() -> None:
    asked = list(asks(budgets_of(Setting(CUDA)), 16.0))
    assert {(ask.strategy, ask.budget_gib) for ask in asked} == {
        *((name, None) for name in "BCD"),
        *((name, budget) for name in "ABCD" for budget in (4.0, 8.0, 12.0)),
    }
    assert asked[3].budget_gib == 8.0  # what speeds are compared in comes early


def test_the_card_is_asked_for_its_rates() -> None:
    rates = matrix_rates(HERE)
    assert min(rates["bf16"], rates["fp32"], send_rate(HERE)["value"]) > 0


def subject_of(studio: Studio, steps: int) -> Subject:
    """Two of the example's parts."""
    document = open_example(studio)
    source, settings = document.source, XPartSettings(steps=steps, octree_resolution=128)
    boxes = largest_boxes(document, 2)
    prepared = prepare_parts(source.vertices, source.faces, boxes, point_count=2048, seed=1)
    return Subject(prepared, settings, TINY, 1)


def test_each_strategy_is_run_as_it_is_named_and_leaves_nothing(weights: Path) -> None:
    rows: list[XPartRow] = []
    with running_studio(replace(HERE, xpart_weights=str(weights))) as studio:
        subject = subject_of(studio, 3)
        for name in STRATEGIES:
            rows.append(run_xpart(studio, subject, Ask(name, precision="fp32")).compared(rows))
        refused = run_xpart(studio, subject, Ask("A", budget_gib=0.25))
        faulty = run_xpart(studio, subject, Ask("A", precision="no such"))
    assert [each.outcome for each in rows] == ["ran"] * 4
    assert [each.plan.streaming for each in rows if each.plan] == ["", "", "blocks", "experts"]
    assert [each.plan.is_staged for each in rows if each.plan][:2] == [False, True]
    assert all(each.left_bytes == 0 and each.query_count > 0 for each in rows)
    assert all(each.difference is None or each.difference < 1e-5 for each in rows)
    assert all(stage.rate > 0 for each in rows for stage in each.stages.values())
    assert "MemoryBudgetError" in refused.outcome
    assert "no such" in faulty.outcome
    json.dumps([each.to_json() for each in (*rows, refused, faulty)])


def test_a_decoded_part_is_the_ball(weights: Path) -> None:
    with running_studio(replace(HERE, xpart_weights=str(weights))) as studio:
        found = run_xpart(studio, subject_of(studio, 3), Ask("B"))
    area = 4 * np.pi * RADIUS**2
    cells = area / (2.02 / 128) ** 2
    assert cells < found.query_count < 20 * cells


def test_without_weights_the_section_says_so() -> None:
    with pytest.raises(AppError, match="--xpart-weights"):
        xpart_gpu.measure_xpart(HERE)


def test_what_a_section_printed_before_its_end_is_kept() -> None:
    out = 'noise\n{"rows": [1]}\n{"rows": [1, 2]}\n{"rows": [1, 2, 3'
    assert gpu.so_far(out) == {"rows": [1, 2]}
    assert gpu.so_far("3\n") == gpu.so_far("") == {}


def test_sections_join_those_that_the_same_machine_has_measured(tmp_path: Path) -> None:
    def payload(machine: str, **sections: Payload) -> Payload:
        figures = {"device": SIMULATED, "is_quick": True, "sections": sections}
        return {"machine": machine, "gpu": figures}

    path = tmp_path / "m.json"
    path.write_text(json.dumps(payload("m", bars={"a": 1}, xpart={"a": 2})))
    new = payload("m", xpart={"a": 3})
    assert gpu.merged(new, path)["gpu"]["sections"] == {"bars": {"a": 1}, "xpart": {"a": 3}}
    assert gpu.merged(payload("other"), path) == payload("other")
    assert gpu.merged(new, tmp_path / "none.json") == gpu.merged(new, None) == new


def test_the_readme_has_rows_of_a_gpu_and_none_of_a_simulated_one() -> None:
    def told(strategy: str, budget: float | None, gib: float) -> Payload:
        stage = StageFigures(1.0, 4e12, {}, 0, 0, None, None, 0.25)
        stages = dict.fromkeys(("condition", "sample", "decode"), stage)
        made = row(strategy, budget, 0.25, held_bytes=round(gib * GIB), stages=stages)
        return row_json(made, {"bf16": 16.0})

    rows = [told("A", None, 16.0), told("A", 12.0, 9.5), told("C", 8.0, 4.7)]
    rows.append({**told("B", 4.0, 1.0), "outcome": "MemoryBudgetError: too little"})
    payload = {"gpu": {"device": CUDA, "sections": {"xpart": {"rows": rows}}}}
    cells = {label: read for label, read in gpu_rows.rows() if label.startswith("X-Part")}
    assert [read(payload) for read in cells.values()] == [
        "0.25 / 0.25 s",
        "9.5 / – / 4.7 / – GiB",
        "25 / 25 / 25 %",
    ]
    payload["gpu"]["device"] = SIMULATED
    for read in cells.values():
        with pytest.raises(KeyError):
            read(payload)
