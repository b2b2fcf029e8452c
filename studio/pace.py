"""How fast P3-SAM runs on this machine: counted from the last run, before the first one assumed."""

import os
import threading

_CPU_PAIRS_PER_CORE_S = 25_000.0  # float32, an ordinary server core
_GPU_PAIRS_S = 2_000_000.0  # float32, a small card
_LEAST_PAIRS = 200_000  # below, the first steps of a run take most of its time


class Pace:
    """(point, prompt) pairs a second by precision; safe between threads."""

    def __init__(self, *, is_on_gpu: bool) -> None:
        self.is_on_gpu = is_on_gpu
        self._measured: dict[str, float] = {}
        self._lock = threading.Lock()

    def note(self, precision: str, pairs: int, elapsed_s: float) -> None:
        """Take in a run that is large enough to tell of larger ones."""
        if pairs >= _LEAST_PAIRS and elapsed_s > 0:
            with self._lock:
                self._measured[precision] = pairs / elapsed_s

    def is_measured(self, precision: str) -> bool:
        """Whether a run in this precision was seen."""
        with self._lock:
            return precision in self._measured

    def seconds_for(self, precision: str, pairs: int, *, is_on_gpu: bool | None = None) -> float:
        """How long so many pairs take; is_on_gpu: None = where models run here."""
        place = self.is_on_gpu if is_on_gpu is None else is_on_gpu
        with self._lock:
            pace = self._measured.get(precision) if place == self.is_on_gpu else None
        if pace is None:
            pace = _GPU_PAIRS_S if place else _CPU_PAIRS_PER_CORE_S * (os.cpu_count() or 1)
        return pairs / pace
