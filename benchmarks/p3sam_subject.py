"""What P3-SAM is measured on: a figure, the model, masks such as a trained model gives."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.figure import build_figure
from partwise.p3sam.model import P3SAM
from partwise.p3sam.pipeline import PromptMasks
from scripts.regenerated_weights import tensor_for
from studio.components import build_p3sam

_PARTS = 24
_RADII = (0.1, 0.6)  # of the larger half extent
_JITTER = 0.01  # of a radius: masks of one part overlap by more than 0.9
_STRAY = 0.1  # share of the prompts with a mask of their own
_ANY_KEY = "iou_mlp.0.bias"


def figure_mesh(face_count: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Vertices and faces of a figure of about `face_count` faces, unwelded as in an STL file."""
    corners = build_figure(face_count).reshape(-1, 3).astype(np.float64)
    return corners, np.arange(len(corners), dtype=np.int64).reshape(-1, 3)


def load_model(weights: str, device: str) -> P3SAM:
    """The model as the application builds it, on a device."""
    model = build_p3sam(Path(weights)).to(device)
    if not isinstance(model, P3SAM):
        raise TypeError(f"{weights} gave a {type(model).__name__}; a P3SAM is measured here")
    return model


def is_regenerated(model: P3SAM) -> bool:
    """Whether the weights come from `scripts/make_checkpoint.py`, by one of its tensors."""
    values = model.state_dict()[_ANY_KEY].cpu().numpy()
    return np.array_equal(values, tensor_for(_ANY_KEY, values.shape))


def ball_masks(points: NDArray[np.float64], prompts: NDArray[np.int64]) -> PromptMasks:
    """Balls around the prompts: random weights give masks that say nothing of the later steps.

    points: (N, 3). prompts: (K,) places in `points`, spread farthest first. The first prompts are
    parts, and others see the part nearest to them, each a little differently; a few see one of
    their own.
    """
    generator = np.random.default_rng(0)
    count, centers = len(prompts), points[prompts[:_PARTS]]
    gaps = np.linalg.norm(points[prompts][:, None] - centers[None], axis=2)
    part = gaps.argmin(axis=1)
    extent = float(np.ptp(points, axis=0).max()) / 2
    low, high = _RADII
    part_radii = extent * low * (high / low) ** generator.random(len(centers))
    radii = part_radii[part] * (1 + _JITTER * generator.uniform(-1, 1, count))
    is_stray = generator.random(count) < _STRAY
    middles = np.where(is_stray[:, None], points[prompts], centers[part])
    masks = np.empty((count, len(points)), dtype=np.bool_)
    for row, middle, radius in zip(masks, middles, radii, strict=True):
        np.less(((points - middle) ** 2).sum(axis=1), radius**2, out=row)
    return PromptMasks(masks, generator.uniform(0.5, 1, count).astype(np.float32))
