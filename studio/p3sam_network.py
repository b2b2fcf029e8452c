"""P3-SAM's network at work on one mesh, stage by stage, as planned and within memory.

Each stage has one lease and runs wherever the model lives. torch is not needed here.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

from partwise.core.errors import WeightsError
from partwise.core.progress import CancelToken, Progress, ProgressCallback, scaled
from partwise.p3sam.prepare import PreparedMesh
from partwise.p3sam.settings import P3SamSettings
from partwise.vram.component import Lease
from partwise.vram.job import PlannedJob
from partwise.vram.plan import StagePlan
from studio.catalog import P3SAM, Engines
from studio.encoded import EncodedMesh
from studio.p3sam_need import CLICK, ENCODE, MASKS, Run, levels_of, need_of

if TYPE_CHECKING:
    from partwise.p3sam.pipeline import PointMasks, PromptMasks

_PIPELINE = "partwise.p3sam.pipeline"
_LOADING_SHARE = 0.3  # of a stage's progress, when its weights must be loaded first


@dataclass(frozen=True)
class Watch:
    """Who follows a job: told of its progress, able to stop it."""

    progress: ProgressCallback
    cancel: CancelToken

    def part(self, start: float, stop: float) -> "Watch":
        """For a stage whose own [0, 1] is [start, stop] of this one's."""
        return Watch(scaled(self.progress, start, stop), self.cancel)


class Network:
    """The stages of one run, planned when it is made; raises `MemoryBudgetError` if none fits."""

    def __init__(
        self,
        prepared: PreparedMesh,
        settings: P3SamSettings,
        engines: Engines,
        stages: tuple[str, ...],
        watch: Watch,
    ) -> None:
        self._prepared, self._settings = prepared, settings
        self._engines = engines
        self._watch = watch
        if reason := engines.manager.spec(P3SAM).why_unavailable():
            raise WeightsError(reason)
        run = Run(settings, levels_of(prepared), stages)
        self._job = PlannedJob(engines.memory, need_of(run, engines), watch.cancel)

    @property
    def is_on_host(self) -> bool:
        """Whether the stages that ran last did so on the CPU although there is a GPU."""
        return self._job.plan.is_on_host

    @property
    def held(self) -> str:
        """The precision of the weights in the stage that ran last, empty where no bit changed."""
        return self._job.plan.precision if self._job.plan.quality else ""

    @property
    def peaks(self) -> dict[str, int]:
        """Bytes at each stage's measured peak."""
        return dict(self._job.peaks)

    @property
    def load_s(self) -> float:
        """Seconds until each stage had its weights, together."""
        return self._job.load_s

    @property
    def words(self) -> str:
        """How the stages ran, for the report."""
        return self._job.words

    def encode(self, watch: Watch) -> NDArray[np.float32]:
        """(N, 512) float32 features of the sampled points."""

        def work(lease: Lease, step: StagePlan) -> NDArray[np.float32]:
            found = lease.call(
                f"{_PIPELINE}:encode_points",
                self._prepared,
                precision=self._settings.encoder_precision,
                progress=_after_loading(watch.progress),
                cancel=watch.cancel,
            )
            return cast("NDArray[np.float32]", found)

        features = self._job.run(ENCODE, work, self._loading(watch))
        require_numbers(features, "features", self._settings.encoder_precision)
        return features

    def ask(self, encoded: EncodedMesh, watch: Watch) -> "PromptMasks":
        """The best mask of every prompt; masks that are there survive a lack of memory."""
        from partwise.p3sam.pipeline import UnfinishedMasks  # with torch, once a job needs it

        settings = self._settings
        prepared = encoded.with_prompts(settings.prompt_count)
        unfinished = UnfinishedMasks(len(prepared.prompts), len(prepared.points))

        def work(lease: Lease, step: StagePlan) -> "PromptMasks":
            found = lease.call(
                f"{_PIPELINE}:predict_masks",
                encoded.features,
                prepared,
                replace(
                    settings,
                    prompt_batch=step.knobs["prompt_batch"],
                    point_chunk=step.knobs["point_chunk"],
                ),
                unfinished=unfinished,
                is_streamed=bool(step.knobs["is_streamed"]),
                progress=_after_loading(watch.progress),
                cancel=watch.cancel,
            )
            return cast("PromptMasks", found)

        found = self._job.run(MASKS, work, self._loading(watch))
        require_numbers(found.ious, "predicted IoUs", settings.precision)
        return found

    def ask_at(self, features: NDArray[np.float32], sample: int, watch: Watch) -> "PointMasks":
        """The three masks of one of the sampled points."""

        def work(lease: Lease, step: StagePlan) -> "PointMasks":
            found = lease.call(
                f"{_PIPELINE}:predict_point",
                features,
                self._prepared,
                sample,
                self._settings,
                is_streamed=bool(step.knobs["is_streamed"]),
                progress=_after_loading(watch.progress),
                cancel=watch.cancel,
            )
            return cast("PointMasks", found)

        found = self._job.run(CLICK, work, self._loading(watch))
        require_numbers(found.ious, "predicted IoUs", self._settings.precision)
        return found

    def _loading(self, watch: Watch) -> ProgressCallback:
        """Tell of the weights' loading as the first part of a stage."""
        report = scaled(watch.progress, 0, _LOADING_SHARE)
        if P3SAM not in self._engines.manager.resident_weights():
            report(Progress("Loading P3-SAM", 0.0))
        return lambda step: report(Progress("Loading P3-SAM", step.fraction, step.detail))


def _after_loading(progress: ProgressCallback) -> ProgressCallback:
    return scaled(progress, _LOADING_SHARE, 1)


def require_numbers(values: NDArray[np.float32], what: str, precision: str) -> None:
    """Raise `WeightsError` when the network answers with infinities or with no numbers."""
    bad = values.size - np.count_nonzero(np.isfinite(values))
    if not bad:
        return
    todo = "fetch them again with `cli.py weights fetch p3sam`"
    if precision != "fp32":
        todo = f"choose fp32 in place of {precision}; if the same happens then, {todo}"
    raise WeightsError(
        f"P3-SAM answered with {bad:,} of {values.size:,} {what} that are not finite numbers, as "
        f"it does when its weights are damaged. What to do: {todo}."
    )
