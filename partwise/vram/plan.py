"""What a job needs of memory, what there is, and the plan that fits one into the other.

Plain values, no torch. `planner.plan` makes a `Plan` of a `JobNeed`, a `Room` and `Preferences`.
Bytes are ints; seconds are estimates for comparing plans on one machine, not promises.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

PRECISIONS = ("fp32", "bf16", "fp16", "int8", "int4")


class Rung(str, Enum):
    """What a plan gives up to fit, the cheapest first; down to STREAMED no bit of a result changes.

    CPU changes none either, and costs the most time.
    """

    WHOLE = "nothing given up"
    SMALLER = "smaller chunks and batches"
    EVICT = "idle models leave the device"
    STAGED = "one stage's weights at a time"
    STREAMED = "weights block by block"
    SIXTEEN_BIT = "16-bit weights"
    EIGHT_BIT = "8-bit weights"
    FOUR_BIT = "4-bit weights"
    CPU = "on the CPU"


class Ladder(str, Enum):
    """Which rungs may be taken: all, those that change no bit, or full → 8-bit → 4-bit → CPU."""

    AUTO = "auto"
    EXACT = "exact"
    QUANTIZED = "quantized"


@dataclass(frozen=True)
class StageOption:
    """A way to run a stage: chunk and batch sizes, none of which changes its result.

    activation_bytes: the peak beside the weights. largest_bytes: the largest single tensor.
    """

    knobs: Mapping[str, int]
    activation_bytes: int
    largest_bytes: int
    seconds: float


@dataclass(frozen=True)
class Stage:
    """A stage of a job, which runs under one lease. options: the fastest first."""

    name: str
    title: str
    component: str
    options: tuple[StageOption, ...]


@dataclass(frozen=True)
class Form:
    """How the weights are held for a job: in which precision, whole or streamed, where.

    rung: the one that this form stands for: WHOLE, STREAMED, SIXTEEN_BIT, EIGHT_BIT, FOUR_BIT or
    CPU (on a machine without a GPU the CPU is the device, so a form there is WHOLE). weight_bytes:
    by component, where its stage runs; of streamed ones what stays there and the slots
    (`footprint.streamed_bytes`). host_bytes: what the host must take for their masters, 0 for those
    that it keeps already, and for streamed ones, which are mapped where the host has no room; not
    counted where the stages run on the host, since the masters are the weights then. load_seconds:
    by component, from the host or the disk. quality: what it costs in words, empty when no bit of
    the result changes. streaming: the kind (see `Placement`), empty when all weights are there; of
    two forms of one quality one that is not streamed is taken if it fits.
    """

    rung: Rung
    precision: str
    weight_bytes: Mapping[str, int]
    host_bytes: int
    load_seconds: Mapping[str, float]
    stages: tuple[Stage, ...]
    quality: str = ""
    streaming: str = ""


@dataclass(frozen=True)
class JobNeed:
    """All ways to run a job. forms: the better result first; their stages have the same names.

    advice: a sentence on what a person can change of the job itself so that it needs less.
    """

    title: str
    forms: tuple[Form, ...]
    advice: str = "Use a smaller mesh or model."


@dataclass(frozen=True)
class Room:
    """What there is on the device (on a machine without a GPU: in its memory) at one moment.

    total_bytes, free_bytes: of the whole device, by the driver. cache_bytes: reserved by our
    allocator and free for reuse. context_bytes: what a context will take that is not there yet.
    own_bytes: what this process holds now, cache and context included. idle, in_use: weights by
    component; idle ones may be evicted. host_free_bytes: for masters and for stages on the CPU.
    """

    is_gpu: bool
    total_bytes: int
    free_bytes: int
    host_free_bytes: int
    own_bytes: int = 0
    cache_bytes: int = 0
    context_bytes: int = 0
    idle: Mapping[str, int] = field(default_factory=dict)
    in_use: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Preferences:
    """What a person wants. budget_bytes: all that Partwise may hold, None = what is free.

    reserve_bytes: left free for the display and other programs. precision, rung: pinned when given.
    """

    budget_bytes: int | None = None
    reserve_bytes: int = 0
    ladder: Ladder = Ladder.AUTO
    precision: str | None = None
    rung: Rung | None = None


@dataclass(frozen=True)
class PlanLine:
    """One item of a plan's sum at its peak. kind: weights, activations, context or held."""

    label: str
    kind: str
    byte_count: int


@dataclass(frozen=True)
class StagePlan:
    """A stage as it will run. peak_bytes: weights, activations and all that stays beside them."""

    name: str
    title: str
    component: str
    knobs: Mapping[str, int]
    activation_bytes: int
    peak_bytes: int
    seconds: float


@dataclass(frozen=True)
class Plan:
    """How a job will run. room_bytes: what it may use; fits: whether peak_bytes is within that.

    Both count all that Partwise holds where the job runs: on the device, or for rung CPU on the
    host, there without what it holds already. A plan can also not fit because the host lacks
    host_bytes, of which only host_free_bytes are free. evict: idle components of others that leave
    first. is_staged: weights of one stage at a time; those of the other stages leave before it.
    lines: each byte at the peak, which they add up to. seconds: with loading, and with the reload
    of what is evicted. passed_over: in words, why no better way was taken. advice: see `JobNeed`.
    """

    job: str
    rung: Rung
    precision: str
    is_on_gpu: bool
    is_staged: bool
    stages: tuple[StagePlan, ...]
    evict: tuple[str, ...]
    lines: tuple[PlanLine, ...]
    peak_bytes: int
    room_bytes: int
    seconds: float
    quality: str
    fits: bool
    passed_over: tuple[str, ...] = ()
    host_bytes: int = 0
    host_free_bytes: int = 0
    advice: str = ""
    streaming: str = ""

    @property
    def is_on_host(self) -> bool:
        """Whether it runs on the CPU although that is not where models run here."""
        return self.rung is Rung.CPU

    @property
    def shortfall_bytes(self) -> int:
        """How many bytes are missing where the most are missing; 0 when it fits."""
        missing = self.peak_bytes - self.room_bytes, self.host_bytes - self.host_free_bytes
        return max(0, *missing)

    def stage(self, name: str) -> StagePlan:
        """The stage of that name; raises KeyError."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(name)
