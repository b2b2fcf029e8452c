"""The steps from noise to latents and all that is random in them, from one seed. No torch.

Specification sections 6 and 12: time runs from 0, noise, to 1. Each draw has a generator of its
own, made of the seed and of what it is for: a part's noise of its box, the part numbers of the
step. So neither the device nor the order of the parts nor where a run was taken up again matters.
"""

import numpy as np
from numpy.typing import NDArray

from partwise.xpart.parts import UnfinishedLatents

_TRAIN_TIMESTEPS = 1000
_NOISE, _PART_IDS = 1, 2  # what a draw is for; other numbers than elsewhere under the same seed


def step_sigmas(steps: int) -> NDArray[np.float32]:
    """(steps + 1,) float32 places on the way, from 0 to 1; the last step has length 0."""
    return np.append(np.linspace(0, 1, steps), 1).astype(np.float32)


def step_times(steps: int) -> NDArray[np.float32]:
    """(steps,) float32 times that the model is given: the published rounding of the sigmas."""
    timesteps = step_sigmas(steps)[:-1] * np.float32(_TRAIN_TIMESTEPS)
    return timesteps / np.float32(_TRAIN_TIMESTEPS)


def euler_step(
    latents: NDArray[np.float32], velocity: NDArray[np.float32], step: int, steps: int
) -> NDArray[np.float32]:
    """Latents after one more step, summed in float32."""
    sigmas = step_sigmas(steps)
    return latents + (sigmas[step + 1] - sigmas[step]) * velocity


def initial_latents(
    aabbs: NDArray[np.float32], seed: int, tokens: int, channels: int
) -> UnfinishedLatents:
    """Normal noise for each of (P, 2, 3) float32 boxes; equal boxes get different noise."""
    noise = np.empty((len(aabbs), tokens, channels), dtype=np.float32)
    boxes = _flat(aabbs)
    seen: dict[bytes, int] = {}
    for place, box in zip(noise, boxes, strict=True):
        twin = seen[box.tobytes()] = seen.get(box.tobytes(), -1) + 1
        words = (*box.view(np.uint32).tolist(), twin)
        generator = _generator(seed, _NOISE, *words)
        generator.standard_normal(dtype=np.float32, out=place)
    return UnfinishedLatents(noise)


def draw_part_ids(
    aabbs: NDArray[np.float32], seed: int, step: int, valid_num: int
) -> NDArray[np.int64]:
    """(P,) int64, no two equal: numbers for the parts with (P, 2, 3) float32 boxes in a step.

    Raises `ValueError` when there are more parts than numbers.
    """
    if len(aabbs) > valid_num:
        raise ValueError(f"{len(aabbs)} parts, but the model tells apart {valid_num} at most")
    ids = np.empty(len(aabbs), dtype=np.int64)
    drawn = _generator(seed, _PART_IDS, step).permutation(valid_num)
    ids[np.lexsort(_flat(aabbs).T)] = drawn[: len(aabbs)]
    return ids


def _flat(aabbs: NDArray[np.float32]) -> NDArray[np.float32]:
    """(P, 6) float32, without negative zeros: the same box has the same bits."""
    return np.ascontiguousarray(aabbs, dtype=np.float32).reshape(len(aabbs), -1) + np.float32(0)


def _generator(seed: int, *purpose: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=purpose))
