"""A runner that keeps what `on_exit` heard, with the components of `worker_models.py`."""

from typing import Any

from partwise.core.progress import CancelToken
from partwise.vram.runner import Loaded
from partwise.vram.settings import VramSettings
from partwise.vram.worker_runner import WorkerRunner
from tests.vram import worker_models
from tests.vram.worker_models import LINEAR

JOBS = "tests.vram.worker_models"
WIDTH = 256
WEIGHT_BYTES = WIDTH * WIDTH * 4
SPECS = {spec.name: spec for spec in worker_models.specs(WIDTH)}
SETTINGS = VramSettings(simulated_gib=1.0, sample_hz_idle=10.0, sample_hz_busy=20.0)
GRACE_S = 1.5
BUDGET_BYTES, OVER_BUDGET_BYTES = 512 * 2**20, 128 * 2**20  # the context takes 448 MiB of it


class Watched(WorkerRunner):
    """A runner that keeps what `on_exit` heard."""

    def __init__(self) -> None:
        self.losses: list[str] = []
        super().__init__(
            f"{JOBS}:specs",
            (WIDTH,),
            SETTINGS,
            on_exit=self.losses.append,
            cancel_grace_s=GRACE_S,
        )

    def load_linear(self) -> Loaded:
        return self.load(SPECS[LINEAR], precision="fp32", is_on_host=False, cancel=CancelToken())

    def do(self, job: str, *args: Any, **kwargs: Any) -> Any:
        return self.call(LINEAR, f"{JOBS}:{job}", *args, **kwargs)
