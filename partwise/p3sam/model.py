"""P3-SAM: features for each sampled point, then three masks and their IoUs for each prompt.

Specification sections 3.8, 4 and 7. Module names follow the published checkpoint's keys. The heads
are evaluated by `heads.py`; here are their weights.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from partwise.points.projection import Mlp, project_stages
from partwise.points.sonata import IN_ORDER, Sonata, SonataConfig

MASKS_PER_PROMPT = 3


@dataclass(frozen=True)
class P3SAMConfig:
    """Widths of the model; the defaults are the published configuration."""

    encoder: SonataConfig = field(default_factory=SonataConfig)
    feature_width: int = 512
    first_width: int = 512
    second_width: int = 256


TINY = P3SAMConfig(
    SonataConfig(
        depths=(2, 1, 1, 5, 1),
        channels=(16, 24, 32, 48, 64),
        num_heads=(2, 3, 4, 6, 8),
        patch_size=64,
    )
)


class P3SAM(nn.Module):
    """The whole network with the public checkpoint's 513 keys; build it on `meta`, then load."""

    def __init__(self, config: P3SAMConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or P3SAMConfig()
        wide, narrow = config.first_width, config.second_width
        pair = config.feature_width + 6  # a point's features, its place, the prompt's place
        seen = narrow + pair + MASKS_PER_PROMPT  # … with what the whole cloud and the masks say
        self.sonata = Sonata(config.encoder)
        self.mlp = Mlp(sum(config.encoder.channels), config.feature_width, config.feature_width)
        self.seg_mlp_1 = Mlp(pair, wide, 1)
        self.seg_mlp_2 = Mlp(pair, wide, 1)
        self.seg_mlp_3 = Mlp(pair, wide, 1)
        self.seg_s2_mlp_g = Mlp(pair + MASKS_PER_PROMPT, narrow, narrow)
        self.seg_s2_mlp_1 = Mlp(seen, narrow, 1)
        self.seg_s2_mlp_2 = Mlp(seen, narrow, 1)
        self.seg_s2_mlp_3 = Mlp(seen, narrow, 1)
        self.iou_mlp = Mlp(seen, narrow, narrow)
        self.iou_mlp_out = Mlp(narrow, narrow, MASKS_PER_PROMPT)

    def encode(
        self,
        grid: Tensor,
        voxel_features: Tensor,
        inverse: Tensor,
        curve_orders: Sequence[Sequence[int]] = IN_ORDER,
        check: Callable[[float], None] = lambda share: None,
    ) -> Tensor:
        """(N, 512) float32 features of the sampled points.

        grid: (M, 3) int64 voxels. voxel_features: (M, 9) float32. inverse: (N,) int64 voxel of each
        point. curve_orders, check: see `Sonata.forward`.
        """
        return self.encode_voxels(grid, voxel_features, curve_orders, check)[inverse].float()

    def encode_voxels(
        self,
        grid: Tensor,
        voxel_features: Tensor,
        curve_orders: Sequence[Sequence[int]] = IN_ORDER,
        check: Callable[[float], None] = lambda share: None,
    ) -> Tensor:
        """(M, 512) features of the voxels, of the type that autocast chose; see `encode`."""
        return project_stages(self.sonata(grid, voxel_features, curve_orders, check), self.mlp)


def checkpoint_shapes(config: P3SAMConfig | None = None) -> dict[str, torch.Size]:
    """Each key of the public checkpoint with its shape."""
    with torch.device("meta"):
        return {key: value.shape for key, value in P3SAM(config).state_dict().items()}
