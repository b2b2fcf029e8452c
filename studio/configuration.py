"""All settings of the application, each read once at the entry point."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from partwise.core.errors import ConfigError
from partwise.core.settings import Loaded, load_settings
from partwise.core.worker import WorkerLimits
from partwise.geometry.mesh_io import MeshLimits
from partwise.p3sam.settings import P3SamSettings
from partwise.vram.settings import VramSettings
from partwise.xpart.settings import XPartSettings

T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[1]
DEFAULT_PRESET = "balanced"
DEFAULT_QUALITY = "full"
_GIB = 2**30
_P3SAM_SERVER_NAMES = {  # of the servers that people run already; the later of two names wins
    "P3SAM_POINT_NUM": "point_num",
    "P3SAM_PROMPT_NUM": "prompt_num",
    "P3SAM_INFERENCE_POINT_NUM": "point_num",
    "P3SAM_INFERENCE_PROMPT_NUM": "prompt_num",
    "P3SAM_PROMPT_BS": "prompt_batch",
}


@dataclass(frozen=True)
class AppSettings:
    """How the server runs. Sizes in GiB, times in seconds."""

    host: str = "127.0.0.1"
    port: int = 7860
    max_waiting_jobs: int = 16
    job_timeout_s: float = 900.0
    job_memory_gib: float = 8.0
    session_keep_s: float = 21600.0
    workspace: Path | None = None
    weights_dir: Path = Path("~/.cache/partwise/weights")
    weights_revision: str = ""
    username: str = ""
    password: str = ""
    metrics_token: str = ""
    api_token: str = ""
    feature_cache_gib: float = 1.0
    auto_limit_s: float = 300.0

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port is {self.port}; ports go from 0 to 65535")
        if self.feature_cache_gib < 0 or self.auto_limit_s < 0:
            raise ValueError("feature_cache_gib and auto_limit_s cannot be negative")
        if self.max_waiting_jobs < 1:
            raise ValueError(f"max_waiting_jobs is {self.max_waiting_jobs}; at least 1 must fit")
        if bool(self.username) != bool(self.password):
            raise ValueError("give username and password together, or neither")

    @property
    def job_limits(self) -> WorkerLimits:
        """What one engine run may use."""
        return WorkerLimits(self.job_timeout_s, int(self.job_memory_gib * _GIB))

    @property
    def feature_cache_bytes(self) -> int:
        """How much of the last meshes' features the host keeps."""
        return int(self.feature_cache_gib * _GIB)


@dataclass(frozen=True)
class Preset:
    """A named choice of segmentation settings, from `configs/presets/`."""

    title: str
    description: str
    working_faces: int
    point_num: int
    prompt_num: int


@dataclass(frozen=True)
class Quality:
    """A named choice of generation settings, from `configs/qualities/`."""

    title: str
    description: str
    steps: int
    octree_resolution: int


@dataclass(frozen=True)
class Configuration:
    """Everything that can be set, and where each value came from ("app.port" → "command line")."""

    app: AppSettings
    mesh: MeshLimits
    vram: VramSettings
    p3sam: P3SamSettings
    presets: Mapping[str, Preset]
    xpart: XPartSettings
    qualities: Mapping[str, Quality]
    sources: Mapping[str, str]

    def preset(self, name: str) -> Preset:
        """The preset of that name; raises `ConfigError` with the known ones."""
        if name not in self.presets:
            known = ", ".join(self.presets)
            raise ConfigError(f"“{name}” is not a preset. Known are: {known}.")
        return self.presets[name]

    def p3sam_settings(self, preset: str) -> P3SamSettings:
        """P3-SAM's settings: the environment's numbers of points and prompts, else the preset's."""
        chosen = self.preset(preset)
        given = self.p3sam
        return replace(
            given,
            point_num=given.point_num if self._is_set("p3sam.point_num") else chosen.point_num,
            prompt_num=given.prompt_num if self._is_set("p3sam.prompt_num") else chosen.prompt_num,
        )

    def quality(self, name: str) -> Quality:
        """The quality of that name; raises `ConfigError` with the known ones."""
        if name not in self.qualities:
            known = ", ".join(self.qualities)
            raise ConfigError(f"“{name}” is not a quality. Known are: {known}.")
        return self.qualities[name]

    def xpart_settings(self, quality: str) -> XPartSettings:
        """X-Part's settings: steps and resolution of the environment, else of the quality."""
        chosen = self.quality(quality)
        given = self.xpart
        own = "xpart.octree_resolution"
        return replace(
            given,
            steps=given.steps if self._is_set("xpart.steps") else chosen.steps,
            octree_resolution=given.octree_resolution
            if self._is_set(own)
            else chosen.octree_resolution,
        )

    def _is_set(self, name: str) -> bool:
        """Whether a person gave the setting a value: by the environment or the command line."""
        return self.sources[name] not in ("default", f"{name.partition('.')[0]}.yaml")


def load_configuration(
    *,
    folder: Path = ROOT / "configs",
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
    memory_overrides: Mapping[str, object] | None = None,
) -> Configuration:
    """Read `configs/`, the environment and the command line, which wins.

    overrides: of AppSettings; memory_overrides: of VramSettings; None there means "not given".
    """
    environment = os.environ if environment is None else environment
    app = load_settings(
        AppSettings,
        "app",
        file=folder / "app.yaml",
        environment=environment,
        overrides=overrides,
    )
    mesh = load_settings(MeshLimits, "mesh", file=folder / "mesh.yaml", environment=environment)
    vram = load_settings(
        VramSettings,
        "vram",
        file=folder / "vram.yaml",
        environment=environment,
        overrides=memory_overrides,
    )
    p3sam = load_settings(
        P3SamSettings,
        "p3sam",
        file=folder / "p3sam.yaml",
        environment=environment,
        other_names=_P3SAM_SERVER_NAMES,
    )
    xpart = load_settings(
        XPartSettings, "xpart", file=folder / "xpart.yaml", environment=environment
    )
    sections: tuple[tuple[str, Loaded[object]], ...] = (
        ("app", app),
        ("mesh", mesh),
        ("vram", vram),
        ("p3sam", p3sam),
        ("xpart", xpart),
    )  # type: ignore[assignment]
    sources = {f"{name}.{key}": s for name, part in sections for key, s in part.sources.items()}
    presets = _load_choices(folder / "presets", Preset)
    qualities = _load_choices(folder / "qualities", Quality)
    return Configuration(
        app=app.value,
        mesh=mesh.value,
        vram=vram.value,
        p3sam=p3sam.value,
        presets=dict(sorted(presets.items(), key=lambda item: item[1].working_faces)),
        xpart=xpart.value,
        qualities=dict(sorted(qualities.items(), key=_fineness)),
        sources=sources,
    )


def _fineness(item: tuple[str, Quality]) -> tuple[int, int]:
    return item[1].octree_resolution, item[1].steps


def _load_choices(folder: Path, kind: type[T]) -> dict[str, T]:
    files = sorted(folder.glob("*.yaml"))
    if not files:
        raise ConfigError(
            f"configs/{folder.name} holds no file. Restore the folder from the project."
        )
    return {f.stem: load_settings(kind, kind.__name__.lower(), file=f).value for f in files}
