"""Widths and depths of X-Part's networks; the defaults are the published configuration. No torch.

Specification sections 3, 4 and 5. `with_params` reads the published files' own `params`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from partwise.core.errors import WeightsError

_LARGEST = 2**20  # of any width or number of points
_MOST = 256  # layers and experts, each of which becomes a module
OBJECT_DRAWS = 499712 // 2  # points of the object, of which its encoder is given some
COORDINATES, FEATURES = 3, 4  # of a surface point: x y z; its normal and the sharp-edge label


@dataclass(frozen=True)
class VaeConfig:
    """One ShapeVAE. pc_size: surface points it is given. num_latents: tokens it makes of them."""

    num_latents: int = 1024
    embed_dim: int = 64
    num_freqs: int = 8
    heads: int = 16
    width: int = 1024
    num_encoder_layers: int = 8
    num_decoder_layers: int = 16
    scale_factor: float = 1.0039506158752403
    geo_decoder_mlp_expand_ratio: int = 4
    point_feats: int = FEATURES
    pc_size: int = 81920
    downsample_ratio: int = 20

    @property
    def embedded(self) -> int:
        """Channels of the Fourier embedding of a place."""
        return COORDINATES * (2 * self.num_freqs + 1)


@dataclass(frozen=True)
class SonataWidths:
    """The point encoder's depths and widths, as in the published configuration."""

    depths: tuple[int, ...] = (3, 3, 3, 12, 3)
    channels: tuple[int, ...] = (48, 96, 192, 384, 512)
    num_heads: tuple[int, ...] = (3, 6, 12, 24, 32)
    patch_size: int = 1024


@dataclass(frozen=True)
class ConditionerConfig:
    """Two encoders of surfaces and one of points. feature_width: of the point features."""

    geo: VaeConfig = field(default_factory=lambda: VaeConfig(num_latents=4096))
    obj: VaeConfig = field(default_factory=lambda: VaeConfig(num_latents=4096))
    sonata: SonataWidths = field(default_factory=SonataWidths)
    feature_width: int = 512

    @property
    def surface_points(self) -> int:
        """How many points of each surface the encoders are given."""
        return self.geo.pc_size


@dataclass(frozen=True)
class DitConfig:
    """The PartFormer. valid_num: how many parts it can tell apart."""

    in_channels: int = 64
    hidden_size: int = 2048
    depth: int = 21
    num_heads: int = 16
    encoder_hidden_dim: int = 1024
    valid_num: int = 50
    num_moe_layers: int = 6
    num_experts: int = 8
    moe_top_k: int = 2

    def has_skip(self, block: int) -> bool:
        """Whether a block is given the output of an early one."""
        return block > self.depth // 2

    def has_experts(self, block: int) -> bool:
        """Whether a block's feed-forward layer is a mixture of experts."""
        return self.depth - block <= self.num_moe_layers

    def is_global(self, block: int) -> bool:
        """Whether a block attends over all parts together."""
        return block % 2 == 1


@dataclass(frozen=True)
class XPartConfig:
    """All three components."""

    conditioner: ConditionerConfig = field(default_factory=ConditionerConfig)
    dit: DitConfig = field(default_factory=DitConfig)
    vae: VaeConfig = field(default_factory=VaeConfig)


TINY_VAE = VaeConfig(
    num_latents=32,
    embed_dim=8,
    num_freqs=2,
    heads=2,
    width=32,
    num_encoder_layers=2,
    num_decoder_layers=2,
    pc_size=2048,
)
TINY = XPartConfig(
    conditioner=ConditionerConfig(
        geo=replace(TINY_VAE, num_latents=64),
        obj=replace(TINY_VAE, num_latents=64),
        sonata=SonataWidths(
            depths=(2, 1, 1, 5, 1),
            channels=(16, 24, 32, 48, 64),
            num_heads=(2, 3, 4, 6, 8),
            patch_size=64,
        ),
    ),
    dit=DitConfig(
        in_channels=8,
        hidden_size=64,
        depth=7,
        num_heads=4,
        encoder_hidden_dim=32,
        num_moe_layers=2,
    ),
    vae=TINY_VAE,
)


