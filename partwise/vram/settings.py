"""How long models stay loaded, how much memory they may take (`configs/vram.yaml`)."""

import math
from dataclasses import dataclass

from partwise.vram.plan import PRECISIONS, Ladder

_GIB = 2**30


@dataclass(frozen=True)
class VramSettings:
    """Times in seconds, rates in readings per second, sizes in GiB.

    idle_unload_s: an unused model leaves the device, 0 keeps it. host_keep_s: then its weights stay
    on the host for so long, 0 for ever. worker_keep_s: then its process ends, if it has its own
    (`is_isolated`), 0 never. budget_gib: all that Partwise may hold on the device, 0 = what is
    free. reserve_gib: left free there for the display and other programs. host_cache_gib: the most
    for weights kept on the host, 0 = chosen from what the machine has. ladder: which ways to fit
    are allowed (`plan.Ladder`). weights: the precision of all weights, "auto" = as planned.
    simulated_gib: pretend to have a GPU of this size, 0 = do not.
    """

    idle_unload_s: float = 300.0
    host_keep_s: float = 900.0
    worker_keep_s: float = 60.0
    is_isolated: bool = False
    budget_gib: float = 0.0
    reserve_gib: float = 0.4
    host_cache_gib: float = 0.0
    ladder: str = "auto"
    weights: str = "auto"
    simulated_gib: float = 0.0
    lease_timeout_s: float = 600.0
    sample_hz_idle: float = 2.0
    sample_hz_busy: float = 10.0
    history_s: float = 120.0

    def __post_init__(self) -> None:
        for name in (
            "idle_unload_s",
            "host_keep_s",
            "worker_keep_s",
            "budget_gib",
            "reserve_gib",
            "host_cache_gib",
            "simulated_gib",
        ):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; give a number from 0 up")
        for name in ("lease_timeout_s", "sample_hz_idle", "sample_hz_busy", "history_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; give a number above 0")
        if self.sample_hz_busy < self.sample_hz_idle:
            raise ValueError(
                f"sample_hz_busy ({self.sample_hz_busy}) is less than sample_hz_idle "
                f"({self.sample_hz_idle}); a busy monitor reads at least as often"
            )
        _require("ladder", self.ladder, tuple(ladder.value for ladder in Ladder))
        _require("weights", self.weights, ("auto", *PRECISIONS))

    @property
    def budget_bytes(self) -> int | None:
        """What Partwise may hold on the device; None = whatever is free."""
        return int(self.budget_gib * _GIB) or None

    @property
    def reserve_bytes(self) -> int:
        """What stays free on the device."""
        return int(self.reserve_gib * _GIB)

    @property
    def host_cache_bytes(self) -> int | None:
        """The most for weights kept on the host; None = chosen from what the machine has."""
        return int(self.host_cache_gib * _GIB) or None

    @property
    def simulated_bytes(self) -> int | None:
        """The size of a simulated GPU; None = the real device."""
        return int(self.simulated_gib * _GIB) or None


def _require(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} is {value!r}; give one of {', '.join(known)}")
