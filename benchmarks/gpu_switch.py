"""How fast a model comes to the GPU beside what the bus gives and beside accelerate's hook, and
what is left there when it has gone."""

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.common import Payload
from benchmarks.gpu_setting import (
    AT_LEAST,
    MIB,
    Setting,
    claim,
    figure,
    forget_results,
    in_mib,
    open_example,
    options_of,
    own_bytes_by_driver,
    run_job,
    running_studio,
    sizes,
    spread,
)
from partwise.core.errors import AppError
from studio.catalog import P3SAM
from studio.components import build_p3sam
from studio.document import Document
from studio.workflow import Studio

SLAB_BYTES = 2**28  # as `partwise.vram.slabs` makes them
_COPIES, _FEW_COPIES = 20, 4
_SWITCHES, _FEW_SWITCHES = 9, 3
_LEFT_BYTES = 64 * MIB
_BACK_BYTES = 16 * MIB  # the driver's figure of a card that others use as well
_LONGEST_WAIT_S = 5.0
_POLL_S = 0.1


def measure_switch(setting: Setting) -> Payload:
    """Host to device and back, by the manager and by accelerate, beside the bus."""
    with running_studio(setting) as studio:
        copies = _copy_rates(setting, studio)
        studio.memory.device.give_back()
        switch = _switch(setting, studio)
    limit_s = switch["weight_bytes"] / (copies["best_gb_s"] * 1e9)
    hook = _accelerate(setting)
    ours, theirs = switch["host_to_device_s"]["median"], hook["host_to_device_s"]["median"]
    return {
        "page_locked_copies": copies,
        "ours": switch,
        "limit_s": round(limit_s, 5),
        "of_limit": figure(ours / limit_s, 1.25),
        "accelerate": hook,
        "accelerate_of_ours": figure(theirs / ours if ours else None, 2.0, AT_LEAST),
    }


def _copy_rates(setting: Setting, studio: Studio) -> Payload:
    """Gigabytes (10^9) a second of copies of whole slabs to memory that is there already."""
    count = setting.pick(_COPIES, _FEW_COPIES)
    seconds = _simulated_copies(studio, count) if setting.is_simulated else _real_copies(count)
    return {
        "slab_bytes": SLAB_BYTES,
        "best_gb_s": round(SLAB_BYTES / min(seconds) / 1e9, 3),
        "median_gb_s": round(SLAB_BYTES / statistics.median(seconds) / 1e9, 3),
        "count": count,
    }


def _real_copies(count: int) -> list[float]:
    import torch

    source = torch.ones(SLAB_BYTES, dtype=torch.uint8).pin_memory()
    target = torch.empty(SLAB_BYTES, dtype=torch.uint8, device="cuda")

    def copy() -> None:
        target.copy_(source, non_blocking=True)
        torch.cuda.synchronize()

    copy()  # the first one also sets up the bus
    return [_seconds(copy) for _ in range(count)]


def _simulated_copies(studio: Studio, count: int) -> list[float]:
    import torch

    slab = torch.ones(SLAB_BYTES, dtype=torch.uint8)

    def copy() -> None:
        studio.memory.device.upload(slab)

    return [_seconds(copy) for _ in range(count)]


def _switch(setting: Setting, studio: Studio) -> Payload:
    """First from the disk's cache; then the host keeps the weights and they come and go."""
    manager = studio.manager

    def use() -> None:
        with manager.use(P3SAM):
            return

    first_s = _seconds(use)
    here = next(one for one in manager.get_status().components if one.name == P3SAM)
    up: list[float] = []
    down: list[float] = []
    for _ in range(setting.pick(_SWITCHES, _FEW_SWITCHES)):
        down.append(_seconds(lambda: manager.unload(P3SAM, keep_on_host=True)))
        up.append(_seconds(use))
    return {
        "weight_bytes": here.weight_bytes,
        "is_pinned": here.is_pinned,
        "disk_to_device_first_s": round(first_s, 4),
        "host_to_device_s": spread(up, 5),
        "park_s": spread(down, 5),
        "unload_s": round(_seconds(lambda: manager.unload(P3SAM)), 5),
        "first_load": "the file is in the page cache; page locks are made once, here",
    }


