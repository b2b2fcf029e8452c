"""P3-SAM on a GPU under a budget of memory: peaks, seconds, and agreement with the CPU's result."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch

from benchmarks.common import Payload, mib
from benchmarks.p3sam_child import CPU, CUDA
from benchmarks.p3sam_phases import Subject, ask_all, compare
from benchmarks.p3sam_subject import figure_mesh, load_model
from partwise.core.errors import AppError
from partwise.p3sam.pipeline import PromptMasks, encode_points, predict_masks
from partwise.p3sam.prepare import PreparedMesh, prepare_mesh
from partwise.p3sam.settings import P3SamSettings

_GIB = 2**30


def describe() -> Payload:
    """The GPU's name and memory; raises `AppError` when torch sees none."""
    if not torch.cuda.is_available():
        raise AppError(
            f"torch {torch.__version__} sees no GPU here. Leave out --device cuda, or install a "
            "torch that is built for this machine's GPU."
        )
    card = torch.cuda.get_device_properties(0)
    return {"name": card.name, "total_gib": round(card.total_memory / _GIB, 1)}


def write_reference(
    *, weights: str, point_num: int, prompt_num: int, face_count: int, judged: int, reference: str
) -> Payload:
    """Put the CPU's features, and masks and IoUs of the first `judged` prompts, into an .npz."""
    settings = P3SamSettings(point_num=point_num, prompt_num=prompt_num)
    prepared = prepare_mesh(*figure_mesh(face_count), settings=settings)
    model = load_model(weights, CPU)
    subject = Subject(model, prepared, encode_points(model, prepared), settings)
    found = ask_all(subject, judged)
    np.savez(reference, features=subject.features, masks=found.masks, ious=found.ious)
    return {"points": point_num, "prompts": judged}


def measure(
    *,
    weights: str,
    point_num: int,
    prompt_num: int,
    face_count: int,
    judged: int,
    reference: str,
    budget_gib: float | None,
    precision: str,
) -> Payload:
    """One run at the defaults; `outcome` says in words whether the budget was enough."""
    figures: Payload = {"budget_gib": budget_gib, "precision": precision, "points": point_num}
    total_bytes = torch.cuda.get_device_properties(0).total_memory
    if budget_gib is not None and budget_gib * _GIB > total_bytes:
        return figures | {"outcome": f"not run: the GPU has {total_bytes / _GIB:.1f} GiB"}
    if budget_gib is not None:
        torch.cuda.set_per_process_memory_fraction(budget_gib * _GIB / total_bytes)
    settings = P3SamSettings(point_num=point_num, prompt_num=prompt_num, precision=precision)
    prepared = prepare_mesh(*figure_mesh(face_count), settings=settings)
    phases: dict[str, Payload] = {}
    try:
        subject = _run(weights, prepared, settings, phases)
        figures["agreement_with_cpu"] = _agreement(subject, judged, reference)
        figures["outcome"] = "ran"
    except torch.cuda.OutOfMemoryError as err:
        done = ", ".join(phases) or "nothing"
        reason = ". ".join(str(err).split(". ")[:2])
        figures["outcome"] = f"out of memory after {done}: {reason}"
    return figures | {
        "phases": phases,
        "peak_reserved_mib": max((p["reserved_mib"] for p in phases.values()), default=None),
        "peak_allocated_mib": max((p["allocated_mib"] for p in phases.values()), default=None),
    }


def _run(
    weights: str, prepared: PreparedMesh, settings: P3SamSettings, phases: dict[str, Payload]
) -> Subject:
    """Twice, since the first run of a process also starts the GPU's libraries."""
    with _phase(phases, "load"):
        model = load_model(weights, CUDA)
    for name in ("encode first", "encode"):
        with _phase(phases, name):
            features = encode_points(model, prepared)
    subject = Subject(model, prepared, features, settings)
    few = replace(prepared, prompts=prepared.prompts[: settings.prompt_batch])
    for name, asked in (("heads first batch", few), ("heads", prepared)):
        with _phase(phases, name):
            predict_masks(model, features, asked, settings)
    return subject


@contextmanager
def _phase(phases: dict[str, Payload], name: str) -> Iterator[None]:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    yield
    torch.cuda.synchronize()
    phases[name] = {
        "s": round(time.perf_counter() - started, 3),
        "allocated_mib": mib(torch.cuda.max_memory_allocated()),
        "reserved_mib": mib(torch.cuda.max_memory_reserved()),
    }


def _agreement(subject: Subject, judged: int, reference: str) -> Payload:
    with np.load(reference) as file:
        wanted = PromptMasks(file["masks"], file["ious"])
        difference = float(np.abs(subject.features - file["features"]).max())
    alike = compare(ask_all(subject, judged), wanted)
    return alike | {"prompts": judged, "largest_feature_difference": difference}
