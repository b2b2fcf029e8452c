"""Seconds of P3-SAM's phases at one number of points, beside an unsplit evaluation of the heads.

What is compared runs in turns in one process, and the smallest of several runs counts.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.common import Payload
from benchmarks.direct_heads import predict_directly
from benchmarks.p3sam_child import CPU, CUDA
from benchmarks.p3sam_subject import ball_masks, figure_mesh, is_regenerated, load_model
from partwise.p3sam.faces import label_faces
from partwise.p3sam.heads import HeadOutput, PromptHeads
from partwise.p3sam.model import P3SAM
from partwise.p3sam.pipeline import DTYPES, PromptMasks, encode_points, predict_masks
from partwise.p3sam.prepare import PreparedMesh, prepare_mesh
from partwise.p3sam.settings import P3SamSettings

DIRECT_PAIR_BYTES = 15_576  # activations of an unsplit evaluation (specification 8.2)
_DIRECT_BYTES = 2e9
_DIRECT = "direct"

T = TypeVar("T")
Timed = dict[str, list[float]]


@dataclass(frozen=True)
class Subject:
    """All that the heads need. features: (N, 512) float32."""

    model: P3SAM
    prepared: PreparedMesh
    features: NDArray[np.float32]
    settings: P3SamSettings

    def tensors(self, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Features, points and the first `count` prompts on the model's device."""
        device = self.model.mlp.layers[0].weight.device
        points = self.prepared.points.astype(np.float32)
        arrays = (self.features, points, points[self.prepared.prompts[:count]])
        features, places, prompts = (torch.from_numpy(array).to(device) for array in arrays)
        return features, places, prompts


def measure(
    *,
    weights: str,
    point_num: int,
    prompt_num: int,
    face_count: int,
    timed_prompts: int,
    rounds: int,
) -> Payload:
    """Every phase, on the GPU if this process sees one."""
    device = CUDA if torch.cuda.is_available() else CPU
    settings = P3SamSettings(point_num=point_num, prompt_num=prompt_num)
    mesh = figure_mesh(face_count)
    prepared, preparing = fastest(lambda: prepare_mesh(*mesh, settings=settings), rounds)
    model, loading = fastest(lambda: load_model(weights, device), rounds)
    precisions = ("fp32", "bf16") if device == CPU else ("fp32", "bf16", "fp16")
    encoders: dict[str, Callable[[], object]] = {
        precision: partial(encode_points, model, prepared, precision=precision)
        for precision in precisions
    }
    encoding = alternate(encoders, rounds)
    subject = Subject(model, prepared, encode_points(model, prepared), settings)
    return {
        "points": point_num,
        "voxels": len(prepared.voxels.grid),
        "prompts": prompt_num,
        "faces": len(prepared.mesh.faces),
        "threads": torch.get_num_threads(),
        "is_regenerated": is_regenerated(model),
        "prepare": preparing | _stages(prepared.stage_seconds),
        "load_warm": loading,
        "encode_with_upcast": {name: summary(runs) for name, runs in encoding.items()},
        "heads": _time_heads(subject, precisions, timed_prompts, rounds),
        "post_processing": _time_labelling(prepared, settings, rounds),
    }


def alternate(variants: Mapping[str, Callable[[], object]], rounds: int) -> Timed:
    """Seconds of each run of each variant; all take their turn before one has a second."""
    seconds: Timed = {name: [] for name in variants}
    for _ in range(rounds):
        for name, work in variants.items():
            started = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def fastest(work: Callable[[], T], rounds: int) -> tuple[T, Payload]:
    """What the last of several runs gave, and the seconds of all."""
    results: list[T] = []

    def run() -> None:
        results[:] = [work()]

    seconds = alternate({"": run}, rounds)[""]
    return results[0], summary(seconds)


def summary(runs: list[float], count: int = 1) -> Payload:
    """The smallest of the runs, and all of them, in seconds for each of `count`."""
    shares = [round(seconds / count, 4) for seconds in runs]
    return {"s": min(shares), "runs_s": shares}


