"""Readings for programs: plain values for JSON, CSV, and Prometheus' text format for `/metrics`."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone

from partwise.vram.plan import Plan
from partwise.vram.readings import (
    ComponentState,
    EventKind,
    ManagerStatus,
    MemoryEvent,
    MemoryReading,
)

_READING_COLUMNS = (
    "device", "total", "used", "free", "budget", "allocated", "reserved", "peak_allocated",
    "peak_reserved", "weights", "activations", "cache", "context", "others", "unattributed",
    "driver", "largest_free_block", "inactive_split", "host_total", "host_available", "app_rss",
    "worker_rss", "swap_used", "is_busy",
)  # fmt: skip
_EVENT_COLUMNS = ("subject", "size", "elapsed_s", "detail")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def status_payload(reading: MemoryReading, status: ManagerStatus) -> dict[str, object]:
    """Everything known, ready for JSON; bytes are ints, unknown is None."""
    return {**asdict(reading), "manager": asdict(status)}


def history_csv(readings: Sequence[MemoryReading], events: Sequence[MemoryEvent]) -> str:
    """Readings and events in one table by time, sizes in bytes; what is unknown is left empty.

    The column `row` says "reading" or the event's kind; weights are summed. Texts that a
    spreadsheet would take for a formula begin with an apostrophe: mesh names come from people.
    """
    rows = [(each.time_s, {"row": "reading", **reading_figures(each)}) for each in readings]
    rows += [(each.time_s, {"row": each.kind.value, **_event_figures(each)}) for each in events]
    rows.sort(key=lambda row: row[0])
    text = io.StringIO()
    columns = ("time", "time_s", "row", *_READING_COLUMNS, *_EVENT_COLUMNS)
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for time_s, row in rows:
        cells = {name: _cell(value) for name, value in row.items()}
        writer.writerow({"time": _utc(time_s), **cells})
    return text.getvalue()


def history_json(readings: Sequence[MemoryReading], events: Sequence[MemoryEvent]) -> str:
    """Readings and events as two lists, sizes in bytes, unknown is null."""
    payload = {
        "readings": [reading_figures(each) for each in readings],
        "events": [{"kind": each.kind.value, **_event_figures(each)} for each in events],
    }
    return json.dumps(payload, separators=(",", ":"))


def reading_figures(reading: MemoryReading) -> dict[str, object]:
    """One reading without nesting; sizes in bytes, unknown is None. `weights`: by component."""
    device, shares, host = reading.device, reading.shares, reading.host
    allocator, pieces = device.allocator, device.fragmentation
    own = shares or reading.host_shares
    return {
        "time_s": reading.time_s,
        "device": device.name,
        "total": device.total_bytes,
        "used": device.used_bytes,
        "free": device.free_bytes,
        "budget": device.budget_bytes,
        "allocated": allocator and allocator.allocated_bytes,
        "reserved": allocator and allocator.reserved_bytes,
        "peak_allocated": allocator and allocator.peak_allocated_bytes,
        "peak_reserved": allocator and allocator.peak_reserved_bytes,
        "weights": dict(own.weights),
        "activations": shares and shares.activations_bytes,
        "cache": shares and shares.cache_bytes,
        "context": shares and shares.context_bytes,
        "others": shares and shares.others_bytes,
        "unattributed": shares and shares.unattributed_bytes,
        "driver": shares and shares.driver_bytes,
        "largest_free_block": pieces and pieces.largest_free_bytes,
        "inactive_split": pieces and pieces.inactive_split_bytes,
        "host_total": host.total_bytes,
        "host_available": host.available_bytes,
        "app_rss": host.app_rss_bytes,
        "worker_rss": host.worker_rss_bytes,
        "swap_used": host.swap_used_bytes,
        "is_busy": reading.is_busy,
    }


def prometheus_text(
    reading: MemoryReading,
    status: ManagerStatus,
    *,
    event_counts: Mapping[EventKind, int] | None = None,
    plan: Plan | None = None,
) -> str:
    """All known figures, in bytes; unknown ones are left out. `plan`: of the latest job."""
    families = (
        ("device_memory_bytes", "Memory of the device that models use.", _device(reading)),
        ("device_share_bytes", "Who holds the device's memory.", _shares(reading)),
        ("cache_fragment_bytes", "How torch's cache is cut up.", _fragments(reading)),
        ("host_memory_bytes", "Memory of the machine.", _host(reading)),
        ("model_weight_bytes", "Weights of each loaded model.", _models(status)),
        ("model_host_bytes", "Weights that the host keeps of each model.", _parked(status)),
        ("model_in_use", "How many leases a model has.", _leases(status)),
        ("plan_bytes", "The latest job's planned peak, and what it may use.", _plan(plan)),
        ("memory_events_total", "What happened to memory.", _counts(event_counts or {})),
        ("reading_time_seconds", "Unix time of the reading.", iter([("", reading.time_s)])),
    )
    lines: list[str] = []
    for name, text, samples in families:
        given = [f"partwise_{name}{labels} {value}" for labels, value in samples]
        kind = "counter" if name.endswith("_total") else "gauge"
        if given:
            lines += [f"# HELP partwise_{name} {text}", f"# TYPE partwise_{name} {kind}", *given]
    return "\n".join(lines) + "\n"


Samples = Iterator[tuple[str, float]]


def _device(reading: MemoryReading) -> Samples:
    device, allocator = reading.device, reading.device.allocator
    figures = {
        "total": device.total_bytes,
        "used": device.used_bytes,
        "free": device.free_bytes,
        "budget": device.budget_bytes,
    }
    if allocator is not None:
        figures["allocated"] = allocator.allocated_bytes
        figures["reserved"] = allocator.reserved_bytes
        figures["peak_allocated"] = allocator.peak_allocated_bytes
        figures["peak_reserved"] = allocator.peak_reserved_bytes
    for kind, value in figures.items():
        if value is not None:
            yield _labels(device=device.name, kind=kind), value


def _shares(reading: MemoryReading) -> Samples:
    shares = reading.shares
    if shares is None:
        return
    figures = {
        "weights": shares.weight_bytes,
        "activations": shares.activations_bytes,
        "cache": shares.cache_bytes,
        "context": shares.context_bytes,
        "others": shares.others_bytes,
        "unattributed": shares.unattributed_bytes,
        "driver": shares.driver_bytes,
        "free": shares.free_bytes,
    }
    for share, value in figures.items():
        if value is not None:
            yield _labels(device=reading.device.name, share=share), value


def _fragments(reading: MemoryReading) -> Samples:
    pieces = reading.device.fragmentation
    if pieces is not None:
        yield _labels(kind="free"), pieces.free_bytes
        yield _labels(kind="largest_free_block"), pieces.largest_free_bytes
        yield _labels(kind="inactive_split"), pieces.inactive_split_bytes


def _host(reading: MemoryReading) -> Samples:
    host = reading.host
    yield _labels(kind="total"), host.total_bytes
    yield _labels(kind="available"), host.available_bytes
    yield _labels(kind="app_rss"), host.app_rss_bytes
    yield _labels(kind="worker_rss"), host.worker_rss_bytes
    yield _labels(kind="swap_used"), host.swap_used_bytes


def _models(status: ManagerStatus) -> Samples:
    for component in status.components:
        if component.state is ComponentState.LOADED and component.weight_bytes is not None:
            yield _labels(model=component.name), component.weight_bytes


def _parked(status: ManagerStatus) -> Samples:
    for component in status.components:
        if component.host_bytes:
            pinned = "true" if component.is_pinned else "false"
            yield _labels(model=component.name, pinned=pinned), component.host_bytes


def _leases(status: ManagerStatus) -> Samples:
    for component in status.components:
        yield _labels(model=component.name), component.lease_count


def _plan(plan: Plan | None) -> Samples:
    if plan is not None:
        yield _labels(kind="peak"), plan.peak_bytes
        yield _labels(kind="room"), plan.room_bytes


def _counts(counts: Mapping[EventKind, int]) -> Samples:
    for kind, count in counts.items():
        yield _labels(kind=kind.value), count


def _event_figures(event: MemoryEvent) -> dict[str, object]:
    return {
        "time_s": event.time_s,
        "subject": event.subject,
        "size": event.size_bytes,
        "elapsed_s": event.elapsed_s,
        "detail": event.detail,
    }


def _cell(value: object) -> object:
    """A value for a table: weights as their sum, no text that a spreadsheet would compute."""
    if isinstance(value, dict):
        return sum(value.values())
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return f"'{value}"
    return value


def _utc(time_s: float) -> str:
    moment = datetime.fromtimestamp(time_s, timezone.utc)
    return moment.isoformat(timespec="milliseconds")


def _labels(**labels: str) -> str:
    return "{" + ",".join(f'{key}="{_escape(value)}"' for key, value in labels.items()) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
