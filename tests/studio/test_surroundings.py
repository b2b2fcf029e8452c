"""What a running server says comes back as it was; what is no answer is told in words."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from partwise.core.errors import EngineError
from partwise.vram.export import status_payload
from partwise.vram.plan import Ladder, Preferences
from partwise.vram.readings import (
    AllocatorMemory,
    DriverState,
    Fragmentation,
    GpuProcess,
    MemoryReading,
    OtherGpu,
)
from studio import surroundings
from studio.servers import Server
from studio.surroundings import (
    SeenServer,
    allocator_conflicts,
    clear_memory,
    look_around,
    memory_of,
)
from tests.studio.test_diagnosis import GPU, ON_CPU, ON_GPU, STATUS

WANTED = Preferences(2**32, 5, Ladder.EXACT, "fp32")
SERVER = Server(1, 0.0, ("app.py",), "http://127.0.0.1:1", "0.1.0", 0.0, "/", "mine")


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What every server answers, after a journey through JSON."""
    content: dict[str, Any] = {}
    monkeypatch.setattr(
        surroundings, "ask", lambda server, method, path: json.loads(json.dumps(content))
    )
    return content


FULL = replace(
    ON_GPU,
    device=replace(
        GPU,
        driver=DriverState.OK,
        allocator=AllocatorMemory(1, 2, 3),
        fragmentation=Fragmentation(4, 3, 2, 1),
        others=(OtherGpu(1, "other", None, 5),),
    ),
)


def full_payload(reading: MemoryReading) -> dict[str, object]:
    return {**status_payload(reading, STATUS), "preferences": asdict(WANTED)}


@pytest.mark.parametrize("reading", [FULL, ON_GPU, ON_CPU])
def test_what_a_server_says_comes_back_as_it_was(answers: dict[str, Any], reading: Any) -> None:
    answers.update(full_payload(reading), process=1, news="of a later version")
    memory = memory_of(SERVER)
    assert memory.reading == reading
    assert memory.status == STATUS
    assert memory.preferences == WANTED


@pytest.mark.parametrize(
    "change",
    [
        {"manager": None},
        {"device": {"kind": "abacus", "name": "", "sentence": ""}},
        {"host": {}},
        {"time_s": "now"},
        {"device": []},
        {"preferences": None},
    ],
)
def test_another_way_to_answer_is_told_in_words(
    answers: dict[str, Any], change: dict[str, Any]
) -> None:
    answers.update({**full_payload(ON_GPU), **change})
    with pytest.raises(EngineError, match="Restart it"):
        memory_of(SERVER)


def test_clearing_is_told_with_before_and_after(answers: dict[str, Any]) -> None:
    answers.update(before_bytes=3 * 2**30, after_bytes=2**30, in_use=[])
    assert clear_memory(SERVER).endswith("held 3.00 GiB and holds 1.00 GiB now.")
    answers["in_use"] = ["p3sam"]
    assert clear_memory(SERVER).endswith("In use, so still loaded: p3sam.")
    answers.clear()
    with pytest.raises(EngineError, match="Restart it"):
        clear_memory(SERVER)


def test_allocator_settings_that_contradict_each_other_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PYTORCH_ALLOC_CONF", raising=False)
    monkeypatch.delenv("PYTORCH_CUDA_ALLOC_CONF", raising=False)
    assert allocator_conflicts() == ()
    both = "expandable_segments:True,max_split_size_mb:128"
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", both)
    (sentence,) = allocator_conflicts()
    assert both in sentence


def test_a_server_has_its_own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    class Process:
        def environ(self) -> dict[str, str]:
            return {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True,max_split_size_mb:9"}

    monkeypatch.setattr(surroundings, "process_of", lambda _: Process())
    assert "max_split_size_mb:9" in allocator_conflicts(SERVER)[0]


class Driver:
    """A device that tells who uses it."""

    def __init__(self, *processes: GpuProcess) -> None:
        self._processes = processes

    def processes(self) -> tuple[GpuProcess, ...]:
        return self._processes


def test_the_servers_and_their_children_count_as_ours(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(surroundings, "_SWAP_WATCH_S", 0.01)
    own = psutil.Process()
    driver = Driver(
        GpuProcess(own.pid, "child", 1, is_ours=False), GpuProcess(2**22 - 1, "x", 1, is_ours=False)
    )
    seen = [SeenServer(replace(SERVER, pid=own.ppid()), "")]
    around = look_around(seen, driver)  # type: ignore[arg-type]
    assert around.processes is not None
    assert [process.is_ours for process in around.processes] == [True, False]
    assert around.machine_bytes == psutil.virtual_memory().total
    assert around.swap_bytes_per_s is not None
    assert around.swap_bytes_per_s >= 0
