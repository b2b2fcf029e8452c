"""The benchmark of the memory core: its figures, its sections, one cheap run without a GPU."""

import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import gpu, gpu_bars, gpu_peaks, gpu_setting
from benchmarks.common import Payload
from benchmarks.gpu_bars import Sample
from benchmarks.gpu_child import NEEDS_WEIGHTS, NEEDS_XPART, SECTIONS
from benchmarks.gpu_failures import CASES, SMALLER, Trigger
from benchmarks.gpu_setting import AT_LEAST, CUDA, SIMULATED, Setting, claim, figure, spread
from partwise.core.progress import Progress
from partwise.vram.attribution import device_shares, host_shares
from partwise.vram.readings import (
    AllocatorMemory,
    DeviceKind,
    DeviceReading,
    HostReading,
    MemoryReading,
)

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
GIB = 2**30
HERE = Setting(SIMULATED)


def reading(used: int, allocated: int, context: int) -> MemoryReading:
    device = DeviceReading(
        DeviceKind.CUDA,
        "Card",
        "",
        total_bytes=8 * GIB,
        used_bytes=used,
        free_bytes=8 * GIB - used,
        allocator=AllocatorMemory(allocated, allocated),
        context_bytes=context,
    )
    host = HostReading(8 * GIB, 4 * GIB, GIB, 0, 0, 0, 0)
    return MemoryReading(0.0, device, host, device_shares(device, {}), host_shares(host, {}))


@pytest.mark.parametrize(
    ("value", "sense", "is_met"),
    [
        (1.25, gpu_setting.AT_MOST, True),
        (1.2501, gpu_setting.AT_MOST, False),
        (1.25, AT_LEAST, True),
        (1.24, AT_LEAST, False),
        (None, AT_LEAST, None),
    ],
)
def test_a_figure_stands_beside_its_target(
    value: float | None, sense: str, is_met: bool | None
) -> None:
    found = figure(value, 1.25, sense)
    assert (found["is_met"], found["target"], found["sense"]) == (is_met, 1.25, sense)


def test_a_figure_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="nan"):
        figure(float("nan"), 1.0)
    with pytest.raises(ValueError, match="about"):
        figure(1.0, 1.0, "about")


def test_a_spread_of_nothing_has_no_figures() -> None:
    assert spread([]) == {"count": 0}
    assert spread([3.0, 1.0, 2.0]) == {
        "best": 1.0,
        "median": 2.0,
        "p95": 2.9,
        "largest": 3.0,
        "count": 3,
    }


def test_targets_are_found_however_deep_and_can_be_left_unjudged() -> None:
    figures = {"a": figure(1.0, 2.0), "runs": [{"b": figure(3.0, 2.0)}], "c": claim(None, "so")}
    assert {name: each["is_met"] for name, each in gpu.targets(figures)} == {
        "a": True,
        "runs 1 b": False,
        "c": None,
    }
    assert gpu.summary(figures) == (
        "1 of 3 targets met; 1 not judged; missed: runs 1 b 3.0 (at most 2.0)"
    )
    left = gpu.unjudged({"a": figure(1.0, 2.0), "n": {"b": figure(3.0, 2.0)}})
    assert [each["is_met"] for _, each in gpu.targets(left)] == [None, None]
    assert left["a"]["value"] == 1.0


