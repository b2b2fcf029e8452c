"""All ways to run a job and what each holds: form by form, at once or staged, who leaves first.

Pure; `planner` chooses among them. Peaks are all that Partwise holds where a way runs: what it
holds anyhow (context, libraries, models in use, idle models that stay), weights and activations.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

from partwise.vram.plan import Form, JobNeed, Preferences, Room, Rung, StageOption

RUNGS = tuple(Rung)
_RELOAD_BYTES_PER_S = 10e9  # of an evicted model, from page-locked memory over PCIe 4
_RELOAD_S = 0.05  # for its many small tensors
_MOST_ALONE = 5  # idle models that leave one by one; the smallest of more leave together


@dataclass(frozen=True)
class Place:
    """Where a form runs: what may be held there, and what is held whatever the job does.

    room_bytes: below 0 where not even the reserve is free. idle, in_use: weights by component.
    other_bytes: of ours, neither weights nor cache.
    """

    is_on_gpu: bool
    room_bytes: int
    context_bytes: int
    other_bytes: int
    idle: Mapping[str, int]
    in_use: Mapping[str, int]
    host_free_bytes: int


def find_place(form: Form, room: Room, preferences: Preferences) -> Place:
    """Where the form runs: the device, or beside a GPU the CPU when its rung says so.

    There the reserve and the budget do not count: they are the device's.
    """
    if form.rung is Rung.CPU and room.is_gpu:
        return Place(False, room.host_free_bytes, 0, 0, {}, {}, room.host_free_bytes)
    models = sum(room.idle.values()) + sum(room.in_use.values())
    own = max(room.own_bytes, room.cache_bytes + models)
    limit = own + room.free_bytes - preferences.reserve_bytes
    if preferences.budget_bytes is not None:
        limit = min(limit, preferences.budget_bytes)
    return Place(
        is_on_gpu=room.is_gpu,
        room_bytes=limit,
        context_bytes=room.context_bytes,
        other_bytes=own - room.cache_bytes - models,
        idle=room.idle,
        in_use=room.in_use,
        host_free_bytes=room.host_free_bytes,
    )


@dataclass(frozen=True)
class Way:
    """A form, its residency, and the idle components of others that leave first; no knobs yet."""

    form: Form
    place: Place
    is_staged: bool
    evict: tuple[str, ...]

    def weights(self, component: str) -> dict[str, int]:
        """By component, what the job's own ones hold while a stage of `component` runs.

        One that somebody else uses at the same time stays, as large as it is.
        """
        held = {}
        for name, size in self.form.weight_bytes.items():
            is_here = not self.is_staged or name == component
            held[name] = max(size if is_here else 0, self.place.in_use.get(name, 0))
        return held

    @cached_property
    def held(self) -> dict[str, int]:
        """By component, weights of others that stay."""
        others = {**self.place.idle, **self.place.in_use}
        gone = {*self.evict, *self.form.weight_bytes}
        return {name: size for name, size in others.items() if name not in gone and size}

    @cached_property
    def base_bytes(self) -> int:
        """What is held beside the job's own weights and activations."""
        place = self.place
        return place.context_bytes + place.other_bytes + sum(self.held.values())

    @cached_property
    def beside(self) -> tuple[int, ...]:
        """For each stage, all that is held beside its activations."""
        return tuple(
            self.base_bytes + sum(self.weights(stage.component).values())
            for stage in self.form.stages
        )

    @cached_property
    def host_bytes(self) -> int:
        """What the host must take beside; nothing where the host is where the job runs."""
        return self.form.host_bytes if self.place.is_on_gpu else 0

    @cached_property
    def extra_seconds(self) -> float:
        """Loading, and the later reload of what leaves."""
        idle = self.place.idle
        reload = sum(_RELOAD_S + idle[name] / _RELOAD_BYTES_PER_S for name in self.evict)
        return self._load_seconds() + reload

    def _load_seconds(self) -> float:
        if not self.is_staged:
            return sum(self._load_one(name, is_first=True) for name in self.form.weight_bytes)
        seconds, before = 0.0, None
        for stage in self.form.stages:
            if stage.component != before:
                seconds += self._load_one(stage.component, is_first=before is None)
            before = stage.component
        return seconds

    def _load_one(self, name: str, *, is_first: bool) -> float:
        """As many bytes as it would have mean that it is there already, in this very form."""
        place, size = self.place, self.form.weight_bytes.get(name, 0)
        is_there = place.in_use.get(name) == size or (is_first and place.idle.get(name) == size)
        return 0.0 if is_there else self.form.load_seconds.get(name, 0.0)


