"""A plan in words, for the page, the log and the last message. Sizes in GiB."""

from collections.abc import Sequence

from partwise.vram.events import size_words
from partwise.vram.plan import Ladder, Plan, Rung
from partwise.vram.ways import RUNGS, Candidate

_ENDINGS = {"batch": "batches", "chunk": "chunks", "tile": "tiles"}
_SWITCHES = {
    "is_streamed": "inputs sent to the GPU piece by piece",
    "is_cached": "what is seen of the surfaces kept from step to step",
    "is_offloaded": "what waits for its turn on the host",
}
_FROM_FILE = ", read from the file as they are needed"
_PLURALS = {"query": "queries"}
_WITHOUT = {
    Ladder.AUTO: (),
    Ladder.EXACT: (Rung.SIXTEEN_BIT, Rung.EIGHT_BIT, Rung.FOUR_BIT),
    Ladder.QUANTIZED: (Rung.STREAMED, Rung.SIXTEEN_BIT),
}


def in_words(plan: Plan) -> str:
    """A plan in one line; one that does not fit as sentences that say what to do.

    "about 3.1 GiB of 6.2 free to use; prompts in batches of 8".
    """
    if not plan.fits:
        return _shortfall(plan)
    needed, room = size_words(plan.peak_bytes), size_words(plan.room_bytes).removesuffix(" GiB")
    about = "" if needed.startswith("less") else "about "
    return "; ".join([f"{about}{needed} of {room} free to use", *way_in_words(plan)])


def way_in_words(plan: Plan) -> tuple[str, ...]:
    """How a plan runs: what leaves, what is given up, in which chunks."""
    words = []
    if plan.evict:
        words.append(f"{' and '.join(plan.evict)} {'leaves' if len(plan.evict) < 2 else 'leave'}")
    if plan.is_staged:
        words.append(Rung.STAGED.value)
    streamed = Rung.STREAMED.value + ("" if plan.is_on_gpu else _FROM_FILE)
    if RUNGS.index(plan.rung) >= RUNGS.index(Rung.STREAMED):
        what = streamed if plan.rung is Rung.STREAMED else plan.rung.value
        words.append(what + (f" ({plan.quality})" if plan.quality else ""))
    if plan.streaming and plan.rung is not Rung.STREAMED:
        words.append(streamed)
    knobs = {name: value for stage in plan.stages for name, value in stage.knobs.items()}
    return (*words, *filter(None, (_knob(name, value) for name, value in knobs.items())))


def rungs_in_words(ladder: Ladder) -> str:
    """What a ladder gives up, the first thing first."""
    return " → ".join(rung.value for rung in rungs_of(ladder)[1:])


def rungs_of(ladder: Ladder) -> tuple[Rung, ...]:
    """The rungs that a ladder has, the cheapest first."""
    return tuple(rung for rung in RUNGS if rung not in _WITHOUT[ladder])


def passed_over_words(chosen: Candidate, candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """For each rung that gives up less than the chosen one: why it was not taken."""
    words = []
    for rung in RUNGS[: RUNGS.index(chosen.rung)]:
        ways = [candidate for candidate in candidates if candidate.rung is rung]
        if not ways:
            continue
        fitting = [way for way in ways if not way.missing_bytes]
        if fitting:
            best = min(fitting, key=lambda c: c.seconds)
            quicker = _seconds(chosen.seconds)
            words.append(f"{rung.value}: {_seconds(best.seconds)}, where {quicker} is enough")
        else:
            least = min(ways, key=lambda c: (c.missing_bytes, c.peak_bytes))
            words.append(f"{rung.value}: {_needs(least)}")
    return tuple(words)


def _needs(candidate: Candidate) -> str:
    place = candidate.way.place
    missing = size_words(candidate.missing_bytes)
    if candidate.peak_bytes > place.room_bytes:
        return f"needs {size_words(candidate.peak_bytes)}, {missing} too much"
    return f"needs {size_words(candidate.way.host_bytes)} of the host, {missing} too much"


def _seconds(seconds: float) -> str:
    return f"about {seconds:.1f} s" if seconds < 100 else f"about {seconds / 60:.0f} min"


def _shortfall(plan: Plan) -> str:
    missing = size_words(plan.shortfall_bytes)
    if plan.peak_bytes <= plan.room_bytes:
        return (
            f"{plan.job} needs at least {size_words(plan.host_bytes)} of the machine's memory for "
            f"weights; {missing} of that is missing. Close other programs and try again."
        )
    needed, room = size_words(plan.peak_bytes), size_words(plan.room_bytes)
    where = "the GPU" if plan.is_on_gpu else "this machine"
    way = ", ".join(way_in_words(plan))
    return (
        f"{plan.job} does not fit on {where}: it needs at least {needed}"
        f"{f' ({way})' if way else ''} and may use {room}, so {missing} is missing. "
        f"Close other programs that use {where}, raise the budget or allow more ways to fit. "
        f"{plan.advice}".strip()
    )


def _knob(name: str, value: int) -> str:
    """Nothing to say of a knob that is 0: then its stage does without."""
    if not value:
        return ""
    if name.startswith("is_"):
        return _SWITCHES.get(name, name.removeprefix("is_").replace("_", " "))
    what, _, ending = name.rpartition("_")
    if what and ending in _ENDINGS:
        many = _PLURALS.get(what, f"{what.replace('_', ' ')}s")
        return f"{many} in {_ENDINGS[ending]} of {value}"
    return f"{name.replace('_', ' ')} {value}"
