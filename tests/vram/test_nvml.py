"""The driver's figures through the real NVML client, against a stand-in of its library in C."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from partwise.vram.nvml import choose_gpu

ROOT = Path(__file__).resolve().parents[2]
GIB = 2**30
NOT_SUPPORTED, NO_PERMISSION, NOT_LOADED, LOST, UNKNOWN = 3, 4, 9, 15, 999

# Reads once for each set of variables on standard input, letting some time pass in between.
READER = """
import dataclasses, json, os, sys
from partwise.vram.nvml import NvmlClient
now = [0.0]
steps, pause_s = json.load(sys.stdin)
os.environ.update(steps[0])
client = NvmlClient(clock=lambda: now[0])
answers = []
for step in steps:
    os.environ.update(step)
    answers.append(dataclasses.asdict(client.read()))
    now[0] += pause_s
client.close()
print(json.dumps(answers))
"""


@pytest.fixture(scope="session")
def stub_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.fail("these tests build a small C library; install gcc (apt-get install gcc)")
    folder = tmp_path_factory.mktemp("nvml")
    source = Path(__file__).with_name("nvml_stub.c")
    library = folder / "libnvidia-ml.so.1"
    command = [compiler, "-shared", "-fPIC", "-Wall", "-Werror", "-o", str(library), str(source)]
    subprocess.run(command, check=True)
    return folder


def read(folder: Path | None, *steps: dict[str, str], pause_s: float = 60) -> list[dict[str, Any]]:
    """One reading in a fresh process for each of `steps`, its environment variables."""
    environment = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}
    environment |= {"PYTHONPATH": str(ROOT), "LD_LIBRARY_PATH": str(folder) if folder else ""}
    done = subprocess.run(
        [sys.executable, "-c", READER],
        input=json.dumps([steps or [{}], pause_s]),
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def test_reads_a_gpu_and_tells_what_the_driver_keeps_for_itself(stub_folder: Path) -> None:
    [answer] = read(stub_folder)
    gpu = answer["gpu"]
    assert (answer["state"], gpu["name"], gpu["index"]) == ("ok", "Stub GPU 0", 0)
    assert answer["version"] == "550.54.14"
    assert (gpu["used_bytes"], gpu["reserved_bytes"]) == (10 * GIB, GIB // 2)
    assert gpu["used_bytes"] + gpu["free_bytes"] + gpu["reserved_bytes"] == gpu["total_bytes"]


def test_an_old_driver_is_read_the_old_way(stub_folder: Path) -> None:
    [answer] = read(stub_folder, {"STUB_V1_ONLY": "1"})
    assert answer["gpu"]["used_bytes"] + answer["gpu"]["free_bytes"] == 24 * GIB
    assert answer["gpu"]["reserved_bytes"] == 0


def test_two_gpus_the_first_is_in_use_and_the_other_listed(stub_folder: Path) -> None:
    [answer] = read(stub_folder, {"STUB_GPUS": "2"})
    assert answer["gpu"]["index"] == 0
    assert answer["others"] == [
        {"index": 1, "name": "Stub GPU 1", "total_bytes": 24 * GIB, "used_bytes": 2 * GIB}
    ]


@pytest.mark.parametrize("visible", ["1", "GPU-1123-stub", "GPU-11", "1,0"])
def test_the_gpu_that_cuda_may_see_is_the_one_in_use(stub_folder: Path, visible: str) -> None:
    [answer] = read(stub_folder, {"STUB_GPUS": "2", "CUDA_VISIBLE_DEVICES": visible})
    assert answer["gpu"]["index"] == 1
    assert [other["index"] for other in answer["others"]] == [0]


def test_a_slice_of_a_gpu_is_read_by_its_identifier(stub_folder: Path) -> None:
    [answer] = read(stub_folder, {"CUDA_VISIBLE_DEVICES": "MIG-77"})
    assert answer["gpu"]["uuid"] == "MIG-77"


@pytest.mark.parametrize("visible", ["", "-1", "7"])
def test_a_gpu_hidden_from_cuda_is_said_to_be_hidden(stub_folder: Path, visible: str) -> None:
    [answer] = read(stub_folder, {"CUDA_VISIBLE_DEVICES": visible})
    assert (answer["state"], answer["gpu"]) == ("not visible", None)
    assert "CUDA_VISIBLE_DEVICES" in answer["sentence"]


def test_no_gpu(stub_folder: Path) -> None:
    answers = read(stub_folder, {"STUB_GPUS": "0"}, {"STUB_INIT_ERROR": str(NOT_LOADED)})
    assert [answer["state"] for answer in answers] == ["no gpu", "no gpu"]
    assert "no GPU" in answers[0]["sentence"]


def test_library_missing() -> None:
    [answer] = read(None)
    if answer["state"] == "ok":
        pytest.skip("this machine has a real NVIDIA driver")
    assert (answer["state"], answer["gpu"]) == ("no library", None)
    assert "no NVIDIA driver" in answer["sentence"]


@pytest.mark.parametrize(
    ("code", "state", "words"),
    [
        (NOT_SUPPORTED, "not supported", "does not report"),
        (NO_PERMISSION, "no permission", "refuses"),
        (UNKNOWN, "failed", "error"),
    ],
)
def test_a_gpu_whose_memory_is_not_told(
    stub_folder: Path, code: int, state: str, words: str
) -> None:
    [answer] = read(stub_folder, {"STUB_MEMORY_ERROR": str(code)})
    assert (answer["state"], answer["gpu"]) == (state, None)
    assert words in answer["sentence"]


def test_a_lost_gpu_is_reported_and_found_again(stub_folder: Path) -> None:
    lost = {"STUB_MEMORY_ERROR": str(LOST)}
    answers = read(stub_folder, {"STUB_MEMORY_ERROR": "0"}, lost, lost, {"STUB_MEMORY_ERROR": "0"})
    assert [answer["state"] for answer in answers] == ["ok", "lost", "lost", "ok"]
    assert "lost" in answers[1]["sentence"]


def test_a_lost_gpu_is_asked_again_only_after_a_while(stub_folder: Path) -> None:
    lost, back = {"STUB_MEMORY_ERROR": str(LOST)}, {"STUB_MEMORY_ERROR": "0"}
    answers = read(stub_folder, lost, *[back] * 6, pause_s=0.25)
    states = [answer["state"] for answer in answers]
    assert states == ["lost"] * 4 + ["ok"] * 3


def test_this_process_is_found_among_the_others(stub_folder: Path) -> None:
    [answer] = read(stub_folder, {"STUB_PROCESSES": "own"})
    assert answer["gpu"]["process_bytes"] == 8 * GIB


@pytest.mark.parametrize(
    "hidden",
    [
        {"STUB_PROCESSES": "foreign"},
        {"STUB_PROCESSES": "unsized"},
        {"STUB_PROCESS_ERROR": str(NOT_SUPPORTED)},
        {"STUB_PROCESS_ERROR": str(NO_PERMISSION)},
    ],
)
def test_a_hidden_process_list_is_unknown_not_zero(
    stub_folder: Path, hidden: dict[str, str]
) -> None:
    [answer] = read(stub_folder, hidden)
    assert (answer["state"], answer["gpu"]["process_bytes"]) == ("ok", None)
    assert answer["gpu"]["used_bytes"] == 10 * GIB


PROCESS_READER = """
import dataclasses, json, os, sys
from partwise.vram.nvml import NvmlClient
own_pids, must_hold_own = json.load(sys.stdin)
client = NvmlClient()
found = client.processes(own_pids=[os.getpid(), *own_pids], must_hold_own=must_hold_own)
answer = None if found is None else [dataclasses.asdict(process) for process in found]
for process in answer or ():
    process["is_this"] = process.pop("pid") == os.getpid()
