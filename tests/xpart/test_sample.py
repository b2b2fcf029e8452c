from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from partwise.core.errors import Cancelled, WeightsError
from partwise.core.progress import CancelToken, Progress
from partwise.xpart import sample
from partwise.xpart.parts import Conditions, UnfinishedLatents
from partwise.xpart.precision import keeps_fp32
from partwise.xpart.sample import sample_latents
from partwise.xpart.sampler import initial_latents
from partwise.xpart.settings import XPartSettings
from tests.xpart.dit_support import conditions_of, filled_dit, normal, tiny_dit
from tests.xpart.support import golden, largest_difference, relative_rms

BOXES = np.random.default_rng(0).normal(size=(4, 2, 3)).astype(np.float32)
SHORT = XPartSettings(steps=6)


def conditions() -> Conditions:
    return Conditions(normal(2, 1, 20, 32), normal(3, 4, 24, 32))


def noise(seed: int = 42) -> UnfinishedLatents:
    return initial_latents(BOXES, seed, tokens=16, channels=8)


def latents(settings: XPartSettings = SHORT) -> np.ndarray:
    start = noise(settings.seed)
    return sample_latents(tiny_dit(), conditions(), start, BOXES, settings).latents


@pytest.fixture
def golden_part_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference's own draws in the place of ours."""
    drawn = golden("sampling_tiny")["part_ids"].astype(np.int64)
    monkeypatch.setattr(sample, "draw_part_ids", lambda aabbs, seed, step, valid_num: drawn[step])


@pytest.mark.usefixtures("golden_part_ids")
def test_sampling_is_the_golden_one() -> None:
    arrays, name = golden("sampling_tiny"), "sampling_tiny"
    unfinished = UnfinishedLatents(arrays["latents0"].astype(np.float32))
    for stop in (1, 10, 49):
        sample_latents(
            tiny_dit(), conditions_of(name), unfinished, BOXES, XPartSettings(), stop_step=stop
        )
        assert unfinished.done_steps == stop
        assert largest_difference(unfinished.latents, arrays[f"latents_after_{stop}"]) < 1e-5
    assert np.array_equal(arrays["latents_after_49"], arrays["latents_after_50"])


@pytest.mark.parametrize("stop", range(6))
def test_a_run_taken_up_again_at_any_step_gives_the_same_bits(stop: int) -> None:
    unfinished = noise()
    sample_latents(tiny_dit(), conditions(), unfinished, BOXES, SHORT, stop_step=stop)
    assert unfinished.done_steps == min(stop, 5)
    again = UnfinishedLatents(unfinished.latents.copy())
    again.done_steps = unfinished.done_steps
    sample_latents(tiny_dit(), conditions(), again, BOXES, SHORT)
    assert again.done_steps == 5
    assert np.array_equal(again.latents, latents())


def test_a_finished_run_is_left_as_it_is() -> None:
    finished = sample_latents(tiny_dit(), conditions(), noise(), BOXES, SHORT)
    before = finished.latents.copy()
    sample_latents(tiny_dit(), conditions(), finished, BOXES, SHORT)
    assert finished.done_steps == 5
    assert np.array_equal(finished.latents, before)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    assert np.array_equal(latents(), latents())
    assert not np.allclose(latents(), latents(replace(SHORT, seed=43)), atol=0.1)


def test_the_order_of_the_parts_does_not_matter() -> None:
    order, seen = np.array([2, 0, 3, 1]), conditions()
    turned = Conditions(seen.object, seen.parts[order])
    start = initial_latents(BOXES[order], 42, tokens=16, channels=8)
    found = sample_latents(tiny_dit(), turned, start, BOXES[order], SHORT).latents
    assert largest_difference(found, latents()[order]) < 1e-5


