"""What a runner and its child process say to each other, in the frames of `core.worker_process`.

To the child: first a `Start`, then orders (number, verb, arguments). Back: frames that begin
with the number of the order they answer, save for what the child tells by itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from partwise.vram.readings import DeviceReading
from partwise.vram.settings import VramSettings

Order = tuple[int, str, tuple[Any, ...]]

NUMBER_SIZE = 8  # bytes of an order's number
PROGRESS, RESULT, ERROR, OUT_OF_MEMORY = b"P", b"R", b"E", b"O"
STATE, LOG = b"S", b"L"  # told by itself, without a number
FINAL = (RESULT, ERROR, OUT_OF_MEMORY)


@dataclass(frozen=True)
class Start:
    """How a child begins. setup: "package.module:function" that lists its components."""

    setup: str
    setup_args: tuple[Any, ...]
    settings: VramSettings
    budget_bytes: int | None
    log_level: int


@dataclass(frozen=True)
class ChildState:
    """A child's memory. own_bytes: as `DeviceDoor.own_bytes`; kept: on the host, by component.

    peak_count: how often its peaks have begun anew, so that the parent knows an older one.
    """

    reading: DeviceReading
    own_bytes: int | None
    kept: Mapping[str, int]
    peak_count: int
