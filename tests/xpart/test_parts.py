"""What goes between the stages also goes between processes."""

import pickle
from dataclasses import fields

import numpy as np
import pytest
import torch

from partwise.core.worker_process import plain_value
from partwise.xpart.parts import Conditions, RawSurface, UnfinishedLatents


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_child_may_return_conditions_of_every_type_bit_for_bit(dtype: torch.dtype) -> None:
    whole, parts = torch.randn(1, 5, 3), torch.randn(4, 5, 3)
    sent = Conditions(whole.to(dtype), parts.transpose(0, 1).contiguous().transpose(0, 1).to(dtype))
    back = plain_value(pickle.dumps(sent, protocol=pickle.HIGHEST_PROTOCOL))
    assert isinstance(back, Conditions)
    for one in fields(Conditions):
        before, after = getattr(sent, one.name), getattr(back, one.name)
        assert after.dtype is dtype
        assert torch.equal(before, after)


def test_a_child_may_return_unfinished_latents_and_surfaces() -> None:
    latents = UnfinishedLatents(np.ones((2, 3, 4), np.float32))
    latents.put(np.zeros((2, 3, 4), np.float32))
    back = plain_value(pickle.dumps(latents))
    assert back.done_steps == 1
    assert not back.latents.any()
    surface = RawSurface(np.ones((3, 3)), np.array([[0, 1, 2]]), 7)
    assert plain_value(pickle.dumps(surface)).query_count == 7