@dataclass(frozen=True)
class Candidate:
    """A way with an option for each stage."""

    way: Way
    options: tuple[StageOption, ...]
    is_smaller: bool

    @cached_property
    def peaks(self) -> tuple[int, ...]:
        """All that is held at the peak of each stage."""
        pairs = zip(self.way.beside, self.options, strict=True)
        return tuple(beside + option.activation_bytes for beside, option in pairs)

    @cached_property
    def peak_bytes(self) -> int:
        """The highest of all stages."""
        return max(self.peaks)

    @cached_property
    def seconds(self) -> float:
        """All that it takes, with loading and the later reload of what leaves."""
        return sum(option.seconds for option in self.options) + self.way.extra_seconds

    @cached_property
    def rung(self) -> Rung:
        """The lowest thing given up."""
        given_up = [self.way.form.rung]
        given_up += [Rung.STAGED] if self.way.is_staged else []
        given_up += [Rung.EVICT] if self.way.evict else []
        given_up += [Rung.SMALLER] if self.is_smaller else []
        return max(given_up, key=RUNGS.index)

    @cached_property
    def missing_bytes(self) -> int:
        """What it lacks, on the device or on the host; 0 when it fits."""
        way, place = self.way, self.way.place
        lacking = way.host_bytes - place.host_free_bytes if way.host_bytes else 0
        return max(0, self.peak_bytes - place.room_bytes, lacking)


Limit = Callable[[Way], tuple[int, ...] | None]


def find_candidates(
    need: JobNeed, room: Room, preferences: Preferences, limit: Limit = lambda way: None
) -> Iterator[Candidate]:
    """For each way the quickest that fits, and, fitting or not, the quickest and the smallest.

    limit: the most that each stage may hold, beside what the room says; None = as the room says.
    Raises ValueError for a need without forms, stages or options.
    """
    for way in _ways(need, room, preferences):
        caps = (way.place.room_bytes,) * len(way.beside)
        tighter = limit(way)
        if tighter is not None:
            caps = tuple(map(min, caps, tighter))
        yield from _of_way(way, caps, is_smaller=preferences.rung is Rung.SMALLER)


def _of_way(way: Way, caps: tuple[int, ...], *, is_smaller: bool) -> Iterator[Candidate]:
    """is_smaller: pinned to smaller chunks, so that the quickest of each stage is no choice."""
    quickest = [_quickest(stage.options) for stage in way.form.stages]
    choices = [stage.options for stage in way.form.stages]
    if is_smaller:
        choices = [_slower(options) or options for options in choices]

    def candidate(options: list[StageOption]) -> Candidate:
        pairs = zip(options, quickest, strict=True)
        return Candidate(way, tuple(options), any(o.seconds > q.seconds for o, q in pairs))

    yield candidate(quickest)
    yield candidate([min(o, key=lambda o: (o.activation_bytes, o.seconds)) for o in choices])
    fitting = [
        tuple(o for o in options if beside + o.activation_bytes <= cap)
        for options, beside, cap in zip(choices, way.beside, caps, strict=True)
    ]
    if all(fitting):
        yield candidate([_quickest(options) for options in fitting])


def _quickest(options: tuple[StageOption, ...]) -> StageOption:
    return min(options, key=lambda o: (o.seconds, o.activation_bytes))


def _slower(options: tuple[StageOption, ...]) -> tuple[StageOption, ...]:
    least = min(o.seconds for o in options)
    return tuple(o for o in options if o.seconds > least)


def _ways(need: JobNeed, room: Room, preferences: Preferences) -> Iterator[Way]:
    for form in need.forms:
        if not form.stages or not all(stage.options for stage in form.stages):
            raise ValueError(f"{need.title}: a form has no stages, or a stage no options: {form}")
        place = find_place(form, room, preferences)
        used = [name for name, size in form.weight_bytes.items() if size]
        for is_staged in (False, True) if len(used) > 1 else (False,):
            for evict in _evictions(place.idle, form):
                yield Way(form, place, is_staged, evict)


def _evictions(idle: Mapping[str, int], form: Form) -> Iterator[tuple[str, ...]]:
    """Every choice of idle components of others to evict, none first."""
    others = {name: size for name, size in idle.items() if size and name not in form.weight_bytes}
    order = sorted(others, key=lambda name: (-others[name], name))
    bundles: list[tuple[str, ...]] = [(name,) for name in order[:_MOST_ALONE]]
    if rest := tuple(order[_MOST_ALONE:]):
        bundles.append(rest)
    for count in range(len(bundles) + 1):
        for chosen in combinations(bundles, count):
            yield tuple(sorted(name for bundle in chosen for name in bundle))