def direct_batch(point_num: int) -> int:
    """How many prompts an unsplit evaluation takes at once in about 2 GB; at least one."""
    return max(1, int(_DIRECT_BYTES / (DIRECT_PAIR_BYTES * point_num)))


def _stages(stage_seconds: Mapping[str, float]) -> Payload:
    return {"stages_s": {name: round(seconds, 3) for name, seconds in stage_seconds.items()}}


def _time_heads(
    subject: Subject, precisions: tuple[str, ...], timed_prompts: int, rounds: int
) -> Payload:
    """Seconds a prompt. The total for all prompts is computed from them, not measured."""
    some = replace(subject.prepared, prompts=subject.prepared.prompts[:timed_prompts])
    batch = min(direct_batch(len(subject.features)), timed_prompts)
    found: dict[str, PromptMasks] = {}

    def split(precision: str) -> None:
        settings = replace(subject.settings, precision=precision)
        found[precision] = predict_masks(subject.model, subject.features, some, settings)

    def direct() -> None:
        predict_directly(subject.model, *subject.tensors(batch))[0].ious.cpu()

    variants: dict[str, Callable[[], object]] = {
        precision: partial(split, precision) for precision in precisions
    }
    runs = alternate({**variants, _DIRECT: direct}, rounds)
    yardstick = summary(runs[_DIRECT], batch)
    figures: Payload = {
        "timed_prompts": len(some.prompts),
        "prompt_batch": subject.settings.prompt_batch,
        _DIRECT: {"prompt_batch": batch, **yardstick},
        "agreement": {
            "fp32_with_direct": _agreement_with_direct(subject, batch),
            **{f"{p}_with_fp32": compare(found[p], found["fp32"]) for p in precisions[1:]},
        },
    }
    for precision in precisions:
        each = summary(runs[precision], len(some.prompts))
        figures[precision] = each | {
            "of_direct": round(each["s"] / yardstick["s"], 3),
            "computed_total_s": round(each["s"] * subject.settings.prompt_num, 1),
        }
    return figures


def compare(found: PromptMasks, wanted: PromptMasks) -> Payload:
    """How alike two results are for the same prompts."""
    return {
        "equal_mask_bits": float(np.mean(found.masks == wanted.masks)),
        "largest_iou_difference": float(np.abs(found.ious - wanted.ious).max()),
    }


def ask_all(subject: Subject, count: int) -> PromptMasks:
    """All three masks, (3 * count, N), and predicted IoUs of the first prompts, none chosen."""
    features, points, prompts = subject.tensors(count)
    dtype = DTYPES[subject.settings.precision]
    return _unchosen(PromptHeads(subject.model, features, points, dtype=dtype).predict(prompts))


def _unchosen(output: HeadOutput) -> PromptMasks:
    masks = (output.logits > 0).permute(0, 2, 1).flatten(0, 1)
    return PromptMasks(masks.cpu().numpy(), output.ious.flatten().cpu().numpy())


def _agreement_with_direct(subject: Subject, count: int) -> Payload:
    features, points, prompts = subject.tensors(count)
    direct = predict_directly(subject.model, features, points, prompts)[0]
    return compare(ask_all(subject, count), _unchosen(direct))


def _time_labelling(prepared: PreparedMesh, settings: P3SamSettings, rounds: int) -> Payload:
    found = ball_masks(prepared.points, prepared.prompts)
    variants = {
        "connected": settings,
        "nearest": replace(settings, is_connected=False),
    }
    figures: Payload = {"masks": len(found.masks)}
    for name, chosen in variants.items():
        work = partial(label_faces, prepared, found.masks, found.ious, settings=chosen)
        labelling, seconds = fastest(work, rounds)
        stages = _stages(labelling.stage_seconds)
        figures[name] = seconds | stages | {"parts": len(labelling.part_ids)}
    return figures
