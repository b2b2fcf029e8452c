"""The README's rows of `benchmarks/gpu.py`; a simulated card shows no speed, so it has fewer."""

from collections.abc import Callable, Iterator

from benchmarks.common import Payload

Reader = Callable[[Payload], str]
_LOSSY = ("bf16", "fp16", "int8", "int4")


def rows() -> Iterator[tuple[str, Reader]]:
    """Each row's label, and what reads its cell of a run; KeyError where it was not measured."""
    yield "switch, host to device, of the page-locked copy's time", _switch
    yield "predicted against measured peaks, p95", _peaks
    yield "bytes left after unload, beyond the context", _left
    yield "weights fp32 / bf16 / int8 / int4", _weights
    yield "features changed by bf16 / fp16 / int8 / int4 weights, r.m.s.", _quality
    yield "X-Part, 10 parts: a step, all weights there / by blocks within 8 GiB", _xpart_steps
    yield "X-Part, 10 parts: least peak of A / B / C / D", _xpart_peaks
    yield "X-Part, of the rate of matrix products: conditions / a step / decoding", _xpart_shares
    yield "sampler at 10 Hz, of a core", lambda p: f"{_of(p, 'sampler')['core_percent']['value']} %"


def note(payload: Payload) -> str:
    """Which card it was."""
    device = payload["gpu"]
    is_simulated = device["device"] == "simulated"
    card = "a simulated card, no GPU" if is_simulated else _of(payload, "machine")["name"]
    return f"Memory: {card}; P3-SAM's weights are {device['weights']}.  "


def _of(payload: Payload, section: str) -> Payload:
    found: Payload = payload["gpu"]["sections"][section]
    return found


def _switch(payload: Payload) -> str:
    if payload["gpu"]["device"] == "simulated":
        raise KeyError("switch")
    figures = _of(payload, "switch")
    ours, other = figures["of_limit"]["value"], figures["accelerate_of_ours"]["value"]
    return f"{ours:.2f} × (accelerate's hook {other:.1f} × ours)"


def _peaks(payload: Payload) -> str:
    figures = _of(payload, "peaks")
    return f"{100 * figures['p95_error']['value']:.1f} % ({figures['cases']} settings)"


def _left(payload: Payload) -> str:
    return f"{_of(payload, 'leftovers')['unload']['beyond_first_context_mib']['value']:.0f} MiB"


def _weights(payload: Payload) -> str:
    found = _of(payload, "quality")["precisions"]
    sizes = (found[name]["weights_mib"] for name in ("fp32", "bf16", "int8", "int4"))
    return " / ".join(f"{size:.0f}" for size in sizes) + " MiB"


def _quality(payload: Payload) -> str:
    found = _of(payload, "quality")["precisions"]
    shares = (100 * found[name]["features_relative"] for name in _LOSSY)
    return " / ".join(f"{share:.2g}" for share in shares) + " %"


def _xpart_rows(payload: Payload) -> list[Payload]:
    """The rows that ran; none of a simulated card, which takes tiny weights."""
    if payload["gpu"]["device"] == "simulated":
        raise KeyError("xpart")
    rows: list[Payload] = _of(payload, "xpart")["rows"]
    return [row for row in rows if row["outcome"] == "ran"]


def _xpart_steps(payload: Payload) -> str:
    steps = {
        (row["strategy"], row["budget_gib"]): row["stages"]["sample"]["step_s"]
        for row in _xpart_rows(payload)
    }
    return f"{steps['A', None]:.2f} / {steps['C', 8.0]:.2f} s"


def _xpart_peaks(payload: Payload) -> str:
    rows = _xpart_rows(payload)
    held = {
        name: [row["peak_held_mib"] for row in rows if row["strategy"] == name] for name in "ABCD"
    }
    least = (f"{min(sizes) / 1024:.1f}" if sizes else "–" for sizes in held.values())
    return " / ".join(least) + " GiB"


def _xpart_shares(payload: Payload) -> str:
    stages = _xpart_rows(payload)[0]["stages"]
    shares = [stages[name]["share_of_matrix_rate"] for name in ("condition", "sample", "decode")]
    return " / ".join(f"{100 * share:.0f}" for share in shares) + " %"