def dit_with_params(params: Mapping[str, Any]) -> DitConfig:
    """The PartFormer that a published `params` describes; raises `WeightsError`."""
    return _with(DitConfig(), params, "model/config.json")


def vae_with_params(params: Mapping[str, Any]) -> VaeConfig:
    """The ShapeVAE that a published `params` describes; raises `WeightsError`."""
    return _with(VaeConfig(), params, "shapevae/config.json")


def conditioner_with_params(params: Mapping[str, Any]) -> ConditionerConfig:
    """The conditioner with the widths that our own small checkpoints give; `WeightsError`.

    The published file says nothing in these words, so that its widths are the published ones.
    """
    config, where = ConditionerConfig(), "conditioner/config.json"
    parts = {name: params[name] for name in ("geo", "obj", "sonata") if name in params}
    if any(not isinstance(given, dict) for given in parts.values()):
        raise WeightsError(f"{where}: “geo”, “obj” and “sonata” hold widths by name. Remove it.")
    made = {name: _with(getattr(config, name), given, where) for name, given in parts.items()}
    width = {key: value for key, value in params.items() if key == "feature_width"}
    return replace(_with(config, width, where), **made)


def refuse_unequal(config: XPartConfig) -> None:
    """Raise `WeightsError` when numbers that no weight's shape shows do not fit one another."""
    given, dit, vae = config.conditioner, config.dit, config.vae
    widths = {given.geo.width, given.obj.width, dit.encoder_hidden_dim}
    faults = {
        "model: moe_top_k is above num_experts": dit.moe_top_k > dit.num_experts,
        "shapevae: embed_dim differs from the model's in_channels": vae.embed_dim
        != dit.in_channels,
        "conditioner: width differs from the model's encoder_hidden_dim": len(widths) > 1,
        "conditioner: pc_size of geo and obj differ": given.geo.pc_size != given.obj.pc_size,
        f"conditioner: pc_size is above {OBJECT_DRAWS}": given.geo.pc_size > OBJECT_DRAWS,
        "conditioner: num_latents is above pc_size": given.geo.pc_size
        < max(given.geo.num_latents, given.obj.num_latents),
    }
    if found := [fault for fault, is_there in faults.items() if is_there]:
        raise WeightsError(
            f"X-Part's config.json files do not fit one another: {'; '.join(found)}. Fetch them "
            "again, or remove them: the published configuration then holds."
        )


def _with(config: Any, params: Mapping[str, Any], where: str) -> Any:
    """The configuration with the numbers of `params` that it knows; other keys are not read."""
    known = {item.name: getattr(config, item.name) for item in fields(config)}
    given = {
        key: _as(known[key], value, _MOST if _is_count(key) else _LARGEST)
        for key, value in params.items()
        if key in known
    }
    for key, value in given.items():
        if value is None:
            raise WeightsError(
                f"{where} says {key} = {params[key]!r}, which no X-Part has. Fetch the "
                "file again, or remove it: the published configuration then holds."
            )
    return replace(config, **given)


def _is_count(key: str) -> bool:
    return key.startswith("depth") or key.endswith(("_layers", "_experts"))


def _as(example: Any, value: Any, largest: int) -> Any:
    """The value if it is of the example's kind, above 0 and no larger than that, else None."""
    if isinstance(example, tuple):
        is_alike = isinstance(value, list) and len(value) == len(example)
        items = [_as(example[0], item, largest) for item in value] if is_alike else [None]
        return None if None in items else tuple(items)
    is_number = isinstance(value, (int, type(example))) and not isinstance(value, bool)
    return value if is_number and 0 < value <= largest else None
