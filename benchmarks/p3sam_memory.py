"""Peak memory of P3-SAM's phases on the CPU: of the process, and of the tensors alone.

Linux: the system keeps the process's peak, and lets each phase start it anew. Nothing is timed
here, since following the tensors costs time.
"""

import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import psutil
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.common import Payload, mib, resident_peak
from benchmarks.direct_heads import predict_directly
from benchmarks.p3sam_child import CPU
from benchmarks.p3sam_phases import DIRECT_PAIR_BYTES, Subject
from benchmarks.p3sam_subject import ball_masks, figure_mesh, load_model
from partwise.p3sam.faces import label_faces
from partwise.p3sam.pipeline import encode_points, predict_masks
from partwise.p3sam.prepare import prepare_mesh
from partwise.p3sam.settings import P3SamSettings


class LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Bytes of the tensors that operators made while it is on: now, and at the peak.

    Tensors from before count as nothing, and so does memory that an operator takes for itself.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live_bytes = self.peak_bytes = 0
        self._known: dict[int, weakref.finalize[Any, Any]] = {}

    def __torch_dispatch__(
        self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        for leaf in tree_leaves((args, kwargs)):
            self._note(leaf, is_new=False)
        result = func(*args, **kwargs)
        for leaf in tree_leaves(result):
            self._note(leaf, is_new=True)
        return result

    def _note(self, leaf: object, *, is_new: bool) -> None:
        if not isinstance(leaf, Tensor):
            return
        storage = leaf.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes() if is_new else 0
        self._known[key] = weakref.finalize(storage, self._forget, key, size)
        self._known[key].atexit = False
        self.live_bytes += size
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)

    def _forget(self, key: int, size: int) -> None:
        del self._known[key]
        self.live_bytes -= size


def measure(
    *, weights: str, point_num: int, prompt_num: int, face_count: int, precision: str
) -> Payload:
    """Each phase of a run, one after the other in this process."""
    phases: dict[str, Payload] = {}
    settings = P3SamSettings(point_num=point_num, prompt_num=prompt_num, precision=precision)
    imported = _resident()
    with _phase(phases, "prepare", follow=False):
        prepared = prepare_mesh(*figure_mesh(face_count), settings=settings)
    with _phase(phases, "load", follow=False):
        model = load_model(weights, CPU)
    with _phase(phases, "encode"):
        features = encode_points(model, prepared)
    with _phase(phases, "heads"):
        found = predict_masks(model, features, prepared, settings)
    realistic = ball_masks(prepared.points, prepared.prompts)
    with _phase(phases, "post_processing", follow=False):
        label_faces(prepared, realistic.masks, realistic.ious, settings=settings)
    weight_bytes = sum(value.nbytes for value in model.state_dict().values())
    return {
        "points": point_num,
        "prompts": prompt_num,
        "precision": precision,
        "prompt_batch": min(prompt_num, settings.prompt_batch),
        "imported_mib": mib(imported),
        "weights_mib": mib(weight_bytes),
        "features_mib": mib(features.nbytes),
        "returned_masks_mib": mib(found.masks.nbytes),
        "tensors_on_meta": sum(value.is_meta for value in model.state_dict().values()),
        "phases": phases,
        "peak_mib": max(phase["process_peak_mib"] for phase in phases.values()),
        "heads_tensors_mib": round(
            mib(weight_bytes + features.nbytes) + phases["heads"]["made_peak_mib"], 1
        ),
    }


def measure_direct(weights: str, point_num: int, face_count: int) -> Payload:
    """An unsplit evaluation of the heads for one prompt."""
    phases: dict[str, Payload] = {}
    settings = P3SamSettings(point_num=point_num, prompt_num=1)
    prepared = prepare_mesh(*figure_mesh(face_count), settings=settings)
    model = load_model(weights, CPU)
    subject = Subject(model, prepared, encode_points(model, prepared), settings)
    with _phase(phases, "direct"):
        predict_directly(subject.model, *subject.tensors(1))
    made = phases["direct"]["made_peak_mib"] * 2**20
    return {
        "points": point_num,
        "prompts": 1,
        **phases["direct"],
        "bytes_a_pair": round(made / point_num),
        "published_bytes_a_pair": DIRECT_PAIR_BYTES,
    }


@contextmanager
def _phase(phases: dict[str, Payload], name: str, *, follow: bool = True) -> Iterator[None]:
    """Note a phase's growth over the resident size at its start; `follow` its tensors too."""
    _reset_peak()
    before = _resident()
    tensors = LiveTensors() if follow else None
    with tensors or nullcontext():
        yield
    peak = resident_peak(os.getpid())
    figures = {"process_peak_mib": mib(peak), "process_growth_mib": mib(peak - before)}
    if tensors:
        figures["made_peak_mib"] = mib(tensors.peak_bytes)
    phases[name] = figures


def _resident() -> int:
    return int(psutil.Process().memory_info().rss)


def _reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
