"""What the next job needs, and what it would need under other settings, for a diagnosis."""

from partwise.core.errors import ConfigError
from partwise.vram.plan import Plan, Preferences
from partwise.vram.readings import ManagerStatus, MemoryReading
from studio.catalog import P3SAM, Engines, find_model
from studio.configuration import DEFAULT_PRESET, Configuration
from studio.diagnosis import Alternative
from studio.p3sam_need import Run, need_of
from studio.what_if import alternatives_to, plan_with_need, room_in


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
    plan_with = plan_with_need(
        room_in(reading, status),
        lambda preset: need_of(Run(configuration.p3sam_settings(preset)), engines),
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
