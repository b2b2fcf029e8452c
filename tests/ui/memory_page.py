"""A small page with nothing but the memory panel, on a scripted GPU or on this machine's CPU.

Run it to look at the panel: `python tests/ui/memory_page.py gpu` (or hidden, lost, cpu), then open
the address it prints.
"""

import dataclasses
import math
import sys
import time
from pathlib import Path

import gradio as gr

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from model_manager import ComponentSpec, ModelManager
from partwise.vram.device import Device, DeviceDoor
from partwise.vram.monitor import MemoryMonitor
from partwise.vram.readings import (
    DeviceKind,
    DeviceReading,
    DriverState,
    EventKind,
    MemoryEvent,
    OtherGpu,
)
from partwise.vram.settings import VramSettings
from studio.ui.memory_panel import build_memory_panel
from tests.vram.fakes import CPU, GIB, FakeClock, FakeDevice, FakeModule, gpu

HOSTILE = "<img src=x onerror=\"document.title='owned'\">${document.title='owned'}{{x}}"
SPAN_S = 118
SENTENCES = {
    "hidden": "The driver does not say which process holds what, so these cannot be told apart.",
    "lost": "The GPU stopped answering: the driver reports it as lost.",
}


class ScriptedGpu(FakeDevice):
    """A 24 GiB GPU whose figures follow the manager's weights and a script of activations."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.mode = mode
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
        used = held + context + 2.2
        reading = gpu(
            used=used,
            free=23.5 - used,
            allocated=weights + self.activations,
            reserved=held,
            context=None if self.mode == "hidden" else context,
            name="Stub GPU",
        )
        other = OtherGpu(1, "Other GPU", 12 * GIB, GIB)
        return dataclasses.replace(reading, sentence=sentence, others=(other,))

    def own_bytes(self) -> int | None:
        return int((self._weights() + 0.1) * GIB)

    def _weights(self) -> float:
        sizes = self.manager.resident_weights() if self.manager else {}
        return sum(sizes.values()) / GIB


def build(mode: str) -> tuple[MemoryMonitor, ModelManager]:
    """A monitor with two minutes of history and a manager with three models."""
    scripted = ScriptedGpu(mode)
    device: DeviceDoor = Device() if mode == "cpu" else scripted
    clock = FakeClock(time.time() - SPAN_S)
    monitor = MemoryMonitor(device, VramSettings(), clock=lambda: min(clock(), time.time()))

    def record(event: MemoryEvent) -> None:
        monitor.record(dataclasses.replace(event, time_s=min(clock(), time.time())))

    manager = ModelManager(device, VramSettings(), on_event=record)
    scripted.manager = manager
    monitor.watch(manager)
    for name, title, size in (("p3sam", "P3-SAM", 451_000_000), ("xpart", "X-Part", 9 * GIB)):
        manager.register(ComponentSpec(name, title, _builder(size)))
    manager.register(
        ComponentSpec(
            "hostile",
            HOSTILE,
            _builder(1),
            why_unavailable=lambda: f"{HOSTILE}: weights not present. It needs extra.safetensors.",
        )
    )
    if mode != "cpu":
        _play(monitor, manager, scripted, clock)
    clock.now = math.inf  # from here on it is the real time
    monitor.start()
    return monitor, manager


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


def main(mode: str) -> None:
    """Serve the page until it is killed; prints its address."""
    monitor, manager = build(mode)
    with gr.Blocks(title="panel") as page, gr.Row():
        with gr.Column(scale=5, min_width=320):
            gr.Markdown("# The page")
        with gr.Column(scale=2, min_width=300):
            build_memory_panel(monitor, manager)
            with gr.Accordion("On a phone", open=False, elem_id="folded"):
                build_memory_panel(monitor, manager)
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
