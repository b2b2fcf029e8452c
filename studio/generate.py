"""Generate: a mesh with parts in, each part as a closed mesh out. The same for every face."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace

import numpy as np
from numpy.typing import NDArray

from partwise.core.errors import AppError, ConfigError
from partwise.core.progress import CancelToken, ProgressCallback
from partwise.geometric.complete import (
    CompletedPart,
    Completion,
    CompletionSettings,
    closed_count,
)
from partwise.geometry.aabb import part_aabbs
from partwise.geometry.mesh_io import SourceMesh
from partwise.xpart.settings import XPartSettings
from studio import xpart
from studio.catalog import AUTO, GENERATE, XPART, EngineChoice, Engines, find_model
from studio.configuration import DEFAULT_QUALITY, Configuration
from studio.document import Document, PartSet, Run
from studio.outlook import Outlook
from studio.p3sam_network import Watch
from studio.print_size import in_three_digits, largest_side

logger = logging.getLogger(__name__)

PartCallback = Callable[[CompletedPart], None]
_LARGEST_SHARE = 0.5  # of the object's largest side that a peg or a wall may be


@dataclass(frozen=True)
class GenerateOptions:
    """How to generate, for whichever engine runs; `geometric` in units of the mesh."""

    xpart: XPartSettings = field(default_factory=XPartSettings)
    geometric: CompletionSettings = field(default_factory=CompletionSettings)

    def of(self, engine: str) -> XPartSettings | CompletionSettings:
        """The settings of one engine."""
        return self.xpart if engine == XPART else self.geometric


@dataclass(frozen=True)
class GenerateRequest:
    """What to close; `part_ids` None means every part; `engine` "auto", "geometric", "xpart".

    aabbs: (K, 2, 3) float64 boxes of the parts asked for, in that order and in the mesh's
    coordinates, for X-Part; None = those of the parts' own surfaces.
    """

    mesh: SourceMesh
    parts: PartSet
    part_ids: tuple[int, ...] | None = None
    engine: str = AUTO
    options: GenerateOptions = field(default_factory=GenerateOptions)
    aabbs: NDArray[np.float64] | None = None

    @property
    def chosen_ids(self) -> tuple[int, ...]:
        """The parts asked for; raises `AppError` when there are none."""
        ids = self.part_ids
        if ids is None:
            ids = tuple(part.id for part in self.parts.parts)
        if not ids:
            raise AppError("No part is chosen. Include at least one part to generate.")
        return ids

    def boxes(self) -> NDArray[np.float64]:
        """(K, 2, 3) float64, the boxes of the parts asked for."""
        if self.aabbs is not None:
            return self.aabbs
        mesh, labels = self.mesh, self.parts.face_labels
        return part_aabbs(mesh.vertices, mesh.faces, labels, self.chosen_ids)


@dataclass(frozen=True)
class GenerateResult:
    """The closed parts (and those that stayed open, with the reason), and how they came about."""

    completed: tuple[CompletedPart, ...]
    run: Run


def options_for(
    configuration: Configuration,
    quality: str = DEFAULT_QUALITY,
    *,
    steps: int | None = None,
    octree_resolution: int | None = None,
    seed: int | None = None,
    decoding: str | None = None,
    geometric: CompletionSettings | None = None,
) -> GenerateOptions:
    """A quality's settings with a person's own; raises `ConfigError` when out of range.

    geometric: the built-in engine's, in units of the mesh; `check_lengths` knows how large that is.
    """
    given = {
        "steps": steps,
        "octree_resolution": octree_resolution,
        "seed": seed,
        "decoding": decoding,
    }
    values = {key: value for key, value in given.items() if value is not None}
    try:
        neural = replace(configuration.xpart_settings(quality), **values)  # type: ignore[arg-type]
    except ValueError as err:
        raise ConfigError(f"X-Part: {err}.") from err
    return GenerateOptions(neural, geometric or CompletionSettings())


def check_lengths(settings: CompletionSettings, mesh: SourceMesh | None = None) -> None:
    """Raise `ConfigError` for lengths that cannot be, or not in this mesh."""
    most = math.inf if mesh is None else _LARGEST_SHARE * largest_side(mesh)
    for name, value in asdict(settings).items():
        if not (math.isfinite(value) and value >= 0):
            raise ConfigError(f"{name} is {value}; give a length in units of the mesh, 0 or more.")
        if value > most:
            raise ConfigError(
                f"{name} is {in_three_digits(value)} in units of the mesh, more than half of the "
                f"object's largest side. Give at most {in_three_digits(most)}."
            )
    if 0 < settings.plug <= settings.clearance:
        raise ConfigError(
            f"A clearance of {in_three_digits(settings.clearance)} leaves nothing of a plug of "
            f"{in_three_digits(settings.plug)}. Give a smaller one, such as a tenth of the plug."
        )


def is_stale(document: Document, options: GenerateOptions) -> bool:
    """Whether the closed parts were made with other settings than these, of the same engine."""
    run = document.completion
    if run is None:
        return False
    asked = options.of(run.engine)
    return any(
        field.name in run.settings
        and _is_other(run.settings[field.name], getattr(asked, field.name))
        for field in fields(asked)
    )


def _is_other(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return not math.isclose(one, other, rel_tol=1e-9)
    return one != other


def look_ahead(engines: Engines, options: GenerateOptions, part_count: int) -> Outlook:
    """About how long X-Part would take here, and in which memory; its weights must be here."""
    return xpart.look_ahead(engines, options.xpart, part_count)


def foresee(
    engines: Engines, requested: str, options: GenerateOptions, part_count: int
) -> tuple[EngineChoice, Outlook | None]:
    """The engine that `run` would take, and how X-Part would run when it is that one.

    Raises as `Engines.choose` does.
    """
    if requested != AUTO or find_model(XPART).why_unavailable(engines.weights_dir):
        choice = engines.choose(GENERATE, requested)
        is_xpart = choice.name == XPART
        return choice, look_ahead(engines, options, part_count) if is_xpart else None
    ahead = look_ahead(engines, options, part_count)
    fits = ahead.plan is None or ahead.plan.fits
    choice = engines.choose(GENERATE, requested, neural_s=ahead.seconds, fits=fits)
    return choice, ahead if choice.name == XPART else None


def choose_engine(
    engines: Engines, requested: str, options: GenerateOptions, part_count: int
) -> EngineChoice:
    """The engine that `run` would take; raises as `Engines.choose` does."""
    if requested != AUTO:
        return engines.choose(GENERATE, requested)
    return foresee(engines, requested, options, part_count)[0]


def run(
    request: GenerateRequest,
    engines: Engines,
    progress: ProgressCallback,
    cancel: CancelToken,
    on_part: PartCallback = lambda part: None,
) -> GenerateResult:
    """Choose the engine and run it; raises `AppError` kinds, `Cancelled` when told to stop.

    on_part: hears of each part as soon as it is done, in no order, if they are done one by one.
    """
    started = time.perf_counter()
    ids = request.chosen_ids
    choice = choose_engine(engines, request.engine, request.options, len(ids))
    watch = Watch(progress, cancel)
    if choice.name == XPART:
        made = _by_xpart(request, engines, watch, on_part)
    else:
        made = _by_geometry(request, engines, watch)
    elapsed_s = time.perf_counter() - started
    logger.info(
        "closed %d of %d parts in %.2f s (%s)",
        closed_count(made.completed),
        len(made.completed),
        elapsed_s,
        choice.name,
    )
    run_made = replace(
        made.run, engine=choice.name, engine_reason=choice.reason, elapsed_s=elapsed_s
    )
    return GenerateResult(made.completed, run_made)


def _by_geometry(request: GenerateRequest, engines: Engines, watch: Watch) -> GenerateResult:
    ids, settings = request.chosen_ids, request.options.geometric
    check_lengths(settings, request.mesh)
    completion: Completion = engines.pool.run(
        "partwise.geometric.complete:complete_parts",
        request.mesh.vertices,
        request.mesh.faces,
        request.parts.face_labels,
        part_ids=ids,
        settings=settings,
        limits=engines.job_limits,
        progress=watch.progress,
        cancel=watch.cancel,
    )
    seconds = {"close": completion.seconds}
    return GenerateResult(completion.parts, _run_of(ids, asdict(settings), seconds))


def _by_xpart(
    request: GenerateRequest, engines: Engines, watch: Watch, on_part: PartCallback
) -> GenerateResult:
    ids, settings = request.chosen_ids, request.options.xpart
    job = xpart.Job(request.mesh, request.boxes(), ids, settings)
    made = xpart.generate(job, engines, watch, on_part)
    run_made = replace(
        _run_of(ids, asdict(settings), made.stage_seconds),
        stage_peaks=made.stage_peaks,
        memory_plan=made.plan,
    )
    return GenerateResult(made.completed, run_made)


def _run_of(ids: Sequence[int], settings: dict[str, object], seconds: dict[str, float]) -> Run:
    """What is known of a run before it is known how it was chosen and how long it took."""
    return Run(GENERATE, "", "", {"part_ids": list(ids), **settings}, seconds, 0.0)
