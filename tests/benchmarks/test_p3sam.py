"""The benchmark of P3-SAM: what it measures with, its rows of the README, one tiny run."""

import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import p3sam, p3sam_gpu, p3sam_memory, p3sam_phases, readme
from benchmarks.common import Payload
from benchmarks.loading import LoadFigures
from benchmarks.p3sam_child import CPU, CUDA, call
from benchmarks.p3sam_memory import LiveTensors
from benchmarks.p3sam_phases import alternate, direct_batch, summary
from benchmarks.p3sam_subject import ball_masks, figure_mesh, is_regenerated
from partwise.core.errors import AppError
from partwise.p3sam.faces import label_faces
from partwise.p3sam.model import P3SAM
from partwise.p3sam.prepare import prepare_mesh
from partwise.p3sam.settings import P3SamSettings
from tests.p3sam_support import tiny_model

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
SIZE = {"weights": "unused", "point_num": 600, "prompt_num": 5, "face_count": 500}


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> P3SAM:
    """The tiny model in place of the full-size checkpoint."""
    for module in (p3sam_phases, p3sam_memory, p3sam_gpu):
        monkeypatch.setattr(module, "load_model", lambda weights, device: tiny_model())
    return tiny_model()


def test_variants_take_turns_and_the_smallest_run_counts() -> None:
    calls: list[str] = []
    seconds = alternate({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3)
    assert calls == ["a", "b"] * 3
    assert [len(runs) for runs in seconds.values()] == [3, 3]
    assert summary([4.0, 2.0, 3.0], 2) == {"s": 1.0, "runs_s": [2.0, 1.0, 1.5]}


@pytest.mark.parametrize(("points", "prompts"), [(100_000, 1), (30_000, 4), (1_000_000, 1)])
def test_the_unsplit_evaluation_gets_what_fits_in_two_gigabytes(points: int, prompts: int) -> None:
    assert direct_batch(points) == prompts


def test_live_tensors_count_what_operators_made_and_still_holds() -> None:
    given = torch.zeros(1000)
    with LiveTensors() as tensors:
        made = given + 1  # 4000 bytes
        view = made[:10]
        given.view(10, 100)
        assert tensors.live_bytes == 4000
        del made
        assert tensors.live_bytes == 4000, "a view still holds them"
        del view
        assert tensors.live_bytes == 0
        torch.add(given, 1, out=given)
        (given + 1).double()  # 4000 and 8000 at once
    assert tensors.live_bytes == 0
    assert tensors.peak_bytes == 12_000


def test_live_tensors_see_into_inference_mode() -> None:
    with LiveTensors() as tensors, torch.inference_mode():
        torch.zeros(100).add(1)
    assert tensors.peak_bytes == 800


def test_ball_masks_become_several_parts_like_a_trained_models() -> None:
    settings = P3SamSettings(point_num=4000, prompt_num=120)
    prepared = prepare_mesh(*figure_mesh(3_000), settings=settings)
    found = ball_masks(prepared.points, prepared.prompts)
    assert found.masks.shape == (120, 4000)
    assert found.masks.any(axis=1).all()
    labelling = label_faces(prepared, found.masks, found.ious, settings=settings)
    assert len(labelling.part_ids) > 3
    assert len(labelling.points.leaders) > len(labelling.points.kept) > 3


def test_regenerated_weights_are_told_from_others() -> None:
    model = tiny_model()
    assert is_regenerated(model)
    other = P3SAM(model.config)
    assert not is_regenerated(other)


def test_phases_have_seconds_ratios_and_agree_with_the_direct_evaluation(tiny: P3SAM) -> None:
    figures = p3sam_phases.measure(**SIZE, timed_prompts=3, rounds=2)
    heads = figures["heads"]
    for precision in ("fp32", "bf16"):
        each = heads[precision]
        assert len(each["runs_s"]) == 2
        assert each["of_direct"] == pytest.approx(each["s"] / heads["direct"]["s"], abs=2e-2)
        assert each["computed_total_s"] == pytest.approx(5 * each["s"], abs=0.1)
    assert heads["agreement"]["fp32_with_direct"]["equal_mask_bits"] > 0.999
    assert heads["agreement"]["fp32_with_direct"]["largest_iou_difference"] < 1e-5
    assert heads["agreement"]["bf16_with_fp32"]["largest_iou_difference"] < 2e-2
    assert figures["post_processing"]["masks"] == 5
    assert 0 < figures["voxels"] <= figures["points"] == 600


def test_the_heads_scratch_does_not_grow_with_further_batches(tiny: P3SAM) -> None:
    size = SIZE | {"precision": "fp32"}
    one_batch = p3sam_memory.measure(**size | {"prompt_num": 32})
    three = p3sam_memory.measure(**size | {"prompt_num": 96})
    scratch = [run["phases"]["heads"]["made_peak_mib"] for run in (one_batch, three)]
    assert scratch[1] == pytest.approx(scratch[0], rel=0.02)
    assert scratch[0] > 0.1
    assert three["tensors_on_meta"] == 0
    assert all(phase["process_peak_mib"] > 50 for phase in three["phases"].values())


def test_an_unsplit_evaluation_takes_thousands_of_bytes_a_pair(tiny: P3SAM) -> None:
    found = p3sam_memory.measure_direct("unused", 600, 500)
    assert 10_000 < found["bytes_a_pair"] < found["published_bytes_a_pair"]


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Payload:
    """A GPU of 6 GiB played by the CPU: what the script asks of torch, and what it set."""
    asked: Payload = {"fraction": None, "peak": 0}

    class Card:
        name, total_memory = "Card", 6 * 2**30

    def peak() -> int:
        asked["peak"] += 2**20
        return int(asked["peak"])

    fakes = {
        "get_device_properties": lambda index: Card,
        "set_per_process_memory_fraction": lambda share: asked.update(fraction=share),
        "synchronize": lambda: None,
        "reset_peak_memory_stats": lambda: None,
        "max_memory_allocated": peak,
        "max_memory_reserved": peak,
        "is_available": lambda: True,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    return asked


def measure_on_card(folder: Path, budget_gib: float | None) -> Payload:
    common = SIZE | {"judged": 2, "reference": str(folder / "reference.npz")}
    p3sam_gpu.write_reference(**common)
    return p3sam_gpu.measure(**common, budget_gib=budget_gib, precision="fp32")


def test_a_run_under_a_budget_tells_peaks_and_agreement(
    tiny: P3SAM, card: Payload, tmp_path: Path
) -> None:
    figures = measure_on_card(tmp_path, 3)
    assert card["fraction"] == 0.5
    assert figures["outcome"] == "ran"
    assert figures["agreement_with_cpu"]["equal_mask_bits"] == 1
    assert figures["agreement_with_cpu"]["largest_feature_difference"] == 0
    peaks = [phase["reserved_mib"] for phase in figures["phases"].values()]
    assert figures["peak_reserved_mib"] == max(peaks) == peaks[-1]


def test_out_of_memory_under_a_budget_is_a_row_in_words(
    tiny: P3SAM, card: Payload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. More.")

    monkeypatch.setattr(p3sam_gpu, "predict_masks", refuse)
    figures = measure_on_card(tmp_path, 2)
    assert figures["outcome"] == (
        "out of memory after load, encode first, encode: "
        "CUDA out of memory. Tried to allocate 2 GiB"
    )
    assert figures["peak_reserved_mib"] > 0


def test_a_budget_beyond_the_card_is_not_run(tiny: P3SAM, card: Payload, tmp_path: Path) -> None:
    assert measure_on_card(tmp_path, 8)["outcome"] == "not run: the GPU has 6.0 GiB"
    assert card["fraction"] is None


def test_a_refusal_in_the_child_is_the_callers_error() -> None:
    with pytest.raises(AppError, match=r"sees no GPU here\. Leave out --device cuda"):
        call("benchmarks.p3sam_gpu:describe", device=CPU)


def test_a_fault_in_the_child_is_not_swallowed(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        call("benchmarks.p3sam_gpu:describe", device=CPU, unknown=1)
    assert "unexpected keyword argument 'unknown'" in capfd.readouterr().err


def run_script(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "benchmarks/p3sam.py", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_folder_without_the_weights_is_refused_with_what_to_do(tmp_path: Path) -> None:
    done = run_script("--quick", "--weights", str(tmp_path), "--results", str(tmp_path))
    assert done.returncode == 1
    assert "has no p3sam/p3sam.safetensors" in done.stdout
    assert "scripts.make_checkpoint" in done.stdout
    assert not list(tmp_path.iterdir())


def test_long_runs_wait_for_whole_or_a_gpu(tmp_path: Path) -> None:
    def is_due(points: int, prompts: int, **options: object) -> bool:
        given = {"sizes": p3sam.FULL, "weights": tmp_path, "device": CPU, "is_whole": False}
        return p3sam.Task(**given | options).is_due(points, prompts)  # type: ignore[arg-type]

    assert is_due(100_000, 32)
    assert is_due(30_000, 400)
    assert not is_due(100_000, 400)
    assert is_due(100_000, 400, is_whole=True)
    assert is_due(100_000, 400, device="cuda")


@pytest.mark.parametrize("device", [CPU, CUDA])
def test_every_measurement_is_called_with_what_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    called: list[tuple[str, str, Payload]] = []

    def note(target: str, *, device: str, **arguments: object) -> Payload:
        module, _, function = target.partition(":")
        inspect.signature(getattr(importlib.import_module(module), function)).bind(**arguments)
        called.append((function, device, arguments))
        return {}

    monkeypatch.setattr(p3sam, "call", note)
    monkeypatch.setattr(p3sam, "measure_load", lambda *_, **__: LoadFigures(1.0, 0.5, 100, 104))
    task = p3sam.Task(p3sam.FULL, tmp_path / "p3sam" / "p3sam.safetensors", device, is_whole=False)
    figures = dict(p3sam.measure(task))

    assert figures["loading"]["growth_to_weights"] == 1.04
    budgets = [given["budget_gib"] for *_, given in called if "budget_gib" in given]
    assert budgets == ([] if device == CPU else [2, 2, 4, 4, 8, 8, None, None])
    presets = [given["preset"] for *_, given in called if "preset" in given]
    assert ("quality" in presets) == (device == CUDA)
    assert {where for function, where, _ in called if function == "write_reference"} <= {CPU}


def result(**figures: object) -> Payload:
    return {
        "machine": "2 cores",
        "is_shared": True,
        "date": "2026-01-31",
        "python": "3.11.7",
        "matrix_units": ["avx512_bf16"],
        "p3sam": {"published": p3sam.PUBLISHED, "phases": phases(), **figures},
    }


def phases() -> Payload:
    each = {
        "prompts": 400,
        "faces": 20_100,
        "is_regenerated": True,
        "prepare": {"s": 0.51},
        "encode_with_upcast": {"fp32": {"s": 4.51}, "bf16": {"s": 2.7}},
        "heads": {
            "direct": {"s": 4.0},
            "fp32": {"s": 1.0, "of_direct": 0.25, "computed_total_s": 400.0},
            "bf16": {"s": 0.5, "of_direct": 0.125, "computed_total_s": 200.0},
        },
        "post_processing": {"masks": 400, "connected": {"s": 1.2}},
    }
    return {"100000": each, "30000": each}


def memory_run(prompts: int, scratch_mib: float) -> Payload:
    heads = {"made_peak_mib": scratch_mib}
    return {
        "points": 100_000,
        "prompts": prompts,
        "precision": "fp32",
        "peak_mib": 1536.0,
        "phases": {"heads": heads},
    }


def budget_run(budget_gib: float | None, outcome: str) -> Payload:
    seconds = {name: {"s": 1.0} for name in ("load", "encode", "heads")}
    return {
        "budget_gib": budget_gib,
        "precision": "fp32",
        "outcome": outcome,
        "phases": seconds,
        "peak_reserved_mib": 2048.0,
        "agreement_with_cpu": {"equal_mask_bits": 0.999912},
    }


def table_of(folder: Path, payload: Payload) -> str:
    step = {"s": 1.25, "peak_mib": 512.0}
    engines = {"20000": {"load": step, "segment": step, "complete": step}}
    app = {key: value for key, value in payload.items() if key != "p3sam"} | {"engines": engines}
    (folder / "a.json").write_text(json.dumps(app))
    (folder / "a.p3sam.json").write_text(json.dumps(payload))
    (folder / "a.p3sam.quick.json").write_text(json.dumps(payload | {"machine": "quick"}))
    return readme.table(folder)


def test_p3sam_has_a_table_of_its_own_under_the_applications(tmp_path: Path) -> None:
    runs = [memory_run(1, 80.0), memory_run(32, 120.4)]
    text = table_of(tmp_path, result(memory={"runs": runs}))
    rows = text.splitlines()
    assert rows.count("| | 2 cores |") == 2
    assert "quick" not in text
    assert "| encode, 100 000 / 30 000 points | 4.5 / 4.5 s (bf16 2.7 / 2.7 s) |" in rows
    assert (
        "| heads, a prompt, 100 000 points: fp32 / bf16 | "
        "1.00 / 0.50 s (0.25 / 0.12 of an unsplit 4.00 s) |"
    ) in rows
    assert "| heads' scratch, 100 000 points: 1 / 32 / 400 prompts | 80 / 120 / – MiB |" in rows
    assert "| peak of the process, 100 000 points | 1.5 GiB (32 prompts) |" in rows
    assert any("6.7 min / 3.3 min for 400" in row for row in rows)


def test_published_figures_stand_in_a_note_and_name_the_other_machine(tmp_path: Path) -> None:
    rows = table_of(tmp_path, result()).splitlines()
    (note,) = [row for row in rows if "28.5" in row]
    assert not note.startswith("|")
    assert "published implementation, another machine" in note
    assert "regenerated weights" in note


def test_rows_that_nobody_measured_are_left_out(tmp_path: Path) -> None:
    assert "not measured" not in table_of(tmp_path, result()).partition("heads, a prompt")[2]


@pytest.mark.parametrize(
    ("outcome", "cell"),
    [
        ("ran", "fp32: 3.0 s, 2.0 GiB reserved, 99.9912% of the CPU's mask bits"),
        ("out of memory after load: no", "fp32: out of memory after load: no"),
    ],
)
def test_a_budgets_cell_is_figures_or_the_reason(tmp_path: Path, outcome: str, cell: str) -> None:
    runs = [budget_run(None, outcome)]
    rows = table_of(tmp_path, result(budgets={"runs": runs})).splitlines()
    assert f"| GPU, no budget, 100 000 points | {cell} |" in rows


@pytest.mark.slow
def test_a_quick_run_takes_every_group_of_figures_at_full_width(tmp_path: Path) -> None:
    done = run_script("--quick", "--machine", "A 1", "--results", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.glob("*.json")
    payload = json.loads(file.read_text())
    figures = payload["p3sam"]
    assert file.name == "a-1.p3sam.quick.json"
    assert figures["weight_bytes"] == 450_914_596
    assert figures["phases"]["1000"]["is_regenerated"]
    assert all(run["tensors_on_meta"] == 0 for run in figures["memory"]["runs"])
    assert figures["presets"]["preview"]["fp32"]["stages_s"].keys() >= {"prepare", "load", "label"}
    assert figures["loading"]["growth_to_weights"] < 1.1
    assert str(tmp_path) not in file.read_text()
