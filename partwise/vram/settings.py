"""How long models stay loaded and how often memory is read (`configs/vram.yaml`)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class VramSettings:
    """Times in seconds, rates in readings per second; `idle_unload_s` of 0 keeps models loaded."""

    idle_unload_s: float = 300.0
    lease_timeout_s: float = 600.0
    sample_hz_idle: float = 2.0
    sample_hz_busy: float = 10.0
    history_s: float = 120.0

    def __post_init__(self) -> None:
        if not self.idle_unload_s >= 0:
            raise ValueError(f"idle_unload_s is {self.idle_unload_s}; give 0 or more seconds")
        for name in ("lease_timeout_s", "sample_hz_idle", "sample_hz_busy", "history_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be more than 0")
        if self.sample_hz_busy < self.sample_hz_idle:
            raise ValueError(
                f"sample_hz_busy ({self.sample_hz_busy}) is less than sample_hz_idle "
                f"({self.sample_hz_idle}); a busy monitor reads at least as often"
            )
