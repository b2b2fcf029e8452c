"""What weights of fewer bits change in one step of X-Part's PartFormer, fp32 as the measure.

The whole depth at a quarter of the width, with regenerated weights and few tokens; loaded from a
file in each precision as the application loads it.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import Payload
from partwise.vram.checkpoint import load_weights, open_checkpoint
from partwise.vram.plan import PRECISIONS
from partwise.xpart.blocks import Way
from partwise.xpart.config import TINY, DitConfig
from partwise.xpart.dit import PartFormer
from partwise.xpart.parts import Conditions
from partwise.xpart.products import DTYPES
from scripts.make_checkpoint import write_checkpoint
from studio.xpart_models import POLICY

CONFIG = DitConfig(hidden_size=512, num_heads=4)
QUICK = TINY.dit
_TIME = 0.3
_TOKENS, _OBJECT, _PART = 64, 96, 80
_SEEDS = (60, 61, 62)
_EXACT = "fp32"


@dataclass(frozen=True)
class PrecisionRow:
    """relative_rms: of the velocity's error over that of the velocity."""

    precision: str
    relative_rms: float

    def to_json(self) -> Payload:
        """The row for a result file."""
        return asdict(self)


def measure_precisions(config: DitConfig = CONFIG) -> Iterator[PrecisionRow]:
    """Each precision but fp32; raises ArithmeticError when an answer is no number."""
    with torch.device("meta"):
        shapes = {key: tuple(value.shape) for key, value in PartFormer(config).state_dict().items()}
    with TemporaryDirectory(prefix="benchmark-weights-") as folder:
        path = Path(folder) / "model.safetensors"
        write_checkpoint(path, shapes)
        wanted = _velocity(path, config, _EXACT)
        for precision in PRECISIONS:
            if precision != _EXACT:
                error = _velocity(path, config, precision) - wanted
                share = float(error.square().mean().sqrt() / wanted.square().mean().sqrt())
                yield PrecisionRow(precision, round(share, 5))


@torch.inference_mode()
def _velocity(path: Path, config: DitConfig, precision: str) -> Tensor:
    """One step's velocity; products as the application makes them with such weights."""
    with torch.device("meta"):
        model = PartFormer(config)
    load_weights(model, open_checkpoint(path), precision=precision, policy=POLICY)
    latents = _normal(_SEEDS[0], 2, _TOKENS, config.in_channels)
    seen = Conditions(
        _normal(_SEEDS[1], 1, _OBJECT, config.encoder_hidden_dim),
        _normal(_SEEDS[2], 2, _PART, config.encoder_hidden_dim),
    )
    way = Way(DTYPES.get(precision, torch.bfloat16))
    found = model(latents, _TIME, seen, torch.tensor([41, 38]), way)
    if not bool(found.isfinite().all()):
        raise ArithmeticError(f"{precision}: the velocity is not finite")
    return found


def _normal(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32))
