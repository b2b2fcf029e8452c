"""What holds the memory, what the next job needs, what would help: in words for a person.

Pure: everything is given, nothing is asked of the machine here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from partwise.vram.events import gib
from partwise.vram.plan import Plan
from partwise.vram.plan_words import in_words
from partwise.vram.readings import (
    ComponentState,
    ComponentStatus,
    GpuProcess,
    HostReading,
    ManagerStatus,
    MemoryReading,
)

_MIB, _GIB = 2**20, 2**30
_WORTH_TELLING = 64 * _MIB
_MUCH_CACHE = 256 * _MIB
_CUT_UP = 0.5  # of the free bytes in torch's cache outside its largest block
_LITTLE_HOST_SHARE, _LITTLE_HOST_BYTES = 0.1, 2 * _GIB
_BUSY_SWAP = 4 * _MIB  # bytes a second
_NOTICEABLE = 0.9  # of the time before: a setting that saves less is not worth a sentence
_SHOWN_PROCESSES = 8


@dataclass(frozen=True)
class Alternative:
    """Another setting in words (“the preset low_vram”), and the same job's plan with it."""

    setting: str
    plan: Plan


@dataclass(frozen=True)
class ServerWords:
    """A running server of this user; why_stale: in words, empty when it answers."""

    url: str
    pid: int
    version: str
    why_stale: str = ""


@dataclass(frozen=True)
class Surroundings:
    """What is around Partwise. processes: on the GPU, None when the driver does not say.

    conflicts: sentences on settings of torch's allocator that contradict each other.
    swap_bytes_per_s: to and from swap, just now. machine_bytes: of the machine, when this process
    may use less of it. Unknown is None.
    """

    processes: tuple[GpuProcess, ...] | None = None
    servers: tuple[ServerWords, ...] = ()
    conflicts: tuple[str, ...] = ()
    swap_bytes_per_s: float | None = None
    machine_bytes: int | None = None


def diagnose(
    reading: MemoryReading,
    status: ManagerStatus,
    plan: Plan | None,
    alternatives: Sequence[Alternative],
    around: Surroundings,
    *,
    why_no_plan: str = "",
) -> str:
    """The whole diagnosis, as paragraphs; `plan`: of the next job, None when none can be made."""
    paragraphs = (
        _where(reading),
        _holders(reading, status),
        _processes(reading, around.processes),
        _models(status),
        _next_job(plan, why_no_plan),
        _remedies(reading, status, plan, alternatives, around.processes),
        _fragments(reading),
        [f"Allocator settings: {conflict}" for conflict in around.conflicts],
        _host(reading, around),
        _servers(around.servers),
    )
    return "\n\n".join("\n".join(lines) for lines in map(list, paragraphs) if lines)


def _where(reading: MemoryReading) -> Iterator[str]:
    device, host = reading.device, reading.host
    if not device.is_gpu:
        yield (
            f"Models run on the CPU, in the machine's own memory: {gib(host.total_bytes)}, of "
            f"which {gib(host.available_bytes)} are free."
        )
    elif device.total_bytes is None or device.free_bytes is None:
        yield f"Models run on {device.name}; how much of its memory is free is not known."
    else:
        yield (
            f"Models run on {device.name} with {gib(device.total_bytes)} of memory, of which "
            f"{gib(device.free_bytes)} are free."
        )
    if device.sentence:
        yield device.sentence
    if device.is_simulated:
        yield "Its size is set by vram.simulated_gib; 0 there is the real device."
    if device.budget_bytes is not None:
        yield f"Partwise may hold {gib(device.budget_bytes)} of it: that is the budget set."


def _holders(reading: MemoryReading, status: ManagerStatus) -> Iterator[str]:
    titles = {component.name: component.title for component in status.components}
    shares, host = reading.shares, reading.host_shares
    if not reading.device.is_gpu:
        held = {f"weights of {titles.get(n, n)}": size for n, size in host.weights.items()}
        held["Partwise itself"] = host.app_bytes
        held["its worker processes"] = host.worker_bytes
        held["other programs and the system"] = host.others_bytes
    elif shares is None:
        yield f"Of it Partwise holds {gib(reading.held_bytes)}; who holds the rest is not known."
        return
    else:
        held = {f"weights of {titles.get(n, n)}": size for n, size in shares.weights.items()}
        held["a job's intermediate results (activations)"] = shares.activations_bytes
        held["free, but kept by torch to be used again (its cache)"] = shares.cache_bytes
        held["Partwise's connection to the GPU (context and libraries)"] = shares.context_bytes or 0
        held["other programs"] = shares.others_bytes or 0
        held["in use; the driver does not say by whom"] = shares.unattributed_bytes
        held["kept by the driver for itself"] = shares.driver_bytes
    yield "What holds it, largest first:"
    yield from _table(sorted(held.items(), key=lambda item: -item[1]))


