"""From the stages of Sonata to one row of features for each of the finest voxels."""

from typing import cast

import torch
from torch import Tensor, nn

from partwise.points.sonata import StageFeatures


class Mlp(nn.Sequential):
    """Linear, GELU, Linear, GELU, Linear."""

    def __init__(self, in_width: int, hidden: int, out_width: int) -> None:
        super().__init__(
            nn.Linear(in_width, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, out_width),
        )

    @property
    def layers(self) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
        """The three linear layers."""
        return cast("tuple[nn.Linear, nn.Linear, nn.Linear]", (self[0], self[2], self[4]))


def project_stages(stages: list[StageFeatures], mlp: Mlp) -> Tensor:
    """(M, C_out) what `mlp` makes of all stages' features side by side, for the finest stage.

    The concatenation (1232 wide as published) is never made: each stage's part of the first product
    is taken on its own few points, added to what comes from below, and gathered upwards. That
    product is in float32, also under autocast. Takes the stages out of the list, so that each is
    freed once it is used.
    """
    first, *rest = mlp.layers
    weights = list(first.weight.split([stage.features.shape[1] for stage in stages], dim=1))
    total = first.bias.expand(len(stages[-1].features), -1).clone()
    while stages:
        stage = stages.pop()
        total.addmm_(stage.features, weights.pop().T)
        cluster = stage.cluster
        del stage
        if cluster is not None:
            total = total[cluster]
    for linear in rest:
        total = linear(torch.ops.aten.gelu_(total))
    return total
