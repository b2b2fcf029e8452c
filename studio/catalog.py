"""The one place that names each engine: what it is for, what it needs, whether it can run here."""

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from model_manager import ComponentSpec, ModelManager
from partwise.core.errors import ConfigError, WeightsError
from partwise.core.worker import WorkerLimits, WorkerPool

SEGMENT, GENERATE = "segment", "generate"
AUTO, GEOMETRIC = "auto", "geometric"
WORKER_MODULES = (
    "partwise.geometry.mesh_io",
    "partwise.geometric.segment",
    "partwise.geometric.complete",
)


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
        folder = weights_dir.expanduser()
        return [file for file in self.files if not (folder / file).is_file()]

    def why_unavailable(self, weights_dir: Path) -> str:
        """Why the model cannot run here, and what to do."""
        size = f"{self.file_bytes / 1e9:.2f} GB"
        if missing := self.missing_files(weights_dir):
            return (
                f"{self.title}: weights not present. It needs {', '.join(missing)} ({size}) from "
                f"{self.source} on huggingface.co, under the {self.licence}, in {weights_dir}. "
                f"This version of Partwise has no {self.title} engine yet, so the built-in engine "
                "works in its place."
            )
        return (
            f"{self.title}: the weights are in {weights_dir}, but this version of Partwise has no "
            f"{self.title} engine yet. The built-in engine works in its place."
        )


LICENCE = "Tencent Hunyuan 3D-Part community licence (it excludes the EU, the UK and South Korea)"
NEURAL_MODELS = (
    NeuralModel(
        name="p3sam",
        title="P3-SAM",
        job=SEGMENT,
        files=("p3sam/p3sam.safetensors",),
        file_bytes=450_968_044,
        source="tencent/Hunyuan3D-Part",
        licence=LICENCE,
    ),
    NeuralModel(
        name="xpart",
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


@dataclass(frozen=True)
class EngineChoice:
    """The engine that will run, in the words of the page, and why this one."""

    name: str
    title: str
    reason: str
    needs_gpu: bool


@dataclass(frozen=True)
class Engines:
    """What a use case needs to run an engine: the models' manager, the worker processes."""

    manager: ModelManager
    pool: WorkerPool
    job_limits: WorkerLimits
    weights_dir: Path

    def choose(self, job: str, requested: str = AUTO) -> EngineChoice:
        """The engine for a job; raises `WeightsError` when the requested one cannot run here."""
        model = next(model for model in NEURAL_MODELS if model.job == job)
        if requested not in (AUTO, GEOMETRIC, model.name):
            raise ConfigError(
                f"“{requested}” is no engine for this. Choose {AUTO}, {GEOMETRIC} or {model.name}."
            )
        if requested == model.name:
            raise WeightsError(model.why_unavailable(self.weights_dir))
        reason = (
            "chosen by you"
            if requested == GEOMETRIC
            else f"{model.title} cannot run here: its weights are not present"
            if model.missing_files(self.weights_dir)
            else f"this version of Partwise has no {model.title} engine yet"
        )
        return EngineChoice(GEOMETRIC, "Built-in geometric engine", reason, needs_gpu=False)


def register_models(manager: ModelManager, weights_dir: Path) -> None:
    """Tell the manager of the neural models, so that its status can say what they need."""
    for model in NEURAL_MODELS:
        manager.register(component_of(model, weights_dir))


def component_of(model: NeuralModel, weights_dir: Path) -> ComponentSpec:
    """What the manager knows of a published model."""

    def why_unavailable() -> str:
        return model.why_unavailable(weights_dir)

    def refuse() -> NoReturn:
        raise WeightsError(why_unavailable())

    return ComponentSpec(
        name=model.name, title=model.title, build=refuse, why_unavailable=why_unavailable
    )