def _accelerate(setting: Setting) -> Payload:
    """The same weights as a module of ordinary memory, moved by `cpu_offload_with_hook`."""
    import accelerate
    import torch

    place = torch.device("cpu" if setting.is_simulated else "cuda:0")
    model, hook = accelerate.cpu_offload_with_hook(build_p3sam(Path(setting.weights)), place)

    def settle() -> None:
        if not setting.is_simulated:
            torch.cuda.synchronize()

    def bring() -> None:
        hook.hook.pre_forward(model)
        settle()

    def take() -> None:
        hook.offload()
        settle()

    bring()
    up: list[float] = []
    down: list[float] = []
    for _ in range(setting.pick(5, _FEW_SWITCHES)):
        down.append(_seconds(take))
        up.append(_seconds(bring))
    return {
        "version": accelerate.__version__,
        "host_to_device_s": spread(up, 5),
        "device_to_host_s": spread(down, 5),
    }


def measure_leftovers(setting: Setting) -> Payload:
    """Bytes on the device after unload, and after the end of the models' own process.

    That process is measured first, while this one has no context.
    """
    return {"worker": _after_worker(setting), "unload": _after_unload(setting)}


def _after_worker(setting: Setting) -> Payload:
    with running_studio(setting, is_isolated="true") as studio:
        device = studio.memory.device
        before = device.read().used_bytes
        outcome = run_job(studio, open_example(studio), options_of(studio, sizes(setting)[0]))
        if outcome.problem:
            raise AppError(f"The job to leave something behind failed: {outcome.problem}")
        busy = device.read()
        listed = device.processes()
        started = time.perf_counter()
        report = studio.manager.unload_all_models()
        _wait_for(lambda: _is_back(device.read().used_bytes, before))
        ended_s = time.perf_counter() - started
        after, processes = device.read().used_bytes, device.processes()
    difference = None if after is None or before is None else after - before
    was_listed = listed is not None and any(one.is_ours for one in listed)
    own = [one.pid for one in processes or () if one.is_ours]
    return {
        "was_listed_while_loaded": was_listed,
        "used_while_loaded_mib": in_mib(busy.used_bytes),
        "in_use": list(report.in_use),
        "end_s": round(ended_s, 3),
        "no_process_of_ours": claim(not own if was_listed else None, "none is listed any more"),
        "difference_mib": figure(None if difference is None else difference / MIB, 16.0, digits=2),
    }


def _is_back(now: int | None, before: int | None) -> bool:
    return now is None or before is None or now - before <= _BACK_BYTES


def _wait_for(is_so: Callable[[], bool]) -> None:
    ends = time.monotonic() + _LONGEST_WAIT_S
    while not is_so() and time.monotonic() < ends:
        time.sleep(_POLL_S)


def _after_unload(setting: Setting) -> Payload:
    """Twice: what stays after the second job and not after the first one would be a leak."""
    with running_studio(setting, feature_cache_gib=1.0) as studio:
        document = open_example(studio)
        context = _first_context(studio)
        rounds = [_left_after_job(setting, studio, document) for _ in range(2)]
    last = rounds[-1]
    left = last["driver_mib"] if last["driver_mib"] is not None else last["reserved_mib"]
    base = context / MIB if last["driver_mib"] is not None else 0.0
    beyond = None if left is None else left - base
    return {
        "first_context_mib": in_mib(context),
        "rounds": rounds,
        "beyond_first_context_mib": figure(beyond, _LEFT_BYTES / MIB, digits=2),
        "growth_by_second_job_mib": None
        if left is None
        else round(left - (rounds[0]["driver_mib"] or rounds[0]["reserved_mib"]), 2),
    }


def _first_context(studio: Studio) -> int:
    """Bytes of a context in which nothing has computed yet."""
    import torch

    device = studio.memory.device
    placed = device.upload(torch.ones(MIB, dtype=torch.uint8))
    device.settle()
    del placed
    device.give_back()
    own = own_bytes_by_driver(studio, os.getpid())
    allocator = device.read().allocator
    reserved = allocator.reserved_bytes if allocator else 0
    return max(0, (own or 0) - reserved)


def _left_after_job(setting: Setting, studio: Studio, document: Document) -> Payload:
    outcome = run_job(studio, document, options_of(studio, sizes(setting)[0]))
    if outcome.problem:
        raise AppError(f"The job to leave something behind failed: {outcome.problem}")
    report = studio.manager.unload_all_models()
    reading = studio.memory.device.read()
    allocator = reading.allocator
    forget_results(studio)
    return {
        "in_use": list(report.in_use),
        "driver_mib": in_mib(own_bytes_by_driver(studio, os.getpid())),
        "context_mib": in_mib(reading.context_bytes),
        "reserved_mib": in_mib(allocator.reserved_bytes) if allocator else None,
        "allocated_mib": in_mib(allocator.allocated_bytes) if allocator else None,
    }


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
