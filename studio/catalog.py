"""The one place that names each engine: what it is for, what it needs, whether it can run here."""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from model_manager import ModelManager
from partwise.core.errors import ConfigError, WeightsError
from partwise.core.worker import WorkerLimits, WorkerPool
from partwise.vram.job import JobMemory
from studio.encoded import EncodedMeshes
from studio.pace import Pace
from studio.xpart_pace import XPartPace

SEGMENT, GENERATE = "segment", "generate"
AUTO, GEOMETRIC, P3SAM, XPART = "auto", "geometric", "p3sam", "xpart"
WORKER_MODULES = (
    "partwise.geometry.mesh_io",
    "partwise.geometric.segment",
    "partwise.geometric.complete",
    "partwise.p3sam.faces",
    "partwise.xpart.prepare",
    "partwise.xpart.finish",
)
_OTHER_SUFFIXES = (".ckpt", ".pt", ".pth")


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

    def missing_files(self, weights_dir: Path) -> list[str]:
        """Which of its files are not in `weights_dir`."""
        return [file for file in self.files if find_file(file, weights_dir) is None]

    def why_unavailable(self, weights_dir: Path) -> str | None:
        """Why the model cannot run here, and what to do; None when it can."""
        missing = self.missing_files(weights_dir)
        sentences = []
        if is_gpu_borrowed() and not missing:
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


def stamp_of(path: Path | None) -> str:
    """Stands for the content of a file: where it is, its size, when it was changed."""
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
    xpart_pace: XPartPace = field(default_factory=XPartPace)

    def weights_stamp(self, name: str) -> str:
        """Stands for the content of a model's files: where they are, their sizes and times."""
        files = find_model(name).files
        return " ".join(stamp_of(find_file(file, self.weights_dir)) for file in files)

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