@pytest.mark.parametrize("part_batch", [0, 1, 3])
@pytest.mark.parametrize("is_cached", [False, True])
@pytest.mark.parametrize("is_offloaded", [False, True])
def test_the_way_does_not_change_the_latents(
    part_batch: int, is_cached: bool, is_offloaded: bool
) -> None:
    found = sample_latents(
        tiny_dit(),
        conditions(),
        noise(),
        BOXES,
        SHORT,
        part_batch=part_batch,
        is_cached=is_cached,
        is_offloaded=is_offloaded,
    )
    assert largest_difference(found.latents, latents()) < 1e-5


@pytest.mark.parametrize("check", [0, 1, 6, 7, 20, 33])
def test_cancelling_anywhere_leaves_whole_steps_to_go_on_from(check: int) -> None:
    unfinished, token, heard = noise(), CancelToken(), 0

    def listen(step: Progress) -> None:
        nonlocal heard
        if heard == check:
            token.cancel()
        heard += 1

    with pytest.raises(Cancelled):
        sample_latents(
            tiny_dit(), conditions(), unfinished, BOXES, SHORT, progress=listen, cancel=token
        )
    blocks = 7
    assert unfinished.done_steps == check // blocks
    assert unfinished.latents.shape == (4, 16, 8)
    found = sample_latents(tiny_dit(), conditions(), unfinished, BOXES, SHORT)
    assert np.array_equal(found.latents, latents())


def test_a_cancel_is_heard_within_a_block() -> None:
    model, cancel = deepcopy(tiny_dit()), CancelToken()
    layers = []
    for block in model.blocks[:1]:
        block.norm1.register_forward_hook(lambda *_: cancel.cancel())
        block.norm2.register_forward_hook(lambda *_: layers.append("after it"))
    with pytest.raises(Cancelled):
        sample_latents(model, conditions(), noise(), BOXES, SHORT, cancel=cancel)
    assert not layers


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_step_that_gives_no_numbers_is_refused_and_not_taken(wrong: float) -> None:
    model, start = deepcopy(tiny_dit()), noise()
    sample_latents(model, conditions(), start, BOXES, SHORT, stop_step=2)
    before = start.latents.copy()
    model.final_layer.linear.weight[0, 0] = wrong
    with pytest.raises(WeightsError, match=r"Step 3 .* 4 of 4 parts, computing in float32"):
        sample_latents(model, conditions(), start, BOXES, SHORT)
    assert start.done_steps == 2
    assert np.array_equal(start.latents, before)


def test_a_type_too_narrow_for_the_conditions_is_named_in_the_first_step() -> None:
    given = conditions()
    huge = Conditions(given.object * 1e6, given.parts)
    with pytest.raises(WeightsError, match=r"Step 1 .* computing in float16"):
        sample_latents(tiny_dit(), huge, noise(), BOXES, SHORT, precision="fp16")


def test_progress_names_the_step_and_never_falls() -> None:
    heard: list[Progress] = []
    sample_latents(tiny_dit(), conditions(), noise(), BOXES, SHORT, progress=heard.append)
    fractions = [step.fraction for step in heard]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0, 1)
    details = dict.fromkeys(step.detail for step in heard[:-1])
    assert list(details) == [f"step {i} of 5" for i in range(1, 6)]


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_products_in_16_bits_stay_close_and_latents_stay_float32(precision: str) -> None:
    found = sample_latents(
        tiny_dit(), conditions(), noise(), BOXES, SHORT, precision=precision
    ).latents
    assert found.dtype == np.float32
    assert not np.array_equal(found, latents())
    assert relative_rms(torch.from_numpy(found), latents()) < 0.05


def test_weights_of_16_bits_are_multiplied_in_16_bits() -> None:
    lowered = filled_dit(tiny_dit().config)
    for key, weight in lowered.named_parameters():
        weight.data = weight if keeps_fp32(key) else weight.to(torch.bfloat16)
    found = sample_latents(lowered, conditions(), noise(), BOXES, SHORT)
    wanted = sample_latents(
        tiny_dit(), conditions(), noise(), BOXES, SHORT, precision="bf16"
    ).latents
    assert np.array_equal(found.latents, wanted)
