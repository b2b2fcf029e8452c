"""The first stage of X-Part: prepared surfaces → what the PartFormer looks at.

The object is encoded once, the parts one after another. Tensors go to the model's device for a
call and leave it with the call, also when it fails; what is returned lies on the host.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor, nn

from partwise.core.progress import CancelToken, Progress, ProgressCallback, ignore_progress
from partwise.geometry.voxels import VoxelGrid
from partwise.xpart.conditioner import Conditioner
from partwise.xpart.config import COORDINATES, VaeConfig
from partwise.xpart.farthest import farthest_points
from partwise.xpart.parts import Conditions, PreparedParts
from partwise.xpart.products import multiply, product_dtype
from partwise.xpart.vae import Check, Encoder, never_stop

Floats32 = NDArray[np.float32]
Ints = NDArray[np.int64]

_OBJECT_SUBSET, _PART_SUBSET, _OBJECT_START, _PART_START = range(4)  # what is drawn
_SETS_AT_ONCE = 8  # on a GPU, most of which sampling one surface leaves idle


@dataclass(frozen=True)
class Work:
    """How the encoders work.

    dtype: of the products. point_chunk: how many points are embedded at once. check: is called
    often, and may raise to stop.
    """

    dtype: torch.dtype = torch.float32
    point_chunk: int = 16384
    check: Check = never_stop


@torch.inference_mode()
def condition_parts(
    model: Conditioner,
    prepared: PreparedParts,
    seed: int,
    *,
    precision: str = "fp32",
    point_chunk: int = Work.point_chunk,
    progress: ProgressCallback = ignore_progress,
    cancel: CancelToken | None = None,
) -> Conditions:
    """Encode the object and its parts.

    seed: of the points that tokens look from; a part's also depend on its box, and so not on its
    place among the parts. precision: see `product_dtype`; the features of points are float32
    whatever it says. point_chunk: see `Work`. Raises `Cancelled` between two blocks, and ValueError
    for surfaces of fewer points than there are to be tokens.
    """
    stop, count = cancel or CancelToken(), len(prepared.aabbs)

    def watch(words: str, done: float) -> None:
        stop.raise_if_cancelled()
        progress(Progress(words, done / (count + 2)))

    work = Work(product_dtype(model, precision), point_chunk, stop.raise_if_cancelled)
    features = describe_voxels(model, prepared.voxels, lambda s: watch("Looking at the points", s))
    watch("Looking at the object", 1)
    whole = _object_condition(model, prepared, features, seed, work)
    found = _part_conditions(model, prepared, features, seed, work)
    config = model.part_encoder.config
    parts = torch.empty(count, config.num_latents, config.width, dtype=work.dtype)
    for i in range(count):
        watch(f"Looking at part {i + 1} of {count}", 2 + i)
        parts[i] = next(found)
    return Conditions(whole, parts)


@torch.inference_mode()
def describe_voxels(
    model: Conditioner, voxels: VoxelGrid, check: Callable[[float], None] = lambda share: None
) -> Floats32:
    """(M, C) float32 features of the object's voxels. check: see `Sonata.forward`."""
    device = _device(model.object_encoder)
    grid, inputs = (torch.from_numpy(array).to(device) for array in (voxels.grid, voxels.features))
    features: Floats32 = model.seg_feat_encoder(grid, inputs, check).cpu().numpy()
    return features


@torch.inference_mode()
def encode_surface(
    encoder: Encoder,
    projection: nn.Module,
    surface: Floats32,
    queries: Ints,
    point_features: Floats32,
    *,
    work: Work,
) -> Tensor:
    """(S, M, W) conditions that one surface gives, on the host, of the products' type.

    surface: (N, 7) float32. queries: (S, M) int64, S sets of its rows. point_features: (S, M, C)
    float32 of the object's points nearest to them. projection: of tokens beside those features.
    """
    device = _device(encoder)
    tokens = encoder(
        torch.from_numpy(surface).to(device),
        torch.from_numpy(queries).to(device),
        point_chunk=work.point_chunk,
        dtype=work.dtype,
        check=work.check,
    )
    seen = torch.cat([tokens, torch.from_numpy(point_features).to(device)], dim=2)
    return multiply(projection, seen, work.dtype).cpu()


def _object_condition(
    model: Conditioner, prepared: PreparedParts, features: Floats32, seed: int, work: Work
) -> Tensor:
    """(1, M, W): each point of the object is its own nearest one."""
    encoder = model.object_encoder
    subset = _subset(len(prepared.object_surface), encoder.config, [seed, _OBJECT_SUBSET])
    surface = prepared.object_surface[subset]
    start = _draw([seed, _OBJECT_START], len(subset))
    queries = _choose(encoder, [surface], [start])
    seen = features[prepared.voxels.inverse[subset[queries]]]
    return encode_surface(encoder, model.obj_out_proj, surface, queries, seen, work=work)


def _part_conditions(
    model: Conditioner, prepared: PreparedParts, features: Floats32, seed: int, work: Work
) -> Iterator[Tensor]:
    """(M, W) of each part, with the features of the object's points nearest to its own."""
    encoder = model.part_encoder
    subset, queries = _part_queries(encoder, prepared, seed, work.check)
    tree = cKDTree(prepared.object_surface[:, :COORDINATES].astype(np.float64))
    for surface, rows in zip(prepared.part_surfaces, queries[:, None], strict=True):
        kept = surface[subset]
        _, nearest = tree.query(kept[rows, :COORDINATES].astype(np.float64))
        seen = features[prepared.voxels.inverse[nearest]]
        yield encode_surface(encoder, model.geo_out_proj, kept, rows, seen, work=work)[0]


def _part_queries(
    encoder: Encoder, prepared: PreparedParts, seed: int, check: Check
) -> tuple[Ints, Ints]:
    """(S,) rows that are kept of every part's surface, and (P, M) rows of these to look from."""
    surfaces = prepared.part_surfaces
    subset = _subset(surfaces.shape[1], encoder.config, [seed, _PART_SUBSET])
    starts = [
        _draw([seed, _PART_START, *np.frombuffer(box.tobytes(), np.uint32).tolist()], len(subset))
        for box in prepared.aabbs
    ]
    chosen = []
    step = 1 if _device(encoder).type == "cpu" else _SETS_AT_ONCE
    for first in range(0, len(surfaces), step):
        check()
        group = slice(first, first + step)
        kept = [surface[subset] for surface in surfaces[group]]
        chosen.append(_choose(encoder, kept, starts[group]))
    return subset, np.concatenate(chosen)


def _choose(encoder: Encoder, surfaces: list[Floats32], starts: list[int]) -> Ints:
    """(S, M) rows of S surfaces from which tokens look, each surface beginning at its start."""
    places = np.stack([surface[:, :COORDINATES] for surface in surfaces])
    device = _device(encoder)
    found = farthest_points(
        torch.from_numpy(places).to(device),
        torch.tensor(starts, device=device),
        encoder.config.num_latents,
    )
    rows: Ints = found.cpu().numpy()
    return rows


def _subset(point_count: int, config: VaeConfig, entropy: list[int]) -> Ints:
    """The rows of a surface that an encoder is given: all, or as many as it was trained with."""
    most = config.num_latents * config.downsample_ratio
    if point_count <= most:
        return np.arange(point_count)
    return np.random.default_rng(entropy).permutation(point_count)[:most]


def _draw(entropy: list[int], count: int) -> int:
    return int(np.random.default_rng(entropy).integers(count))


def _device(encoder: Encoder) -> torch.device:
    return encoder.ln_post.weight.device
