"""What the memory panel's page is sent: a small tick once a second, the whole when it asks.

Plain values, sizes in MiB; free of gradio. Nothing is measured for it but what the monitor holds.
"""

import json
import zlib
from typing import Any

from partwise.vram.device import NO_GPU
from partwise.vram.events import describe
from partwise.vram.monitor import MemoryMonitor
from partwise.vram.readings import (
    AllocatorMemory,
    ComponentStatus,
    DriverState,
    Fragmentation,
    ManagerStatus,
    MemoryReading,
    UnloadReport,
)
from studio.ui.memory_plan import control_details

_MIB = 2**20
_SECONDS_OF_A_TICK = 1.5  # a little more than the tick, so that no peak falls between two
_EVENTS_IN_A_TICK = 2
_EVENTS_IN_FULL = 40
_LONGEST_TEXT = 110
_MATTERS = 256 * _MIB  # of free cache in pieces: less does not keep a job from its memory

_LABELS = {
    "weights": "Weights",
    "activations": "Activations",
    "cache": "Cache",
    "context": "Context",
    "unattributed": "Context, others",
    "unknown": "Not known",
    "driver": "Driver",
    "app": "Partwise",
    "workers": "Workers",
    "others": "Others",
    "free": "Free",
}
_HOST_SERIES = ("weights", "app", "workers")
_DEVICE_SERIES = ("weights", "activations", "cache", "context")

Payload = dict[str, Any]


def tick_payload(
    monitor: MemoryMonitor, status: ManagerStatus, wishes: Payload | None = None
) -> Payload:
    """The newest reading, small enough for once a second and page; sizes in MiB.

    wishes: `control_details`, of which a tick holds only a checksum.
    """
    reading = monitor.latest()
    recent = monitor.history(_SECONDS_OF_A_TICK) or [reading]
    payload: Payload = {
        "t": round(reading.time_s, 1),
        "m": _main(reading)[1],
        "p": _point(max(recent, key=lambda reading: reading.held_bytes)),
        "f": [_mib(size) for _, size in _figures(reading)],
        "c": [_model_figures(component) for component in status.components],
        "b": int(reading.is_busy),
        "d": _checksum(_details(reading, status, wishes)),
        **_last_events(monitor, _EVENTS_IN_A_TICK),
    }
    if reading.device.is_gpu:
        payload["h"] = _host(reading)[1]
    return payload


def full_payload(
    monitor: MemoryMonitor, status: ManagerStatus, wishes: Payload | None = None
) -> Payload:
    """A tick with all that a page needs at first: texts, plan, history, events."""
    tick = tick_payload(monitor, status, wishes)
    highest: dict[int, MemoryReading] = {}
    for reading in monitor.history():  # one point a second, its highest
        second = int(reading.time_s)
        if second not in highest or reading.held_bytes >= highest[second].held_bytes:
            highest[second] = reading
    full = {
        **_details(monitor.latest(), status, wishes),
        "d": tick["d"],
        "span": monitor.settings.history_s,
        "points": [_point(reading) for reading in highest.values()],
    }
    return {**tick, **_last_events(monitor, _EVENTS_IN_FULL), "full": full}


def unload_words(report: UnloadReport, status: ManagerStatus) -> str:
    """What “Unload now” did, with the memory before and after."""
    titles = {component.name: component.title for component in status.components}
    names, in_use_names = (
        ", ".join(titles[name] for name in names) for names in (report.unloaded, report.in_use)
    )
    in_use = f"In use, so still loaded: {in_use_names}." if report.in_use else ""
    if not report.unloaded:
        return in_use or "No model is loaded, so there was nothing to unload."
    sizes = ""
    if report.before_bytes is not None and report.after_bytes is not None:
        sizes = f" Partwise held {_gib(report.before_bytes)}, now {_gib(report.after_bytes)}."
    freed = f"Unloaded {names}: {_gib(report.weight_bytes)} of weights freed."
    return f"{freed}{sizes} {in_use}".strip()


def _details(reading: MemoryReading, status: ManagerStatus, wishes: Payload | None) -> Payload:
    """What seldom changes; a page that has an older version of it asks anew."""
    device = reading.device
    main, host = _main(reading)[0], _host(reading)[0]
    is_bad = device.driver in (DriverState.LOST, DriverState.FAILED, DriverState.NO_PERMISSION)
    return {
        "device": _device_words(reading),
        "place": "GPU memory" if device.is_gpu else "Host memory",
        "note": device.sentence,
        "simulated": device.is_simulated,
        "limit": _mib(device.budget_bytes),
        "tone": "bad" if is_bad else "plain",
        "keys": main,
        "hostKeys": host,
        "labels": {key: _LABELS[key] for key in {*main, *host}},
        "series": _series(reading),
        "rows": [label for label, _ in _figures(reading)],
        "idle": status.idle_unload_s,
        "models": [
            {
                "title": c.title,
                "precision": c.precision,
                "why": c.why_unavailable,
                "pinned": c.is_pinned,
            }
            for c in status.components
        ],
        **(wishes or control_details(None, reading, may_change=False)),
    }


def _device_words(reading: MemoryReading) -> str:
    device = reading.device
    if not device.is_gpu:
        return "Host memory, no GPU" if device.sentence == NO_GPU else "Host memory"
    return device.name if device.index is None else f"{device.name} · GPU {device.index}"


