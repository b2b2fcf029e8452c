"""How fast X-Part's stages run on this machine: as in the last run, before the first one assumed.

Work is counted in floating-point operations, two for each multiply and add.
"""

import os
import threading

_GPU_FLOPS = 40e12  # bf16 products, a small card
_CPU_FLOPS_PER_CORE = 0.1e12  # an ordinary server core
_LEAST_FLOPS = 1e11  # below, the first steps of a stage take most of its time


class XPartPace:
    """Operations a second by stage and place; safe between threads."""

    def __init__(self) -> None:
        self._measured: dict[tuple[str, bool], float] = {}
        self._lock = threading.Lock()

    def note(self, stage: str, flops: float, elapsed_s: float, *, is_on_gpu: bool) -> None:
        """Take in a stage that is large enough to tell of larger ones."""
        if flops >= _LEAST_FLOPS and elapsed_s > 0:
            with self._lock:
                self._measured[stage, is_on_gpu] = flops / elapsed_s

    def seconds_for(self, stage: str, flops: float, *, is_on_gpu: bool) -> float:
        """How long so much of a stage's work takes."""
        with self._lock:
            pace = self._measured.get((stage, is_on_gpu))
        if pace is None:
            pace = _GPU_FLOPS if is_on_gpu else _CPU_FLOPS_PER_CORE * (os.cpu_count() or 1)
        return flops / pace
