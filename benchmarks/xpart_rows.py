"""The README's rows of `benchmarks/xpart.py`."""

from collections.abc import Callable, Iterator

from benchmarks.common import Payload

Reader = Callable[[Payload], str]
_STRATEGIES = {
    "A": "all weights on the card, P3-SAM's too",
    "B": "one component at a time",
    "C": "the PartFormer block by block",
    "D": "its experts one by one, what waits on the host",
}
_LOSSY = ("bf16", "fp16", "int8", "int4")
_PARTS = (1, 10, 30, 50)
_WIDE, _FINE = 8, 512


def rows() -> Iterator[tuple[str, Reader]]:
    """Each row's label, and what reads its cell of a run; KeyError where it was not measured."""
    for letter, words in _STRATEGIES.items():
        counts = " / ".join(map(str, _PARTS))
        yield f"{letter}, {words}: {counts} parts", _peaks_of(letter)
    yield "bytes counted beside those measured, by stage", _bytes_ratios
    yield "operations counted beside those measured, by stage", _operation_ratios
    yield "places of the field asked at 512, of the published rule's: wide fields", _asked(True)
    yield "the same, narrow fields", _asked(False)
    yield "largest distance between both surfaces", _distance
    yield "a step changed by bf16 / fp16 / int8 / int4 weights, r.m.s.", _quality
    yield "a step of 3 parts, full size, D on the CPU: process memory", _streamed


def note(payload: Payload) -> str:
    """What the figures are of."""
    sampler = payload["xpart"]["stages"]["reduced"]
    return (
        "X-Part: peaks are predicted, for weights in bf16 and the smallest batches, without the "
        "context; bytes and operations are of a smaller model (width "
        f"{sampler['sampler_width']}, {sampler['sampler_blocks']} blocks); fields are analytic.  "
    )


def _peaks_of(strategy: str) -> Reader:
    def read(payload: Payload) -> str:
        found = {
            row["part_count"]: row["smallest_bytes"] / 1e9
            for row in payload["xpart"]["strategies"]["rows"]
            if row["strategy"] == strategy
        }
        return " / ".join(f"{found[count]:.1f}" for count in _PARTS) + " GB"

    return read


def _bytes_ratios(payload: Payload) -> str:
    return _spread(payload, "bytes_ratio")


def _operation_ratios(payload: Payload) -> str:
    return _spread(payload, "flops_ratio")


def _spread(payload: Payload, key: str) -> str:
    found: dict[str, list[float]] = {}
    for row in payload["xpart"]["stages"]["rows"]:
        found.setdefault(row["stage"], []).append(row[key])
    return ", ".join(f"{stage} {_range(values)}" for stage, values in found.items())


def _asked(is_wide: bool) -> Reader:
    def read(payload: Payload) -> str:
        shares = [
            row["ours"]["query_count"] / row["published"]["query_count"]
            for row in payload["xpart"]["queries"]["rows"]
            if row["resolution"] == _FINE and (row["slope"] <= _WIDE) == is_wide
        ]
        if not shares:
            raise KeyError(_FINE)
        return f"{_range(shares)} ({len(shares)} fields)"

    return read


def _distance(payload: Payload) -> str:
    largest = max(row["vertex_distance"] for row in payload["xpart"]["queries"]["rows"])
    return "none: equal vertices" if largest == 0 else f"{largest:.1e}"


def _quality(payload: Payload) -> str:
    found = payload["xpart"]["precision"]["relative_rms"]
    return " / ".join(f"{100 * found[name]:.2g}" for name in _LOSSY) + " %"


def _streamed(payload: Payload) -> str:
    row = payload["xpart"]["streamed_step"]
    return f"{row['peak_bytes'] / 1e9:.2f} GB beside the page cache, of {_gb(row)} GB of weights"


def _gb(row: Payload) -> str:
    return f"{row['file_bytes'] / 1e9:.2f}"


def _range(values: list[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.2f}" if round(low, 2) == round(high, 2) else f"{low:.2f}–{high:.2f}"
