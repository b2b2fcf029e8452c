"""The figures of many meshes → means for each source, halves for cross-validation, what failed."""

from collections import Counter
from statistics import fmean

import numpy as np

from benchmarks.common import Payload
from benchmarks.quality_methods import GIVEN, ORDER, OWN, PEOPLE
from benchmarks.quality_sources import INDEXED, SOURCES

VOLUME_TOLERANCE = 0.02
DISTANCE_TOLERANCE = 1e-3
HALVES = ("even", "odd")
CROSS_VALIDATED = (OWN, GIVEN, PEOPLE)
MEASURES = ("rand_error", "mean_iou", "matched_iou")


def summarize(found: list[Payload]) -> Payload:
    """By source: how many meshes, means by method, halves, closing, the engine on each mesh."""
    return {
        source: _source([one for one in found if one["source"] == source])
        for source in SOURCES
        if any(one["source"] == source for one in found)
    }


def _source(found: list[Payload]) -> Payload:
    is_indexed = found[0]["source"] in INDEXED
    return {
        "title": SOURCES[found[0]["source"]].title,
        "typical_parts": SOURCES[found[0]["source"]].typical_parts,
        "meshes": len(found),
        "errors": {one["name"]: one["errors"] for one in found if one["errors"]},
        "methods": {name: means(found, name) for name in ORDER if means(found, name)},
        "halves": {name: halves(found, name) for name in CROSS_VALIDATED if is_indexed},
        "closing": _closing(found),
        "by_mesh": {one["name"]: _brief(one) for one in found if OWN in one["rows"]},
    }


def means(found: list[Payload], method: str) -> Payload:
    """Means of a method's figures over the meshes that it was run on, and how many these are."""
    rows = [one["rows"][method] for one in found if method in one["rows"]]
    if not rows:
        return {}
    return {"meshes": len(rows)} | {key: _rounded(row[key] for row in rows) for key in rows[0]}


def _rounded(values: object) -> float:
    return round(fmean(values), 4)  # type: ignore[arg-type]


def halves(found: list[Payload], method: str) -> Payload:
    """The same over the meshes at even and at odd places of their source.

    standard_error: what the difference between two halves would be by chance alone.
    """
    by_half = {
        half: [one for one in found if one["place"] % 2 == i and method in one["rows"]]
        for i, half in enumerate(HALVES)
    }
    out: Payload = {half: means(mine, method) for half, mine in by_half.items()}
    if all(len(mine) > 1 for mine in by_half.values()):
        out["standard_error"] = {key: _chance(by_half, method, key) for key in MEASURES}
    return out


def _chance(by_half: dict[str, list[Payload]], method: str, key: str) -> float:
    values = [[one["rows"][method][key] for one in mine] for mine in by_half.values()]
    return round(float(sum(np.var(mine, ddof=1) / len(mine) for mine in values) ** 0.5), 4)


def _brief(one: Payload) -> Payload:
    own, given = one["rows"][OWN], one["rows"][GIVEN]
    brief = {key: round(value, 4) for key, value in own.items()}
    brief["matched_iou_given"] = round(given["matched_iou"], 4)
    if one["closing"]:
        closing = one["closing"]
        brief["watertight"] = closing["watertight"]
        brief["crossings"] = closing["crossings"]
        brief["flat_crossings"] = closing["flat_crossings"]
        brief["distance_p99"] = float(f"{closing['distances'][1]:.2e}")
        if closing["volume_ratio"] is not None:
            brief["volume_ratio"] = round(closing["volume_ratio"], 4)
        if closing["overlap"] is not None:
            brief["overlap"] = round(closing["overlap"], 4)
    return brief


def _closing(found: list[Payload]) -> Payload | None:
    rows = [one["closing"] for one in found if one["closing"]]
    if not rows:
        return None
    closed = [row for row in rows if row["is_closed"]]
    errors = [abs(row["volume_ratio"] - 1) for row in closed if row["volume_ratio"] is not None]
    overlaps = [max(row["overlap"], 0.0) for row in rows if row["overlap"] is not None]
    return {
        "meshes": len(rows),
        "parts": sum(row["parts"] for row in rows),
        "watertight": sum(row["watertight"] for row in rows),
        "states": dict(sum((Counter(row["states"]) for row in rows), Counter())),
        "reasons": dict(Counter(why for row in rows for why in row["reasons"].values())),
        "closed_inputs": len(closed),
        "with_volume": len(errors),
        "volume_error": {"mean": _or_none(errors, np.mean), "max": _or_none(errors, np.max)},
        "volume_kept": sum(error <= VOLUME_TOLERANCE for error in errors),
        "overlap": {"mean": _or_none(overlaps, np.mean), "max": _or_none(overlaps, np.max)},
        "crossings": sum(row["crossings"] for row in rows),
        "flat_crossings": sum(row["flat_crossings"] for row in rows),
        "meshes_with_crossings": sum(row["crossings"] + row["flat_crossings"] > 0 for row in rows),
        "distance_closed": _distances(closed),
        "distance_open": _distances([row for row in rows if not row["is_closed"]]),
        "seconds": {
            "mean": round(fmean(row["seconds"] for row in rows), 2),
            "max": round(max(row["seconds"] for row in rows), 2),
        },
    }


def _or_none(values: list[float], measure: object) -> float | None:
    return float(f"{measure(values):.3e}") if values else None  # type: ignore[operator]


def _distances(rows: list[Payload]) -> Payload:
    """Mean of the meshes' means and 99th percentiles, the worst of these, and how many are near."""
    if not rows:
        return {}
    mean, high, _ = zip(*(row["distances"] for row in rows), strict=True)
    return {
        "mean": float(f"{fmean(mean):.3e}"),
        "p99": float(f"{fmean(high):.3e}"),
        "worst_p99": float(f"{max(high):.3e}"),
        "near": sum(value <= DISTANCE_TOLERANCE for value in high),
        "meshes": len(rows),
    }
