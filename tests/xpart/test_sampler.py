import numpy as np
import pytest

from partwise.xpart.sampler import (
    draw_part_ids,
    euler_step,
    initial_latents,
    step_sigmas,
    step_times,
)
from tests.xpart.support import golden

BOXES = np.random.default_rng(0).normal(size=(9, 2, 3)).astype(np.float32)
ORDER = np.array([4, 8, 0, 3, 1, 7, 2, 6, 5])


def noise(boxes: np.ndarray, seed: int = 42) -> np.ndarray:
    return initial_latents(boxes, seed, tokens=6, channels=4).latents


def test_sigmas_and_times_are_the_golden_ones() -> None:
    arrays = golden("sampling_tiny")
    assert np.array_equal(step_sigmas(50), arrays["sigmas"])
    assert np.array_equal(step_times(50), arrays["model_t_fp32"])
    assert step_sigmas(50).dtype == step_times(50).dtype == np.float32


@pytest.mark.parametrize("steps", [2, 7, 200])
def test_the_way_goes_from_0_to_1_and_its_last_step_has_no_length(steps: int) -> None:
    sigmas = step_sigmas(steps)
    assert len(sigmas) == steps + 1
    assert (sigmas[0], sigmas[-2], sigmas[-1]) == (0, 1, 1)
    assert (np.diff(sigmas)[:-1] > 0).all()


def test_steps_of_a_constant_velocity_add_up_to_it() -> None:
    latents = np.zeros((2, 3, 4), dtype=np.float32)
    for step in range(50):
        latents = euler_step(latents, np.ones_like(latents), step, 50)
    assert latents.dtype == np.float32
    assert np.allclose(latents, 1, atol=1e-6)


def test_noise_belongs_to_the_box_and_not_to_its_place() -> None:
    assert np.array_equal(noise(BOXES[ORDER]), noise(BOXES)[ORDER])
    assert np.array_equal(noise(BOXES[[3]]), noise(BOXES)[[3]])


def test_the_same_seed_gives_the_same_noise_and_another_seed_another() -> None:
    assert np.array_equal(noise(BOXES), noise(BOXES))
    assert not np.isclose(noise(BOXES), noise(BOXES, seed=43)).any()


def test_equal_boxes_get_different_noise() -> None:
    found = noise(BOXES[[0, 1, 0]])
    assert np.array_equal(found[:2], noise(BOXES[:2]))
    assert not np.isclose(found[2], found[0]).any()


def test_a_negative_zero_is_a_zero() -> None:
    box = np.array([[[0, 0, 0], [1, 1, 1]]], dtype=np.float32)
    assert np.array_equal(noise(box), noise(box * np.float32([1, 1, 1]) - np.float32(0)))
    assert np.array_equal(noise(box), noise(np.where(box == 0, np.float32(-0.0), box)))


def test_noise_is_normal_and_fresh() -> None:
    found = initial_latents(BOXES, 42, tokens=256, channels=16)
    assert found.done_steps == 0
    assert found.latents.shape == (9, 256, 16)
    assert found.latents.dtype == np.float32
    assert abs(found.latents.mean()) < 0.02
    assert abs(found.latents.std() - 1) < 0.02


def test_part_numbers_follow_the_boxes_and_not_their_places() -> None:
    for step in range(5):
        wanted = draw_part_ids(BOXES, 42, step, 50)[ORDER]
        assert np.array_equal(draw_part_ids(BOXES[ORDER], 42, step, 50), wanted)


def test_part_numbers_are_drawn_anew_for_each_step_and_none_twice() -> None:
    drawn = [tuple(draw_part_ids(BOXES, 42, step, 50)) for step in range(49)]
    assert len(set(drawn)) == 49
    assert all(len(set(ids)) == 9 and {*ids} <= {*range(50)} for ids in drawn)
    assert {number for ids in drawn for number in ids} == set(range(50))
    assert draw_part_ids(BOXES, 43, 0, 50).tolist() != list(drawn[0])


def test_more_parts_than_numbers_are_refused() -> None:
    assert sorted(draw_part_ids(BOXES, 42, 0, 9)) == list(range(9))
    with pytest.raises(ValueError, match=r"9 parts.* 8 at most"):
        draw_part_ids(BOXES, 42, 0, 8)
