"""A small page with nothing but the memory panel, on a scripted GPU or on this machine's CPU.

Run it to look at the panel: `python tests/ui/memory_page.py gpu` (or small, hidden, lost, cpu),
then open the address it prints. “small” is a simulated card of 8 GiB in the middle of a job.
"""

import contextlib
import dataclasses
import math
import sys
import time
from pathlib import Path
from typing import Any

import gradio as gr

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from model_manager import ComponentSpec, ModelManager
from partwise.vram.control import MemoryControl
from partwise.vram.device import Device, DeviceDoor
from partwise.vram.monitor import MemoryMonitor
from partwise.vram.plan import Form, JobNeed, Room, Rung, Stage, StageOption
from partwise.vram.plan_words import in_words
from partwise.vram.planner import next_plan, plan
from partwise.vram.readings import (
    DeviceKind,
    DeviceReading,
    DriverState,
    EventKind,
    Fragmentation,
    MemoryEvent,
    OtherGpu,
)
from partwise.vram.settings import VramSettings
from studio.ui.memory_panel import build_memory_panel
from tests.vram.fake_runner import FakeRunner
from tests.vram.fakes import CPU, GIB, FakeClock, FakeDevice, FakeModule, gpu

HOSTILE = "<img src=x onerror=\"document.title='owned'\">${document.title='owned'}{{x}}"
SPAN_S = 118
_KEPT: list[contextlib.ExitStack] = []  # a job that goes on until the page is closed
SENTENCES = {
    "hidden": "The driver does not say which process holds what, so these cannot be told apart.",
    "lost": "The GPU stopped answering: the driver reports it as lost.",
}