print(json.dumps(answer))
"""


def processes(
    folder: Path | None, step: dict[str, str], *own_pids: int, must_hold_own: bool = False
) -> list[dict[str, Any]] | None:
    """The process list in a fresh process; `is_this` tells that process from the others."""
    environment = {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"} | step
    environment |= {"PYTHONPATH": str(ROOT), "LD_LIBRARY_PATH": str(folder) if folder else ""}
    done = subprocess.run(
        [sys.executable, "-c", PROCESS_READER],
        input=json.dumps([own_pids, must_hold_own]),
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    answer: list[dict[str, Any]] | None = json.loads(done.stdout)
    return answer


def test_processes_are_listed_with_bytes_and_names_the_most_first(stub_folder: Path) -> None:
    own, other = processes(stub_folder, {"STUB_PROCESSES": "own"}, must_hold_own=True) or []
    assert (own["is_this"], own["is_ours"], own["used_bytes"]) == (True, True, 8 * GIB)
    assert "python" in own["name"]
    assert (other["is_ours"], other["used_bytes"]) == (False, 1 * GIB)
    assert other["name"] == "unknown program"  # nobody here has that number


def test_a_worker_counts_as_ours(stub_folder: Path) -> None:
    listed = processes(stub_folder, {"STUB_PROCESSES": "own"}, 4000002) or []
    assert [process["is_ours"] for process in listed] == [True, True]


def test_processes_of_unknown_size_are_listed_all_the_same(stub_folder: Path) -> None:
    listed = processes(stub_folder, {"STUB_PROCESSES": "unsized"}) or []
    assert {process["is_this"]: process["used_bytes"] for process in listed} == {
        True: None,
        False: GIB,
    }


def test_a_program_that_draws_and_computes_is_counted_once(stub_folder: Path) -> None:
    step = {"STUB_PROCESSES": "own", "STUB_GRAPHICS": "1"}
    listed = processes(stub_folder, step) or []
    assert [process["used_bytes"] for process in listed] == [8 * GIB, 2 * GIB, 1 * GIB]


@pytest.mark.parametrize(
    "step",
    [
        {"STUB_PROCESSES": "foreign"},  # numbers of another container
        {"STUB_PROCESSES": "", "STUB_USED_GIB": "10"},
        {"STUB_PROCESSES": "own", "STUB_PROCESS_ERROR": str(NOT_SUPPORTED)},
        {"STUB_PROCESSES": "own", "STUB_PROCESS_ERROR": str(NO_PERMISSION)},
        {"STUB_PROCESSES": "own", "STUB_MEMORY_ERROR": str(LOST)},
        {"STUB_GPUS": "0"},
    ],
)
def test_a_list_that_cannot_be_had_is_unknown_not_empty(
    stub_folder: Path, step: dict[str, str]
) -> None:
    assert processes(stub_folder, step) is None


def test_a_list_without_us_while_we_hold_memory_is_of_no_use(stub_folder: Path) -> None:
    step = {"STUB_USED_GIB": "0"}
    assert processes(stub_folder, step) == []
    assert processes(stub_folder, step, must_hold_own=True) is None


def test_without_a_driver_no_processes_are_known() -> None:
    if read(None)[0]["state"] == "ok":
        pytest.skip("this machine has a real NVIDIA driver")
    assert processes(None, {}) is None


def test_torch_knows_best_which_gpu_it_uses() -> None:
    uuids = ["GPU-a", "GPU-b"]
    choice = choose_gpu(uuids, "0", preferred_uuid="GPU-b")
    assert choice is not None
    assert choice.index == 1


def test_an_ambiguous_beginning_of_an_identifier_chooses_none() -> None:
    assert choose_gpu(["GPU-aa", "GPU-ab"], "GPU-a") is None
