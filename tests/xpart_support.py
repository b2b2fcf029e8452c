"""X-Part in small: its three components with regenerated weights, and a mesh with two boxes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import trimesh
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn

from lazy_partformer import COMPONENTS, CONDITIONER, DIT, VAE
from model_manager import ComponentSpec
from partwise.vram.component import LoadOrder
from partwise.xpart.conditioner import Conditioner
from partwise.xpart.config import COORDINATES, TINY, XPartConfig
from partwise.xpart.dit import PartFormer
from partwise.xpart.vae import ShapeDecoder
from scripts.make_checkpoint import main as make_checkpoint
from scripts.regenerated_weights import fill_module, tensor_for


def filled(name: str, config: XPartConfig = TINY) -> nn.Module:
    """A component with regenerated weights, ready to run."""
    makers: dict[str, Callable[[], nn.Module]] = {
        CONDITIONER: lambda: Conditioner(config.conditioner),
        DIT: lambda: PartFormer(config.dit),
        VAE: lambda: ShapeDecoder(config.vae),
    }
    module = makers[name]().requires_grad_(False).eval()
    fill_module(module)
    if isinstance(module, ShapeDecoder):
        give_shape(module)
    return module


def component(name: str, built: list[str] | None = None) -> ComponentSpec:
    """A component for a manager; each time it is built its name goes into `built`."""

    def build(order: LoadOrder) -> nn.Module:
        order.cancel.raise_if_cancelled()
        if built is not None:
            built.append(name)
        return filled(name)

    return ComponentSpec(name, name, build, model="xpart")


def components(built: list[str] | None = None) -> list[ComponentSpec]:
    """All three."""
    return [component(name, built) for name in COMPONENTS]


def two_blocks() -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Two blocks side by side as (V, 3) vertices, (F, 3) faces, and the (2, 2, 3) boxes of both.

    The fields of `give_shape` lie in both boxes, so they are found at once.
    """
    blocks = [trimesh.creation.box(bounds=((x, -1, -1), (x + 2, 1, 1))) for x in (-2.0, 0.0)]
    whole = trimesh.util.concatenate([block.subdivide() for block in blocks])
    vertices = np.asarray(whole.vertices, dtype=np.float64)
    boxes = np.array([block.bounds for block in blocks])
    return vertices, np.asarray(whole.faces, dtype=np.int64), boxes


def give_shape(decoder: ShapeDecoder, radius: float = 0.25, spread: float = 0.01) -> None:
    """Choose the last weights so that every field is a ball's, around the middle of the cube.

    Regenerated weights give noise. radius: below 0 there is no surface at all. spread: how much the
    latents change the square of the radius.
    """
    field, config = decoder.geo_decoder, decoder.config
    block = field.cross_attn_decoder
    slowest_cosines = COORDINATES + config.num_freqs * (COORDINATES + np.arange(COORDINATES))
    with torch.no_grad():
        for layer in (field.query_proj, block.attn.c_q, block.attn.c_proj, block.mlp.c_proj):
            for weight in layer.parameters():
                weight.zero_()
        field.output_proj.weight.zero_()
        field.output_proj.bias.zero_()
        field.output_proj.weight[0, 0] = 1.0
        field.ln_post.weight.fill_(1.0)
        field.ln_post.bias.zero_()
        pair = torch.tensor([1.0, -1.0])  # so that the norm's mean is 0
        field.query_proj.weight[:2, slowest_cosines] = 8 * pair[:, None]
        field.query_proj.bias[:2] = -8 * (COORDINATES - radius * abs(radius) / 2) * pair
        field.query_proj.bias[2:4] = pair
        mixed = torch.from_numpy(tensor_for("spread", (config.width,)))
        block.attn.c_proj.weight[:2] = 4 * spread * pair[:, None] * mixed


def write_tiny_weights(folder: Path, *, radius: float = 0.25, spread: float = 0.01) -> None:
    """The three files of a tiny checkpoint set, whose fields are balls; see `give_shape`."""
    assert make_checkpoint([str(folder), "--tiny", "--model", "xpart"]) == 0
    path = folder / "shapevae" / "shapevae.safetensors"
    decoder = ShapeDecoder(TINY.vae)
    tensors = load_file(path)
    decoder.load_state_dict({key: tensors[key].float() for key in decoder.state_dict()})
    give_shape(decoder, radius, spread)
    chosen = {key: tensor.bfloat16() for key, tensor in decoder.state_dict().items()}
    save_file({**tensors, **chosen}, path)
