"""X-Part's stages on the CPU with reduced widths: bytes and operations, counted and measured.

Real code and regenerated weights. Bytes are those of tensors, beside the weights; nothing is timed,
since following the tensors costs time.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
import trimesh
from torch import nn

from benchmarks.common import Payload
from benchmarks.flops import counted_flops
from partwise.points.cost import count_levels
from partwise.vram.meter import AllocationMeter, PeakSink
from partwise.xpart.condition import condition_parts
from partwise.xpart.conditioner import Conditioner
from partwise.xpart.config import TINY, DitConfig, VaeConfig, XPartConfig
from partwise.xpart.cost import (
    Option,
    condition_options,
    condition_result_bytes,
    latent_bytes,
    sample_options,
)
from partwise.xpart.cost_surfaces import decode_bytes, query_flops, tokens_flops
from partwise.xpart.decode import PartField
from partwise.xpart.dit import PartFormer
from partwise.xpart.parts import Conditions, PreparedParts
from partwise.xpart.prepare import prepare_parts
from partwise.xpart.sample import sample_latents
from partwise.xpart.sampler import initial_latents
from partwise.xpart.settings import XPartSettings
from partwise.xpart.vae import ShapeDecoder
from scripts.regenerated_weights import fill_module

_VAE = VaeConfig(
    num_latents=256, width=256, heads=4, num_encoder_layers=2, num_decoder_layers=4, pc_size=5120
)
_SURFACES = replace(_VAE, num_latents=512)
REDUCED = XPartConfig(
    conditioner=replace(TINY.conditioner, geo=_SURFACES, obj=_SURFACES, feature_width=512),
    dit=DitConfig(hidden_size=512, depth=7, num_heads=4, encoder_hidden_dim=256, num_moe_layers=2),
    vae=_VAE,
)
QUICK = TINY
PARTS, STEPS, PLACES, SEED = 3, 3, 50_000, 42
_PRECISION = "fp32"


@dataclass(frozen=True)
class StageRow:
    """One way to run a stage. Bytes: at the peak, beside the weights. flops: 2 to multiply and add.

    The counted bytes of denoising are of tokens that all choose the same experts.
    """

    stage: str
    knobs: Mapping[str, int]
    counted_bytes: int
    measured_bytes: int
    counted_flops: float
    measured_flops: float

    def to_json(self) -> Payload:
        """The row for a result file."""
        return {
            **asdict(self),
            "bytes_ratio": round(self.counted_bytes / self.measured_bytes, 4),
            "flops_ratio": round(self.counted_flops / self.measured_flops, 4),
        }


def measure_stages(config: XPartConfig) -> Iterator[StageRow]:
    """Each stage, in each way that a CPU has."""
    prepared = _prepared(config)
    conditioner = _built(lambda: Conditioner(config.conditioner))
    levels = count_levels(prepared.voxels.grid)
    for option in condition_options(config, PARTS, _PRECISION, is_gpu=False, levels=levels):
        yield _row("condition", option, lambda: _condition(conditioner, prepared, option))  # noqa: B023
    yield from _denoising(config, _condition(conditioner, prepared, option), prepared)
    yield _field(config)


def _denoising(
    config: XPartConfig, conditions: Conditions, prepared: PreparedParts
) -> Iterator[StageRow]:
    model, settings = _built(lambda: PartFormer(config.dit)), XPartSettings(steps=STEPS)
    given = condition_result_bytes(config, PARTS, _PRECISION) + latent_bytes(config, PARTS)

    def run(knobs: Mapping[str, int]) -> None:
        tokens, channels = config.vae.num_latents, config.dit.in_channels
        latents = initial_latents(prepared.aabbs, SEED, tokens, channels)
        sample_latents(
            model,
            conditions,
            latents,
            prepared.aabbs,
            settings,
            part_batch=knobs["part_batch"],
            is_cached=bool(knobs["is_cached"]),
        )

    for option in sample_options(config, PARTS, STEPS, _PRECISION, is_gpu=False):
        yield _row("sample", option, lambda: run(option.knobs), given)  # noqa: B023


def _field(config: XPartConfig) -> StageRow:
    """A part's field at places: what a whole search adds is numpy's."""
    model, chunk = _built(lambda: ShapeDecoder(config.vae)), 8192
    latents = np.zeros((config.vae.num_latents, config.vae.embed_dim), dtype=np.float32)
    places = np.random.default_rng(SEED).uniform(-1, 1, (PLACES, 3)).astype(np.float32)
    flops = tokens_flops(config.vae) + PLACES * query_flops(config.vae)
    option = Option({"query_chunk": chunk}, decode_bytes(config.vae, 4, chunk), flops)
    return _row("decode", option, lambda: PartField(model, latents, query_chunk=chunk)(places))


def _row(stage: str, option: Option, run: Callable[[], object], given: int = 0) -> StageRow:
    """given: bytes that are there before."""
    sink = PeakSink(rounding=1)
    with AllocationMeter(sink):
        run()
    with counted_flops() as counter:
        run()
    return StageRow(
        stage,
        option.knobs,
        option.size.peak_bytes,
        given + sink.peak_bytes,
        option.flops,
        float(counter.get_total_flops()),
    )


def _condition(model: Conditioner, prepared: PreparedParts, option: Option) -> Conditions:
    return condition_parts(model, prepared, SEED, point_chunk=option.knobs["point_chunk"])


def _prepared(config: XPartConfig) -> PreparedParts:
    """A ball in three slices."""
    ball = trimesh.creation.icosphere(subdivisions=4)
    cuts = np.linspace(-1, 1, PARTS + 1)
    aabbs = np.array([[[-1, -1, low], [1, 1, high]] for low, high in itertools.pairwise(cuts)])
    return prepare_parts(
        np.asarray(ball.vertices),
        np.asarray(ball.faces, dtype=np.int64),
        aabbs,
        point_count=config.conditioner.surface_points,
        seed=SEED,
    )


def _built(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.no_grad():
        model = build().requires_grad_(False).eval()
    fill_module(model)
    return model
