"""What is known of memory at one moment, as plain values. Bytes are ints; None means unknown."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum


class DeviceKind(str, Enum):
    """Where models run."""

    CUDA = "cuda"
    MPS = "mps"
    CPU = "cpu"


class DriverState(str, Enum):
    """What the NVIDIA driver's library answered."""

    OK = "ok"
    NO_CLIENT = "no client"
    NO_LIBRARY = "no library"
    NO_GPU = "no gpu"
    NOT_VISIBLE = "not visible"
    NOT_SUPPORTED = "not supported"
    NO_PERMISSION = "no permission"
    LOST = "lost"
    FAILED = "failed"


@dataclass(frozen=True)
class OtherGpu:
    """A GPU of this machine that Partwise does not use."""

    index: int
    name: str
    total_bytes: int | None
    used_bytes: int | None


@dataclass(frozen=True)
class DriverMemory:
    """One GPU as the driver sees it; `reserved_bytes` is what the driver keeps for itself.

    `process_bytes` is what it counts for this process: None when it does not say.
    """

    index: int
    uuid: str
    name: str
    total_bytes: int
    used_bytes: int
    free_bytes: int
    reserved_bytes: int
    process_bytes: int | None


@dataclass(frozen=True)
class DriverReading:
    """The driver's answer: its state, a sentence on it, the GPU in use, the others, its version."""

    state: DriverState
    sentence: str
    gpu: DriverMemory | None = None
    others: tuple[OtherGpu, ...] = ()
    version: str = ""


@dataclass(frozen=True)
class AllocatorMemory:
    """torch's caching allocator: bytes in live tensors, bytes held, and the peaks of both."""

    allocated_bytes: int
    reserved_bytes: int
    peak_allocated_bytes: int | None = None
    peak_reserved_bytes: int | None = None


@dataclass(frozen=True)
class Fragmentation:
    """How torch's cache is cut up: free bytes within it, and in how large pieces.

    `inactive_split_bytes` are free but stand between blocks in use, so they cannot go back to the
    driver.
    """

    free_bytes: int
    largest_free_bytes: int
    free_block_count: int
    inactive_split_bytes: int

    @property
    def share(self) -> float:
        """What part of the free bytes is outside the largest block, in [0, 1]."""
        return 1 - self.largest_free_bytes / self.free_bytes if self.free_bytes else 0.0


@dataclass(frozen=True)
class GpuProcess:
    """A process that holds memory of the GPU; `used_bytes` None when the driver does not say."""

    pid: int
    name: str
    used_bytes: int | None
    is_ours: bool


@dataclass(frozen=True)
class DeviceReading:
    """One device; total, used and free are the whole device's, by the driver.

    `context_bytes` is what this process holds there outside torch's allocator (the context and
    libraries). `sentence` says in words what is known and what is not. `fragmentation` is measured
    only when there is much free memory in torch's cache. `budget_bytes` is the enforced limit.
    """

    kind: DeviceKind
    name: str
    sentence: str
    index: int | None = None
    driver: DriverState = DriverState.NO_GPU
    total_bytes: int | None = None
    used_bytes: int | None = None
    free_bytes: int | None = None
    allocator: AllocatorMemory | None = None
    context_bytes: int | None = None
    others: tuple[OtherGpu, ...] = ()
    fragmentation: Fragmentation | None = None
    budget_bytes: int | None = None
    is_simulated: bool = False

    @property
    def is_gpu(self) -> bool:
        """Whether models run on a GPU."""
        return self.kind is not DeviceKind.CPU

    @property
    def computes_on_gpu(self) -> bool:
        """Whether they run at a GPU's speed: a simulated one has a CPU's."""
        return self.is_gpu and not self.is_simulated


@dataclass(frozen=True)
class HostReading:
    """The machine's own memory; `rss` is resident memory, shared pages included."""

    total_bytes: int
    available_bytes: int
    app_rss_bytes: int
    worker_rss_bytes: int
    worker_count: int
    swap_used_bytes: int
    swap_total_bytes: int


@dataclass(frozen=True)
class _Shares:
    weights: Mapping[str, int]

    @property
    def weight_bytes(self) -> int:
        """The weights of all components."""
        return sum(self.weights.values())


