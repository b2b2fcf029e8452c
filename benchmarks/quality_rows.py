"""The tables of part quality as Markdown, made from a result of quality.py."""

from benchmarks.common import Payload
from benchmarks.quality_methods import K_MEANS, WARD

_HEAD = (
    "| {title}; meshes: {meshes} | RIe | mIoU | mIoU by area | hIoU | parts | true | s |\n"
    "|---|---|---|---|---|---|---|---|\n"
)
_HALVES_HEAD = (
    "| halves of the meshes | RIe even / odd | mIoU even / odd | hIoU even / odd "
    "| largest difference (by chance) |\n|---|---|---|---|---|\n"
)
_CLOSING_HEAD = (
    "| closed from the engine's own parts | meshes | parts | watertight | "
    "sum of volumes, off by: mean / max | volume in several parts: mean / max | "
    "self-crossings: through / in one plane | visible surface to parts, "
    "closed inputs: mean / 99 % / worst 99 % | the same, open inputs | s mean / max |\n"
    "|---|---|---|---|---|---|---|---|---|---|\n"
)
_MEASURES = ("rand_error", "mean_iou", "matched_iou")


def tables(payload: Payload) -> str:
    """A table of methods for each source, one of halves, one of closing."""
    sources = payload["quality"]
    parts = [_methods(source) for source in sources.values()]
    halves = [
        _half(source, name, half)
        for source in sources.values()
        for name, half in source["halves"].items()
    ]
    if any(halves):
        parts.append(_HALVES_HEAD + "".join(halves))
    closings = [_closing(source) for source in sources.values() if source["closing"]]
    if closings:
        parts.append(_CLOSING_HEAD + "".join(closings))
    return "\n".join(parts)


def _methods(source: Payload) -> str:
    head = _HEAD.format(**source)
    return head + "".join(_method(name, row, source) for name, row in source["methods"].items())


def _method(name: str, row: Payload, source: Payload) -> str:
    label = name
    if name in (K_MEANS, WARD):
        label += f", k = {source['typical_parts']}"
    if row["meshes"] < source["meshes"]:
        label += f" ({row['meshes']} meshes)"
    scores = [row[key] for key in ("rand_error", "mean_iou", "mean_iou_area", "matched_iou")]
    counts = [f"{row[key]:.1f}" for key in ("parts", "true_parts")]
    seconds = f"{row['seconds']:.2f}" if row["seconds"] else ""
    return table_row(label, *(share(score) for score in scores), *counts, seconds)


def _half(source: Payload, name: str, half: Payload) -> str:
    even, odd = half["even"], half["odd"]
    if not (even and odd):
        return ""
    pairs = [f"{share(even[key])} / {share(odd[key])}" for key in _MEASURES]
    worst = max(_MEASURES, key=lambda key: abs(even[key] - odd[key]))
    most = share(abs(even[worst] - odd[worst]))
    if "standard_error" in half:
        most += f" ({share(half['standard_error'][worst])})"
    return table_row(f"{source['title']}: {name}", *pairs, most)


def _closing(source: Payload) -> str:
    closing = source["closing"]
    tight, parts = closing["watertight"], closing["parts"]
    off = _percents(closing["volume_error"], "mean", "max")
    if closing["with_volume"]:
        off += f" ({closing['with_volume']} closed)"
    seconds = closing["seconds"]
    return table_row(
        source["title"],
        str(closing["meshes"]),
        str(parts),
        f"{tight} ({100 * tight / max(parts, 1):.4g} %)",
        off,
        _percents(closing["overlap"], "mean", "max"),
        f"{closing['crossings']} / {closing['flat_crossings']}"
        f" in {closing['meshes_with_crossings']} meshes",
        _percents(closing["distance_closed"], "mean", "p99", "worst_p99"),
        _percents(closing["distance_open"], "mean", "p99", "worst_p99"),
        f"{seconds['mean']:.1f} / {seconds['max']:.1f}",
    )


def note(payload: Payload) -> str:
    """What the figures mean and what CoACD could not do, in a line."""
    failed = sum(len(source["errors"]) for source in payload["quality"].values())
    left_out = f"On {failed} meshes something failed or took too long (see the file). "
    return (left_out if failed else "") + (
        "RIe: 1 − Rand index, lower is better; mIoU: best IoU for each true part; hIoU: one-to-one "
        "over the larger number of parts; distances in shares of the object's longest side.  "
    )


def table_row(*cells: str) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(cells) + " |\n"


def share(value: float) -> str:
    """A share to three places; the nought before the point is left out."""
    return f"{value:.3f}".lstrip("0") if 0 < value < 1 else f"{value:.3f}"


def _percents(figures: Payload, *keys: str) -> str:
    values = [figures[key] for key in keys if figures.get(key) is not None]
    return " / ".join(_percent(value) for value in values) or "–"


def _percent(value: float) -> str:
    return "< 0.0001 %" if 0 <= value < 1e-6 else f"{100 * value:.2g} %"