def test_bars_that_add_up_are_off_by_nothing() -> None:
    sample = Sample(reading(3 * GIB, GIB, GIB // 2), GIB + GIB // 2, GIB + GIB // 2)
    found = gpu_bars.judge([sample, sample])
    assert found["steady_readings"] == 2
    for name in ("largest_sum_error", "largest_used_error", "largest_own_error"):
        assert found[name]["value"] == 0.0


def test_bars_that_miss_a_part_of_ours_miss_the_target() -> None:
    held, said = GIB + GIB // 2, 2 * GIB
    found = gpu_bars.judge([Sample(reading(3 * GIB, GIB, GIB // 2), said, said)])
    assert found["largest_own_error"] == figure((said - held) / said, 0.02, digits=6)
    assert found["largest_own_error"]["is_met"] is False


def test_readings_while_memory_moves_are_not_compared_with_ours() -> None:
    found = gpu_bars.judge([Sample(reading(3 * GIB, GIB, 0), GIB, 2 * GIB)])
    assert (found["readings"], found["steady_readings"]) == (1, 0)
    assert found["largest_own_error"]["is_met"] is None


def test_prediction_errors_are_judged_by_their_95th_percentile() -> None:
    rows: list[Payload] = [{"stage": "encode", "error": 0.01 * (-1) ** i} for i in range(39)]
    found = gpu_peaks.summarize([*rows, {"stage": "masks", "error": 0.5}], 20)
    assert found["p95_error"]["is_met"] is True
    assert found["by_stage"]["masks"]["largest"] == 0.5
    assert found["is_enough"]


@pytest.mark.parametrize("cases", [gpu_peaks.FULL, gpu_peaks.SMALL])
def test_peaks_are_compared_in_a_dozen_settings_of_meshes_that_are_there(
    cases: tuple[gpu_peaks.Case, ...],
) -> None:
    assert len(set(cases)) == len(cases) >= 12
    assert all((gpu_setting.EXAMPLES / f"{case.mesh}.glb").is_file() for case in cases)
    assert {case.precision for case in cases} == {"fp32", "bf16", "fp16"}
    assert len({case.point_num for case in cases}) >= 3
    assert len({case.prompt_batch for case in cases}) >= 3


def test_a_trigger_acts_once_and_at_its_stage_only() -> None:
    acts: list[str] = []
    trigger = Trigger("Predicting masks", lambda: acts.append("lowered"))
    trigger(Progress("Encoding the mesh", 0.5))
    assert not acts
    for share in (0.1, 0.2):
        trigger(Progress("Predicting masks", share))
    assert acts == ["lowered"]


def test_memory_runs_out_in_every_stage() -> None:
    assert {case.stage for case in CASES} == {"load", "encode", "masks", "click"}
    assert any(case.kind == SMALLER for case in CASES)


@pytest.mark.parametrize("name", SECTIONS)
def test_every_section_is_a_function_of_the_setting(name: str) -> None:
    module, _, function = SECTIONS[name].partition(":")
    signature = inspect.signature(getattr(importlib.import_module(module), function))
    assert list(signature.parameters) == ["setting"]


def test_sizes_without_a_gpu_are_small_and_are_the_presets_with_one() -> None:
    assert [size.name for size in gpu_setting.sizes(Setting(CUDA))] == ["balanced", "quality"]
    assert gpu_setting.sizes(HERE) == gpu_setting.sizes(Setting(CUDA, is_quick=True))


def test_a_section_that_fails_is_noted_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail_once(name: str, setting: Setting, limit_s: float) -> Payload:
        return {"error": "AppError: no luck"} if name == "machine" else {"b": figure(1.0, 2.0)}

    monkeypatch.setattr(gpu, "call", fail_once)
    out = tmp_path / "one.json"
    status = gpu.main(["--only", "machine", "--only", "sampler", "--out", str(out)])
    sections = json.loads(out.read_text())["gpu"]["sections"]
    assert status == 1
    assert sections["machine"]["error"] == "AppError: no luck"
    assert sections["sampler"]["b"]["is_met"] is True
    assert "machine: 0.0 s; failed: AppError: no luck" in capsys.readouterr().out


def test_the_fault_of_a_sections_process_is_its_last_word(
    capfd: pytest.CaptureFixture[str],
) -> None:
    found = gpu.call("no such section", HERE, 30.0)
    assert found == {"error": "KeyError: 'no such section'"}
    assert "Traceback" in capfd.readouterr().err


def test_a_section_is_ended_when_its_time_is_over() -> None:
    assert gpu.call("machine", HERE, 0.05) == {"error": "stopped: its 0 s were over"}
    assert "are over" in gpu.call("machine", HERE, 0.0)["error"]


def test_only_a_cheap_section_runs_through_without_a_gpu(tmp_path: Path) -> None:
    out = tmp_path / "machine.gpu.json"
    done = subprocess.run(
        [sys.executable, "benchmarks/gpu.py", "--only", "machine", "--out", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", "CUDA_VISIBLE_DEVICES": "", "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    payload = json.loads(out.read_text())
    figures = payload["gpu"]
    assert figures["device"] == SIMULATED
    assert "no GPU that torch can use" in done.stdout
    assert figures["means_nothing"].keys() == SECTIONS.keys()
    assert figures["sections"]["machine"]["context_mib"] == 448.0
    assert figures["sections"]["machine"]["versions"]["torch"]
    assert str(tmp_path) not in out.read_text()


def test_sections_with_a_model_need_the_weights() -> None:
    assert set(SECTIONS) - set(NEEDS_WEIGHTS) == {"machine", "sampler", *NEEDS_XPART}
