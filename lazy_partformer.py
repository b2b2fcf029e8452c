"""X-Part's pipeline as something to call: conditioner, PartFormer, ShapeVAE, one after the other.

Each stage has one lease, so its component is loaded when the stage begins and can leave when it
ends. Holds no module itself, so keeping one of these keeps no memory.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from partwise.core.progress import CancelToken, Progress, ProgressCallback, ignore_progress, scaled
from partwise.vram.component import Lease, Placement
from partwise.xpart.boxes import check_aabbs
from partwise.xpart.config import XPartConfig
from partwise.xpart.finish import FinishedPart, finish_part
from partwise.xpart.parts import Conditions, PreparedParts, RawSurface
from partwise.xpart.prepare import prepare_parts
from partwise.xpart.sampler import initial_latents
from partwise.xpart.settings import XPartSettings

if TYPE_CHECKING:
    from model_manager import ModelManager

__all__ = ["LazyPartFormer", "Watch"]

T = TypeVar("T")

CONDITIONER, DIT, VAE = "xpart.conditioner", "xpart.dit", "xpart.vae"
COMPONENTS = (CONDITIONER, DIT, VAE)
CONDITION, SAMPLE, DECODE = "condition", "sample", "decode"
STAGE_COMPONENTS = {CONDITION: CONDITIONER, SAMPLE: DIT, DECODE: VAE}
_SHARES = {CONDITION: (0.0, 0.1), SAMPLE: (0.1, 0.7), DECODE: (0.7, 1.0)}  # of a run's progress
_LOADING_SHARE = 0.2  # of a stage's progress
_STEPS_IN_A_CALL = 10  # elsewhere: a process that ends takes no more steps than these with it
PRODUCTS = {"fp32": "fp32", "fp16": "fp16"}  # by the weights' precision; else bf16, as published


class StageWay(Protocol):
    """How a stage runs: see the options in `partwise.xpart.cost`."""

    @property
    def knobs(self) -> Mapping[str, int]: ...


class Stages(Protocol):
    """Runs stages under leases and within memory, as `partwise.vram.job.PlannedJob` does."""

    def run(
        self, stage: str, work: Callable[[Lease, Any], T], progress: ProgressCallback = ...
    ) -> T: ...


@dataclass(frozen=True)
class _Published:
    """All at once."""

    knobs: Mapping[str, int] = field(default_factory=dict)


class Unplanned:
    """Stages without a plan, for scripts: each component leaves before the next one comes."""

    def __init__(self, manager: "ModelManager", placement: Placement, cancel: CancelToken) -> None:
        self._manager, self._placement, self._cancel = manager, placement, cancel

    def run(
        self,
        stage: str,
        work: Callable[[Lease, Any], T],
        progress: ProgressCallback = ignore_progress,
    ) -> T:
        """Run a stage; raises what `ModelManager.use` and the stage raise."""
        component = STAGE_COMPONENTS[stage]
        for other in COMPONENTS:
            if other != component:
                self._manager.unload(other, keep_on_host=True)
        with self._manager.use(
            component, self._placement, cancel=self._cancel, progress=progress
        ) as lease:
            return work(lease, _Published())


@dataclass(frozen=True)
class Watch:
    """Who follows a run. on_surface: hears each part's place and its surface when that is there."""

    progress: ProgressCallback = ignore_progress
    cancel: CancelToken = field(default_factory=CancelToken)
    on_surface: Callable[[int, RawSurface], None] = lambda place, surface: None

    def of(self, stage: str) -> ProgressCallback:
        """Progress of one stage as a share of the whole."""
        return scaled(self.progress, *_SHARES[stage])


