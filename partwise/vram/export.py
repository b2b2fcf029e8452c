"""A reading for programs: plain values for JSON, and Prometheus' text format for `/metrics`."""

from collections.abc import Iterator
from dataclasses import asdict

from partwise.vram.readings import ComponentState, ManagerStatus, MemoryReading


def status_payload(reading: MemoryReading, status: ManagerStatus) -> dict[str, object]:
    """Everything known, ready for JSON; bytes are ints, unknown is None."""
    return {**asdict(reading), "manager": asdict(status)}


def prometheus_text(reading: MemoryReading, status: ManagerStatus) -> str:
    """All known figures as gauges in bytes; unknown ones are left out."""
    families = (
        ("device_memory_bytes", "Memory of the device that models use.", _device(reading)),
        ("device_share_bytes", "Who holds the device's memory.", _shares(reading)),
        ("host_memory_bytes", "Memory of the machine.", _host(reading)),
        ("model_weight_bytes", "Weights of each loaded model.", _models(status)),
        ("model_in_use", "How many leases a model has.", _leases(status)),
        ("reading_time_seconds", "Unix time of the reading.", iter([("", reading.time_s)])),
    )
    lines: list[str] = []
    for name, text, samples in families:
        given = [f"partwise_{name}{labels} {value}" for labels, value in samples]
        if given:
            lines += [f"# HELP partwise_{name} {text}", f"# TYPE partwise_{name} gauge", *given]
    return "\n".join(lines) + "\n"


Samples = Iterator[tuple[str, float]]


def _device(reading: MemoryReading) -> Samples:
    device, allocator = reading.device, reading.device.allocator
    figures = {
        "total": device.total_bytes,
        "used": device.used_bytes,
        "free": device.free_bytes,
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


def _leases(status: ManagerStatus) -> Samples:
    for component in status.components:
        yield _labels(model=component.name), component.lease_count


def _labels(**labels: str) -> str:
    return "{" + ",".join(f'{key}="{_escape(value)}"' for key, value in labels.items()) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
