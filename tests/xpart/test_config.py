"""Hostile and careless configuration files: refused with the number and what to do."""

from dataclasses import replace
from typing import Any

import pytest

from partwise.core.errors import WeightsError
from partwise.xpart.config import (
    OBJECT_DRAWS,
    TINY,
    XPartConfig,
    conditioner_with_params,
    dit_with_params,
    refuse_unequal,
    vae_with_params,
)


@pytest.mark.parametrize("config", [XPartConfig(), TINY])
def test_configurations_that_exist_are_taken(config: XPartConfig) -> None:
    refuse_unequal(config)


@pytest.mark.parametrize(
    "value", [0, -1, True, None, "21", [21], {}, 1.5, float("nan"), float("inf"), 10**6]
)
def test_a_depth_that_cannot_be_is_refused_with_its_file(value: Any) -> None:
    with pytest.raises(WeightsError, match=r"model/config\.json says depth = .* remove it"):
        dit_with_params({"depth": value})


@pytest.mark.parametrize("depths", [[], [1], [1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 0], "11111"])
def test_a_point_encoder_of_other_stages_is_refused(depths: Any) -> None:
    with pytest.raises(WeightsError, match=r"conditioner/config\.json says depths"):
        conditioner_with_params({"sonata": {"depths": depths}})


def test_keys_that_are_not_ours_are_not_read() -> None:
    assert vae_with_params({"target": "os.system", "drop_path_rate": "rm"}) == XPartConfig().vae


@pytest.mark.parametrize(
    "config",
    [
        replace(TINY, dit=replace(TINY.dit, moe_top_k=9)),
        replace(TINY, dit=replace(TINY.dit, in_channels=7)),
        replace(TINY, dit=replace(TINY.dit, encoder_hidden_dim=7)),
        replace(
            TINY,
            conditioner=replace(
                TINY.conditioner,
                geo=replace(TINY.conditioner.geo, pc_size=OBJECT_DRAWS + 1),
                obj=replace(TINY.conditioner.obj, pc_size=OBJECT_DRAWS + 1),
            ),
        ),
        replace(
            TINY,
            conditioner=replace(
                TINY.conditioner, obj=replace(TINY.conditioner.obj, num_latents=4096)
            ),
        ),
    ],
)
def test_numbers_that_no_weight_shows_are_checked_against_each_other(config: XPartConfig) -> None:
    with pytest.raises(WeightsError, match="do not fit one another"):
        refuse_unequal(config)
