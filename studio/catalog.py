"""The one place that names each engine: what it is for, what it needs, whether it can run here."""

import functools
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from model_manager import ComponentSpec, ModelManager
from partwise.core.errors import ConfigError, WeightsError
from partwise.core.worker import WorkerLimits, WorkerPool
from partwise.p3sam.cost import WEIGHT_BYTES
from partwise.p3sam.precision import is_quantizable, keeps_fp32
from partwise.vram.checkpoint import SAFETENSORS, open_checkpoint
from partwise.vram.component import LoadOrder
from partwise.vram.footprint import padded_bytes
from partwise.vram.job import JobMemory
from partwise.vram.precision import PrecisionPolicy
from studio.encoded import EncodedMeshes
from studio.pace import Pace

if TYPE_CHECKING:
    from torch import nn

SEGMENT, GENERATE = "segment", "generate"
AUTO, GEOMETRIC, P3SAM, XPART = "auto", "geometric", "p3sam", "xpart"
WORKER_MODULES = (
    "partwise.geometry.mesh_io",
    "partwise.geometric.segment",
    "partwise.geometric.complete",
    "partwise.p3sam.faces",
)
_OTHER_SUFFIXES = (".ckpt", ".pt", ".pth")
P3SAM_POLICY = PrecisionPolicy(keeps_fp32, is_quantizable)
_SHARE_OF_FP32 = {"fp32": 1.0, "bf16": 0.52, "fp16": 0.52, "int8": 0.28, "int4": 0.17}


@dataclass(frozen=True)
class NeuralModel:
    """A published model: the engine's name, its files under the weights folder, its licence."""

    name: str
    title: str
    job: str
    files: tuple[str, ...]
    file_bytes: int
    source: str
    licence: str
    is_built: bool

    def missing_files(self, weights_dir: Path) -> list[str]:
        """Which of its files are not in `weights_dir`."""
        return [file for file in self.files if find_file(file, weights_dir) is None]

    def why_unavailable(self, weights_dir: Path) -> str | None:
        """Why the model cannot run here, and what to do; None when it can."""
        missing = self.missing_files(weights_dir)
        sentences = []
        if is_gpu_borrowed() and self.is_built and not missing:
            sentences.append(
                f"On a ZeroGPU Space this version does not run {self.title}; a Space with a GPU or "
                "CPU of its own does."
            )
        if missing:
            sentences.append(
                f"{self.title}: weights not present. It needs {', '.join(missing)} "
                f"({self.file_bytes / 1e9:.2f} GB) from {self.source} on huggingface.co, under the "
                f"{self.licence}, in {weights_dir}."
            )
        if not self.is_built:
            sentences.append(f"This version of Partwise has no {self.title} engine yet.")
        elif missing:
            sentences.append(
                "Fetch them under “Neural models” on the page or with "
                f"`cli.py weights fetch {self.name}`."
            )
        if not sentences:
            return None
        return " ".join([*sentences, "The built-in engine works in its place."])


def is_gpu_borrowed() -> bool:
    """Whether this is a ZeroGPU Space, where a process has a GPU only within marked calls."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "true")


def find_file(file: str, weights_dir: Path) -> Path | None:
    """Where a model's file is: in the published folder or at the top, also as an older .ckpt."""
    folder = weights_dir.expanduser()
    published = folder / file
    for place in (published, folder / published.name):
        for path in (place, *(place.with_suffix(suffix) for suffix in _OTHER_SUFFIXES)):
            if path.is_file():
                return path
    return None


def _stamp(path: Path | None) -> str:
    try:
        status = path.stat() if path else None
    except OSError:
        status = None  # gone meanwhile
    return f"{path}:{status.st_size}:{status.st_mtime_ns}" if status else "missing"


LICENCE = "Tencent Hunyuan 3D-Part community licence (it excludes the EU, the UK and South Korea)"
NEURAL_MODELS = (
    NeuralModel(
        name=P3SAM,
        title="P3-SAM",
        job=SEGMENT,
        files=("p3sam/p3sam.safetensors",),
        file_bytes=450_968_044,
        source="tencent/Hunyuan3D-Part",
        licence=LICENCE,
        is_built=True,
    ),
    NeuralModel(
        name=XPART,
        title="X-Part",
        job=GENERATE,
        files=(
            "model/model.safetensors",
            "conditioner/conditioner.safetensors",
            "shapevae/shapevae.safetensors",
        ),
        file_bytes=9_042_031_062,
        source="tencent/Hunyuan3D-Part",
        licence=LICENCE,
        is_built=False,
    ),
)


def find_model(name: str) -> NeuralModel:
    """The model of that name; raises `ConfigError` with the known ones."""
    for model in NEURAL_MODELS:
        if model.name == name:
            return model
    known = ", ".join(model.name for model in NEURAL_MODELS)
    raise ConfigError(f"“{name}” is not a neural model. Known are: {known}.")


