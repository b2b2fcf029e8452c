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


class UnfinishedMasks:
    """The masks of the first prompts of (K, N); what is there survives a failure of the rest."""

    def __init__(self, prompt_count: int, point_count: int) -> None:
        self.masks = np.empty((prompt_count, point_count), dtype=np.bool_)
        self.ious = np.empty(prompt_count, dtype=np.float32)
        self.done_count = 0

    def put(self, masks: NDArray[np.bool_], ious: NDArray[np.float32]) -> None:
        """Take the next (P, N) masks and their (P,) predicted IoUs."""
        place = slice(self.done_count, self.done_count + len(ious))
        self.masks[place], self.ious[place] = masks, ious
        self.done_count = place.stop


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

    precision: of the encoder's matrix products; its stem and norms stay float32. fp32 becomes that
    of the weights where these have 16 bits. curve_orders: see
    `Sonata.forward`; the fixed order is the default, so that the same mesh has the same features.
    Raises `Cancelled` between two blocks.
    """
    device, voxels, stop = _device(model), prepared.voxels, cancel or CancelToken()

    def check(share: float) -> None:
        stop.raise_if_cancelled()
        progress(Progress("Encoding the mesh", share))

    dtype = _product_dtype(model, precision)
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        features = model.encode_voxels(
            torch.from_numpy(voxels.grid).to(device),
            torch.from_numpy(voxels.features).to(device),
            curve_orders,
            check,
        ).cpu()
    # gathered by numpy: points that share a voxel take no room on the device, a simulated one too
    return features.float().numpy()[voxels.inverse]


def predict_masks(
    model: P3SAM,
    features: Features,
    prepared: PreparedMesh,
    settings: P3SamSettings,
    *,
    unfinished: UnfinishedMasks | None = None,
    is_streamed: bool = False,
    progress: ProgressCallback = ignore_progress,
    cancel: CancelToken | None = None,
) -> PromptMasks:
    """The best mask of each of the prepared prompts, batch by batch; `Cancelled` within a batch.

    unfinished: takes each batch as it comes, and is gone on with. is_streamed: the features stay
    on the host, from where each batch fetches them piece by piece: 2 KB less a point on a GPU, and
    not a bit changes.
    """
    cancel = cancel or CancelToken()
    heads = _heads(model, features, prepared, settings, is_streamed=is_streamed)
    prompts = _prompts(model, prepared.points[prepared.prompts])
    count = len(prompts)
    found = unfinished or UnfinishedMasks(count, len(features))
    while found.done_count < count:
        start = found.done_count
        batch = slice(start, min(start + settings.prompt_batch, count))
        output = heads.predict(prompts[batch], _reporter(batch, count, progress, cancel))
        found.put(*_best(output, settings.mask_probability))
        del output  # before the next batch has logits too
    progress(Progress("Predicting masks", 1.0))
    return PromptMasks(found.masks, found.ious)


def predict_point(
    model: P3SAM,
    features: Features,
    prepared: PreparedMesh,
    sample: int,
    settings: P3SamSettings,
    *,
    is_streamed: bool = False,
    progress: ProgressCallback = ignore_progress,
    cancel: CancelToken | None = None,
) -> PointMasks:
    """The three masks of one of the sampled points as a prompt; see `predict_masks`."""
    heads = _heads(model, features, prepared, settings, is_streamed=is_streamed)
    check = _reporter(slice(0, 1), 1, progress, cancel or CancelToken())
    output = heads.predict(_prompts(model, prepared.points[[sample]]), check)
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
    model: P3SAM,
    features: Features,
    prepared: PreparedMesh,
    settings: P3SamSettings,
    *,
    is_streamed: bool,
) -> PromptHeads:
    kept = torch.from_numpy(features)
    return PromptHeads(
        model,
        kept if is_streamed else kept.to(_device(model)),
        _prompts(model, prepared.points),
        dtype=DTYPES[settings.precision],
        point_chunk=settings.point_chunk,
    )


def _prompts(model: P3SAM, points: Floats) -> Tensor:
    return torch.from_numpy(points.astype(np.float32)).to(_device(model))


def _product_dtype(model: P3SAM, precision: str) -> torch.dtype:
    held = {weight.dtype for weight in model.sonata.parameters()} - {torch.float32}
    return held.pop() if held and precision == "fp32" else DTYPES[precision]


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