def _main(reading: MemoryReading) -> tuple[list[str], list[float | None]]:
    """The keys and sizes of the large bar."""
    shares, allocator = reading.shares, reading.device.allocator
    if shares is not None:
        sizes: dict[str, int | None] = {
            "weights": shares.weight_bytes,
            "activations": shares.activations_bytes,
            "cache": shares.cache_bytes,
        }
        if shares.context_bytes is None:
            sizes["unattributed"] = shares.unattributed_bytes
        else:
            sizes |= {"context": shares.context_bytes, "others": shares.others_bytes}
        if shares.driver_bytes:
            sizes["driver"] = shares.driver_bytes
        sizes["free"] = shares.free_bytes
    elif reading.device.is_gpu and allocator is not None:
        total = reading.device.total_bytes or 0
        sizes = {
            "activations": allocator.allocated_bytes,
            "cache": allocator.reserved_bytes - allocator.allocated_bytes,
            "unknown": max(0, total - allocator.reserved_bytes) or None,
        }
    else:
        return _host(reading)
    return list(sizes), [_mib(size) for size in sizes.values()]


def _host(reading: MemoryReading) -> tuple[list[str], list[float | None]]:
    """The keys and sizes of the machine's own bar; what is free comes last."""
    shares = reading.host_shares
    sizes = {
        "weights": shares.weight_bytes,
        "app": shares.app_bytes,
        "workers": shares.worker_bytes,
        "others": shares.others_bytes,
        "free": shares.free_bytes,
    }
    if not shares.weights:
        del sizes["weights"]
    return list(sizes), [_mib(size) for size in sizes.values()]


def _series(reading: MemoryReading) -> tuple[str, ...]:
    return _DEVICE_SERIES if reading.device.is_gpu else _HOST_SERIES


def _series_bytes(reading: MemoryReading) -> list[int]:
    """What Partwise itself is known to hold, in the order of `_series`."""
    if not reading.device.is_gpu:
        host = reading.host_shares
        return [host.weight_bytes, host.app_bytes, host.worker_bytes]
    shares, allocator = reading.shares, reading.device.allocator
    if shares is not None:
        own = [shares.weight_bytes, shares.activations_bytes, shares.cache_bytes]
        return [*own, shares.context_bytes or 0]
    if allocator is None:
        return [0] * len(_DEVICE_SERIES)
    cache = allocator.reserved_bytes - allocator.allocated_bytes
    return [0, allocator.allocated_bytes, cache, 0]


def _point(reading: MemoryReading) -> list[float | None]:
    return [round(reading.time_s, 1), *(_mib(size) for size in _series_bytes(reading))]


def _figures(reading: MemoryReading) -> list[tuple[str, int | None]]:
    """The table: each row's label and bytes."""
    device, host, shares = reading.device, reading.host, reading.shares
    rows: list[tuple[str, int | None]] = []
    if device.is_gpu:
        allocator = device.allocator or AllocatorMemory(0, 0)
        rows = [
            ("Allocated in tensors", allocator.allocated_bytes),
            ("Reserved by torch", allocator.reserved_bytes),
            ("Peak allocated", allocator.peak_allocated_bytes),
            ("Peak reserved", allocator.peak_reserved_bytes),
            *_fragment_figures(device.fragmentation),
            ("Context and libraries", shares.context_bytes if shares else None),
            ("Other programs", shares.others_bytes if shares else None),
            ("Used by all programs", device.used_bytes),
            ("GPU total", device.total_bytes),
        ]
        if device.budget_bytes is not None:
            rows.append(("Budget of Partwise", device.budget_bytes))
    return [
        *rows,
        *(
            (f"GPU {gpu.index} {gpu.name} (not ours), used", gpu.used_bytes)
            for gpu in device.others
        ),
        ("Partwise, resident", host.app_rss_bytes),
        ("Its workers, resident", host.worker_rss_bytes),
        ("Host available", host.available_bytes),
        ("Host total", host.total_bytes),
        ("Swap used", host.swap_used_bytes),
    ]


def _fragment_figures(pieces: Fragmentation | None) -> list[tuple[str, int | None]]:
    """How the cache is cut up, where that keeps memory from its use."""
    if pieces is None or max(_scattered_bytes(pieces), pieces.inactive_split_bytes) < _MATTERS:
        return []
    return [
        ("Largest free block of the cache", pieces.largest_free_bytes),
        ("Cache between blocks in use", pieces.inactive_split_bytes),
    ]


def _scattered_bytes(pieces: Fragmentation) -> int:
    return pieces.free_bytes - pieces.largest_free_bytes


def _model_figures(component: ComponentStatus) -> list[Any]:
    idle_s = None if component.idle_s is None else round(component.idle_s)
    figures = [component.state.value, component.lease_count, idle_s, _mib(component.weight_bytes)]
    return [*figures, _mib(component.host_bytes)] if component.host_bytes else figures


def _last_events(monitor: MemoryMonitor, count: int) -> Payload:
    """`n`, the number of the newest event, and `e`, the last ones with their numbers."""
    total, events = monitor.events()
    last = events[-count:]
    first = total - len(last) + 1
    listed = [
        [
            first + i,
            round(event.time_s, 1),
            event.kind.value,
            _shortened(describe(event)),
            None if event.elapsed_s is None else round(event.elapsed_s, 1),
        ]
        for i, event in enumerate(last)
    ]
    return {"n": total, "e": listed}


def _shortened(text: str) -> str:
    """Whole words, with a mark where some are missing."""
    if len(text) <= _LONGEST_TEXT:
        return text
    return f"{text[: _LONGEST_TEXT - 1].rsplit(' ', 1)[0]}…"


def _checksum(details: Payload) -> int:
    return zlib.crc32(json.dumps(details, sort_keys=True).encode())


def _mib(size: int | None) -> float | None:
    return None if size is None else round(size / _MIB, 1)


def _gib(size: int | None) -> str:
    return "unknown" if size is None else f"{size / 2**30:.1f} GiB"