@dataclass(frozen=True)
class EngineChoice:
    """The engine that will run, in the words of the page, and why this one."""

    name: str
    title: str
    reason: str
    needs_gpu: bool


@dataclass(frozen=True)
class Engines:
    """What a use case needs to run an engine: the models' manager, their memory, the worker
    processes, what is kept of earlier runs."""

    manager: ModelManager
    memory: JobMemory
    pool: WorkerPool
    job_limits: WorkerLimits
    weights_dir: Path
    encoded: EncodedMeshes
    pace: Pace
    auto_limit_s: float

    def weights_stamp(self, name: str) -> str:
        """Stands for the content of a model's files: where they are, their sizes and times."""
        files = find_model(name).files
        return " ".join(_stamp(find_file(file, self.weights_dir)) for file in files)

    def choose(
        self,
        job: str,
        requested: str = AUTO,
        *,
        neural_s: float | None = None,
        fits: bool = True,
    ) -> EngineChoice:
        """The engine for a job; raises `WeightsError` when the requested one cannot run here.

        neural_s: how long the neural engine would take; fits: whether its plan fits in memory. Too
        long or too much, and “auto” takes the other.
        """
        model = next(model for model in NEURAL_MODELS if model.job == job)
        if requested not in (AUTO, GEOMETRIC, model.name):
            raise ConfigError(
                f"“{requested}” is no engine for this. Choose {AUTO}, {GEOMETRIC} or {model.name}."
            )
        problem = model.why_unavailable(self.weights_dir)
        if requested == model.name and problem:
            raise WeightsError(problem)
        is_on_gpu = self.memory.device.read().is_gpu
        neural = EngineChoice(model.name, model.title, "", is_on_gpu)
        if requested == model.name:
            return replace(neural, reason="chosen by you")
        if requested == AUTO and not problem and fits and (neural_s or 0.0) <= self.auto_limit_s:
            return replace(neural, reason="its weights are here")
        reason = (
            "chosen by you"
            if requested == GEOMETRIC
            else f"{model.title} cannot run here: its weights are not present"
            if model.missing_files(self.weights_dir)
            else f"this version of Partwise does not run {model.title} here"
            if problem
            else f"{model.title} does not fit in the memory that may be used here; choose it as "
            "the engine to see what it needs"
            if not fits
            else f"{model.title} would take about {in_words(neural_s or 0.0)} at this preset here; "
            "choose it as the engine to run it all the same"
        )
        return EngineChoice(GEOMETRIC, "Built-in geometric engine", reason, needs_gpu=False)


def in_words(seconds: float) -> str:
    """A time to expect: “8 s”, “3 min”, “1.5 h”."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def neural_components(weights_dir: Path) -> list[ComponentSpec]:
    """What the manager knows of each published model, in whichever process it runs."""
    return [component_of(model, weights_dir) for model in NEURAL_MODELS]


def component_of(model: NeuralModel, weights_dir: Path) -> ComponentSpec:
    """What the manager knows of a published model."""

    def path() -> Path:
        found = find_file(model.files[0], weights_dir)
        if found is None or not model.is_built:
            reason = model.why_unavailable(weights_dir)
            raise WeightsError(
                reason or f"{model.title}: its weights were moved just now. Try again."
            )
        return found

    return ComponentSpec(
        name=model.name,
        title=model.title,
        build=lambda order: build_p3sam(path(), order),
        why_unavailable=lambda: model.why_unavailable(weights_dir),
        count_bytes=lambda precision: p3sam_weight_bytes(path(), precision),
    )


def build_p3sam(path: Path, order: LoadOrder | None = None) -> "nn.Module":
    """P3-SAM with the weights of a checkpoint, on the CPU; raises `WeightsError`."""
    import torch

    from partwise.p3sam.model import P3SAM as P3SAMModel
    from partwise.vram.checkpoint import load_weights

    order = order or LoadOrder()
    checkpoint = open_checkpoint(path)
    with torch.device("meta"):
        module = P3SAMModel()
    load_weights(
        module,
        checkpoint,
        precision=order.precision,
        policy=P3SAM_POLICY,
        empty=order.empty,
        cancel=order.cancel,
        progress=order.progress,
    )
    return module


def p3sam_weight_bytes(path: Path, precision: str) -> int:
    """What a device is asked for to hold P3-SAM's weights in a precision; reads the header alone.

    A .ckpt is counted as published: finding out its tensors would need torch.
    """
    if path.suffix != SAFETENSORS:
        return round(WEIGHT_BYTES * _SHARE_OF_FP32[precision])
    return _bytes_by_header(path, precision, _stamp(path))


@functools.lru_cache(maxsize=32)
def _bytes_by_header(path: Path, precision: str, stamp: str) -> int:
    """Read once for each state of the file, since each plan asks for every precision."""
    return padded_bytes(open_checkpoint(path), precision, P3SAM_POLICY)