class LazyPartFormer:
    """Generates parts, each stage under a lease of its own.

    With `unload_after` the components leave the device after each call, also after one that failed
    or was cancelled, unless somebody else uses them; the host keeps their weights for a while, so
    that the next call need not read them from the disk. config: widths, by default the published
    ones. stages: what runs the stages; None = all at once, with weights of `precision`.

    The components are the attributes `conditioner`, `dit` and `vae`; any other attribute is that of
    the PartFormer. The first touch loads it, and it then stays until the idle time is over. A
    method fetched so takes a lease of its own for each call; other values are handed out as they
    are, so read tensors under `manager.use` instead.
    """

    def __init__(
        self,
        manager: "ModelManager",
        *,
        config: XPartConfig | None = None,
        stages: Stages | None = None,
        unload_after: bool = True,
        precision: str = "bf16",
    ) -> None:
        self._manager = manager
        self._config = config or XPartConfig()
        self._stages = stages
        self._unload_after = unload_after
        self._precision = precision

    @property
    def is_loaded(self) -> bool:
        """Whether any component is loaded now; asking does not load it."""
        return any(name in self._manager.resident_weights() for name in COMPONENTS)

    def __call__(
        self,
        vertices: NDArray[np.float64],
        faces: NDArray[np.int64],
        aabbs: NDArray[np.float64],
        settings: XPartSettings | None = None,
        *,
        cancel: CancelToken | None = None,
        progress: ProgressCallback = ignore_progress,
    ) -> tuple[FinishedPart, ...]:
        """A closed mesh for each box that holds something of the mesh, in the order of the boxes.

        vertices: (V, 3) float64. faces: (F, 3) int64. aabbs: (P, 2, 3) float64 in the mesh's
        coordinates. Raises `AppError` kinds, `Cancelled` and what `ModelManager.use` raises.
        """
        settings = settings or XPartSettings()
        prepared = prepare_parts(
            vertices,
            faces,
            check_aabbs(aabbs),
            point_count=self._config.conditioner.surface_points,
            seed=settings.seed,
            progress=scaled(progress, 0.0, 0.0),
        )
        finished: dict[int, FinishedPart] = {}

        def finish(place: int, surface: RawSurface) -> None:
            finished[place] = finish_part(surface, prepared.frame, settings.octree_resolution)

        self.generate(prepared, settings, Watch(progress, cancel or CancelToken(), finish))
        return tuple(finished[place] for place in sorted(finished))

    def generate(self, prepared: PreparedParts, settings: XPartSettings, watch: Watch) -> None:
        """Hand the surface of each prepared part, in the networks' frame, to `watch.on_surface`.

        What is finished survives when a stage has to run again in less memory: the denoising steps
        and the decoded parts. Raises as `__call__` does.
        """
        stages = self._stages or Unplanned(self._manager, Placement(self._precision), watch.cancel)
        run = _Run(prepared, settings, watch, self._config)
        try:
            stages.run(CONDITION, run.condition, _loading(watch.of(CONDITION)))
            stages.run(SAMPLE, run.sample, _loading(watch.of(SAMPLE)))
            stages.run(DECODE, run.decode, _loading(watch.of(DECODE)))
        finally:
            if self._unload_after:
                self.unload(keep_on_host=True)

    def unload(self, *, keep_on_host: bool = False) -> None:
        """Unload the components now, off the host too unless it may keep them; not those in use."""
        for name in COMPONENTS:
            self._manager.unload(name, keep_on_host=keep_on_host)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # copying and pickling ask for these: they never load anything
            raise AttributeError(f"{type(self).__name__} has no attribute “{name}”")
        component = f"xpart.{name}"
        if component in COMPONENTS:
            with self._manager.use(component) as lease:
                return lease.module
        return self._of(DIT, name)

    def _of(self, component: str, name: str) -> Any:
        """An attribute of a component; a method as one that takes a lease for each call."""
        with self._manager.use(component) as lease:
            value = getattr(lease.module, name)
        return self._leased(component, name) if inspect.ismethod(value) else value

    def _leased(self, component: str, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            with self._manager.use(component) as lease:
                return getattr(lease.module, name)(*args, **kwargs)

        return call

    def __copy__(self) -> "LazyPartFormer":
        return LazyPartFormer(
            self._manager,
            config=self._config,
            stages=self._stages,
            unload_after=self._unload_after,
            precision=self._precision,
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> "LazyPartFormer":
        return self.__copy__()  # there is one manager for all copies

    def __reduce__(self) -> str:
        raise TypeError(
            "a LazyPartFormer belongs to this process's models and cannot be pickled; make one "
            "in the other process from its own manager"
        )

    def __repr__(self) -> str:
        state = "loaded" if self.is_loaded else "not loaded"
        return f"<LazyPartFormer, {state}>"


class _Run:
    """One run's state between the stages; what is there is not made again."""

    def __init__(
        self, prepared: PreparedParts, settings: XPartSettings, watch: Watch, config: XPartConfig
    ) -> None:
        self._prepared, self._settings, self._watch = prepared, settings, watch
        self._conditions: Conditions | None = None
        self._latents = initial_latents(
            prepared.aabbs, settings.seed, config.vae.num_latents, config.dit.in_channels
        )
        self._decoded: set[int] = set()

    def condition(self, lease: Lease, way: StageWay) -> None:
        """Look at the object and its parts."""
        self._conditions = lease.call(
            "partwise.xpart.condition:condition_parts",
            self._prepared,
            self._settings.seed,
            **_given(lease, way),
            **self._of_stage(CONDITION),
        )

    def sample(self, lease: Lease, way: StageWay) -> None:
        """Denoise the latents of all parts together."""
        calls = self._settings.model_calls
        while self._latents.done_steps < calls:
            stop = self._latents.done_steps + _STEPS_IN_A_CALL if lease.is_elsewhere else calls
            self._latents = lease.call(
                "partwise.xpart.sample:sample_latents",
                self._conditions,
                self._latents,
                self._prepared.aabbs,
                self._settings,
                stop_step=min(stop, calls),
                **_given(lease, way),
                **self._of_stage(SAMPLE),
            )
        self._conditions = None  # gigabytes with many parts

    def decode(self, lease: Lease, way: StageWay) -> None:
        """Find each part's surface in its field."""
        count = len(self._prepared.aabbs)
        for place in range(count):
            if place in self._decoded:
                continue
            words = f"part {place + 1} of {count}"
            report = scaled(self._of_stage(DECODE)["progress"], place / count, (place + 1) / count)
            surface = lease.call(
                "partwise.xpart.decode:decode_part",
                self._latents.latents[place],
                self._prepared.aabbs[place],
                self._settings,
                **_given(lease, way),
                progress=_detailed(report, words),
                cancel=self._watch.cancel,
            )
            self._decoded.add(place)
            self._watch.on_surface(place, surface)

    def _of_stage(self, stage: str) -> dict[str, Any]:
        """Progress after loading, and who may stop it."""
        after = scaled(self._watch.of(stage), _LOADING_SHARE, 1)
        return {"progress": after, "cancel": self._watch.cancel}


def _given(lease: Lease, way: StageWay) -> dict[str, Any]:
    """The knobs as a stage's function takes them, and the precision of its products."""
    return {**way.knobs, "precision": PRODUCTS.get(lease.precision, "bf16")}


def _loading(progress: ProgressCallback) -> ProgressCallback:
    """Tell of the weights' loading as the first part of a stage."""
    report = scaled(progress, 0, _LOADING_SHARE)
    return lambda step: report(Progress("Loading X-Part", step.fraction, step.detail))


def _detailed(progress: ProgressCallback, words: str) -> ProgressCallback:
    def tell(step: Progress) -> None:
        detail = f"{words}, {step.detail}" if step.detail else words
        progress(Progress("Decoding", step.fraction, detail))

    return tell
