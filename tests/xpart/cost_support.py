"""X-Part's stages in a trace: real code at full width, fake floats, real places and choices."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import TypeVar, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from partwise.geometry.voxels import VoxelGrid
from partwise.vram.meter import PeakSink
from partwise.vram.trace import Trace, trace_peak
from partwise.xpart import condition
from partwise.xpart.conditioner import Conditioner
from partwise.xpart.config import DitConfig, VaeConfig, XPartConfig
from partwise.xpart.decode import PartField
from partwise.xpart.dit import PartFormer
from partwise.xpart.experts import MixtureOfExperts, Routes
from partwise.xpart.parts import Conditions, PreparedParts, UnfinishedLatents
from partwise.xpart.precision import keeps_fp32
from partwise.xpart.products import DTYPES
from partwise.xpart.sample import sample_latents
from partwise.xpart.settings import XPartSettings
from partwise.xpart.vae import ShapeDecoder

M = TypeVar("M", bound=nn.Module)


def traced_sample(
    config: XPartConfig, part_count: int, precision: str, *, is_gpu: bool, knobs: dict[str, int]
) -> PeakSink:
    """All parts' latents after a step, or two with a cache; all tokens take the same experts."""
    trace, model = _stand_in(lambda: PartFormer(config.dit), precision, is_gpu)
    for module in model.modules():
        if isinstance(module, MixtureOfExperts):
            module.route = _same_for_all(module)  # type: ignore[method-assign]
    vae = config.conditioner.geo
    shape = (vae.num_latents, config.dit.encoder_hidden_dim)
    dtype = DTYPES[precision]
    conditions = Conditions(
        *(trace.from_host(torch.empty(n, *shape, dtype=dtype)) for n in (1, part_count))
    )
    tokens = (part_count, config.vae.num_latents, config.dit.in_channels)
    latents = UnfinishedLatents(np.zeros(tokens, dtype=np.float32))
    aabbs = np.arange(6 * part_count, dtype=np.float32).reshape(part_count, 2, 3)
    return trace_peak(
        trace,
        lambda _: sample_latents(
            model,
            conditions,
            latents,
            aabbs,
            XPartSettings(steps=3 if knobs["is_cached"] else 2),
            precision=precision,
            part_batch=knobs["part_batch"],
            is_cached=bool(knobs["is_cached"]),
            is_offloaded=bool(knobs["is_offloaded"]),
        ),
    )


def traced_conditions(
    config: XPartConfig,
    voxels: VoxelGrid,
    part_count: int,
    precision: str,
    *,
    is_gpu: bool,
    point_chunk: int,
    monkeypatch: pytest.MonkeyPatch,
) -> PeakSink:
    """Everything of the object and its parts; points to look from are not searched for long."""
    monkeypatch.setattr(condition, "farthest_points", _any_points)
    trace, model = _stand_in(lambda: Conditioner(config.conditioner), precision, is_gpu)
    count = config.conditioner.surface_points
    surfaces = np.zeros((1 + part_count, count, 7), dtype=np.float32)
    prepared = SimpleNamespace(
        aabbs=np.arange(6 * part_count, dtype=np.float32).reshape(part_count, 2, 3),
        object_surface=surfaces[0],
        part_surfaces=surfaces[1:],
        voxels=voxels,
    )
    return trace_peak(
        trace,
        lambda _: condition.condition_parts(
            model,
            cast("PreparedParts", prepared),
            0,
            precision=precision,
            point_chunk=point_chunk,
        ),
    )


def traced_decode(config: VaeConfig, precision: str, query_chunk: int, *, is_gpu: bool) -> PeakSink:
    """A part's tokens, then its field at more than two chunks of places."""
    trace, model = _stand_in(lambda: ShapeDecoder(config), precision, is_gpu)
    latents = np.zeros((config.num_latents, config.embed_dim), dtype=np.float32)

    def ask(_: object) -> None:
        field = PartField(model, latents, dtype=DTYPES[precision], query_chunk=query_chunk)
        field(np.zeros((2 * query_chunk + 5, 3), dtype=np.float32))

    return trace_peak(trace, ask)


def _stand_in(build: Callable[[], M], precision: str, is_gpu: bool) -> tuple[Trace, M]:
    """A module on `meta` with weights held as in that precision."""
    with torch.device("meta"):
        model = build().requires_grad_(False).eval()
    for key, weight in model.named_parameters():
        weight.data = weight.data.to(torch.float32 if keeps_fp32(key) else DTYPES[precision])
    trace = Trace(is_gpu=is_gpu)
    trace.stand_in(model)
    return trace, model


def _same_for_all(mixture: MixtureOfExperts) -> Callable[[Tensor], Routes]:
    def route(logits: Tensor) -> Routes:
        count, experts = logits.shape
        rows = torch.arange(count).repeat(mixture.top_k)
        counts = [count] * mixture.top_k + [0] * (experts - mixture.top_k)
        return Routes(rows, logits.new_empty(len(rows)), counts)

    return route


def _any_points(places: Tensor, starts: Tensor, count: int) -> Tensor:
    """What `farthest_points` holds, and no search."""
    axes = [axis.contiguous() for axis in places.unbind(2)]
    more = [torch.empty_like(axes[0]) for _ in range(3)]
    assert len(axes) == len(more)
    return torch.arange(count).repeat(len(starts), 1)


def with_depth(config: DitConfig, depth: int, experts: int) -> DitConfig:
    """A shallower PartFormer; its layers repeat."""
    return DitConfig(**{**config.__dict__, "depth": depth, "num_moe_layers": experts})
