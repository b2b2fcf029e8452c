"""X-Part's three public files: their keys, shapes, types, and the `config.json` beside each.

The tensors that inference never reads are in the public files, so they are here too.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from partwise.xpart.config import TINY, VaeConfig, XPartConfig

if TYPE_CHECKING:
    from torch import nn

_EXACT_PREFIX = "seg_feat_encoder."
_LATENTS_PREFIX = "pre_kl."

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class PublicFile:
    """One file of the set. params: what its `config.json` says, empty for none."""

    name: str
    shapes: Shapes
    dtype: Callable[[str], str]
    params: Mapping[str, Any]

    @property
    def config_name(self) -> str:
        """Where its `config.json` stands."""
        return self.name.rpartition("/")[0] + "/config.json"

    def config_text(self) -> str:
        """The `config.json`, in the public form."""
        return json.dumps({"target": "", "params": self.params}, indent=1) + "\n"


def xpart_files(*, is_tiny: bool = False) -> tuple[PublicFile, ...]:
    """The three files, smallest first."""
    config = TINY if is_tiny else XPartConfig()
    said = _params(config)
    return tuple(
        PublicFile(f"{name}/{name}.safetensors", shapes, stored_dtype, said[name])
        for name, shapes in (
            ("shapevae", shapevae_shapes(config)),
            ("conditioner", conditioner_shapes(config)),
            ("model", model_shapes(config)),
        )
    )


def model_shapes(config: XPartConfig) -> Shapes:
    """Of the PartFormer; all of it is read."""
    from partwise.xpart.dit import PartFormer

    return _shapes(lambda: PartFormer(config.dit))


def conditioner_shapes(config: XPartConfig) -> Shapes:
    """Of what is read, and the decoder's half of each encoder's ShapeVAE."""
    from partwise.xpart.conditioner import Conditioner

    shapes = _shapes(lambda: Conditioner(config.conditioner))
    encoders = {
        "geo_encoder.local_encoder.": config.conditioner.geo,
        "obj_encoder.": config.conditioner.obj,
    }
    for prefix, vae in encoders.items():
        unread = _latent_shapes(vae) | _decoder_shapes(vae)
        shapes |= {prefix + key: shape for key, shape in unread.items()}
    return shapes


def shapevae_shapes(config: XPartConfig) -> Shapes:
    """Of what is read, and the encoder's half."""
    from partwise.xpart.vae import Encoder

    encoder = _shapes(lambda: Encoder(config.vae))
    unread = {f"encoder.{key}": shape for key, shape in encoder.items()}
    return _decoder_shapes(config.vae) | _latent_shapes(config.vae) | unread


def stored_dtype(key: str) -> str:
    """How the public files hold a tensor."""
    if key.endswith("num_batches_tracked"):
        return "I64"
    return "F32" if key.startswith(_EXACT_PREFIX) else "BF16"


def _decoder_shapes(vae: VaeConfig) -> Shapes:
    from partwise.xpart.vae import ShapeDecoder

    return _shapes(lambda: ShapeDecoder(vae))


def _latent_shapes(vae: VaeConfig) -> Shapes:
    """From tokens to means and variances of latents."""
    pair = 2 * vae.embed_dim
    return {f"{_LATENTS_PREFIX}weight": (pair, vae.width), f"{_LATENTS_PREFIX}bias": (pair,)}


def _shapes(build: "Callable[[], nn.Module]") -> Shapes:
    import torch

    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in build().state_dict().items()}


def _params(config: XPartConfig) -> dict[str, dict[str, Any]]:
    return {
        "model": asdict(config.dit),
        "conditioner": asdict(config.conditioner),
        "shapevae": asdict(config.vae),
    }
