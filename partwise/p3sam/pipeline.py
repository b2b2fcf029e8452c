"""P3-SAM's network at work on a prepared mesh: features once, then masks for as many prompts.

The steps between a mesh and its parts: `prepare.prepare_mesh`, `encode_points`, `predict_masks`,
`faces.label_faces`; `predict_aabbs` is all of them in one. Tensors go to the model's device for a
call and leave it with the call, also when it fails; what is returned lies on the host.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from partwise.core.progress import CancelToken, Progress, ProgressCallback, ignore_progress
from partwise.geometry.topology import Floats, Ints
from partwise.p3sam.faces import label_faces
from partwise.p3sam.heads import HeadOutput, PromptHeads
from partwise.p3sam.model import P3SAM
from partwise.p3sam.prepare import PreparedMesh, prepare_mesh
from partwise.p3sam.settings import P3SamSettings
from partwise.points.sonata import IN_ORDER

Features = NDArray[np.float32]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class PromptMasks:
    """The best mask of each prompt.

    masks: (K, N) bool over the points. ious: (K,) float32 predicted IoU of each.
    """

    masks: NDArray[np.bool_]
    ious: NDArray[np.float32]


@dataclass(frozen=True)
class PointMasks:
    """All masks of one prompt. masks: (3, N) bool over the points. ious: (3,) float32."""

    masks: NDArray[np.bool_]
    ious: NDArray[np.float32]


@torch.inference_mode()
def encode_points(
    model: P3SAM,
    prepared: PreparedMesh,
    *,
    precision: str = "fp32",
    curve_orders: Sequence[Sequence[int]] = IN_ORDER,
    progress: ProgressCallback = ignore_progress,
    cancel: CancelToken | None = None,
) -> Features:
    """(N, 512) float32 features of the sampled points, on the host.

    precision: of the encoder's matrix products; its stem and norms stay float32. curve_orders: see
    `Sonata.forward`; the fixed order is the default, so that the same mesh has the same features.
    Raises `Cancelled` between two blocks.
    """
    device, voxels, stop = _device(model), prepared.voxels, cancel or CancelToken()

    def check(share: float) -> None:
        stop.raise_if_cancelled()
        progress(Progress("Encoding the mesh", share))

    with torch.autocast(device.type, DTYPES[precision], enabled=precision != "fp32"):
        features = model.encode(
            torch.from_numpy(voxels.grid).to(device),
            torch.from_numpy(voxels.features).to(device),
            torch.from_numpy(voxels.inverse).to(device),
            curve_orders,
            check,
        )
    return features.cpu().numpy()


def predict_masks(
    model: P3SAM,
    features: Features,
    prepared: PreparedMesh,
    settings: P3SamSettings,
    *,
    progress: ProgressCallback = ignore_progress,
    cancel: CancelToken | None = None,
) -> PromptMasks:
    """The best mask of each of the prepared prompts, batch by batch; `Cancelled` within a batch."""
    cancel = cancel or CancelToken()
    heads = _heads(model, features, prepared, settings)
    prompts = _prompts(model, prepared.points[prepared.prompts])
    count = len(prompts)
    masks = np.empty((count, len(features)), dtype=np.bool_)
    ious = np.empty(count, dtype=np.float32)
    for start in range(0, count, settings.prompt_batch):
        batch = slice(start, min(start + settings.prompt_batch, count))
        output = heads.predict(prompts[batch], _reporter(batch, count, progress, cancel))
        masks[batch], ious[batch] = _best(output, settings.mask_probability)
    progress(Progress("Predicting masks", 1.0))
    return PromptMasks(masks, ious)


def predict_point(
    model: P3SAM, features: Features, prepared: PreparedMesh, sample: int, settings: P3SamSettings
) -> PointMasks:
    """The three masks of one of the sampled points as a prompt."""
    heads = _heads(model, features, prepared, settings)
    output = heads.predict(_prompts(model, prepared.points[[sample]]))
    is_inside = output.logits[0] > _logit(settings.mask_probability)
    return PointMasks(is_inside.T.cpu().numpy(), output.ious[0].cpu().numpy())


def predict_aabbs(
    model: P3SAM, vertices: Floats, faces: Ints, settings: P3SamSettings | None = None
) -> Floats:
    """(K, 2, 3) float64 boxes of the parts of a mesh, in its own coordinates, K ≥ 0.

    vertices: (V, 3) float64. faces: (F, 3) int64. What X-Part asks of P3-SAM: small parts are
    merged unless the given settings say otherwise.
    """
    settings = settings or replace(P3SamSettings(), is_post_processed=True)
    prepared = prepare_mesh(vertices, faces, settings=settings)
    features = encode_points(model, prepared, precision=settings.encoder_precision)
    found = predict_masks(model, features, prepared, settings)
    return label_faces(prepared, found.masks, found.ious, settings=settings).aabbs


def _heads(
    model: P3SAM, features: Features, prepared: PreparedMesh, settings: P3SamSettings
) -> PromptHeads:
    device = _device(model)
    return PromptHeads(
        model,
        torch.from_numpy(features).to(device),
        _prompts(model, prepared.points),
        dtype=DTYPES[settings.precision],
        point_chunk=settings.point_chunk,
    )


def _prompts(model: P3SAM, points: Floats) -> Tensor:
    return torch.from_numpy(points.astype(np.float32)).to(_device(model))


def _device(model: P3SAM) -> torch.device:
    return model.iou_mlp_out.layers[0].weight.device


def _reporter(
    batch: slice, count: int, progress: ProgressCallback, cancel: CancelToken
) -> Callable[[float], None]:
    """Tells of each batch's start, and stops within it when somebody cancels."""
    detail = f"prompts {batch.start + 1} to {batch.stop} of {count}"

    def check(share: float) -> None:
        cancel.raise_if_cancelled()
        done = batch.start + share * (batch.stop - batch.start)
        progress(Progress("Predicting masks", done / count, detail))

    return check


def _best(
    output: HeadOutput, mask_probability: float
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """(P, N) bool mask of the largest predicted IoU, the first of equals, and that IoU."""
    ious = output.ious.amax(dim=1)
    best = (output.ious == ious[:, None]).int().argmax(dim=1)
    rows = torch.arange(len(best), device=best.device)
    logits = output.logits[rows, :, best]  # (P, N)
    return (logits > _logit(mask_probability)).cpu().numpy(), ious.cpu().numpy()


def _logit(probability: float) -> float:
    """The logit above which a point is in a mask; comparing logits rounds nothing."""
    if probability in (0.0, 1.0):
        return -math.inf if probability == 0 else math.inf
    return math.log(probability / (1 - probability))
