"""The sampler at work: from noise to latents, where the PartFormer lives.

A finished step is on the host; whoever runs this again goes on from there.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partwise.core.errors import WeightsError
from partwise.core.progress import CancelToken, Progress, ProgressCallback, ignore_progress
from partwise.xpart.attention import ConditionCache
from partwise.xpart.blocks import Way
from partwise.xpart.dit import PartFormer
from partwise.xpart.parts import Conditions, UnfinishedLatents
from partwise.xpart.products import product_dtype
from partwise.xpart.sampler import draw_part_ids, euler_step, step_times
from partwise.xpart.settings import XPartSettings


@torch.inference_mode()
def sample_latents(
    model: PartFormer,
    conditions: Conditions,
    unfinished: UnfinishedLatents,
    aabbs: NDArray[np.float32],
    settings: XPartSettings,
    *,
    stop_step: int | None = None,
    precision: str = "fp32",
    part_batch: int = 0,
    is_cached: bool = False,
    is_offloaded: bool = False,
    progress: ProgressCallback = ignore_progress,
    cancel: CancelToken | None = None,
) -> UnfinishedLatents:
    """`unfinished`, which takes each of the remaining steps as it comes, and is returned.

    aabbs: (P, 2, 3) float32 of the parts. stop_step: how many steps shall be done then; all of
    those that change something by default. precision: of matrix products, see `product_dtype`;
    norms, latents and what blocks add up are float32. part_batch: parts at once, 0 for all.
    is_cached: keys and values of the conditions stay on the device from step to step. is_offloaded:
    conditions and skips stay on the host. Raises `Cancelled` between two layers, and `WeightsError`
    when a step gives something that is no number; it is then not taken.
    """
    stop = min(settings.model_calls, settings.model_calls if stop_step is None else stop_step)
    cancel = cancel or CancelToken()
    watch = _Watch(settings.model_calls, progress, cancel)
    dtype = product_dtype(model, precision)
    cache = ConditionCache() if is_cached else None
    way = Way(dtype, part_batch, is_offloaded, cache, cancel.raise_if_cancelled)
    if not is_offloaded:
        device = model.part_embed.device
        conditions = Conditions(
            conditions.object.to(device, dtype), conditions.parts.to(device, dtype)
        )
    times = step_times(settings.steps)
    while unfinished.done_steps < stop:
        step = unfinished.done_steps
        ids = draw_part_ids(aabbs, settings.seed, step, model.config.valid_num)
        latents = _on(model, unfinished.latents)
        velocity = model(
            latents, float(times[step]), conditions, _on(model, ids), way, check=watch.step(step)
        )
        found = velocity.cpu().numpy()
        _refuse_no_numbers(found, step, dtype)
        unfinished.put(euler_step(unfinished.latents, found, step, settings.steps))
        del latents, velocity, found  # before the next step's
    watch.finish(stop)
    return unfinished


def _refuse_no_numbers(velocity: NDArray[np.float32], step: int, dtype: torch.dtype) -> None:
    wrong = int((~np.isfinite(velocity)).any(axis=(1, 2)).sum())
    if wrong:
        kind = str(dtype).removeprefix("torch.")
        raise WeightsError(
            f"Step {step + 1} gave values that are no finite numbers for {wrong} of "
            f"{len(velocity)} parts, computing in {kind}. Choose weights in bf16 or fp32, or fetch "
            "the weights again."
        )


@dataclass(frozen=True)
class _Watch:
    """Tells of each step, and stops within it when somebody cancels."""

    calls: int
    progress: ProgressCallback
    cancel: CancelToken

    def step(self, step: int) -> Callable[[float], None]:
        """What to call within a step with the share of it that is done."""
        detail = f"step {step + 1} of {self.calls}"

        def check(share: float) -> None:
            self.cancel.raise_if_cancelled()
            self.progress(Progress("Shaping the parts", (step + share) / self.calls, detail))

        return check

    def finish(self, done: int) -> None:
        """Say how far it is now."""
        self.progress(Progress("Shaping the parts", done / self.calls))


def _on(model: PartFormer, array: NDArray[np.generic]) -> Tensor:
    return torch.from_numpy(array).to(model.part_embed.device)
