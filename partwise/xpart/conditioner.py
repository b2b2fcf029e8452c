"""What X-Part's PartFormer is told: two encoders of surfaces, one of points, two projections.

Specification section 4. Module names follow the published checkpoint's keys; the half of each
ShapeVAE that is never read is not built. The stages that run it are in `condition.py`.
"""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn

from partwise.points.projection import Mlp, project_stages
from partwise.points.sonata import IN_ORDER, Sonata, SonataConfig
from partwise.xpart.config import ConditionerConfig
from partwise.xpart.vae import Encoder


class PointFeatures(nn.Module):
    """Sonata and a projection of its stages; float32 throughout."""

    def __init__(self, config: ConditionerConfig) -> None:
        super().__init__()
        widths, out = config.sonata, config.feature_width
        self.sonata = Sonata(
            SonataConfig(
                depths=widths.depths,
                channels=widths.channels,
                num_heads=widths.num_heads,
                patch_size=widths.patch_size,
            )
        )
        self.mlp = Mlp(sum(widths.channels), out, out)

    def forward(
        self, grid: Tensor, voxel_features: Tensor, check: Callable[[float], None]
    ) -> Tensor:
        """(M, C) float32 features of the voxels.

        grid: (M, 3) int64. voxel_features: (M, 9) float32. check: see `Sonata.forward`.
        """
        return project_stages(self.sonata(grid, voxel_features, IN_ORDER, check), self.mlp)


class Conditioner(nn.Module):
    """The encoders with the public checkpoint's keys; build it on `meta`, then load."""

    def __init__(self, config: ConditionerConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ConditionerConfig()
        local = nn.ModuleDict({"encoder": Encoder(config.geo)})
        self.geo_encoder = nn.ModuleDict({"local_encoder": local})
        self.obj_encoder = nn.ModuleDict({"encoder": Encoder(config.obj)})
        self.seg_feat_encoder = PointFeatures(config)
        self.geo_out_proj = nn.Linear(config.geo.width + config.feature_width, config.geo.width)
        self.obj_out_proj = nn.Linear(config.obj.width + config.feature_width, config.obj.width)

    @property
    def part_encoder(self) -> Encoder:
        """The encoder of a part's surface."""
        return cast(Encoder, self.geo_encoder.get_submodule("local_encoder.encoder"))

    @property
    def object_encoder(self) -> Encoder:
        """The encoder of the whole object's surface."""
        return cast(Encoder, self.obj_encoder.get_submodule("encoder"))


def conditioner_shapes(config: ConditionerConfig | None = None) -> dict[str, torch.Size]:
    """Each key that is read of the public conditioner, with its shape."""
    with torch.device("meta"):
        return {key: value.shape for key, value in Conditioner(config).state_dict().items()}
