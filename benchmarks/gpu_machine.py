"""What is measured on, and what watching its memory costs."""

import importlib.metadata
import platform

from benchmarks.common import Payload
from benchmarks.gpu_setting import MIB, Setting, figure, in_mib, required_total, running_studio
from benchmarks.sampler import measure_panel, measure_sampler
from partwise.vram.allocator import read_back

_PACKAGES = ("torch", "accelerate", "bitsandbytes", "nvidia-ml-py", "numpy")


def measure_machine(setting: Setting) -> Payload:
    """Device, driver, versions, the allocator's settings in effect, bytes of a context."""
    with running_studio(setting) as studio:
        import torch

        device = studio.memory.device
        placed = device.upload(torch.ones(MIB, dtype=torch.uint8))
        device.settle()
        reading, allocator = device.read(), read_back()
        del placed
        processes = device.processes()
    return {
        "name": reading.name,
        "total_gib": round(required_total(reading) / 2**30, 2),
        "free_mib": in_mib(reading.free_bytes),
        "context_mib": in_mib(reading.context_bytes),
        "sentence": reading.sentence,
        "driver_state": reading.driver.value,
        "driver_version": None if setting.is_simulated else driver_version(),
        "lists_processes": processes is not None,
        "cuda": torch.version.cuda,
        "system": platform.release(),
        "versions": {name: installed(name) for name in _PACKAGES},
        "allocator": {
            "sentence": allocator.sentence,
            "settings": dict(allocator.values),
        },
    }


def driver_version() -> str | None:
    """NVIDIA's own name of it; None without its client or its library."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        version = str(pynvml.nvmlSystemGetDriverVersion())
        pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return None
    return version


def installed(name: str) -> str | None:
    """The version of a package; None when it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def measure_sampling(setting: Setting) -> Payload:
    """The sampler's share of a core, and a job beside the panel; on a GPU beside a live context."""
    if not setting.is_simulated:
        import torch

        torch.ones(1, device="cuda")
    sampler = measure_sampler(seconds=setting.pick(6, 2))
    panel = measure_panel(rounds=setting.pick(6, 3), job_s=1.5 if not setting.is_small else 0.4)
    return {
        "sampler": sampler,
        "panel": panel,
        "core_percent": figure(sampler["core_percent"]["real"], 0.5),
        "job_beside_panel": figure(panel["panel"]["median"], 1.01),
    }
