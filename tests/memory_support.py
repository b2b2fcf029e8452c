"""Two models and jobs on a simulated card, small enough to run hundreds of times."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from model_manager import ComponentSpec, ModelManager
from partwise.core.progress import CancelToken
from partwise.vram.component import ONE_AT_A_TIME, LoadOrder
from partwise.vram.control import MemoryControl
from partwise.vram.device import DeviceDoor
from partwise.vram.job import JobMemory, PlannedJob
from partwise.vram.monitor import MemoryMonitor
from partwise.vram.peaks import MeasuredPeaks
from partwise.vram.plan import Form, JobNeed, Plan, Rung, Stage, StageOption
from partwise.vram.runner import LocalRunner
from partwise.vram.settings import VramSettings
from partwise.vram.simulated import Failures, SimulatedDevice

MIB = 2**20
CONTEXT = 4 * MIB
ROWS = 16_384
CHUNKS = (ROWS, ROWS // 4, ROWS // 16)
STAGES = ("first", "second")


def compute(
    module: nn.Module, stage: int, chunk: int, *, progress: object, cancel: CancelToken
) -> float:
    """A sum of whole numbers over all rows, the same whatever the chunk."""
    total = 0.0
    weight = next(module.parameters())
    for start in range(0, ROWS, chunk):
        cancel.raise_if_cancelled()
        rows = torch.arange(start, start + chunk, dtype=torch.float64) + stage
        spread = rows[:, None] * torch.ones(64, dtype=torch.float64)  # the activations
        total += float(spread.sum()) * float(weight[0, 0])
    return total


def expected(component: str, stage: int) -> float:
    return 64.0 * sum(range(stage, ROWS + stage)) * VALUES[component]


VALUES = {"a": 2.0, "b": 3.0, "c": 5.0}


def need_of(component: str, weight_bytes: int, *, may_use_cpu: bool) -> JobNeed:
    """What `compute` takes: one tensor of (chunk, 64) float64, its rows and one more of them."""
    options = tuple(
        StageOption({"chunk": chunk}, chunk * 8 * 68, chunk * 8 * 64, 1.0 + i)
        for i, chunk in enumerate(CHUNKS)
    )
    stages = tuple(Stage(name, name, component, options) for name in STAGES)
    sizes, seconds = {component: weight_bytes}, {component: 0.1}
    whole = Form(Rung.WHOLE, "fp32", sizes, weight_bytes, seconds, stages)
    on_cpu = Form(Rung.CPU, "fp32", sizes, weight_bytes, seconds, stages)
    return JobNeed(f"Job {component}", (whole, on_cpu) if may_use_cpu else (whole,))


class WatchedControl(MemoryControl):
    """Keeps every plan that was taken."""

    plans: list[Plan]

    def note_plan(self, plan: Plan) -> None:
        self.plans.append(plan)
        super().note_plan(plan)


@dataclass
class World:
    """A simulated card with a manager and two components, "a" and "b"."""

    device: SimulatedDevice
    manager: ModelManager
    memory: JobMemory
    control: WatchedControl
    sizes: dict[str, int]
    may_use_cpu: bool = True

    def run(self, component: str, before_stage: Callable[[str], None] = lambda stage: None) -> None:
        """A job of two stages; asserts that what it computes is right."""
        cancel = CancelToken()
        need = need_of(component, self.sizes[component], may_use_cpu=self.may_use_cpu)
        job = PlannedJob(self.memory, need, cancel)
        for i, stage in enumerate(STAGES):
            before_stage(stage)
            self.device.enter_stage(stage)
            found = job.run(
                stage,
                lambda lease, step, i=i: lease.call(  # type: ignore[misc]
                    "tests.memory_support:compute", i, step.knobs["chunk"], cancel=cancel
                ),
            )
            assert found == expected(component, i)

    def clean_up(self) -> None:
        """Unload all; asserts that the card then holds nothing of ours but its context."""
        report = self.manager.unload_all_models()
        assert report.in_use == ()
        self.device.give_back()
        allocator = self.device.read().allocator
        assert allocator is not None
        assert (allocator.allocated_bytes, allocator.reserved_bytes) == (0, 0)


def build_world(
    capacity_bytes: int,
    widths: dict[str, int],
    failures: Failures | None = None,
    *,
    group: str | None = ONE_AT_A_TIME,
) -> World:
    """widths: of each component's square weight matrix. group: of them all."""
    device = SimulatedDevice(capacity_bytes, context_bytes=CONTEXT, failures=failures)
    settings = VramSettings(idle_unload_s=0, host_keep_s=0, lease_timeout_s=30, reserve_gib=0)
    monitor = MemoryMonitor(device, settings)
    runner = LocalRunner(device, lambda: 2**34)
    manager = ModelManager(device, settings, runner=runner, on_event=monitor.record)
    monitor.watch(manager)
    control = WatchedControl(device, settings)
    control.plans = []
    for name, width in widths.items():
        spec = ComponentSpec(name, name.upper(), builder(width, VALUES[name]), group=group)
        manager.register(spec)
    memory = JobMemory(
        device,
        manager,
        control,
        monitor,
        MeasuredPeaks(None, "simulated"),
        free=runner.give_back,
        context_bytes=CONTEXT,
    )
    return World(device, manager, memory, control, {n: w * w * 4 for n, w in widths.items()})


def builder(width: int, value: float) -> Callable[[LoadOrder], nn.Module]:
    """A square matrix that holds one value, in the ordered precision."""

    def build(order: LoadOrder) -> nn.Module:
        dtype = torch.bfloat16 if order.precision == "bf16" else torch.float32
        module = nn.Linear(width, width, bias=False, device="meta")  # a killed mode stays torn
        weight = order.empty((width, width), dtype).fill_(value)
        module.weight = nn.Parameter(weight, requires_grad=False)
        return module

    return build


def memory_of(device: DeviceDoor, manager: ModelManager, settings: VramSettings) -> JobMemory:
    """What a job needs beside a manager, with nothing remembered from before."""
    monitor = MemoryMonitor(device, settings)
    control = MemoryControl(device, settings)
    peaks = MeasuredPeaks(None, "test")
    return JobMemory(device, manager, control, monitor, peaks, free=device.give_back)