def _table(rows: Sequence[tuple[str, int]]) -> Iterator[str]:
    shown = [(label, size) for label, size in rows if size > 0]
    yield from (f"  {gib(size):>10}  {label}" for label, size in shown)
    if not shown:
        yield "  nothing"


def _processes(reading: MemoryReading, processes: tuple[GpuProcess, ...] | None) -> Iterator[str]:
    if not reading.device.is_gpu or reading.device.is_simulated:
        return
    if processes is None:
        yield (
            "The driver does not tell which other programs use the GPU; that is usual in "
            "containers and on Windows."
        )
        return
    others = [process for process in processes if not process.is_ours]
    if not others:
        yield "No other program holds memory of this GPU."
        return
    yield "Other programs on this GPU:"
    others.sort(key=lambda process: -(process.used_bytes or 0))
    for process in others[:_SHOWN_PROCESSES]:
        yield f"  {gib(process.used_bytes):>10}  {process.name} (process {process.pid})"
    if len(others) > _SHOWN_PROCESSES:
        yield f"  and {len(others) - _SHOWN_PROCESSES} smaller ones"


def _models(status: ManagerStatus) -> Iterator[str]:
    for component in status.components:
        if component.state is not ComponentState.UNAVAILABLE:
            yield f"{component.title}: {_state_words(component)}."


def _state_words(component: ComponentStatus) -> str:
    if component.state is ComponentState.LOADED:
        use = "in use" if component.lease_count else f"idle for {component.idle_s or 0:.0f} s"
        precision = f" in {component.precision}" if component.precision else ""
        return f"loaded{precision}, {gib(component.weight_bytes)} of weights, {use}"
    kept = f", {gib(component.host_bytes)} of weights kept there" if component.host_bytes else ""
    return f"{component.state.value}{kept}"


def _next_job(plan: Plan | None, why_none: str) -> Iterator[str]:
    if plan is None:
        if why_none:
            yield f"What the next job needs cannot be told. {why_none}"
        return
    yield f"The next job, {plan.job}: {in_words(plan)}"
    yield from (f"  {reason}" for reason in plan.passed_over)


def _remedies(
    reading: MemoryReading,
    status: ManagerStatus,
    plan: Plan | None,
    alternatives: Sequence[Alternative],
    processes: tuple[GpuProcess, ...] | None,
) -> Iterator[str]:
    """What would help most comes first."""
    is_short = plan is not None and (not plan.fits or plan.is_on_host)
    if plan is not None:
        yield from (
            _settings_that_fit(plan, alternatives)
            if is_short
            else _settings_that_save(plan, alternatives)
        )
    if is_short:
        yield from _program_to_close(processes)
    idle = sum(
        component.weight_bytes or 0
        for component in status.components
        if component.state is ComponentState.LOADED and not component.lease_count
    )
    cache = reading.shares.cache_bytes if reading.shares else 0
    if idle + cache >= _WORTH_TELLING:
        yield (
            f"Unloading what is idle gives back about {gib(idle + cache)}: “Unload now” on the "
            "page, or cli.py memory --free. The next job loads it again."
        )


def _settings_that_fit(plan: Plan, alternatives: Sequence[Alternative]) -> Iterator[str]:
    """For a job that does not fit, or that would run on the CPU in place of the GPU."""
    useful = [
        other
        for other in alternatives
        if other.plan.fits and (not plan.fits or not other.plan.is_on_host)
    ]
    if useful:
        best = min(useful, key=lambda other: _cost(other.plan))
        yield (
            f"What would help most: {best.setting}. Then the job takes "
            f"{_sizes(plan, best.plan)} and fits in the {gib(best.plan.room_bytes)} that it may "
            f"use{_price(best.plan)}."
        )
    elif alternatives and not plan.fits:
        nearest = min(alternatives, key=lambda other: other.plan.shortfall_bytes)
        yield (
            "No other setting makes the job fit by itself. The nearest is "
            f"{nearest.setting}: {gib(nearest.plan.shortfall_bytes)} are missing then, in place "
            f"of {gib(plan.shortfall_bytes)}."
        )