class ScriptedGpu(FakeDevice):
    """A GPU whose figures follow the manager's weights and a script of activations."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode
        self.is_small = mode == "small"
        self.total = 8.0 if self.is_small else 24.0
        self.budget: int | None = None
        self.activations = 0.0
        self.manager: ModelManager | None = None

    def read(self) -> DeviceReading:
        sentence = SENTENCES.get(self.mode, "")
        if self.mode == "lost":
            return dataclasses.replace(CPU, kind=DeviceKind.CUDA, name="Stub GPU", index=0,
                                       driver=DriverState.LOST, sentence=sentence)  # fmt: skip
        weights = self._weights()
        context = 0.45 if weights else 0.0
        held = weights + self.activations + (0.3 if weights else 0.0)
        used = held + context + (2.6 if self.is_small else 2.2)
        reading = gpu(
            used=used,
            total=self.total,
            free=self.total - (0.2 if self.is_small else 0.5) - used,
            allocated=weights + self.activations,
            reserved=held,
            context=None if self.mode == "hidden" else context,
            name="Stub GPU",
        )
        other = OtherGpu(1, "Other GPU", 12 * GIB, GIB)
        pieces = Fragmentation(int(0.7 * GIB), int(0.2 * GIB), 31, int(0.4 * GIB))
        return dataclasses.replace(
            reading,
            sentence=sentence,
            others=() if self.is_small else (other,),
            fragmentation=pieces if self.is_small else None,
            budget_bytes=self.budget,
            is_simulated=self.is_small,
        )

    def set_budget(self, budget_bytes: int | None) -> None:
        self.budget = budget_bytes

    def own_bytes(self) -> int | None:
        return int((self._weights() + 0.1) * GIB)

    def _weights(self) -> float:
        sizes = self.manager.resident_weights() if self.manager else {}
        return sum(sizes.values()) / GIB


def build(mode: str) -> tuple[MemoryMonitor, ModelManager, MemoryControl]:
    """A monitor with two minutes of history, a manager with three models, a control."""
    scripted = ScriptedGpu(mode)
    device: DeviceDoor = Device() if mode == "cpu" else scripted
    clock = FakeClock(time.time() - SPAN_S)
    monitor = MemoryMonitor(device, VramSettings(), clock=lambda: min(clock(), time.time()))

    def record(event: MemoryEvent) -> None:
        monitor.record(dataclasses.replace(event, time_s=min(clock(), time.time())))

    runner = FakeRunner(scripted, keeps_on_host=mode == "small")
    manager = ModelManager(device, VramSettings(), on_event=record, runner=runner)
    control = MemoryControl(device, VramSettings(), on_event=record)
    scripted.manager = manager
    monitor.watch(manager)
    large = int(0.9 * GIB) if mode == "small" else 9 * GIB
    for name, title, size in (("p3sam", "P3-SAM", 451_000_000), ("xpart", "X-Part", large)):
        manager.register(ComponentSpec(name, title, _builder(size)))
    manager.register(
        ComponentSpec(
            "hostile",
            HOSTILE,
            _builder(1),
            why_unavailable=lambda: f"{HOSTILE}: weights not present. It needs extra.safetensors.",
        )
    )
    if mode == "small":
        _play_small(monitor, manager, control, scripted, clock)
    elif mode != "cpu":
        control.note_plan(plan(example_need(HOSTILE), Room(True, 24 * GIB, 4 * GIB, 24 * GIB)))
        _play(monitor, manager, scripted, clock)
    clock.now = math.inf  # from here on it is the real time
    monitor.start()
    return monitor, manager, control


def _builder(size: int):  # type: ignore[no-untyped-def]
    return lambda order: FakeModule(size)


def _play(
    monitor: MemoryMonitor, manager: ModelManager, device: ScriptedGpu, clock: FakeClock
) -> None:
    for second in range(SPAN_S):
        clock.now += 1
        if second in (20, 62):
            with manager.use("p3sam" if second == 20 else "xpart"):
                pass
        if second in (48, 100):
            kind = EventKind.JOB_END if second == 48 else EventKind.OUT_OF_MEMORY
            monitor.record(MemoryEvent(kind, "Job", 6 * GIB, 26.0, time_s=clock.now))
        is_working = 22 < second < 48 or 74 < second < 100
        device.activations = 2 * abs(math.sin(second / 5)) if is_working else 0.0
        monitor.sample_now()


def _play_small(
    monitor: MemoryMonitor,
    manager: ModelManager,
    control: MemoryControl,
    device: ScriptedGpu,
    clock: FakeClock,
) -> None:
    """A job that is planned, runs out of memory once, goes on smaller and is not done yet."""

    def tell(kind: EventKind, subject: str, size: float | None = None, **more: Any) -> None:
        size_bytes = None if size is None else int(size * GIB)
        monitor.record(MemoryEvent(kind, subject, size_bytes, time_s=clock.now, **more))

    room = Room(True, 8 * GIB, int(3.9 * GIB), 24 * GIB, own_bytes=GIB // 4)
    job = example_need("Complete chair.glb")
    first = plan(job, room)
    busy, stages = contextlib.ExitStack(), ("Point features", "Masks")
    for second in range(SPAN_S):
        clock.now += 1
        if second == 10:
            control.set_budget(5.0)
        if second == 12:
            with manager.use("p3sam"):
                pass
        if second == 28:
            manager.unload("p3sam", keep_on_host=True)
        if second == 30:
            tell(EventKind.PREFETCH, "X-Part", 0.9, elapsed_s=2.3)
        if second == 34:
            control.note_plan(first)
            tell(EventKind.PLAN, job.title, detail=in_words(first))
            busy.enter_context(monitor.busy(job.title))
            busy.enter_context(manager.use("xpart"))
        if second == 58:
            tell(EventKind.STAGE, stages[0], 3.2, elapsed_s=22.4)
        if second == 66:
            tell(EventKind.OUT_OF_MEMORY, stages[1], elapsed_s=8.0)
            smaller = next_plan(first, job, room, observed_bytes=int(4.1 * GIB), stage="masks")
            assert smaller is not None
            control.note_plan(dataclasses.replace(smaller, passed_over=first.passed_over))
            tell(EventKind.STEP_DOWN, stages[1], detail=in_words(smaller))
        is_working = second > 36 and second != 66
        most = 2.2 if second < 66 else 1.2
        device.activations = most * abs(math.sin(second / 5)) if is_working else 0.0
        monitor.sample_now()
    _KEPT.append(busy)


def example_need(title: str) -> JobNeed:
    """A job of two stages that may be held in every precision."""

    def form(rung: Rung, precision: str, weights: float, seconds: float, quality: str = "") -> Form:
        def stage(name: str, title: str, activations: float) -> Stage:
            options = tuple(
                StageOption(
                    {"prompt_batch": batch},
                    int((0.1 + activations * batch / 32) * GIB),
                    int(0.1 * GIB),
                    seconds * (1 + 0.5 / batch),
                )
                for batch in (32, 16, 8, 4)
            )
            return Stage(name, title, "xpart", options)

        size = {"xpart": int(weights * GIB)}
        stages = (stage("features", "Point features", 2.0), stage("masks", "Masks", 4.2))
        return Form(rung, precision, size, size["xpart"], {"xpart": 2.0}, stages, quality)

    return JobNeed(
        title,
        (
            form(Rung.WHOLE, "fp32", 3.4, 30),
            form(Rung.STREAMED, "fp32", 0.9, 75),
            form(Rung.SIXTEEN_BIT, "bf16", 1.7, 26, "parts differ by less than a voxel"),
            form(Rung.EIGHT_BIT, "int8", 0.9, 34, "thin parts may lose detail"),
            form(Rung.FOUR_BIT, "int4", 0.5, 36, "thin parts lose detail"),
            form(Rung.CPU, "fp32", 3.4, 1400),
        ),
    )


def main(mode: str) -> None:
    """Serve the page until it is killed; prints its address."""
    monitor, manager, control = build(mode)
    with gr.Blocks(title="panel") as page, gr.Row():
        with gr.Column(scale=5, min_width=320):
            gr.Markdown("# The page")
        with gr.Column(scale=2, min_width=300):
            build_memory_panel(monitor, manager, control, may_change=lambda headers: True)
            with gr.Accordion("On a phone", open=False, elem_id="folded"):
                build_memory_panel(monitor, manager, control)  # a stranger's
    page.launch(
        server_name="127.0.0.1",
        ssr_mode=False,
        quiet=True,
        theme=gr.themes.Base(primary_hue="indigo", neutral_hue="slate"),
        prevent_thread_lock=True,
    )
    print(page.local_url, flush=True)  # noqa: T201
    page.block_thread()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "gpu")