@dataclass(frozen=True)
class DeviceShares(_Shares):
    """Who holds the device's memory; all that is known adds up to its total.

    `others_bytes` and `context_bytes` are None where the driver hides who uses what; both are then
    in `unattributed_bytes`.
    """

    activations_bytes: int
    cache_bytes: int
    context_bytes: int | None
    others_bytes: int | None
    unattributed_bytes: int
    driver_bytes: int
    free_bytes: int

    @property
    def total_bytes(self) -> int:
        """The sum of all shares: the device's total."""
        own = self.weight_bytes + self.activations_bytes + self.cache_bytes
        rest = (self.context_bytes or 0) + (self.others_bytes or 0) + self.unattributed_bytes
        return own + rest + self.driver_bytes + self.free_bytes


@dataclass(frozen=True)
class HostShares(_Shares):
    """Who holds the machine's memory; adds up to its total. `weights` only when models run here."""

    app_bytes: int
    worker_bytes: int
    others_bytes: int
    free_bytes: int

    @property
    def total_bytes(self) -> int:
        """The sum of all shares: the machine's total."""
        own = self.weight_bytes + self.app_bytes + self.worker_bytes
        return own + self.others_bytes + self.free_bytes


@dataclass(frozen=True)
class MemoryReading:
    """Everything known at `time_s` (Unix time); `shares` is None where no total is known."""

    time_s: float
    device: DeviceReading
    host: HostReading
    shares: DeviceShares | None
    host_shares: HostShares
    is_busy: bool = False

    @property
    def held_bytes(self) -> int:
        """What Partwise is known to hold where the models run."""
        if self.shares is not None:
            own = self.shares.weight_bytes + self.shares.activations_bytes + self.shares.cache_bytes
            return own + (self.shares.context_bytes or 0)
        if self.device.is_gpu:
            return self.device.allocator.reserved_bytes if self.device.allocator else 0
        host = self.host_shares
        return host.weight_bytes + host.app_bytes + host.worker_bytes


class EventKind(str, Enum):
    """What can happen to memory."""

    LOAD = "load"
    PREFETCH = "prefetch"
    UNLOAD = "unload"
    PARK = "park"
    FAILED = "failed"
    JOB_START = "job start"
    JOB_END = "job end"
    STAGE = "stage"
    PLAN = "plan"
    STEP_DOWN = "step down"
    OUT_OF_MEMORY = "out of memory"
    BUDGET = "budget"
    WORKER = "worker"
    DEVICE = "device"


@dataclass(frozen=True)
class MemoryEvent:
    """Something happened: to what (`subject`), how many bytes and seconds, and a detail."""

    kind: EventKind
    subject: str
    size_bytes: int | None = None
    elapsed_s: float | None = None
    detail: str = ""
    time_s: float = field(default_factory=time.time)


class ComponentState(str, Enum):
    """Where a component is."""

    UNAVAILABLE = "not available"
    NOT_LOADED = "not loaded"
    PARKED = "on the host"
    LOADING = "loading"
    LOADED = "loaded"
    UNLOADING = "unloading"


@dataclass(frozen=True)
class ComponentStatus:
    """One component; `lease_count` above 0 means in use, so that it cannot be unloaded.

    `host_bytes` is what the host keeps of its weights to load them quickly again. `streaming`: how
    its weights come and go while it computes, empty when all of them stay.
    """

    name: str
    title: str
    state: ComponentState
    lease_count: int = 0
    weight_bytes: int | None = None
    idle_s: float | None = None
    precision: str | None = None
    why_unavailable: str | None = None
    host_bytes: int | None = None
    is_pinned: bool = False
    streaming: str = ""


@dataclass(frozen=True)
class ManagerStatus:
    """All components, and after how many idle seconds they are unloaded (0: never)."""

    components: tuple[ComponentStatus, ...]
    idle_unload_s: float


@dataclass(frozen=True)
class UnloadReport:
    """What an unload did; before and after are this process's memory where models run."""

    unloaded: tuple[str, ...]
    in_use: tuple[str, ...]
    weight_bytes: int
    before_bytes: int | None
    after_bytes: int | None
    elapsed_s: float
