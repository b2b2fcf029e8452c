"""What the next job needs, and what it would need under other settings, for a diagnosis."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

from partwise.core.errors import ConfigError
from partwise.vram.device import DeviceDoor
from partwise.vram.peaks import MeasuredPeaks
from partwise.vram.plan import Plan, Preferences
from partwise.vram.readings import DeviceReading, ManagerStatus, MemoryReading
from studio.catalog import P3SAM, Engines, find_model
from studio.configuration import DEFAULT_PRESET, Configuration
from studio.diagnosis import Alternative
from studio.p3sam_need import Run, need_of
from studio.pace import Pace
from studio.what_if import alternatives_to, plan_with_need, room_in
from studio.workflow import PEAKS_FILE


def next_job(
    configuration: Configuration,
    engines: Engines,
    reading: MemoryReading,
    status: ManagerStatus,
    wanted: Preferences,
) -> tuple[Plan | None, tuple[Alternative, ...], str]:
    """P3-SAM's plan with the page's first preset in a server's memory, and its alternatives.

    Without a plan the last is why: weights are missing, settings rule each other out, or nobody
    tells how much memory there is.
    """
    if why := find_model(P3SAM).why_unavailable(configuration.app.weights_dir):
        return None, (), why
    there = _where_it_runs(engines, reading)
    plan_with = plan_with_need(
        room_in(reading, status),
        lambda preset: need_of(Run(configuration.p3sam_settings(preset)), there),
    )
    try:
        found = plan_with(DEFAULT_PRESET, wanted)
    except ConfigError as err:
        return None, (), err.message
    if found is None:
        return None, (), "The GPU does not tell how much memory it has."
    return (
        found,
        alternatives_to(plan_with, DEFAULT_PRESET, wanted, tuple(configuration.presets)),
        "",
    )


def as_given(server: Preferences, own: Preferences, given: Mapping[str, object]) -> Preferences:
    """A server's preferences, with those of this command's options in their place."""
    fields = {"budget_gib": "budget_bytes", "ladder": "ladder", "weights": "precision"}
    changed = {fields[key] for key, value in given.items() if key in fields and value is not None}
    return replace(server, **{name: getattr(own, name) for name in changed})


@dataclass(frozen=True)
class _Seen:
    """A device as somebody else has read it."""

    reading: DeviceReading

    def read(self) -> DeviceReading:
        return self.reading


def _where_it_runs(engines: Engines, reading: MemoryReading) -> Engines:
    """These engines as they would be on the device of a server: its kind, its measured peaks."""
    device = reading.device
    memory = replace(
        engines.memory,
        device=cast(DeviceDoor, _Seen(device)),
        peaks=MeasuredPeaks(engines.weights_dir.expanduser() / PEAKS_FILE, device.name),
    )
    return replace(engines, memory=memory, pace=Pace(is_on_gpu=device.computes_on_gpu))