def _settings_that_save(plan: Plan, alternatives: Sequence[Alternative]) -> Iterator[str]:
    """For a job that fits: what makes it smaller, and what makes it faster."""
    fitting = [other for other in alternatives if other.plan.fits]
    smaller = [o for o in fitting if plan.peak_bytes - o.plan.peak_bytes >= _WORTH_TELLING]
    if smaller:
        best = min(smaller, key=lambda other: (other.plan.peak_bytes, _cost(other.plan)))
        yield (
            f"What would save most memory: {best.setting}. Then the job takes "
            f"{_sizes(plan, best.plan)}{_price(best.plan)}."
        )
    faster = [o for o in fitting if o.plan.seconds < _NOTICEABLE * plan.seconds]
    if faster:
        best = min(faster, key=lambda other: (other.plan.seconds, other.plan.peak_bytes))
        yield (
            f"What would save most time: {best.setting}. Then the job takes about "
            f"{best.plan.seconds:.0f} s in place of {plan.seconds:.0f} s{_price(best.plan)}."
        )


def _sizes(plan: Plan, other: Plan) -> str:
    if plan.is_on_host != other.is_on_host:
        return f"{gib(other.peak_bytes)} of the {'host' if other.is_on_host else 'GPU'}"
    before, after = gib(plan.peak_bytes), gib(other.peak_bytes)
    return after if after == before else f"{after} in place of {before}"


def _cost(plan: Plan) -> tuple[bool, bool, float]:
    return plan.is_on_host, bool(plan.quality), plan.seconds


def _price(plan: Plan) -> str:
    return f", at a price: {plan.quality.rstrip('.')}" if plan.quality else ""


def _program_to_close(processes: tuple[GpuProcess, ...] | None) -> Iterator[str]:
    others = [p for p in processes or () if not p.is_ours and (p.used_bytes or 0) > _MUCH_CACHE]
    if others:
        largest = max(others, key=lambda process: process.used_bytes or 0)
        yield (
            f"Closing {largest.name} (process {largest.pid}) would free "
            f"{gib(largest.used_bytes)} of the GPU."
        )


def _fragments(reading: MemoryReading) -> Iterator[str]:
    pieces = reading.device.fragmentation
    if pieces is None or pieces.free_bytes < _MUCH_CACHE or pieces.share < _CUT_UP:
        return
    yield (
        f"The memory that torch keeps is cut up: {gib(pieces.free_bytes)} of it are free, but in "
        f"{pieces.free_block_count} pieces of which the largest has "
        f"{gib(pieces.largest_free_bytes)}; {gib(pieces.inactive_split_bytes)} cannot go back to "
        "the driver while their neighbours are in use. Unloading all models joins the pieces. "
        "Where torch can, Partwise has it avoid them (expandable_segments:True)."
    )


def _host(reading: MemoryReading, around: Surroundings) -> Iterator[str]:
    host = reading.host
    if around.machine_bytes is not None and host.total_bytes < around.machine_bytes:
        yield (
            f"This container may use {gib(host.total_bytes)} of the machine's "
            f"{gib(around.machine_bytes)}. Give it more if jobs do not fit."
        )
    rate = around.swap_bytes_per_s
    if rate is not None and rate >= _BUSY_SWAP:
        yield (
            f"The machine is short of memory and moves {rate / _MIB:.0f} MiB a second between "
            "memory and disk (swap); everything is slow while it does. Close other programs, or "
            "choose a smaller preset."
        )
    yield from _low_host(host)


def _low_host(host: HostReading) -> Iterator[str]:
    few = min(_LITTLE_HOST_SHARE * host.total_bytes, _LITTLE_HOST_BYTES)
    if host.available_bytes >= few:
        return
    sentence = (
        f"The machine's own memory is nearly full: {gib(host.available_bytes)} of "
        f"{gib(host.total_bytes)} are free. Loading a model needs some; the system may end "
        "Partwise when none is left."
    )
    if not host.swap_total_bytes:
        sentence += (
            " There is no swap to fall back on; on Linux scripts/setup_swap_file.sh makes a file "
            "for it."
        )
    yield sentence


def _servers(servers: tuple[ServerWords, ...]) -> Iterator[str]:
    for server in servers:
        state = f"stale: {server.why_stale}" if server.why_stale else "running"
        yield (f"Partwise {server.version} at {server.url} (process {server.pid}) is {state}.")
    if any(server.why_stale for server in servers):
        yield "cli.py memory --free offers to end what is stale."
