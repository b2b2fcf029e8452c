"""Predicted peaks of X-Part by strategy and number of parts, with weights in bf16. No weights read.

A: all of X-Part and P3-SAM on the device. B: one component at a time. C: the PartFormer block by
block. D: its experts one by one too, skips and conditions on the host.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from benchmarks.common import Payload
from partwise.p3sam.cost import WEIGHT_BYTES
from partwise.vram.footprint import streamed_bytes, tensor_bytes
from partwise.vram.safetensors_file import ITEM_BYTES, StoredTensor
from partwise.xpart.config import XPartConfig
from partwise.xpart.cost import Option, condition_options, decode_options, sample_options
from partwise.xpart.settings import XPartSettings
from partwise.xpart.unread import is_unread
from scripts.xpart_checkpoint import PublicFile, xpart_files
from studio.xpart_models import POLICY

PARTS = (1, 10, 30, 50)
# Specification 10.3, in GB: lower bounds, without an allocator's slack.
PUBLISHED = {
    ("A", 10): 9.7,
    ("A", 30): 12.1,
    ("B", 10): 8.0,
    ("B", 30): 10.3,
    ("C", 10): 2.8,
    ("C", 30): 5.2,
    ("D", 10): 0.7,
    ("D", 30): 1.0,
}
_PRECISION = "bf16"
_CONDITIONER, _DIT, _VAE = "conditioner", "model", "shapevae"


@dataclass(frozen=True)
class StrategyRow:
    """The device's peak in a strategy: the smallest and the fastest way to run each stage.

    component: where the smallest way has its peak. sampling_bytes: that of the PartFormer, which is
    what published_gb is about, the specification's bound; None where it says nothing.
    """

    strategy: str
    part_count: int
    weight_bytes: int
    smallest_bytes: int
    fastest_bytes: int
    sampling_bytes: int
    component: str
    published_gb: float | None

    def to_json(self) -> Payload:
        """The row for a result file."""
        return asdict(self)


def predict_strategies(part_counts: Sequence[int] = PARTS) -> Iterator[StrategyRow]:
    """A row for each strategy and number of parts, at the published widths and settings."""
    files = {file.name.partition("/")[0]: file for file in xpart_files()}
    sizes = {name: _tensor_bytes(name, file) for name, file in files.items()}
    whole = {name: streamed_bytes(found, ()) for name, found in sizes.items()}
    blocks, experts = _units(XPartConfig())
    everything = sum(whole.values()) + WEIGHT_BYTES
    held = {
        "A": dict.fromkeys(whole, everything),
        "B": whole,
        "C": {**whole, _DIT: streamed_bytes(sizes[_DIT], blocks)},
        "D": {**whole, _DIT: streamed_bytes(sizes[_DIT], experts)},
    }
    for strategy, weights in held.items():
        for part_count in part_counts:
            yield _row(strategy, part_count, weights)


def _row(strategy: str, part_count: int, weights: dict[str, int]) -> StrategyRow:
    stages = _stages(part_count, is_offloaded=strategy == "D")
    smallest = {name: weights[name] + options[-1].size.peak_bytes for name, options in stages}
    fastest = max(weights[name] + options[0].size.peak_bytes for name, options in stages)
    name = max(smallest, key=lambda name: smallest[name])
    return StrategyRow(
        strategy,
        part_count,
        weights[_DIT],
        smallest[name],
        fastest,
        smallest[_DIT],
        name,
        PUBLISHED.get((strategy, part_count)),
    )


def _stages(part_count: int, *, is_offloaded: bool) -> list[tuple[str, list[Option]]]:
    """Each component's options, from the fastest to the smallest."""
    config, settings = XPartConfig(), XPartSettings()
    sampled = sample_options(config, part_count, settings.steps, _PRECISION, is_gpu=True)
    decoded = decode_options(
        config,
        part_count,
        settings.octree_resolution,
        settings.decoding,
        _PRECISION,
        is_gpu=True,
    )
    chosen = [way for way in sampled if way.knobs["is_offloaded"] == int(is_offloaded)]
    return [
        (_CONDITIONER, list(condition_options(config, part_count, _PRECISION, is_gpu=True))),
        (_DIT, chosen),
        (_VAE, list(decoded)),
    ]


def _tensor_bytes(name: str, file: PublicFile) -> dict[str, tuple[int, ...]]:
    header = {
        key: StoredTensor(dtype, shape, 0, math.prod(shape) * ITEM_BYTES[dtype])
        for key, shape in file.shapes.items()
        for dtype in [file.dtype(key)]
    }
    ignored = {key for key in header if is_unread(name, key)}
    return tensor_bytes(header, _PRECISION, POLICY, ignored_keys=ignored)


def _units(config: XPartConfig) -> tuple[list[str], list[str]]:
    """The PartFormer's blocks; and each with its experts after it."""
    blocks, experts = [], []
    for i in range(config.dit.depth):
        blocks.append(f"blocks.{i}")
        experts.append(f"blocks.{i}")
        if config.dit.has_experts(i):
            experts += [f"blocks.{i}.moe.experts.{j}" for j in range(config.dit.num_experts)]
    return blocks, experts
