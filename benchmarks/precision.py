"""What weights of fewer bits change in P3-SAM's answers: each precision beside fp32.

python -m benchmarks.precision WEIGHTS [--tiny] [--points N]

WEIGHTS: a checkpoint, such as `scripts/make_checkpoint.py` writes. One process, on the CPU.
"""

import argparse
import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.p3sam_subject import figure_mesh
from partwise.p3sam.model import P3SAM, TINY
from partwise.p3sam.pipeline import encode_points, predict_masks
from partwise.p3sam.precision import is_quantizable, keeps_fp32
from partwise.p3sam.prepare import PreparedMesh, prepare_mesh
from partwise.p3sam.settings import P3SamSettings
from partwise.vram.checkpoint import load_weights, open_checkpoint
from partwise.vram.plan import PRECISIONS
from partwise.vram.precision import PrecisionPolicy

POLICY = PrecisionPolicy(keeps_fp32, is_quantizable)
_FACES = 20_000
_PROMPTS = 12


@dataclass(frozen=True)
class Difference:
    """Of a precision's answers from those of fp32.

    features_max, ious_max: the largest difference of two entries; features_relative: the root mean
    square of the differences over that of the values. masks: the share of (prompt, point) pairs
    that are on the other side of a mask's edge, of all that are in either mask.
    """

    weight_bytes: int
    features_max: float
    features_relative: float
    ious_max: float
    masks: float


@dataclass(frozen=True)
class Answer:
    """What a model answers. features: (N, 512). masks: (K, N). ious: (K,)."""

    weight_bytes: int
    features: NDArray[np.float32]
    masks: NDArray[np.bool_]
    ious: NDArray[np.float32]


def measure(
    weights: Path, prepared: PreparedMesh, settings: P3SamSettings, *, is_tiny: bool = False
) -> dict[str, Difference]:
    """The difference of each precision but fp32 on one mesh; raises when an answer is no number."""
    wanted = _answer(weights, "fp32", prepared, settings, is_tiny)
    return {
        precision: difference(_answer(weights, precision, prepared, settings, is_tiny), wanted)
        for precision in PRECISIONS
        if precision != "fp32"
    }


def _answer(
    weights: Path, precision: str, prepared: PreparedMesh, settings: P3SamSettings, is_tiny: bool
) -> Answer:
    import torch

    with torch.device("meta"):
        model = P3SAM(TINY if is_tiny else None)
    loaded = load_weights(model, open_checkpoint(weights), precision=precision, policy=POLICY)
    features = encode_points(model, prepared)
    masks = predict_masks(model, features, prepared, settings)
    if not np.isfinite(features).all() or not np.isfinite(masks.ious).all():
        raise ArithmeticError(f"{precision}: the answers are not finite numbers")
    return Answer(loaded.weight_bytes, features, masks.masks, masks.ious)


def difference(found: Answer, wanted: Answer) -> Difference:
    """How far `found` is from `wanted`, of the same mesh and prompts."""
    gap = found.features.astype(np.float64) - wanted.features
    either = np.count_nonzero(found.masks | wanted.masks)
    return Difference(
        weight_bytes=found.weight_bytes,
        features_max=float(np.abs(gap).max()),
        features_relative=float(np.linalg.norm(gap) / np.linalg.norm(wanted.features)),
        ious_max=float(np.abs(found.ious - wanted.ious).max()),
        masks=float(np.count_nonzero(found.masks ^ wanted.masks) / max(1, either)),
    )


def main(arguments: list[str] | None = None) -> int:
    """Measure and print one line of JSON for each precision."""
    parser = argparse.ArgumentParser(prog="precision", description=__doc__)
    parser.add_argument("weights", type=Path, metavar="WEIGHTS")
    parser.add_argument("--tiny", action="store_true", help="a small model of the same structure")
    parser.add_argument("--points", type=int, default=3000, metavar="N")
    options = parser.parse_args(arguments)
    settings = replace(P3SamSettings(), point_num=options.points, prompt_num=_PROMPTS)
    prepared = prepare_mesh(*figure_mesh(_FACES), settings=settings)
    found = measure(options.weights, prepared, settings, is_tiny=options.tiny)
    for precision, gap in found.items():
        print(json.dumps({"precision": precision, **asdict(gap)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
